"""Mirror: the verified bytes of models are sent to a place that is asked for them by their SHA-256."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.engine.events import BytesRead, FetchWaits, WorkBegins
from model_provisioner.errors import NotAllowedError, NotCurrentError, UnreadableModelError
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.mirror_writers import writer_of
from model_provisioner.hashing.threads import Stopped, in_pools
from model_provisioner.invocation import command as called
from model_provisioner.operations.path import files_to_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.references.mirror import Mirror

AT_ONCE = 4
"""How many files are sent at a time."""


@dataclass(frozen=True, kw_only=True)
class Sendable:
    """A file that is here, verified and current."""

    model: str
    """The first model that has it."""
    path: str
    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a file."""

    file: Sendable
    was_there: bool
    """Whether the mirror had it already."""


def files_of(work: Workspace, entry: Entry) -> list[Sendable]:
    """Return the files of a model, its companions' too. No byte is read, but where times can't be believed.

    Raises `NotCurrentError` for a model that is not handed off as it is, with the digest that it has to have; and for a local
    one of which nobody says what that is: no other machine could ask for it.
    """
    files = files_to_load(work, entry)
    row = work.catalog.get(work.config.root, entry.name)
    is_wrong = row is not None and row.outcome == "fail"
    if is_wrong or (entry.is_local and entry.expected is None):
        raise NotCurrentError(
            f"{entry.name} has another digest than it has to have"
            if is_wrong
            else f"{entry.name} has no digest that its bytes have to have",
            where=f"{work.config.path}:{entry.line}",
            expected="a model with the digest that models.yaml or models.lock says",
            found="none that is expected" if row is None or row.digest is None else f"{row.digest}",
            fix=f"run `{called('lock')}`, then `{called('provision')}`",
        )
    found = []
    for member in files.members:
        digest = work.memo.known(member.path)
        if digest is None:
            raise NotCurrentError(
                f"{entry.name} moved while it was looked at",
                where=member.path,
                expected="a file at rest",
                found="other times than a moment ago",
                fix=f"run `{called('provision')}`, and this again",
            )
        found.append(Sendable(model=entry.name, path=member.path, sha256=digest.sha256, size=digest.identity.size))
    return found


def fill(work: Workspace, files: Iterable[Sendable], to: Mirror, *, dry_run: bool) -> Iterator[Sent]:
    """Send files to a mirror, but for those that it has; yield each when it is there, or would be sent in a `dry_run`.

    Raises `InputError` for a mirror that can't be written, `NotAllowedError`, `FetchError`, and `ChangingModelError` for a
    file that is not what it was. What was sent until then stays.
    """
    each = {file.sha256: file for file in files}
    if not each:
        return  # nobody need be contacted for that
    work.progress(WorkBegins(1, sum(file.size for file in each.values())))

    def check(host: str) -> None:
        _check_host(work, host, to)

    stopped = threading.Event()

    def wait(seconds: float, why: str) -> None:
        work.progress(FetchWaits(str(to), seconds, why))
        if stopped.wait(seconds):
            raise Stopped

    with HttpClient(check) as client:

        def wake() -> None:
            stopped.set()
            client.close()

        writer = writer_of(to, client, check, wait)

        def send(file: Sendable, wanted: Callable[[], None]) -> Sent:
            def tell(count: int) -> None:
                wanted()
                work.progress(BytesRead(count))

            wanted()
            was_there = writer.has(file.sha256, file.size)
            if not was_there and not dry_run:
                try:
                    writer.send(file.path, file.sha256, file.size, tell)
                except (EOFError, OSError) as error:
                    raise _unreadable(file, error) from None
            return Sent(file=file, was_there=was_there)

        for _, sent in in_pools([(send, list(each.values()), AT_ONCE)], wake):
            yield sent


def _unreadable(file: Sendable, error: EOFError | OSError) -> UnreadableModelError:
    return UnreadableModelError(
        f"{file.model} could not be read to its end while it was sent",
        where=file.path,
        expected=f"{file.size:,} bytes",
        found=getattr(error, "strerror", None) or str(error),
        fix=f"run `{called('provision')}`, and this again",
    )


def _check_host(work: Workspace, host: str, to: Mirror) -> None:
    """Raise unless a host may be contacted to send something there."""
    config = work.config
    try:
        NetworkPolicy(config.allow, work.offline, config.path, work.hosts).check(host, str(to), 0)
    except NotAllowedError as error:
        error.what = f"files would be sent to {to}, and {host} may not be contacted"
        error.where = config.path
        error.fix = error.fix.partition(", or ")[0]  # what follows is for who fetches
        raise

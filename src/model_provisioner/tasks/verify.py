"""Verify: read what must be read, compare it with what is expected, and say what follows."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from model_provisioner.artifacts import provenance
from model_provisioner.artifacts.atomic import read_if_there, write_atomically
from model_provisioner.artifacts.catalog import now
from model_provisioner.artifacts.checksums import render as render_checksums
from model_provisioner.artifacts.hashing import identity
from model_provisioner.artifacts.header import read_facts
from model_provisioner.errors import (
    ChangingModelError,
    DigestMismatchError,
    DigestRequiredError,
    InvalidDigestError,
    ProvisionError,
)
from model_provisioner.models.digest import Digest, SetDigest, dirhash
from model_provisioner.tasks.resolve import resolve
from model_provisioner.tasks.withdraw import fail, pend, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.artifacts.facts import Facts
    from model_provisioner.artifacts.fileset import FileSet
    from model_provisioner.artifacts.memo import FileDigest, How
    from model_provisioner.models.config import Entry
    from model_provisioner.models.digest import Expected
    from model_provisioner.models.reference import ModelRef
    from model_provisioner.tasks.workspace import Workspace

Item = TypeVar("Item")
Result = TypeVar("Result")

TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the bytes of a model were found to be, and whether they are what was expected."""

    ref: ModelRef
    files: FileSet
    digests: tuple[FileDigest, ...]
    """One for each member of `files`, in their order."""
    digest: Digest
    expected: Expected | None
    facts: Facts

    @property
    def outcome(self) -> Literal["pass", "warn", "fail"]:
        """`warn` is: nothing was expected."""
        if self.expected is None:
            return "warn"
        return "pass" if matches(self.expected, self.files, self.digests) else "fail"

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(digest.identity.size for digest in self.digests)

    @property
    def how(self) -> How:
        """The most expensive way in which any of the files was confirmed."""
        ways = {digest.how for digest in self.digests}
        return "hashed" if "hashed" in ways else "xxh3" if "xxh3" in ways else "stat"

    def at_rest(self) -> bool:
        """Tell whether every file is still, by its identity, what was verified, and no file came or went."""
        try:
            if resolve(self.ref) != self.files:
                return False
            return all(identity(os.stat(digest.path)) == digest.identity for digest in self.digests)
        except (ProvisionError, OSError):
            return False

    def mismatch(self) -> DigestMismatchError:
        """Return the error that a strict verification ends in."""
        wanted = self.expected
        return DigestMismatchError(self.files.path, str(wanted), str(self.digest), detail=_differences(self))


def digest_of(files: FileSet, digests: Sequence[FileDigest]) -> Digest:
    """Return the one digest of a model: SHA-256 of a file, dirhash of a set."""
    if files.kind == "file":
        return Digest("sha256", digests[0].sha256)
    return dirhash((member.name, digest.sha256) for member, digest in zip(files.members, digests, strict=True))


def matches(expected: Expected, files: FileSet, digests: Sequence[FileDigest]) -> bool:
    """Tell whether the digests are the expected ones."""
    if isinstance(expected, SetDigest):
        found = {member.name: digest.sha256 for member, digest in zip(files.members, digests, strict=True)}
        return found == {path: digest.value for path, digest in expected.files}
    return expected == digest_of(files, digests)


def check_kind(expected: Expected | None, files: FileSet) -> None:
    """Raise `InvalidDigestError` where a digest of one file is given for a set, or the other way round."""
    if not isinstance(expected, Digest):
        return
    one = files.kind == "file"
    if (expected.algo == "sha256") != one:
        what = "one file" if one else f"a {files.kind} of {len(files.members)} files"
        raise InvalidDigestError(
            f"the expected digest is of another kind than the model, which is {what}",
            where=files.path,
            expected="sha256:<hex>" if one else "dirhash:<hex>, or a mapping of path to sha256:<hex>",
            found=str(expected),
            fix="leave expected_digest out once: the run prints the digest to put there",
        )


def examine(
    ref: ModelRef,
    files: FileSet,
    expected: Expected | None,
    digest: Callable[[str], FileDigest],
) -> Verification:
    """Find out what the bytes of a model are, taking each file's digest from `digest`, and read its headers.

    Raises the errors of an unsound, unreadable or changing model, never a mismatch: see `Verification.outcome`.
    """
    check_kind(expected, files)
    for _ in range(TRIES):
        try:
            # Headers first: a broken file is told before an hour of hashing.
            before = [identity(os.stat(member.path)) for member in files.members]
            facts = read_facts(files)
            digests = tuple(on_all_cores(digest, [member.path for member in files.members]))
        except FileNotFoundError:  # gone between two looks at it
            files = resolve(ref)
            continue
        found = Verification(
            ref=ref, files=files, digests=digests, digest=digest_of(files, digests), expected=expected, facts=facts
        )
        if before == [each.identity for each in digests] and found.at_rest():
            return found
        files = resolve(ref)
    raise ChangingModelError(
        "the model keeps changing while it is read",
        where=files.path,
        expected="files at rest",
        found=f"other bytes, times or files after each of {TRIES} readings",
        fix="wait until what writes them has ended, then run again",
    )


def verify(work: Workspace, entry: Entry) -> Verification:
    """Take the step for an entry, so that the promise holds however it ends.

    What must be read again loses its handoff first. A failure withdraws the handoff and the `.sha256` target, is noted in
    the catalog, and is raised; a tolerated mismatch is returned.
    """
    try:
        files = resolve(entry.ref)
        must_read = [member for member in files.members if work.rules.full or work.memo.known(member.path) is None]
        if must_read:
            pend(work, entry)
            work.progress.begin(entry.name, sum(size_of(member.path) for member in must_read))
        found = examine(entry.ref, files, entry.expected, _digester(work, entry))
        if found.how != "stat":
            provenance.append(work.provenance_log, _record(found))
        if found.expected is None and work.rules.require_digest:
            raise DigestRequiredError(
                "no digest is expected, and this run takes no model without",
                where=f"{work.config.path}:{entry.line}",
                expected=f"an expected_digest for {entry.name}",
                found="none",
                fix=f'expected_digest: "{found.digest}" is what its bytes have now',
            )
        if found.outcome == "fail" and entry.strict:
            raise found.mismatch()
        _write_target(work, entry, found)
    except ProvisionError as error:
        fail(work, entry, error)
        raise
    work.verified[entry.name] = found
    return found


def _digester(work: Workspace, entry: Entry) -> Callable[[str], FileDigest]:
    """Return the way this run gets a file's digest: from the memo as far as it may be asked.

    Whatever has to be read, now or because it moved after it was looked at, the handoff goes first.
    """
    progress = work.progress.advance

    def digest(path: str) -> FileDigest:
        known = None if work.rules.full else work.memo.known(path)
        if known is not None:
            return known
        if os.path.lexists(entry.handoff):
            pend(work, entry)
        if work.rules.full:
            return work.memo.digest_in_full(path, progress)
        return work.memo.digest(path, progress, trust_fingerprint=work.config.recheck == "xxh3")

    return digest


def render_target(digests: Sequence[FileDigest]) -> bytes:
    """Return the bytes of the `.sha256` target."""
    return render_checksums((digest.path, digest.sha256) for digest in digests)


def size_of(path: str) -> int:
    """Return the bytes of a file, 0 where it is gone: the step that reads it says so."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _write_target(work: Workspace, entry: Entry, found: Verification) -> None:
    target = work.sha256_target(entry)
    if found.outcome == "fail":
        withdraw(work, target)
        return
    data = render_target(found.digests)
    if read_if_there(target) != data:
        work.ledger.record(target)
        write_atomically(target, data)
    work.written[target] = identity(os.stat(target))


def _record(found: Verification) -> dict[str, object]:
    return {
        "time": now(),
        "id": found.ref.id,
        "path": found.files.path,
        "size": found.size,
        "digest": str(found.digest),
        "outcome": found.outcome,
        "how": found.how,
    }


def _differences(found: Verification) -> str:
    """Name the files of a set that are not as expected, the first few of them."""
    if not isinstance(found.expected, SetDigest):
        return ""
    wanted = {path: digest.value for path, digest in found.expected.files}
    there = {member.name: digest.sha256 for member, digest in zip(found.files.members, found.digests, strict=True)}
    parts = [f"{name} differs" for name in sorted(wanted.keys() & there.keys()) if wanted[name] != there[name]]
    parts += [f"{name} is missing" for name in sorted(wanted.keys() - there.keys())]
    parts += [f"{name} was not expected" for name in sorted(there.keys() - wanted.keys())]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return `work` of every item, in their order, done by as many threads as there are cores.

    One item is done by the thread that asks. The threads are daemons and stop at the first error, so that neither a
    failure nor Ctrl-C waits for the hash of a large file.
    """
    workers = min(len(items), os.cpu_count() or 1)
    if workers < 2:
        return [work(item) for item in items]
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    queue = iter(enumerate(items))
    lock = threading.Lock()

    def run() -> None:
        while not errors:
            with lock:
                index, item = next(queue, (-1, None))
            if item is None:
                return
            try:
                results[index] = work(item)
            except BaseException as error:  # noqa: BLE001  raised again below, by the thread that asked
                errors.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:
        errors.append(error)
        raise
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]

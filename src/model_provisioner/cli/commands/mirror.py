"""`mirror`: send the verified bytes of models to a mirror."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, view_project
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.config.network_policy import offline_reason, users_hosts
from model_provisioner.errors import InputError, ProvisionError, StorageError, printable
from model_provisioner.invocation import command as called
from model_provisioner.operations.mirror import files_of, fill
from model_provisioner.references.mirror import FORMS, Mirror
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.operations.mirror import Sendable, Sent


def run(reply: Reply, names: Sequence[str], *, to: str | None, dry_run: bool) -> int:
    """Send files, and print a line each, as it is there."""
    place = _place(to)
    done: list[Sent] = []
    left: dict[str, ProvisionError] = {}
    files: list[Sendable] = []
    with closing(progress_for_stderr()) as progress, view_project() as work:
        work.progress, work.hosts, work.offline = progress, users_hosts(), offline_reason()
        entries = entries_named(work, names or work.config.entries)
        for entry in entries:
            try:
                files += files_of(work, entry)
            except StorageError:
                raise
            except ProvisionError as error:
                left[entry.name] = error
        reply.models = models_of(work, [entry.name for entry in entries])
        _tell_left(reply, left, asked=bool(names))
        try:
            for sent in fill(work, files, place, dry_run=dry_run):
                done.append(sent)
                if not sent.was_there:
                    with progress.aside():
                        verb = "would be sent" if dry_run else "sent"
                        file = sent.file
                        reply.say(f"{verb}  {printable(file.model)}  sha256:{file.sha256}  {human(file.size)}")
        finally:
            reply.result = _result(place, done, left, dry_run=dry_run)
    new = [each for each in done if not each.was_there]
    size = human(sum(each.file.size for each in new))
    what = f"{len(new)} {'would be sent' if dry_run else 'sent'} ({size}), {len(done) - len(new)} there before"
    reply.say(f"{place}: {len(done)} {'file' if len(done) == 1 else 'files'}: {what}")
    return int(bool(names) and bool(left))


def _place(to: str | None) -> Mirror:
    if not to:
        raise InputError(
            "nothing says which mirror the models are sent to",
            where="the command line",
            expected=f"--to and a place: {FORMS}",
            found="no --to",
            fix=f"write it as in   {called('mirror --to s3://models/cache/')}",
        )
    try:
        return Mirror.parse(to)
    except InputError as error:
        error.where = "--to"
        raise


def _tell_left(reply: Reply, left: dict[str, ProvisionError], *, asked: bool) -> None:
    for name, error in left.items():
        if asked:
            reply.add_error(error, name)
            first, *rest = str(error).splitlines()
            reply.say(f"FAIL  {name}  {first}", *(f"      {line}" for line in rest))
        else:
            reply.say(f"left  {name}  {printable(error.what)} ({printable(error.found)})")


def _result(place: Mirror, done: Sequence[Sent], left: dict[str, ProvisionError], *, dry_run: bool) -> dict[str, Any]:
    new = [each.file for each in done if not each.was_there]
    return {
        "to": str(place),
        "dry_run": dry_run,
        "sent": [{"model": file.model, "sha256": file.sha256, "size_bytes": file.size} for file in new],
        "there": [each.file.sha256 for each in done if each.was_there],
        "left": sorted(left),
    }

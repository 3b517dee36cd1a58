"""`attest`: write a statement of what was verified of a model, or check one."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.output_file import STDOUT, OutputFile
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import entries_named, open_project, view_project, wrong_count
from model_provisioner.cli.reply.fields import models_of
from model_provisioner.engine.rules import Rules
from model_provisioner.errors import InputError, printable
from model_provisioner.fs.state_folder import ensure_state_folder
from model_provisioner.invocation import command as called
from model_provisioner.invocation import named
from model_provisioner.operations.attest import check, is_own, last_record, read_statement
from model_provisioner.provenance.statement import render, statement_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace


def run(
    reply: Reply,
    names: Sequence[str],
    *,
    output: str | None,
    key: str | None,
    verify: str | None,
    public_key: str | None,
    full: bool,
    force: bool,
) -> int:
    """Write a statement, or check one."""
    writing, checking = (
        {"--output": output, "--key": key, "--force": force},
        {"--public-key": public_key, "--full": full},
    )
    for option, value in (writing if verify else checking).items():
        if value:
            how = "without" if verify else "with"
            raise InputError(
                f"{option} goes {how} --verify",
                where="the command line",
                expected=f"with --verify: {', '.join(checking)}; without: {', '.join(writing)}",
                found=f"{option} {'and' if verify else 'without'} --verify",
                fix=f"leave {option} out, or {'leave --verify out' if verify else 'add --verify FILE'}",
            )
    if len(names) > 1 or not (names or verify):
        raise wrong_count("attest", "one NAME", names)
    # The files are named from where the user is, the models from the project.
    key, verify, public_key = (path and os.path.abspath(path) for path in (key, verify, public_key))
    if verify:
        return _check(reply, verify, public_key, names, full=full)
    target = None
    if output and output != STDOUT:
        target = OutputFile(os.path.join(os.getcwd(), output), "-o", named("attest"), is_own, force)
        target.check()
    return _write(reply, names, target, key)


def _write(reply: Reply, names: Sequence[str], output: OutputFile | None, key: str | None) -> int:
    with view_project() as work:
        (entry,) = entries_named(work, names)
        reply.models = models_of(work, [entry.name])
        data, key_id = render(statement_for(work, entry)), None
    if key:
        from model_provisioner.provenance.dsse import sign

        data, key_id = sign(data, key)
    reply.result = {"key": key_id, "output": None, "statement": json.loads(data)}
    if output is None:
        reply.say_bytes(data)
        return 0
    path = output.write(data, what="the statement could not be written", fix="fix that, or name another file after -o")
    reply.result["output"] = path
    signed = "not signed" if key_id is None else f"signed with the key {key_id[:16]}…"
    reply.say(f"{entry.name}: statement written to {printable(os.path.relpath(path))}, {signed}")
    return 0


def _check(reply: Reply, path: str, public_key: str | None, names: Sequence[str], *, full: bool) -> int:
    read = read_statement(path, public_key)
    name = names[0] if names else read.statement.name
    if name is None:
        raise InputError(
            "the statement does not say which model of this project it is about",
            where=path,
            expected="the name of one of its models",
            found="none: it may be by another program",
            fix=f"name the model: {called('attest NAME --verify FILE')}",
        )
    with closing(progress_for_stderr()) as progress, open_project(rules=Rules(full=full), progress=progress) as work:
        (entry,) = entries_named(work, [name])
        ensure_state_folder(work.state)
        reply.models = models_of(work, [name])
        notes = check(work, entry, read)
    reply.result = {
        "key": read.key,
        "notes": notes,
        "subjects": [{"name": subject, "sha256": sha256} for subject, sha256 in read.statement.subjects],
        "time": read.statement.time,
    }
    signed = (
        "not signed: anybody could have written it" if read.key is None else f"signed with that key ({read.key[:16]}…)"
    )
    reply.say(f"{name}: the bytes here are those of the statement, which is {signed}")
    reply.say(*(f"  note      {note}" for note in notes))
    return 0


def statement_for(work: Workspace, entry: Entry) -> dict[str, Any]:
    """Return the statement of the last verification of an entry."""
    return statement_of(last_record(work, entry), work.config.path)

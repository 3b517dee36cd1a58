"""The command `doit model-attest`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, print_json, project_root

if TYPE_CHECKING:
    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace


def _file(name: str, short: str, help: str) -> dict[str, Any]:  # noqa: A002  doit's word
    return {
        "name": name,
        "short": short,
        "long": name.replace("_", "-"),
        "type": str,
        "default": "",
        "help": help,
    }


class ModelAttest(Query):
    """`doit model-attest NAME`."""

    name = "model-attest"
    doc_purpose = "write a statement of what was verified of a model, signed on request; or check one"
    doc_usage = "NAME [-o FILE] [--key FILE] | [NAME] --verify FILE [--public-key FILE] [--full] [--json]"
    doc_description = (
        "The statement is an in-toto Statement with a SLSA Verification Summary; signed, it lies in a DSSE envelope.\n\n"
        "--verify: exit code 0 where the statement is signed with that key and says that the bytes which are here passed; "
        "1 where not; 3 for bad input. NAME is by default the model that the statement names."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        _file("output", "o", "write to this file"),
        _file("key", "", "sign with the private key (Ed25519 or ECDSA P-256, PEM) in this file"),
        _file("verify", "", "check the statement in this file against the bytes that are here"),
        _file("public_key", "", "the key that the statement to check must be signed with, PEM"),
        {
            "name": "full",
            "long": "full",
            "type": bool,
            "default": False,
            "help": "with --verify: answer from no memo, SHA-256 of every byte",
        },
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Write a statement, or check one."""
        from model_provisioner.errors import InputError
        from model_provisioner.plugin.names import CONFIG_NAME

        verify = opt_values["verify"]
        made, checked = ("output", "key"), ("public_key", "full")
        if misplaced := [name for name in (made if verify else checked) if opt_values[name]]:
            option = f"--{misplaced[0].replace('_', '-')}"
            raise InputError(
                f"{option} goes {'without' if verify else 'with'} --verify",
                fix="see `doit help model-attest`",
            )
        if len(pos_args) > 1 or not (pos_args or verify):
            raise InputError(
                "model-attest takes one NAME", found=f"{len(pos_args)} of them", fix="see `doit model-list`"
            )
        # The files are named from where the user is, the models from the project.
        paths = {
            name: os.path.abspath(opt_values[name])
            for name in ("output", "key", "verify", "public_key")
            if opt_values[name]
        }
        root = project_root()
        os.chdir(root)
        config = os.path.join(root, CONFIG_NAME)
        if verify:
            return _check(config, pos_args, paths, full=opt_values["full"], as_json=opt_values["json"])
        return _write(config, pos_args[0], paths, as_json=opt_values["json"])


def _write(config: str, name: str, paths: dict[str, str], *, as_json: bool) -> int:
    from model_provisioner.engine.workspace import look_at_workspace
    from model_provisioner.errors import printable
    from model_provisioner.fs.atomic import write_atomically
    from model_provisioner.fs.state_folder import state_folder
    from model_provisioner.provenance.statement import render

    work = look_at_workspace(config, state_folder())
    data, key = render(statement_for(work, _entry(work, name))), None
    if "key" in paths:
        from model_provisioner.provenance.dsse import sign

        data, key = sign(data, paths["key"])
    if "output" not in paths:
        sys.stdout.write(data.decode())
        return 0
    write_atomically(paths["output"], data)
    if as_json:
        return print_json({"key": key, "name": name, "output": paths["output"]})
    signed = "not signed" if key is None else f"signed with the key {key[:16]}…"
    print(f"{name}: statement written to {printable(os.path.relpath(paths['output']))}, {signed}")
    return 0


def _check(config: str, names: list[str], paths: dict[str, str], *, full: bool, as_json: bool) -> int:
    from model_provisioner.cli.progress import progress_for_stderr
    from model_provisioner.engine.rules import Rules
    from model_provisioner.engine.workspace import open_workspace
    from model_provisioner.errors import InputError
    from model_provisioner.fs.state_folder import ensure_state_folder
    from model_provisioner.operations.attest import check, read_statement

    read = read_statement(paths["verify"], paths.get("public_key"))
    name = names[0] if names else read.statement.name
    if name is None:
        raise InputError(
            "the statement does not say which model of this project it is about",
            where=read.path,
            fix="name the model: doit model-attest NAME --verify FILE",
        )
    progress = progress_for_stderr()
    try:
        work = open_workspace(config, rules=Rules(full=full), progress=progress)
        entry = _entry(work, name)
        ensure_state_folder(work.state)
        notes = check(work, entry, read)
    finally:
        progress.close()
    if as_json:
        return print_json(
            {
                "key": read.key,
                "name": name,
                "notes": notes,
                "subjects": [{"name": name, "sha256": sha256} for name, sha256 in read.statement.subjects],
                "time": read.statement.time,
            }
        )
    signed = (
        "not signed: anybody could have written it" if read.key is None else f"signed with that key ({read.key[:16]}…)"
    )
    print(f"{name}: the bytes here are those of the statement, which is {signed}")
    for note in notes:
        print(f"  note      {note}")
    return 0


def statement_for(work: Workspace, entry: Entry) -> dict[str, Any]:
    """Return the statement of the last verification of an entry; torn lines of the log are told on stderr."""
    from model_provisioner.errors import printable
    from model_provisioner.operations.attest import account_of
    from model_provisioner.provenance.statement import statement_of

    account = account_of(work, entry, lambda text: sys.stderr.write(f"note: {printable(text)}\n"))
    return statement_of(account, work.config.path)


def _entry(work: Workspace, name: str) -> Entry:
    from model_provisioner.plugin.commands import unknown_name

    if name not in work.config.entries:
        raise unknown_name(name, work.config)
    return work.config.entries[name]

"""`add`: write entries into `models.yaml`, each with the digest that its model has now."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.cli.output import print_lines, relative
from model_provisioner.cli.progress import progress_for_stderr
from model_provisioner.cli.project import CONFIG_NAME, find_config, nearly_config, no_config
from model_provisioner.cli.summary import models
from model_provisioner.config.paths import is_below, real_path
from model_provisioner.config.schema import ENGINE_PATTERN, NAME_PATTERN
from model_provisioner.errors import InputError, StorageError, printable
from model_provisioner.fs.paths import is_there
from model_provisioner.invocation import command
from model_provisioner.invocation import named as called_as
from model_provisioner.operations.adding.add import add
from model_provisioner.operations.adding.additions import Asked, Options
from model_provisioner.operations.adding.naming import SUFFIXES, first_shard, names_for, written
from model_provisioner.operations.adding.offers import in_lines
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef
from model_provisioner.store.import_existing import find
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.config.entries import Locked
    from model_provisioner.operations.adding.additions import Additions
    from model_provisioner.operations.adding.offers import Choice

_USER = re.compile(r"(?<=:)//[^\s/@\"']+@")
"""Whom a URL names, and perhaps a password."""


def run(reply: Reply, names: Sequence[str], *, name: str | None, allow: bool, engine: str | None, dry_run: bool) -> int:
    """Add the models, and say what became of each."""
    here = os.getcwd()
    config = find_config(here)
    if config is None and nearly_config(here):
        raise no_config(here)  # else the project would have two of them
    path = real_path(config or os.path.join(here, CONFIG_NAME))
    asked = list(_asked(names, name, os.path.dirname(path)))
    if engine is not None and not re.match(ENGINE_PATTERN, engine):
        raise InputError(
            "not a name for an engine",
            where="--engine",
            expected="a small letter, then small letters, digits, underscores and hyphens",
            found=engine,
            fix="write the name as handoffs have it: llamacpp, vllm",
        )
    with closing(progress_for_stderr()) as progress:

        def choose(ref: HubRef, choices: Sequence[Choice]) -> Choice:
            with progress.aside():
                return _chosen(ref, choices)

        options = Options(choose=choose, progress=progress, engine=engine, allow=allow, dry_run=dry_run)
        found = add(path, asked, options)
    for _, error in found.failed:
        reply.add_error(error)
    reply.result = _in_document(found, dry_run=dry_run)
    reply.say(*(_difference(found) if dry_run else ()))
    reply.say(*_lines(found, dry_run=dry_run))
    return max((error.exit_code for _, error in found.failed), default=0)


# ---- what is asked


def _asked(names: Sequence[str], name: str | None, root: str) -> Iterable[Asked]:
    """Yield the models that the arguments name, each once."""
    refs = list(names)
    if name is None and len(refs) > 1 and _is_name(refs[0]):
        name = refs.pop(0)
    if not refs:
        raise InputError(
            f"{called_as('add')} takes a REF, or several",
            where="the command line",
            expected="a file, a folder or a reference",
            found=f"--name {name} alone" if name else "none",
            fix=f"name the model: {command('add ~/models/FILE.gguf')}",
        )
    found = dict(_read(text, root) for text in refs)
    if name is not None and len(found) > 1:
        raise InputError(
            "one name is for one model",
            where="the command line",
            expected=f"one REF after the name {name!r}",
            found=f"{len(found)} of them",
            fix="add them one by one, or leave the name out: then each is named after its file",
        )
    if name is not None and not re.match(NAME_PATTERN, name):
        raise InputError(
            "not a name for a model",
            where="the command line",
            expected="a letter or digit, then letters, digits, dots, underscores and hyphens",
            found=name,
            fix=f"choose a name of these characters: --name {next(names_for(LocalRef(f'/{name}')))}",
        )
    for ref, text in found.items():
        yield Asked(ref, text, name)


def _is_name(text: str) -> bool:
    """Tell whether the first of several arguments is the name of an entry: nothing here is called so."""
    return bool(re.match(NAME_PATTERN, text)) and not _is_here(text) and not text.lower().endswith(SUFFIXES)


def _is_here(path: str) -> bool:
    """Tell whether anything is known to be at a path: a URL may be longer than any name."""
    try:
        return is_there(path)
    except StorageError:
        return False


def _read(text: str, root: str) -> tuple[ModelRef, str]:
    """Return a reference as it is meant here, and as models.yaml is to have it."""
    # A file is named by the user, who has it before him: a colon in its name begins no scheme.
    is_there = _is_here(text)
    ref = LocalRef(text) if is_there else ModelRef.parse(text)
    if not isinstance(ref, LocalRef):
        is_url = isinstance(ref, HubRef) and ref.url is not None
        return ref, text if is_url else str(ref)  # a URL needs no huggingface_hub
    path = os.path.join(os.getcwd(), text if is_there else os.path.expanduser(ref.path))
    if _is_here(first := first_shard(path)):
        path = first
    absolute = LocalRef(path).absolute(os.getcwd())
    if is_below(root, absolute.path):
        raise InputError(
            "the project itself is no model",
            where=text,
            expected="a file, or a folder of one model",
            found=f"the folder of {CONFIG_NAME}" if absolute.path == root else "a folder that holds the project",
            fix=f"name the files: {command(f'add {shlex.quote(text)}/*.gguf')}",
        )
    return absolute, written(path, absolute.path, root, os.path.expanduser("~"))


# ---- a repository of several


def _chosen(ref: HubRef, choices: Sequence[Choice]) -> Choice:
    """Ask which GGUF of a repository is meant. Raises `InputError` where nobody can be asked, or the answer names none."""
    lines = in_lines(choices)
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"the repository offers {len(choices)} GGUFs, and one has to be named",
            where=ref.id,
            expected="a quantization or a file",
            found=", ".join(f"{each.ref} ({human(each.size)})" for each in choices[:40])
            + (f" and {len(choices) - 40} more" if len(choices) > 40 else ""),
            fix=f"name one of them: {command(f'add {choices[0].ref}')}",
        )
    print_lines([f"{ref.id} offers", *(f"{number:>4}  {line}" for number, line in enumerate(lines, 1))], sys.stderr)
    sys.stderr.write("which one? ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(choices):
        return choices[int(answer) - 1]
    for each in choices:
        if answer and answer.upper() == each.quantization:
            return each
    raise InputError(
        "nothing was chosen",
        where=ref.id,
        expected=f"a number from 1 to {len(choices)}, or a quantization",
        found=answer or "an empty line",
        fix=f"run it again, or name one: {command(f'add {choices[0].ref}')}",
    )


# ---- what is said


def _lines(found: Additions, *, dry_run: bool) -> Iterable[str]:
    for name, text in found.there:
        yield f"there  {name}  {printable(text)} is in {CONFIG_NAME} already"
    for text, error in found.failed:
        first, *rest = str(error).splitlines()
        yield f"FAIL  {printable(text)}  {first}"
        yield from (f"      {line}" for line in rest)
    for each in found.added:
        digest = "" if each.locked is None else f"  {human(_size(each.locked))} {each.locked.expected}"
        yield f"{'would add' if dry_run else 'added'}  {each.name}  {printable(each.ref)}{digest}"
        if each.locked is not None and (source := _elsewhere(each.locked)):
            yield f"      note: {source} seems to have it: it is copied from there if it is the same"
    for host in found.hosts if found.added else ():
        yield f"{'would allow' if dry_run else 'allowed'}  {host}"
    count = len(found.added)
    if count and not dry_run:
        names = " and ".join(printable(relative(path)) for path, *_ in found.files)
        them = "it" if count == 1 else "them"
        yield f"{names} written: {count} {models(count)} added; `{command('provision')}` hands {them} off"


def _elsewhere(locked: Locked) -> str:
    """Return which other program seems to have a remote model already, by its digest; nothing where none does."""
    if locked.ref.startswith("file:"):
        return ""
    places = [next((each.source for each in find(file.sha256, file.size, file.name)), "") for file in locked.files]
    return places[0] if all(places) else ""


def _size(locked: Locked) -> int:
    return sum(file.size for file in locked.files)


def _difference(found: Additions) -> Iterable[str]:
    """Yield what would be written, as a unified diff."""
    for path, before, after in found.files:
        shown = relative(path)
        texts = []
        for data in (before, after):
            text = data.decode()
            for secret, shown_as in found.secrets:
                text = text.replace(secret, shown_as)
            texts.append(_USER.sub("//…@", text).splitlines(keepends=True))
        old, new = texts
        for line in difflib.unified_diff(old, new, shown if before else os.devnull, shown):
            yield line.removesuffix("\n").removesuffix("\r")
            if not line.endswith("\n") and not line.endswith("\r"):
                yield "\\ No newline at end of file"


def _in_document(found: Additions, *, dry_run: bool) -> dict[str, Any]:
    return {
        "config": found.path,
        "added": [
            {
                "name": each.name,
                "model_ref": each.ref,
                "digest": None if each.locked is None else str(each.locked.expected),
                "size_bytes": None if each.locked is None else _size(each.locked),
            }
            for each in found.added
        ],
        "there": [{"name": name, "model_ref": text} for name, text in found.there],
        "failed": [text for text, _ in found.failed],
        "allowed": list(found.hosts),
        "dry_run": dry_run,
        "difference": "".join(f"{line}\n" for line in _difference(found)),
    }

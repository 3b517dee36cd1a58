"""`list --fleet`: the hosts of the fleet, or the models on them, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from model_provisioner.cli.columns import table
from model_provisioner.cli.project import view_project
from model_provisioner.cli.reply.fields import model_fields
from model_provisioner.config.lockfile import lock_path
from model_provisioner.errors import InputError, InvalidDigestError, printable
from model_provisioner.invocation import command as called
from model_provisioner.operations.fleet.listing import Filter, fleet_rows
from model_provisioner.records.lifecycle import Lifecycle
from model_provisioner.references.digest import Digest
from model_provisioner.units import AGES, human, parse_age

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_provisioner.cli.reply.reply import Reply

_OF_MODELS = ("name", "id", "state", "outcome", "size_bytes")
"""The columns that a model of the document has by the same name."""
_NUMBERS = {"MODELS", "FAILED", "SIZE"}
_LEAST = {"PROJECT": 12, "NAME": 12, "HOST": 12, "USER": 8}
"""What is shortened where a terminal is narrow, first to last, and how many columns it keeps."""
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
_LONGEST = 1_000 * 365 * 86_400
"""Seconds: a database has no times of any age."""


def list_fleet(
    reply: Reply,
    others: Sequence[str],
    *,
    fleet: bool,
    digest: str | None,
    state: str | None,
    differs: bool,
    silent: str | None,
) -> int:
    """Print a line for each host, or for each model where models are asked for; `others` is what does not go with that."""
    if not fleet or others:
        raise InputError(
            "--digest, --state, --differs and --silent ask the fleet" if not fleet else "list --fleet takes no names",
            where="the command line",
            expected="--fleet, and no REF, --all or --allow",
            found=" ".join(others) or "no --fleet",
            fix=f"write {called('list --fleet')}, and the options that narrow it",
        )
    wanted = Filter(
        digest=None if digest is None else _digest(digest),
        state=None if state is None else _state(state),
        silent=None if silent is None else _age(silent),
        locked=_locked() if differs else None,
    )
    found = fleet_rows(wanted)
    if wanted.is_about_models:
        reply.models = [_model(row) for row in found.rows]
        rest = [
            {name: value for name, value in row.items() if name not in (*_OF_MODELS, "digest")} for row in found.rows
        ]
        reply.result = {"fleet": rest, "is_cut": found.is_cut}
        reply.say(
            *_table(("HOST", "PROJECT", "NAME", "STATE", "CHECK", "SIZE", "DIGEST", "SEEN"), map(_of_model, found.rows))
        )
    else:
        reply.result = {"hosts": found.rows, "is_cut": found.is_cut}
        reply.say(*_table(("HOST", "USER", "MODELS", "FAILED", "SIZE", "VERSION", "SEEN"), map(_of_host, found.rows)))
    if not found.rows:
        reply.say("no model of the fleet matches" if wanted.is_about_models else "no host of the fleet matches")
    if found.is_cut:
        reply.say(f"and more: only the first {len(found.rows):,} are shown; SQL has them all: docs/reference/fleet.md")
    return 0


def _digest(text: str) -> str:
    try:
        return str(Digest.parse(text))
    except InvalidDigestError as error:
        error.where = "the command line: --digest"
        raise


def _state(text: str) -> str:
    states: dict[str, str] = {each.lower(): each for each in get_args(Lifecycle)}
    if text.lower() not in states:
        raise InputError(
            "--state is not the state of a model",
            where="the command line",
            expected=" or ".join(states.values()),
            found=text,
            fix="write it as --state Failed",
        )
    return states[text.lower()]


def _age(text: str) -> int:
    if (seconds := parse_age(text)) is None or seconds > _LONGEST:
        raise InputError(
            "--silent can't be read",
            where="the command line",
            expected=AGES.replace("30d", "1d"),
            found=text,
            fix="write it as --silent 1d",
        )
    return seconds


def _locked() -> set[tuple[str, str]]:
    """Return the id and the digest of each model of `models.lock` here: two revisions have one id.

    Raises `InputError` where it has none.
    """
    with view_project() as work:
        entries = work.config.entries.values()
        locked = {(each.ref.id, str(each.locked.expected)) for each in entries if each.locked is not None}
        path = lock_path(work.config)
    if not locked:
        raise InputError(
            "--differs compares with models.lock, which names no model",
            where=path,
            expected="the models of models.yaml, locked",
            found="none of them",
            fix=f"run `{called('lock')}`",
        )
    return locked


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    algo, _, value = (row["digest"] or "").partition(":")
    digest = {"algo": algo, "value": value} if value else None
    return {**model_fields(row["name"], row["id"], None), **{name: row[name] for name in _OF_MODELS}, "digest": digest}


def _of_model(row: Mapping[str, Any]) -> tuple[str, ...]:
    size = "-" if row["size_bytes"] is None else human(row["size_bytes"])
    digest = (row["digest"] or "").partition(":")[2][:12] or "-"
    return row["host"], row["project"] or "-", row["name"], row["state"], row["outcome"] or "-", size, digest, _ago(row)


def _of_host(row: Mapping[str, Any]) -> tuple[str, ...]:
    models, failed = str(row["models"]), str(row["failed"])
    return row["host"], row["login"], models, failed, human(row["size_bytes"]), row["version"], _ago(row)


def _ago(row: Mapping[str, Any]) -> str:
    """Return how long ago a host published, in the largest unit of which there are two."""
    seconds = max(0, row["silent_seconds"])
    name, length = next(((name, each) for name, each in _UNITS if seconds >= 2 * each), ("s", 1))
    return f"{seconds // length} {name} ago"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    found = [tuple(map(printable, row)) for row in rows]
    return table(head, found, right=_NUMBERS, least=_LEAST) if found else []

"""Differences between what is here and what a fresh build would give, each worded as an error is.

What would be written comes from the functions that the steps write by: `handoff_of`, `target_of`, `row_of`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.config.entries import accepting
from model_provisioner.config.lockfile import lock_path, locked_ref
from model_provisioner.engine.publish import handoff_of
from model_provisioner.engine.register import differing, row_of
from model_provisioner.engine.verify import target_of
from model_provisioner.errors import ProvisionError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.headers.metadata import Metadata, to_json
from model_provisioner.invocation import command as called
from model_provisioner.json_text import parse_json
from model_provisioner.operations.lock import compare_files, disagreement, disagreements_beside, locked_files
from model_provisioner.records.handoff import is_handoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from model_provisioner.config.entries import Entry, Locked, LockedFile
    from model_provisioner.engine.verification.outcome import Part, Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.records.catalog.catalog import Model

Kind = Literal["lock", "model", "handoff", "checksums", "catalog"]

_TRUSTED = frozenset(("metadata", "reason"))
"""The fields of a row that a run believes unless it verifies the model again."""
SHOWN = 3
"""How many fields or lines that differ are shown of one artifact."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as a fresh build would have it, or that a fresh build would warn of."""

    kind: Kind
    """What differs: the lock file, the bytes of the model, or one of the artifacts."""
    what: str
    where: str = ""
    expected: str = ""
    found: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return str(ProvisionError(self.what, where=self.where, expected=self.expected, found=self.found, fix=self.fix))


def of_error(error: ProvisionError) -> Difference:
    """Return the difference that an error of a model is."""
    return Difference(
        kind="model", what=error.what, where=error.where, expected=error.expected, found=error.found, fix=error.fix
    )


def of_lock(work: Workspace, entry: Entry, locked: Mapping[str, Locked] | None) -> Iterator[Difference]:
    """Compare an entry with what the lock file has, by name; None where there is no lock file."""
    if locked is None:
        for part in entry.parts:
            if not part.ref.is_local and part.expected is None:
                yield Difference(
                    kind="lock",
                    what=f"nothing says which bytes {_name(part)} must have: a fresh build takes what its source has then",
                    where=f"{work.config.path}:{entry.line}",
                    expected="a models.lock that names it, or an expected_digest",
                    found="neither",
                    fix=f"run `{called('lock')}`, and keep models.lock under version control",
                )
    elif what := disagreement(entry.name, entry, locked):
        yield _disagreeing(work, what, locked_ref(entry.ref, work.config.root))
    else:
        for what in disagreements_beside(work.config, entry, locked[entry.name]):
            yield _disagreeing(work, what, "the companions that models.yaml has")


def _disagreeing(work: Workspace, what: str, expected: str) -> Difference:
    return Difference(
        kind="lock",
        what=what,
        where=lock_path(work.config),
        expected=expected,
        found="another, or none",
        fix=f"run `{called('lock')}`, or take models.yaml and models.lock from version control",
    )


def of_bytes(entry: Entry, found: Verification) -> Iterator[Difference]:
    """Compare the bytes of a model and its companions with the lock file, or else with what the entry expects."""
    unlike = [each for asked, part in zip(entry.parts, found.parts, strict=True) for each in _of_part(asked, part)]
    if unlike:
        yield from unlike
    elif entry.strict and (fault := found.fault) is not None:
        yield of_error(fault)


def _of_part(asked: Entry, found: Part) -> Iterator[Difference]:
    locked = asked.locked
    here = locked_files(found.files, found.digests)
    if locked is None or (locked.kind, locked.files) == (found.files.kind, here):
        return
    unlike = [("", f"a {locked.kind}", f"a {found.files.kind}")] if locked.kind != found.files.kind else []
    unlike += [_file(there, now) for there, now in compare_files(locked.files, here)]
    for name, expected, there in unlike:
        yield Difference(
            kind="model",
            what=f"{name or found.label or asked.name} is not what models.lock says",
            where=found.files.path,
            expected=expected,
            found=there,
            fix="get the model again from its source, or take models.lock from version control; "
            f"if what is here is right, {accepting(asked, str(found.digest))}",
        )


def of_rot(work: Workspace, found: Verification) -> Iterator[Difference]:
    """Tell of files that hold other bytes than the memo knows of them, while no stat call tells that they changed."""
    for member, digest in zip(found.files.members, found.digests, strict=True):
        known = work.memo.known(member.path)
        if known is not None and known.sha256 != digest.sha256:
            yield Difference(
                kind="model",
                what=f"{member.name} has other bytes than were verified, and neither its size nor its times moved",
                where=member.path,
                expected=f"sha256:{known.sha256}",
                found=f"sha256:{digest.sha256}",
                fix="get the model again from its source, and have its disk looked at",
            )


def of_artifacts(work: Workspace, entry: Entry, found: Verification, row: Model | None) -> Iterator[Difference]:
    """Compare the handoff, the `.sha256` target and the catalog's row of an entry with what would be written."""
    yield from _of_handoff(work, entry, handoff_of(entry, found))
    yield from _of_target(work, work.sha256_target(entry), target_of(found))
    yield from _of_row(work, row_of(work, entry, found), row)


def warnings(work: Workspace, entry: Entry, found: Verification) -> Iterator[Difference]:
    """Tell what a fresh build would warn of."""
    if (fault := found.fault) is not None and not entry.strict:
        yield replace(of_error(fault), what=f"{fault.what}, which strict_verification: false lets pass")
        return
    for asked, part in zip(entry.parts, found.parts, strict=True):
        if part.outcome == "warn" and asked.ref.is_local:
            yield Difference(
                kind="lock",
                what=f"nothing says which bytes {_name(asked)} must have: a fresh build takes those that it finds",
                where=f"{work.config.path}:{entry.line}",
                expected="a models.lock that names it, or an expected_digest",
                found=f"neither; here it has {part.digest}",
                fix=f"run `{called('lock')}`, and keep models.lock under version control",
            )


def of_retired(entry: Entry) -> Iterator[Difference]:
    """Report the handoff of a retired entry, which should have none."""
    if may_be_there(entry.handoff):
        what = f"{entry.name} is retired and has a handoff"
        yield Difference(
            kind="handoff",
            what=what,
            where=entry.handoff,
            expected="none",
            found="one",
            fix=f"run `{called('provision')}`, which removes it",
        )


def _of_handoff(work: Workspace, entry: Entry, wanted: bytes) -> Iterator[Difference]:
    path = entry.handoff
    differs = partial(Difference, kind="handoff", where=path)
    data = work.roots.read(path)
    if data == wanted:
        if path not in work.build_record:
            what = "the handoff is not in the build record, so that nothing would withdraw it"
            yield differs(
                what=what, expected="a record", found="none", fix=f"run `{called('provision')}`, which records it"
            )
    elif not may_be_there(path):
        fix = f"run `{called('provision')}`, which writes it"
        yield differs(what="the handoff is missing", expected="a handoff", found="no file", fix=fix)
    elif data is None or not is_handoff(data):
        what, fix = "the place of the handoff is taken", f"move it away and run `{called('provision')}`"
        yield differs(what=what, expected="a handoff", found="something else", fix=fix)
    else:
        what, fix = "the handoff is not what would be written", f"run `{called('provision')}`, which writes it again"
        expected, found = _in_words(_unequal(json.loads(wanted), parse_json(data)))
        yield differs(what=what, expected=expected, found=found, fix=fix)


def _of_target(work: Workspace, path: str, wanted: bytes | None) -> Iterator[Difference]:
    data = work.roots.read(path)
    if data == wanted and (data is not None or not may_be_there(path)):
        return
    what, expected, found = "the checksum file is not what would be written", "", ""
    if wanted is None:
        what = "there is a checksum file of bytes that are not as expected"
        expected, found = "none", "one"
    elif not may_be_there(path):
        what = "the checksum file is missing"
        expected, found = "a checksum file", "no file"
    else:
        expected, found = _in_words(_unequal_lines(wanted, data))
    fix = f"run `{called('provision')}`, which {'removes it' if wanted is None else 'writes it'}"
    yield Difference(kind="checksums", what=what, where=path, expected=expected, found=found, fix=fix)


def _of_row(work: Workspace, wanted: Model, row: Model | None) -> Iterator[Difference]:
    differs = partial(Difference, kind="catalog", where=work.catalog.path)
    if row is None:
        what, fix = f"the catalog has no row of {wanted.name}", f"run `{called('provision')}`, which registers it"
        yield differs(what=what, expected="a row", found="none", fix=fix)
    elif names := differing(row, wanted):
        what = f"the catalog's row of {wanted.name} is not what would be registered"
        would_be, is_now = ({name: _plain(getattr(each, name)) for name in names} for each in (wanted, row))
        expected, found = _in_words(_unequal(would_be, is_now))
        again = called("provision --full") if _TRUSTED.issuperset(names) else called("provision")
        fix = f"run `{again}`, which registers it again"
        yield differs(what=what, expected=expected, found=found, fix=fix)


# ---- in words


def _name(part: Entry) -> str:
    """Return what a part of an entry is called: the model, or a companion of it."""
    return f"{part.label} of {part.name}" if part.label else part.name


def _file(locked: LockedFile | None, here: LockedFile | None) -> tuple[str, str, str]:
    """Return the name of a file that differs, what the lock says of it, and what it is."""
    then, now = (
        "no such file" if each is None else f"sha256:{each.sha256}, {each.size:,} bytes" for each in (locked, here)
    )
    return next(each.name for each in (locked, here) if each is not None), then, now


def _plain(value: object) -> object:
    return to_json(value) if isinstance(value, Metadata) else value


def _unequal(expected: Any, found: Any, field: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the fields in which two JSON values differ, with what each of them has there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            name = f"{field}.{key}" if field else key
            if key not in expected or key not in found:
                yield name, _value(expected, key), _value(found, key)
            elif expected[key] != found[key]:
                yield from _unequal(expected[key], found[key], name)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found, strict=True)):
            if pair[0] != pair[1]:
                yield from _unequal(*pair, f"{field}[{number}]")
    else:
        yield field, json.dumps(expected), json.dumps(found)


def _value(fields: dict[str, Any], key: str) -> str:
    return json.dumps(fields[key]) if key in fields else "none"


def _unequal_lines(expected: bytes, found: bytes | None) -> Iterator[tuple[str, str, str]]:
    if found is None:
        yield "", "a file", "something else"
        return
    left, right = expected.splitlines(), found.splitlines()
    for number in range(max(len(left), len(right))):
        pair = [os.fsdecode(lines[number]) if number < len(lines) else "none" for lines in (left, right)]
        if pair[0] != pair[1]:
            yield f"line {number + 1}", pair[0], pair[1]


def _in_words(fields: Iterable[tuple[str, str, str]]) -> tuple[str, str]:
    """Return what is expected and what was found: the first of the fields that differ."""
    every = list(fields)
    if not every:  # the same values, written in another way
        return "the bytes that this version writes", "the same values in other bytes"
    rest = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    expected, found = (
        ", ".join(f"{each[0]}: {_cut(each[side])}" if each[0] else each[side] for each in every[:SHOWN]) + rest
        for side in (1, 2)
    )
    return expected, found


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"

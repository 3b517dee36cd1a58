"""Verify: read what must be read, compare it with what is expected, and say what follows."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

from model_provisioner.artifacts import provenance
from model_provisioner.artifacts.atomic import drafted, read_if_there
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
from model_provisioner.tasks.withdraw import fail, failing, pend, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.artifacts.facts import Facts
    from model_provisioner.artifacts.fileset import FileSet
    from model_provisioner.artifacts.hashing import Identity
    from model_provisioner.artifacts.memo import Answer, FileDigest, How
    from model_provisioner.models.config import Entry
    from model_provisioner.models.digest import Expected
    from model_provisioner.models.reference import ModelRef
    from model_provisioner.tasks.workspace import Workspace

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

    def told(self) -> dict[str, object]:
        """Return what a report tells of the verification."""
        return {"outcome": self.outcome, "how": self.how, "size": self.size, "digest": str(self.digest)}

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


@dataclass(frozen=True)
class Asked:
    """A model whose bytes are to be examined."""

    ref: ModelRef
    files: FileSet
    expected: Expected | None


def examine(
    asked: Sequence[Asked], digests: Callable[[Sequence[str]], Sequence[Answer]]
) -> list[Verification | ProvisionError]:
    """Find out what the bytes of models are, taking the digests of files from `digests`, and read their headers.

    An unsound, unreadable or changing model has its error in the place of a verification; a mismatch is no error here:
    see `Verification.outcome`.
    """
    found: dict[int, Verification | ProvisionError] = {}
    left = dict(enumerate(asked))
    for _ in range(TRIES):
        looked: dict[int, tuple[list[Identity], Facts]] = {}
        for number, model in list(left.items()):
            with failing(found, [number]):
                try:
                    check_kind(model.expected, model.files)
                    # Headers first: a broken file is told before an hour of hashing.
                    before = [identity(os.stat(member.path)) for member in model.files.members]
                    looked[number] = before, read_facts(model.files)
                except FileNotFoundError:  # gone between two looks at it
                    left[number] = replace(model, files=resolve(model.ref))
        answers = iter(digests([member.path for number in looked for member in left[number].files.members]))
        for number, (before, facts) in looked.items():
            model = left[number]
            each = list(islice(answers, len(model.files.members)))
            with failing(found, [number]):
                verification = _judge(model, before, facts, each)
                if verification is None:
                    left[number] = replace(model, files=resolve(model.ref))
                else:
                    found[number] = verification
        left = {number: model for number, model in left.items() if number not in found}
    for number, model in left.items():
        found[number] = ChangingModelError(
            "the model keeps changing while it is read",
            where=model.files.path,
            expected="files at rest",
            found=f"other bytes, times or files after each of {TRIES} readings",
            fix="wait until what writes them has ended, then run again",
        )
    return [found[number] for number in range(len(asked))]


def _judge(model: Asked, before: list[Identity], facts: Facts, answers: Sequence[Answer]) -> Verification | None:
    """Return what was found of a model, None where it moved meanwhile. Raises what kept a file of it from being read."""
    digests = []
    for answer in answers:
        if isinstance(answer, ProvisionError):
            raise answer
        digests.append(answer)
    found = Verification(
        ref=model.ref,
        files=model.files,
        digests=tuple(digests),
        digest=digest_of(model.files, digests),
        expected=model.expected,
        facts=facts,
    )
    return found if before == [each.identity for each in digests] and found.at_rest() else None


def verify(work: Workspace, entries: Sequence[Entry]) -> dict[str, Verification | ProvisionError]:
    """Take the step for entries, so that the promise holds however it ends; return by entry what was found.

    What must be read again loses its handoff first. A failure withdraws the handoff and the `.sha256` target, is noted in
    the catalog, and is the result; a tolerated mismatch is none.
    """
    results: dict[str, Verification | ProvisionError] = {}
    files: dict[str, FileSet] = {}
    for entry in entries:
        with failing(results, [entry.name]):
            files[entry.name] = resolve(entry.ref)
    there = [entry for entry in entries if entry.name in files]
    asked = [Asked(entry.ref, files[entry.name], entry.expected) for entry in there]
    found = examine(asked, _Reader(work, there, files).digests)
    results.update(zip((entry.name for entry in there), found, strict=True))
    read = {name: each for name, each in results.items() if isinstance(each, Verification) and each.how != "stat"}
    with failing(results, read):
        provenance.append(work.provenance_log, [_record(each) for each in read.values()])
    for entry in entries:
        with failing(results, [entry.name]):
            _check_policy(work, entry, results[entry.name])
    _write_targets(work, entries, results)
    for entry in entries:
        each = results[entry.name]
        if isinstance(each, Verification):
            work.verified[entry.name] = each
            continue
        with failing(results, [entry.name]):
            fail(work, entry, each)
    return results


def _check_policy(work: Workspace, entry: Entry, found: Verification | ProvisionError) -> None:
    """Raise what the policy has against a verification."""
    if isinstance(found, ProvisionError):
        return
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


class _Reader:
    """Gets the digests of entries as this run may: from the memo as far as that may be asked.

    Whatever has to be read, now or because it moved after it was looked at, the handoff goes first.
    """

    def __init__(self, work: Workspace, entries: Sequence[Entry], files: Mapping[str, FileSet]) -> None:
        self._work = work
        self._pending: set[str] = set()
        self._entries: dict[str, list[Entry]] = {}
        """The entries that a file belongs to, by path."""
        for entry in entries:
            for member in files[entry.name].members:
                self._entries.setdefault(member.path, []).append(entry)

    def digests(self, paths: Sequence[str]) -> list[Answer]:
        """Return the digests of files, in their order; an error takes the place of one that can't be had."""
        work = self._work
        work.memo.load(paths)
        unknown = [path for path in paths if work.rules.full or work.memo.known(path) is None]
        errors = self._pend(unknown)
        if not errors:
            return self._read(paths)
        refused = {path: errors[entry.name] for path in unknown for entry in self._of(path) if entry.name in errors}
        answers = iter(self._read([path for path in paths if path not in refused]))
        return [refused[path] if path in refused else next(answers) for path in paths]

    def _pend(self, unknown: Sequence[str]) -> dict[str, ProvisionError]:
        sizes: dict[str, int] = {}
        pending: dict[str, Entry] = {}
        for path in unknown:
            size = size_of(path)
            for entry in self._of(path):
                if entry.name not in self._pending or os.path.lexists(entry.handoff):
                    pending[entry.name] = entry
                    sizes[entry.name] = sizes.get(entry.name, 0) + size
        if not pending:
            return {}
        errors = pend(self._work, list(pending.values()))
        for name in pending.keys() - errors.keys() - self._pending:
            self._work.progress.begin(name, sizes[name])
        self._pending.update(pending)
        return errors

    def _of(self, path: str) -> list[Entry]:
        # A file that came into a folder meanwhile belongs to whoever may have that folder.
        return self._entries.get(path) or [each for some in self._entries.values() for each in some]

    def _read(self, paths: Sequence[str]) -> list[Answer]:
        memo, progress = self._work.memo, self._work.progress.advance
        if self._work.rules.full:
            return memo.digests_in_full(paths, progress)
        return memo.digests(paths, progress, trust_fingerprint=self._work.config.recheck == "xxh3")


def render_target(digests: Sequence[FileDigest]) -> bytes:
    """Return the bytes of the `.sha256` target."""
    return render_checksums((digest.path, digest.sha256) for digest in digests)


def size_of(path: str) -> int:
    """Return the bytes of a file, 0 where it is gone: the step that reads it says so."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _write_targets(
    work: Workspace, entries: Sequence[Entry], results: dict[str, Verification | ProvisionError]
) -> None:
    """Write the `.sha256` targets of what was verified, and take back those of what is not as it should be."""
    data: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for entry in entries:
        found = results[entry.name]
        if isinstance(found, ProvisionError):
            continue  # `fail` takes it back
        target = work.sha256_target(entry)
        names[target] = entry.name
        if found.outcome == "fail":
            with failing(results, [entry.name]):
                withdraw(work, target)
        elif read_if_there(target) != (wanted := render_target(found.digests)):
            data[target] = wanted
        else:
            with contextlib.suppress(OSError):
                work.written[target] = identity(os.stat(target))
    if not data:
        return
    with failing(results, [names[target] for target in data]):
        work.ledger.record(data)
        with drafted(data) as (drafts, errors):
            results.update((names[path], error) for path, error in errors.items())
            for draft in drafts:
                with failing(results, [names[draft.path]]):
                    work.written[draft.path] = identity(draft.publish())


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

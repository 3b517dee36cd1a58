"""Examine: what the bytes of models are found to be, against what is expected of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Literal

from model_provisioner.artifacts.hashing import identity
from model_provisioner.artifacts.header import read_facts
from model_provisioner.errors import (
    ChangingModelError,
    DigestMismatchError,
    InvalidDigestError,
    ProvisionError,
    failing,
)
from model_provisioner.models.digest import Digest, SetDigest, dirhash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.artifacts.facts import Facts
    from model_provisioner.artifacts.fileset import FileSet
    from model_provisioner.artifacts.hashing import Identity
    from model_provisioner.artifacts.memo import Answer, FileDigest, How
    from model_provisioner.models.digest import Expected
    from model_provisioner.models.reference import ModelRef

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

    @cached_property
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
            if self.files.again() != self.files:
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
                    left[number] = replace(model, files=model.files.again())
        answers = iter(digests([member.path for number in looked for member in left[number].files.members]))
        for number, (before, facts) in looked.items():
            model = left[number]
            each = list(islice(answers, len(model.files.members)))
            with failing(found, [number]):
                verification = _judge(model, before, facts, each)
                if verification is None:
                    left[number] = replace(model, files=model.files.again())
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

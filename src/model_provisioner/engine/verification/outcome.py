"""What the bytes of a model were found to be, against what is expected of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from model_provisioner.config.entries import accepting, label_of
from model_provisioner.errors import (
    DigestMismatchError,
    InvalidDigestError,
    ProvisionError,
    SignatureError,
    concerning,
)
from model_provisioner.fs.identity import identity_of
from model_provisioner.references.digest import Digest, SetDigest, dirhash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest, How
    from model_provisioner.headers.metadata import Metadata
    from model_provisioner.references.digest import Expected
    from model_provisioner.references.reference import ModelRef


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the bytes of a model were found to be, and whether they are what was expected."""

    entry: Entry
    """What was verified, as the run began with it."""
    files: FileSet
    digests: tuple[FileDigest, ...]
    """One for each member of `files`, in their order."""
    digest: Digest
    """Of the model itself, as `expected` is."""
    metadata: Metadata

    @property
    def ref(self) -> ModelRef:
        """What the model was asked for by."""
        return self.entry.ref

    @property
    def expected(self) -> Expected | None:
        """What is expected of the model itself."""
        return self.entry.expected

    @property
    def companions(self) -> tuple[Expected | None, ...]:
        """What is expected of each companion, in the order of those in `files`."""
        return expected_beside(self.entry)

    @property
    def is_expected(self) -> bool:
        """Whether the bytes of the model itself, companions aside, are those that somebody asked for."""
        return _outcome(self.expected, self.files, self.digests) == "pass"

    @property
    def parts(self) -> list[Part]:
        """The model, then each of its companions, with what is expected of it."""
        return parts_of(self.files, self.digests, (self.expected, *self.companions))

    @cached_property
    def outcome(self) -> Outcome:
        """That of the model and its companions together: the worst of them.

        A signature that was named and does not hold is a `fail`.
        """
        if self.metadata.signature is not None and self.metadata.signature.fault is not None:
            return "fail"
        if not self.companions:
            return _outcome(self.expected, self.files, self.digests)
        found = {part.outcome for part in self.parts}
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(digest.identity.size for digest in self.digests)

    @property
    def how(self) -> How:
        """The most expensive way in which any of the files was confirmed."""
        ways = {digest.how for digest in self.digests}
        return "hashed" if "hashed" in ways else "xxh3" if "xxh3" in ways else "stat"

    @property
    def in_full(self) -> bool:
        """Whether SHA-256 of every byte was taken now."""
        return all(digest.how == "hashed" for digest in self.digests)

    def at_rest(self) -> bool:
        """Tell whether every file is still, by its identity, what was verified, and no file came or went."""
        try:
            # Of a single file its identity says it all.
            if (self.files.kind != "file" or self.companions) and self.files.again() != self.files:
                return False
            return all(identity_of(digest.path) == digest.identity for digest in self.digests)
        except (ProvisionError, OSError):
            return False

    def to_dict(self) -> dict[str, object]:
        """Return what a report tells of the verification."""
        fault = self.fault
        told: dict[str, object] = {
            "outcome": self.outcome,
            "how": self.how,
            "size": self.size,
            "digest": str(self.digest),
            **({"fault": str(fault)} if isinstance(fault, SignatureError) else {}),
        }
        if not self.companions:
            return told
        return {
            **told,
            "parts": [(part.label, part.outcome, str(part.expected), str(part.digest)) for part in self.parts],
        }

    @property
    def fault(self) -> DigestMismatchError | SignatureError | None:
        """The error that a strict verification ends in: of the first digest, before that of the signature."""
        if any(part.outcome == "fail" for part in self.parts):
            return self.mismatch()
        signed = self.metadata.signature
        if signed is None or signed.fault is None:
            return None
        what, where, expected, found, fix = signed.fault
        error = SignatureError(what, where=where, expected=expected, found=found, fix=fix)
        error.digest = str(self.digest)
        return error

    def mismatch(self) -> DigestMismatchError:
        """Return the error that a strict verification ends in: of the first part that is not as expected."""
        asked, part = next(pair for pair in zip(self.entry.parts, self.parts, strict=True) if pair[1].outcome == "fail")
        return DigestMismatchError(
            part.files.path,
            str(part.expected),
            str(part.digest),
            detail=_differences(part),
            companion=part.label,
            accepting=accepting(asked, str(part.digest)),
        )


Outcome = Literal["pass", "warn", "fail"]
"""`warn` is: nothing was expected."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A model without its companions, or one of them: what has a digest of its own."""

    label: str
    """Empty for the model, for a companion what messages call it."""
    files: FileSet
    digests: Sequence[FileDigest]
    expected: Expected | None

    @property
    def digest(self) -> Digest:
        """Of its files alone."""
        return digest_of(self.files, self.digests)

    @property
    def outcome(self) -> Outcome:
        """Whether its bytes are what is expected of them."""
        return _outcome(self.expected, self.files, self.digests)

    @property
    def by_name(self) -> dict[str, str]:
        """The SHA-256 of each file, by its name in the set."""
        return {member.name: digest.sha256 for member, digest in zip(self.files.members, self.digests, strict=True)}


def parts_of(files: FileSet, digests: Sequence[FileDigest], expected: Sequence[Expected | None]) -> list[Part]:
    """Return the parts of a model, given what is expected of each."""
    labels = ["", *(label_of(each.role, each.files.path) for each in files.companions)]
    found, begin = [], 0
    for label, part, wanted in zip(
        labels, [files.model, *(each.files for each in files.companions)], expected, strict=True
    ):
        end = begin + len(part.members)
        found.append(Part(label=label, files=part, digests=digests[begin:end], expected=wanted))
        begin = end
    return found


def _outcome(expected: Expected | None, files: FileSet, digests: Sequence[FileDigest]) -> Outcome:
    if expected is None:
        return "warn"
    return "pass" if matches(expected, files, digests) else "fail"


def digest_of(files: FileSet, digests: Sequence[FileDigest]) -> Digest:
    """Return the one digest of a model without its companions: SHA-256 of a file, dirhash of a set."""
    files, digests = files.model, digests[: len(files.model.members)]
    if files.kind == "file":
        return Digest("sha256", digests[0].sha256)
    return dirhash((member.name, digest.sha256) for member, digest in zip(files.members, digests, strict=True))


def matches(expected: Expected, files: FileSet, digests: Sequence[FileDigest]) -> bool:
    """Tell whether the digests of a model without its companions are the expected ones."""
    files, digests = files.model, digests[: len(files.model.members)]
    if isinstance(expected, SetDigest):
        found = {member.name: digest.sha256 for member, digest in zip(files.members, digests, strict=True)}
        return found == {path: digest.value for path, digest in expected.files}
    return expected == digest_of(files, digests)


def check_kinds(entry: Entry, files: FileSet) -> None:
    """Raise `InvalidDigestError` where a digest of one file is expected of a set, or the other way round."""
    _check_kind(entry.expected, files.model)
    for wanted, each in zip(expected_beside(entry), files.companions, strict=True):
        with concerning(label_of(each.role, each.files.path)):
            _check_kind(wanted, each.files)


def _check_kind(expected: Expected | None, files: FileSet) -> None:
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


def expected_beside(entry: Entry) -> tuple[Expected | None, ...]:
    """Return what is expected of each companion of an entry."""
    return tuple(each.expected for each in entry.companions)


def verification_of(entry: Entry, files: FileSet, digests: tuple[FileDigest, ...], metadata: Metadata) -> Verification:
    """Return the verification of an entry whose files have these digests."""
    return Verification(
        entry=entry,
        files=files,
        digests=digests,
        digest=digest_of(files, digests),
        metadata=metadata,
    )


def _differences(found: Part) -> str:
    """Name the files of a set that are not as expected, the first few of them."""
    if not isinstance(found.expected, SetDigest):
        return ""
    wanted = {path: digest.value for path, digest in found.expected.files}
    there = {member.name: digest.sha256 for member, digest in zip(found.files.members, found.digests, strict=True)}
    parts = [f"{name} differs" for name in sorted(wanted.keys() & there.keys()) if wanted[name] != there[name]]
    parts += [f"{name} is missing" for name in sorted(wanted.keys() - there.keys())]
    parts += [f"{name} was not expected" for name in sorted(there.keys() - wanted.keys())]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")

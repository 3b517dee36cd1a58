"""Current: the one definition of what need not be done again. It reads no byte of a model and writes nothing.

doit's tasks, the withdrawal at the start of a run and `model-why` all ask here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model_provisioner.engine.entry_run import Reason
from model_provisioner.engine.events import counting
from model_provisioner.engine.publish import render_handoff
from model_provisioner.engine.register import row_of
from model_provisioner.engine.resolve import resolve
from model_provisioner.engine.verification.outcome import (
    check_kinds,
    digest_of,
    expected_beside,
    parts_of,
    verification_of,
)
from model_provisioner.engine.verification.signatures import reason_to_check, recorded
from model_provisioner.engine.verify import render_target
from model_provisioner.engine.withdrawal.withdraw import READ
from model_provisioner.errors import ModelNotFoundError, ProvisionError
from model_provisioner.fs.clock import unseen_on
from model_provisioner.fs.identity import identity_of
from model_provisioner.headers.compatibility import read_checked
from model_provisioner.records.checksums import is_checksums
from model_provisioner.units import human

if TYPE_CHECKING:
    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.entry_run import EntryRun
    from model_provisioner.engine.verification.outcome import Verification
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest, How, Memo
    from model_provisioner.records.catalog.catalog import Model
    from model_provisioner.references.digest import Digest


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of an entry without reading its model."""

    files: FileSet | None = None
    digests: tuple[FileDigest, ...] | None = None
    """None where at least one file would have to be read."""
    unread: tuple[Reason, ...] = ()
    """Why files would have to be read, or what keeps them from being used at all."""

    @property
    def digest(self) -> Digest | None:
        """The digest of the model itself, None where a file would have to be read."""
        return None if self.files is None or self.digests is None else digest_of(self.files, self.digests)


def stand(work: Workspace, record: EntryRun) -> Standing:
    """Find out what is known of an entry."""
    if (found := record.verification) is not None and found.at_rest():
        return Standing(files=found.files, digests=found.digests)
    try:
        files = resolve(work, record)
        check_kinds(record.entry, files)
    except ProvisionError as error:
        return Standing(unread=(Reason("verify", error.what, missing=isinstance(error, ModelNotFoundError)),))
    if work.rules.full:
        return Standing(files=files, unread=(Reason("verify", "everything is verified in full"),))
    digests, unread = [], []
    work.memo.load(member.path for member in files.members)
    for member in files.members:
        digest = work.memo.known(member.path)
        if digest is None:
            role = "" if member.role == "model" else f"{member.role} "
            prefix = f"{role}{member.name}: " if role or files.kind != "file" else ""
            doubted = work.memo.doubted(member.path) is not None
            text = _change(work.memo, member.path)
            touched = "" if text.startswith(("size", "not")) else member.path
            unread.append(Reason("verify", prefix + text, touched, doubted))
        else:
            digests.append(digest)
    signature = () if record.entry.signature is None else record.entry.signature.files
    unread += [
        Reason("verify", f"the signature: {_change(work.memo, path)}", path, doubted=True)
        for path in signature
        if work.memo.known(path) is None and work.memo.doubted(path) is not None
    ]
    return Standing(files=files, digests=None if unread else tuple(digests), unread=tuple(unread))


def known(work: Workspace, record: EntryRun) -> Verification | None:
    """Return what an entry's bytes are without reading one of them; None where one would have to be read.

    The header is read where the catalog does not have it. Raises what keeps the model from being used.
    """
    standing = stand(work, record)
    if standing.files is None or standing.digests is None:
        return None
    row = work.catalog.get(work.config.root, record.name)
    metadata = row.metadata if row is not None and row.digest == str(standing.digest) else None
    if metadata is None:
        metadata = read_checked(standing.files, record.entry.engine)
    return verification_of(record.entry, standing.files, standing.digests, metadata)


def reasons(work: Workspace, record: EntryRun) -> list[Reason]:
    """Return why the entry's steps have to be done; nothing when all is current."""
    standing = stand(work, record)
    row = work.catalog.get(work.config.root, record.name)
    return [
        *_verify_reasons(work, record.entry, standing, row),
        *_register_reasons(work, record.entry, standing, row),
        *_handoff_reasons(work, record.entry, standing, row),
    ]


def explain(work: Workspace, record: EntryRun) -> list[Reason]:
    """Return the `reasons`, less what only follows, after reading what was touched to tell whether its content changed."""
    found: list[Reason] = []
    left = reasons(work, record)
    before = {reason: work.memo.doubted(reason.touched) for reason in left if reason.doubted}
    if before:
        work.memo.compare([reason.touched for reason in before], counting(work.progress))
        left = reasons(work, record)
        for reason, was in before.items():
            if was is not None and (now := work.memo.known(reason.touched)) is not None:
                same = now.sha256 == was.sha256
                found.append(replace(reason, text=_compared(reason, same, now.how), holds=same))
    for reason in left:
        if reason.follows:
            continue
        if not reason.touched:
            found.append(reason)
            continue
        try:
            same, how = work.memo.same_content(reason.touched, counting(work.progress))
        except ProvisionError as error:
            found.append(Reason("verify", error.what))
        else:
            found.append(Reason("verify", _compared(reason, same, how)))
    return found


def _compared(reason: Reason, same: bool, how: How) -> str:
    return f"{reason.text}, content {'same' if same else 'differs'} ({'xxh3' if how == 'xxh3' else 'SHA-256'})"


def _verify_reasons(work: Workspace, entry: Entry, standing: Standing, row: Model | None) -> list[Reason]:
    found = list(standing.unread)
    if row is not None:
        if row.id != entry.ref.id:
            found.append(Reason("verify", "model_ref edited"))
        if row.expected != (None if entry.expected is None else str(entry.expected)):
            gone = "no digest is expected any more"
            by_lock = "the lock file has a digest now" if row.expected is None else "the lock file has another digest"
            told = gone if entry.expected is None else by_lock if entry.by_lock else "expected digest edited"
            found.append(Reason("verify", told))
        if row.strict != entry.strict:
            found.append(Reason("verify", "strict_verification edited"))
        if row.lifecycle == "Pending":
            found.append(Reason("verify", row.reason or READ))  # earlier versions noted none
        elif row.lifecycle == "Failed":
            found.append(Reason("verify", "the last attempt failed"))
    if (why := reason_to_check(work, entry, row)) is not None and row is not None:
        found.append(Reason("verify", why))
    if standing.files is None or standing.digests is None:
        return found
    if work.rules.locked and not entry.is_locked:
        found.append(Reason("verify", "not in the lock file, and this run takes no other"))
    parts = parts_of(standing.files, standing.digests, (entry.expected, *expected_beside(entry)))
    if work.rules.require_digest and any(part.expected is None for part in parts):
        found.append(Reason("verify", "no digest is expected, and this run requires one"))
    differ = [
        f"the digest{f' of {part.label}' if part.label else ''} differs from what is expected"
        for part in parts
        if part.outcome == "fail"
    ]
    if differ:
        return [*found, *(Reason("verify", text) for text in differ)]
    target = work.roots.read(work.sha256_target(entry))
    if target != render_target(standing.digests):
        if target is None:
            found.append(Reason("verify", "checksum file missing"))
        else:
            of_others = is_checksums(target)
            found.append(Reason("verify", f"checksum file {'of other files' if of_others else 'edited'}"))
    return found


def _register_reasons(work: Workspace, entry: Entry, standing: Standing, row: Model | None) -> list[Reason]:
    if row is None:
        return [Reason("register", "catalog row missing")]
    if standing.files is None or standing.digests is None:
        return [Reason("register", "the model has to be verified first", follows=True)]
    if row.metadata is None:
        return [Reason("register", "header not in the catalog")]
    found = verification_of(entry, standing.files, standing.digests, row.metadata)
    wanted = row_of(work, entry, found)
    edited = {"engine": "engine edited", "handoff": "handoff path edited"}
    compared = ("path", "lifecycle", "outcome", "digest", "size", "engine", "config", "handoff", "source", "revision")
    told = [
        Reason("register", edited.get(name, f"catalog row has another {name}"))
        for name in compared
        if getattr(row, name) != getattr(wanted, name)
    ]
    if (row.expected, row.strict) != (wanted.expected, wanted.strict):  # told by the verify step
        told.append(Reason("register", "policy edited", follows=True))
    return told


def _handoff_reasons(work: Workspace, entry: Entry, standing: Standing, row: Model | None) -> list[Reason]:
    data = work.roots.read(entry.handoff)
    if data is None:
        return [Reason("handoff", "handoff missing")]
    expected = _expected_handoff(work, entry, standing, row)
    if expected is None:
        return [Reason("handoff", "the model has to be verified first", follows=True)]
    if expected != data:
        return [Reason("handoff", "handoff differs from what would be written")]
    if entry.handoff not in work.build_record:
        return [Reason("handoff", "handoff not in the build record", confirmed=True)]
    return []


def _expected_handoff(work: Workspace, entry: Entry, standing: Standing, row: Model | None) -> bytes | None:
    """Return the bytes the handoff must have, None where there must be none or the model has to be read first."""
    if standing.files is None or standing.digests is None:
        return None
    digest = digest_of(standing.files, standing.digests)
    metadata = row.metadata if row is not None and row.digest == str(digest) else None
    if metadata is None:
        try:
            metadata = read_checked(standing.files, entry.engine)
        except ProvisionError:
            return None
    if metadata.signature is not None or entry.signature is not None:
        metadata = replace(metadata, signature=recorded(work, entry, row, str(digest)))
        if entry.signature is not None and metadata.signature is None:
            return None
    found = verification_of(entry, standing.files, standing.digests, metadata)
    if row is not None and row.corrupt == str(digest) and not found.is_expected:
        return None
    if (found.outcome == "fail" and entry.strict) or (found.outcome == "warn" and work.rules.require_digest):
        return None
    if work.rules.locked and not entry.is_locked:
        return None
    return render_handoff(entry, found.files, found.digests, found.digest, metadata, found.outcome)


def _change(memo: Memo, path: str) -> str:
    """Say what is new about a file that has to be read."""
    row = memo.last(path)
    if row is None:
        return "not verified before"
    try:
        new = identity_of(path)
    except OSError as error:
        return error.strerror or str(error)
    if new.size != row.identity.size:
        return f"size {human(new.size, row.identity.size)}, was {human(row.identity.size, new.size)}"
    if new.mtime_ns != row.identity.mtime_ns:
        return "mtime changed"
    if new.inode == row.identity.inode and new.device != row.identity.device:
        return "its file system has another number: it was mounted anew, or is another one"
    if (new.device, new.inode) != (row.identity.device, row.identity.inode):
        return "another file took its place"
    if new.ctime_ns != row.identity.ctime_ns:
        return "ctime changed"
    if (kind := unseen_on(path, new.device)) is not None:
        return f"on {kind} bytes may change and leave the times as they were"
    if row.fingerprint is None and row.ground == "xxh3":
        return "confirmed by a fingerprint of an earlier version"
    if not memo.is_ground(row):
        return "confirmed by xxh3, and recheck is sha256"
    return "verified so soon after its last change that another one may not show"

"""Why the bytes of a remote file are not taken, or not handed out, in the words of what the entry asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.config.entries import accepting
from model_provisioner.errors import DigestMismatchError, FetchError
from model_provisioner.fetchers.http.begun import LieError
from model_provisioner.invocation import command as called
from model_provisioner.references.digest import SetDigest
from model_provisioner.references.reference import HubRef, ModelRef, ObjectRef, OciRef, OllamaRef, is_whole

if TYPE_CHECKING:
    from model_provisioner.config.entries import Entry
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.references.mirror import Mirror

_ACCESS: dict[type[ModelRef], str] = {
    HubRef: "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it",
    ObjectRef: "ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own",
}
"""How to get access where a source says what it has, and does not hand it out."""


def reword(error: FetchError, ref: ModelRef) -> None:
    """Let what a server refused say what that means of a source of this kind, and what to do."""
    if isinstance(ref, HubRef) and error.code == "RepoNotFound":
        error.what = "the Hub has no such repository any more, or shows it to others only"
        error.fix = (
            "if it was renamed, correct model_ref; for a private one, `hf auth login` or set HF_TOKEN to a token that may "
            "read it"
        )
    elif isinstance(ref, HubRef) and error.code == "RevisionNotFound":
        error.what = "the repository does not have the commit any more that was locked or first fetched"
        error.fix = f"`{called('lock --upgrade NAME')}` takes what it has now"
    elif isinstance(ref, ObjectRef) and error.status in {400, 401, 403} and error.code not in {"", "AccessDenied"}:
        from model_provisioner.fetchers.s3.errors import storage_error

        told = storage_error(error.status or 0, error.code, where=error.where, anonymous=False, hint="")
        error.what, error.found, error.fix = told.what, told.found, told.fix
    elif isinstance(ref, OciRef | OllamaRef) and error.status in {401, 403, 404}:
        from model_provisioner.fetchers.oci.errors import reword_layer

        reword_layer(error, ref)
    elif error.status in {401, 403}:
        from model_provisioner.fetchers.hub import is_installed

        error.fix = _ACCESS.get(type(ref), error.fix)
        if isinstance(ref, HubRef) and not is_installed():
            from model_provisioner.installation import with_extra

            error.fix = f"{with_extra('hf')}, which tells the Hub who you are; then {error.fix}"


def larger(entry: Entry, file: RemoteFile, host: str, known: int, size: int) -> FetchError:
    """Return the error for a file of an entry that has more bytes than the `known` number that it has to have."""
    return FetchError(
        f"{file.name} is larger than when it was locked or first fetched",
        where=f"{entry.ref.id} at {host}",
        expected=f"{known:,} bytes",
        found=f"{size:,} bytes, or more",
        fix=f"if the new bytes are right, {_taking(entry)}",
    )


def mismatch(entry: Entry, file: RemoteFile, wanted: str, found: str) -> DigestMismatchError:
    """Return the error for a file of an entry that has, or would have, another SHA-256 than is wanted."""
    path = f"{entry.ref.id} ({file.name})" if is_whole(entry.ref) else entry.ref.id
    one = file.name if isinstance(entry.expected, SetDigest) else ""
    remedy = f"ask who runs the source; if what it has now is right, {accepting(entry, f'sha256:{found}', one)}"
    return DigestMismatchError(path, f"sha256:{wanted}", f"sha256:{found}", companion=entry.label, fix=remedy)


def wrong_at_mirror(mirror: Mirror, file: RemoteFile, wanted: str, found: str) -> LieError:
    """Return the error for a mirror that sent other bytes than those of the SHA-256 that it was asked for."""
    return LieError(
        "it sent other bytes than it was asked for, of which nothing was kept",
        where=f"{mirror} ({file.name})",
        expected=f"sha256:{wanted}",
        found=f"sha256:{found}, for sha256:{wanted}",
        fix="tell who runs the mirror",
    )


def _taking(entry: Entry) -> str:
    """Return what a user does to take what a source has now."""
    upgrade = f"run `{called(f'lock --upgrade {entry.name}')}`"
    is_written = entry.expected is not None and not entry.by_lock
    return f"take expected_digest out of models.yaml, then {upgrade}" if is_written else upgrade

"""Check a publisher's signature without a network: a bundle of OpenSSF model signing, or of sigstore over one file.

The libraries `model-signing` and `sigstore` do that, given the digests of the model's files. They come with the extra `sign`,
so they are imported only when they are needed.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pathlib
import threading
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import InputError, MissingExtraError, SignatureError
from model_provisioner.fs.atomic import temporary_file
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import read_file, read_if_there
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_provisioner.config.entries import Claim
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.hashing.memo import FileDigest

BUNDLE_LIMIT = 16 << 20
ITSELF = "."
"""The name that model signing gives to the file of a model that is one file."""

_trusting = threading.Lock()


def check_signature(claim: Claim, files: FileSet, digests: Sequence[FileDigest]) -> None:
    """Raise `SignatureError` unless the bundle is signed as claimed, over the digests of the model's files.

    The signature must cover every file of a folder, except those that it says it leaves out, and at least every file of a
    split or of a model of one file. The files are read only if the bundle has other digests than SHA-256 of whole files.
    Raises `MissingExtraError` without the libraries.
    """
    document = _document(claim)
    found = {member.name: digest.sha256 for member, digest in zip(files.members, digests, strict=True)}
    if "dsseEnvelope" in document:
        _check_model(claim, files, found, _predicate(claim, document))
    elif "messageSignature" in document:
        _check_file(claim, files, found)
    else:
        raise _damaged(claim, "neither a signed statement nor a signed file")


# ---- OpenSSF model signing


def _check_model(claim: Claim, files: FileSet, found: Mapping[str, str], predicate: dict[str, Any]) -> None:
    try:
        from model_signing import hashing, manifest, verifying
        from model_signing._hashing import hashing as digests
    except ImportError as error:
        raise _missing("model-signing", error) from None
    reached = False
    how = predicate["serialization"]
    names = {str(each["name"]): str(each["digest"]) for each in predicate["resources"]}

    class Known(hashing.Config):  # type: ignore[misc]  # it has no types
        """Return the known digests instead of hashing."""

        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            nonlocal reached
            reached = True
            if how.get("method") != "files" or how.get("hash_type") != "sha256":
                return super().hash(model_path, files_to_hash=files_to_hash)
            kind = manifest.SerializationType.from_args(how)
            there = _as_signed(files, found, names, [str(path) for path in how.get("ignore_paths", ())])
            items = (
                kind.new_item(name, digests.Digest("sha256", bytes.fromhex(value))) for name, value in there.items()
            )
            return manifest.Manifest(os.path.basename(files.place), items, kind)

    try:
        known = Known()
        if how.get("method") == "shards":
            known.use_shard_serialization(hashing_algorithm=how["hash_type"], shard_size=int(how["shard_size"]))
        elif how.get("hash_type") != "sha256":
            known.use_file_serialization(hashing_algorithm=how["hash_type"])
        known.set_allow_symlinks(bool(how.get("allow_symlinks")))
        config = verifying.Config().set_hashing_config(known)
        if claim.public_key is not None:
            config.use_elliptic_key_verifier(public_key=claim.public_key)
        else:
            trust = _trust()._inner.to_json().encode()  # noqa: SLF001  it has no public way
            with temporary_file(trust, ".json") as name:
                path = pathlib.Path(name)
                config.use_sigstore_verifier(identity=claim.identity, oidc_issuer=claim.issuer, trust_config=path)
        config.verify(files.place, claim.bundle)
    except Exception as error:  # noqa: BLE001  whatever the error, the signature is not confirmed
        if reached:
            raise _other_bytes(claim, files, error) from None
        raise _refused(claim, error) from None


def _as_signed(
    files: FileSet, found: Mapping[str, str], names: Mapping[str, str], ignored: Sequence[str]
) -> dict[str, str]:
    """Return the digests of the model's files, by the names that the signature has for them."""
    if files.kind == "folder":
        left_out = {*(path.rstrip("/") for path in ignored), ".gitattributes", ".gitignore", ".github"}
        return {name: value for name, value in found.items() if name in names or not _is_in(name, left_out)}
    # The publisher may have signed a folder that holds more files: those are not checked.
    if files.kind == "file" and ITSELF in names:
        return {ITSELF: next(iter(found.values()))}
    return {**names, **found}


def _is_in(name: str, folders: set[str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:count]) in folders for count in range(1, len(parts) + 1))


# ---- sigstore, of one file


def _check_file(claim: Claim, files: FileSet, found: Mapping[str, str]) -> None:
    if claim.public_key is not None:
        raise SignatureError(
            "the bundle is sigstore's over one file, which is checked by identity and issuer",
            where=claim.bundle,
            expected="a bundle of OpenSSF model signing for a public_key",
            found="messageSignature",
            fix="name identity: and issuer: in the place of public_key:",
        )
    if files.kind != "file":
        raise SignatureError(
            "the bundle is over one file, and the model is several",
            where=claim.bundle,
            expected="a bundle of OpenSSF model signing",
            found=f"a {files.kind} of {len(files.members)} files",
            fix="get that bundle from the publisher",
        )
    try:
        from sigstore.hashes import Hashed
        from sigstore.models import Bundle
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity
        from sigstore_models.common.v1 import HashAlgorithm
    except ImportError as error:
        raise _missing("sigstore", error) from None
    (value,) = found.values()
    try:
        bundle = Bundle.from_json(read_file(claim.bundle, BUNDLE_LIMIT))
        Verifier(trusted_root=_trust().trusted_root).verify_artifact(
            Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(value)),
            bundle,
            Identity(identity=str(claim.identity), issuer=claim.issuer),
        )
    except Exception as error:  # noqa: BLE001  whatever the error, the signature is not confirmed
        if "digest mismatch" in str(error) or "invalid for input" in str(error):
            raise _other_bytes(claim, files, error) from None
        raise _refused(claim, error) from None


def _trust() -> Any:
    """Return sigstore's roots of trust: those in its package, or newer ones that a tool of sigstore stored on this machine."""
    from sigstore.models import ClientTrustConfig

    # It warns that it is offline, as we want it to be.
    logging.getLogger("sigstore._internal.tuf").setLevel(logging.ERROR)
    with _trusting:  # the first call copies them to a cache, where another thread would read half a file
        return ClientTrustConfig.production(offline=True)


# ---- the bundle


def _document(claim: Claim) -> dict[str, Any]:
    try:
        document = parse_json(read_if_there(claim.bundle, BUNDLE_LIMIT) or b"")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise SignatureError(
            "the signature's bundle is damaged",
            where=claim.bundle,
            expected="a sigstore bundle, which is a JSON object",
            found="no JSON object",
            fix="get the bundle again from the publisher",
        )
    return document


def _predicate(claim: Claim, document: dict[str, Any]) -> dict[str, Any]:
    """Return what the envelope says is signed, which is not trusted before the signature is verified."""
    try:
        payload = parse_json(base64.b64decode(document["dsseEnvelope"]["payload"]))
        predicate = payload["predicate"]
        if payload["predicateType"] == "https://model_signing/Digests/v0.1":  # written by model signing before 1.0
            resources = [{"name": each["name"], "digest": each["digest"]["sha256"]} for each in payload["subject"]]
            serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
            return {"resources": resources, "serialization": serialization}
        return {
            "resources": [{"name": each["name"], "digest": each["digest"]} for each in predicate["resources"]],
            "serialization": {**predicate["serialization"]},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(claim, f"{type(error).__name__}: {error}") from None


# ---- errors


def _damaged(claim: Claim, found: str) -> SignatureError:
    return SignatureError(
        "the signature's bundle is damaged, or of a kind that is not known",
        where=claim.bundle,
        expected="a bundle of OpenSSF model signing, or of sigstore over one file",
        found=found,
        fix="get the bundle again from the publisher",
    )


def _refused(claim: Claim, error: Exception) -> SignatureError:
    found = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ == "InvalidBundle" or isinstance(error, KeyError | TypeError | json.JSONDecodeError):
        return _damaged(claim, found)
    if isinstance(error, OSError):
        return SignatureError(
            "the signature can't be checked",
            where=error.filename or claim.bundle,
            expected="a folder that can be written",
            found=error.strerror or found,
            fix="give sigstore a folder for its roots of trust that can be written: set XDG_CACHE_HOME",
        )
    if claim.public_key is not None:
        if type(error).__name__ == "InvalidSignature" or found.startswith("Key mismatch"):
            return SignatureError(
                "the model is not signed with that key",
                where=claim.bundle,
                expected=f"a signature by the key in {claim.public_key}",
                found="one of another key, or a bundle that was changed",
                fix="get the publisher's key from the publisher; if it is this one, do not use the model",
            )
        return SignatureError(
            "the signature can't be checked with that key",
            where=claim.bundle,
            expected=f"an ECDSA key (P-256, P-384 or P-521, PEM) in {claim.public_key}, and a bundle signed with it",
            found=found,
            fix="get both again from the publisher",
        )
    return SignatureError(
        "the signature is not one of that identity, or does not hold",
        where=claim.bundle,
        expected=f"a signature by {claim.identity}, whom {claim.issuer} vouched for when it was made",
        found=found,
        fix="compare identity and issuer with what the publisher says; if they are right, do not use the model",
    )


def _other_bytes(claim: Claim, files: FileSet, error: Exception) -> SignatureError:
    return SignatureError(
        "the signature is over other bytes than the model has",
        where=claim.bundle,
        expected=f"a signature over the files of {files.place}",
        found=" ".join(str(error).split()),
        fix="get model and bundle again, of one release, from the publisher",
    )


def _missing(package: str, error: ImportError) -> MissingExtraError:
    from model_provisioner.installation import with_extra

    return MissingExtraError(
        f"the signature can't be checked without the package {package}, which is not installed, or not wholly",
        where="the Python that runs this",
        expected="the extra sign",
        found=str(error) or f"no module {package}",
        fix=f"{with_extra('sign')}, or take signature: out of models.yaml",
    )


def check_readable(claim: Claim) -> None:
    """Raise `InputError` if the bundle or the key of a claim can't be read."""
    for name, path in (("bundle", claim.bundle), ("public_key", claim.public_key)):
        if path is not None and read_if_there(path, BUNDLE_LIMIT) is None:
            raise InputError(
                f"the signature's {name} can't be read",
                where=path,
                expected=f"a file of at most {BUNDLE_LIMIT:,} bytes that you may read",
                found="no file that you may read" if may_be_there(path) else "no such file",
                fix="correct its path in models.yaml, or get it from the publisher",
            )

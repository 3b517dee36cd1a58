"""Sign a statement with a local key, in a DSSE envelope, and check such an envelope.

securesystemslib does both. It comes with the extra `sign`, so it is imported only when it is needed.
"""

from __future__ import annotations

import base64
import json
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from model_provisioner.errors import InputError, MissingExtraError, StatementError
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.read import read_if_there
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Callable

    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
KEYS = "a PEM file of an Ed25519 or ECDSA P-256 key"
KEY_LIMIT = 64 << 10
MAX_SIGNATURES = 64
"""Each that is tried takes time."""


def another() -> str:
    """Return the fix where a file is no statement of ours."""
    return f"name a file that `{called('attest NAME -o FILE')}` wrote"


def sign(payload: bytes, key: str) -> tuple[bytes, str]:
    """Return an envelope of `payload`, signed with the private key in the file `key`, and the id of the key.

    Raises `InputError` for a file without such a key, `MissingExtraError` without the library.
    """
    dsse = _library()
    signer = _private_key(key)
    envelope = dsse.Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    document = json.dumps(envelope.to_dict(), sort_keys=True).encode() + b"\n"
    return document, str(signer.public_key.keyid)


def payload_of(data: bytes) -> bytes | None:
    """Return the payload of an envelope of a statement, whoever signed it; None where `data` is none."""
    try:
        document = json.loads(data)
        return base64.b64decode(document["payload"]) if document["payloadType"] == PAYLOAD_TYPE else None
    except (ValueError, RecursionError, LookupError, TypeError):
        return None


def is_envelope(document: Any) -> bool:
    """Tell whether a JSON value looks like an envelope."""
    return isinstance(document, dict) and "payload" in document and "signatures" in document


def open_envelope(document: dict[str, Any], key: str, where: str) -> tuple[bytes, str]:
    """Return the payload of an envelope signed with the key whose public half is in the file `key`, and the id of the key.

    `where` is the envelope's path. Raises `StatementError` for another signature, `InputError` for a damaged envelope or key.
    """
    dsse = _library()
    public = _public_key(key)
    try:
        # Key ids in an envelope are hints: any signature in it may be by this key.
        some = document["signatures"][: MAX_SIGNATURES + 1]
        numbered = [{"keyid": str(number), "sig": each["sig"]} for number, each in enumerate(some)]
        envelope = dsse.Envelope.from_dict({**document, "signatures": numbered})
        signatures = [each.signature for each in envelope.signatures.values()]
        payload, kind = bytes(envelope.payload), str(envelope.payload_type)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "the envelope is damaged",
            where=where,
            expected="a DSSE envelope: payload, payloadType and signatures, in base64",
            found=str(error) or type(error).__name__,
            fix="get the file again from who made it",
        ) from None
    if kind != PAYLOAD_TYPE:
        raise InputError(
            "the envelope holds no statement", where=where, expected=PAYLOAD_TYPE, found=kind, fix=another()
        )
    if len(signatures) > MAX_SIGNATURES:
        expected, found = f"at most {MAX_SIGNATURES} signatures", f"{len(document['signatures']):,}"
        raise InputError(
            "the envelope has too many signatures", where=where, expected=expected, found=found, fix=another()
        )
    if not any(_is_valid(public, signature, envelope.pae()) for signature in signatures):
        raise StatementError(
            "the statement is not signed with that key",
            where=where,
            expected=f"a signature by the key in {key}",
            found="none at all" if not signatures else "one of another key, or over another statement",
            fix="take it for a forgery, unless another key was meant",
        )
    return payload, str(public.keyid)


def _is_valid(public: SSlibKey, signature: str, signed: bytes) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    try:
        public.verify_signature(Signature(public.keyid, signature), signed)
    except UnverifiedSignatureError:
        return False
    return True


def _library() -> Any:
    try:
        import cryptography  # noqa: F401  securesystemslib imports without it, and fails later
        from securesystemslib import dsse
    except ImportError:
        from model_provisioner.installation import with_extra

        raise MissingExtraError(
            "signed statements need the package securesystemslib, which is not installed",
            where="the Python that runs this",
            expected="the extra sign",
            found="no module securesystemslib, or no cryptography",
            fix=f"{with_extra('sign')}; a statement without a signature needs nothing",
        ) from None
    return dsse


def _private_key(path: str) -> CryptoSigner:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner(_load_key(path, "private", partial(load_pem_private_key, password=None)))


def _public_key(path: str) -> SSlibKey:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(_load_key(path, "public", load_pem_public_key))


def _load_key(path: str, half: Literal["private", "public"], load: Callable[[bytes], Any]) -> Any:
    """Return the key in a PEM file, of a kind that can be used."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    data = _key_bytes(path)
    other = "public" if half == "private" else "private"
    try:
        key = load(data)
    except TypeError:
        raise _no_key(path, "private key without a password", "one that is encrypted") from None
    except ValueError:
        found = f"a {other} key" if f"{other.upper()} KEY".encode() in data else "something else"
        raise _no_key(path, f"{half} key", found) from None
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise _no_key(path, f"{half} key", f"a key on the curve {key.curve.name}")
    elif not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        raise _no_key(path, f"{half} key", "a key of another kind")
    return key


def _key_bytes(path: str) -> bytes:
    data = read_if_there(path, KEY_LIMIT)
    if data is None:
        found = "no file that you may read" if may_be_there(path) else "no such file"
        raise InputError("the key can't be read", where=path, expected=KEYS, found=found, fix="name another file")
    return data


def _no_key(path: str, wanted: str, found: str) -> InputError:
    fixes = {
        "a private key": f"openssl pkey -in {shlex.quote(path)} -pubout writes its public half",
        "one that is encrypted": f"openssl pkey -in {shlex.quote(path)} -out FILE writes it without a password",
    }
    return InputError(
        f"the file holds no {wanted} that can be used",
        where=path,
        expected=KEYS,
        found=found,
        fix=fixes.get(found, "openssl genpkey -algorithm ed25519 -out FILE makes one"),
    )

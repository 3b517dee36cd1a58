"""The envelope around a statement: DSSE, with keys as openssl writes them."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from model_provisioner.provenance.dsse import is_envelope, open_envelope, sign
from model_provisioner.errors import InputError, StatementError
from tests.support.keys import make_keys

PAYLOAD = '{"ä": 1}\n'.encode()


@pytest.fixture(params=["ed25519", "p256"])
def keys(tmp_path, request):
    return make_keys(tmp_path, request.param)


def test_the_signature_is_over_the_encoding_of_the_specification(keys):
    """Checked without the library that made it."""
    data, _ = sign(PAYLOAD, str(keys.private))
    document = json.loads(data)
    (signature,) = document["signatures"]
    assert document["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(document["payload"]) == PAYLOAD
    signed = b"DSSEv1 28 application/vnd.in-toto+json 10 " + PAYLOAD
    public = load_pem_public_key(keys.public.read_bytes())
    extra = (ec.ECDSA(SHA256()),) if isinstance(public, ec.EllipticCurvePublicKey) else ()
    public.verify(base64.b64decode(signature["sig"]), signed, *extra)  # raises


def test_what_was_signed_is_opened_with_the_key(keys):
    data, key = sign(PAYLOAD, str(keys.private))
    assert is_envelope(json.loads(data))
    assert open_envelope(json.loads(data), str(keys.public), "x") == (PAYLOAD, key)


@pytest.mark.parametrize("hint", ["another key's", "", None])
def test_the_id_in_an_envelope_is_a_hint(keys, hint):
    document = json.loads(sign(PAYLOAD, str(keys.private))[0])
    (signature,) = document["signatures"]
    signature["keyid"] = hint
    if hint is None:
        del signature["keyid"]
    foreign = {"keyid": "x", "sig": base64.b64encode(b"no signature").decode()}
    assert open_envelope({**document, "signatures": [foreign, signature]}, str(keys.public), "x")[0] == PAYLOAD


def test_another_key_another_payload_and_no_signature_are_refused(keys, tmp_path):
    document = json.loads(sign(PAYLOAD, str(keys.private))[0])
    other = make_keys(tmp_path, "ed25519", "other")
    for changed, public, found in [
        (document, other.public, "one of another key, or over another statement"),
        ({**document, "payload": base64.b64encode(b"{}").decode()}, keys.public, "one of another key"),
        ({**document, "signatures": []}, keys.public, "none at all"),
    ]:
        with pytest.raises(StatementError) as error:
            open_envelope(changed, str(public), "/x/s.json")
        assert str(error.value).startswith(
            "the statement is not signed with that key\n"
            "  where     /x/s.json\n"
            f"  expected  a signature by the key in {public}\n"
            f"  found     {found}"
        )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"payload": "%%%"}, "the envelope is damaged"),
        ({"payload": 7}, "the envelope is damaged"),
        ({"signatures": 7}, "the envelope is damaged"),
        ({"signatures": [{"keyid": "x"}]}, "the envelope is damaged"),
        ({"signatures": [{"sig": "%"}]}, "the envelope is damaged"),
        ({"payloadType": "text/plain"}, "the envelope holds no statement"),
    ],
    ids=["payload", "payload type", "signatures", "no signature", "no base64", "another payload"],
)
def test_a_damaged_envelope_is_an_error(keys, change, what):
    document = json.loads(sign(PAYLOAD, str(keys.private))[0])
    with pytest.raises(InputError) as error:
        open_envelope({**document, **change}, str(keys.public), "/x/s.json")
    assert str(error.value).startswith(f"{what}\n  where     /x/s.json\n")


def test_keys_that_can_not_be_used_are_errors(tmp_path):
    good = make_keys(tmp_path, "ed25519")
    hidden = make_keys(tmp_path, "ed25519", "a hidden one", b"secret")
    text = tmp_path / "text"
    text.write_text("no key")
    cases = [
        (good.public, "a public key", "openssl genpkey -algorithm ed25519 -out FILE makes one"),
        (hidden.private, "one that is encrypted", f"openssl pkey -in '{hidden.private}' -out FILE writes it"),
        (make_keys(tmp_path, "rsa").private, "a key of another kind", "openssl genpkey"),
        (make_keys(tmp_path, "p384").private, "a key on the curve secp384r1", "openssl genpkey"),
        (text, "something else", "openssl genpkey"),
    ]
    for path, found, fix in cases:
        with pytest.raises(InputError) as error:
            sign(PAYLOAD, str(path))
        said = str(error.value)
        assert said.startswith("the file holds no private key"), said
        assert f"  found     {found}\n  fix       {fix}" in said
    for path, found in [(tmp_path / "none", "no such file"), (tmp_path, "no file that you may read")]:
        with pytest.raises(InputError) as error:
            sign(PAYLOAD, str(path))
        assert str(error.value) == (
            f"the key can't be read\n  where     {path}\n"
            f"  expected  a PEM file of an Ed25519 or ECDSA P-256 key\n  found     {found}\n  fix       name another file"
        )
    document = json.loads(sign(PAYLOAD, str(good.private))[0])
    with pytest.raises(InputError, match="the file holds no public key that can be used"):
        open_envelope(document, str(good.private), "x")

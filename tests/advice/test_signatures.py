"""What is advised for signatures of publishers, and for statements and their keys, holds afterwards."""

import base64
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from model_signing import hashing, signing

from model_provisioner.installation import with_extra
from tests.support.advice import advised, fix
from tests.support.keys import make_keys
from tests.support.project import settle
from tests.support.remote import TINY_SHA, sha256

REAL = Path(__file__).parents[1] / "data" / "signatures"
WHO = {"identity": "stefanb@us.ibm.com", "issuer": "https://sigstore.verify.ibm.com/oauth2"}
RELEASE = {
    "identity": "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml@refs/tags/v0.1.2",
    "issuer": "https://token.actions.githubusercontent.com",
}
KEYED = {"bundle": "model.sig", "public_key": "publisher.pub"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """sigstore puts its roots of trust there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def configure(project, ref, signature, **fields):
    entry = {"model_ref": f"file:{ref}", "signature": signature, "engine": "vllm", **fields}
    project.models(json.dumps({"models": {"m": entry}}))


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path, "p256", "publisher")


@pytest.fixture
def signed(project, keys):
    """A folder whose publisher signed it with a key."""
    project.write("m/weights.bin", "weights")
    shutil.copy(keys.public, project.root / "publisher.pub")
    config = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    config.set_hashing_config(hashing.Config())
    config.sign(project.root / "m", project.root / "model.sig")
    configure(project, "m", KEYED)
    settle()
    return project


def no_bundle(project, tmp_path):
    (project.root / "model.sig").unlink()


def broken(project, tmp_path):
    project.write("model.sig", "{")


def of_another_kind(project, tmp_path):
    project.write("model.sig", "{}")


def another_key(project, tmp_path):
    shutil.copy(make_keys(tmp_path, "p256", "other").public, project.root / "publisher.pub")


def a_key_of_another_kind(project, tmp_path):
    shutil.copy(make_keys(tmp_path, "rsa").public, project.root / "publisher.pub")


def other_bytes(project, tmp_path):
    project.write("m/weights.bin", "others!")


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("correct its path in models.yaml, or get it from the publisher", no_bundle),
        ("get the bundle again from the publisher", broken),
        ("get the bundle again from the publisher", of_another_kind),
        (
            "get the publisher's key from the publisher; if it is this one, do not use the model",
            another_key,
        ),
        ("get both again from the publisher", a_key_of_another_kind),
        ("get model and bundle again, of one release, from the publisher", other_bytes),
    ],
)
def test_what_the_publisher_has_is_got_again(signed, tmp_path, sentence, fault):
    good = {name: (signed.root / name).read_bytes() for name in ("model.sig", "publisher.pub", "m/weights.bin")}
    fault(signed, tmp_path)
    advised(signed.provision(code=None), sentence)
    for name, data in good.items():
        signed.write(name, data)
    signed.provision()
    assert signed.handoff("vllm")["metadata"]["signature"]["outcome"] == "pass"


def test_a_path_is_corrected(signed):
    configure(signed, "m", {**KEYED, "bundle": "modle.sig"})
    advised(signed.provision(code=None), "correct its path in models.yaml, or get it from the publisher")
    configure(signed, "m", KEYED)
    signed.provision()


@pytest.mark.parametrize("wrong", [{"identity": "someone@us.ibm.com"}, {"issuer": "https://issuer.example"}])
def test_identity_and_issuer_are_those_that_the_publisher_names(project, wrong):
    shutil.copytree(REAL / "by-identity", project.root / "by-identity")
    configure(project, "by-identity", {"bundle": "by-identity/model.sig", **WHO, **wrong})
    advised(
        project.provision(code=1),
        "compare identity and issuer with what the publisher says; if they are right, do not use the model",
    )
    configure(project, "by-identity", {"bundle": "by-identity/model.sig", **WHO})
    project.provision()


def test_a_bundle_over_one_file_is_checked_by_identity_and_of_one_file(project):
    for name in ("package.whl", "package.sigstore"):
        project.write(name, (REAL / "one-file" / name).read_bytes())
    project.write("publisher.pub", (REAL / "by-key.pub").read_bytes())
    configure(project, "package.whl", {"bundle": "package.sigstore", "public_key": "publisher.pub"})
    advised(project.provision(code=1), "name identity: and issuer: in the place of public_key:")
    configure(project, "package.whl", {"bundle": "package.sigstore", **RELEASE})
    project.provision()
    shutil.copytree(REAL / "by-identity", project.root / "by-identity")
    configure(project, "by-identity", {"bundle": "package.sigstore", **WHO})
    advised(project.provision(code=1), "get that bundle from the publisher")
    configure(project, "by-identity", {"bundle": "by-identity/model.sig", **WHO})
    project.provision()


def test_a_cache_of_roots_that_can_not_be_written_is_another(project, tmp_path, monkeypatch):
    shutil.copytree(REAL / "by-identity", project.root / "by-identity")
    configure(project, "by-identity", {"bundle": "by-identity/model.sig", **WHO})
    (tmp_path / "file").write_text("")
    project.environ["XDG_CACHE_HOME"] = str(tmp_path / "file")
    advised(
        project.provision(code=1),
        "give sigstore a folder for its roots of trust that can be written: set XDG_CACHE_HOME",
    )
    project.environ["XDG_CACHE_HOME"] = str(tmp_path / "another")
    project.provision()


def without(project, package):
    folder = project.write(f"without/{package}/__init__.py", "raise ImportError").parent.parent
    project.environ["PYTHONPATH"] = str(folder)


def test_the_extra_is_installed_or_the_signature_taken_out(signed):
    without(signed, "model_signing")
    sentence = "{}, or take signature: out of models.yaml"
    assert advised(signed.process("provision", code=1), sentence) == (with_extra("sign"),)
    signed.models(json.dumps({"models": {"m": {"model_ref": "file:m", "engine": "vllm"}}}))
    signed.process("provision")
    configure(signed, "m", KEYED)
    del signed.environ["PYTHONPATH"]  # as it is with the extra
    signed.provision()


# ---- statements


@pytest.fixture
def pinned(local):
    local.models(f"models: {{t: {{model_ref: models/tiny.gguf, expected_digest: 'sha256:{TINY_SHA}'}}}}")
    local.provision()
    return local


@pytest.fixture
def pair(tmp_path):
    return make_keys(tmp_path, "ed25519", "ours")


def stated(project, *args):
    project.doit("model-attest", "t", "-o", "s.json", "--force", *args)
    return json.loads((project.root / "s.json").read_text())


def test_an_extra_is_installed_or_the_statement_not_signed(pinned, pair):
    without(pinned, "securesystemslib")
    sentence = "{}; a statement without a signature needs nothing"
    answer = pinned.process("model-attest", "t", "--key", str(pair.private), code=1)
    assert advised(answer, sentence) == (with_extra("sign"),)
    pinned.process("model-attest", "t")
    del pinned.environ["PYTHONPATH"]  # as it is with the extra
    pinned.doit("model-attest", "t", "--key", str(pair.private))


def test_a_key_of_a_statement_is_made_or_named_as_it_is_told(pinned, pair, tmp_path):
    sign = ("model-attest", "t", "-o", "s.json", "--force", "--key")
    check = ("model-attest", "--verify", "s.json", "--public-key")
    stated(pinned, "--key", str(pair.private))
    advised(pinned.doit(*sign, "nowhere.pem", code=3), "name another file")
    advised(pinned.doit(*check, "nowhere.pub", code=3), "name another file")
    advised(pinned.doit(*sign, str(pair.public), code=3), "openssl genpkey -algorithm ed25519 -out FILE makes one")
    made = tmp_path / "made.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", made], check=True, capture_output=True)
    pinned.doit(*sign, str(made))
    hidden = make_keys(tmp_path, "ed25519", "hidden", password=b"word")
    (path,) = advised(
        pinned.doit(*sign, str(hidden.private), code=3), "openssl pkey -in {} -out FILE writes it without a password"
    )
    bare = tmp_path / "bare.pem"
    command = ["openssl", "pkey", "-in", *shlex.split(path), "-out", bare, "-passin", "pass:word"]
    subprocess.run(command, check=True, capture_output=True)
    pinned.doit(*sign, str(bare))
    (path,) = advised(pinned.doit(*check, str(bare), code=3), "openssl pkey -in {} -pubout writes its public half")
    half = subprocess.run(["openssl", "pkey", "-in", *shlex.split(path), "-pubout"], check=True, capture_output=True)
    (tmp_path / "bare.pub").write_bytes(half.stdout)
    pinned.doit(*check, str(tmp_path / "bare.pub"))


def test_a_signed_statement_is_checked_by_the_key_of_who_made_it(pinned, pair, tmp_path):
    stated(pinned, "--key", str(pair.private))
    check = ("model-attest", "--verify", "s.json")
    advised(pinned.doit(*check, code=3), "name it: --public-key FILE")
    other = make_keys(tmp_path, "ed25519", "other")
    sentence = "take it for a forgery, unless another key was meant"
    advised(pinned.doit(*check, "--public-key", str(other.public), code=1), sentence)
    pinned.doit(*check, "--public-key", str(pair.public))
    stated(pinned)
    advised(pinned.doit(*check, "--public-key", str(pair.public), code=1), "ask who made it for the signed one")
    stated(pinned, "--key", str(pair.private))
    pinned.doit(*check, "--public-key", str(pair.public))


def damaged(envelope):
    return {**envelope, "payload": "%"}


def of_another_payload(envelope):
    return {**envelope, "payloadType": "text/plain"}


def of_many(envelope):
    return {**envelope, "signatures": envelope["signatures"] * 65}


def no_summary(envelope):
    payload = json.loads(base64.b64decode(envelope["payload"]))
    return payload | {"predicateType": "https://example.org/other"}


def no_statement(envelope):
    return {"models": []}


@pytest.mark.parametrize(
    ("sentence", "harm"),
    [
        ("get the file again from who made it", damaged),
        ("name a file that `doit model-attest NAME -o FILE` wrote", of_another_payload),
        ("name a file that `doit model-attest NAME -o FILE` wrote", of_many),
        ("name a file that `doit model-attest NAME -o FILE` wrote", no_summary),
        ("name a file that `doit model-attest NAME -o FILE` wrote", no_statement),
    ],
)
def test_a_statement_is_one_that_was_written(pinned, pair, sentence, harm):
    envelope = stated(pinned, "--key", str(pair.private))
    found = harm(envelope)
    pinned.write("other.json", json.dumps(found))
    key = ("--public-key", str(pair.public)) if "payloadType" in found else ()
    advised(pinned.doit("model-attest", "t", "--verify", "other.json", *key, code=3), sentence)
    pinned.doit("model-attest", "t", "--verify", "s.json", "--public-key", str(pair.public))


def test_a_statement_that_can_not_be_read_or_names_no_model(pinned):
    statement = stated(pinned)
    advised(pinned.doit("model-attest", "--verify", "nowhere.json", code=3), "name another file")
    del statement["predicate"]["modelprovisioner_verification"]
    pinned.write("s.json", json.dumps(statement))
    sentence = "name the model: doit model-attest NAME --verify FILE"
    advised(pinned.doit("model-attest", "--verify", "s.json", code=3), sentence)
    pinned.doit("model-attest", "t", "--verify", "s.json")


def test_a_statement_of_what_was_not_pinned_is_made_anew(local):
    stated_of = ("model-attest", "t", "--verify", "s.json")
    local.models("models: {t: {model_ref: models/tiny.gguf}}")
    local.provision()
    stated(local)
    advised(local.doit(*stated_of, code=1), "give it the expected_digest, provision it, and ask for a new statement")
    local.models(f"models: {{t: {{model_ref: models/tiny.gguf, expected_digest: 'sha256:{TINY_SHA}'}}}}")
    local.provision()
    stated(local)
    local.doit(*stated_of)


@pytest.mark.parametrize("way", ["the bytes", "a statement"])
def test_a_statement_is_about_the_bytes_that_are_here(pinned, way):
    stated(pinned)
    path = pinned.root / "models/tiny.gguf"
    good = path.read_bytes()
    path.write_bytes(good + bytes(32))
    advised(
        pinned.doit("model-attest", "t", "--verify", "s.json", code=1),
        "get the bytes that it is about, or a statement about these",
    )
    if way == "the bytes":
        path.write_bytes(good)
    else:
        digest = sha256(good + bytes(32))
        pinned.models(f"models: {{t: {{model_ref: models/tiny.gguf, expected_digest: 'sha256:{digest}'}}}}")
        pinned.provision()
        stated(pinned)
    pinned.doit("model-attest", "t", "--verify", "s.json")


def test_what_no_record_has_any_more_is_verified_again(pinned):
    from tests.support.project import forget_verifications

    forget_verifications(pinned)
    path = pinned.root / "models/tiny.gguf"
    path.write_bytes(path.read_bytes() + bytes(32))
    answer = pinned.doit("model-attest", "t", code=1)
    assert advised(answer, "run `doit provision {}`") == ("t",)
    assert "in no record any more" in answer.all
    assert fix(answer)
    path.write_bytes(path.read_bytes()[:-32])
    pinned.provision("t")
    pinned.doit("model-attest", "t")

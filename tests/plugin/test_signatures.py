"""`signature:` of an entry: the publisher's signature is checked without a network, with real bundles and the real libraries."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_signing import hashing, signing

from model_provisioner.installation import with_extra
from tests.support.keys import make_keys
from tests.support.project import settle

REAL = Path(__file__).parents[1] / "data" / "signatures"
WHO = {"identity": "stefanb@us.ibm.com", "issuer": "https://sigstore.verify.ibm.com/oauth2"}
RELEASE = {
    "identity": "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml@refs/tags/v0.1.2",
    "issuer": "https://token.actions.githubusercontent.com",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """sigstore puts its roots of trust there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def entry(ref, signature, **fields):
    return {"model_ref": f"file:{ref}", "signature": signature, "engine": "vllm", **fields}


def configure(project, **entries):
    defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
    project.models(json.dumps({"defaults": defaults, "models": entries}))


def sign(project, ref, key, bundle="model.sig", hasher=None):
    """Sign as a publisher does, with model signing itself."""
    config = signing.Config().use_elliptic_key_signer(private_key=key.private)
    config.set_hashing_config(hasher or hashing.Config())
    config.sign(project.root / ref, project.root / bundle)


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path, "p256", "publisher")


@pytest.fixture
def signed(project, keys):
    """A folder whose publisher signed it with a key."""
    project.write("m/config.json", "{}")
    project.write("m/sub/weights.bin", "weights")
    shutil.copy(keys.public, project.root / "publisher.pub")
    sign(project, "m", keys)
    configure(project, m=entry("m", {"bundle": "model.sig", "public_key": "publisher.pub"}))
    settle()
    return project


def real(project, name):
    shutil.copytree(REAL / name, project.root / name)


def test_a_signature_that_holds_is_told_in_handoff_catalog_log_and_statement(signed):
    assert "warn  m  hashed" in signed.provision().out  # no digest is expected; that is another matter
    told = signed.handoff("m")["metadata"]["signature"]
    assert told.keys() == {"bundle_sha256", "outcome", "public_key_sha256"}
    assert told["outcome"] == "pass"
    row = signed.rows()["m"]
    assert (row["state"], row["metadata"]["signature"]["outcome"]) == ("Active", "pass")
    assert row["metadata"]["signature"]["over"] == row["digest"]
    assert signed.provenance()[0]["signature"] == told
    statement = json.loads(signed.doit("model-attest", "m").out)
    assert statement["predicate"]["modelprovisioner_verification"]["signature"] == told


def test_without_a_signature_there_is_no_word_of_one(signed):
    configure(signed, m={"model_ref": "file:m", "engine": "vllm"})
    signed.provision()
    assert "signature" not in signed.handoff("m")["metadata"]
    assert "signature" not in signed.rows()["m"]["metadata"]
    assert "signature" not in signed.provenance()[0]


def test_an_unchanged_model_is_a_look_at_its_files(signed, run_python, monkeypatch):
    signed.provision()
    assert "1 model: 1 current" in signed.provision().out
    assert signed.why("m") == []
    program = (
        "import sys, os; os.chdir(%r)\n"
        "from doit.doit_cmd import DoitMain\n"
        "os.utime('m/config.json', (1e9, 1e9))\n"
        "DoitMain().run(['provision'])\n"
        "print(sorted({'model_signing', 'sigstore', 'cryptography'} & sys.modules.keys()))\n"
    ) % str(signed.root)
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(signed.state))
    out = run_python(program).splitlines()
    assert out[-1] == "[]", "bytes and bundle are the same: nothing is checked again"
    assert "confirmed by xxh3" in out[0]


@pytest.mark.parametrize("named", [(), ("m",)])
def test_a_changed_bundle_or_key_is_seen_by_every_way(signed, tmp_path, named):
    signed.provision()
    assert "1 model: 1 current" in signed.provision().out  # by the snapshot, from now on
    other = make_keys(tmp_path, "p256", "other")
    good = (signed.root / "model.sig").read_bytes()
    for path, data, reason in [
        ("model.sig", b"{}", "the signature's bundle has to be read"),
        ("publisher.pub", other.public.read_bytes(), "the signature's key has to be read"),
    ]:
        before = (signed.root / path).read_bytes()
        signed.write(path, data)
        assert signed.why("m") == [reason]
        answer = signed.provision(*named, code=1)
        assert "its handoff was withdrawn" in answer.out
        assert signed.handoff("m") is None
        signed.write(path, before)
        settle()
        signed.provision(*named)
        assert signed.handoff("m")["metadata"]["signature"]["outcome"] == "pass"
        assert "current" in signed.provision(*named).out
    assert (signed.root / "model.sig").read_bytes() == good


def test_a_signature_over_other_bytes_does_not_hold_however_often_it_is_asked(signed):
    signed.provision()
    signed.write("m/sub/weights.bin", "forgery")
    for _ in range(2):
        answer = signed.provision(code=1)
        assert answer.out.startswith("FAIL  m  the signature is over other bytes than the model has\n")
        assert f"        where     {signed.root}/model.sig\n" in answer.out
        assert f"        expected  a signature over the files of {signed.root}/m\n" in answer.out
        assert "Hash mismatch for 'sub/weights.bin'" in answer.out
        assert signed.handoff("m") is None
        row = signed.rows()["m"]
        assert (row["state"], row["outcome"]) == ("Failed", "fail")
    signed.write("m/sub/weights.bin", "weights")
    signed.provision()
    assert signed.handoff("m")["metadata"]["signature"]["outcome"] == "pass"


@pytest.mark.parametrize(
    ("change", "what", "found"),
    [
        (lambda p: p.write("m/more.bin", "x"), "the signature is over other bytes than the model has", "more.bin"),
        (lambda p: (p.root / "m/config.json").unlink(), "the signature is over other bytes", "Missing files"),
        (lambda p: p.write("model.sig", "{"), "the signature's bundle is damaged\n", "no JSON object"),
        (lambda p: p.write("model.sig", "[]"), "the signature's bundle is damaged\n", "no JSON object"),
        (lambda p: p.write("model.sig", "{}"), "the signature's bundle is damaged, or of a kind", "neither"),
        (
            lambda p: p.write("model.sig", (p.root / "model.sig").read_bytes()[:200] + b'"}}'),
            "the signature's bundle is damaged",
            "",
        ),
        (
            lambda p: p.write("model.sig", b'{"dsseEnvelope": {"payload": "e30="}, "verificationMaterial": {}}'),
            "the signature's bundle is damaged, or of a kind",
            "KeyError",
        ),
        (lambda p: (p.root / "model.sig").unlink(), "the signature's bundle can't be read", "no such file"),
        (lambda p: (p.root / "publisher.pub").unlink(), "the signature's public_key can't be read", "no such file"),
        (
            lambda p: shutil.copy(make_keys(p.root.parent, "p256", "x").public, p.root / "publisher.pub"),
            "the model is not signed with that key",
            "one of another key, or a bundle that was changed",
        ),
        (
            lambda p: shutil.copy(make_keys(p.root.parent, "ed25519").public, p.root / "publisher.pub"),
            "the signature can't be checked with that key",
            "curve",
        ),
        (lambda p: p.write("publisher.pub", "no key"), "the signature can't be checked with that key", "PEM"),
    ],
)
def test_what_does_not_hold_fails_the_model(signed, change, what, found):
    signed.provision()
    change(signed)
    answer = signed.provision(code=1)
    assert answer.out.startswith(f"FAIL  m  {what}"), answer
    assert found in answer.out
    assert signed.handoff("m") is None
    assert signed.rows()["m"]["state"] == "Failed"


def test_a_changed_payload_is_not_signed(signed):
    bundle = json.loads((signed.root / "model.sig").read_bytes())
    envelope = bundle["dsseEnvelope"]
    envelope["payload"] = envelope["payload"][:-8] + "fX0KICB9"
    signed.write("model.sig", json.dumps(bundle))
    answer = signed.provision(code=1)
    assert "FAIL  m  the " in answer.out
    assert signed.handoff("m") is None


def test_where_it_is_tolerated_the_handoff_says_so(signed, tmp_path):
    other = make_keys(tmp_path, "p256", "other")
    claim = {"bundle": "model.sig", "public_key": str(other.public)}
    configure(signed, m=entry("m", claim, strict_verification=False))
    for _ in range(2):
        answer = signed.provision()
        assert answer.out.startswith(
            "FAIL! m  the model is not signed with that key, and strict_verification is false: "
            "it was handed off all the same\n"
        )
        metadata = signed.handoff("m")["metadata"]
        assert (metadata["verification"], metadata["signature"]["outcome"]) == ("fail", "fail")
        row = signed.rows()["m"]
        assert (row["state"], row["outcome"]) == ("Failed", "fail")
        assert row["reason"].startswith("the model is not signed with that key\n")
    configure(signed, m=entry("m", claim))
    signed.provision(code=1)
    assert signed.handoff("m") is None


def test_an_edited_signature_is_a_reason(signed, keys):
    signed.provision()
    configure(signed, m=entry("m", {"bundle": "model.sig", **WHO}))
    assert signed.why("m") == ["signature edited"]
    answer = signed.provision(code=1)
    assert answer.out.startswith("FAIL  m  ")
    configure(signed, m={"model_ref": "file:m", "engine": "vllm"})
    signed.provision()
    assert "signature" not in signed.handoff("m")["metadata"]
    configure(signed, m=entry("m", {"bundle": "model.sig", "public_key": "publisher.pub"}))
    assert "no signature of it held before" in signed.why("m")
    signed.provision()
    assert signed.handoff("m")["metadata"]["signature"]["outcome"] == "pass"


def test_files_that_the_publisher_left_out_are_no_matter_and_others_are(project, keys):
    for name in ("weights.bin", "notes/today", ".gitattributes"):
        project.write(f"m/{name}", name)
    hasher = hashing.Config().set_ignored_paths(paths=["notes", "model.sig"])
    sign(project, "m", keys, "m/model.sig", hasher)
    claim = {"bundle": "m/model.sig", "public_key": str(keys.public)}
    configure(project, m=entry("m", claim))
    project.provision()
    project.write("m/notes/tomorrow", "x")
    project.provision()
    project.write("m/notes2", "x")
    assert "the signature is over other bytes" in project.provision(code=1).out


def test_one_file_and_one_file_of_a_signed_folder(project, keys):
    project.add_tiny("alone/tiny.gguf")
    project.write("alone/README", "x")
    project.add_tiny("one.gguf")
    sign(project, "one.gguf", keys, "one.sig")
    sign(project, "alone", keys, "folder.sig")
    claim = {"public_key": str(keys.public)}
    configure(
        project,
        one=entry("one.gguf", {"bundle": "one.sig", **claim}),
        part=entry("alone/tiny.gguf", {"bundle": "folder.sig", **claim}),
        foreign=entry("one.gguf", {"bundle": "folder.sig", **claim}),
    )
    answer = project.provision(code=1)
    assert [project.handoff(name) is not None for name in ("one", "part", "foreign")] == [True, True, False]
    assert "Extra files found in model 'one.gguf': one.gguf" in answer.out


def test_a_split_is_signed_shard_by_shard(project, keys, tiny_models):
    shards = sorted(tiny_models.glob("*-of-*.gguf"))
    for shard in shards:
        project.write(f"split/{shard.name}", shard.read_bytes())
    sign(project, "split", keys, "split.sig")
    claim = {"bundle": "split.sig", "public_key": str(keys.public)}
    configure(project, split=entry(f"split/{shards[0].name}", claim))
    project.provision()
    data = bytearray(shards[1].read_bytes())
    data[-1] ^= 1
    project.write(f"split/{shards[1].name}", bytes(data))
    assert f"Hash mismatch for '{shards[1].name}'" in project.provision(code=1).out


@pytest.mark.parametrize(
    "hasher",
    [
        lambda: hashing.Config().use_shard_serialization(shard_size=4),
        lambda: hashing.Config().use_file_serialization(hashing_algorithm="blake3"),
    ],
)
def test_digests_that_we_do_not_have_are_the_librarys_to_take(signed, keys, hasher):
    sign(signed, "m", keys, hasher=hasher())
    settle()
    signed.provision()
    assert signed.handoff("m")["metadata"]["signature"]["outcome"] == "pass"
    assert signed.why("m") == []
    signed.write("m/sub/weights.bin", "forgery")
    assert "the signature is over other bytes" in signed.provision(code=1).out


def offline(project, *args):
    """Run doit where there is no network at all."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "doit", *args]
    environ = {**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(project.state)}
    return subprocess.run(command, cwd=project.root, env=environ, capture_output=True, text=True, check=False)


def test_signatures_that_others_made_hold_without_a_network(project):
    for name in ("by-key", "by-identity", "one-file"):
        real(project, name)
    shutil.copy(REAL / "by-key.pub", project.root)
    configure(
        project,
        key=entry("by-key", {"bundle": "by-key/model.sig", "public_key": "by-key.pub"}),
        who=entry("by-identity", {"bundle": "by-identity/model.sig", **WHO}),
        one=entry("one-file/package.whl", {"bundle": "one-file/package.sigstore", **RELEASE}),
    )
    answer = offline(project, "provision")
    assert (answer.returncode, answer.stderr) == (0, ""), answer
    for name, by in [("who", WHO), ("one", RELEASE)]:
        told = project.handoff(name)["metadata"]["signature"]
        assert told["outcome"] == "pass"
        assert by.items() <= told.items()
    assert project.handoff("key")["metadata"]["signature"]["outcome"] == "pass"


def later(bundle):
    """A day after the certificate had expired, says the log."""
    (logged,) = bundle["verificationMaterial"]["tlogEntries"]
    logged["integratedTime"] = str(int(logged["integratedTime"]) + 86400)


@pytest.mark.parametrize(
    ("model", "bundle", "claim", "what", "found"),
    [
        (
            "by-identity",
            "model.sig",
            {**WHO, "identity": "someone@us.ibm.com"},
            "the signature is not one of that identity",
            "stefanb@us.ibm.com",
        ),
        (
            "by-identity",
            "model.sig",
            {**WHO, "issuer": "https://accounts.example.org"},
            "the signature is not one of that identity",
            "OIDCIssuer",
        ),
        ("one-file/package.whl", "package.sigstore", WHO, "the signature is not one of that identity", "OIDCIssuer"),
    ],
)
def test_a_foreign_identity_is_told(project, model, bundle, claim, what, found):
    folder = model.split("/")[0]
    real(project, folder)
    configure(project, m=entry(model, {"bundle": f"{folder}/{bundle}", **claim}))
    answer = project.provision(code=1)
    assert answer.out.startswith(f"FAIL  m  {what}, or does not hold\n"), answer
    assert f"a signature by {claim['identity']}, whom {claim['issuer']} vouched for when it was made" in answer.out
    assert found in answer.out
    assert project.handoff("m") is None


def test_an_expired_identity_other_bytes_and_another_kind_are_told(project):
    real(project, "one-file")
    path = project.root / "one-file/package.sigstore"
    claim = {"bundle": "one-file/package.sigstore", **RELEASE}
    good = path.read_bytes()
    bundle = json.loads(good)
    later(bundle)
    path.write_text(json.dumps(bundle))
    configure(project, m=entry("one-file/package.whl", claim))
    answer = project.provision(code=1)
    assert "FAIL  m  the signature is not one of that identity, or does not hold\n" in answer.out
    assert "certificate" in answer.out
    path.write_bytes(good)
    project.write("one-file/package.whl", "other bytes")
    assert "FAIL  m  the signature is over other bytes than the model has\n" in project.provision(code=1).out
    configure(project, m=entry("one-file", claim))
    assert "FAIL  m  the bundle is over one file, and the model is several\n" in project.provision(code=1).out
    shutil.copy(REAL / "by-key.pub", project.root)
    configure(
        project, m=entry("one-file/package.whl", {"bundle": "one-file/package.sigstore", "public_key": "by-key.pub"})
    )
    assert (
        "FAIL  m  the bundle is sigstore's over one file, which is checked by identity and issuer\n"
        in project.provision(code=1).out
    )


def test_without_the_libraries_the_extra_is_named(signed):
    signed.write("without/model_signing/__init__.py", "raise ImportError('no such thing')")
    bare = type(signed)(signed.root, signed.state, {"PYTHONPATH": str(signed.root / "without")})
    configure(bare, m=entry("m", {"bundle": "model.sig", "public_key": "publisher.pub"}, strict_verification=False))
    answer = bare.process("provision", code=1)  # what was not checked is not tolerated
    assert answer.out.startswith(
        "FAIL  m  the signature can't be checked without the package model-signing, which is not installed, or not wholly\n"
        "        where     the Python that runs this\n"
        "        expected  the extra sign\n"
        "        found     no such thing\n"
        f"        fix       {with_extra('sign')}, or take signature: out of models.yaml\n"
    )
    assert bare.handoff("m") is None


def test_many_at_once_and_one_alone_say_the_same(project, keys):
    entries = {}
    for number in range(6):
        project.write(f"m{number}/weights.bin", f"weights {number}")
        sign(project, f"m{number}", keys, f"{number}.sig")
        entries[f"m{number}"] = entry(f"m{number}", {"bundle": f"{number}.sig", "public_key": str(keys.public)})
    project.write("m5/weights.bin", "forgery")
    configure(project, **entries)
    settle()
    project.provision(code=1)
    together = [project.handoff(name) for name in entries]
    assert [each is not None for each in together] == [True] * 5 + [False]
    shutil.rmtree(project.root / ".runtime")
    shutil.rmtree(project.state)
    for name in entries:
        project.provision(name, code=None)
    assert [project.handoff(name) for name in entries] == together


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ({}, "bundle is missing"),
        ("model.sig", "signature has the wrong type"),
        ({"bundle": "b"}, "a signature is by a key, or by an identity that an issuer vouched for"),
        ({"bundle": "b", "identity": "x"}, "found     identity\n"),
        (
            {"bundle": "b", "identity": "x", "issuer": "y", "public_key": "z"},
            "found     identity and issuer and public_key\n",
        ),
        ({"bundle": "b", "publickey": "x"}, "fix       write public_key\n"),
        ({"bundle": 7, "public_key": "x"}, "bundle has the wrong type"),
    ],
)
def test_faults_of_the_field(project, signature, said):
    configure(project, m=entry("m", signature))
    assert said in project.provision(code=3).err


@pytest.mark.parametrize(
    "how",
    [{"method": "shards"}, {"method": "shards", "hash_type": "md5", "shard_size": "x"}, {"method": "magic"}, {}],
)
def test_what_a_forger_wrote_ends_in_a_sentence(signed, how):
    bundle = json.loads((signed.root / "model.sig").read_bytes())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["serialization"] = how
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    signed.write("model.sig", json.dumps(bundle))
    answer = signed.provision(code=1)
    assert answer.out.startswith("FAIL  m  the "), answer
    assert signed.handoff("m") is None


def test_a_cache_that_can_not_be_written_is_told(project, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    real(project, "by-identity")
    configure(project, m=entry("by-identity", {"bundle": "by-identity/model.sig", **WHO}))
    answer = project.provision(code=1)
    assert answer.out.startswith("FAIL  m  the signature can't be checked\n"), answer
    assert "give sigstore a folder for its roots of trust that can be written: set XDG_CACHE_HOME\n" in answer.out


def test_many_identities_at_once_read_the_roots_whole(project):
    entries = {}
    for number in range(8):
        shutil.copytree(REAL / "by-identity", project.root / f"m{number}")
        entries[f"m{number}"] = entry(f"m{number}", {"bundle": f"m{number}/model.sig", **WHO})
    configure(project, **entries)
    for options in ([], ["-r", "zero", "-n", "4", "--full"]):
        project.provision(*options)

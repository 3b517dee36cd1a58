"""`model-attest` and `model-show --provenance`: what was verified, told later, and held against the bytes that are here."""

import hashlib
import json
import os
import time

import pytest

from model_provisioner.installation import with_extra
from model_provisioner.provenance.statement import OURS
from tests.support.keys import make_keys
from tests.support.project import forget_verifications, settle
from tests.support.remote import wait_until

TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
ENTRY = "models: {tiny: {model_ref: 'file:models/tiny.gguf', expected_digest: 'sha256:%s', strict_verification: %s}}\n"


@pytest.fixture
def tiny(project):
    project.add_tiny()
    project.models(ENTRY % (TINY_SHA, "true"))
    settle()
    project.provision()
    return project


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path, "ed25519")


def told(project, name="tiny"):
    return json.loads(project.doit("model-show", name, "--provenance").out)


def ours(project, name="tiny"):
    return told(project, name)["predicate"][OURS]


def in_the_next_second():
    """Wait until a time of now, which statements have in whole seconds, is another."""
    began = int(time.time())
    wait_until(lambda: int(time.time()) > began)


def test_a_statement_of_what_was_verified(tiny):
    statement = told(tiny)
    (line,) = tiny.provenance()
    assert statement["subject"] == [{"name": "tiny.gguf", "digest": {"sha256": TINY_SHA}}]
    assert statement["predicate"]["timeVerified"] == line["time"]
    assert statement["predicate"]["verificationResult"] == "PASSED"
    assert statement["predicate"]["policy"]["annotations"]["expected_digest"] == f"sha256:{TINY_SHA}"
    (file,) = statement["predicate"][OURS]["files"]
    assert (file["how"], file["last_hashed"]) == ("hashed", line["time"])
    assert json.loads(tiny.doit("model-attest", "tiny").out) == statement
    for command in (["model-attest", "tiny"], ["model-show", "tiny", "--provenance"]):
        assert tiny.json(*command)["result"]["statement"] == statement


def test_it_tells_how_each_digest_was_known_and_when_it_was_last_hashed(tiny):
    hashed = ours(tiny)["files"][0]["last_hashed"]
    settle()
    os.utime(tiny.root / "models/tiny.gguf", (1e9, 1e9))
    in_the_next_second()
    tiny.provision()
    (file,) = ours(tiny)["files"]
    assert (file["how"], file["last_hashed"]) == ("xxh3", hashed)
    assert told(tiny)["predicate"]["timeVerified"] > hashed
    tiny.provision("--full")
    (file,) = ours(tiny)["files"]
    assert file["how"] == "hashed"
    assert file["last_hashed"] > hashed


def test_files_of_a_folder_may_be_known_in_several_ways(project):
    for name in ("a.bin", "sub/b.bin"):
        project.write(f"models/set/{name}", name)
    project.models("models: {set: {model_ref: 'file:models/set', engine: vllm}}\n")
    settle()
    project.provision()
    os.utime(project.root / "models/set/a.bin", (1e9, 1e9))
    settle()
    project.provision()
    found = ours(project, "set")
    assert [(file["name"], file["how"]) for file in found["files"]] == [("a.bin", "xxh3"), ("sub/b.bin", "stat")]
    assert (found["how"], found["outcome"]) == ("xxh3", "warn")
    assert told(project, "set")["predicate"]["verificationResult"] == "FAILED"
    assert [each["name"] for each in told(project, "set")["subject"]] == ["a.bin", "sub/b.bin"]


def test_what_another_project_had_verified_is_told_by_stat(tiny, tmp_path):
    hashed = ours(tiny)["files"][0]["last_hashed"]
    other = type(tiny)(tmp_path / "other", tiny.state)
    other.root.mkdir()
    other.models(ENTRY.replace("models/tiny", f"{tiny.root}/models/tiny") % (TINY_SHA, "true"))
    other.provision()
    assert other.provenance() == []
    (file,) = ours(other)["files"]
    assert (file["how"], file["last_hashed"]) == ("stat", hashed)
    assert told(other)["predicate"]["timeVerified"] <= other.rows()["tiny"]["verified_at"]
    assert told(other)["predicate"]["policy"]["digest"]


def test_a_mismatch_is_told_as_one(tiny):
    for strict in ("false", "true"):
        tiny.models(ENTRY % ("0" * 64, strict))
        tiny.provision("--full", code=int(strict == "true"))
        predicate = told(tiny)["predicate"]
        assert (predicate["verificationResult"], predicate[OURS]["outcome"]) == ("FAILED", "fail")
        assert predicate["policy"]["annotations"] == {
            "expected_digest": "sha256:" + "0" * 64,
            "models.lock": None,
            "strict_verification": strict == "true",
        }


def test_the_log_is_never_read(tiny):
    before = told(tiny)
    log = tiny.root / ".runtime/provenance/models.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"hashed"', b'"xxh3"') + b'{"digest": "sha')
    answer = tiny.doit("model-show", "tiny", "--provenance")
    assert (answer.err, json.loads(answer.out)) == ("", before)
    log.unlink()
    assert told(tiny) == before


def test_what_reads_nothing_leaves_the_statement_of_what_was_read(tiny):
    before = told(tiny)
    (tiny.root / ".runtime/engines/llamacpp.json").unlink()
    in_the_next_second()
    tiny.provision()
    assert told(tiny) == before


def test_another_policy_is_told_of_bytes_that_were_not_read_again(tiny):
    tiny.models("models: {tiny: {model_ref: 'file:models/tiny.gguf'}}\n")
    config = hashlib.sha256((tiny.root / "models.yaml").read_bytes()).hexdigest()
    tiny.provision()
    tiny.models("models: {}\n# edited since\n")
    tiny.models("models: {tiny: {model_ref: 'file:models/tiny.gguf'}} # edited since\n")
    predicate = told(tiny)["predicate"]
    assert (predicate[OURS]["how"], predicate[OURS]["outcome"]) == ("stat", "warn")
    assert predicate["policy"]["digest"] == {"sha256": config}
    assert predicate["policy"]["annotations"]["expected_digest"] is None


def test_where_no_record_is_catalog_and_memo_tell(tiny):
    """As with a row that version 0.1 wrote, or one whose record a kill kept from being written."""
    before = told(tiny)["predicate"]
    forget_verifications(tiny)
    tiny.models(ENTRY % ("0" * 64, "true"))  # edited since, and not provisioned: no part of what is told
    predicate = told(tiny)["predicate"]
    assert (predicate[OURS]["how"], predicate[OURS]["origin"]) == ("stat", None)
    assert predicate["timeVerified"] == tiny.rows()["tiny"]["verified_at"]
    assert predicate["policy"]["annotations"] == {
        "expected_digest": f"sha256:{TINY_SHA}",
        "strict_verification": True,
    }
    assert "digest" not in predicate["policy"]
    assert predicate[OURS]["files"][0]["last_hashed"] == before[OURS]["files"][0]["last_hashed"]
    tiny.models(ENTRY % (TINY_SHA, "true"))
    os.utime(tiny.root / "models/tiny.gguf", (1e9, 1e9))
    answer = tiny.doit("model-show", "tiny", "--provenance", code=1)
    assert answer.err == (
        "ERROR: what was verified of tiny is in no record any more, and its files are not as they were\n"
        f"  where     {tiny.root}/models/tiny.gguf\n"
        f"  expected  sha256:{TINY_SHA}\n"
        "  found     mtime changed\n"
        "  fix       run `doit provision tiny`\n"
    )


def test_before_any_verification_there_is_nothing_to_tell(project):
    project.add_tiny()
    project.models(ENTRY % (TINY_SHA, "true"))
    answer = project.doit("model-attest", "tiny", code=1)
    assert answer.err == (
        "ERROR: there is no verification of tiny to give an account of\n"
        f"  where     {project.state}/catalog.db\n"
        "  expected  a verification of the model as models.yaml names it\n"
        "  found     it is not in the catalog\n"
        "  fix       run `doit provision tiny`\n"
    )
    assert not project.state.exists()
    (project.root / "models/tiny.gguf").write_bytes(b"GGUF")
    project.provision(code=1)
    answer = project.doit("model-attest", "tiny", code=1)
    assert "  found     the last one ended in an error before its bytes were known\n" in answer.err
    assert "there is no model 'tinx'" in project.doit("model-attest", "tinx", code=3).err
    assert "there is no model 'tinx'" in project.doit("model-show", "tinx", "--provenance", code=3).err


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_signed_statement_is_checked_from_any_folder(tiny, tmp_path, kind):
    keys = make_keys(tmp_path, kind)
    sub = tiny.root / "a folder"
    sub.mkdir()
    made = tiny.doit("model-attest", "tiny", "--key", str(keys.private), "-o", "st.json", cwd=sub)
    assert made.out.startswith("tiny: statement written to a folder/st.json, signed with the key ")
    answer = tiny.doit("model-attest", "--verify", "st.json", "--public-key", str(keys.public), cwd=sub)
    key = json.loads((sub / "st.json").read_bytes())["signatures"][0]["keyid"][:16]
    assert answer.out == f"tiny: the bytes here are those of the statement, which is signed with that key ({key}…)\n"
    checked = ["model-attest", "tiny", "--full", "--verify", "st.json", "--public-key", str(keys.public)]
    found = tiny.json(*checked, cwd=sub)["result"]
    assert found["subjects"] == [{"name": "tiny.gguf", "sha256": TINY_SHA}]
    assert found["key"][:16] == key


def test_checking_a_statement_reads_what_is_not_known(tiny):
    tiny.doit("model-attest", "tiny", "-o", "st.json")
    path = tiny.root / "models/tiny.gguf"
    times = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times, times))
    answer = tiny.doit("model-attest", "--verify", "st.json", code=1)
    assert answer.err.startswith(
        "ERROR: the statement is about other bytes than those of tiny\n"
        f"  where     {tiny.root}/st.json\n"
        f"  expected  tiny.gguf sha256:{TINY_SHA}\n"
        "  found     tiny.gguf sha256:"
    )
    assert answer.err.endswith(f" at {path}\n  fix       get the bytes that it is about, or a statement about these\n")
    data[-1] ^= 1
    path.write_bytes(data)
    answer = tiny.doit("model-attest", "--verify", "st.json")
    assert answer.out == (
        "tiny: the bytes here are those of the statement, which is not signed: anybody could have written it\n"
    )


@pytest.mark.slow
def test_one_file_is_the_same_under_any_name_and_a_set_is_not(project):
    project.add_tiny("one.gguf")
    project.add_tiny("two.gguf")
    for name in ("a", "b"):
        project.write(f"{name}/{name}.bin", "same")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
        "models:\n"
        f"  one: {{model_ref: 'file:one.gguf', expected_digest: 'sha256:{TINY_SHA}'}}\n"
        f"  two: {{model_ref: 'file:two.gguf', expected_digest: 'sha256:{TINY_SHA}'}}\n"
        "  a: {model_ref: 'file:a'}\n"
        "  b: {model_ref: 'file:b'}\n"
    )
    project.provision()
    project.doit("model-attest", "one", "-o", "one.json")
    assert project.doit("model-attest", "two", "--verify", "one.json").out.startswith("two: the bytes here are")
    statement = json.loads(project.doit("model-attest", "a").out)
    statement["predicate"]["verificationResult"] = "PASSED"
    project.write("a.json", json.dumps(statement))
    assert project.doit("model-attest", "--verify", "a.json").out.startswith("a: the bytes here are")
    answer = project.doit("model-attest", "b", "--verify", "a.json", code=1)
    assert answer.err.startswith("ERROR: the statement is about other bytes than those of b\n")


def test_a_statement_that_says_no_is_not_taken_for_a_yes(project):
    project.add_tiny("tiny.gguf")
    project.models("models: {tiny: {model_ref: 'file:tiny.gguf'}}\n")
    project.provision()
    project.doit("model-attest", "tiny", "-o", "st.json")
    answer = project.doit("model-attest", "--verify", "st.json", code=1)
    assert answer.err == (
        "ERROR: the statement does not say that tiny was verified\n"
        f"  where     {project.root}/st.json\n"
        "  expected  verificationResult PASSED\n"
        "  found     another result: no digest was expected\n"
        "  fix       give it the expected_digest, provision it, and ask for a new statement\n"
    )


def test_a_signature_is_neither_missed_nor_passed_over(tiny, tmp_path, keys):
    tiny.doit("model-attest", "tiny", "-o", "plain.json")
    tiny.doit("model-attest", "tiny", "-o", "signed.json", "--key", str(keys.private))
    other = make_keys(tmp_path, "p256")
    for arguments, code, what in [
        (("plain.json", "--public-key", str(keys.public)), 1, "the statement is not signed"),
        (("signed.json",), 3, "the statement is signed, and no key is named to check that by"),
        (("signed.json", "--public-key", str(other.public)), 1, "the statement is not signed with that key"),
        (("none.json",), 3, "the statement can't be read"),
        (("models.yaml",), 3, "this is no in-toto statement"),
        ((".",), 3, "the statement can't be read"),
    ]:
        answer = tiny.doit("model-attest", "--verify", *arguments, code=code)
        assert answer.err.startswith(f"ERROR: {what}\n"), answer
        assert answer.out == ""


def test_a_clock_that_went_back_is_told(tiny):
    statement = told(tiny)
    statement["predicate"]["timeVerified"] = "2199-01-01T00:00:00Z"
    tiny.write("st.json", json.dumps(statement))
    answer = tiny.doit("model-attest", "--verify", "st.json")
    assert answer.out.endswith(
        "\n  note      the statement is of 2199-01-01T00:00:00Z, which is yet to come: a clock, here or there, is wrong\n"
    )
    del statement["predicate"]["timeVerified"]
    tiny.write("st.json", json.dumps(statement))
    assert tiny.doit("model-attest", "--verify", "st.json").out.endswith("  note      the statement has no time\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "model-attest takes one NAME"),
        (("a", "b"), "model-attest takes one NAME"),
        (("tiny", "--public-key", "x"), "--public-key goes with --verify"),
        (("tiny", "--full"), "--full goes with --verify"),
        (("tiny", "--verify", "x", "--key", "y"), "--key goes without --verify"),
        (("tiny", "--verify", "x", "-o", "y"), "--output goes without --verify"),
    ],
)
def test_options_that_make_no_sense_together(tiny, arguments, what):
    assert tiny.doit("model-attest", *arguments, code=3).err.startswith(f"ERROR: {what}\n")


@pytest.mark.slow
def test_without_the_library_the_extra_is_named(tiny, keys):
    tiny.write("without/securesystemslib/__init__.py", "raise ImportError")
    bare = type(tiny)(tiny.root, tiny.state, {"PYTHONPATH": str(tiny.root / "without")})
    bare.process("model-attest", "tiny", "-o", "st.json")
    bare.process("model-attest", "--verify", "st.json")
    answer = bare.process("model-attest", "tiny", "--key", str(keys.private), code=1)
    assert answer.err == (
        "ERROR: signed statements need the package securesystemslib, which is not installed\n"
        "  where     the Python that runs this\n"
        "  expected  the extra sign\n"
        "  found     no module securesystemslib, or no cryptography\n"
        f"  fix       {with_extra('sign')}; a statement without a signature needs nothing\n"
    )


def test_nothing_of_it_is_imported_by_other_commands(tiny, run_python):
    program = (
        "import sys, os; os.chdir(%r)\n"
        "from doit.doit_cmd import DoitMain\n"
        "DoitMain().run(['provision', '--full'])\n"
        "print(sorted({'cryptography', 'securesystemslib', 'model_provisioner.provenance.statement'} & sys.modules.keys()))\n"
    ) % str(tiny.root)
    assert run_python(program).splitlines()[-1] == "[]"

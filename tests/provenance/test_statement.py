"""The statement, as a reader of it must find it."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.provenance.record import ProvenanceRecord, FileRecord, Policy
from model_provisioner.provenance.statement import OURS, STATEMENT, SUMMARY, parse, render, statement_of
from model_provisioner.errors import InputError

texts = st.text(st.characters(exclude_categories=()), max_size=20)
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
ways = st.sampled_from(["hashed", "xxh3", "stat"])
files = st.builds(
    FileRecord, name=texts, size=st.integers(0, 1 << 50), sha256=hexes, how=ways, hashed=st.none() | texts
)
accounts = st.builds(
    ProvenanceRecord,
    name=texts,
    id=texts,
    path=texts,
    time=st.none() | texts,
    digest=hexes.map("sha256:{}".format),
    outcome=st.sampled_from(["pass", "warn", "fail"]),
    how=ways,
    origin=st.none() | texts,
    files=st.lists(files, min_size=1, max_size=3).map(tuple),
    policy=st.none()
    | st.builds(
        Policy, expected=st.none() | texts, strict=st.booleans(), config=st.none() | hexes, lock=st.none() | hexes
    ),
    version=texts,
)


@given(accounts)
def test_an_account_is_the_same_after_the_log(account):
    assert ProvenanceRecord.from_dict(json.loads(json.dumps(account.to_dict()))) == account


@given(accounts)
def test_a_statement_says_what_the_account_does(account):
    account = ProvenanceRecord(
        **{**vars(account), "id": "local:/m/" + account.path.encode("utf-8", "replace").decode()}
    )
    data = render(statement_of(account, "/p/models.yaml"))
    found = parse(data, "x")
    assert found.subjects == tuple((file.name, file.sha256) for file in account.files)
    assert found.passed == (account.outcome == "pass")
    assert (found.outcome, found.time, found.name) == (account.outcome, account.time, account.name)


ONE = ProvenanceRecord(
    name="tiny",
    id="local:/m/a b.gguf",
    path="/m/a b.gguf",
    time="2026-01-02T03:04:05Z",
    digest="sha256:" + "a" * 64,
    outcome="pass",
    how="xxh3",
    origin=None,
    files=(FileRecord(name="a b.gguf", size=7, sha256="a" * 64, how="xxh3", hashed="2026-01-01T00:00:00Z"),),
    policy=Policy(expected="sha256:" + "a" * 64, strict=True, config="c" * 64, lock=None),
    version="0.1.0",
)


def test_the_whole_of_a_statement():
    assert statement_of(ONE, os.fsdecode(b"/p q/\xff/models.yaml")) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a b.gguf", "digest": {"sha256": "a" * 64}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "pkg:pypi/model-provisioner", "version": {"model-provisioner": "0.1.0"}},
            "timeVerified": "2026-01-02T03:04:05Z",
            "resourceUri": "local:/m/a%20b.gguf",
            "policy": {
                "uri": "file:///p%20q/%FF/models.yaml",
                "digest": {"sha256": "c" * 64},
                "annotations": {
                    "expected_digest": "sha256:" + "a" * 64,
                    "models.lock": None,
                    "strict_verification": True,
                },
            },
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED"],
            "modelprovisioner_verification": {
                "digest": "sha256:" + "a" * 64,
                "files": [
                    {
                        "how": "xxh3",
                        "last_hashed": "2026-01-01T00:00:00Z",
                        "name": "a b.gguf",
                        "sha256": "a" * 64,
                        "size_bytes": 7,
                    }
                ],
                "how": "xxh3",
                "name": "tiny",
                "origin": None,
                "outcome": "pass",
                "path": "/m/a b.gguf",
            },
        },
    }


@pytest.mark.parametrize("outcome", ["warn", "fail"])
def test_what_was_not_held_against_a_digest_has_not_passed(outcome):
    predicate = statement_of(ProvenanceRecord(**{**vars(ONE), "outcome": outcome}), "/p/models.yaml")["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])
    assert predicate[OURS]["outcome"] == outcome


def test_another_program_may_have_made_the_summary():
    found = parse(
        json.dumps(
            {
                "_type": STATEMENT,
                "subject": [{"digest": {"sha256": "a" * 64}}],
                "predicateType": SUMMARY,
                "predicate": {"verificationResult": "PASSED"},
            }
        ).encode(),
        "x",
    )
    assert found.passed
    assert (found.subjects, found.name, found.time) == ((("", "a" * 64),), None, None)


SOUND = statement_of(ONE, "/p/models.yaml")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "expected  a JSON object\n  found     something that is no JSON"),
        (b"[" * 100_000, "something that is no JSON"),
        (b"\xff", "something that is no JSON"),
        (b"[]", "found     no such field"),
        ({**SOUND, "_type": "https://in-toto.io/Statement/v0.1"}, "found     'https://in-toto.io/Statement/v0.1'"),
        ({**SOUND, "predicateType": "https://slsa.dev/provenance/v1"}, "found     'https://slsa.dev/provenance/v1'"),
        ({**SOUND, "subject": []}, "found     a statement without"),
        ({**SOUND, "predicate": 7}, "found     a statement without"),
        ({**SOUND, "subject": [{"name": "x", "digest": {"sha512": "a"}}]}, "found     a subject without"),
        ({**SOUND, "subject": ["x"]}, "found     a subject without"),
        ({**SOUND, "subject": [{"digest": {"sha256": "A" * 64}}]}, "found     a subject without"),
    ],
    ids=[
        "empty",
        "deep",
        "no UTF-8",
        "list",
        "type",
        "predicate type",
        "no subject",
        "predicate",
        "no sha256",
        "text",
        "upper case",
    ],  # fmt: skip
)
def test_what_is_no_statement_is_an_error(data, found):
    with pytest.raises(InputError) as error:
        parse(data if isinstance(data, bytes) else json.dumps(data).encode(), "/p/x.json")
    assert found in str(error.value)
    assert "where     /p/x.json" in str(error.value)

"""Bytes made to have the fingerprint of others: without the key, which never leaves the state folder, nobody can."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing

import pytest
import xxhash

from model_provisioner.hashing.fingerprint import NAME, Fingerprint, FingerprintKey
from tests.support.project import TINY, Project, settle
from tests.support.xxh3_collisions import BLOCK, forged

GOOD = TINY.read_bytes()
PLACE = len(GOOD) // BLOCK * BLOCK - 3 * BLOCK + 300
"""Among the weights, so that the header is that of the model."""
FORGED = forged(GOOD, b"weights of somebody else's choice", PLACE)
ENTRY = {"model_ref": "file:models/tiny.gguf"}
SHA256 = hashlib.sha256(GOOD).hexdigest()


def fingerprint(key, data):
    found = Fingerprint(key)
    found.update(memoryview(data))
    return found.text()


def configure(project, **entry):
    project.models(json.dumps({"models": {"t": {**ENTRY, **entry}}}))


def forge(project):
    """Do as somebody who can write the model file: its size and mtime stay as they were."""
    path = project.root / "models/tiny.gguf"
    before = path.stat()
    path.write_bytes(FORGED)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    settle()


@pytest.fixture
def provisioned(project):
    project.add_tiny()
    configure(project, expected_digest=f"sha256:{SHA256}")
    settle()
    project.provision()
    return project


def test_the_attack_is_real():
    """It is of the same size, and 128 bytes of one KiB are enough to make up for what was written there."""
    assert FORGED != GOOD
    assert len(FORGED) == len(GOOD)
    assert b"somebody else's choice" in FORGED
    changed = {place // BLOCK for place, (old, new) in enumerate(zip(GOOD, FORGED, strict=True)) if old != new}
    assert changed == {PLACE // BLOCK}
    assert xxhash.xxh3_128_digest(FORGED) == xxhash.xxh3_128_digest(GOOD)


def test_under_no_key_it_has_the_same_fingerprint():
    for _ in range(100):
        key = FingerprintKey.drawn()
        assert fingerprint(key, FORGED) != fingerprint(key, GOOD)


def test_each_lane_alone_tells_them_apart_nearly_always():
    """By the seed and the place of the blocks: a lane that does not is what the other one is there for."""
    equal = 0
    for _ in range(200):
        for lane in FingerprintKey.drawn().lanes:
            found = {xxhash.xxh3_128_digest(lane.prefix + data, seed=lane.seed) for data in (GOOD, FORGED)}
            equal += len(found) == 1
    assert equal <= 20


@pytest.mark.parametrize(
    "arguments", [("provision",), ("provision", "--require-digest"), ("model-verify",), ("model-verify", "--full")]
)
def test_forged_bytes_do_not_pass_for_those_of_the_expected_digest(provisioned, arguments):
    forge(provisioned)
    answer = provisioned.doit(*arguments, code=1)
    assert answer.out.startswith("FAIL")
    assert "xxh3" not in answer.out
    assert provisioned.handoff() is None


def test_forged_bytes_do_not_pass_for_those_of_the_lock(project):
    project.add_tiny()
    configure(project)
    settle()
    project.doit("model-lock")
    project.provision("--locked")
    forge(project)
    assert "the digest differs" in project.provision("--locked", code=1).out
    assert project.handoff() is None


def test_a_check_tells_forged_bytes(provisioned):
    forge(provisioned)
    assert f"sha256:{hashlib.sha256(FORGED).hexdigest()}" in provisioned.doit("model-check", code=1).out


def test_without_an_expected_digest_forged_bytes_are_handed_off_as_what_they_are(project):
    project.add_tiny()
    configure(project)
    settle()
    project.provision()
    forge(project)
    project.provision()
    assert project.handoff()["metadata"]["digest"]["value"] == hashlib.sha256(FORGED).hexdigest()


def test_the_same_bytes_with_new_times_are_still_confirmed_by_the_fingerprint(provisioned):
    os.utime(provisioned.root / "models/tiny.gguf")
    settle()
    assert "confirmed by xxh3" in provisioned.provision().out


# ---- the key and the fingerprints


def test_neither_key_nor_fingerprint_leaves_the_state_folder(provisioned, tmp_path):
    """Not in what is printed, and not in what is written: the project's files, its log, a statement, a report."""
    os.utime(provisioned.root / "models/tiny.gguf")
    settle()
    told = [
        provisioned.doit(*arguments, code=None).all
        for arguments in (
            ("model-why",),
            ("provision",),
            ("model-why", "--json"),
            ("model-list", "--json"),
            ("model-show", "t", "--json"),
            ("model-check", "--json"),
            ("model-verify", "--json"),
            ("model-report", "-o", "report.html"),
            ("model-report", "--json"),
            ("model-attest", "t", "-o", "statement.json"),
            ("model-lock",),
        )
    ]
    key = FingerprintKey.parse((provisioned.state / NAME).read_bytes())
    with closing(sqlite3.connect(provisioned.state / "memo.db")) as connection:
        fingerprints = [text for (text,) in connection.execute("SELECT fingerprint FROM file")]
    assert [text.partition(":")[0] for text in fingerprints] == [key.name]
    secrets = [key.name, *(text.partition(":")[2] for text in fingerprints), *(str(lane.seed) for lane in key.lanes)]
    bytes_of = [each.encode() for each in secrets]
    bytes_of += [lane.seed.to_bytes(8, "little") for lane in key.lanes]
    bytes_of += [lane.prefix[:32] for lane in key.lanes if lane.prefix]
    outside = [text.encode() for text in told]
    outside += [
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and provisioned.state not in path.parents
    ]
    assert len(outside) > len(told) + 6
    assert not [secret for secret in bytes_of for text in outside if secret in text]


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_without_the_key_digests_stand_by_stat_and_what_moved_is_hashed(provisioned, harm):
    key = provisioned.state / NAME
    if harm == "removed":
        key.unlink()
    else:
        key.write_bytes(key.read_bytes()[:-3])
    assert "1 current" in provisioned.provision().out
    os.utime(provisioned.root / "models/tiny.gguf")
    settle()
    assert provisioned.why("t")[0] == "mtime changed, content same (SHA-256)"
    assert "hashed" in provisioned.provision().out
    os.utime(provisioned.root / "models/tiny.gguf")
    settle()
    assert "confirmed by xxh3" in provisioned.provision().out


def test_recheck_sha256_is_not_softened_by_another_project(provisioned, tmp_path):
    """Whoever confirmed a file by its fingerprint, a project that asks for SHA-256 takes it itself."""
    (tmp_path / "strict").mkdir()
    strict = Project(tmp_path / "strict", provisioned.state)
    model = provisioned.root / "models/tiny.gguf"
    strict.models(json.dumps({"recheck": "sha256", "models": {"t": {"model_ref": f"file:{model}"}}}))
    assert "confirmed by stat" in strict.provision().out
    assert "1 current" in strict.provision().out
    os.utime(model)
    settle()
    assert "confirmed by xxh3" in provisioned.provision().out
    assert strict.why("t") == ["confirmed by xxh3, and recheck is sha256, content same (xxh3)"]
    assert "hashed" in strict.provision().out
    assert "1 current" in strict.provision().out
    assert "1 current" in provisioned.provision().out

"""What a project brings along says nothing of a verification: no statement, signed or not, and no command tells of it."""

import base64
import hashlib
import json
import os
import shutil

import pytest

from model_provisioner.provenance.record import FileRecord, Policy, ProvenanceRecord
from model_provisioner.provenance.statement import OURS
from model_provisioner.provenance.verifications import Verifications
from model_provisioner.records.catalog.catalog import Catalog, Model
from model_provisioner.records.handoff import render
from model_provisioner.references.digest import Digest
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.store import Store
from tests.support.keys import make_keys
from tests.support.project import TINY, settle

pytestmark = pytest.mark.slow

TINY_SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()

TIME = "2001-02-03T04:05:06Z"
ORIGIN = "fetched from vendor.example"
IDENTITY = "release@vendor.example"
COMMIT = "c0ffee" * 6 + "beef"
DIGEST = "5eed" * 16
CLAIMS = (TIME, TIME[:10], ORIGIN, IDENTITY, COMMIT, DIGEST)
"""What the forged files say, and nothing else does."""

COMMANDS = (
    ("model-list", "--json"),
    ("model-show", "tiny"),
    ("model-show", "tiny", "--provenance"),
    ("model-why",),
    ("model-report", "--json"),
    ("model-attest", "tiny"),
)


def record(victim, **fields):
    """Return a record of the model in the clone, right in all that is compared, and forged in the rest."""
    path = str(victim.clone / "models/tiny.gguf")
    return ProvenanceRecord(
        **{
            "name": "tiny",
            "id": f"local:{path}",
            "path": path,
            "time": TIME,
            "digest": f"sha256:{TINY_SHA}",
            "outcome": "warn",
            "how": "hashed",
            "origin": ORIGIN,
            "files": (
                FileRecord(name="tiny.gguf", size=TINY.stat().st_size, sha256=TINY_SHA, how="hashed", hashed=TIME),
                FileRecord(name="never-there.gguf", size=7, sha256=DIGEST, how="hashed", hashed=TIME),
            ),
            "policy": Policy(expected=None, strict=True, config=DIGEST, lock=DIGEST),
            "version": "9.9.9",
            "signature": {"over": f"sha256:{TINY_SHA}", "identity": IDENTITY, "outcome": "pass"},
            **fields,
        }
    )


def forge_the_log(victim):
    lines = [record(victim), record(victim, outcome="pass")]
    text = "".join(json.dumps(each.to_dict()) + "\n" for each in lines)
    victim.write(".runtime/provenance/models.jsonl", text)


def forge_rotated_logs(victim):
    forge_the_log(victim)
    log = victim.clone / ".runtime/provenance/models.jsonl"
    for number in range(1, 10):
        shutil.copy(log, log.with_name(f"models.jsonl.{number}"))
    log.unlink()


def forge_a_handoff(victim):
    path = str(victim.clone / "models/tiny.gguf")
    metadata = {
        "digest": {"algo": "sha256", "value": DIGEST},
        "verification": "pass",
        "signature": {"identity": IDENTITY},
    }
    handoff = {"metadata": metadata, "model": {"id": f"local:{path}", "path": path}, "schema_version": 1}
    victim.write(".runtime/engines/llamacpp.json", json.dumps(handoff))


def forge_a_checksum_file(victim):
    victim.write(".runtime/digests/tiny.sha256", f"{DIGEST}  {victim.clone}/models/tiny.gguf\n")


def forge_a_state_folder(victim):
    """Bring a catalog, verifications and fetches of the project's own, wherever a project may have thought of."""
    state = victim.clone / "state"
    catalog = Catalog(str(state))
    made = record(victim)
    row = Model(
        project=str(victim.clone),
        name="tiny",
        id=made.id,
        lifecycle="Active",
        path=made.path,
        outcome="pass",
        digest=made.digest,
        source=ORIGIN,
        revision=COMMIT,
        registered_at=TIME,
        verified_at=TIME,
    )
    catalog.put(row)
    Verifications(catalog.database).note(row.project, [made])
    catalog.close()
    for place in (".runtime", ".runtime/state", ".local/state/model-provisioner", "~/.local/state/model-provisioner"):
        shutil.copytree(state, victim.clone / place, dirs_exist_ok=True)


def forge_a_snapshot(victim):
    """Bring the whole of what a run of the project elsewhere left in its state folder, and in its runtime folder."""
    elsewhere = type(victim).at(victim.home.parent / "elsewhere")
    assert elsewhere.doit("provision", "--offline").code == 0
    shutil.copytree(elsewhere.state, victim.clone / ".runtime/state")
    (snapshot,) = elsewhere.state.glob("projects/*/snapshot")
    for place in (".runtime/snapshot", "snapshot", f".runtime/{snapshot.parent.name}/snapshot"):
        victim.write(place, snapshot.read_bytes())


def forge_a_usage_record(victim):
    used = {
        "config": str(victim.clone / "models.yaml"),
        "handoffs": [ORIGIN],
        "owner": "h / 1",
        "trees": {COMMIT: None},
    }
    name = hashlib.sha256(os.fsencode(f"{used['owner']}\0{used['config']}")).hexdigest()
    victim.write(f"cache/uses/{name}.json", json.dumps(used))
    victim.write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")
    text = (victim.clone / "models.yaml").read_text()
    victim.write("models.yaml", f"cache_dir: cache\n{text}")


FORGERIES = (
    forge_the_log,
    forge_rotated_logs,
    forge_a_handoff,
    forge_a_checksum_file,
    forge_a_state_folder,
    forge_a_snapshot,
    forge_a_usage_record,
)


def told(victim):
    """Return all that the commands say, and the statement that they sign."""
    texts = [victim.doit(*command).all for command in COMMANDS]
    keys, signed = make_keys(victim.home, "ed25519"), victim.home / "signed.json"
    ran = victim.doit("model-attest", "tiny", "--key", str(keys.private), "-o", str(signed))
    texts.append(ran.all)
    if ran.code == 0:
        texts.append(base64.b64decode(json.loads(signed.read_bytes())["payload"]).decode())
    return "\n".join(texts)


def believed(text):
    return [claim for claim in CLAIMS if claim in text]


@pytest.mark.parametrize("forge", FORGERIES)
def test_before_a_run_there_is_nothing_to_tell(victim, forge):
    forge(victim)
    assert believed(told(victim)) == []
    ran = victim.doit("model-attest", "tiny")
    assert ran.code == 1
    assert ran.err.startswith("ERROR: there is no verification of tiny to give an account of\n")


@pytest.mark.parametrize("forge", FORGERIES)
def test_after_a_run_only_what_the_run_found_is_told(victim, forge):
    forge(victim)
    settle()
    with victim.untouched():
        ran = victim.doit("provision", "--offline")
    assert ran.code == 0, ran
    text = told(victim)
    assert believed(text) == []
    statement = json.loads(victim.doit("model-attest", "tiny").out)
    assert statement["subject"] == [{"name": "tiny.gguf", "digest": {"sha256": TINY_SHA}}]
    ours = statement["predicate"][OURS]
    assert (ours["how"], ours["outcome"], ours["origin"]) == ("hashed", "warn", None)
    assert "signature" not in ours


@pytest.mark.parametrize("forge", FORGERIES)
def test_what_a_later_commit_forges_changes_no_word(victim, forge):
    settle()
    victim.doit("provision", "--offline")
    before = victim.doit("model-attest", "tiny"), victim.doit("model-show", "tiny")
    forge(victim)
    after = victim.doit("model-attest", "tiny"), victim.doit("model-show", "tiny")
    assert after == before
    assert believed(told(victim)) == []


# ---- a store that came with the project


@pytest.fixture
def store(victim):
    """A cache in the clone with a file that nobody fetched, recorded as a commit of a repository of somebody else."""
    victim.write(
        "models.yaml",
        "cache_dir: cache\nmodels:\n  tiny:\n    model_ref: hf:vendor/model/tiny.gguf\n    engine: llamacpp\n",
    )
    store = Store(str(victim.clone / "cache"))
    store.folder("blobs")
    victim.write(f"cache/blobs/sha256/{TINY_SHA[:2]}/{TINY_SHA}", TINY.read_bytes())
    tree = store.make_tree("hf:vendor/model/tiny.gguf", {"tiny.gguf": TINY_SHA})
    file = StoredFile(name="tiny.gguf", size=TINY.stat().st_size, sha256=TINY_SHA)
    store.record(Record(ref="hf:vendor/model/tiny.gguf", revision=COMMIT, files=(file,), tree=tree))
    store.close()
    settle()
    return store


def test_a_store_of_the_project_says_nothing_of_where_its_files_come_from(victim, store):
    ran = victim.doit("provision", "--offline")
    assert ran.code == 0, ran
    assert believed(told(victim)) == []
    shown = json.loads(victim.doit("model-show", "tiny", "--json").out)
    (model,), (row,) = shown["models"], shown["result"]["catalog"]
    assert (model["outcome"], row["source"], row["revision"]) == ("warn", None, None)
    ours = json.loads(victim.doit("model-attest", "tiny").out)["predicate"][OURS]
    assert (ours["origin"], ours["outcome"]) == (None, "warn")


def test_a_lock_is_not_made_of_a_store_of_the_project(victim, store):
    victim.doit("provision", "--offline")
    ran = victim.doit("model-lock")
    assert ran.code == 1, ran
    assert "huggingface.co" in ran.all and "network.allow" in ran.all
    assert not (victim.clone / "models.lock").exists()
    assert believed(ran.all) == []

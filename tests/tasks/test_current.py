"""One definition of current: whatever a user does to a project, the short way ends where the long way would."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from doit.doit_cmd import DoitMain
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from model_provisioner.artifacts import clock
from model_provisioner.sizes import human
from model_provisioner.tasks.current import reasons
from model_provisioner.tasks.workspace import open_workspace
from tests.support.project import TINY

TINY_BYTES = TINY.read_bytes()
FILES = ("a.gguf", "b.bin", "set/x", "set/y")
REFS = ("a.gguf", "b.bin", "set", "missing.gguf")
CONTENTS = (b"", b"one", b"two", TINY_BYTES, TINY_BYTES[:-1] + b"!", TINY_BYTES[:-100])
THEN = st.sampled_from([None, "one", "all", "all"])
"""What a user does after an edit: nothing, `doit provision NAME`, `doit provision`."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class ProjectMachine(RuleBasedStateMachine):
    """Edits a project at random and runs `doit provision`.

    After each run the artifacts must be those that a run with no memory writes, and a run after it must have nothing to do.
    """

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.home = os.getcwd()
        self.entries: dict[str, dict] = {}
        # Files that were just written would be read once more by every run: that rule has tests of its own.
        self.margin, clock.MARGIN_NS = clock.MARGIN_NS, -(10**12)

    def teardown(self):
        clock.MARGIN_NS = self.margin
        os.chdir(self.home)
        shutil.rmtree(self.folder)

    # ---- what a user does

    @initialize()
    def begin(self):
        (self.folder / "project/set").mkdir(parents=True)
        os.chdir(self.folder / "project")
        for name in FILES:
            self.write(name, TINY_BYTES if name.endswith(".gguf") else b"one")
        self.entries = {"m0": {"model_ref": "a.gguf"}, "m1": {"model_ref": "set"}}
        self.write_config()

    @rule(name=st.sampled_from(FILES), data=st.sampled_from(CONTENTS), then=THEN)
    def write(self, name, data, then=None):
        time.sleep(0.005)  # the file system's clock ticks every 4 ms
        Path(name).write_bytes(data)
        self.then(then)

    @rule(name=st.sampled_from(FILES), then=THEN)
    def touch(self, name, then):
        time.sleep(0.005)
        if os.path.exists(name):
            os.utime(name)
        self.then(then)

    @rule(name=st.sampled_from(FILES), data=st.sampled_from(CONTENTS), then=THEN)
    def replace(self, name, data, then):
        """Put another file in its place, with the times of the old one."""
        if os.path.exists(name):
            Path("new").write_bytes(data)
            shutil.copystat(name, "new")
            os.replace("new", name)
        self.then(then)

    @rule(name=st.sampled_from(FILES), then=THEN)
    def remove(self, name, then):
        Path(name).unlink(missing_ok=True)
        self.then(then)

    @rule(
        name=st.sampled_from(["m0", "m1", "m2"]),
        ref=st.sampled_from(REFS),
        expected=st.sampled_from([None, "right", "wrong"]),
        strict=st.booleans(),
        engine=st.sampled_from(["llamacpp", "vllm"]),
        handoff=st.sampled_from(["{runtime_dir}/engines/{name}.json", "out-{name}.json"]),
        then=THEN,
    )
    def edit_entry(self, name, ref, expected, strict, engine, handoff, then):
        entry = {"model_ref": ref, "strict_verification": strict, "engine": engine, "handoff": handoff}
        if expected == "right":
            entry["expected_digest"] = self.digest(ref)
        elif expected == "wrong":
            entry["expected_digest"] = ("dirhash:" if ref == "set" else "sha256:") + "0" * 64
        self.entries[name] = entry
        self.write_config()
        self.then(then)

    @rule(name=st.sampled_from(["m0", "m1", "m2"]), then=THEN)
    def remove_entry(self, name, then):
        self.entries.pop(name, None)
        self.write_config()
        self.then(then)

    @rule(which=st.integers(0, 5), how=st.sampled_from(["remove", "edit", "other"]), then=THEN)
    def harm_an_artifact(self, which, how, then):
        self.provision(named=False)
        found = sorted(self.artifacts())
        if found:
            path = Path(found[which % len(found)])
            if how == "remove":
                path.unlink()
            elif how == "edit":
                path.write_bytes(b"edited by hand")
            else:
                path.write_bytes(path.read_bytes().replace(b"llamacpp", b"vllm"))
        self.then(then)

    @rule(
        what=st.sampled_from(["memo.db", "catalog.db", "projects"]),
        how=st.sampled_from(["remove", "truncate"]),
        then=THEN,
    )
    def lose_state(self, what, how, then):
        path = self.folder / "state" / what
        if not path.exists():
            return
        if what == "projects":
            # Without the build record nobody knows of an artifact that no entry claims: not what is tested here.
            for each in path.glob("*/doit.db*"):
                each.unlink()
        elif what == "memo.db" and how == "truncate":
            path.write_bytes(path.read_bytes()[:100])
        else:
            for each in path.parent.glob(f"{what}*"):
                each.unlink()
        self.then(then)

    @rule(name=st.sampled_from(["m0", "m1"]), then=THEN)
    def lose_a_row(self, name, then):
        path = self.folder / "state" / "catalog.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM model WHERE name = ?", (name,))
        self.then(then)

    @rule(then=THEN)
    def forget(self, then):
        self.doit("state", "forget", "--all")
        self.then(then)

    def then(self, what):
        if what is not None:
            self.provision(named=what == "one")

    # ---- what must hold

    def provision(self, named):
        names = sorted(self.entries)[:1] if named else []
        self.doit("state", "provision", *names)
        if names:
            return
        short = self.artifacts()
        self.expect(short)
        self.doit("another state", "provision")
        assert self.artifacts() == short
        shutil.rmtree(self.folder / "another state")
        self.expect_nothing_to_do()

    @invariant()
    def no_handoff_was_torn(self):
        for path, data in self.artifacts().items():
            if path.endswith(".json") and b"edited" not in data:
                json.loads(data)

    def expect(self, artifacts):
        """Say what must be there, from the files alone."""
        expected = set()
        for name, entry in self.entries.items():
            digest = self.digest(entry["model_ref"])
            wanted = entry.get("expected_digest")
            handoff = entry.get("handoff", ".runtime/engines/llamacpp.json").format(runtime_dir=".runtime", name=name)
            if digest is None or self.is_unsound(entry["model_ref"]):
                continue
            matches = wanted in (None, digest)
            if matches:
                expected.add(f".runtime/digests/{name}.sha256")
            if matches or not entry["strict_verification"]:
                expected.add(handoff)
                found = json.loads(artifacts[handoff])["metadata"]
                assert f"{found['digest']['algo']}:{found['digest']['value']}" == digest
                assert found["verification"] == ("warn" if wanted is None else "pass" if matches else "fail")
        assert set(artifacts) == expected

    def expect_nothing_to_do(self):
        work = open_workspace("models.yaml", state=str(self.folder / "state"))
        for entry in work.config.entries.values():
            row = work.catalog.get(work.config.root, entry.name)
            found = reasons(work, entry)
            assert bool(found) == (row.lifecycle == "Failed"), (entry, found)
        before = {path: os.stat(path).st_ino for path in self.artifacts()}
        self.doit("state", "provision")
        after = {path: os.stat(path).st_ino for path in self.artifacts()}
        tolerated = {path for path, data in self.artifacts().items() if b'"verification": "fail"' in data}
        assert {path: after[path] for path in after if path not in tolerated} == {
            path: before[path] for path in before if path not in tolerated
        }

    # ---- help

    def digest(self, ref) -> str | None:
        if ref == "set":
            files = sorted(path.name for path in Path("set").iterdir())
            lines = "".join(f"{sha(Path('set', name).read_bytes())}  {name}\n" for name in files)
            return "dirhash:" + sha(lines.encode()) if files else None
        return "sha256:" + sha(Path(ref).read_bytes()) if os.path.exists(ref) else None

    def is_unsound(self, ref) -> bool:
        return ref.endswith(".gguf") and Path(ref).read_bytes() not in CONTENTS[3:5]

    def write_config(self):
        defaults = {"handoff": "{runtime_dir}/engines/{name}.json", "strict_verification": True}
        self.entries = {name: {**defaults, **entry} for name, entry in self.entries.items()}
        for entry in self.entries.values():
            if entry.get("expected_digest", "") is None:
                del entry["expected_digest"]
        time.sleep(0.005)
        Path("models.yaml").write_text(json.dumps({"models": self.entries}))

    def artifacts(self) -> dict[str, bytes]:
        paths = [*Path(".runtime/engines").glob("*"), *Path(".runtime/digests").glob("*"), *Path().glob("out-*")]
        return {str(path): path.read_bytes() for path in paths}

    def doit(self, state, *arguments) -> str:
        os.environ["MODEL_PROVISIONER_STATE_DIR"] = str(self.folder / state)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            code = DoitMain(config_filenames=()).run(list(arguments))
        assert code in (0, 1) or arguments[0] != "provision", out.getvalue()
        assert "Traceback" not in out.getvalue(), out.getvalue()
        return out.getvalue()


TestProject = pytest.mark.slow(ProjectMachine.TestCase)
TestProject.settings = settings(
    deadline=None, max_examples=40, stateful_step_count=25, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


@pytest.mark.parametrize(
    ("size", "other", "words"),
    [
        (0, 0, "0 bytes"),
        (999, 0, "999 bytes"),
        (105_248, 0, "105.2 KB"),
        (4_100_000_000, 4_000_000_000, "4.1 GB"),
        (4_100_000_000, 4_100_000_001, "4,100,000,000 bytes"),
        (2_000_000_000_000, 0, "2.0 TB"),
    ],
)
def test_sizes_in_words(size, other, words):
    assert human(size, other) == words

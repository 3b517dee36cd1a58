"""One definition of current: whatever a user does to a project, the short way ends where the long way would."""

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from doit.doit_cmd import DoitMain
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from model_signing import signing

from model_provisioner.cli import program
from model_provisioner.fs import clock
from model_provisioner.records import handoff
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.engine.snapshot import compare
from model_provisioner.units import human
from model_provisioner.config import cache as configuration
from model_provisioner.config.schema import Defaults, Entry
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.workspace import open_workspace
from tests.support.examples import examples
from tests.support.keys import make_keys
from tests.support.project import DODO, TINY

TINY_BYTES = TINY.read_bytes()
FILES = ("a.gguf", "b.bin", "set/x", "set/y")
REFS = ("a.gguf", "b.bin", "set", "missing.gguf")
CONTENTS = (b"", b"one", b"two", TINY_BYTES, TINY_BYTES[:-1] + b"!", TINY_BYTES[:-100])
THEN = st.sampled_from([None, "one", "all", "by program", "by tasks", "every way"])
"""What a user does after an edit: nothing, `doit provision NAME`, `doit provision`, `model-provisioner provision`.

The last two are held to what a run without memory leaves, in bulk or task by task, or to what its other ways do.
"""
MAKER = (
    "from pathlib import Path\n"
    "def make(source, path):\n"
    "    data = Path(source).read_bytes()\n"
    "    if not path.exists() or path.read_bytes() != data:\n"
    "        path.write_bytes(data)\n"
    "def task_make():\n"
    "    return {{'actions': [(make, ['source', Path({0!r})])], 'targets': [{0!r}], 'uptodate': [False]}}\n"
)
"""A task of the project that makes a model from the file `source`."""


class DefaultHandoff:
    """The template of an entry without `handoff`, which pydantic compiles into what it validates by."""

    @property
    def template(self) -> str:
        return Entry.model_fields["handoff"].default

    @template.setter
    def template(self, value: str) -> None:
        for model in (Defaults, Entry):
            model.model_fields["handoff"].default = value
            model.model_rebuild(force=True)


VERSIONED = (
    (compare, "__version__", "{}"),
    (configuration, "__version__", "{}"),
    (handoff, "SCHEMA_VERSION", "{}"),
    (DefaultHandoff(), "template", "{{runtime_dir}}/engines/{{name}}-{}.json"),
)
"""What an upgrade changes: the version, how a handoff is written, and what a configuration means."""


@functools.cache
def signatures() -> tuple[bytes, dict[tuple[bytes, bool], bytes]]:
    """A publisher's public key, and bundles over one file by its content and by whether the publisher signed it."""
    with tempfile.TemporaryDirectory() as folder:
        model, bundle = Path(folder, "model"), Path(folder, "bundle")
        keys = {right: make_keys(Path(folder), "p256", str(right)) for right in (True, False)}
        bundles = {}
        for content in CONTENTS:
            model.write_bytes(content)
            for right, pair in keys.items():
                signing.Config().use_elliptic_key_signer(private_key=pair.private).sign(model, bundle)
                bundles[content, right] = bundle.read_bytes()
        return keys[True].public.read_bytes(), bundles


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
        self.made: str | None = None
        self.upgrades = 0
        self.version = [getattr(module, name) for module, name, _ in VERSIONED]

    def teardown(self):
        clock.MARGIN_NS = self.margin
        for (module, name, _), value in zip(VERSIONED, self.version, strict=True):
            setattr(module, name, value)
        os.chdir(self.home)
        shutil.rmtree(self.folder)

    # ---- what a user does

    @initialize()
    def begin(self):
        (self.folder / "project/set").mkdir(parents=True)
        os.chdir(self.folder / "project")
        for name in FILES:
            self.write(name, TINY_BYTES if name.endswith(".gguf") else b"one")
        Path("publisher.pub").write_bytes(signatures()[0])
        self.sign("a.sig", TINY_BYTES, right=True)
        self.upgrade()
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
        handoff=st.sampled_from([None, "out-{name}.json"]),
        beside=st.sampled_from([None, *REFS]),
        beside_expected=st.sampled_from([None, "right", "wrong"]),
        bundle=st.sampled_from([None, None, "a.sig", "b.sig"]),
        then=THEN,
    )
    def edit_entry(self, name, ref, expected, strict, engine, handoff, beside, beside_expected, bundle, then):
        entry = {"model_ref": ref, "strict_verification": strict, "engine": engine}
        if bundle is not None:
            entry["signature"] = {"bundle": bundle, "public_key": "publisher.pub"}
        if handoff is not None:
            entry["handoff"] = handoff
        entry["expected_digest"] = self.expected(ref, expected)
        if beside not in (None, ref):
            entry["lora"] = {"model_ref": beside, "expected_digest": self.expected(beside, beside_expected)}
        self.entries[name] = entry
        self.write_config()
        self.then(then)

    @rule(bundle=st.sampled_from(["a.sig", "b.sig"]), content=st.sampled_from(CONTENTS), right=st.booleans(), then=THEN)
    def sign(self, bundle, content, right, then=None):
        """A bundle over what may be a model's bytes comes, by the publisher or by somebody else."""
        time.sleep(0.005)
        Path(bundle).write_bytes(signatures()[1][content, right])
        self.then(then)

    @rule(bundle=st.sampled_from(["a.sig", "b.sig"]), how=st.sampled_from(["touch", "tear", "remove"]), then=THEN)
    def harm_a_bundle(self, bundle, how, then):
        time.sleep(0.005)
        path = Path(bundle)
        if path.exists():
            if how == "touch":
                os.utime(path)
            elif how == "tear":
                path.write_bytes(path.read_bytes()[:500])
            else:
                path.unlink()
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

    @rule(name=st.sampled_from(["m0", "m1", "m2"]), undo=st.booleans(), then=THEN)
    def retire(self, name, undo, then):
        if name in self.entries:
            self.doit("state", "model-retire", name, *(["--undo"] if undo else []))
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

    @rule(name=st.sampled_from(["a.gguf", "b.bin"]), data=st.sampled_from(CONTENTS), then=THEN)
    def let_a_task_make_a_model(self, name, data, then):
        self.made = name
        Path("source").write_bytes(data)
        Path("dodo.py").write_text(DODO + MAKER.format(name))
        self.then(then)

    @rule(data=st.sampled_from(CONTENTS), then=THEN)
    def change_what_the_task_makes(self, data, then):
        if self.made:
            Path("source").write_bytes(data)
        self.then(then)

    @rule(imports=st.booleans(), then=THEN)
    def have_no_such_task(self, imports, then):
        """`dodo.py` only imports our tasks, or there is none."""
        self.made = None
        Path("dodo.py").unlink(missing_ok=True)
        if imports:
            Path("dodo.py").write_text(DODO)
        self.then(then)

    @rule(then=THEN)
    def upgrade(self, then=None):
        """From now on it is another version of this program that runs."""
        self.upgrades += 1
        for module, name, form in VERSIONED:
            setattr(module, name, form.format(self.upgrades))
        self.then(then)

    def then(self, what):
        if what == "every way":
            self.provision_in_every_way()
        elif what is not None:
            run = self.program if what == "by program" and not self.made else self.doit
            self.provision(named=what == "one", options=["-r", "zero"] if what == "by tasks" else [], run=run)

    # ---- what must hold

    def provision(self, named, options=(), run=None):
        names = sorted(self.entries)[:1] if named else []
        (run or self.doit)("state", "provision", *names)
        if names:
            return
        short = self.artifacts()
        self.expect(short)
        if retired := sorted(self.retired()):
            self.doit("another state", "model-retire", *retired)
        self.doit("another state", "provision", *options)
        assert self.artifacts() == short
        shutil.rmtree(self.folder / "another state")
        self.expect_nothing_to_do()

    def provision_in_every_way(self):
        """From one state, the short way, the bulk way, doit's tasks and the program do the same."""
        with tempfile.TemporaryDirectory() as folder:
            before = Path(folder)
            for name in ("state", "project"):
                if (self.folder / name).exists():
                    shutil.copytree(self.folder / name, before / name, symlinks=True)
            found = []
            for options in ([], [], ["-r", "zero"], None):
                if found:
                    self.go_back_to(before)
                if options is None and not self.made:
                    self.program("state", "provision")
                    done = self.artifacts()
                self.doit("state", "provision", *(options or []))
                found.append(self.what_was_done())
            assert found[1] == found[0], "the bulk way differs from the short one"
            assert found[2] == found[1], "the tasks differ from the bulk way"
            assert found[3] == found[1], "the program differs from the bulk way"
            assert self.made or found[3]["artifacts"] == done, "doit did once more what the program did"
            self.expect(self.artifacts())

    def go_back_to(self, before):
        """Take back what a run did, but let it remember neither what is current nor what was parsed."""
        shutil.rmtree(self.folder / "state")
        if (before / "state").exists():
            shutil.copytree(before / "state", self.folder / "state")
        for path in [*self.folder.glob("state/projects/*/snapshot"), *self.folder.glob("state/projects/*/config")]:
            path.unlink()
        for path in self.artifacts():
            Path(path).unlink()
        shutil.rmtree(".runtime", ignore_errors=True)
        for path in [*(before / "project").glob("out-*"), *(before / "project").glob(".runtime")]:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, path.name)
        if self.made:
            self.restore(self.made, before)

    def restore(self, name, before):
        """Let a model have the bytes that it had before it was made; where it was not, its times and place stay too."""
        old = before / "project" / name
        if not old.exists():
            Path(name).unlink(missing_ok=True)
        elif not os.path.exists(name) or Path(name).read_bytes() != old.read_bytes():
            Path(name).write_bytes(old.read_bytes())

    def what_was_done(self):
        """Return all that a run leaves, but for times and for which of two entries read their file first."""
        (path,) = self.folder.glob("state/projects/*/doit.db")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = {task: json.loads(data) for task, data in connection.execute("SELECT id, data FROM task")}
        verified = {task: row for task, row in rows.items() if ":verify:" in task}
        for row in verified.values():
            row.pop("result:", None)
            row["deps:"] = sorted(row.get("deps:", ()))
            for name in row["deps:"]:
                del row[name][0]
        work = open_workspace("models.yaml", state=str(self.folder / "state"))
        catalog = [work.catalog.get(work.config.root, name) for name in work.config.entries]
        log = Path(".runtime/provenance/models.jsonl")
        lines = [json.loads(line) for line in log.read_bytes().splitlines()] if log.exists() else []
        return {
            "artifacts": self.artifacts(),
            "doit": verified,
            "catalog": [
                replace(row, registered_at=None, verified_at=None, used_at=None, audited_at=None) for row in catalog
            ],
            "log": {(line["path"], line["digest"], line["how"]) for line in lines},
        }

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
            handoff = entry.get("handoff", DefaultHandoff().template).format(runtime_dir=".runtime", name=name)
            if digest is None or self.is_unsound(entry["model_ref"]) or name in self.retired():
                continue
            signature = entry.get("signature")
            if signature is not None and not os.path.exists(signature["bundle"]):
                continue  # nothing was checked, and that is not tolerated
            beside = entry.get("lora")
            if beside and (self.digest(beside["model_ref"]) is None or self.is_no_adapter(beside["model_ref"])):
                continue
            expectations = [(digest, wanted)]
            if beside:
                expectations.append((self.digest(beside["model_ref"]), beside["expected_digest"]))
            holds = signature is None or self.is_signed(entry["model_ref"], signature["bundle"])
            matches = holds and all(each in (None, found) for found, each in expectations)
            is_pinned = all(each is not None for _, each in expectations)
            if matches:
                expected.add(f".runtime/digests/{name}.sha256")
            if matches or not entry["strict_verification"]:
                expected.add(handoff)
                document = json.loads(artifacts[handoff])
                found = document["metadata"]
                roles = [each["role"] for each in document["model"].get("companions", [])]
                assert roles == (["lora"] if beside else [])
                for each in found["files"]:
                    assert each["sha256"] == sha(Path(each["path"]).read_bytes())
                assert f"{found['digest']['algo']}:{found['digest']['value']}" == digest
                assert found["verification"] == ("fail" if not matches else "pass" if is_pinned else "warn")
                assert found.get("signature", {}).get("outcome") == (
                    None if signature is None else "pass" if holds else "fail"
                )
        assert set(artifacts) == expected
        if self.made in {
            part["model_ref"]
            for name, entry in self.entries.items()
            if name not in self.retired()
            for part in (entry, entry.get("lora", entry))
        }:
            assert Path(self.made).read_bytes() == Path("source").read_bytes()

    def expect_nothing_to_do(self):
        work = open_workspace("models.yaml", state=str(self.folder / "state"))
        for entry in work.config.entries.values():
            row = work.catalog.get(work.config.root, entry.name)
            if row.lifecycle == "Retired":
                continue
            found = reasons(work, EntryRun(entry))
            assert bool(found) == (row.lifecycle == "Failed"), (entry, found)
        before = {path: os.stat(path).st_ino for path in self.artifacts()}
        self.doit("state", "provision")
        if not self.made:
            self.program("state", "provision")
        after = {path: os.stat(path).st_ino for path in self.artifacts()}
        tolerated = {path for path, data in self.artifacts().items() if b'"verification": "fail"' in data}
        assert {path: after[path] for path in after if path not in tolerated} == {
            path: before[path] for path in before if path not in tolerated
        }

    # ---- help

    def retired(self) -> set[str]:
        """The entries that are retired, as far as the catalog was not lost."""
        rows = Catalog.reader(str(self.folder / "state")).all()
        return {row.name for row in rows if row.lifecycle == "Retired"} & self.entries.keys()

    def digest(self, ref) -> str | None:
        if ref == "set":
            files = sorted(path.name for path in Path("set").iterdir())
            lines = "".join(f"{sha(Path('set', name).read_bytes())}  {name}\n" for name in files)
            return "dirhash:" + sha(lines.encode()) if files else None
        return "sha256:" + sha(Path(ref).read_bytes()) if os.path.exists(ref) else None

    def is_signed(self, ref, bundle) -> bool:
        data = Path(bundle).read_bytes()
        return ref != "set" and data == signatures()[1].get((Path(ref).read_bytes(), True))

    def is_unsound(self, ref) -> bool:
        return ref.endswith(".gguf") and self.is_unsound_gguf(ref)

    def is_no_adapter(self, ref) -> bool:
        return ref == "a.gguf" or (ref == "b.bin" and not self.is_unsound_gguf(ref))

    def is_unsound_gguf(self, ref) -> bool:
        return Path(ref).read_bytes() not in CONTENTS[3:5]

    def expected(self, ref, which) -> str | None:
        """Return the digest of a reference that is right, one that is wrong, or none."""
        if which == "wrong":
            return ("dirhash:" if ref == "set" else "sha256:") + "0" * 64
        return self.digest(ref) if which == "right" else None

    def write_config(self):
        defaults = {"strict_verification": True}
        self.entries = {name: {**defaults, **entry} for name, entry in self.entries.items()}
        for entry in self.entries.values():
            if entry.get("expected_digest", "") is None:
                del entry["expected_digest"]
        time.sleep(0.005)
        Path("models.yaml").write_text(json.dumps({"models": self.entries}))

    def artifacts(self) -> dict[str, bytes]:
        paths = [*Path(".runtime/engines").glob("*"), *Path(".runtime/digests").glob("*"), *Path().glob("out-*")]
        return {str(path): path.read_bytes() for path in paths}

    def program(self, state, *arguments) -> str:
        os.environ["MODEL_PROVISIONER_STATE_DIR"] = str(self.folder / state)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            code = program.run(list(arguments))
        assert code in (0, 1), out.getvalue()
        assert "Traceback" not in out.getvalue(), out.getvalue()
        return out.getvalue()

    def doit(self, state, *arguments) -> str:
        os.environ["MODEL_PROVISIONER_STATE_DIR"] = str(self.folder / state)
        sys.modules.pop("dodo", None)
        importlib.invalidate_caches()
        search, sys.path, written, sys.dont_write_bytecode = sys.path, [*sys.path], sys.dont_write_bytecode, True
        try:
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
                code = DoitMain(config_filenames=()).run(list(arguments))
        finally:
            sys.path, sys.dont_write_bytecode = search, written
        assert code in (0, 1) or arguments[0] != "provision", out.getvalue()
        assert "Traceback" not in out.getvalue(), out.getvalue()
        return out.getvalue()


TestProject = pytest.mark.slow(ProjectMachine.TestCase)
TestProject.settings = settings(
    deadline=None,
    max_examples=examples(14),
    stateful_step_count=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
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

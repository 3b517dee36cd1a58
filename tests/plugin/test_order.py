"""Who decides the order: `doit provision` takes every step before doit's graph, and in five cases doit decides.

Whichever it is, a project comes to the same: handoffs, checksum files, catalog, log, messages, exit code.
"""

import importlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_provisioner.engine.run import Run
from model_provisioner.hashing import memo
from tests.support import hub as faults
from tests.support.gguf_bytes import gguf, text, u32
from tests.support.hub import Hub
from tests.support.project import DODO, Answer, Project, settle
from tests.support.remote import FLIPPED, TINY_BYTES, Remote

SIGNED = Path(__file__).parents[1] / "data" / "signatures"
CLIP = {"general.architecture": text("clip"), "general.type": text("mmproj"), "clip.vision.projection_dim": u32(64)}
WRONG = "sha256:" + "0" * 64
HUB = "hf:org/models"
LOCAL = {
    "local": {"model_ref": "local.bin"},
    "split": {"model_ref": "tiny-llama-split-00001-of-00003.gguf"},
    "folder": {"model_ref": "folder"},
    "beside": {"model_ref": "tiny.gguf", "mmproj": "see.gguf", "lora": ["style.gguf"]},
    "signed": {
        "model_ref": "by-key",
        "engine": "vllm",
        "signature": {"bundle": "by-key/model.sig", "public_key": "by-key.pub"},
    },
    "wrong": {"model_ref": "wrong.bin"},
    "tolerated": {"model_ref": "tolerated.bin", "strict_verification": False},
    "missing": {"model_ref": "missing.bin"},
    "retired": {"model_ref": "retired.bin"},
    "steady": {"model_ref": "steady.bin"},
}
REMOTE = {
    "styled": {"model_ref": "tiny.gguf", "lora": [f"{HUB}/style.gguf"]},
    "seeing": {"model_ref": f"{HUB}/seeing.gguf", "mmproj": "eyes.gguf"},
    "kept": f"{HUB}/kept.gguf",
    "fetched": f"{HUB}/fetched.gguf",
    "nowhere": f"{HUB}/nowhere.gguf",
}
NAMES = [*LOCAL, *REMOTE]
FAILED = ["missing", "nowhere", "wrong"]
RETIRED = "retired"
STEPS = {name: ("verify", "register", "handoff") for name in LOCAL} | {
    name: ("fetch", "verify", "register", "handoff") for name in REMOTE
}


class Mixed:
    """A project with an entry of every kind, of which one more thing is true for each: it fails, is tolerated, retired, …"""

    def __init__(self, folder, hub, tiny_models) -> None:
        root, home = folder / "a project", folder / "home"
        for each in (root, home):
            each.mkdir(parents=True)
        self.hub = hub
        self.project = Project(root, folder / "state", {**hub.environ(folder / "hf"), "HOME": str(home)})
        self.project.environ["XDG_CACHE_HOME"] = str(home / "cache")
        self._remote = Remote(self.project, root / "store", home)
        for path in (*tiny_models.glob("tiny-llama-split-*"), tiny_models / "tiny-llama-lora.gguf"):
            shutil.copy(path, root)
        (root / "tiny-llama-lora.gguf").rename(root / "style.gguf")
        shutil.copytree(SIGNED / "by-key", root / "by-key")
        shutil.copy(SIGNED / "by-key.pub", root)
        self.project.add_tiny("tiny.gguf")
        for name in ("see", "eyes"):
            self.project.write(f"{name}.gguf", gguf(CLIP))
        for name in ("x", "sub/y"):
            self.project.write(f"folder/{name}", f"file {name}")
        for name in ("local", "wrong", "tolerated", "missing", "retired", "steady"):
            self.project.write(f"{name}.bin", f"model {name}")
        hub.add("org/models", {"kept.gguf": TINY_BYTES, "style.gguf": (root / "style.gguf").read_bytes()})
        self._configure(kept=REMOTE["kept"])
        settle()
        self.project.provision()
        assert len(self.handoffs()) == len(LOCAL) + 1

    def trouble(self, *, made: bool = False) -> None:
        """Change every entry but `steady`; with `made`, a task of the project is to make the change of `local`."""
        root = self.project.root
        style = (root / "style.gguf").read_bytes()
        more = {"fetched.gguf": FLIPPED, "seeing.gguf": TINY_BYTES[:-1] + b"!"}
        self.hub.add("org/models", {"kept.gguf": TINY_BYTES, "style.gguf": style, **more})
        self._configure(**{**REMOTE, "wrong": {**LOCAL["wrong"], "expected_digest": WRONG}})
        self.project.write("source.bin" if made else "local.bin", "another model")
        for name in ("tolerated", "wrong"):
            self.project.write(f"{name}.bin", "other bytes")
        for name in ("folder/x", "tiny-llama-split-00002-of-00003.gguf", "see.gguf", "by-key/signme-1"):
            os.utime(root / name, (1e9, 1e9))
        (root / "missing.bin").unlink()
        self.project.doit("model-retire", RETIRED)
        settle()
        self.hub.forget()

    def _configure(self, **more) -> None:
        entries = {**LOCAL, **more}
        entries["tolerated"] = {**LOCAL["tolerated"], "expected_digest": WRONG}
        defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
        self._remote.models(entries, cache_dir="store", defaults=defaults)

    def handoffs(self) -> list[str]:
        return sorted(path.stem for path in (self.project.root / ".runtime/engines").glob("*.json"))

    def world(self) -> dict:
        """Return all that a run leaves, less times, and less the place of this project."""
        folder = self.project.root / ".runtime"
        rows = self.project.rows().values()
        found = {
            "files": {
                str(path.relative_to(folder)): path.read_text()
                for kind in ("engines", "digests")
                for path in sorted((folder / kind).iterdir())
            },
            "catalog": {row["name"]: without_times(row) for row in rows},
            "log": sorted(map(without_times, self.project.provenance()), key=json.dumps),
        }
        return json.loads(self.here(json.dumps(found)))

    def here(self, text: str) -> str:
        """Return a text without the place of this project."""
        return text.replace(str(self.project.root), "<project>")


TIMES = {"time", "hashed", "last_used", "registered_at", "verified_at", "used_at", "audited_at"}


def without_times(value):
    """Return a value of JSON without what tells when something was done."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    return value


def said(out: str) -> dict[str, str]:
    """Return what the reporter of models said of each."""
    blocks = re.split(r"^(?=\S)", out, flags=re.MULTILINE)
    return {block.split()[1]: block for block in blocks if re.match(r"(pass |warn |FAIL |FAIL!|same |gone ) \S", block)}


def failures(out: str) -> dict[str, str]:
    """Return the messages of the models that failed, in the words of their errors, whoever reports them."""
    found = {}
    if out.startswith("{"):
        for task in json.loads(out)["tasks"]:
            if task["result"] == "fail" and not task["error"].startswith("models:"):  # what was left out for another
                found[task["name"].split(":", 2)[2]] = task["error"].strip()
        return found
    for name, block in said(out).items():
        if block.startswith("FAIL  "):
            found[name] = block.removeprefix(f"FAIL  {name}  ").replace("      its handoff was withdrawn\n", "")
    blocks = re.split(r"^(?=(?:\.  |-- |!! |Task\w+ - taskid:|Unmet|UnMet|####))", out, flags=re.MULTILINE)
    for block in blocks:
        if match := re.match(r"Task(?:Failed|Error) - taskid:models:\w+:(.+)\n", block):
            found.setdefault(match[1], block[match.end() :])
    return {name: re.sub(r"^ +", "  ", text, flags=re.MULTILINE).strip() for name, text in found.items()}


@pytest.fixture(scope="module")
def shared_hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def build(shared_hub, tiny_models, tmp_path_factory):
    """A function that makes the mixed project anew, each time somewhere else."""
    importlib.import_module(
        "model_signing"
    )  # its first import, beside that of another thread, may warn of a lack of SOCKS
    return lambda: Mixed(tmp_path_factory.mktemp("mixed"), shared_hub, tiny_models)


@pytest.fixture
def mixed(build) -> Mixed:
    return build()


@pytest.fixture(scope="module")
def plain(build):
    """The mixed project after plain `doit provision`: what it is, what was said, and what was asked of the hub."""
    mixed = build()
    mixed.trouble()
    with readings() as read:
        answer = mixed.project.provision(code=1)
    return {
        "world": mixed.world(),
        "said": said(mixed.here(answer.out)),
        "failures": failures(mixed.here(answer.out)),
        "summary": summary(answer),
        "asked": asked(mixed.hub),
        "read": sorted(map(mixed.here, read)),
    }


def summary(answer: Answer) -> str:
    return re.search(r"^\d+ models?: .*?(?= \(\d)", answer.out, re.MULTILINE)[0]


def asked(hub: Hub) -> list[str]:
    return sorted(f"{each.method} {each.path}" for each in hub.requests if "harnesses" not in each.path)


@contextmanager
def readings():
    """Collect the paths of the files that are hashed, by this process or its forks, as often as they are."""
    real = memo.hash_both
    found: list[str] = []
    with tempfile.TemporaryFile("ab+") as file, pytest.MonkeyPatch.context() as patch:

        def seen(fd, *rest):
            os.write(file.fileno(), os.fsencode(os.readlink(f"/proc/self/fd/{fd}")) + b"\n")
            return real(fd, *rest)

        patch.setattr(memo, "hash_both", seen)
        try:
            yield found
        finally:
            file.seek(0)
            found += os.fsdecode(file.read()).splitlines()


# ---- what is held: a project that comes to all there is


def test_the_mixed_project_comes_to_what_its_entries_are(plain):
    """What the other tests compare with is what a user expects."""
    rows = plain["world"]["catalog"]
    assert {name: row["state"] for name, row in rows.items()} == {
        **dict.fromkeys(NAMES, "Active"),
        **dict.fromkeys([*FAILED, "tolerated"], "Failed"),
        RETIRED: "Retired",
    }
    gone = {*FAILED, RETIRED}
    assert set(plain["world"]["files"]) == {
        *(f"engines/{name}.json" for name in NAMES if name not in gone),
        *(f"digests/{name}.sha256" for name in NAMES if name not in {*gone, "tolerated"}),
    }
    assert plain["summary"] == "15 models: 9 done, 2 current, 3 failed, 1 retired"
    assert sorted(plain["failures"]) == FAILED
    assert plain["failures"]["wrong"].startswith("the digest differs from what is expected"), plain["failures"]
    assert [plain["read"].count(f"<project>/{name}.bin") for name in ("wrong", "local", "steady")] == [1, 1, 0]
    assert plain["failures"]["missing"] == (
        "there is no such file or folder\n  where     <project>/missing.bin\n"
        "  expected  a file or folder that you may read\n  found     nothing\n  fix       did you mean wrong.bin?"
    )


# ---- whoever decides the order


THERE = [name for name in NAMES if name != RETIRED]
CHANGED = DODO.replace("task_models", "task_models as ours") + (
    "def task_models():\n"
    "    for task in ours():\n"
    "        if task['name'] in ('verify:local', 'verify:wrong', 'register:folder', 'fetch:fetched', 'handoff:beside'):\n"
    "            task['task_dep'] = [*task.get('task_dep', []), 'before']\n"
    "        yield task\n"
    "def task_before():\n"
    "    return {'actions': ['true']}\n"
)
MAKING = DODO + (
    "def task_make():\n"
    "    return {'actions': ['cp source.bin local.bin'], 'file_dep': ['source.bin'], 'targets': ['local.bin']}\n"
)
WAYS = {
    "names of entries": lambda names: ["provision", *names],
    "the name of the group": lambda names: ["provision", "models"],
    "names of tasks": lambda names: ["provision", *(f"models:handoff:{name}" for name in names)],
    "names of targets": lambda names: ["provision", *(f".runtime/engines/{name}.json" for name in names)],
    "the reporter console": lambda names: ["provision", "-r", "console", "-n", "0"],
    "the reporter executed-only": lambda names: ["provision", "-r", "executed-only", "-n", "0"],
    "the reporter json": lambda names: ["provision", "-r", "json"],
    "the reporter zero": lambda names: ["provision", "-r", "zero"],
    "always execute": lambda names: ["provision", "--always-execute"],
    "four threads": lambda names: ["provision", "-n", "4"],
    "one thread": lambda names: ["provision", "-n", "1"],
    "plain doit": lambda names: ["run", "--continue"],
    "plain doit with threads": lambda names: ["run", "--continue", "-n", "3"],
    "plain doit with processes": lambda names: ["run", "--continue", "-n", "3", "-P", "process"],
    "plain doit, names of tasks": lambda names: ["run", "--continue", *(f"models:handoff:{name}" for name in names)],
    "plain doit, always execute": lambda names: ["run", "--continue", "--always-execute"],
}
HOSTED = {
    "a task of the project makes a model": MAKING,
    "the project bound our tasks to one of its own": CHANGED,
}
LEFT_OUT = 2
"""How plain doit ends where it left out what depended on a failure."""


def run_the(way: str, project: Project, names: list[str]) -> Answer:
    """Run doit in one of the ways over a project of which some models fail."""
    dodo, command = (HOSTED[way], ["provision"]) if way in HOSTED else (DODO, WAYS[way](names))
    project.write("dodo.py", dodo)
    return project.doit(*command, code=LEFT_OUT if command[0] == "run" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("way", [*HOSTED, *WAYS])
def test_whoever_decides_the_order_the_project_comes_to_the_same(mixed, plain, way):
    mixed.trouble(made=way == "a task of the project makes a model")
    with readings() as read:
        answer = run_the(way, mixed.project, THERE)
    world = mixed.world()
    assert world["files"] == plain["world"]["files"]
    for name in NAMES:
        assert world["catalog"][name] == plain["world"]["catalog"][name]
    if "processes" not in way:
        assert world["log"] == plain["world"]["log"]
    else:  # the fork that verifies what another one fetched does not know where that came from
        assert of_local(world["log"]) == of_local(plain["world"]["log"])
    if "doit with threads" in way:  # whose reporter writes between the lines of another
        lines = {line.strip() for line in mixed.here(answer.out).splitlines()}
        assert {line.strip() for text in plain["failures"].values() for line in text.splitlines()} <= lines
    elif "zero" not in way:
        assert failures(mixed.here(answer.out)) == plain["failures"]
    assert asked(mixed.hub) == plain["asked"]
    assert sorted(map(mixed.here, read)) == plain["read"]


def of_local(log: list[dict]) -> list[dict]:
    return [line for line in log if line["name"] in LOCAL]


@pytest.mark.slow
@pytest.mark.parametrize("way", HOSTED)
def test_where_the_project_has_a_part_in_it_all_is_told_as_ever(mixed, plain, way):
    mixed.trouble(made=way == "a task of the project makes a model")
    answer = run_the(way, mixed.project, THERE)
    assert said(mixed.here(answer.out)) == plain["said"]
    assert summary(answer) == plain["summary"]


@pytest.mark.slow
def test_the_others_go_before_a_model_that_a_task_of_the_project_makes(mixed):
    mixed.trouble(made=True)
    mixed.project.write("dodo.py", MAKING)
    out = mixed.project.provision(code=1).out
    order = re.findall(r"^(?:pass |warn |FAIL |FAIL!|\. ) (\S+)", out, re.MULTILINE)
    made = order.index("make")
    assert set(order[:made]) - {*FAILED} == set(THERE) - {"local", "steady", "kept", *FAILED}
    assert set(order[made:]) - {*FAILED} == {"make", "local"}


def test_who_needs_a_retired_model_fails_and_hears_why(project):
    project.write("a.bin", "a")
    project.models("models: {a: {model_ref: a.bin}}")
    project.provision()
    project.doit("model-retire", "a")
    out = project.provision("models:handoff:a", code=1).out
    assert out.startswith("FAIL  a  a is retired: it has no handoff, and what needs one can't run\n")
    assert "1 model: 1 failed (" in out


# ---- what failed is not tried again


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_failed_is_told_once_by_its_first_task_and_never_tried_again(remote, hub, hurried, way):
    """Nothing is at rest here: whoever asked again what the bytes are would have to read them."""
    project = remote.project
    hub.add("org/models", {"cut.gguf": TINY_BYTES})
    hub.fault(faults.error(500), on="*/cut.gguf")
    remote.models(
        {
            "wrong": {"model_ref": "wrong.bin", "expected_digest": WRONG},
            "beside": {"model_ref": "wrong.bin", "lora": [f"{HUB}/nowhere.gguf"]},
            "cut": f"{HUB}/cut.gguf",
            "nowhere": f"{HUB}/nowhere.gguf",
        }
    )

    def attempt(way: str) -> dict:
        project.write("wrong.bin", "bytes")
        hub.forget()
        with readings() as read:
            answer = run_the(way, project, ["wrong", "beside", "cut", "nowhere"])
        told = re.findall(r"taskid:models:(\w+:\w+)$", answer.out, re.MULTILINE)
        return {"read": read, "asked": asked(hub), "failures": failures(answer.out), "told": told}

    first = attempt("one thread")
    assert first["read"] == [str(project.root / "wrong.bin")]
    assert sorted(first["failures"]) == ["beside", "cut", "nowhere", "wrong"]
    shutil.rmtree(project.root / ".runtime")
    shutil.rmtree(project.state)
    remote.empty_cache()
    again = attempt(way)
    assert (again["read"], again["asked"]) == (first["read"], first["asked"])
    if "zero" not in way and "doit with threads" not in way:
        assert again["failures"] == first["failures"]
    if "console" in way or "plain" in way:
        failing = [task for task in again["told"] if not task.startswith(("register", "handoff"))]
        assert {"fetch:beside", "fetch:cut", "fetch:nowhere", "verify:wrong"} <= set(failing)
        assert len(failing) == len(set(failing))


# ---- what doit was told to ignore


@pytest.mark.slow
@pytest.mark.parametrize("command", [["provision"], ["provision", *THERE], ["provision", "-r", "console"]])
def test_for_what_doit_ignores_nothing_is_done_and_what_was_withdrawn_is_told_by_name(mixed, plain, command):
    mixed.trouble()
    mixed.project.write("dodo.py", DODO)
    ignored = {"local": "verify", "folder": "register", "beside": "handoff", "fetched": "fetch", "steady": "verify"}
    mixed.project.doit("ignore", *(f"models:{step}:{name}" for name, step in ignored.items()))
    with readings() as read:
        answer = mixed.project.doit(*command, code=1)
    assert [path for path in read if path.endswith(("local.bin", "folder/x", "see.gguf"))] == []
    assert not [each for each in asked(mixed.hub) if "fetched" in each]
    there = set(plain["world"]["files"])
    withdrawn = {"local", "folder", "beside"}  # `fetched` never had one, and that of `steady` is as it must be
    assert set(mixed.handoffs()) == {
        os.path.basename(path).removesuffix(".json") for path in there if path.startswith("engines/")
    } - withdrawn - {"fetched"}
    for name in withdrawn:
        assert re.search(rf"^(gone  |WARNING: ){name}  its handoff was withdrawn \(.+\)$", answer.all, re.MULTILINE)
    assert answer.all.count("its handoff was withdrawn (") == len(withdrawn)
    for name, step in ignored.items():
        assert f"!! models:{step}:{name}\n" in answer.out
    rows = mixed.world()["catalog"]
    others = [name for name in NAMES if name not in ignored]
    assert {name: rows[name] for name in others} == {name: plain["world"]["catalog"][name] for name in others}


def test_ignoring_alone_is_enough_to_fail_where_a_handoff_was_withdrawn_and_not_where_none_was(project):
    for name in "ab":
        project.write(f"{name}.bin", f"bin {name}")
    project.models(
        'defaults: {handoff: "{runtime_dir}/engines/{name}.json"}\n'
        "models: {a: {model_ref: a.bin}, b: {model_ref: b.bin}}\n"
    )
    project.write("dodo.py", DODO)
    settle()
    project.provision()
    project.doit("ignore", "models:verify:b")
    project.provision()
    project.write("b.bin", "others")
    out = project.provision(code=1).out
    assert "gone  b  its handoff was withdrawn (size 6 bytes, was 5 bytes)\n" in out
    assert re.search(r"\b1 withdrawn \(", out)
    assert project.handoff("b") is None
    assert "gone" not in project.provision().out, "it was told when it was withdrawn"
    assert "!! models:verify:b\n" in project.doit("run").out
    project.doit("forget", "models:verify:b")
    project.provision()
    assert project.handoff("b")


# ---- stop at the first failure


@pytest.fixture
def three(project):
    """A project of three models that are read one after the other: `a`, the largest, then `b`, then `c`."""
    size = 2 << 20
    for name, more in {"a": 3, "b": 2, "c": 1}.items():
        project.write(f"{name}.bin", bytes(size + more))
    settle()
    configure(project)
    project.provision()
    for name, more in {"a": 6, "b": 5, "c": 4}.items():
        project.write(f"{name}.bin", bytes(size + more))
    settle()
    return project


def configure(project: Project, **expected: str) -> None:
    entries = {name: {"model_ref": f"{name}.bin"} for name in "abc"}
    for name, digest in expected.items():
        entries[name]["expected_digest"] = digest
    defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
    project.models(json.dumps({"defaults": defaults, "models": entries}))


@pytest.mark.parametrize("failing", ["a", "b"])
@pytest.mark.parametrize("command", [[], ["a", "b", "c"], ["-r", "console"], ["--always-execute"], ["c", "b", "a"]])
def test_what_is_after_the_first_failure_is_not_handed_off_and_what_it_lost_is_told(three, failing, command):
    configure(three, **{failing: WRONG})
    with readings() as read:
        answer = three.provision("--no-continue", "-n", "1", *command, code=1)
    done, left = "abc"[: "abc".index(failing)], "abc"["abc".index(failing) + 1 :]
    assert [os.path.basename(path) for path in read] == [f"{name}.bin" for name in (*done, failing)]
    assert [name for name in "abc" if three.handoff(name)] == list(done)
    assert answer.all.count("the digest differs from what is expected") == 1
    for name in left:
        assert re.search(rf"^(gone  |WARNING: ){name}  its handoff was withdrawn \(size ", answer.all, re.MULTILINE)
    assert answer.all.count("its handoff was withdrawn (") == len(left)
    rows = three.rows()
    assert [rows[name]["state"] for name in (*done, failing)] == [*("Active" for _ in done), "Failed"]
    configure(three)
    three.provision()
    assert all(three.handoff(name) for name in "abc")


@pytest.mark.parametrize("command", [[], ["-r", "console"]])
def test_doits_threads_begin_nothing_beside_the_failure_that_ended_the_engines_work(three, command):
    entries = {"gone": {"model_ref": "gone.bin"}, **{name: {"model_ref": f"{name}.bin"} for name in "abc"}}
    defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
    three.models(json.dumps({"defaults": defaults, "models": entries}))
    with pytest.MonkeyPatch.context() as patch:
        # The engine comes to `gone` alone, as it does where the others are many and large.
        real = Run.provision
        patch.setattr(Run, "provision", lambda run, names, workers: real(run, ["gone"], workers))
        with readings() as read:
            answer = three.provision("--no-continue", "-n", "4", *command, code=1)
    assert read == []
    assert answer.all.count("there is no such file or folder") == 1
    for name in "abc":
        assert three.handoff(name) is None
        assert re.search(rf"^(gone  |WARNING: ){name}  its handoff was withdrawn \(size ", answer.all, re.MULTILINE)


@pytest.mark.parametrize("step", ["fetch:fetched", "verify:local", "register:folder", "handoff:beside"])
@pytest.mark.slow
def test_what_a_task_of_the_project_keeps_from_being_done_has_failed_and_is_told(mixed, step):
    mixed.trouble()
    name = step.partition(":")[2]
    broken = CHANGED.replace("'actions': ['true']", "'actions': ['false']")
    bound = re.sub(r"in \('verify:local'.*\):", f"== '{step}':", broken)
    mixed.project.write("dodo.py", bound)
    out = mixed.project.provision(code=1).out
    assert f"FAIL  {name}  what it needs failed: before\n" in out
    assert re.search(r"^15 models: 8 done, 2 current, 4 failed, 1 retired \(", out, re.MULTILINE)
    assert name not in mixed.handoffs()


# ---- doit's own commands, after the engine did the work


@pytest.mark.slow
def test_doit_knows_what_was_done_before_its_graph(mixed):
    """`list`, `info`, `clean` and `forget` behave as if the tasks had done it."""
    mixed.trouble()
    mixed.project.provision(code=1)
    mixed.project.write("dodo.py", DODO)
    done = [name for name in THERE if name not in FAILED]
    lines = mixed.project.doit("list", "--all", "-s").out.splitlines()
    status = {line.split()[1]: line[0] for line in lines}
    for name in done:
        steps = ("register", "handoff") if name == "tolerated" else STEPS[name]  # which has no checksum file
        assert {f"{step} {status[f'models:{step}:{name}']}" for step in steps} == {f"{step} U" for step in steps}
    for name in FAILED:
        assert status[f"models:{STEPS[name][0]}:{name}"] == "R"
    assert "up-to-date" in mixed.project.doit("info", "models:verify:beside").out
    assert "up-to-date" in mixed.project.doit("info", "models:fetch:styled").out
    assert " - by-key/signme-1\n" in mixed.project.doit("info", "models:verify:signed").out
    models = {path: path.read_bytes() for path in mixed.project.root.rglob("*") if path.is_file() and is_model(path)}

    mixed.hub.forget()
    mixed.project.doit("forget", "models")
    before = {path: path.stat().st_ino for path in (mixed.project.root / ".runtime/engines").iterdir()}
    with readings() as read:
        mixed.project.provision(code=1)
    assert (read, {path: path.stat().st_ino for path in before}) == ([], before)

    mixed.project.doit("clean", "models")
    assert mixed.handoffs() == []
    assert list((mixed.project.root / ".runtime/digests").iterdir()) == []
    assert {path: path.read_bytes() for path in models} == models
    with readings() as read:
        mixed.project.provision(code=1)
    assert read == []
    assert mixed.handoffs() == sorted(done)
    assert not [each for each in asked(mixed.hub) if "nowhere" not in each and "/api/models/" not in each]


def is_model(path: Path) -> bool:
    return ".runtime" not in path.parts and path.suffix in (".bin", ".gguf")

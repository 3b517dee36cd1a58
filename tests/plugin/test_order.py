"""Who decides the order: `doit provision` takes every step before doit's graph, and in five cases doit decides.

Whichever it is, a project comes to the same: handoffs, checksum files, catalog, log, messages, exit code.
"""

import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_provisioner.hashing import memo
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
        self.project.write("see.gguf", gguf(CLIP))
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
        hub = {"kept.gguf": TINY_BYTES, "style.gguf": (root / "style.gguf").read_bytes(), "fetched.gguf": FLIPPED}
        self.hub.add("org/models", hub)
        self._configure(**{**REMOTE, "wrong": {**LOCAL["wrong"], "expected_digest": WRONG}})
        self.project.write("source.bin" if made else "local.bin", "another model")
        self.project.write("tolerated.bin", "other bytes")
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
        rows = json.loads(self.project.doit("model-list", "--json").out)
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
    return {block.split()[1]: block for block in blocks if re.match(r"(pass|warn|FAIL!?|same|gone)  ", block)}


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
    read, write = os.pipe()

    def seen(fd, *rest):
        os.write(write, os.fsencode(os.readlink(f"/proc/self/fd/{fd}")) + b"\n")
        return real(fd, *rest)

    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch, open(read, "rb") as pipe:
        patch.setattr(memo, "hash_both", seen)
        try:
            yield found
        finally:
            os.close(write)
            found += os.fsdecode(pipe.read()).splitlines()


# ---- what is held: a project that comes to all there is


def test_the_mixed_project_comes_to_what_its_entries_are(plain):
    """What the other tests compare with is what a user expects."""
    rows = plain["world"]["catalog"]
    assert {name: row["lifecycle"] for name, row in rows.items()} == {
        **dict.fromkeys(NAMES, "Active"),
        **dict.fromkeys([*FAILED, "tolerated"], "Failed"),
        RETIRED: "Retired",
    }
    gone = {*FAILED, RETIRED}
    assert set(plain["world"]["files"]) == {
        *(f"engines/{name}.json" for name in NAMES if name not in gone),
        *(f"digests/{name}.sha256" for name in NAMES if name not in {*gone, "tolerated"}),
    }
    assert plain["summary"] == "14 models: 8 done, 2 current, 3 failed, 1 retired"
    assert sorted(plain["failures"]) == FAILED
    assert plain["failures"]["wrong"].startswith("the digest differs from what is expected"), plain["failures"]
    assert plain["failures"]["missing"] == (
        "there is no such file or folder\n  where     <project>/missing.bin\n  fix       did you mean wrong.bin?"
    )


# ---- whoever decides the order


THERE = [name for name in NAMES if name != RETIRED]
HANDOFFS = [f"models:handoff:{name}" for name in THERE]
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
    "a task of the project makes a model": (MAKING, ["provision"]),
    "the project bound our tasks to one of its own": (CHANGED, ["provision"]),
    "names of entries": ("", ["provision", *NAMES]),
    "the name of the group": ("", ["provision", "models"]),
    "names of tasks": ("", ["provision", *HANDOFFS]),
    "names of targets": ("", ["provision", *(f".runtime/engines/{name}.json" for name in THERE)]),
    "the reporter console": ("", ["provision", "-r", "console"]),
    "the reporter executed-only": ("", ["provision", "-r", "executed-only"]),
    "the reporter json": ("", ["provision", "-r", "json"]),
    "the reporter zero": ("", ["provision", "-r", "zero"]),
    "always execute": ("", ["provision", "--always-execute"]),
    "four threads": ("", ["provision", "-n", "4"]),
    "one thread": ("", ["provision", "-n", "1"]),
    "plain doit": (DODO, ["run", "--continue"]),
    "plain doit with threads": (DODO, ["run", "--continue", "-n", "3"]),
    "plain doit with processes": (DODO, ["run", "--continue", "-n", "3", "-P", "process"]),
    "plain doit, names of tasks": (DODO, ["run", "--continue", *HANDOFFS]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("dodo", "command"), WAYS.values(), ids=WAYS)
def test_whoever_decides_the_order_the_project_comes_to_the_same(mixed, plain, dodo, command):
    if dodo:
        mixed.project.write("dodo.py", dodo)
    mixed.trouble(made=dodo == MAKING)
    with readings() as read:
        answer = mixed.project.doit(
            *command, code=2 if command[0] == "run" else 1
        )  # as doit ends after what it left out
    world = mixed.world()
    for kind, expected in plain["world"].items():
        assert world[kind] == expected, kind
    if "zero" not in command:
        assert failures(mixed.here(answer.out)) == plain["failures"]
    assert asked(mixed.hub) == plain["asked"]
    assert sorted(map(mixed.here, read)) == plain["read"]

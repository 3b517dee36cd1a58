"""The project: it may not have anything written, truncated or deleted outside of its folder, nor be believed.

Each attack plants something where a file or folder of ours belongs, in a home that is compared byte for byte. What was
planted is refused by name and left as it is.
"""

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from model_provisioner.fs.state_folder import project_folder
from model_provisioner.store.lease import FOLDER as LEASES
from tests.support.fixtures import hub  # noqa: F401
from tests.support.project import TINY

TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by model-provisioner: what is here can be fetched again.\n"
)
SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
OLD = 1e9


def link_to_a_folder(victim, path):
    path.symlink_to(victim.home / "release")


def link_to_a_file(victim, path):
    path.symlink_to(victim.home / "release" / "tiny.sha256")


def link_to_a_new_file(victim, path):
    path.symlink_to(victim.home / ".bash_profile")


def hard_link(victim, path):
    os.link(victim.home / ".bashrc", path)


def fifo(victim, path):
    os.mkfifo(path)


def device(victim, path):
    path.symlink_to("/dev/full")


FOLDERS = [link_to_a_folder, link_to_a_file, fifo, device]
FILES = [link_to_a_file, link_to_a_new_file, link_to_a_folder, hard_link, fifo, device]


def plant(victim, path, attack):
    """Put something in the place of ours; return how it looks there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    attack(victim, path)
    return looks(path)


def looks(path):
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


def named(ran, path):
    """Tell whether what a command printed names a path."""
    return str(path) in ran.all


def test_a_sound_project_touches_nothing_but_its_own_folder(victim):
    with victim.untouched():
        ran = victim.doit("provision", "--offline")
    assert ran.code == 0, ran
    assert (victim.clone / ".runtime" / "engines" / "llamacpp.json").exists()


# ---- below the runtime folder


@pytest.mark.slow
@pytest.mark.parametrize("attack", FOLDERS)
@pytest.mark.parametrize("name", [".runtime", ".runtime/engines", ".runtime/digests", ".runtime/provenance"])
def test_a_folder_of_a_run_is_no_link(victim, name, attack):
    path = victim.clone / name
    with victim.untouched():
        before = plant(victim, path, attack)
        ran = victim.doit("provision", "--offline")
    assert ran.code == 2, ran
    assert named(ran, path), ran
    assert looks(path) == before


@pytest.mark.slow
@pytest.mark.parametrize("attack", FILES)
@pytest.mark.parametrize(
    "name",
    [
        "engines/llamacpp.json",
        "engines/.llamacpp.json.tmp",
        "digests/tiny.sha256",
        "digests/.tiny.sha256.tmp",
        "provenance/models.jsonl",
    ],
)
def test_a_file_of_a_run_is_no_link(victim, name, attack):
    path = victim.clone / ".runtime" / name
    with victim.untouched():
        before = plant(victim, path, attack)
        ran = victim.doit("provision", "--offline")
        if (name, attack) == ("digests/tiny.sha256", hard_link):  # a rename takes the name from it, and writes nothing
            assert ran.code == 0, ran
            return
        assert ran.code != 0, ran
        assert named(ran, path), ran
        assert looks(path) == before


@pytest.mark.parametrize("name", [".runtime", ".runtime/engines", ".runtime/digests"])
def test_what_was_handed_off_is_not_removed_through_a_link(victim, name):
    """A later commit puts a link in the place of a folder, and another one makes the model fail."""
    assert victim.doit("provision", "--offline").code == 0
    theirs = victim.home / "release"
    for each in ("engines/llamacpp.json", "digests/tiny.sha256", "llamacpp.json", "tiny.sha256"):
        source = (
            victim.clone / ".runtime" / ("engines" if each.endswith("json") else "digests") / os.path.basename(each)
        )
        (theirs / each).parent.mkdir(exist_ok=True)
        shutil.copy(source, theirs / each)
    with victim.untouched():
        plant(victim, victim.clone / name, link_to_a_folder)
        victim.write("models/tiny.gguf", b"no model")
        ran = victim.doit("provision", "--offline")
    assert ran.code == 2, ran
    assert named(ran, victim.clone / name), ran


@pytest.mark.parametrize("moved", [True, False])
def test_an_orphan_is_not_removed_through_a_link(victim, moved):
    """A later commit puts a link in the place of a handoff's folder, and moves or removes the entry."""
    entry = "models:\n  tiny: {{model_ref: models/tiny.gguf, handoff: {}/tiny.json}}\n"
    victim.write("models.yaml", entry.format("out"))
    assert victim.doit("provision", "--offline").code == 0
    shutil.copy(victim.clone / "out" / "tiny.json", victim.home / "release" / "tiny.json")
    with victim.untouched():
        plant(victim, victim.clone / "out", link_to_a_folder)
        victim.write("models.yaml", entry.format("other") if moved else "models: {}\n")
        ran = victim.doit("provision", "--offline")
    assert ran.code == 2, ran
    assert named(ran, victim.clone / "out"), ran


@pytest.mark.slow
@pytest.mark.parametrize("attack", [link_to_a_folder, fifo])
@pytest.mark.parametrize("folder", ["out", "a/deep/out"])
def test_the_folder_of_a_handoff_is_no_link(victim, folder, attack):
    victim.write("models.yaml", f"models:\n  tiny: {{model_ref: models/tiny.gguf, handoff: {folder}/tiny.json}}\n")
    for name in {folder, folder.partition("/")[0]}:
        with victim.untouched():
            plant(victim, victim.clone / name, attack)
            ran = victim.doit("provision", "--offline")
        assert ran.code == 2, ran
        assert named(ran, victim.clone / name), ran
        (victim.clone / name).unlink()


@pytest.mark.parametrize("runtime_dir", ["~/release", "{home}/release", "../../release", "/dev"])
def test_the_runtime_folder_lies_in_the_project(victim, runtime_dir):
    victim.write(
        "models.yaml",
        f"runtime_dir: {runtime_dir.format(home=victim.home)}\nmodels: {{tiny: {{model_ref: models/tiny.gguf}}}}",
    )
    with victim.untouched():
        ran = victim.doit("provision", "--offline")
    assert ran.code == 3, ran
    assert "runtime_dir lies outside the project" in ran.all
    assert "models.yaml:1, runtime_dir" in ran.all


@pytest.mark.parametrize(
    "handoff",
    ["~/release/tiny.sha256", "../../release/tiny.sha256", "models.yaml", "models.lock", "dodo.py", "models/tiny.gguf"],
)
def test_a_handoff_takes_the_place_of_nothing_else(victim, handoff):
    victim.write("models.yaml", f"models: {{tiny: {{model_ref: models/tiny.gguf, handoff: {handoff}}}}}")
    before = {path: path.read_bytes() for path in victim.clone.rglob("*") if path.is_file()}
    with victim.untouched():
        assert victim.doit("provision", "--offline").code == 3
    assert {path: path.read_bytes() for path in victim.clone.rglob("*") if path.is_file()} == before


def test_a_full_log_is_rotated_over_names_and_through_no_link(victim):
    logs = victim.clone / ".runtime" / "provenance"
    with victim.untouched():
        victim.write(".runtime/provenance/models.jsonl", b"{}\n" * (6 << 20))
        for number in range(1, 10):
            plant(victim, logs / f"models.jsonl.{number}", link_to_a_file)
        assert victim.doit("provision", "--offline").code == 0
    assert (logs / "models.jsonl").stat().st_size < 1 << 20


# ---- below the store


def fetching(victim, hub, cache_dir="cache"):
    """Make it a project that fetches a model from a Hub on this machine; return the environment for that."""
    hub.add("org/tiny", {"tiny.gguf": TINY.read_bytes()})
    text = {
        "cache_dir": cache_dir,
        "network": {"allow": ["127.0.0.1", "localhost"]},
        "models": {"tiny": {"model_ref": "hf:org/tiny/tiny.gguf"}},
    }
    victim.write("models.yaml", json.dumps(text))
    return hub.environ(victim.clone / "hf")


def old_files_of_the_users(victim):
    """Fill the folder that links lead to with files that look as if they had lain in a store for long."""
    theirs = victim.home / "release"
    for name in ("notes", "0" * 32, f"{SHA}.lock", f"{SHA}.{'0' * 16}", f"draft.{'0' * 16}", SHA, f"tree.{'0' * 16}/x"):
        (theirs / name).parent.mkdir(exist_ok=True)
        (theirs / name).write_text("the user's own")
        os.utime(theirs / name, (OLD, OLD))
        os.utime((theirs / name).parent, (OLD, OLD))


STORE = [
    "blobs",
    "blobs/sha256",
    f"blobs/sha256/{SHA[:2]}",
    "trees",
    "partial",
    "locks",
    LEASES,
    "quarantine",
    "refs",
    "uses",
]


@pytest.mark.slow
@pytest.mark.parametrize("attack", [link_to_a_folder, fifo])
@pytest.mark.parametrize("name", ["", *STORE])
def test_a_folder_of_the_store_is_no_link(victim, hub, name, attack):
    environ = fetching(victim, hub)
    old_files_of_the_users(victim)
    path = victim.clone / "cache" / name
    with victim.untouched():
        if name:
            victim.write("cache/CACHEDIR.TAG", TAG)
        before = plant(victim, path, attack)
        ran = victim.doit("provision", environ=environ)
    assert looks(path) == before
    if name in {"quarantine", "uses", LEASES}:  # a run can do without, and who evicts meets the same link
        assert ran.code == 0, ran
    else:
        assert ran.code != 0, ran
        assert named(ran, path), ran


@pytest.mark.slow
@pytest.mark.parametrize("attack", [link_to_a_file, link_to_a_new_file, hard_link, fifo])
@pytest.mark.parametrize(
    "name",
    [
        "CACHEDIR.TAG",
        f"locks/{hashlib.sha256(SHA.encode()).hexdigest()}.lock",
        f"partial/{hashlib.sha256(SHA.encode()).hexdigest()}.{'0' * 16}",
        f"partial/{hashlib.sha256(SHA.encode()).hexdigest()}.{'0' * 16}.json",
        f"blobs/sha256/{SHA[:2]}/{SHA}",
        f"leases/{'0' * 32}",
        f"refs/{hashlib.sha256(b'hf:org/tiny/tiny.gguf').hexdigest()}.json",
        f"quarantine/{SHA}.{'0' * 16}",
    ],
)
def test_a_file_of_the_store_is_no_link(victim, hub, name, attack):
    environ = fetching(victim, hub)
    path = victim.clone / "cache" / name
    with victim.untouched():
        if name != "CACHEDIR.TAG":
            victim.write("cache/CACHEDIR.TAG", TAG)
        before = plant(victim, path, attack)
        ran = victim.doit("provision", environ=environ)
        assert (
            ran.code == 0 or named(ran, path) or (name == "CACHEDIR.TAG" and "no store" or "CACHEDIR.TAG" in ran.all)
        ), ran
        if path.exists() or path.is_symlink():
            assert looks(path) == before or (path.is_file() and not path.is_symlink()), "what took its place is ours"


def test_only_what_has_a_name_of_ours_is_cleaned_up(victim, hub):
    environ = fetching(victim, hub)
    victim.write("cache/CACHEDIR.TAG", TAG)
    names = [
        f"{folder}/{name}"
        for folder in ("quarantine", "partial", "locks", LEASES)
        for name in ("thesis.tex", "tree.x/y", f"{SHA}.txt")
    ]
    names += ["trees/papers/thesis/x", f"trees/papers-{'0' * 16}/thesis/x", f"blobs/sha256/{SHA[:2]}/thesis.tex"]
    for name in names:
        path = victim.write(f"cache/{name}", "the user's own")
        for each in (path, path.parent):
            os.utime(each, (OLD, OLD))
    assert victim.doit("provision", environ=environ).code == 0
    assert victim.doit("model-prune", "--older-than", "1d", environ=environ).code == 0
    assert all((victim.clone / "cache" / name).read_text() == "the user's own" for name in names)


@pytest.mark.parametrize("cache_dir", ["~/papers", "~", "{home}/release", "../../papers", "models", "."])
def test_a_folder_that_holds_something_else_is_no_store(victim, hub, cache_dir):
    environ = fetching(victim, hub, cache_dir.format(home=victim.home))
    before = sorted(victim.clone.rglob("*"))
    with victim.untouched():
        ran = victim.doit("provision", environ=environ)
        assert ran.code in (2, 3), ran  # 3: the handoffs would lie in it
        assert "the folder for fetched files holds something else" in ran.all or "in the store" in ran.all
        victim.doit("model-prune", environ=environ)
    assert [
        path for path in sorted(victim.clone.rglob("*")) if path not in before and ".runtime" not in path.parts
    ] == []


def test_a_folder_that_holds_something_else_is_nothing_to_who_fetches_nothing(victim):
    victim.write("models.yaml", "cache_dir: ~/papers\nmodels: {tiny: {model_ref: models/tiny.gguf}}")
    with victim.untouched():
        assert victim.doit("provision", "--offline").code == 0


def test_a_name_in_a_tree_is_a_link_to_the_blob_and_to_nothing_else(victim, hub):
    """A committed store whose tree leads to a file of the user's: it is not opened as the model."""
    environ = fetching(victim, hub)
    assert victim.doit("provision", environ=environ).code == 0
    (tree,) = (path for path in (victim.clone / "cache" / "trees").rglob("tiny.gguf"))
    for target in (str(TINY), f"../../../blobs/sha256/{SHA[:2]}/../{SHA[:2]}/{SHA}", "/dev/zero"):
        tree.unlink()
        tree.symlink_to(target)
        shutil.rmtree(victim.clone / ".runtime")
        ran = victim.doit("provision", "--offline")
        assert ran.code == 0, ran
        assert os.readlink(tree) == f"../../../blobs/sha256/{SHA[:2]}/{SHA}", "it was made again"


# ---- below the state folder


def names_in_state(victim):
    project = Path(project_folder(str(victim.state), str(victim.clone))).relative_to(victim.state)
    files = ["catalog.db", "catalog.db-wal", "catalog.db-shm", "memo.db", "memo.db-wal"]
    files += [
        f"{project}/{name}" for name in ("build.db", "doit.db", "config", ".config.tmp", "snapshot", ".snapshot.tmp")
    ]
    folders = ["locks", "locks/handoff", "locks/hash", "projects", str(project)]
    return files, folders


@pytest.mark.slow
@pytest.mark.parametrize("attack", [link_to_a_file, link_to_a_new_file, hard_link, fifo])
@pytest.mark.parametrize("number", range(11))
def test_a_file_of_the_state_folder_is_no_link(victim, number, attack):
    path = victim.state / names_in_state(victim)[0][number]
    with victim.untouched():
        victim.state.mkdir(mode=0o700, parents=True)
        before = plant(victim, path, attack)
        ran = victim.doit("provision", "--offline")
        if path.name in {"config", ".config.tmp", "snapshot", ".snapshot.tmp", "memo.db", "memo.db-wal"}:
            # These only save time.
            assert ran.code == 0, ran
        else:
            assert ran.code != 0, ran
            assert named(ran, path), ran
        if attack is not hard_link:
            assert looks(path) == before


@pytest.mark.slow
@pytest.mark.parametrize("attack", [link_to_a_folder, fifo])
@pytest.mark.parametrize("number", range(5))
def test_a_folder_of_the_state_folder_is_no_link(victim, number, attack):
    path = victim.state / names_in_state(victim)[1][number]
    with victim.untouched():
        victim.state.mkdir(mode=0o700, parents=True)
        before = plant(victim, path, attack)
        ran = victim.doit("provision", "--offline")
        assert looks(path) == before
    assert ran.code != 0, ran
    assert named(ran, path), ran


# ---- while a run works


@pytest.mark.slow
@pytest.mark.parametrize("name", [".runtime", ".runtime/engines", ".runtime/digests", ".runtime/provenance"])
def test_a_folder_that_is_swapped_while_a_run_works_leads_nowhere(victim, name):
    swap = 'while :; do mv "$1" "$1.away"; ln -s "$2" "$1"; rm "$1"; mv "$1.away" "$1"; done'
    for folder in ("engines", "digests", "provenance"):
        (victim.clone / ".runtime" / folder).mkdir(parents=True)
        (victim.home / "release" / folder).mkdir()
    with victim.untouched():
        swapper = subprocess.Popen(
            ["sh", "-c", swap, "sh", str(victim.clone / name), str(victim.home / "release")], stderr=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + 4
            while time.monotonic() < until:
                victim.write("models/tiny.gguf", b"no model" if int(time.monotonic()) % 2 else TINY.read_bytes())
                assert victim.doit("provision", "--offline").code in {0, 1, 2}
        finally:
            swapper.kill()
            swapper.wait()


# ---- the user's own folder for what a run writes


def test_the_users_own_folder_serves_a_read_only_checkout_and_each_project_its_own(victim):
    environ = {"MODEL_PROVISIONER_RUNTIME_DIR": str(victim.home / "served")}
    (victim.home / "real").mkdir()
    (victim.home / "served").symlink_to("real")
    assert victim.doit("provision", "--offline", environ=environ).code == 0
    handoff = victim.home / "real" / "engines" / "llamacpp.json"
    before = {path: path.read_bytes() for path in (victim.home / "real").rglob("*") if path.is_file()}
    assert json.loads(handoff.read_bytes())["model"]["path"] == str(victim.clone / "models" / "tiny.gguf")
    assert not (victim.clone / ".runtime").exists()
    other = victim.home / "other"
    shutil.copytree(victim.clone / "models", other / "models")
    (other / "models.yaml").write_text("models:\n  tiny: {model_ref: models/tiny.gguf}\n")
    ran = victim.doit("provision", "--offline", cwd=other, environ=environ)
    assert ran.code != 0, ran
    assert f"a file that {victim.clone}/models.yaml wrote" in ran.all
    after = {path: path.read_bytes() for path in (victim.home / "real").rglob("*") if path.is_file()}
    assert {path for path in before if after.get(path) != before[path]} <= {
        victim.home / "real/provenance/models.jsonl"
    }


# ---- settings of doit, which come with a clone


@pytest.mark.parametrize("name", ["release/tiny.sha256", "release/new.html"])
@pytest.mark.parametrize("section", ["GLOBAL", "model-report"])
@pytest.mark.parametrize("option", ["output", "presets"])
def test_settings_of_a_clone_do_not_say_which_file_a_command_writes(victim, option, section, name):
    victim.write("doit.cfg", f"[{section}]\n{option}={victim.home / name}\nforce=true\n")
    with victim.untouched():
        ran = victim.doit("model-report")
    assert (ran.code, ran.err.splitlines()[0]) == (3, "ERROR: model-report has to be told where its page goes")


@pytest.mark.parametrize("section", ["GLOBAL", "provision"])
def test_settings_of_a_clone_do_not_say_where_a_run_prints(victim, section):
    victim.write("doit.cfg", f"[{section}]\noutfile={victim.home}/release/new.txt\n")
    with victim.untouched():
        assert victim.doit("provision", "--offline").code == 0


@pytest.mark.parametrize("backend", ["dbm", "json", "sqlite3", "models"])
@pytest.mark.parametrize("link", [False, True])
def test_doits_state_does_not_lie_outside_of_a_clone(victim, backend, link):
    outside = victim.home / "release" / "state"
    if link:
        victim.link("state", outside)
    victim.write("pyproject.toml", f"[tool.doit]\nbackend = '{backend}'\ndep_file = '{'state' if link else outside}'\n")
    with victim.untouched():
        ran = victim.doit("provision", "--offline")
    assert (ran.code, ran.err.splitlines()[0]) == (3, "ERROR: doit would keep its state outside of the project")


# ---- add, which writes beside what was cloned


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        *((".models.yaml.tmp", attack) for attack in FILES),
        *((name, link_to_a_file) for name in (".models.lock.tmp", "models.lock")),
    ],
)
def test_add_writes_through_nothing_that_was_planted(victim, name, attack):
    (victim.clone / "new.gguf").write_bytes(TINY.read_bytes() + bytes(32))
    victim.doit("model-lock")
    before = (victim.clone / "models.yaml").read_bytes()
    path = victim.clone / name
    planted = plant(victim, path, attack)
    with victim.untouched():
        ran = victim.doit("model-add", "new.gguf")
    assert ran.code in {2, 3}, ran
    assert named(ran, path) or "models.lock" in ran.all
    assert looks(path) == planted
    assert (victim.clone / "models.yaml").read_bytes() == before

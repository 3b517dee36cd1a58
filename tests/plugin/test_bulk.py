"""Models in bulk, beside doit's graph: what is done so, what is left to doit's tasks, and that both come to the same."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.support.project import AT_ONCE, DODO, Project, read_only, settle, settle_in_every_process

WRONG = "sha256:" + "0" * 64


def project_of(project: Project, names="abc", **fields) -> Project:
    """Give a project one small model a name; `fields` are for the entries, by name."""
    for name in names:
        project.write(f"{name}.bin", f"model {name}")
    entries = {name: {"model_ref": f"{name}.bin", **fields.get(name, {})} for name in names}
    project.models(json.dumps({"defaults": {"handoff": "{runtime_dir}/engines/{name}.json"}, "models": entries}))
    return project


def rows_of_doit(project: Project) -> dict[str, dict]:
    """What doit keeps, by task."""
    (path,) = project.state.glob("projects/*/doit.db")
    with closing(sqlite3.connect(path)) as connection:
        return {task: json.loads(data) for task, data in connection.execute("SELECT id, data FROM task")}


def left_to_doit(project: Project) -> list[str]:
    """The models whose tasks doit ran: in bulk, it is told of one step only."""
    return sorted(task.removeprefix("models:handoff:") for task in rows_of_doit(project) if ":handoff:" in task)


def handed_off(project: Project) -> list[str]:
    return sorted(path.stem for path in (project.root / ".runtime/engines").glob("*.json"))


def artifacts(project: Project) -> dict[str, bytes]:
    folder = project.root / ".runtime"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("engines", "digests")
        for path in sorted((folder / kind).glob("*"))
    }


def without_times(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "time" and not name.endswith("_at")}


def told(out: str) -> dict[str, str]:
    """What a run said of each model, without the seconds that it took."""
    blocks = re.split(r"^(?=\S)", out, flags=re.MULTILINE)
    return {block.split()[1]: block for block in blocks if re.match(r"pass|warn|fail|FAIL|same", block)}


CHANGED = DODO.replace("task_models", "task_models as ours") + (
    "def task_models():\n"
    "    for task in ours():\n"
    "        if task['name'] == '{task}':\n"
    "            {change}\n"
    "        yield task\n"
    "def task_before():\n"
    "    return {{'actions': ['touch before', lambda: {{'value': 1}}], 'targets': ['before']}}\n"
)


# ---- what is done in bulk


@pytest.mark.parametrize(
    "options",
    [[], ["--full"], ["-n", "0"], ["-n", "4"], ["-P", "process"], ["-o", "report"], ["-r", "models"], ["--single"]],
)
def test_models_are_provisioned_beside_doits_graph(project, options):
    project_of(project)
    project.provision(*options)
    assert handed_off(project) == ["a", "b", "c"]
    assert left_to_doit(project) == []
    assert {task for task in rows_of_doit(project) if ":verify:" in task} == {f"models:verify:{name}" for name in "abc"}


@pytest.mark.parametrize("options", [["a", "b", "c"], ["--always-execute"], ["--no-continue"]])
def test_names_of_models_and_options_of_doit_change_nothing_about_that(project, options):
    project_of(project)
    project.provision(*options)
    assert handed_off(project) == ["a", "b", "c"]
    assert left_to_doit(project) == []


@pytest.mark.parametrize("options", [["models"], ["-r", "console"], ["-r", "zero"]])
def test_who_names_tasks_or_wants_to_hear_of_them_has_doit_run_them(project, options):
    project_of(project)
    project.provision(*options)
    assert left_to_doit(project) == handed_off(project) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("task", "change"),
    [
        ("verify:b", "task['task_dep'].append('before')"),
        ("verify:b", "task['task_dep'].append('bef*')"),
        ("register:b", "task['setup'] = ['before']"),
        ("handoff:b", "task['calc_dep'] = ['before']"),
        ("handoff:b", "task['getargs'] = {'x': ('before', 'value')}; task['actions'] = [lambda x: True]"),
        ("verify:b", "task['file_dep'].append('before')"),
        ("handoff:b", "task['actions'].append('test -e .runtime/engines/b.json && touch before')"),
        ("handoff:b", "task['teardown'] = ['test -e .runtime/engines/b.json && touch before']"),
        ("register:b", "task['targets'] = ['before']; task['actions'].append('touch before')"),
        ("register:b", "task['uptodate'].append('touch before')"),
    ],
)
def test_a_model_whose_task_the_project_changed_is_left_to_doit(project, task, change):
    project_of(project)
    dodo = CHANGED.format(task=task, change=change)
    project.write("dodo.py", dodo.replace(", 'targets': ['before']", "") if "targets" in change else dodo)
    answer = project.provision()
    assert "3 models: 3 done" in answer.out
    assert left_to_doit(project) == ["b"]
    assert (project.root / "before").exists()
    if "getargs" not in change:  # there, another action took the place of ours
        assert handed_off(project) == ["a", "b", "c"]


def test_what_a_model_has_to_wait_for_comes_first(project):
    """A task of the project stands between two models; the first of them is done in bulk."""
    project_of(project)
    project.write(
        "dodo.py",
        CHANGED.format(task="verify:b", change="task['task_dep'].append('after')")
        + "def task_after():\n"
        + "    return {'actions': ['cp .runtime/engines/a.json after'], 'task_dep': ['models:handoff:a']}\n",
    )
    out = project.provision().out
    assert re.findall(r"^(?:warn|\.)  (\w+)", out, re.MULTILINE) == ["a", "c", "after", "b"]
    assert "3 models: 3 done" in out
    settle()
    project.provision()
    os.utime(project.root / "b.bin")
    out = project.provision().out  # now by the short way: the tasks of `a` and `c` are not even made
    assert re.findall(r"^(?:warn|\.)  (\w+)", out, re.MULTILINE) == ["after", "b"]
    assert "3 models: 1 done, 2 current" in out


def test_a_model_that_waits_for_another_is_done_after_it_and_not_where_that_failed(project):
    project_of(project)
    project.write("dodo.py", CHANGED.format(task="verify:b", change="task['task_dep'].append('models:handoff:a')"))
    out = project.provision().out
    assert "3 models: 3 done" in out
    assert left_to_doit(project) == ["b"]
    (project.root / "a.bin").unlink()
    out = project.provision(code=1).out
    assert "FAIL  a  there is no such file or folder\n" in out
    assert "FAIL  b  what it needs failed: models:handoff:a\n" in out
    assert "3 models: 1 done, 2 failed" in out


@pytest.mark.parametrize("dodo", [DODO, ""])
def test_tasks_of_the_project_that_need_a_model_are_not_run_and_keep_none_back(project, dodo):
    project_of(project)
    project.write(
        "dodo.py",
        dodo
        + "def task_after():\n    return {'actions': ['touch after'], 'task_dep': ['models:handoff:a']}\n"
        + "def task_later():\n    return {'actions': ['touch later'], 'setup': ['models:verify:b', 'after']}\n"
        + "def task_all():\n    return {'actions': ['touch all'], 'task_dep': ['models']}\n"
        + "def task_some():\n    return {'actions': ['touch some'], 'task_dep': ['models:*:a']}\n"
        + "def task_size():\n"
        + "    return {'actions': ['echo %(size)s > size'], 'getargs': {'size': ('models:verify:a', 'size')}}\n",
    )
    assert "3 models: 3 done" in project.provision().out
    assert {path.name for path in project.root.iterdir()} & {"after", "later", "all", "some", "size"} == set()
    # Asked for by its name, a task finds what the bulk way let doit know.
    project.provision("after", "later", "all", "some", "size")
    assert (project.root / "size").read_text() == "7\n"
    assert {path.name for path in project.root.iterdir()} >= {"after", "later", "all", "some", "size"}


def test_where_a_task_of_the_project_makes_a_model_the_others_go_first(project):
    project_of(project)
    project.write(
        "dodo.py", DODO + "def task_make():\n    return {'actions': ['echo made > b.bin'], 'targets': ['b.bin']}\n"
    )
    project.provision()
    assert left_to_doit(project) == ["b"]
    assert handed_off(project) == ["a", "b", "c"]
    assert project.handoff("b")["metadata"]["size_bytes"] == len("made\n")


@pytest.mark.parametrize("step", ["verify", "register", "handoff"])
def test_an_ignored_model_is_left_alone(project, step):
    project_of(project).write("dodo.py", DODO)
    project.doit("ignore", f"models:{step}:b")
    out = project.provision().out
    assert f"!! models:{step}:b\n" in out
    assert "b" not in told(out)
    assert "3 models: 2 done, 1 ignored" in out
    assert handed_off(project) == ["a", "c"]


def test_a_remote_model_that_may_not_be_fetched_is_told_by_its_first_task(project):
    project_of(project, b={"model_ref": "hf:org/repo/x.gguf"})
    out = project.provision(code=1).out
    assert "FAIL  b  b would have to be fetched, and the network is not allowed" in out
    assert "3 models: 2 done, 1 failed" in out
    assert {task for task in rows_of_doit(project) if ":verify:" in task} == {"models:verify:a", "models:verify:c"}


# ---- what doit thinks of it


def test_what_doit_forgot_is_done_again_from_the_memo_and_nothing_else(project):
    project_of(project).write("dodo.py", DODO)
    settle()
    project.provision()
    before = {path: os.stat(project.root / ".runtime" / path).st_ino for path in artifacts(project)}
    project.doit("forget", "models:verify:a")
    out = project.provision().out
    assert out.startswith("warn  a  confirmed by stat 7 bytes\n")
    assert "3 models: 1 done, 2 current" in out
    assert {path: os.stat(project.root / ".runtime" / path).st_ino for path in artifacts(project)} == before
    assert len(project.provenance()) == 3
    assert "3 models: 3 current" in project.provision().out


# ---- the same as task by task


NAMES = ["tiny", "other tiny", 'it\'s "hard" = $HOME %s', "日本語 ü", "100% #1: {x}", "-n"]


@pytest.fixture
def mixed(tiny_models):
    """A function that fills a project with models of every kind and size, and returns their names."""

    def fill(project: Project, **more: dict) -> list[str]:
        for name in NAMES:
            project.write(f"{name}.bin", name)
        project.write("small.bin", b"small" * 50_000)
        project.write("large.bin", b"large" * 500_000)
        project.write("larger.bin", b"larger" * 600_000)
        for name, data in {"x": b"1" * 100, "y z/w": b"2" * 200_000, ".hidden": b"3" * 2_000_000}.items():
            project.write(f"folder/{name}", data)
        for path in tiny_models.glob("*-of-*.gguf"):
            shutil.copy(path, project.root)
        (shard,) = project.root.glob("*-00001-of-*.gguf")
        project.add_tiny("llama.gguf")
        (project.root / "link.gguf").symlink_to("llama.gguf")
        os.link(project.root / "large.bin", project.root / "hard link.bin")
        refs = {
            **{f"m{number}": f"file:{name}.bin" for number, name in enumerate(NAMES)},
            **{name: f"{name}.bin" for name in ("small", "large", "larger")},
            "hard-link": "hard link.bin",
            "folder": "folder",
            "split": shard.name,
            "llama": "llama.gguf",
            "link": "link.gguf",
            "again": "small.bin",
            "again-large": "larger.bin",
        }
        entries = {**{name: {"model_ref": ref} for name, ref in refs.items()}, **more}
        project.models(
            json.dumps({"defaults": {"handoff": "{runtime_dir}/engines/{name}.json"}, "models": entries}, indent=1)
        )
        return list(entries)

    return fill


@pytest.mark.slow
def test_all_kinds_of_models_come_to_the_same_in_bulk_and_task_by_task(project, mixed):
    names = mixed(
        project,
        gone={"model_ref": "gone.bin"},
        strict={"model_ref": "file:100% #1: {x}.bin", "expected_digest": WRONG},
        tolerated={"model_ref": "-n.bin", "expected_digest": WRONG, "strict_verification": False},
        vllm={"model_ref": "folder", "engine": "vllm"},
    )
    project.write("dodo.py", DODO)
    settle()
    ways = []
    said = []
    for options in ([], ["-n", "4", "--full"], names, ["-r", "console"], ["-r", "zero", "-n", "1"]):
        out = project.provision(*options, code=1).out
        if "-r" not in options:
            said.append({name: without_why(text) for name, text in told(out).items()})
        by_doit = set(names) - {"gone", "strict"} if "-r" in options else set()
        assert set(left_to_doit(project)) == by_doit
        ways.append(
            {
                "artifacts": artifacts(project),
                "catalog": {name: without_times(row) for name, row in project.rows().items()},
                "doit": {task: without_how(row) for task, row in rows_of_doit(project).items() if ":verify:" in task},
                "read": {(line["path"], line["digest"]) for line in project.provenance() if is_alone(line["path"])},
            }
        )
        shutil.rmtree(project.root / ".runtime")
        shutil.rmtree(project.state)
    assert set(ways[0]["artifacts"]) == {
        *(f"engines/{name}.json" for name in names if name not in ("gone", "strict")),
        *(f"digests/{name}.sha256" for name in names if name not in ("gone", "strict", "tolerated")),
    }
    failed = {name for name, row in ways[0]["catalog"].items() if row["state"] == "Failed"}
    assert failed == {"gone", "strict", "tolerated"}
    assert len(ways[0]["read"]) == 5
    assert said[0].keys() == set(names)
    assert said[1:] == [said[0]] * 2
    for way in ways[1:]:
        for kind in way:
            assert way[kind] == ways[0][kind]


def without_how(row: dict) -> dict:
    """A row of doit, less what is a matter of chance: which of two entries read their file first, the order of a set."""
    values = {name: value for name, value in row["_values_:"].items() if name != "how"}
    assert row["result:"] == row["_values_:"]
    return {**row, "_values_:": values, "result:": values, "deps:": sorted(row["deps:"])}


def without_why(text: str) -> str:
    """What was said of a model, less how and why it was read."""
    return re.sub(r"(hashed|confirmed by stat) (\S+ \S+) \(.*\)", r"\2", text)


def is_alone(path: str) -> bool:
    """Tell whether the file of the mixed project is that of one entry."""
    name = os.path.basename(path)
    return name in {f"{each}.bin" for each in NAMES[:4]} or "-of-" in name


@pytest.mark.parametrize("size", [10, 100_000, 2_000_000])
@pytest.mark.parametrize("options", [[], ["--full"], ["-n", "4"]])
def test_a_file_of_several_entries_is_read_once(project, size, options):
    project_of(project, b={"model_ref": "a.bin"}, c={"model_ref": "a.bin"})
    project.write("a.bin", bytes(size))
    project.write(
        "dodo.py",
        "from model_provisioner.hashing import memo\n"
        "real = memo.hash_both\n"
        "def seen(*args):\n"
        "    open('seen', 'a').write('x')\n"
        "    return real(*args)\n"
        "memo.hash_both = seen\n",
    )
    project.provision(*options)
    assert handed_off(project) == ["a", "b", "c"]
    assert (project.root / "seen").read_text() == "x"


@pytest.mark.parametrize("settings", [{}, {"backend": "json", "dep_file": "state.json"}])
def test_doit_sees_the_tasks_as_done(project, mixed, settings):
    names = mixed(project)
    project.write("dodo.py", f"{DODO}DOIT_CONFIG = {{**DOIT_CONFIG, **{settings}}}\n")
    settle()
    assert f"{len(names)} models: {len(names)} done" in project.provision().out
    tasks = [f"models:{step}:{name}" for name in names for step in ("verify", "register", "handoff")]
    lines = project.doit("list", "--all", "-s").out.splitlines()
    assert {line.split()[1]: line[0] for line in lines} == {
        **dict.fromkeys([*tasks, "models:withdraw"], "U"),
        "models": "R",
    }
    assert project.doit().out.splitlines() == [f"-- {task}" for task in [*tasks, "models:withdraw"]]
    for step in ("verify", "register", "handoff"):
        assert "up-to-date" in project.doit("info", f"models:{step}:folder").out


# ---- failures


def edited(**fields):
    return lambda project: project_of(project, b=fields)


FAULTS = {
    "missing": lambda project: (project.root / "b.bin").unlink(),
    "mismatch": edited(expected_digest=WRONG),
    "wrong kind": edited(expected_digest=WRONG.replace("sha256", "dirhash")),
    "unsound": lambda project: (project.write("b.gguf", b"broken"), edited(model_ref="b.gguf")(project)),
    "a pipe": lambda project: ((project.root / "b.bin").unlink(), os.mkfifo(project.root / "b.bin")),
    "place taken": lambda project: (project.write("notes", "mine"), edited(handoff="notes")(project)),
    "target taken": lambda project: (
        (project.root / ".runtime/digests/b.sha256").unlink(),
        (project.root / ".runtime/digests/b.sha256").mkdir(),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_failure_among_many_is_told_once_and_as_by_its_task(project, fault):
    project_of(project).write("dodo.py", DODO)
    project.provision()
    assert handed_off(project) == ["a", "b", "c"]
    fault(project)
    before = len(project.provenance())
    answer = project.provision(code=None)
    assert re.search(r"^3 models: 2 done, 1 failed \(\d+\.\d\d s\)$", answer.out, re.MULTILINE), answer
    assert answer.out.count("FAIL") == 1
    read = [os.path.basename(line["path"])[0] for line in project.provenance()[before:]]
    assert len(read) == len(set(read)), "its task read it once more to tell what is known"
    assert handed_off(project) == ["a", "c"]
    assert project.rows()["b"]["state"] == "Failed"
    message, withdrawn, _ = (
        told(answer.out)["b"].removeprefix("FAIL  b  ").partition("      its handoff was withdrawn\n")
    )
    assert withdrawn or "gone  .runtime/engines/b.json  removed: no entry of models.yaml claims it\n" in answer.out

    unindented = message.replace("\n      ", "\n")
    again = project.doit("run", "--continue", "models", code=None)
    kind = {1: "TaskFailed", 2: "TaskError"}[answer.code]
    assert f"{kind} - taskid:models:verify:b\n{unindented}" in again.all
    assert handed_off(project) == ["a", "c"]


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        (lambda folder: read_only(folder), "Read-only file system"),
        (
            lambda folder: f"mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs {shlex.quote(str(folder))}",
            "No space left on device",
        ),
    ],
)
def test_a_disk_that_takes_one_handoff_not_keeps_no_other_back(project, mount, found):
    project_of(project, "abcd", b={"handoff": "out/b.json"})
    (project.root / "out").mkdir()
    code, said = project.mounted(mount(project.root / "out"), "provision")
    assert code == 2
    assert f"FAIL  b  a file could not be written\n        where     {project.root}/out/b.json\n" in said
    assert f"        found     {found}\n" in said
    assert said.count("FAIL") == 1
    assert "4 models: 3 done, 1 failed" in said
    assert handed_off(project) == ["a", "c", "d"]
    assert project.rows()["b"]["state"] == "Failed"
    assert re.search(r"^(pass|warn)  b  ", project.provision().out, re.MULTILINE)
    assert (project.root / "out/b.json").exists()


@pytest.mark.slow
def test_of_many_models_no_more_files_are_open_than_a_process_may_have(project):
    """macOS lets a process open 256, others 1024 for any number of cores."""
    names = [f"m{number}" for number in range(300)]
    project_of(project, names)
    for name in names:
        project.write(f"{name}.bin", name.encode().ljust(70_000))
    with project.start(
        "provision", "-n", "4", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    ) as run:
        out = run.communicate(timeout=60)[0].decode()
    assert "300 models: 300 done" in out
    assert run.returncode == 0


def test_models_with_the_longest_names_that_differ_at_the_end(project):
    """The names of their temp files have to be cut."""
    names = ["x" * 244 + end for end in "12"]
    for end in "12":
        project.write(f"{end}.bin", end)
    entries = {name: {"model_ref": f"{name[-1]}.bin", "handoff": f".runtime/engines/{name}.json"} for name in names}
    project.models(json.dumps({"models": entries}))
    assert "2 models: 2 done" in project.provision().out
    assert handed_off(project) == names
    assert len(artifacts(project)) == 4


# ---- at the same time, and in the middle


@pytest.mark.slow
def test_two_runs_at_once_read_each_model_once(project):
    sizes = {"large": 9_000_000, "medium": 3_000_000, "small": 200_000, "tiny": 50}
    names = [f"{kind}{number}" for kind in sizes for number in range(8)]
    project_of(project, names)
    for name in names:
        project.write(f"{name}.bin", name.encode() * (sizes[name[:-1]] // len(name)))
    settle_in_every_process()
    runs = [project.start("provision", "-n", "2") for _ in range(2)]
    answers = [(run.communicate(timeout=60)[0].decode(), run.returncode) for run in runs]
    for out, code in answers:
        assert code == 0
        summary = re.search(r"^32 models: (?:(\d+) done)?(?:, )?(?:(\d+) current)? \(", out, re.MULTILINE)
        assert sum(map(int, filter(None, summary.groups()))) == 32, out
    assert sorted(os.path.basename(line["path"]) for line in project.provenance()) == sorted(f"{n}.bin" for n in names)
    assert {line["how"] for line in project.provenance()} == {"hashed"}
    assert handed_off(project) == sorted(names)
    assert "32 models: 32 current" in project.provision().out


@pytest.mark.slow
def test_ctrl_c_in_the_middle_keeps_what_was_told(project):
    names = [f"m{number}" for number in range(12)]
    project_of(project, names)
    for number, name in enumerate(names):
        with open(project.root / f"{name}.bin", "wb") as file:
            file.write(name.encode())
            file.truncate((100 << 20) + number)
    settle_in_every_process()
    with project.start("provision") as run:
        out = run.stdout.readline().decode()
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        out += run.stdout.read().decode()
        err = run.stderr.read().decode()
    assert time.monotonic() - began < AT_ONCE
    assert run.returncode == 130
    assert (
        err.splitlines()[-1]
        == "interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run"
    )
    assert "models:" not in out
    done = sorted(told(out))
    assert 0 < len(done) < 12
    # Others may have been finished and not told any more; none has a handoff that is not finished.
    assert set(done) <= set(handed_off(project))
    assert {task for task in rows_of_doit(project)} == {f"models:verify:{name}" for name in done}
    again = told(project.provision().out)
    assert not {name for name in done if name in again}
    log = [os.path.basename(line["path"]).removesuffix(".bin") for line in project.provenance()]
    assert [log.count(name) for name in handed_off(project)] == [1] * 12


def test_a_model_that_a_task_may_make_is_looked_at_where_that_task_ran(project):
    project_of(project, "ab")
    making = (
        "def task_make():\n    return {'actions': ['cp source b.bin'], 'targets': ['b.bin'], 'file_dep': ['source']}\n"
    )
    project.write("dodo.py", DODO + making)
    project.write("source", "made")
    project.provision()
    settle()
    os.utime(project.root / "b.bin")
    project.write("source", "made anew")
    project.provision("a")
    assert handed_off(project) == ["a", "b"], "nothing was asked of it, and nothing changed it"
    out = project.provision("make", code=1).out
    assert "gone  b  its handoff was withdrawn" in out
    assert handed_off(project) == ["a"]
    project.provision()
    assert handed_off(project) == ["a", "b"]

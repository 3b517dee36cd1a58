"""`doit provision` as a user types it: contract 4's table, the promise, and what is printed."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.support.project import DODO, TINY, settle

TINY_SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
WRONG = "0" * 64


def entry(path="models/tiny.gguf", **fields):
    lines = [f'    model_ref: "file:{path}"', *(f"    {name}: {value}" for name, value in fields.items())]
    return "\n".join(lines) + "\n"


def one(path="models/tiny.gguf", **fields):
    return "models:\n  tiny:\n" + entry(path, **fields)


@pytest.fixture
def tiny(project):
    """A project with one sound model and nothing expected of it."""
    project.add_tiny()
    project.models(one())
    return project


# ---- contract 4, row by row


def test_a_match_is_pass_and_handed_off(tiny):
    tiny.models(one(expected_digest=f"sha256:{TINY_SHA}"))
    answer = tiny.provision()
    assert answer.out.startswith("pass  tiny  hashed 105.2 KB (not verified before) → .runtime/engines/llamacpp.json\n")
    assert re.search(r"^1 model: 1 done \(\d+\.\d\d s\)$", answer.out, re.M)
    handoff = tiny.handoff()
    path = str(tiny.root / "models/tiny.gguf")
    assert handoff["model"] == {"id": f"local:{path}", "path": path}
    assert handoff["metadata"]["verification"] == "pass"
    assert handoff["metadata"]["digest"] == {"algo": "sha256", "value": TINY_SHA}
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"]) == ("Active", "pass")


def test_a_strict_mismatch_fails_and_withdraws(tiny):
    tiny.provision()
    assert tiny.handoff()
    tiny.models(one(expected_digest=f"sha256:{WRONG}"))
    answer = tiny.provision(code=1)
    path = tiny.root / "models/tiny.gguf"
    assert (
        "FAIL  tiny  the digest differs from what is expected\n"
        f"        where     {path}\n"
        f"        expected  sha256:{WRONG}\n"
        f"        found     sha256:{TINY_SHA}\n"
    ) in answer.out
    assert "\n      its handoff was withdrawn\n1 model: 1 failed" in answer.out
    assert tiny.handoff() is None
    assert not (tiny.root / ".runtime/digests/tiny.sha256").exists()
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"]) == ("Failed", "fail")


def test_a_tolerated_mismatch_is_handed_off_and_told_on_every_run(tiny):
    tiny.models(one(expected_digest=f"sha256:{WRONG}", strict_verification="false"))
    settle()
    for run in range(2):
        answer = tiny.provision()
        assert "FAIL! tiny  THE DIGEST DIFFERS, and strict_verification is false" in answer.out, run
        assert f"found     sha256:{TINY_SHA}" in answer.out
    assert len(tiny.provenance()) == 1  # the second time from the memo
    assert tiny.handoff()["metadata"]["verification"] == "fail"
    assert not (tiny.root / ".runtime/digests/tiny.sha256").exists()
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"]) == ("Failed", "fail")


def test_without_a_digest_there_is_a_warning_that_can_be_pasted(tiny):
    answer = tiny.provision()
    assert answer.out.startswith("warn  tiny  hashed 105.2 KB")
    assert (
        f'no digest is expected; `doit model-lock` pins all models; to pin these bytes add   expected_digest: "sha256:{TINY_SHA}"'
        in answer.out
    )
    assert tiny.handoff()["metadata"]["verification"] == "warn"
    assert tiny.rows()["tiny"]["state"] == "Active"


@pytest.mark.parametrize("strict", ["true", "false"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("missing", "there is no such file"),
        ("cut", "the file ends before"),
        ("garbage", "not a GGUF file"),
        ("folder", "a folder where a file belongs"),
        ("fifo", "FIFO"),
    ],
)
def test_what_is_missing_unreadable_or_unsound_is_an_error(tiny, harm, said, strict):
    tiny.provision()
    tiny.models(one(strict_verification=strict))
    path = tiny.root / "models/tiny.gguf"
    data = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(data[:-100])
    elif harm == "garbage":
        path.write_bytes(b"garbage" * 100)
    elif harm == "folder":
        path.mkdir()
    elif harm == "fifo":
        os.mkfifo(path)
    answer = tiny.provision(code=1)
    assert answer.out.startswith("FAIL  tiny  ") or "\nFAIL  tiny  " in answer.out
    assert said.lower() in answer.out.lower()
    assert str(path) in answer.out
    assert tiny.handoff() is None
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"]) == ("Failed", "error")


def test_a_digest_can_be_required(tiny):
    tiny.provision()
    answer = tiny.provision("--require-digest", code=1)
    assert "no digest is expected, and this run takes no model without" in answer.out
    assert tiny.handoff() is None


# ---- doing nothing twice


def test_a_second_run_finds_all_current_and_reads_nothing(tiny):
    settle()
    tiny.provision()
    handoff = tiny.root / ".runtime/engines/llamacpp.json"
    before = handoff.stat()
    answer = tiny.provision()
    assert re.fullmatch(r"1 model: 1 current \(\d+\.\d\d s\)\n", answer.out)
    assert (handoff.stat().st_ino, handoff.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(tiny.provenance()) == 1


def test_a_no_op_reads_no_byte_of_a_model(tiny):
    settle()
    tiny.provision()
    trace = tiny.root.parent / "trace"
    command = [sys.executable, "-m", "doit", "provision"]
    subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "trace=open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat",
            "-o",
            trace,
            *command,
        ],
        cwd=tiny.root,
        env={**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(tiny.state)},
        check=True,
        capture_output=True,
    )
    calls = trace.read_text()
    assert "models.yaml" in calls
    assert "tiny.gguf" not in calls
    assert not re.search(r"\brename(at2?)?\(", calls)


def test_a_touched_file_is_confirmed_and_said_to_be(tiny):
    settle()
    tiny.provision()
    os.utime(tiny.root / "models/tiny.gguf", (1e9, 1e9))
    assert tiny.why("tiny") == ["mtime changed, content same (xxh3)"]
    assert "confirmed by xxh3 105.2 KB (mtime changed)" in tiny.provision().out
    assert [line["how"] for line in tiny.provenance()] == ["hashed", "xxh3"]


@pytest.mark.parametrize(
    ("edit", "reasons", "verb"),
    [
        (lambda p: (p.root / ".runtime/engines/llamacpp.json").unlink(), ["handoff missing"], "recorded again"),
        (
            lambda p: p.write(".runtime/engines/llamacpp.json", "{}"),
            ["handoff differs from what would be written"],
            "recorded again",
        ),
        (lambda p: (p.root / ".runtime/digests/tiny.sha256").unlink(), ["checksum file missing"], "confirmed by stat"),
        (lambda p: p.write(".runtime/digests/tiny.sha256", "x"), ["checksum file edited"], "confirmed by stat"),
        (lambda p: (p.state / "catalog.db").unlink(), ["catalog row missing"], "recorded again"),
        (
            lambda p: p.models(one(expected_digest=f"sha256:{TINY_SHA}")),
            [
                "expected digest edited",
                "catalog row has another outcome",
                "handoff differs from what would be written",
            ],
            "confirmed by stat",
        ),
        (
            lambda p: p.models(one(engine="vllm")),
            ["engine edited", "handoff path edited", "handoff missing"],
            "recorded again",
        ),
    ],
)
def test_every_edit_is_noticed_named_and_mended(tiny, edit, reasons, verb):
    settle()
    tiny.provision()
    edit(tiny)
    assert tiny.why("tiny") == reasons
    assert verb in tiny.provision().out
    assert tiny.why("tiny") == []
    assert len(tiny.provenance()) == 1


# ---- the promise


def test_handoffs_that_no_entry_claims_are_withdrawn(tiny):
    settle()
    tiny.models(one(handoff='"{runtime_dir}/engines/{name}.json"'))
    tiny.provision()
    assert tiny.handoff("tiny")
    tiny.models(one().replace("tiny:", "renamed:"))
    answer = tiny.provision()
    assert "gone  .runtime/engines/tiny.json  removed: no entry of models.yaml claims it\n" in answer.out
    assert tiny.handoff("tiny") is None
    assert tiny.handoff("llamacpp")
    assert set(tiny.rows()) == {"renamed"}
    tiny.models("models: {}")
    tiny.provision()
    assert tiny.handoff("llamacpp") is None
    assert os.listdir(tiny.root / ".runtime/digests") == []


def test_every_stale_handoff_goes_before_the_first_byte_is_read(project):
    """Two models changed; while the first is read, the handoff of the second is gone already."""
    names = ["a", "b", "c"]
    text = "models:\n"
    for name in names:
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}:\n" + entry(f"{name}.gguf", handoff='"{runtime_dir}/engines/{name}.json"')
    project.models(text)
    settle()
    project.provision()
    os.utime(project.root / "a.gguf", (1e9, 1e9))
    os.utime(project.root / "c.gguf", (1e9, 1e9))
    project.write(
        "dodo.py",
        DODO
        + "import os\n"
        + "from model_provisioner.hashing import memo\n"
        + "real = memo.open_model\n"
        + "def seen(path):\n"
        + "    with open('seen', 'a') as file:\n"
        + "        file.write(os.path.basename(path) + ' ' + ' '.join(sorted(os.listdir('.runtime/engines'))) + '\\n')\n"
        + "    return real(path)\n"
        + "memo.open_model = seen\n",
    )
    for command in (["provision"], ["provision", "a", "c"], ["run"]):
        os.utime(project.root / "a.gguf", (1e9, 1e9))
        os.utime(project.root / "c.gguf", (1e9, 1e9))
        (project.root / "seen").unlink(missing_ok=True)
        project.doit(*command)
        first = (project.root / "seen").read_text().splitlines()[0]
        assert first.split()[1:] == ["b.json"], (command, first)
        assert sorted(os.listdir(project.root / ".runtime/engines")) == ["a.json", "b.json", "c.json"]


# ---- several models, names, exit codes


def test_one_failure_stops_no_other(project):
    project.add_tiny("good.gguf")
    project.write("bad.gguf", b"GGUF")
    handoff = '"{runtime_dir}/engines/{name}.json"'
    project.models(
        "models:\n  bad:\n" + entry("bad.gguf", handoff=handoff) + "  good:\n" + entry("good.gguf", handoff=handoff)
    )
    answer = project.provision(code=1)
    assert "2 models: 1 done, 1 failed" in answer.out
    assert project.handoff("good")
    assert project.handoff("bad") is None


def test_names_of_models_tasks_and_targets(project):
    handoff = '"{runtime_dir}/engines/{name}.json"'
    text = "models:\n"
    for name in "abc":
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}:\n" + entry(f"{name}.gguf", handoff=handoff)
    project.models(text)
    assert "1 model: 1 done" in project.provision("a", "-n", "2").out
    assert "same  a  current" in (settle() or project.provision("a") and project.provision("a")).out
    project.provision("models:handoff:b")
    assert project.handoff("b")
    project.provision(".runtime/engines/c.json")
    assert project.handoff("c")
    answer = project.provision("tinny", code=3)
    assert "tinny" in answer.err


def test_a_remote_reference_is_refused_offline_with_the_line_to_add(project):
    project.models("models:\n  far:\n    model_ref: hf:org/repo/x.gguf\n")
    answer = project.provision(code=1)
    assert "FAIL  far  far would have to be fetched, and the network is not allowed" in answer.out
    assert 'add "huggingface.co" to network.allow' in answer.out


def test_faults_of_the_configuration_are_bad_input(project):
    project.models("models:\n  tiny:\n    model_reff: x.gguf\n")
    answer = project.provision(code=3)
    assert "models.yaml:3" in answer.err
    assert "model_ref" in answer.err


def test_without_a_models_yaml_it_says_where_it_looked(project):
    answer = project.provision(code=3)
    assert "no models.yaml here or in a folder above" in answer.err


def test_from_a_folder_below(tiny):
    below = tiny.root / "src" / "deep"
    below.mkdir(parents=True)
    tiny.provision(cwd=below)
    assert tiny.handoff()


def test_machine_readable_output(tiny):
    answer = tiny.provision("-r", "json")
    assert {task["name"]: task["result"] for task in json.loads(answer.out)["tasks"]} == {
        "models": "success",
        "models:withdraw": "up-to-date",
        "models:verify:tiny": "success",
        "models:register:tiny": "success",
        "models:handoff:tiny": "success",
    }


# ---- the promise, when something else goes wrong


def test_a_handoff_goes_when_the_task_that_makes_its_model_fails(tiny):
    maker = "def task_make():\n    return {'actions': ['%s'], 'targets': ['models/tiny.gguf'], 'uptodate': [False]}\n"
    tiny.write("dodo.py", DODO + maker % "true")
    tiny.provision()
    assert tiny.handoff()
    tiny.write("dodo.py", DODO + maker % "false")
    (tiny.root / "models/tiny.gguf").unlink()
    answer = tiny.provision(code=1)
    assert "FAIL  tiny  what it needs failed: make\n" in answer.out
    assert tiny.handoff() is None
    assert tiny.rows()["tiny"]["state"] == "Pending"


def test_a_model_that_a_task_makes_anew_is_looked_at_after_that(tiny):
    """It was current when the run began."""
    settle()
    tiny.provision()
    tiny.write(
        "dodo.py",
        DODO
        + "def task_make():\n"
        + "    return {'actions': ['printf X >> models/tiny.gguf'], 'targets': ['models/tiny.gguf'], 'uptodate': [False]}\n",
    )
    tiny.provision()
    assert tiny.handoff()["metadata"]["size_bytes"] == TINY.stat().st_size + 1


@pytest.mark.parametrize("row", ["{cut", "7"])
def test_a_damaged_row_of_doits_is_forgotten_and_the_others_stay(tiny, row):
    settle()
    tiny.provision()
    (path,) = (tiny.state / "projects").glob("*/doit.db")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("UPDATE task SET data = ? WHERE id LIKE '%:verify:%'", (row,)).rowcount == 1
        connection.commit()
    tiny.provision()
    assert "1 model: 1 current" in tiny.provision().out


@pytest.mark.parametrize("harm", ["catalog.db", "doit.db"])
def test_damaged_records_leave_no_handoff_that_was_not_confirmed(tiny, harm):
    tiny.provision()
    (path,) = tiny.state.rglob(harm)
    path.write_bytes(b"garbage" * 1000)
    (tiny.root / "models/tiny.gguf").write_bytes(TINY.read_bytes() + b"x")
    answer = tiny.provision(code=None)
    if harm == "catalog.db":
        assert answer.code == 2
        assert "the catalog is damaged or not a database" in answer.err
        assert tiny.handoff() is None
        assert path.read_bytes() == b"garbage" * 1000
    else:
        assert answer.code == 0
        assert tiny.handoff()["metadata"]["size_bytes"] == TINY.stat().st_size + 1


def test_an_orphan_is_known_without_the_build_record(tiny):
    tiny.models(one(handoff='"{runtime_dir}/engines/{name}.json"'))
    tiny.provision()
    for path in tiny.state.glob("projects/*/build.db*"):
        path.unlink()
    tiny.models("models: {}")
    tiny.provision()
    assert tiny.handoff("tiny") is None


def test_a_link_in_the_project_is_no_second_name_of_a_folder(tiny):
    tiny.provision()
    (tiny.root / "rt").symlink_to(".runtime")
    tiny.models("runtime_dir: rt\n" + one())
    assert tiny.provision(code=2).out.splitlines()[2:-1] == [
        "FAIL  tiny  the provenance log could not be written",
        f"        where     {tiny.root}/rt",
        "        expected  a file or folder of our own",
        "        found     a link to .runtime, which was left as it is",
        "        fix       remove it, or name the real folder in MODEL_PROVISIONER_RUNTIME_DIR",
    ]


@pytest.mark.parametrize("content", ["my notes", '{"name": "a package"}'])
def test_a_handoff_replaces_and_removes_nothing_but_a_handoff(tiny, content):
    tiny.write("notes.txt", content)
    tiny.models(one(handoff="notes.txt"))
    answer = tiny.provision(code=1)
    assert "FAIL  tiny  the place of the handoff of tiny is taken\n" in answer.out
    tiny.write("dodo.py", DODO)
    tiny.doit("clean", "models")
    (tiny.root / "models/tiny.gguf").unlink()
    tiny.provision(code=1)
    tiny.models("models: {}")
    tiny.provision()
    assert (tiny.root / "notes.txt").read_text() == content


def test_a_mismatch_is_in_the_log_and_its_digest_in_the_catalog(tiny):
    tiny.models(one(expected_digest=f"sha256:{WRONG}"))
    tiny.provision(code=1)
    (line,) = tiny.provenance()
    assert (line["outcome"], line["how"], line["digest"]) == ("fail", "hashed", f"sha256:{TINY_SHA}")
    assert tiny.rows()["tiny"]["digest"] == f"sha256:{TINY_SHA}"


def test_a_row_tells_nothing_of_another_model(tiny):
    tiny.provision()
    tiny.models(one().replace("tiny.gguf", "gone.gguf"))
    tiny.provision(code=1)
    row = tiny.rows()["tiny"]
    assert row["id"] == f"local:{tiny.root}/models/gone.gguf"
    assert (row["path"], row["digest"], row["size_bytes"], row["metadata"]) == (None, None, None, None)


def test_a_time_in_the_future_settles(tiny):
    path = tiny.root / "models/tiny.gguf"
    os.utime(path, (4e9, 4e9))
    settle()
    tiny.provision()
    assert tiny.why("tiny") == []


def test_one_file_of_two_entries_is_read_once_in_full(project):
    project.add_tiny("a.gguf")
    handoff = '"{runtime_dir}/engines/{name}.json"'
    project.models("models:\n  a:\n" + entry("a.gguf", handoff=handoff) + "  b:\n" + entry("a.gguf", handoff=handoff))
    settle()
    project.write(
        "dodo.py",
        DODO
        + "from model_provisioner.hashing import memo\n"
        + "real = memo.hash_both\n"
        + "def seen(*args):\n"
        + "    open('seen', 'a').write('x')\n"
        + "    return real(*args)\n"
        + "memo.hash_both = seen\n",
    )
    project.provision("--full")
    assert (project.root / "seen").read_text() == "x"
    assert len(project.provenance()) == 2
    project.provision("--full")
    assert (project.root / "seen").read_text() == "xx"


@pytest.fixture
def two(project):
    """Two models, handed off, and the second one stale."""
    handoff = '"{runtime_dir}/engines/{name}.json"'
    text = "models:\n"
    for name in "ab":
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}:\n" + entry(f"{name}.gguf", handoff=handoff)
    project.models(text)
    settle()
    project.provision()
    with open(project.root / "b.gguf", "ab") as file:
        file.write(b"x")
    return project


SEEN = (
    "import os\n"
    "from model_provisioner.hashing import memo\n"
    "real = memo.open_model\n"
    "def seen(path):\n"
    "    with open('seen', 'a') as file:\n"
    "        file.write(' '.join(sorted(os.listdir('.runtime/engines'))) + '\\n')\n"
    "    return real(path)\n"
    "memo.open_model = seen\n"
)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["models"],
        ["a", "b"],
        ["models:handoff:a", "models:handoff:b"],
        [".runtime/engines/a.json", ".runtime/engines/b.json"],
        ["serve"],
    ],
)
def test_whatever_is_asked_for_what_it_needs_is_swept_before_the_first_byte_is_read(two, names):
    os.utime(two.root / "a.gguf", (1e9, 1e9))
    two.write(
        "dodo.py",
        DODO
        + SEEN
        + "def task_serve():\n"
        + "    return {'actions': ['true'], 'file_dep': ['.runtime/engines/a.json', '.runtime/engines/b.json']}\n",
    )
    two.provision(*names)
    assert (two.root / "seen").read_text().splitlines()[0] == ""
    assert two.handoff("a")
    assert two.handoff("b")


@pytest.mark.parametrize("dodo", ["import nothere\n", "def task_x():\n    return 5\n", DODO])
@pytest.mark.parametrize("state", ["sound", "open to others", "no folder"])
def test_a_mistake_elsewhere_keeps_no_stale_handoff(two, dodo, state):
    two.write("dodo.py", dodo)
    if state == "open to others":
        os.chmod(two.state, 0o777)
    elif state == "no folder":
        shutil.rmtree(two.state / "projects")
        (two.state / "projects").write_text("")
    run = two.start("provision")
    _, err = run.communicate(timeout=60)
    if dodo != DODO or state != "sound":
        assert run.returncode in (2, 3), err
        assert two.handoff("b") is None
    if state != "sound" and dodo == DODO:
        assert b"Traceback" not in err
        assert b"fix" in err


def test_a_damaged_row_is_told_and_keeps_no_stale_handoff(two):
    with closing(sqlite3.connect(two.state / "catalog.db")) as connection, connection:
        connection.execute("UPDATE model SET metadata = '{' WHERE name = 'a'")
    answer = two.provision(code=2)
    assert "a row of the catalog is damaged" in answer.err
    assert two.handoff("b") is None


def test_unreadable_records_keep_no_orphan(two):
    two.models(one(path="a.gguf", handoff='"{runtime_dir}/engines/a.json"').replace("tiny:", "a:"))
    (two.state / "catalog.db").write_bytes(b"garbage" * 1000)
    two.provision(code=2)
    assert two.handoff("b") is None


def test_a_model_that_a_task_spoils_before_it_fails_is_withdrawn(two):
    two.provision()
    two.write(
        "dodo.py",
        DODO
        + "def task_make():\n"
        + "    return {'actions': ['printf x >> b.gguf; false'], 'targets': ['b.gguf'], 'uptodate': [False]}\n",
    )
    assert "FAIL  b  what it needs failed: make\n" in two.provision(code=1).out
    assert two.handoff("b") is None
    assert two.rows()["b"]["state"] == "Pending"


def test_what_stands_where_our_handoff_was_is_not_ours(two):
    (two.root / "b.gguf").unlink()
    two.provision(code=1)
    assert two.handoff("b") is None
    two.write(".runtime/engines/b.json", "mine")
    two.provision(code=1)
    two.models("models: {}")
    two.provision()
    assert (two.root / ".runtime/engines/b.json").read_text() == "mine"


def test_an_orphan_that_can_not_be_removed_stops_no_model(two):
    (two.root / ".runtime/engines/b.json").unlink()
    (two.root / ".runtime/engines/b.json").mkdir()
    two.models(one(path="a.gguf", handoff='"{runtime_dir}/engines/a.json"').replace("tiny:", "a:"))
    two.provision()
    assert two.handoff("a")
    assert (two.root / ".runtime/engines/b.json").is_dir()


def test_other_reporters_keep_no_warning_back(tiny):
    tiny.models(one(expected_digest=f"sha256:{WRONG}", strict_verification="false"))
    report = json.loads(tiny.provision("-r", "json").out)
    assert "WARNING: the digest differs from what is expected\n" in report["err"]
    tiny.models(one())
    tiny.write("dodo.py", DODO)
    assert f'warning: tiny: no digest is expected; to pin it: expected_digest: "sha256:{TINY_SHA}"' in tiny.doit().err


def test_a_time_that_64_bits_do_not_hold(tiny):
    os.utime(tiny.root / "models/tiny.gguf", (10_413_792_000, 10_413_792_000))
    settle()
    tiny.provision()
    assert "1 model: 1 current" in tiny.provision().out


def test_the_folder_and_the_temp_file_are_synced(two):
    """An unlink is followed by fsync of its folder, a rename preceded by fsync of its file."""
    trace = two.root.parent / "trace"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-e",
            "trace=unlinkat,renameat,fsync",
            "-o",
            trace,
            sys.executable,
            "-m",
            "doit",
            "provision",
        ],
        cwd=two.root,
        env={**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(two.state)},
        check=True,
        capture_output=True,
    )
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if ".runtime" in line]
    folder = rf"\d+<{re.escape(str(two.root))}/\.runtime/engines>"
    unlink, rename = rf'unlinkat\({folder}, "b\.json"', rf'renameat\({folder}, "\.b\.json\.tmp", {folder}, "b\.json"\)'
    unlinked = next(number for number, call in enumerate(calls) if re.match(unlink, call))
    assert re.match(rf"fsync\({folder}\)", calls[unlinked + 1])
    renamed = next(number for number, call in enumerate(calls) if re.match(rename, call))
    assert any(call.startswith("fsync(") and "/.b.json.tmp>" in call for call in calls[:renamed])

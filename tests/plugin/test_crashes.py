"""What a crash, a second run, a full disk or a read-only folder leave behind: never a handoff that the promise forbids."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import cache
from statistics import median

import pytest

from tests.support.project import AT_ONCE, Project, cpu_seconds, read_only, settle_in_every_process
from tests.support.slow_disk import SlowDisk

HANDOFF = '"{runtime_dir}/engines/{name}.json"'


def several(project: Project, names: str) -> None:
    text = "models:\n"
    for name in names:
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}:\n    model_ref: file:{name}.gguf\n    handoff: {HANDOFF}\n"
    project.models(text)


def large(project: Project, size: int) -> None:
    """A model that takes a while to hash: no format that we know, and no disk space."""
    with open(project.root / "large.bin", "wb") as file:
        file.truncate(size)
    project.models("models:\n  large:\n    model_ref: file:large.bin\n")


FORTY = 40
HEAVY = 16 << 20


def heavy(number: int) -> bool:
    return number % 2 == 0


def forty(project: Project) -> None:
    """Forty models, all different: small ones between holes of 16 MiB."""
    text = f"defaults: {{handoff: {HANDOFF}}}\nmodels:\n"
    for number in range(FORTY):
        with open(project.root / f"{number}.bin", "wb") as file:
            file.write(start(number))
            file.truncate(HEAVY if heavy(number) else 4096)
        text += f"  m{number}: {{model_ref: {number}.bin}}\n"
    project.models(text)
    settle_in_every_process()


def start(number: int) -> bytes:
    return b"model %d" % number


@cache
def digest(number: int) -> str:
    """The SHA-256 of one of the forty, by another way."""
    sha = hashlib.sha256(start(number).ljust(4096, b"\0"))
    if heavy(number):
        for _ in range(HEAVY // 4096 - 1):
            sha.update(bytes(4096))
    return sha.hexdigest()


def all_handed_off(project: Project) -> bool:
    return [(project.handoff(f"m{number}") or {}).get("metadata", {}).get("digest") for number in range(FORTY)] == [
        {"algo": "sha256", "value": digest(number)} for number in range(FORTY)
    ]


def hashed(out: str) -> list[str]:
    """The models that a run says it hashed."""
    return re.findall(r"^(?:pass|warn)  (m\d+)  hashed ", out, re.MULTILINE)


def logged(project: Project) -> list[str]:
    """The models whose bytes were read, a line each time."""
    return ["m" + os.path.basename(line["path"]).removesuffix(".bin") for line in project.provenance()]


def states(project: Project) -> dict[str, str]:
    if not (project.state / "catalog.db").exists():
        return {}
    with closing(sqlite3.connect(project.state / "catalog.db")) as connection:
        try:
            return dict(connection.execute("SELECT name, lifecycle FROM model"))
        except sqlite3.OperationalError:  # killed before the table was made
            return {}


def artifacts(project: Project) -> dict[str, bytes]:
    folder = project.root / ".runtime"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("engines", "digests")
        for path in sorted((folder / kind).glob("*"))
    }


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_ends_in_the_middle_of_a_hash_leaves_pending_and_no_handoff(project, number):
    large(project, 4 << 30)
    settle_in_every_process()
    with open(project.root / "large.bin", "r+b") as file:
        file.truncate(1000)
    project.provision()
    assert project.handoff()
    large(project, 4 << 30)
    run = project.start("provision")
    assert run.stderr.readline() == b"reading large, 4.3 GB\n"
    assert states(project) == {"large": "Pending"}
    assert project.handoff() is None
    run.send_signal(number)
    began = time.monotonic()
    _, err = run.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE
    if number == signal.SIGKILL:
        assert run.returncode == -number
    else:
        assert run.returncode == 130
        assert err == (
            b"WARNING: large  its handoff was withdrawn (size 4.3 GB, was 1.0 KB)\n"
            b"interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run\n"
        )
    assert states(project) == {"large": "Pending"}
    assert project.handoff() is None
    with open(project.root / "large.bin", "r+b") as file:
        file.truncate(1000)
    assert "1 model: 1 done" in project.provision().out
    assert states(project) == {"large": "Active"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_a_run_had_told_before_it_was_ended_is_not_done_again(project, number):
    forty(project)
    SlowDisk(project, 0.05)  # the large ones take it many seconds
    out = b""
    with project.start("provision", start_new_session=True) as run:
        while len(hashed(out.decode())) < FORTY // 5:
            assert (line := run.stdout.readline()), run.stderr.read()
            out += line
        run.send_signal(number)
        out += run.stdout.read()
        err = run.stderr.read().decode()
    told = hashed(out.decode())
    assert len(set(told)) == len(told) < FORTY, "the run came to its end before the signal"
    if number == signal.SIGKILL:
        assert (run.returncode, err) == (-number, "")
    else:
        assert run.returncode == 130
        assert (
            err
            == "interrupted: what was finished is kept, what was not has no handoff; downloads are resumed by the next run\n"
        )
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)  # it leads a group of its own: nothing is left of that

    again = hashed(project.provision().out)
    assert set(again).isdisjoint(told)
    log = logged(project)
    assert [log.count(name) for name in told] == [1] * len(told)
    assert {line["how"] for line in project.provenance()} == {"hashed"}
    assert set(log) == set(states(project)) == {f"m{number}" for number in range(FORTY)}
    assert set(states(project).values()) == {"Active"}
    assert all_handed_off(project)


@pytest.mark.slow
def test_ctrl_c_is_answered_at_once_while_a_large_file_is_hashed(project):
    large(project, 8 << 30)
    settle_in_every_process()
    answers = []
    for _ in range(5):
        with project.start("provision") as run:
            assert run.stderr.readline() == b"reading large, 8.6 GB\n"
            time.sleep(0.2)
            before = cpu_seconds(run)
            run.send_signal(signal.SIGINT)
            os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
            answers.append(cpu_seconds(run) - before)
        assert run.returncode == 130
    assert median(answers) < 0.5, answers  # of a processor: how long that takes is also for others to say


CALLS = "unlink,unlinkat,renameat,fsync,fdatasync,pwrite64,write,mkdir,openat,flock"


@pytest.fixture
def strace():
    """The tracer that kills a process at a system call; CI always has it."""
    path = shutil.which("strace")
    if path is None and "CI" not in os.environ:
        pytest.skip("needs strace: apt-get install strace")
    assert path is not None, "CI installs strace: see .ci/run"
    return path


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.split(","))
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_kill_at_any_system_call_leaves_no_forbidden_handoff_and_the_next_run_mends(project, call, step, strace):
    """Kill a run at its 1st, 2nd, … call of a kind, or each so many, until it gets through; look at what is there each time."""
    several(project, "ab")
    settle_in_every_process()
    project.provision()
    old = artifacts(project)
    for name in "ab":
        with open(project.root / f"{name}.gguf", "ab") as file:
            file.write(b"\0" * 32)
    digest = hashlib.sha256((project.root / "a.gguf").read_bytes()).hexdigest()
    project.provision()
    new = artifacts(project)
    assert set(new) == set(old)
    assert all(old[name] != new[name] for name in new)

    at = 1
    killed = True
    while killed:
        # Back to the old files under the old handoffs, then the new bytes again.
        for path, data in old.items():
            project.write(f".runtime/{path}", data)
        for name in "ab":
            data = (project.root / f"{name}.gguf").read_bytes()
            (project.root / f"{name}.gguf").write_bytes(data)
        command = [sys.executable, "-m", "doit", "provision", "-n", "1"]
        trace = [
            strace,
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:signal=KILL:when={at}",
        ]
        environ = {**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(project.state)}
        run = subprocess.run([*trace, *command], cwd=project.root, env=environ, capture_output=True, check=False)
        killed = run.returncode != 0
        assert run.returncode in (0, -9, 137), run
        for name in "ab":
            path = project.root / f".runtime/engines/{name}.json"
            if not path.exists():
                continue
            found = path.read_bytes()
            assert found in (old[f"engines/{name}.json"], new[f"engines/{name}.json"]), (call, at)
            if states(project).get(name) == "Pending":
                assert json.loads(found)["metadata"]["digest"]["value"] == digest, (call, at)
        # openat is called a few hundred times by Python itself before our code runs; a transaction is many a pwrite64.
        at += step * {"openat": 7, "write": 7, "pwrite64": 3}.get(call, 1)
    project.provision()
    assert artifacts(project) == new
    assert not [path for path in (project.root / ".runtime").rglob("*.tmp")]


@pytest.mark.slow
def test_two_runs_at_once_hash_each_model_once_and_both_end_well(project):
    forty(project)
    runs = [project.start("provision") for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, (out, err)
        assert b"Traceback" not in out + err
    assert sorted(logged(project)) == sorted(f"m{number}" for number in range(FORTY))
    assert {line["how"] for line in project.provenance()} == {"hashed"}
    assert set(states(project).values()) == {"Active"}
    assert all_handed_off(project)


def test_two_runs_at_once_with_failures(project):
    """doit's own backend would hold its lock from the first failure on."""
    several(project, "abc")
    for name in "abc":
        project.write(f"{name}.gguf", b"broken")
    runs = [project.start("provision") for _ in range(3)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 1, (out, err)
        assert b"Traceback" not in out + err
        assert b"3 models: 3 failed" in out


# ---- disks: mounts of their own, in a namespace of their own


def test_a_full_disk_is_told_and_the_next_run_mends(project):
    several(project, "ab")
    (project.root / ".runtime").mkdir()
    code, said = project.mounted("mount -t tmpfs -o size=4k,nr_inodes=4 tmpfs .runtime", "provision")
    assert code == 2
    assert "No space left on device" in said
    assert "free some space on that disk and run again" in said
    assert project.provision().code == 0
    assert project.handoff("a")
    assert project.handoff("b")


def test_a_full_state_folder_is_told_and_no_handoff_is_written(project):
    several(project, "a")
    project.state.mkdir(mode=0o700)
    code, said = project.mounted(
        f"mount -t tmpfs -o size=16k,mode=700 tmpfs {shlex.quote(str(project.state))}", "provision"
    )
    assert code == 2, said
    assert "fix" in said
    assert project.handoff("a") is None


def test_a_state_folder_that_fills_up_keeps_no_stale_handoff(project):
    several(project, "ab")
    project.provision()
    project.write("a.gguf", b"changed")
    state = shlex.quote(str(project.state))
    full = (
        f"cp -a {state} {state}2 && mount -t tmpfs -o size=400k,mode=700 tmpfs {state} && cp -a {state}2/. {state}/"
        f" && (dd if=/dev/zero of={state}/fill bs=1k 2>/dev/null; true)"
    )
    code, _ = project.mounted(full, "provision")
    assert code in (1, 2)
    assert project.handoff("a") is None
    project.provision(code=1)
    assert project.handoff("b")


def test_a_read_only_project_is_told(project):
    several(project, "a")
    code, said = project.mounted(read_only(project.root), "provision")
    assert code == 2
    assert "Read-only file system" in said
    assert "set MODEL_PROVISIONER_RUNTIME_DIR to a folder that you can write" in said


@pytest.mark.slow
def test_a_stale_handoff_that_can_not_be_removed_is_told(project):
    several(project, "ab")
    settle_in_every_process()
    project.provision()
    with open(project.root / "a.gguf", "ab") as file:
        file.write(b"\0")
    engines = shlex.quote(str(project.root / ".runtime/engines"))
    code, said = project.mounted(f"mount --bind {engines} {engines} && mount -o remount,ro,bind {engines}", "provision")
    assert code == 2
    assert "FAIL  a  a file could not be removed" in said
    assert "2 models: 1 current, 1 failed" in said

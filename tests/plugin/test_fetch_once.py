"""What has no digest before it is here is downloaded once, however many runs want it, and whichever of them is killed."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import hub as faults
from tests.support.project import Project
from tests.support.remote import CONFIG, README, REPO, TINY_BYTES, resolved, sha256, wait_until

OTHER_BYTES = TINY_BYTES + b"\0" * 32


class Gate:
    """A server waits at it with its answer until it is opened."""

    def __init__(self):
        self.opened = threading.Event()

    def __call__(self, *_):
        assert self.opened.wait(60)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def projects(remote, number, entries):
    """Return so many projects of one user that share one store, each with these models."""
    return [project_of(remote, f"project {each}", entries) for each in range(number)]


def project_of(remote, name, entries):
    project = Project(remote.root.parent / name, remote.project.state, remote.environ)
    project.root.mkdir()
    remote.models(entries)
    project.models((remote.root / "models.yaml").read_text())
    return project


@contextmanager
def started(projects, *command):
    """Begin a run of each project; what still runs in the end is killed."""
    runs = [project.start(*(command or ["provision"])) for project in projects]
    try:
        yield runs
    finally:
        for run in runs:
            run.kill()
            run.communicate()


def at_the_lock(remote, runs):
    """Return how many of these runs hold a single-flight lock, or wait for one."""
    return sum(any(Path(path).parent == remote.cache / "locks" for path in opened_by(run)) for run in runs)


def opened_by(run):
    found = []
    for each in Path(f"/proc/{run.pid}/fd").iterdir():
        try:
            found.append(os.readlink(each))
        except FileNotFoundError:
            pass
    return found


def all_end(runs, code=0):
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == code, (out, err)
        assert b"Traceback" not in out + err


def bytes_asked(web, path="/x.gguf"):
    """Return the request for each body of a file: the range that was asked for, None for all of it."""
    return [each.headers.get("range") for each in web.asked if each.path.partition("?")[0] == path]


def source_of(project):
    return project.json("model-list")["result"]["catalog"][0]["source"]


# ---- several runs at once


@pytest.mark.slow
@pytest.mark.parametrize("command", [["provision"], ["model-lock"]])
def test_eight_runs_that_want_one_file_make_one_download(remote, web, gate, command):
    web.files["/x.gguf"] = TINY_BYTES
    web.before_each = gate
    eight = projects(remote, 8, {"x": web.url("/x.gguf")})
    with started(eight, *command) as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 8)
        gate.opened.set()
        all_end(runs)
    assert bytes_asked(web) == [None]
    for project in eight:
        if command == ["provision"]:
            assert Path(project.handoff("x")["model"]["path"]).read_bytes() == TINY_BYTES
            assert source_of(project) == web.url("/x.gguf"), "this user's own download tells where it came from"
        else:
            assert sha256(TINY_BYTES) in (project.root / "models.lock").read_text()
    assert remote.on_the_way() == []


@pytest.mark.slow
def test_runs_that_want_the_small_files_of_a_repository_download_each_once(remote, hub):
    hub.add("org/tiny", REPO)
    waiting = threading.Event()
    hub.fault(faults.slow(1, until=waiting), on="*/resolve/*", method="GET")
    entry = {"model_ref": "hf:org/tiny", "engine": "vllm", "include": ["*.gguf", "*.json"]}
    some = projects(remote, 2, {"x": entry})
    all_files = project_of(remote, "all of it", {"x": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    with started([*some, all_files]) as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 3)
        waiting.set()
        all_end(runs)
    assert sorted(resolved(hub)) == sorted(REPO)
    read = {
        path.name: path.read_bytes()
        for path in Path(all_files.handoff("x")["model"]["path"]).iterdir()
        if path.is_file()
    }
    assert (read["config.json"], read["README.md"]) == (CONFIG, README)


@pytest.mark.slow
def test_runs_that_want_an_object_without_a_digest_download_it_once(remote, s3, moto, gate):
    client = moto.client()
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES)
    s3.answer = lambda asked: gate() if asked.method == "GET" else None
    remote.environ.update(s3.environ())
    three = projects(remote, 3, {"x": "s3://models/x.gguf"})
    with started(three) as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 3)
        gate.opened.set()
        all_end(runs)
    assert len(s3.of("GET")) == 1
    assert [Path(each.handoff("x")["model"]["path"]).read_bytes() for each in three] == [TINY_BYTES] * 3


@pytest.mark.slow
def test_what_came_for_other_credentials_is_not_taken(remote, web, gate):
    """The server may have something else for each, or nothing."""
    web.files["/x.gguf"] = TINY_BYTES
    web.before_each = gate
    users = ["ann", "bob", "ann"]
    three = [
        project_of(
            remote, f"{number} of {user}", {"x": web.url("/x.gguf").replace("https://", f"https://{user}:s3cret@")}
        )
        for number, user in enumerate(users)
    ]
    with started(three) as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 3)
        gate.opened.set()
        all_end(runs)
    asked = [each.headers["authorization"] for each in web.asked]
    assert len(asked) == len(set(asked)) == 2
    assert b"s3cret" not in remote.everything()


def test_entries_of_one_run_that_name_one_file_make_one_download(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    names = [f"m{number}" for number in range(8)]
    remote.models({name: web.url("/x.gguf") for name in names})
    remote.provision()
    assert bytes_asked(web) == [None]
    assert {name: remote.bytes_of(name) for name in names} == dict.fromkeys(names, TINY_BYTES)


@pytest.mark.slow
def test_of_runs_that_wait_one_resumes_what_a_killed_one_began(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    web.manners.trickle = 1e-5
    first, *others = projects(remote, 4, {"x": web.url("/x.gguf")})
    with started([first]) as (killed,):
        wait_until(lambda: arrived(remote) > 10_000)
        with started(others) as runs:
            wait_until(lambda: at_the_lock(remote, runs) == 3)
            killed.kill()
            killed.wait()
            web.manners.trickle = None
            all_end(runs)
    whole, rest = bytes_asked(web)
    assert whole is None
    assert int(re.fullmatch(r"bytes=(\d+)-", rest)[1]) >= 10_000
    assert [Path(each.handoff("x")["model"]["path"]).read_bytes() for each in others] == [TINY_BYTES] * 3
    assert remote.on_the_way() == []


def arrived(remote):
    """Return how many bytes of the file are on the way."""
    sizes = [0]
    for name in remote.on_the_way():
        if re.fullmatch(r"local\.[0-9a-f]{64}\.[0-9a-f]{16}", name):
            with suppress(FileNotFoundError):
                sizes.append((remote.cache / "partial" / name).stat().st_size)
    return max(sizes)


@pytest.mark.slow
def test_of_runs_that_wait_one_downloads_what_another_failed_to(remote, web, gate):
    web.files["/x.gguf"] = TINY_BYTES
    web.before_each = gate
    web.manners.statuses.append((404, {}))
    three = projects(remote, 3, {"x": web.url("/x.gguf")})
    with started(three) as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 3)
        gate.opened.set()
        codes = [run.wait(60) for run in runs]
    assert sorted(codes) == [0, 0, 1]
    assert bytes_asked(web) == [None, None]


@pytest.mark.slow
def test_what_a_killed_run_finished_of_a_split_is_not_downloaded_again(remote, web, gate, tiny_models):
    shards = {f"/{path.name}": path.read_bytes() for path in tiny_models.glob("*-of-00003.gguf")}
    web.files.update(shards)
    turns = itertools.count(1)
    web.before_each = lambda: gate() if next(turns) == 3 else None
    remote.models({"x": web.url(min(shards))})
    with started([remote.project]) as (run,):
        wait_until(lambda: len(remote.blobs()) == 2)
        run.kill()
    (missing,) = (path for path, data in shards.items() if sha256(data) not in remote.blobs())
    web.asked.clear()
    remote.provision()
    assert [each.path for each in web.asked] == [missing]


# ---- what is not taken


@pytest.mark.slow
def test_upgrades_of_locks_take_no_earlier_download_and_share_a_new_one(remote, web, gate):
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    remote.provision()
    web.files["/x.gguf"] = OTHER_BYTES
    web.asked.clear()
    web.before_each = gate
    three = projects(remote, 3, {"x": web.url("/x.gguf")})
    with started(three, "model-lock", "--upgrade", "x") as runs:
        wait_until(lambda: at_the_lock(remote, runs) == 3)
        gate.opened.set()
        all_end(runs)
    last = f"bytes={len(TINY_BYTES) - 1}-"
    assert bytes_asked(web) == [last, None], "whether it is the old version, and then the new one, once"
    assert all(sha256(OTHER_BYTES) in (each.root / "models.lock").read_text() for each in three)


RANGES = {"ranges": {}, "no ranges": {"ignore_range": True}, "a date": {"etag": None, "last_modified": 1e9}}


@pytest.mark.parametrize("manners", RANGES.values(), ids=RANGES)
def test_an_upgrade_does_not_download_what_the_server_says_is_as_it_was(remote, web, manners):
    body = TINY_BYTES + bytes(64 << 20)  # more than a connection holds
    vars(web.manners).update(manners)
    web.files["/x.gguf"] = body
    remote.models({"x": web.url("/x.gguf")})
    remote.doit("model-lock")
    web.asked.clear()
    web.sent = 0
    remote.doit("model-lock", "--upgrade", "x")
    assert bytes_asked(web) == [f"bytes={len(body) - 1}-"]
    assert web.sent < len(body) // 2
    assert sha256(body) in remote.lock.read_text()
    assert remote.on_the_way() == []


@pytest.mark.slow
def test_a_kill_of_an_upgrade_after_the_last_byte_costs_no_second_download(remote, web):
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    kill = [
        "-o",
        "/dev/null",
        "-e",
        "trace=symlinkat",
        "-e",
        "inject=symlinkat:signal=KILL:when=1",
    ]  # of the first tree
    traced(remote, *kill, command=("model-lock", "--upgrade", "x"))
    assert not remote.lock.exists()
    assert len(remote.blobs()) == 1
    remote.doit("model-lock", "--upgrade", "x")
    assert bytes_asked(web) == [None, f"bytes={len(TINY_BYTES) - 1}-"]
    assert sha256(TINY_BYTES) in remote.lock.read_text()


def test_without_a_record_the_source_is_asked_again(remote, web):
    """The record says what a reference resolves to; who deletes it wants what is there now."""
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    remote.provision()
    web.files["/x.gguf"] = OTHER_BYTES
    shutil.rmtree(remote.cache / "refs")
    shutil.rmtree(remote.root / ".runtime")  # else nothing asks for the record
    remote.provision()
    assert remote.bytes_of("x") == OTHER_BYTES


# ---- kills


CALLS = "pwrite64,fsync,fdatasync,fchmod,renameat,rename,unlinkat,unlink,mkdirat,symlinkat,ftruncate,close"


@pytest.mark.slow
@pytest.mark.parametrize("step", [25, pytest.param(1, marks=pytest.mark.long)])
def test_a_kill_between_the_last_byte_and_the_record_costs_no_second_download(remote, web, step, tmp_path):
    """Each call in the store and in the state folder after the last byte came is the last one once. The next run asks nobody,
    though this server has no word for the version that it sent, which a part of it could be resumed by."""
    web.manners.etag = None
    web.files["/x.gguf"] = TINY_BYTES
    remote.models({"x": web.url("/x.gguf")})
    steps = after_the_last_byte(remote, tmp_path / "log")
    assert {call for call, _ in steps} >= {"pwrite64", "fsync", "fchmod", "renameat", "unlinkat", "symlinkat", "close"}
    seen = 0
    for call, number in steps[::step]:
        fresh(remote)
        traced(remote, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
        if is_whole(remote):
            seen += 1
            web.asked.clear()
            remote.provision()
            assert web.asked == [], (call, number)
        else:  # another thread came to its call of this number before the last byte
            remote.provision()
        assert remote.bytes_of("x") == TINY_BYTES, (call, number)
        assert source_of(remote.project) == web.url("/x.gguf"), (call, number)
    assert seen >= 150 // step, "the kills came at the wrong time"


def after_the_last_byte(remote, log):
    """Return each call of a run after the last byte came, as its name and its number among those of its thread."""
    fresh(remote)
    traced(remote, "-y", "-o", log, "-e", f"trace={CALLS}")
    numbers, found, ours = Counter(), [], (str(remote.cache), str(remote.project.state))
    for line in log.read_text().splitlines():
        thread, call = re.match(r"(\d+) +(\w+)?", line).groups()
        numbers[thread, call] += 1
        if call == "pwrite64" and f"<{remote.cache}/partial/" in line:
            found.clear()
        elif call is not None and any(path in line for path in ours):
            found.append((call, numbers[thread, call]))
    return list(dict.fromkeys(found))


def fresh(remote):
    """Take away all that runs left."""
    for folder in (remote.cache, remote.project.state, remote.root / ".runtime"):
        shutil.rmtree(folder, ignore_errors=True)


def traced(remote, *options, command=("provision",)):
    """Run as a process, under strace with these options."""
    run = subprocess.run(
        ["strace", "-f", "-qq", *options, sys.executable, "-m", "doit", *command],
        cwd=remote.root,
        env=remote.project.surroundings(),
        capture_output=True,
        check=False,
    )
    assert run.returncode in (0, -9, 137), run


def is_whole(remote):
    """Tell whether all bytes of the file are in the store, under whatever name."""
    names = [path for path in remote.cache.rglob("*") if path.is_file() and not path.is_symlink()]
    return any(path.stat().st_size == len(TINY_BYTES) and re.search("[0-9a-f]{64}", path.name) for path in names)

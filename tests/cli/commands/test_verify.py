"""`model-verify`: what changed without a trace is found and stays found; the audit goes on where the last one ended."""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.hashing.memo import Memo
from model_provisioner.errors import CorruptModelError
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.hand_off import hand_off
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.withdrawal.withdraw import READ, pend
from model_provisioner.engine.workspace import open_workspace
from tests.support.project import Project, document, settle

TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
OLD = 1_600_000_000
HANDOFFS = "{runtime_dir}/engines/{name}.json"


def provisioned(project, **entries):
    """A project of entries, by name, whose files were old, and at rest, when they were verified."""
    for path in (*project.root.glob("*.gguf"), *project.root.glob("set/*")):
        if path.stat().st_mtime > time.time() - 60:
            os.utime(path, (OLD, OLD))
    project.models(json.dumps({"defaults": {"handoff": HANDOFFS}, "models": entries}))
    settle()
    project.provision()
    return project


@pytest.fixture
def tiny(project):
    project.add_tiny("tiny.gguf")
    return provisioned(project, tiny={"model_ref": "tiny.gguf"})


def rot(project, name="tiny.gguf"):
    """Flip the last bit of a file as a disk does: the memo's row has its times and all else that a stat call tells."""
    path = project.root / name
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with closing(sqlite3.connect(project.state / "memo.db")) as connection, connection:
        connection.execute(
            "UPDATE file SET ctime_ns = ? WHERE inode = ?", (str(os.stat(path).st_ctime_ns), str(before.st_ino))
        )


def verify(project, *args, code=0):
    return project.json("model-verify", *args, code=code)["result"]


def names(found):
    return [model["name"] for model in found["audited"]]


def handed_off(project):
    return sorted(path.stem for path in (project.root / ".runtime/engines").glob("*.json"))


def set_times(project, **times):
    with closing(sqlite3.connect(project.state / "catalog.db")) as connection, connection:
        connection.executemany("UPDATE model SET audited_at = ? WHERE name = ?", [(t, n) for n, t in times.items()])


def ago(**amount):
    return (datetime.now(UTC) - timedelta(**amount)).isoformat(timespec="seconds").replace("+00:00", "Z")


# ---- silent corruption


def test_what_no_stat_call_tells_is_found_in_full(tiny):
    rot(tiny)
    assert "1 model: 1 current" in tiny.provision().out
    assert tiny.doit("model-verify").out.startswith("warn  tiny  confirmed by stat 105.2 KB (last verified 2")
    answer = tiny.doit("model-verify", "--full", code=1)
    bad = Memo(str(tiny.state)).last(str(tiny.root / "tiny.gguf")).sha256
    assert answer.out.startswith(
        "FAIL  tiny  the bytes changed, though size and modification time did not\n"
        f"        where     {tiny.root}/tiny.gguf\n"
        f"        expected  sha256:{TINY_SHA}\n"
        f"        found     sha256:{bad}\n"
        "        fix       get the file again, and look at the disk; if these bytes are right, "
        f'put   expected_digest: "sha256:{bad}"   into models.yaml\n'
        "      its handoff was withdrawn\n"
        "1 model: 1 failed; 105.2 KB ("
    )
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"], row["digest"]) == ("Failed", "fail", f"sha256:{TINY_SHA}")
    assert row["corrupt"] == f"sha256:{bad}"
    assert handed_off(tiny) == []
    assert not (tiny.root / ".runtime/digests/tiny.sha256").exists()


@pytest.mark.parametrize("then", [["provision"], ["provision", "--full"], ["model-verify"], ["model-verify", "--full"]])
@pytest.mark.parametrize("memo", ["kept", "lost"])
def test_what_was_found_is_not_undone_by_any_run(tiny, then, memo):
    rot(tiny)
    tiny.doit("model-verify", "--full", code=1)
    if memo == "lost":
        for path in tiny.state.glob("memo.db*"):
            path.unlink()
    for _ in range(2):
        assert "the bytes changed, though size and modification time did not" in tiny.doit(*then, code=1).out
        assert handed_off(tiny) == []


def test_provision_in_full_finds_it_too(tiny):
    rot(tiny)
    assert "the bytes changed, though size and modification time did not" in tiny.provision("--full", code=1).out
    assert handed_off(tiny) == []


@pytest.mark.parametrize("strict", [True, False])
def test_a_model_with_an_expected_digest_fails_whatever_its_policy_tolerates(project, strict):
    project.add_tiny("tiny.gguf")
    entry = {"model_ref": "tiny.gguf", "expected_digest": f"sha256:{TINY_SHA}", "strict_verification": strict}
    provisioned(project, tiny=entry)
    rot(project)
    assert "the bytes changed, though" in project.doit("model-verify", "--full", code=1).out
    assert handed_off(project) == []


def test_where_the_memo_was_lost_the_times_tell(tiny):
    rot(tiny)
    for path in tiny.state.glob("memo.db*"):
        path.unlink()
    os.utime(tiny.root / "tiny.gguf", (1e9, 1e9))
    assert "the bytes changed, though" in tiny.doit("model-verify", "--full", code=1).out


def test_the_right_bytes_make_it_good_again(tiny):
    rot(tiny)
    tiny.doit("model-verify", "--full", code=1)
    rot(tiny)  # flips it back
    settle()
    tiny.doit("model-verify", "--full")
    assert handed_off(tiny) == ["tiny"]
    assert tiny.rows()["tiny"]["corrupt"] is None
    assert "1 current" in tiny.provision().out


def test_its_bytes_are_good_when_their_digest_is_expected(tiny):
    rot(tiny)
    tiny.doit("model-verify", "--full", code=1)
    digest = tiny.rows()["tiny"]["corrupt"]
    provisioned(tiny, tiny={"model_ref": "tiny.gguf", "expected_digest": digest})
    assert tiny.rows()["tiny"]["state"] == "Active"
    tiny.doit("model-verify", "--full")


def test_a_file_that_somebody_changed_is_no_corruption(tiny):
    data = bytearray((tiny.root / "tiny.gguf").read_bytes())
    data[-1] ^= 1
    tiny.write("tiny.gguf", bytes(data))
    assert tiny.doit("model-verify", "--full").out.startswith("warn  tiny  hashed 105.2 KB (last audited 2")
    assert tiny.rows()["tiny"]["state"] == "Active"


def test_other_projects_of_that_model_are_told_by_their_next_run(tiny, tmp_path):
    (tmp_path / "other").mkdir()
    other = Project(tmp_path / "other", tiny.state)
    provisioned(other, same={"model_ref": str(tiny.root / "tiny.gguf")})
    assert "1 current" in other.provision().out
    rot(tiny)
    tiny.doit("model-verify", "--full", code=1)
    assert "the bytes changed, though" in other.provision(code=1).out
    assert handed_off(other) == []


def test_another_name_of_the_file_is_read_anew(project):
    project.add_tiny("tiny.gguf")
    os.link(project.root / "tiny.gguf", project.root / "link.gguf")
    pinned = {"model_ref": "link.gguf", "expected_digest": f"sha256:{TINY_SHA}"}
    provisioned(project, link=pinned)
    provisioned(project, link=pinned, tiny={"model_ref": "tiny.gguf"})
    rot(project)
    project.doit("model-verify", "--full", "tiny", code=1)
    assert "FAIL  link  the digest differs from what is expected" in project.provision(code=1).out
    assert handed_off(project) == []


def test_a_kill_in_the_middle_of_a_folder_loses_no_finding(project):
    """The memo knows the new bytes of a file that was read; that is not taken for good by the next run."""
    for name in "ab":
        project.write(f"set/{name}", name * 999)
    provisioned(project, set={"model_ref": "set"})
    rot(project, "set/a")

    def workspace(**rules):
        return open_workspace(str(project.root / "models.yaml"), state=str(project.state), rules=Rules(**rules))

    killed = workspace(full=True)
    entry = killed.config.entries["set"]
    pend(killed, [EntryRun(entry)], READ)
    killed.memo.digests_in_full([str(project.root / "set/a")])
    after = workspace()
    hand_off(after, [record := EntryRun(entry)])
    assert isinstance(record.error, CorruptModelError)
    assert handed_off(project) == []
    assert after.catalog.get(after.config.root, "set").lifecycle == "Failed"


def test_of_a_set_the_files_that_changed_are_named(project):
    for name in "abc":
        project.write(f"set/{name}", name * 999)
    provisioned(project, set={"model_ref": "set"})
    rot(project, "set/b")
    out = project.doit("model-verify", "--full", code=1).out
    assert f"expected  {project.rows()['set']['digest']}\n" in out
    assert f"found     {project.rows()['set']['corrupt']} (b)\n" in out


def test_a_mismatch_that_is_tolerated_is_told_and_no_failure(project):
    project.add_tiny("tiny.gguf")
    entry = {"model_ref": "tiny.gguf", "expected_digest": "sha256:" + "0" * 64, "strict_verification": False}
    provisioned(project, tiny=entry)
    out = project.doit("model-verify", "--full").out
    assert out.startswith(
        "FAIL! tiny  the digest differs, and strict_verification is false: it was handed off all the same\n"
    )
    assert "1 model: 1 tolerated; 105.2 KB (" in out
    assert handed_off(project) == ["tiny"]


# ---- what is audited, and in which order


@pytest.fixture
def four(project):
    for name in "abcd":
        project.write(f"{name}.bin", name * 1000)
    return provisioned(project, **{name: {"model_ref": f"{name}.bin"} for name in "abcd"})


def test_the_longest_unread_come_first_and_the_next_audit_goes_on(four):
    set_times(four, a=ago(days=1), b=ago(days=40), c=None, d=ago(days=-1))
    answer = four.doit("model-verify", "--full", "--json", "--max-bytes", "2 KB")
    found = document(answer)["result"]
    assert (names(found), found["left"], found["read_bytes"]) == (["c", "d"], ["b", "a"], 2000)
    assert answer.err.startswith("note: d was last verified at 2")
    assert answer.err.endswith("which lies ahead of the clock: a clock went back, and it counts as long ago\n")
    assert names(verify(four, "--full", "--max-bytes", "1000")) == ["b"]
    assert names(verify(four, "--full", "--max-bytes", "1")) == ["a"]  # the first has its turn whatever its size
    assert len(names(verify(four, "--full"))) == 4


def test_what_was_audited_lately_is_left_out_but_a_time_in_the_future_is_old(four):
    set_times(four, a=ago(days=31), b=ago(days=29), c=ago(days=-400), d=None)
    found = verify(four, "--full", "--older-than", "30d")
    assert names(found) == ["d", "c", "a"]
    assert [model["clock_went_back"] for model in found["audited"]] == [False, True, False]
    assert found["recent"] == ["b"]
    out = four.doit("model-verify", "--full", "--older-than", "30d").out
    assert out.startswith("4 models: 4 audited before; 0 bytes (")


def test_one_that_fails_does_not_keep_the_others_from_their_turn(four):
    (four.root / "a.bin").unlink()
    found = four.json("model-verify", "--full", "--max-bytes", "1", code=1)
    assert names(found["result"]) == ["a", "b"]
    assert [(model["outcome"], model["how"]) for model in found["models"][:2]] == [("error", None), ("warn", "hashed")]
    (error,) = found["errors"]
    assert (error["model"], error["what"]) == ("a", "there is no such file or folder")
    set_times(four, b=ago(days=1), c=ago(days=1), d=ago(days=1))
    found = verify(four, "--full", "--max-bytes", "1", code=1)  # red as long as that is so
    assert (names(found), found["still_failed"]) == (["b"], ["a"])
    assert handed_off(four) == ["b", "c", "d"]


def test_the_retired_and_the_new_are_left_alone(four):
    four.doit("model-retire", "a")
    entries = {name: {"model_ref": f"{name}.bin"} for name in "abcde"}
    four.models(json.dumps({"defaults": {"handoff": HANDOFFS}, "models": entries}))
    out = four.doit("model-verify").out
    assert "5 models: 3 passed, 1 retired, 1 never provisioned; 3.0 KB (" in out
    assert handed_off(four) == ["b", "c", "d"]
    assert four.doit("model-verify", "e", code=3).err == (
        "ERROR: e was never provisioned: there is nothing to compare its bytes with\n"
        f"  where     {four.root}/models.yaml\n"
        "  expected  a model with a recorded verification\n"
        "  found     none of it\n"
        "  fix       doit provision e\n"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--older-than", "30"],
            "ERROR: --older-than can't be read\n"
            "  where     the command line\n"
            "  expected  a whole number and s, m, h, d or w, as 30d\n"
            "  found     30\n"
            "  fix       write it as in   --older-than 30d\n",
        ),
        (
            ["--max-bytes", "a lot"],
            "ERROR: --max-bytes can't be read\n"
            "  where     the command line\n"
            "  expected  a whole number of bytes, or a text as 200GB or 1.5 GiB\n"
            "  found     a lot\n"
            "  fix       write it as in   --max-bytes 200GB\n",
        ),
        (["nobody"], "ERROR: there is no model 'nobody'\n"),
    ],
)
def test_bad_input(four, args, said):
    assert four.doit("model-verify", *args, code=3).err.startswith(said)
    assert len(handed_off(four)) == 4


def test_an_audit_leaves_nothing_to_do(four):
    four.doit("model-verify", "--full")
    assert "4 models: 4 current" in four.provision().out
    assert len(handed_off(four)) == 4


def test_show_says_where_the_clock_went_back(tiny):
    path = tiny.state / "catalog.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE model SET history = '2099-01-01T00:00:00Z Active' || char(10)")
    tiny.doit("model-retire", "tiny")
    first, last = tiny.doit("model-show", "tiny").out.splitlines()[-2:]
    assert first == "    2099-01-01T00:00:00Z  Active"
    assert last.endswith("Z  Retired (the clock went back)")


# ---- an audit that does not come to its end


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 130)]
)
def test_an_audit_that_ends_early_keeps_what_was_done(project, number, code):
    for name, size in (("a", 1000), ("b", 2 << 30), ("c", 1000)):
        with open(project.root / f"{name}.bin", "wb") as file:
            file.truncate(size)
    provisioned(project, **{name: {"model_ref": f"{name}.bin"} for name in "ac"})
    provisioned(project, **{name: {"model_ref": f"{name}.bin"} for name in "abc"})
    set_times(project, a="2026-01-01T00:00:00Z", b="2026-01-02T00:00:00Z", c="2026-01-03T00:00:00Z")
    process = project.start("model-verify", "--full")
    assert process.stdout.readline().startswith(b"warn  a  hashed 1.0 KB")
    while handed_off(project) != ["a", "c"]:  # that of the model in work goes before it is read
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    if code == 130:
        assert err.decode().endswith(
            "interrupted: what was audited is kept; models that were being read have no handoff until the next"
            " run of provision or verify\n"
        )
    rows = {row.name: row for row in Catalog.reader(str(project.state)).all()}
    assert {name: row.lifecycle for name, row in rows.items()} == {"a": "Active", "b": "Pending", "c": "Active"}
    audited = {name for name in "ac" if rows[name].audited_at > "2026-01-03T00:00:00Z"}
    assert audited >= {"a"}, "c may have been read beside b"
    assert handed_off(project) == ["a", "c"]
    with open(project.root / "b.bin", "r+b") as file:
        file.truncate(1000)
    assert names(verify(project, "--full", "--older-than", "1h")) == sorted({"b", "c"} - audited)
    assert handed_off(project) == ["a", "b", "c"]


# ---- red stays red


@pytest.fixture
def rotten(project):
    """Two models of which one was found rotten a night ago."""
    project.add_tiny("tiny.gguf")
    project.add_tiny("sound.gguf")
    provisioned(project, sound={"model_ref": "sound.gguf"}, tiny={"model_ref": "tiny.gguf"})
    rot(project)
    assert project.doit("model-verify", "--full", code=1)
    return project


@pytest.mark.parametrize("asked", [["--older-than", "1d"], ["--older-than", "1d", "tiny"]])
def test_what_failed_is_told_every_night_until_it_is_mended(rotten, asked):
    for _ in range(2):
        out = rotten.doit("model-verify", "--full", *asked, code=1).out
        assert "FAIL  tiny  failed before and was not read again: the bytes changed" in out
        assert "1 failed before" in out
        assert verify(rotten, "--full", *asked, code=1)["still_failed"] == ["tiny"]
    rotten.doit("model-verify", "--full", "--older-than", "1d", "sound")
    rotten.add_tiny("tiny.gguf")
    rotten.provision()
    rotten.doit("model-verify", "--full", *asked)


def test_what_failed_and_is_left_for_the_next_audit_is_told(rotten):
    set_times(rotten, sound=ago(days=9), tiny=ago(days=2))
    found = verify(rotten, "--full", "--max-bytes", "1", code=1)
    assert names(found) == ["sound"]
    assert found["still_failed"] == found["left"] == ["tiny"]


def test_a_retired_model_that_failed_is_red_no_more(rotten):
    rotten.doit("model-retire", "tiny")
    rotten.doit("model-verify", "--full", "--older-than", "1d")

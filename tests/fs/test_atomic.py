"""Whole files or none."""

import os
import shlex
import stat
import subprocess
import sys
import threading

import pytest

from model_provisioner.fs.atomic import discard_left, drafted, remove_all_durably, write_atomically
from model_provisioner.fs.read import read_if_there
from model_provisioner.errors import StorageError
from tests.support.project import read_only


def test_a_file_is_made_with_its_folders_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "x.json"
    write_atomically(str(path), b"one")
    write_atomically(str(path), b"2")
    assert path.read_bytes() == b"2"
    assert os.listdir(path.parent) == ["x.json"]


def test_writers_at_the_same_time_leave_one_of_their_files_whole(tmp_path):
    path = tmp_path / "x.json"
    contents = [bytes([65 + n]) * 100_000 for n in range(8)]
    threads = [
        threading.Thread(target=lambda data=data: [write_atomically(str(path), data) for _ in range(10)])
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_a_killed_writer_left_is_used_by_the_next(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    script = "import os, sys; from model_provisioner.fs import atomic, root\nroot.Folder.rename = lambda *_: os.kill(os.getpid(), 9)\natomic.write_atomically(sys.argv[1], b'half')"
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == [".x.json.tmp", "x.json"]
    write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x.json"]


def test_who_has_nothing_to_write_removes_what_a_killed_writer_left_and_nothing_else(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    discard_left(str(path))
    (tmp_path / ".x.json.tmp").write_bytes(b"half")
    discard_left(str(path))
    assert os.listdir(tmp_path) == ["x.json"]
    os.mkfifo(tmp_path / ".x.json.tmp")
    discard_left(str(path))
    discard_left(str(tmp_path / "not here" / "x.json"))
    assert sorted(os.listdir(tmp_path)) == [".x.json.tmp", "x.json"]


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    os.symlink("victim", tmp_path / ".x.json.tmp")
    with pytest.raises(StorageError):
        write_atomically(str(tmp_path / "x.json"), b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StorageError) as caught:
        write_atomically(str(tmp_path / "x.json"), b"new")
    assert str(caught.value) == (
        "a file could not be written\n"
        f"  where     {tmp_path}/x.json\n"
        "  expected  a file or folder that we can write\n"
        "  found     Is a directory\n"
        "  fix       a folder has the name of this file: rename it"
    )
    assert os.listdir(tmp_path) == ["x.json"]


def everything(folder):
    return sorted(
        os.path.relpath(os.path.join(where, name), folder) for where, _, names in os.walk(folder) for name in names
    )


def test_many_files_at_once(tmp_path):
    (tmp_path / "b.json").write_bytes(b"a longer one that was there before")
    files = {str(tmp_path / name): name.encode() for name in ("b.json", "a.json", "new/deep/c.json", "new/d.json")}
    with drafted(files) as (drafts, errors):
        assert [draft.path for draft in drafts] == sorted(files)
        assert errors == {}
        assert (tmp_path / "b.json").read_bytes() == b"a longer one that was there before"
        statuses = {draft.path: draft.publish() for draft in drafts}
    assert {path: read_if_there(path) for path in files} == files
    assert everything(tmp_path) == ["a.json", "b.json", "new/d.json", "new/deep/c.json"]
    assert all(os.path.samestat(os.stat(path), status) for path, status in statuses.items())
    assert {path: os.stat(path).st_ctime_ns for path in files} == {p: s.st_ctime_ns for p, s in statuses.items()}


def test_what_is_not_published_is_gone(tmp_path):
    files = {str(tmp_path / name): b"new" for name in "abc"}
    (tmp_path / "c").write_bytes(b"old")
    with drafted(files) as (drafts, _):
        assert everything(tmp_path) == [".a.tmp", ".b.tmp", ".c.tmp", "c"]
        drafts[0].publish()
    assert everything(tmp_path) == ["a", "c"]
    with pytest.raises(KeyboardInterrupt), drafted(files):
        raise KeyboardInterrupt
    assert everything(tmp_path) == ["a", "c"]
    assert (tmp_path / "c").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (
            lambda folder: (folder / ".b.json.tmp").mkdir(parents=True),
            "  where     {}/sub/b.json\n"
            "  expected  a file or folder that we can write\n"
            "  found     Is a directory\n"
            "  fix       a folder has the name of this file: rename it",
        ),
        (
            lambda folder: folder.write_bytes(b""),
            "  where     {}/sub/b.json\n"
            "  expected  a file or folder that we can write\n"
            "  found     Not a directory\n"
            "  fix       a file has the name of a folder in this path: rename it",
        ),
        (
            lambda folder: (folder.mkdir(), (folder / ".b.json.tmp").symlink_to("/dev/null")),
            "  where     {}/sub/.b.json.tmp\n"
            "  expected  a file or folder of our own\n"
            "  found     a link to /dev/null, which was left as it is\n"
            "  fix       remove it, or name the real folder in MODEL_PROVISIONER_RUNTIME_DIR",
        ),
    ],
)
def test_one_of_many_that_can_not_be_written_keeps_no_other_back(tmp_path, harm, told):
    harm(tmp_path / "sub")
    before = everything(tmp_path)
    files = {str(tmp_path / name): b"new" for name in ("a.json", "sub/b.json", "c.json")}
    with drafted(files) as (drafts, errors):
        assert [draft.path for draft in drafts] == [f"{tmp_path}/a.json", f"{tmp_path}/c.json"]
        assert {path: str(error) for path, error in errors.items()} == {
            f"{tmp_path}/sub/b.json": f"a file could not be written\n{told.format(tmp_path)}"
        }
        for draft in drafts:
            draft.publish()
    assert everything(tmp_path) == sorted([*before, "a.json", "c.json"])


def test_a_folder_in_the_place_of_one_file_is_told_when_that_is_published(tmp_path):
    (tmp_path / "b").mkdir()
    with drafted({str(tmp_path / name): b"new" for name in "abc"}) as (drafts, errors):
        assert errors == {}
        for draft in drafts:
            if draft.path == f"{tmp_path}/b":
                with pytest.raises(StorageError, match="a folder has the name of this file: rename it"):
                    draft.publish()
            else:
                draft.publish()
    assert everything(tmp_path) == ["a", "c"]


def test_nothing_is_published_into_a_folder_that_is_no_longer_at_its_path(tmp_path):
    """Who waited for the locks of the handoffs in between would report a file that is not there."""
    path = tmp_path / "engines/x.json"
    with drafted({str(path): b"new"}) as (drafts, _):
        os.rename(path.parent, tmp_path / "moved")
        with pytest.raises(StorageError, match="No such file or directory"):
            drafts[0].publish()
        path.parent.mkdir()
        with pytest.raises(StorageError) as caught:
            drafts[0].publish()
    assert str(caught.value) == (
        "a file could not be written\n"
        f"  where     {path}\n"
        "  expected  a file or folder that we can write\n"
        "  found     another folder took the place of the one that it was written in\n"
        "  fix       run again"
    )
    assert everything(tmp_path) == []


def test_a_folder_may_be_renamed_if_a_link_leads_to_it_then(tmp_path):
    """So is a folder moved to another disk while a program has it open."""
    path = tmp_path / "engines/x.json"
    with drafted({str(path): b"new"}) as (drafts, _):
        os.rename(path.parent, tmp_path / "moved")
        os.symlink("moved", path.parent)
        drafts[0].publish()
    assert path.read_bytes() == b"new"


DRAFT_ALL = (
    "import os, sys\n"
    "from model_provisioner.fs.atomic import drafted\n"
    "with drafted({path: b'x' * int(sys.argv[1]) for path in sys.argv[2:]}) as (drafts, errors):\n"
    "    for draft in drafts:\n"
    "        draft.publish()\n"
    "for path, error in errors.items():\n"
    "    print(os.path.basename(path), error.found, sep=': ')\n"
)


@pytest.mark.parametrize(
    ("mount", "size", "said"),
    [
        (read_only, 1, ["a: Read-only file system", "c: Read-only file system"]),
        # Two blocks on a disk of two: the first file takes one, the second one finds one of two that it needs.
        (
            lambda folder: f"mount -t tmpfs -o size=8k tmpfs {shlex.quote(str(folder))}",
            5000,
            ["c: No space left on device"],
        ),
    ],
)
def test_a_disk_that_takes_some_files_not(tmp_path, mount, size, said):
    (tmp_path / "disk").mkdir()
    paths = [str(tmp_path / name) for name in ("disk/a", "b", "disk/c")]
    command = shlex.join([sys.executable, "-c", DRAFT_ALL, str(size), *paths])
    left = f"{mount(tmp_path / 'disk')} && {command} && ls -A {shlex.quote(str(tmp_path / 'disk'))}"
    run = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", left], capture_output=True, text=True, check=True
    )
    written = [] if len(said) == 2 else ["a"]
    assert run.stdout.splitlines() == [*said, *written]
    assert everything(tmp_path) == ["b"]


@pytest.mark.parametrize("letter", ["x", "ü", "語", "😀"])
def test_names_as_long_as_names_may_be(tmp_path, letter):
    """Those that differ only where their temp files' names are cut must not wait for each other."""
    long = letter * (254 // len(letter.encode()))
    files = {str(tmp_path / (long + end)): end.encode() for end in "12"}
    with drafted(files) as (drafts, errors):
        assert errors == {}
        assert all(len(os.fsencode(name)) <= 255 for name in os.listdir(tmp_path))
        for draft in drafts:
            draft.publish()
    assert {path: read_if_there(path) for path in files} == files
    assert len(everything(tmp_path)) == 2


def test_writers_of_many_files_at_the_same_time_do_not_wait_for_each_other_for_ever(tmp_path):
    paths = [str(tmp_path / f"{number}") for number in range(20)]
    contents = [bytes([65 + number]) * 5000 for number in range(6)]

    def write(data, order):
        for _ in range(5):
            with drafted(dict.fromkeys(order, data)) as (drafts, errors):
                assert errors == {}
                for draft in drafts:
                    draft.publish()

    threads = [
        threading.Thread(target=write, args=(data, paths[::-1] if number % 2 else paths), daemon=True)
        for number, data in enumerate(contents)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert len({read_if_there(path) for path in paths}) == 1
    assert everything(tmp_path) == sorted(str(number) for number in range(20))


def test_removing(tmp_path):
    (tmp_path / "x").touch()
    (tmp_path / "y").touch()
    paths = [str(tmp_path / name) for name in ("x", "no/x", "y/x", "none")]
    assert remove_all_durably(paths) == dict(zip(paths, (True, False, False, False), strict=True))
    assert remove_all_durably(paths[:1]) == {paths[0]: False}
    kept = remove_all_durably([str(tmp_path), str(tmp_path / "y")])
    assert isinstance(kept[str(tmp_path)], StorageError)
    assert kept[str(tmp_path / "y")] is True


def test_reading_what_may_not_be_there(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    os.mkfifo(tmp_path / "fifo")
    assert read_if_there(str(tmp_path / "x")) == b"123"
    assert read_if_there(str(tmp_path / "x"), limit=2) is None
    assert read_if_there(str(tmp_path / "none")) is None
    assert read_if_there(str(tmp_path)) is None
    assert read_if_there(str(tmp_path / "fifo")) is None


@pytest.fixture
def synced(monkeypatch):
    """The paths of the files and folders that were synced, in order."""
    found = []

    def fsync(fd, real=os.fsync):
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors have no names here")
def test_the_folder_of_a_published_file_is_synced_after_it_once_for_many(tmp_path, synced):
    """A power cut does not undo the rename."""
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    paths = {str(tmp_path / folder / name): b"x" for folder in ("a", "b", "c") for name in ("1", "2", "3")}
    with drafted(paths) as (drafts, errors):
        assert not errors
        files = len(synced)
        for draft in drafts:
            if "/c/" not in draft.path:
                draft.publish()
        assert len(synced) == files == 9
    assert synced[files:] == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_folder_that_fails_as_it_is_synced_is_an_error(tmp_path, monkeypatch):
    def fsync(fd, real=os.fsync):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError) as caught:
        write_atomically(str(tmp_path / "x"), b"x")
    assert caught.value.where == str(tmp_path)

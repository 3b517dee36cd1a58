"""The snapshot: what was written is compared, file by file; a damaged one or another's says nothing."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.records.snapshot import Snapshot, parse, render
from model_provisioner.records.stat_snapshot import MAGIC, columns_of, same_entries

UNSIGNED = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=9).filter(
    lambda text: not any("\ud800" <= each <= "\udc7f" or "\udd00" <= each <= "\udfff" for each in text)
)
TIME = st.integers(-(2**63), 2**63 - 1)
SEEN = st.tuples(TEXT, UNSIGNED, UNSIGNED, UNSIGNED, TIME, TIME)


def seen(path):
    found = os.stat(path)
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def snapshot(files, **fields):
    given = {
        "key": "k",
        "doit": "d",
        "catalog": "7",
        "catalog_file": "c",
        "links": [],
        "names": [str(n) for n in range(len(files))],
        "retired": [],
        "left": 0,
    }
    return Snapshot(**{**given, "files": files, **fields})


def same(data):
    """Return the entries of a snapshot whose files are as they were."""
    return same_entries(columns_of(data))


@pytest.fixture
def files(tmp_path):
    for name in ("a", "b", "c\nd", os.fsdecode(b"\xff")):
        (tmp_path / name).write_text(name, errors="surrogateescape")
    return sorted(tmp_path.iterdir())


@given(
    st.lists(st.tuples(TEXT, st.lists(SEEN, min_size=1, max_size=3)), max_size=4),
    st.lists(st.tuples(TEXT, TEXT), max_size=2),
    st.lists(TEXT, max_size=2),
    st.integers(0, 9),
)
def test_what_was_written_is_read(entries, links, retired, left):
    names, files = [name for name, _ in entries], [files for _, files in entries]
    one = snapshot(files, names=names, links=links, retired=retired, left=left)
    assert parse(render(one)) == one


def test_entries_are_as_they_were_or_left(files):
    data = render(snapshot([[seen(files[0]), seen(files[1])], [seen(files[2])], [seen(files[3])]]))
    assert same(data) == ["0", "1", "2"]
    os.utime(files[1], (1, 1))
    assert same(data) == ["1", "2"]
    files[3].unlink()
    assert same(data) == ["1"]


@pytest.mark.parametrize("change", ["mtime", "ctime", "inode", "size", "gone", "folder"])
def test_every_part_of_a_stat_counts(tmp_path, change):
    path = tmp_path / "x"
    path.write_text("x")
    times = os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns
    data = render(snapshot([[seen(path)]]))
    if change == "mtime":
        os.utime(path, (1, 1))
    elif change == "ctime":
        os.chmod(path, 0o600)
        os.chmod(path, 0o644)
        os.utime(path, ns=times)
    elif change == "inode":
        (tmp_path / "y").write_text("x")
        os.utime(tmp_path / "y", ns=times)
        os.replace(tmp_path / "y", path)
    elif change == "size":
        path.write_text("xy")
        os.utime(path, ns=times)
    else:
        path.unlink()
        if change == "folder":
            path.mkdir()
    assert same(data) == []


def test_a_link_that_leads_elsewhere_voids_it(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    data = render(snapshot([], links=[(str(link), str(tmp_path / "one"))]))
    assert same(data) == []
    link.unlink()
    link.symlink_to("two")
    assert same(data) is None


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_one_says_nothing(place, byte):
    data = bytearray(render(snapshot([[("/x", 1, 2, 3, 4, 5)]])))
    place %= len(data)
    if data[place] == byte:
        byte ^= 1
    data[place] = byte
    assert parse(bytes(data)) is None
    assert columns_of(bytes(data)) is None
    assert parse(bytes(data[:place])) is None


@pytest.mark.parametrize("data", [b"", MAGIC, b"garbage" * 100], ids=["empty", "cut off", "garbage"])
def test_another_file_says_nothing(data):
    assert parse(data) is None
    assert columns_of(data) is None

"""The keyed fingerprint: what it is, and that its key is the user's alone, drawn once, and costs time at the most."""

import hashlib
import multiprocessing
import os
import stat
from itertools import pairwise

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import StorageError
from model_provisioner.hashing.fingerprint import SEGMENT, Fingerprint, FingerprintKey, Lane, load_key

KEY = FingerprintKey.drawn()


def plainly(key, data, segment):
    """The fingerprint by its definition."""
    parts = [data[at : at + segment] for at in range(0, len(data), segment)]
    total = b"".join(xxhash.xxh3_128_digest(lane.prefix + part, seed=lane.seed) for part in parts for lane in key.lanes)
    return f"{key.name}:{hashlib.sha256(total + len(data).to_bytes(8, 'little')).hexdigest()}"


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_the_fingerprint_does_not_depend_on_how_the_bytes_are_cut(data, cuts):
    xxh3 = Fingerprint(KEY)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(places):
        xxh3.update(memoryview(data)[begin:end])
    assert xxh3.text() == plainly(KEY, data, SEGMENT)


def test_segments_have_64_mib():
    """The fingerprints in a memo stay what they are."""
    data = bytes((64 << 20) + 1)
    xxh3 = Fingerprint(KEY)
    xxh3.update(memoryview(data))
    assert xxh3.text() == plainly(KEY, data, 64 << 20)


def test_every_part_of_the_key_counts():
    one, two = KEY.lanes
    others = [
        FingerprintKey((Lane(one.seed ^ 1, one.prefix), two)),
        FingerprintKey((Lane(one.seed, one.prefix + b"x"), two)),
        FingerprintKey((one, Lane(two.seed ^ 1, two.prefix))),
        FingerprintKey((one, Lane(two.seed, two.prefix + b"x"))),
    ]
    totals = {plainly(key, b"bytes", SEGMENT).partition(":")[2] for key in (KEY, *others)}
    assert len(totals) == 5
    for key in others:
        xxh3 = Fingerprint(key)
        xxh3.update(memoryview(b"bytes"))
        assert xxh3.text() == plainly(key, b"bytes", SEGMENT)
        assert not KEY.took(xxh3.text())


def test_keys_are_drawn_at_random():
    keys = [FingerprintKey.drawn() for _ in range(200)]
    assert len({lane.seed for key in keys for lane in key.lanes}) == 400
    sizes = [len(lane.prefix) for key in keys for lane in key.lanes]
    assert max(sizes) < 1024
    assert len(set(sizes)) > 200


def test_what_prints_a_key_tells_nothing_of_it():
    assert repr(KEY) == "FingerprintKey()"
    assert [repr(lane) for lane in KEY.lanes] == ["Lane()", "Lane()"]


# ---- where it is kept


def file_of(state):
    return state / "fingerprint.key"


def test_the_key_is_drawn_once_and_is_the_users_alone(tmp_path):
    state = tmp_path / "state"
    key = load_key(str(state), read_only=False)
    assert load_key(str(state), read_only=False) == load_key(str(state), read_only=True) == key
    assert stat.S_IMODE(file_of(state).stat().st_mode) == 0o600
    assert os.listdir(state) == ["fingerprint.key"]


def test_a_reader_leaves_nothing_behind(tmp_path):
    state = tmp_path / "state"
    assert load_key(str(state), read_only=True) != load_key(str(state), read_only=True)
    assert not state.exists()


def _load(state, start, found):
    start.wait()
    found.put(load_key(state, read_only=False).name)


def test_many_processes_that_find_no_key_agree_on_one(tmp_path):
    fork = multiprocessing.get_context("fork")
    start, found = fork.Barrier(8), fork.Queue()
    processes = [fork.Process(target=_load, args=(str(tmp_path / "state"), start, found)) for _ in range(8)]
    for process in processes:
        process.start()
    names = {found.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert names == {load_key(str(tmp_path / "state"), read_only=True).name}


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_key_is_none_and_is_drawn_anew(tmp_path, harm):
    key = load_key(str(tmp_path), read_only=False)
    data = file_of(tmp_path).read_bytes()
    broken = {"cut": data[:-1], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b"", "foreign": b"x" * 100}[harm]
    file_of(tmp_path).write_bytes(broken)
    new = load_key(str(tmp_path), read_only=False)
    assert new.name != key.name
    assert load_key(str(tmp_path), read_only=False) == new
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_key_is_refused_and_left(tmp_path):
    (tmp_path / "other").mkdir()
    load_key(str(tmp_path / "other"), read_only=False)
    planted = tmp_path / "other/fingerprint.key"
    before = planted.read_bytes()
    file_of(tmp_path).symlink_to(planted)
    for read_only in (True, False):
        with pytest.raises(StorageError) as caught:
            load_key(str(tmp_path), read_only=read_only)
        assert str(caught.value) == (
            "the key of the fingerprints can't be used\n"
            f"  where     {file_of(tmp_path)}\n"
            "  expected  a file or folder of our own\n"
            f"  found     a link to {planted}, which was left as it is\n"
            "  fix       remove it, or name the real folder in MODEL_PROVISIONER_STATE_DIR"
        )
    assert planted.read_bytes() == before
    assert file_of(tmp_path).is_symlink()


def test_where_no_key_can_be_kept_one_holds_for_the_process(tmp_path):
    (tmp_path / "state").write_bytes(b"no folder")
    assert load_key(str(tmp_path / "state"), read_only=False).lanes

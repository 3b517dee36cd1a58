"""Batches: what is provisioned together and in which order, and what is told of each entry."""

import hashlib
import json
import os
import resource
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import active_count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_provisioner.hashing.streaming import BUFFER
from model_provisioner.store.store import Store
from model_provisioner.errors import DigestMismatchError, ModelNotFoundError
from model_provisioner.config.entries import Entry
from model_provisioner.references.reference import ModelRef
from model_provisioner.engine.batches import BYTES, MODELS, TINY, cut, together
from model_provisioner.engine.entry_run import EntryRun
from model_provisioner.engine.hand_off import hand_off_read
from model_provisioner.engine.run import Run
from model_provisioner.engine.up_to_date import reasons
from model_provisioner.engine.workspace import open_workspace

from tests.support.examples import examples
from tests.support.remote import wait_until

LARGE = BUFFER + 1
WORK = SimpleNamespace(store=Store("/nothing/was/fetched"))


def entry_of(name: str, ref: str) -> EntryRun:
    return EntryRun(
        Entry(
            name=name,
            ref=ModelRef.parse(ref),
            expected=None,
            strict=True,
            engine="llamacpp",
            handoff=f"/{name}",
            line=1,
        )
    )


def make(path: Path, size: int) -> str:
    """Make a file of a size that takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
    return str(path)


def names(batches) -> list[str]:
    """The names of the entries of each batch, in their order."""
    return [" ".join(entry.name for entry in batch) for batch in batches]


# ---- how entries are cut into batches


@pytest.mark.parametrize(
    ("sizes", "shared", "tiny"),
    [
        ({}, [], []),
        ({"a": 0}, [], ["a"]),
        ({"a": TINY}, [], ["a"]),
        ({"a": TINY + 1}, ["a"], []),
        ({"a": BUFFER}, ["a"], []),
        ({"a": LARGE}, ["a"], []),
        ({"b": 1, "a": 2, "c": 3}, [], ["a b c"]),
        ({"b": TINY + 1, "a": BUFFER}, ["a b"], []),
        ({"a": LARGE, "b": LARGE + 2, "c": LARGE + 1}, ["b", "c", "a"], []),
        ({"b": LARGE, "a": LARGE}, ["b", "a"], []),
        ({"a": 1, "b": LARGE, "c": TINY + 1, "d": 2, "e": TINY + 2, "f": 9 * LARGE}, ["f", "b", "c e"], ["a d"]),
    ],
)
def test_large_ones_come_first_and_alone_the_largest_before_all_and_tiny_ones_are_apart(tmp_path, sizes, shared, tiny):
    entries = [entry_of(name, make(tmp_path / name, size)) for name, size in sizes.items()]
    *found, _ = cut(WORK, entries, 1)
    assert (names(found[0]), names(found[1])) == (shared, tiny)


def test_a_batch_reads_no_more_than_so_many_bytes(tmp_path):
    fits = BYTES // BUFFER
    entries = [entry_of(f"m{number:03}", make(tmp_path / f"{number:03}", BUFFER)) for number in range(2 * fits + 1)]
    shared, tiny, _ = cut(WORK, entries, 1)
    assert [len(batch) for batch in shared] == [fits, fits, 1]
    assert tiny == []


def test_a_batch_has_no_more_than_so_many_models(tmp_path):
    entries = [entry_of(f"m{number:03}", make(tmp_path / f"{number:03}", 1)) for number in range(2 * MODELS + 1)]
    shared, tiny, _ = cut(WORK, entries, 1)
    assert shared == []
    assert [len(batch) for batch in tiny] == [MODELS, MODELS, 1]


@pytest.mark.parametrize(
    ("files", "workers", "small", "tiny"),
    [(4 * MODELS, 1, MODELS, MODELS), (4 * MODELS, 2, MODELS // 2, MODELS), (256, 4, 16, 64), (256, 1000, 1, 64)],
)
def test_batches_at_the_same_time_open_no_more_files_than_a_process_may(tmp_path, files, workers, small, tiny):
    entries = [
        entry_of(f"{kind}{number:03}", make(tmp_path / f"{kind}{number:03}", size))
        for kind, size in (("small", TINY + 1), ("tiny", 1))
        for number in range(MODELS)
    ]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    try:
        *found, _ = cut(WORK, entries, workers)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (len(found[0][0]), len(found[1][0])) == (small, tiny)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (4 * MODELS, [[MODELS], [1, 2, MODELS - 3], [1, MODELS - 1], [2]]),
        (16, [[MODELS], [1, 2], [MODELS - 3], [1], [MODELS - 1], [2]]),
    ],
)
def test_what_was_read_is_handed_off_together_as_far_as_a_process_may_open_files(files, parts):
    sizes = [MODELS, 1, 2, MODELS - 3, 1, MODELS - 1, 2]
    done = [((None,) * size, None) for size in sizes]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
    try:
        found = [[len(batch) for batch, _ in some] for some in together(done)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == parts


def test_models_of_one_folder_are_together(tmp_path):
    """There is one lock a folder."""
    entries = [entry_of(f"{name}{folder}", make(tmp_path / folder / name, 1)) for name in "ab" for folder in "xy"]
    assert names(cut(WORK, entries, 1)[1]) == ["ax bx ay by"]


def test_sets_count_with_all_their_files_and_what_is_not_there_with_none(tmp_path):
    make(tmp_path / "folder/a", BUFFER)
    make(tmp_path / "folder/sub/b", BUFFER)
    for number in (1, 2):
        make(tmp_path / f"split-{number:05}-of-00002.gguf", BUFFER - 1)
    make(tmp_path / "half-00001-of-00002.gguf", LARGE)
    make(tmp_path / "small folder/a", TINY + 1)
    make(tmp_path / "real", LARGE)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    make(tmp_path / "large", 10 * LARGE)
    refs = [
        "large",
        "folder",
        "split-00001-of-00002.gguf",
        "half-00001-of-00002.gguf",
        "small folder",
        "link",
        "loop",
        "empty",
        "fifo",
        "gone",
    ]
    entries = [entry_of(ref.partition("-")[0], str(tmp_path / ref)) for ref in refs]
    shared, tiny, _ = cut(WORK, [*entries, entry_of("remote", "hf:org/repo/x.gguf")], 1)
    assert names(shared) == ["large", "folder", "split", "link", "small folder"]
    assert names(tiny) == ["remote empty fifo gone half loop"]


_serial = count()


@given(
    sizes=st.lists(
        st.tuples(
            st.sampled_from([0, 1, TINY, TINY + 1, BUFFER // 2, BUFFER, LARGE, 3 * LARGE]),
            st.sampled_from(["", "folder/", "another/"]),
            st.integers(1, 60),
        ),
        max_size=12,
    ),
    workers=st.integers(0, 80).map(lambda number: number or 1),
)
@settings(deadline=None, max_examples=examples(30))
def test_every_entry_is_in_one_batch_that_keeps_to_the_limits(tmp_path_factory, sizes, workers):
    folder = tmp_path_factory.getbasetemp() / f"batches {next(_serial)}"
    entries, size_of = [], {}
    for size, where, times in sizes:
        path = make(folder / f"{where}{len(size_of)}", size)
        for _ in range(times):
            entries.append(entry_of(f"m{len(entries)}", path))
            size_of[entries[-1].name] = size
    shared, tiny, _ = cut(WORK, entries, workers)
    assert Counter(entry.name for batch in [*shared, *tiny] for entry in batch) == dict.fromkeys(size_of, 1)
    totals = [[size_of[entry.name] for entry in batch] for batch in shared]
    large = [total for total in totals if max(total) > BUFFER]
    assert totals[: len(large)] == large == sorted(large, reverse=True)
    assert all(len(batch) == 1 for batch in large)
    assert all(0 < len(batch) <= MODELS and sum(batch) <= BYTES for batch in totals[len(large) :])
    assert all(size > TINY for batch in totals for size in batch)
    assert all(0 < len(batch) <= MODELS for batch in tiny)
    assert all(size_of[entry.name] <= TINY for batch in tiny for entry in batch)
    for batches in (shared[len(large) :], tiny):
        paths = [record.entry.ref.path for batch in batches for record in batch]
        assert paths == sorted(paths)


# ---- what comes of them


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A function that opens a project of models, given by name with their bytes."""
    monkeypatch.chdir(tmp_path)

    def opened(models: dict[str, bytes | None], **fields: dict):
        entries = {}
        for name, data in models.items():
            if data is not None:
                Path(f"{name}.bin").write_bytes(data)
            entries[name] = {"model_ref": f"{name}.bin", **fields.get(name, {})}
        defaults = {"handoff": "{runtime_dir}/engines/{name}.json"}
        Path("models.yaml").write_text(json.dumps({"defaults": defaults, "models": entries}))
        return open_workspace("models.yaml")

    return opened


def provisioned(work, workers=2, names=None):
    """Return the run, the names of each batch, and of each entry: whether its handoff changed, its error, or None."""
    run = Run(work)
    batches = [{record.name for record in batch} for batch in run.provision(names or work.config.entries, workers)]
    assert sum(map(len, batches)) == len(set().union(*batches))
    results = {
        name: record.error or (record.changed if record.published else None) for name, record in run.records.items()
    }
    return run, batches, results


def verified(run) -> dict:
    """What a run verified, by entry."""
    return {name: record.verification for name, record in run.records.items() if record.verification is not None}


MODELS_OF_ALL_SIZES = {
    "tiny": b"1",
    "tiny2": b"2",
    "small": b"3" * (TINY + 1),
    "large": b"4" * LARGE,
    "larger": b"5" * 3 * LARGE,
}


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_results_come_batch_by_batch_and_by_entry(work, workers):
    project = work(MODELS_OF_ALL_SIZES)
    run, batches, results = provisioned(project, workers)
    assert results == dict.fromkeys(MODELS_OF_ALL_SIZES, True)
    expected = [{"larger"}, {"large"}, {"small"}, {"tiny", "tiny2"}]
    assert sorted(map(sorted, batches)) == sorted(map(sorted, expected))
    if workers == 1:
        assert [batch for batch in batches if batch != expected[-1]] == expected[:-1]
    for name, entry in project.config.entries.items():
        assert json.loads(Path(entry.handoff).read_bytes())["metadata"]["digest"]["value"] == (
            hashlib.sha256(MODELS_OF_ALL_SIZES[name]).hexdigest()
        )
        assert verified(run)[name].how == "hashed"
        assert project.catalog.get(project.config.root, name).lifecycle == "Active"


def test_what_was_read_while_another_was_handed_off_is_handed_off_together(work, monkeypatch):
    project, threads, handed_off = work({f"m{number}": b"1" * LARGE for number in range(9)}), active_count(), []

    def waiting(work, readers):
        if not handed_off:
            wait_until(lambda: active_count() == threads)
        handed_off.append(sum(len(reader.records) for reader in readers))
        hand_off_read(work, readers)

    monkeypatch.setattr("model_provisioner.engine.run.hand_off_read", waiting)
    _, batches, results = provisioned(project, 3)
    assert len(handed_off) == 2
    assert sum(handed_off) == len(batches) == 9
    assert results == dict.fromkeys(project.config.entries, True)


def test_an_error_is_the_result_of_its_entry_alone(work):
    project = work(
        {**MODELS_OF_ALL_SIZES, "gone": None},
        tiny2={"expected_digest": "sha256:" + "0" * 64},
        larger={"expected_digest": "sha256:" + "0" * 64},
        small={"expected_digest": "sha256:" + "0" * 64, "strict_verification": False},
    )
    run, _, results = provisioned(project)
    assert {name: type(result) for name, result in results.items()} == {
        "tiny": bool,
        "tiny2": DigestMismatchError,
        "small": bool,
        "large": bool,
        "larger": DigestMismatchError,
        "gone": ModelNotFoundError,
    }
    assert {path.stem for path in Path(".runtime/engines").iterdir()} == {"tiny", "small", "large"}
    assert verified(run).keys() == {"tiny", "small", "large"}


@contextmanager
def settled(monkeypatch):
    """Files that were written a moment ago count as at rest."""
    with monkeypatch.context() as patch:
        patch.setattr("model_provisioner.fs.clock.MARGIN_NS", -(10**12))
        yield


def test_only_what_is_missing_is_written(work, monkeypatch):
    with settled(monkeypatch):
        provisioned(work(MODELS_OF_ALL_SIZES))
        Path(".runtime/engines/small.json").unlink()
        Path(".runtime/digests/tiny.sha256").unlink()
        results = provisioned(open_workspace("models.yaml"))[2]
        assert results == {**dict.fromkeys(MODELS_OF_ALL_SIZES), "small": True, "tiny": False}
        assert Path(".runtime/digests/tiny.sha256").exists()


def test_what_another_process_provisioned_meanwhile_is_not_done_again(work, monkeypatch):
    """Both began when nothing was there; the other one was quicker with some models, or with some steps."""
    with settled(monkeypatch):
        models = {**MODELS_OF_ALL_SIZES, "unlike": b"6", "half": b"7", "early": b"8"}
        unlike = {"unlike": {"expected_digest": "sha256:" + "0" * 64, "strict_verification": False}}
        mine = work(models, **unlike)
        mine.load(mine.config.entries.values())
        assert all(reasons(mine, EntryRun(entry)) for entry in mine.config.entries.values())

        other = open_workspace("models.yaml")
        provisioned(other, names=[name for name in other.config.entries if name not in ("tiny2", "large")])
        Path(other.config.entries["half"].handoff).unlink()
        Path("early.bin").write_bytes(b"new bytes since then")
        log = Path(".runtime/provenance/models.jsonl")
        before = len(log.read_bytes().splitlines())

        run, _, results = provisioned(mine)
        assert results == {
            "tiny": None,
            "small": None,
            "larger": None,
            "tiny2": True,
            "large": True,
            "half": True,  # verified, and not handed off
            "unlike": False,  # told by each run: a mismatch is never current
            "early": True,
        }
        assert set(verified(run)) == {"tiny2", "large", "half", "unlike", "early"}
        assert verified(run)["half"].how == verified(run)["unlike"].how == "stat"
        assert verified(run)["early"].how == "hashed"
        new = [json.loads(line) for line in log.read_bytes().splitlines()[before:]]
        assert sorted(os.path.basename(line["path"]) for line in new) == ["early.bin", "large.bin", "tiny2.bin"]


@pytest.mark.parametrize("kind", ["folder", "split", "link"])
def test_sets_and_links_that_another_process_provisioned_are_not_done_again(work, monkeypatch, tiny_models, kind):
    with settled(monkeypatch):
        shards = sorted(tiny_models.glob("*-of-*.gguf"))
        for path in shards:
            Path(path.name).write_bytes(path.read_bytes())
        Path("folder").mkdir()
        Path("folder/x").write_bytes(b"x")
        Path("real").write_bytes(b"real")
        Path("link").symlink_to("real")
        ref = {"folder": "folder", "split": shards[0].name, "link": "link"}[kind]
        mine = work({"m": None}, m={"model_ref": ref})
        assert provisioned(work({"m": None}, m={"model_ref": ref}))[2] == {"m": True}
        assert provisioned(mine)[2] == {"m": None}


def test_under_rules_that_trust_no_memo_nobody_is_quicker(work, monkeypatch):
    with settled(monkeypatch):
        mine = work(MODELS_OF_ALL_SIZES)
        provisioned(open_workspace("models.yaml"))
        mine = replace(mine, rules=replace(mine.rules, full=True))
        run, _, results = provisioned(mine)
        assert None not in results.values()
        assert {found.how for found in verified(run).values()} == {"hashed"}


def test_nothing_to_provision(work):
    assert provisioned(work({}))[1:] == ([], {})


def test_what_nobody_waits_for_any_more_is_given_up(work):
    """The caller leaves after the first batch: a reading ends in the middle, and what did not begin does not begin."""
    models = {f"m{number}": bytes([number]) * LARGE for number in range(9)}
    project = work({**models, "tiny": b"1", "huge": None}, huge={"model_ref": "huge.bin"})
    make(Path("huge.bin"), 1 << 30)
    batches = Run(project).provision(project.config.entries, 2)
    first = next(batch for batch in batches if batch[0].name != "tiny")
    batches.close()
    assert [(record.published, record.changed) for record in first] == [(True, True)]
    there = {path.stem for path in Path(".runtime/engines").iterdir()} - {"tiny"}
    assert {record.name for record in first} <= there < set(project.config.entries) - {"huge"}
    assert project.catalog.get(project.config.root, "huge").lifecycle == "Pending"

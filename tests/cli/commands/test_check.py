"""`doit model-check`: twenty single edits and what it says of each, and that it changes nothing."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from model_provisioner.fs.sqlite import Database
from model_provisioner.operations.check import check, open_to_check
from model_provisioner.engine.events import silent
from tests.support.hub import Hub
from tests.support.project import TINY, Project, document, read_only, settle

NAMES = ("tiny", "held", "split", "folder")
BUILD = "run `doit provision`, which "
LOCK = "run `doit model-lock`, or take models.yaml and models.lock from version control"
LINKED = "held.gguf"


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def again(name: str, pinned: str = "") -> str:
    """What to do about other bytes; `pinned` is their digest where models.yaml names one, too."""
    edit = f'put   expected_digest: "sha256:{pinned}"   into models.yaml, then ' if pinned else ""
    return (
        "get the model again from its source, or take models.lock from version control; "
        f"if what is here is right, {edit}run `doit model-lock --upgrade {name}`"
    )


@pytest.fixture(scope="module")
def locked(tmp_path_factory, tiny_models) -> Project:
    """Four models, all of them locked, provisioned and at rest; each test leaves them so."""
    base = tmp_path_factory.mktemp("check")
    project = Project(base / "a project", base / "state")
    project.root.mkdir()
    project.add_tiny("models/tiny.gguf")
    project.write("blobs/one.gguf", (tiny_models / "tiny-llama-F32.gguf").read_bytes())
    project.write("blobs/two.gguf", (tiny_models / "tiny-llama-Q8_0.gguf").read_bytes())
    (project.root / LINKED).symlink_to("blobs/one.gguf")
    for shard in tiny_models.glob("tiny-llama-split-*.gguf"):
        project.write(f"split/{shard.name}", shard.read_bytes())
    project.write("folder/config.json", '{"model_type": "llama"}')
    project.write("folder/weights.bin", "weights")
    project.write("folder/words.txt", "one\ntwo\n")
    first = min(path.name for path in (project.root / "split").iterdir())
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
        "models:\n"
        f"  tiny:\n    model_ref: models/tiny.gguf\n    expected_digest: sha256:{sha(project.root / 'models/tiny.gguf')}\n"
        f"  held: {{model_ref: {LINKED}}}\n"
        f"  split: {{model_ref: split/{first}}}\n"
        "  folder: {model_ref: folder, engine: vllm}\n"
    )
    settle()
    project.doit("model-lock")
    project.provision()
    assert checked(project, code=0)["same"]
    return project


def checked(project: Project, *args: str, code: int | None = None) -> dict:
    answer = project.doit("model-check", "--json", *args, code=code)
    found = document(answer)["result"]
    assert answer.code == (0 if found["same"] else 1)
    assert answer.err == ""
    return found


def told(found: dict) -> list[tuple[str, ...]]:
    """Return what differs: entry, kind, and the four or five texts."""
    fields = ("kind", "what", "where", "expected", "found", "fix")
    rows = [(model["name"], each) for model in found["checked"] for each in model["differences"]]
    rows += [("-", each) for each in found["left_over"]]
    return [(name, *(each[field] or "" for field in fields)) for name, each in rows]


# ---- edits: each of them is undone when it is left, whatever happens meanwhile


def undone(edit):
    @contextlib.contextmanager
    def run(*args):
        steps = edit(*args)
        next(steps)
        try:
            yield
        finally:
            assert next(steps, None) is None

    return run


@undone
def bytes_of(path: Path, change):
    """Change the bytes of a file, in place."""
    before, times = path.read_bytes(), os.stat(path)
    path.write_bytes(change(before))
    yield
    path.write_bytes(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def text(old: str, new: str):
    def change(data: bytes) -> bytes:
        assert data.count(old.encode()) == 1, data
        return data.replace(old.encode(), new.encode())

    return change


@undone
def rot(project: Project, path: Path):
    """Flip a byte so that no stat call tells: the memo believes what it knew."""
    old = os.stat(path)
    with bytes_of(path, flip):
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        with contextlib.closing(sqlite3.connect(project.state / "memo.db")) as memo, memo:
            memo.execute("UPDATE file SET ctime_ns = ? WHERE path = ?", (str(os.stat(path).st_ctime_ns), str(path)))
        assert checked(project)["same"]
        yield


@undone
def gone(path: Path, away: str = "away"):
    path.rename(path.parent / away)
    yield
    (path.parent / away).rename(path)


@undone
def added(path: Path, data: bytes):
    path.write_bytes(data)
    yield
    path.unlink()


@undone
def swapped(one: Path, two: Path):
    def swap():
        one.rename(one.with_name("away"))
        two.rename(one)
        one.with_name("away").rename(two)

    swap()
    yield
    swap()


@undone
def retargeted(link: Path, target: str):
    before = os.readlink(link)
    link.unlink()
    link.symlink_to(target)
    yield
    link.unlink()
    link.symlink_to(before)


@undone
def catalog(project: Project, name: str, change: str):
    """Change the row of an entry; `change` is a statement without its WHERE."""

    def opened():
        return contextlib.closing(sqlite3.connect(project.state / "catalog.db"))

    where = f"WHERE name = '{name}'"
    with opened() as database, database:
        (row,) = database.execute(f"SELECT * FROM model {where}").fetchall()
        assert database.execute(f"{change} {where}").rowcount == 1
    yield
    with opened() as database, database:
        database.execute(f"REPLACE INTO model VALUES ({', '.join('?' * len(row))})", row)


def lock_without(name: str):
    def change(data: bytes) -> bytes:
        lock = json.loads(data)
        del lock["models"][name]
        return json.dumps(lock).encode()

    return change


def shards(project: Project) -> list[Path]:
    return sorted((project.root / "split").iterdir())


def line_of(project: Project, name: str) -> int:
    lines = (project.root / "models.lock").read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.startswith(f'    "{name}": {{'))


# ---- the table: an edit, and the whole of what is said


def a_byte_that_no_stat_tells(p):
    path = p.root / "models/tiny.gguf"
    right, size = sha(path), f"{path.stat().st_size:,} bytes"
    wrong = hashlib.sha256(flip(path.read_bytes())).hexdigest()
    found = "tiny.gguf is not what models.lock says", f"{path}", f"sha256:{right}, {size}", f"sha256:{wrong}, {size}"
    return rot(p, path), [("tiny", "model", *found, again("tiny", wrong))]


def a_byte_with_a_new_mtime(p):
    path = p.root / "blobs/one.gguf"
    right, size = sha(path), f"{path.stat().st_size:,} bytes"
    wrong = hashlib.sha256(flip(path.read_bytes())).hexdigest()
    found = f"{LINKED} is not what models.lock says", f"{p.root / LINKED}", f"sha256:{right}, {size}"
    return bytes_of(path, flip), [("held", "model", *found, f"sha256:{wrong}, {size}", again("held"))]


def a_handoff_edited(p):
    path = p.root / ".runtime/engines/tiny.json"
    what = "the handoff is not what would be written", str(path), "metadata.ctx_max: 256", "metadata.ctx_max: 512"
    return bytes_of(path, text('"ctx_max": 256', '"ctx_max": 512')), [
        ("tiny", "handoff", *what, f"{BUILD}writes it again")
    ]


def a_handoff_written_in_another_way(p):
    path = p.root / ".runtime/engines/tiny.json"
    what = "the handoff is not what would be written", str(path), "the bytes that this version writes"
    found = [("tiny", "handoff", *what, "the same values in other bytes", f"{BUILD}writes it again")]
    return bytes_of(path, lambda data: json.dumps(json.loads(data)).encode()), found


def a_handoff_removed(p):
    path = p.root / ".runtime/engines/held.json"
    return gone(path), [
        ("held", "handoff", "the handoff is missing", str(path), "a handoff", "no file", f"{BUILD}writes it")
    ]


def notes_in_the_place_of_a_handoff(p):
    path = p.root / ".runtime/engines/held.json"
    words = "the place of the handoff is taken", str(path), "a handoff", "something else"
    return bytes_of(path, lambda _: b"notes"), [("held", "handoff", *words, "move it away and run `doit provision`")]


def a_checksum_file_edited(p):
    path = p.root / ".runtime/digests/folder.sha256"
    line = path.read_text().splitlines()[-1]
    words = "the checksum file is not what would be written", str(path), f"line 3: {line}", f"line 3: {line}x"
    return bytes_of(path, lambda data: data[:-1] + b"x\n"), [("folder", "checksums", *words, f"{BUILD}writes it")]


def a_checksum_file_removed(p):
    path = p.root / ".runtime/digests/folder.sha256"
    return gone(path), [
        (
            "folder",
            "checksums",
            "the checksum file is missing",
            str(path),
            "a checksum file",
            "no file",
            f"{BUILD}writes it",
        )
    ]


def a_lock_line_dropped(p):
    lock = p.root / "models.lock"
    words = "held is not in the lock file", str(lock), f"file:{LINKED}", "another, or none", LOCK
    target = p.root / ".runtime/engines/held.json"
    handoff = "the handoff is not what would be written", str(target)
    row = "the catalog's row of held is not what would be registered", str(p.state / "catalog.db")
    digest = sha(p.root / LINKED)
    return bytes_of(lock, lock_without("held")), [
        ("held", "lock", *words),
        ("held", "handoff", *handoff, 'metadata.verification: "warn"', 'metadata.verification: "pass"', f"{BUILD}writes it again"),
        (
            "held", "catalog", *row, 'expected: null, outcome: "warn"', f'expected: "sha256:{digest}", outcome: "pass"',
            f"{BUILD}registers it again",
        ),
    ]  # fmt: skip


def a_digest_in_the_lock_edited(p):
    path = p.root / LINKED
    right, size = sha(path), f"{path.stat().st_size:,} bytes"
    found = f"{LINKED} is not what models.lock says", str(path), f"sha256:{'0' * 64}, {size}", f"sha256:{right}, {size}"
    return bytes_of(p.root / "models.lock", text(right, "0" * 64)), [("held", "model", *found, again("held"))]


def a_size_in_the_lock_edited(p):
    path = p.root / "folder/words.txt"
    found = "words.txt is not what models.lock says", str(path.parent), f"sha256:{sha(path)}, 9 bytes"
    edit = bytes_of(p.root / "models.lock", text('"words.txt", "size": 8,', '"words.txt", "size": 9,'))
    return edit, [("folder", "model", *found, f"sha256:{sha(path)}, 8 bytes", again("folder"))]


def a_lock_line_that_no_entry_claims(p):
    lock = p.root / "models.lock"
    change = text("  tiny:\n", "  other:\n")
    line = line_of(p, "tiny")
    target, handoff = p.root / ".runtime/digests/tiny.sha256", p.root / ".runtime/engines/tiny.json"
    return bytes_of(p.root / "models.yaml", change), [
        ("other", "lock", "other is not in the lock file", str(lock), "file:models/tiny.gguf", "another, or none", LOCK),
        ("other", "handoff", "the handoff is missing", str(handoff.with_name("other.json")), "a handoff", "no file", f"{BUILD}writes it"),
        ("other", "checksums", "the checksum file is missing", str(target.with_name("other.sha256")), "a checksum file", "no file", f"{BUILD}writes it"),
        ("other", "catalog", "the catalog has no row of other", str(p.state / "catalog.db"), "a row", "none", f"{BUILD}registers it"),
        (
            "-", "lock", "tiny is in the lock file and not in models.yaml", f"{lock}:{line}", "the entries of models.yaml", "one more",
            "run `doit model-lock`, which drops it, or take models.yaml from version control",
        ),
        ("-", "checksums", "no entry claims this checksum file", str(target), "those of the entries of models.yaml", "one that an entry had which is gone", f"{BUILD}removes it"),
        ("-", "handoff", "no entry claims this handoff", str(handoff), "those of the entries of models.yaml", "one that an entry had which is gone", f"{BUILD}removes it"),
        (
            "-", "catalog", "the catalog has a row of tiny, which is not in models.yaml", str(p.state / "catalog.db"), "the entries of models.yaml", "one more",
            f"{BUILD}removes it",
        ),
    ]  # fmt: skip


def the_reference_changed(p):
    words = "held is locked by another reference than models.yaml has", str(p.root / "models.lock")
    path = p.root / "blobs/one.gguf"
    handoff = "the handoff is not what would be written", str(p.root / ".runtime/engines/held.json")
    row = "the catalog's row of held is not what would be registered", str(p.state / "catalog.db")
    target = p.root / ".runtime/digests/held.sha256"
    digest = sha(path)
    q = json.dumps
    here, there = q(f"local:{path}"), q(f"local:{p.root / LINKED}")
    return bytes_of(p.root / "models.yaml", text(f"{{model_ref: {LINKED}}}", "{model_ref: blobs/one.gguf}")), [
        ("held", "lock", *words, "file:blobs/one.gguf", "another, or none", LOCK),
        (
            "held", "handoff", *handoff,
            f'metadata.files[0].path: {q(str(path))}, metadata.verification: "warn", model.id: {here} and 1 more',
            f'metadata.files[0].path: {q(str(p.root / LINKED))}, metadata.verification: "pass", model.id: {there} and 1 more',
            f"{BUILD}writes it again",
        ),
        (
            "held", "checksums", "the checksum file is not what would be written", str(target),
            f"line 1: {digest}  {path}", f"line 1: {digest}  {p.root / LINKED}", f"{BUILD}writes it",
        ),
        (
            "held", "catalog", *row, f'expected: null, id: {here}, outcome: "warn" and 2 more',
            f'expected: "sha256:{digest}", id: {there}, outcome: "pass" and 2 more', f"{BUILD}registers it again",
        ),
    ]  # fmt: skip


def the_engine_changed(p):
    path = str(p.root / ".runtime/engines/folder.json")
    row = "the catalog's row of folder is not what would be registered", str(p.state / "catalog.db")
    return bytes_of(p.root / "models.yaml", text("engine: vllm", "engine: tgi")), [
        (
            "folder", "handoff", "the handoff is not what would be written", path,
            'metadata.engine: "tgi"', 'metadata.engine: "vllm"', f"{BUILD}writes it again",
        ),
        ("folder", "catalog", *row, 'engine: "tgi"', 'engine: "vllm"', f"{BUILD}registers it again"),
    ]  # fmt: skip


def a_shard_swapped_with_another(p):
    _, two, three = shards(p)
    words = f"{two.name} is not that shard of this model", str(two), "split.no 1", "split.no 2"
    fix = "get the shard again from where the others came from, and keep its name"
    return swapped(two, three), [("split", "model", *words, fix)]


def a_shard_removed(p):
    first, _, last = shards(p)
    words = f"a shard of the split is missing: {last.name}", str(last.parent), f"3 shards, {first.name} to {last.name}"
    return gone(last), [("split", "model", *words, "no such file", "get the shard again")]


def a_model_removed(p):
    path = p.root / "models/tiny.gguf"
    words = "there is no such file or folder", str(path), "a file or folder that you may read", "nothing"
    return gone(path), [("tiny", "model", *words, "check the path; a relative one starts at the folder of models.yaml")]


def a_link_retargeted(p):
    path, two = p.root / LINKED, p.root / "blobs/two.gguf"
    right, wrong = (f"sha256:{sha(each)}, {os.stat(each).st_size:,} bytes" for each in (path, two))
    return retargeted(path, "blobs/two.gguf"), [
        ("held", "model", f"{LINKED} is not what models.lock says", str(path), right, wrong, again("held"))
    ]


def a_file_added_to_a_folder(p):
    words = "new.txt is not what models.lock says", str(p.root / "folder"), "no such file"
    found = f"sha256:{hashlib.sha256(b'new').hexdigest()}, 3 bytes"
    return added(p.root / "folder/new.txt", b"new"), [("folder", "model", *words, found, again("folder"))]


def a_file_removed_from_a_folder(p):
    path = p.root / "folder/words.txt"
    words = "words.txt is not what models.lock says", str(p.root / "folder"), f"sha256:{sha(path)}, 8 bytes"
    return gone(path, "../away"), [("folder", "model", *words, "no such file", again("folder"))]


def a_catalog_row_removed(p):
    words = "the catalog has no row of split", str(p.state / "catalog.db"), "a row", "none", f"{BUILD}registers it"
    return catalog(p, "split", "DELETE FROM model"), [("split", "catalog", *words)]


def a_catalog_row_edited(p):
    words = "the catalog's row of split is not what would be registered", str(p.state / "catalog.db")
    found = [("split", "catalog", *words, 'lifecycle: "Active"', 'lifecycle: "Pending"', f"{BUILD}registers it again")]
    return catalog(p, "split", "UPDATE model SET lifecycle = 'Pending'"), found


def a_header_edited_in_the_catalog(p):
    words = "the catalog's row of tiny is not what would be registered", str(p.state / "catalog.db")
    expected, there = "metadata.context_length: 256", "metadata.context_length: 512"
    edit = "UPDATE model SET metadata = replace(metadata, '\"context_length\": 256', '\"context_length\": 512')"
    return catalog(p, "tiny", edit), [
        ("tiny", "catalog", *words, expected, there, "run `doit provision --full`, which registers it again")
    ]


def a_handoff_that_no_entry_claims(p):
    path = p.root / ".runtime/engines/old.json"
    data = (p.root / ".runtime/engines/tiny.json").read_bytes()
    claimed = "those of the entries of models.yaml"
    words = "no entry claims this handoff", str(path), claimed, "a handoff that this project has no record of"
    return added(path, data), [("-", "handoff", *words, "remove it, for engines start what it names")]


def a_retired_model_with_a_handoff(p):
    words = (
        "held is retired and has a handoff",
        str(p.root / ".runtime/engines/held.json"),
        "none",
        "one",
        f"{BUILD}removes it",
    )
    return catalog(p, "held", "UPDATE model SET lifecycle = 'Retired'"), [("held", "handoff", *words)]


EDITS = [
    a_byte_with_a_new_mtime,
    a_handoff_edited,
    a_handoff_written_in_another_way,
    a_handoff_removed,
    notes_in_the_place_of_a_handoff,
    a_checksum_file_edited,
    a_checksum_file_removed,
    a_lock_line_dropped,
    a_digest_in_the_lock_edited,
    a_size_in_the_lock_edited,
    a_lock_line_that_no_entry_claims,
    the_reference_changed,
    the_engine_changed,
    a_shard_swapped_with_another,
    a_shard_removed,
    a_model_removed,
    a_link_retargeted,
    a_file_added_to_a_folder,
    a_file_removed_from_a_folder,
    a_catalog_row_removed,
    a_catalog_row_edited,
    a_handoff_that_no_entry_claims,
    a_retired_model_with_a_handoff,
]
ONLY_IN_FULL = [a_byte_that_no_stat_tells, a_header_edited_in_the_catalog]


ONLY_HERE = [*ONLY_IN_FULL, a_size_in_the_lock_edited, a_retired_model_with_a_handoff]
"""What keeps no run from finding all current."""


def stale(project: Project) -> set[str]:
    """Return the models that would be provisioned again, by the one definition of current (ADR 2)."""
    racy = "verified so soon after its last change that another one may not show"
    found = reasons(project)
    if any(racy in text for texts in found.values() for text in texts):  # the edit before was undone just now
        settle()
        checked(project)
        found = reasons(project)
    return {name for name, texts in found.items() if texts}


def reasons(project: Project) -> dict[str, list[str]]:
    return {
        model["name"]: [reason["text"] for reason in model["reasons"]] for model in project.json("model-why")["models"]
    }


@pytest.mark.parametrize("edit", [*EDITS, *ONLY_IN_FULL], ids=lambda edit: edit.__name__)
def test_an_edit_is_told_until_it_is_undone(locked, edit):
    args = ["--full"] if edit in ONLY_IN_FULL else []
    change, expected = edit(locked)
    with change:
        if edit not in ONLY_HERE:
            assert stale(locked) == {name for name, *_ in expected} - {"-"}
        assert told(checked(locked, *args, code=1)) == expected
    assert told(checked(locked, *args, code=0)) == []


def test_the_table(locked):
    path = ".runtime/engines/tiny.json"
    change, _ = a_handoff_edited(locked)
    with change, gone(locked.root / ".runtime/digests/folder.sha256"):
        answer = locked.doit("model-check", code=1)
    assert answer.out.splitlines() == [
        "MODEL   WHAT        WHY",
        "tiny    handoff     the handoff is not what would be written",
        f"          where     {path}",
        "          expected  metadata.ctx_max: 256",
        "          found     metadata.ctx_max: 512",
        "          fix       run `doit provision`, which writes it again",
        "folder  checksums   the checksum file is missing",
        "          where     .runtime/digests/folder.sha256",
        "          expected  a checksum file",
        "          found     no file",
        "          fix       run `doit provision`, which writes it",
        "4 models: 2 the same, 2 different; a fresh build would not give exactly what is here",
    ]
    same = "4 models: 4 the same; a fresh build would give exactly what is here"
    assert locked.doit("model-check").out == f"{same}\n"
    assert locked.doit("model-check", "--full").out == f"{same}, by SHA-256 of every byte\n"


def test_it_takes_no_names(locked):
    assert locked.doit("model-check", "tiny", code=3).err.startswith("ERROR: model-check takes no names\n")


# ---- bad input


def test_a_digest_that_lock_and_entry_do_not_agree_on_is_bad_input(locked):
    right = sha(locked.root / "models/tiny.gguf")
    config = locked.root / "models.yaml"
    with bytes_of(config, text(right, "0" * 64)):
        answer = locked.doit("model-check", code=3)
    assert answer.err == (
        f"ERROR: {config}: 1 fault\n\n"
        "the expected digest of tiny is not the one in the lock file\n"
        f"  where     {config}:3\n"
        f"  expected  sha256:{right}\n"
        f"  found     sha256:{'0' * 64}\n"
        "  fix       if models.yaml is right, run `doit model-lock --upgrade tiny`; if the lock file is, take "
        "expected_digest out of models.yaml\n"
    )
    assert locked.doit("model-check").code == 0


def test_a_lock_of_another_version_is_bad_input(locked):
    lock = locked.root / "models.lock"
    with bytes_of(lock, text('"version": 1', '"version": 2')):
        answer = locked.doit("model-check", code=3)
    assert answer.err == (
        f"ERROR: {lock}: 1 fault\n\n"
        "the lock file is of another version\n"
        f"  where     {lock}\n"
        "  expected  version 1, and models\n"
        "  found     version 2\n"
        "  fix       use the version of model-provisioner that wrote it, or take the file from version control; or remove it, and "
        "`doit model-lock` makes it anew of what is there now\n"
    )


# ---- without a lock file


@pytest.fixture
def loose(project):
    """One model with a digest of its own, one with none, one whose mismatch is let pass."""
    path = project.add_tiny("models/tiny.gguf")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
        "models:\n"
        f"  own: {{model_ref: models/tiny.gguf, expected_digest: 'sha256:{sha(path)}'}}\n"
        "  none: {model_ref: models/tiny.gguf}\n"
        f"  let: {{model_ref: models/tiny.gguf, expected_digest: 'sha256:{'0' * 64}', strict_verification: false}}\n"
    )
    settle()
    project.provision()
    return project


def test_an_expected_digest_edited(loose):
    path = loose.root / "models/tiny.gguf"
    fix = (
        "get the file again from its source; if these bytes are right, "
        f'put   expected_digest: "sha256:{sha(path)}"   into models.yaml'
    )
    words = "the digest differs from what is expected", str(path), f"sha256:{'1' * 64}", f"sha256:{sha(path)}", fix
    with bytes_of(loose.root / "models.yaml", text(sha(path), "1" * 64)):
        assert told(checked(loose, code=1)) == [("own", "model", *words)]
    assert checked(loose, code=0)["left_over"] == []


def test_rot_in_a_model_that_nothing_pins(loose):
    """The check notes nothing of it: the memo stays the witness for what was verified."""
    path = loose.root / "models/tiny.gguf"
    wrong = hashlib.sha256(flip(path.read_bytes())).hexdigest()
    words = "tiny.gguf has other bytes than were verified, and neither its size nor its times moved"
    fix = "get the model again from its source, and have its disk looked at"
    right = sha(path)
    with rot(loose, path):
        for _ in range(2):
            rows = told(checked(loose, "--full", code=1))
            assert [row[0] for row in rows] == ["own", "none", "let"]
            assert rows[1][1:] == ("model", words, str(path), f"sha256:{right}", f"sha256:{wrong}", fix)
        assert told(checked(loose, code=0)) == []
    assert told(checked(loose, "--full", code=0)) == []


def test_what_a_fresh_build_warns_of_is_a_warning(loose):
    models = {model["name"]: model for model in checked(loose, code=0)["checked"]}
    (unpinned,), (tolerated,) = models["none"]["warnings"], models["let"]["warnings"]
    assert unpinned["what"] == "nothing says which bytes none must have: a fresh build takes those that it finds"
    assert tolerated["what"] == "the digest differs from what is expected, which strict_verification: false lets pass"
    assert models["own"]["warnings"] == []
    out = loose.doit("model-check").out
    assert "let    model       warning: the digest differs from what is expected, which strict" in out
    with gone(loose.root / "models/tiny.gguf"):
        assert [name for name, *_ in told(checked(loose, code=1))] == ["own", "none", "let"]


def test_a_tolerated_mismatch_with_a_checksum_file(loose):
    path = loose.root / ".runtime/digests/let.sha256"
    with added(path, b"x"):
        assert told(checked(loose, code=1)) == [
            (
                "let", "checksums", "there is a checksum file of bytes that are not as expected", str(path), "none", "one",
                f"{BUILD}removes it",
            )
        ]  # fmt: skip


def test_a_remote_model_that_nothing_pins_and_that_is_not_here(loose):
    with bytes_of(
        loose.root / "models.yaml", text("none: {model_ref: models/tiny.gguf}", "none: {model_ref: 'hf:o/r/x.gguf'}")
    ):
        rows = told(checked(loose, code=1))
    assert rows == [
        (
            "none", "lock", "nothing says which bytes none must have: a fresh build takes what its source has then",
            f"{loose.root}/models.yaml:4", "a models.lock that names it, or an expected_digest", "neither",
            "run `doit model-lock`, and keep models.lock under version control",
        ),
        (
            "none", "model", "the model is not on this machine", "hf:o/r/x.gguf", "a model that was fetched",
            "no record that it was fetched",
            "run `doit provision`, which fetches what is missing where network.allow has its host",
        ),
    ]  # fmt: skip


# ---- it changes nothing


def tree(folder: Path, *without: str) -> dict[str, tuple]:
    """Return how every file looks, with its bytes; times of access apart."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        name = str(path.relative_to(folder))
        if not name.startswith(without or ("\0",)):
            status = os.lstat(path)
            data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            times = (status.st_mtime_ns, status.st_ctime_ns) if not stat.S_ISDIR(status.st_mode) else ()
            found[name] = status.st_ino, status.st_mode, status.st_size, times, data
    return found


@pytest.mark.parametrize("args", [[], ["--json"]], ids=" ".join)
def test_nothing_is_changed_but_the_memo(locked, args):
    """Also where files have to be read, and where something differs."""
    os.utime(locked.root / "models/tiny.gguf")
    with gone(locked.root / ".runtime/engines/held.json"):
        before = tree(locked.root), tree(locked.state, "memo.db", "locks")
        locked.doit("model-check", *args, code=1)
        assert (tree(locked.root), tree(locked.state, "memo.db", "locks")) == before


@pytest.mark.parametrize("args", [[], ["--full"]], ids=" ".join)
def test_where_all_is_known_nothing_at_all_is_changed(locked, args):
    settle()
    checked(locked)
    before = tree(locked.root), tree(locked.state)
    checked(locked, *args)
    assert (tree(locked.root), tree(locked.state)) == before


def test_where_nothing_can_be_written_it_answers_all_the_same(locked):
    os.utime(locked.root / "models/tiny.gguf")  # it has to be read, and nobody can note that
    before = tree(locked.root), tree(locked.state)
    mount = f"{read_only(locked.root)} && {read_only(locked.state)}"
    for args in ([], ["--full"]):
        code, said = locked.mounted(mount, "model-check", *args)
        assert (code, said.startswith("4 models: 4 the same")) == (0, True), said
    assert (tree(locked.root), tree(locked.state)) == before


def test_where_no_lock_can_be_made_it_answers_all_the_same(loose):
    """As on a full disk: the memo can't be kept for itself, so nothing is noted in it."""
    shutil.rmtree(loose.state / "locks")
    (loose.state / "locks").write_bytes(b"")
    os.utime(loose.root / "models/tiny.gguf")
    before = tree(loose.state)
    assert told(checked(loose, code=0)) == []
    assert tree(loose.state) == before


def test_an_interrupted_check_says_so_and_leaves_no_report(project):
    with open(project.write("big.bin", b""), "wb") as file:
        file.truncate(16 << 30)
    project.models("models: {big: {model_ref: big.bin}}\n")
    process = project.start("model-check", "--full", "--junit", "report.xml")
    assert process.stderr.readline() == b"reading big, 17.2 GB\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")
    assert not (project.root / "report.xml").exists()


def test_a_state_folder_that_is_not_there_is_not_made(locked, tmp_path):
    fresh = Project(locked.root, tmp_path / "none")
    rows = told(checked(fresh, code=1))
    assert [(name, what) for name, _, what, *_ in rows[:2]] == [
        ("tiny", "the handoff is not in the build record, so that nothing would withdraw it"),
        ("tiny", "the catalog has no row of tiny"),
    ]
    assert not fresh.state.exists()


def test_a_state_folder_of_others_is_not_believed(loose):
    loose.state.chmod(0o777)
    answer = loose.doit("model-check", code=2)
    assert answer.err.startswith("ERROR: the state folder can be written by others\n")


@pytest.mark.parametrize("full", [False, True])
def test_no_model_costs_a_query_of_its_own(project, monkeypatch, full):
    """Forty are asked of the records as three are: all at once."""
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(project.state))
    queries = []
    query = Database.query
    monkeypatch.setattr(Database, "query", lambda self, sql, values=(): queries.append(sql) or query(self, sql, values))
    asked = []
    for count in (3, 40):
        for number in range(count):
            project.write(f"{number}.bin", f"{number}")
        entries = "".join(f"  m{number}: {{model_ref: {number}.bin}}\n" for number in range(count))
        project.models("defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\nmodels:\n" + entries)
        settle()
        project.provision()
        queries.clear()
        work = open_to_check(str(project.root / "models.yaml"), silent)
        assert check(work, full=full).same
        work.close()
        asked.append(len(queries))
    assert asked[0] == asked[1] > 0


def test_nobody_is_contacted(loose):
    """A host that is allowed, and that would refuse the connection, is not asked."""
    loose.models("network: {allow: [127.0.0.1]}\nmodels:\n  far: {model_ref: 'https://127.0.0.1:9/x.gguf'}\n")
    assert "the model is not on this machine" in [what for _, _, what, *_ in told(checked(loose, code=1))]


def test_a_fetched_model_is_checked_without_asking_its_hub(project, tmp_path):
    data = TINY.read_bytes()
    with Hub() as hub:
        hub.add("org/tiny", {"tiny.gguf": data})
        project.environ.update(hub.environ(tmp_path))
        project.models(
            "cache_dir: ../cache\n"
            "network: {allow: [127.0.0.1]}\n"
            "models:\n"
            "  tiny: {model_ref: 'hf:org/tiny/tiny.gguf'}\n"
        )
        project.provision()
        unpinned = told(checked(project, code=1))
        project.doit("model-lock")
        project.provision()
        asked = len(hub.asked())
        assert told(checked(project, code=0)) == []
        assert told(checked(project, "--full", code=0)) == []
        (blob,) = (tmp_path / "cache").glob("blobs/sha256/*/*")
        (tree_path,) = (tmp_path / "cache").glob("trees/*/*/tiny.gguf")
        blob.chmod(0o644)
        with bytes_of(blob, flip):
            assert [row[1:3] for row in told(checked(project, code=1))] == [
                ("model", "tiny.gguf is not what models.lock says")
            ]
        with gone(blob):
            rows = told(checked(project, code=1))
        assert [row[1] for row in rows] == ["model"]
        assert told(checked(project, code=0)) == []
        assert len(hub.asked()) == asked
    (row,) = unpinned
    assert row[:3] == (
        "tiny",
        "lock",
        "nothing says which bytes tiny must have: a fresh build takes what its source has then",
    )
    assert tree_path.is_symlink()
    project.environ.clear()


# ---- two clones


def test_two_clean_clones_at_one_path_give_the_same_bytes(locked, tmp_path):
    """One after the other, each with a state folder of its own and each checked by the other's state."""
    source, place = tmp_path / "source", tmp_path / "clone"
    shutil.copytree(locked.root, source, symlinks=True, ignore=shutil.ignore_patterns(".runtime"))
    found = []
    for state in ("first", "second"):
        shutil.copytree(source, place, symlinks=True)
        project = Project(place, tmp_path / state)
        project.provision("--locked")
        checked(project, "--full", code=0)
        rows = [
            {name: value for name, value in row.items() if not name.endswith("_at")} for row in project.rows().values()
        ]
        artifacts = {name: data for name, (*_, data) in tree(place / ".runtime").items() if data}
        assert artifacts.pop("provenance/models.jsonl")  # a log of what happened, with the times
        found.append((artifacts, rows))
        place.rename(tmp_path / f"{state} clone")
    assert found[0] == found[1]
    assert len(found[0][0]) == 2 * len(NAMES)
    shutil.copytree(tmp_path / "first clone", place, symlinks=True)
    checked(Project(place, tmp_path / "second"), "--full", code=0)


# ---- the reports


def test_json_is_as_documented(locked):
    found = checked(locked, "--full")
    assert found == {
        "same": True,
        "full": True,
        "checked": [{"name": name, "verdict": "same", "differences": [], "warnings": []} for name in NAMES],
        "left_over": [],
    }


def report(project: Project, *, code: int, file: str = "report.xml") -> ElementTree.Element:
    project.doit("model-check", "--junit", file, code=code)
    path = project.root / file
    try:
        (suite,) = ElementTree.parse(path).getroot()
    finally:
        path.unlink()
    cases = suite.findall("testcase")
    counts = {"tests": len(cases)} | {
        name: sum(case.find(tag) is not None for case in cases)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    assert {name: int(value) for name, value in suite.items() if name != "name"} == counts
    return suite


def test_junit_has_one_case_a_model(locked):
    suite = report(locked, code=0)
    assert [case.get("name") for case in suite] == list(NAMES)
    assert not [part for case in suite for part in case]
    change, _ = a_shard_removed(locked)
    with (
        change,
        added(locked.root / ".runtime/engines/old.json", (locked.root / ".runtime/engines/tiny.json").read_bytes()),
    ):
        suite = report(locked, code=1)
    assert [case.get("name") for case in suite] == [*NAMES, "left over"]
    (failure,) = suite[2]
    assert (failure.tag, failure.get("type")) == ("failure", "model")
    assert failure.get("message") == f"a shard of the split is missing: {shards(locked)[2].name}"
    assert failure.text.endswith("\n  fix       get the shard again")
    with (
        catalog(locked, "held", "UPDATE model SET lifecycle = 'Retired'"),
        gone(locked.root / ".runtime/engines/held.json"),
    ):
        suite = report(locked, code=0)
    assert [part.tag for part in suite[1]] == ["skipped"]


def test_junit_of_a_check_without_an_answer(locked):
    with bytes_of(locked.root / "models.lock", lambda _: b"{"):
        suite = report(locked, code=3)
    (error,) = suite[0]
    assert (error.tag, error.get("type")) == ("error", "ConfigError")
    assert error.get("message") == "the lock file is not JSON"
    assert "the lock file is not JSON" in error.text


def test_junit_survives_names_that_try(project):
    """Control characters, markup and bytes that are not UTF-8."""
    project.add_tiny("models/tiny.gguf")
    project.models(
        'models:\n  a: {model_ref: "models/\\u001b[31m\\x07]]>&<b a=\\"1\\"> \\udcff.gguf"}\n'.replace("\\udcff", "é")
    )
    suite = report(project, code=1)
    (failure,) = suite[0]
    assert "where     " in failure.text
    assert '\\x1b[31m\\x07]]>&<b a="1"> é.gguf' in failure.text
    project.environ["GITHUB_ACTIONS"] = "true"
    answer = project.doit("model-check", code=1)
    assert "\x1b" not in answer.all and "\x07" not in answer.all


def test_junit_takes_the_place_of_nothing_else(locked):
    for name, found in (
        ("models", "a folder"),
        ("", "a folder"),  # the variable that should have had its name was not set
    ):
        answer = locked.doit("model-check", f"--junit={name}", code=3)
        assert answer.err == (
            "ERROR: model-check can't write what --junit names\n"
            f"  where     {locked.root / name}\n"
            "  expected  no file, an empty one, or one that model-check wrote\n"
            f"  found     {found}\n"
            "  fix       name a file after --junit\n"
        )
    assert locked.doit("model-check", "--junit", "-", code=3).err == (
        "ERROR: --junit takes the name of a file\n"
        "  where     the command line\n"
        "  expected  --junit FILE\n"
        "  found     -\n"
        "  fix       --junit model-check.xml; --json is for standard output\n"
    )
    old = b'<?xml version="1.0"?>\n<testsuites>\n<testsuite name="model-check" tests="0"/></testsuites>'
    with added(locked.root / "old.xml", old):
        locked.doit("model-check", "--junit", "old.xml")
        assert len(ElementTree.parse(locked.root / "old.xml").getroot()[0]) == len(NAMES)
    code, said = locked.mounted(read_only(locked.root), "model-check", "--junit", "new/report.xml")
    assert (code, said) == (
        2,
        "ERROR: the JUnit report can't be written\n"
        f"  where     {locked.root}/new/report.xml\n"
        "  expected  a file or folder that we can write\n"
        "  found     Read-only file system\n"
        "  fix       name another file after --junit\n",
    )


@pytest.fixture
def actions(locked):
    locked.environ.update({"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(locked.root.parent)})
    yield locked
    locked.environ.clear()


def test_annotations(actions):
    renamed = text('    "held": {', '    "held, 100%": {')
    change, _ = a_handoff_edited(actions)
    with change:
        out = actions.doit("model-check", code=1).out
        as_json = actions.doit("model-check", "--json", code=1)
    line = (
        "::error file=a project/models.yaml,line=3,title=tiny%3A handoff::the handoff is not what would be written%0A"
        f"  where     {actions.root}/.runtime/engines/tiny.json%0A"
        "  expected  metadata.ctx_max: 256%0A  found     metadata.ctx_max: 512%0A"
        "  fix       run `doit provision`, which writes it again"
    )
    assert out.splitlines()[-1] == line
    assert (document(as_json)["result"]["same"], as_json.err) == (False, f"{line}\n")
    number = line_of(actions, "held")
    with bytes_of(actions.root / "models.lock", renamed):
        out = actions.doit("model-check", code=1).out
    (left,) = [line for line in out.splitlines() if line.startswith("::") and "left over" in line]
    place = f"::error file=a project/models.lock,line={number},title=left over%3A lock::"
    assert left.startswith(f"{place}held, 100%25 is in the lock file and not in models.yaml%0A")


def test_faults_are_annotated_where_they_stand(actions):
    right = sha(actions.root / "models/tiny.gguf")
    with bytes_of(actions.root / "models.yaml", text(right, "1" * 64)):
        answer = actions.doit("model-check", code=3)
    assert answer.out.startswith(
        "::error file=a project/models.yaml,line=3,title=model-check::the expected digest of tiny is not the one in the lock file%0A"
    )
    with bytes_of(actions.root / "models.yaml", lambda _: b"models:\n  a: {model_reff: x}\n"):
        answer = actions.doit("model-check", code=3)
    assert answer.out.startswith("::error file=a project/models.yaml,line=2,title=model-check::")

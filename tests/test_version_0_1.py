"""What version 0.1 left on the disk is read as it stands, and this version writes the same: see data/version-0.1."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from model_provisioner import ModelProvisioner
from model_provisioner.config import cache
from model_provisioner.config.load import parse_config
from model_provisioner.hashing import memo as memo_module
from model_provisioner.records import snapshot
from model_provisioner.version import __version__
from tests.support.fixtures import hub  # noqa: F401
from tests.support.hub import Hub
from tests.support.project import TINY, Project, document, settle

DATA = Path(__file__).parent / "data/version-0.1"
_spec = importlib.util.spec_from_file_location("make_version_0_1", DATA / "make.py")
version_0_1 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(version_0_1)
PLACE = version_0_1.PLACE

CURRENT = ("tiny", "split", "folder", "styled", "fetched", "repository")
TEXTS = (".json", ".jsonl", ".sha256", ".lock", ".yaml")


# ---- how it comes to another place


@pytest.fixture
def old(tmp_path, hub) -> Project:
    """Return a project as version 0.1 left it, as if it had lain here all the time."""
    names = {
        project_id(f"{PLACE}/project"): project_id(tmp_path / "project"),
        old_usage_record().stem: hashlib.sha256(
            f"{owner(tmp_path)}\0{tmp_path}/project/models.yaml".encode()
        ).hexdigest(),
    }

    def here(text: str) -> str:
        for before, now in {**names, PLACE: str(tmp_path)}.items():
            text = text.replace(before, now)
        return text

    for kept in version_0_1.KEPT:
        for source in filter(Path.is_file, (DATA / kept).rglob("*")):
            path = tmp_path / here(str(source.relative_to(DATA)))
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
            if source.suffix in TEXTS:
                path.write_text(here(source.read_text()))
            elif source.suffix == ".db":
                rewrite_database(path, here)
            if "blobs" in source.parts:
                path.chmod(0o444)
    for link, target in json.loads((DATA / "links.json").read_bytes()).items():
        path = tmp_path / here(link)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(here(target))
    shutil.copyfile(TINY, tmp_path / "project/models/tiny.gguf")
    (tmp_path / "state").chmod(0o700)
    rewrite_memo(tmp_path / "state/memo.db")
    rewrite_usage_record(tmp_path)
    rewrite_partial(tmp_path)
    for repository in (tmp_path / "hub/org").iterdir():
        hub.add(f"org/{repository.name}", {file.name: file.read_bytes() for file in repository.iterdir()})
    (tmp_path / "home").mkdir()
    settle()
    return project_at(tmp_path, hub)


def project_at(top: Path, hub: Hub) -> Project:
    return Project(top / "project", top / "state", {**hub.environ(top / "hf"), "HOME": str(top / "home")})


def project_id(folder: str | Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:20]


def old_usage_record() -> Path:
    (record,) = (DATA / "store/uses").iterdir()
    return record


def owner(top: Path) -> str:
    """Return what a usage record says of the user of a state folder."""
    (top / "state").mkdir(exist_ok=True)
    return f"{os.uname().nodename} {top}/state {(top / 'state').stat().st_ino}"


def rewrite_database(path: Path, here) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("here", 1, here)
        for (table,) in sorted(connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()):
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                connection.execute(f"UPDATE {table} SET {column} = here({column}) WHERE typeof({column}) = 'text'")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rewrite_memo(path: Path) -> None:
    """Give each row the stat of its file. It was hashed after the file had come to rest, as it is in what is kept."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("SELECT min(settled) FROM file").fetchone() == (1,)
        for (file,) in connection.execute("SELECT path FROM file").fetchall():
            now = os.stat(file)
            stat = map(str, (now.st_dev, now.st_ino, now.st_mtime_ns, now.st_ctime_ns))
            connection.execute(
                "UPDATE file SET device = ?, inode = ?, mtime_ns = ?, ctime_ns = ?, hashed_at = ? WHERE path = ?",
                (*stat, now.st_ctime_ns // 10**9 + 1, file),
            )


def rewrite_usage_record(top: Path) -> None:
    (record,) = (top / "store/uses").iterdir()
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "owner": owner(top)}, sort_keys=True, indent=1) + "\n"
    )
    os.utime(record, (1_000_000_000, 1_000_000_000))


def rewrite_partial(top: Path) -> None:
    """Let the download have been begun since this machine started."""
    (note,) = (top / "store/partial").glob("*.json")
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else None
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": started}))


# ---- what is read


_opened: list[str] | None = None


def _note_opened(event: str, arguments: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | bytes):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_note_opened)


@contextmanager
def opened_models() -> Iterator[list[str]]:
    """Yield a list that has, at the end of the block, the names of the model files that this process opened in it."""
    global _opened
    _opened, models = [], []
    try:
        yield models
    finally:
        names = (os.path.basename(path) for path in _opened)
        models += sorted(
            {name for name in names if name.endswith((".gguf", ".safetensors", "config.json")) or is_blob(name)}
        )
        _opened = None


def is_blob(name: str) -> bool:
    return bool(re.fullmatch("[0-9a-f]{64}", name))


def artifacts(project: Project) -> dict[str, tuple[int, int, bytes]]:
    """Return of each handoff and checksum file inode, time of its last change, and bytes."""
    found = [*(project.root / ".runtime/engines").iterdir(), *(project.root / ".runtime/digests").iterdir()]
    return {path.name: (path.stat().st_ino, path.stat().st_ctime_ns, path.read_bytes()) for path in found}


def asked_for(hub: Hub) -> set[str]:
    """Return the repositories that were asked for."""
    return {match[0] for request in hub.requests if (match := re.search(r"org/\w+", request.path))}


def histories(project: Project) -> dict[str, list[dict]]:
    """Return the moves of each entry of the configuration."""
    shown = {name: project.json("model-show", name)["result"]["catalog"] for name in version_0_1.LAST}
    return {name: row["history"] for name, (row,) in shown.items()}


def memo(project: Project) -> set[tuple]:
    """Return what the memo says of the bytes of files, and under which stat."""
    with closing(sqlite3.connect(project.state / "memo.db")) as connection:
        columns = "path, device, inode, size, mtime_ns, ctime_ns, sha256, settled, hashed_at"
        return set(connection.execute(f"SELECT {columns} FROM file").fetchall())


@contextmanager
def bytes_hashed() -> Iterator[dict[str, int]]:
    """Yield a dictionary that has, at the end of the block, how many bytes of each file were hashed, by its name."""
    found: dict[str, int] = {}

    def counting(real):
        def count(fd, key, progress):
            name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

            def counted(size):
                found[name] = found.get(name, 0) + size
                progress(size)

            return real(fd, key, counted)

        return count

    with pytest.MonkeyPatch.context() as patch:
        for name in ("hash_both", "fingerprint"):
            patch.setattr(memo_module, name, counting(getattr(memo_module, name)))
        yield found


def change_rows(project: Project, sql: str, *names: str) -> None:
    with closing(sqlite3.connect(project.state / "memo.db", isolation_level=None)) as connection:
        for name in names:
            assert connection.execute(sql, (f"%/{name}",)).rowcount == 1


# ---- the tests


def test_a_run_reads_no_byte_of_what_did_not_change(old):
    before = memo(old)
    with opened_models() as models:
        old.provision(code=1)
    # The header of what failed is looked at again, and that of what has just come.
    assert set(models) == {"failed.gguf", "half.gguf"}
    assert before <= memo(old)
    (old.root / "models/tiny.gguf").touch()
    with opened_models() as models:
        old.provision(code=1)
    assert models == ["failed.gguf", "tiny.gguf"]


def test_what_moves_is_hashed_and_has_a_fingerprint_of_this_version_from_then_on(old):
    """The old fingerprints were without a key."""
    old.provision(code=1)
    model = old.root / "models/tiny.gguf"
    for how in ("hashed", "confirmed by xxh3"):
        model.touch()
        settle()
        with bytes_hashed() as found:
            assert f"pass  tiny  {how}" in old.provision(code=1).out
        assert found == {"tiny.gguf": model.stat().st_size}


def test_what_the_old_fingerprint_confirmed_is_hashed_once_more_and_nothing_else_is(old):
    """A row whose file was touched after it was hashed, and one of which nobody noted when that was."""
    change_rows(old, "UPDATE file SET hashed_at = hashed_at - 3600 WHERE path LIKE ?", "tiny.gguf")
    change_rows(old, "UPDATE file SET hashed_at = NULL WHERE path LIKE ?", "styled.gguf")
    before = artifacts(old)
    assert old.why("tiny")[0] == "confirmed by a fingerprint of an earlier version, content same (SHA-256)"
    with bytes_hashed() as found:
        answer = old.provision(code=1)
    models = old.root / "models"
    assert found == {name: (models / name).stat().st_size for name in ("tiny.gguf", "styled.gguf")}
    assert "10 models: 3 done, 4 current, 2 failed, 1 retired" in answer.out
    after = artifacts(old)
    assert {name: data for name, (*_, data) in before.items() if not name.startswith("removed")}.items() <= {
        name: data for name, (*_, data) in after.items()
    }.items()
    assert {name for name in before if name in after and before[name] != after[name]} == {"tiny.json", "styled.json"}
    with bytes_hashed() as found:
        old.provision(code=1)
    assert found == {}


def test_an_upgrade_hashes_nothing_that_was_hashed_under_its_stat(old):
    with bytes_hashed() as found:
        old.provision(code=1)
    assert found == {}


def test_a_run_withdraws_nothing_that_stands(old):
    before = artifacts(old)
    answer = old.provision(code=1)
    assert "10 models: 1 done, 6 current, 2 failed, 1 retired" in answer.out
    after = artifacts(old)
    assert after.keys() - before.keys() == {"half.json", "half.sha256"}
    assert before.keys() - after.keys() == {"removed.json", "removed.sha256"}
    assert {name: before[name] for name in before.keys() & after.keys()} == {
        name: after[name] for name in before.keys() & after.keys()
    }


def test_history_retirement_and_failure_are_kept(old):
    before, rows = histories(old), old.rows()
    old.provision(code=1)
    after, now = histories(old), old.rows()
    assert {name: after[name][: len(moves)] for name, moves in before.items()} == before
    assert now["retired"]["state"] == "Retired"
    assert now["failed"]["state"] == now["missing"]["state"] == "Failed"
    # What to do about it is said with the digest today.
    assert now["failed"]["reason"].partition("\n  fix ")[0] == rows["failed"]["reason"].partition("\n  fix ")[0]
    assert now["half"]["state"] == "Active"
    assert "removed" not in now
    for name in CURRENT:
        assert now[name] | {"store": None} == rows[name] | {"store": None}


def test_what_the_api_registered_is_located(old, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(old.state))
    models = ModelProvisioner()
    assert models.locate(version_0_1.REGISTERED) == old.root / "models/retired.gguf"
    before = memo(old)
    assert models.ensure_present(version_0_1.REGISTERED).local_path == old.root / "models/retired.gguf"
    assert memo(old) == before


def test_what_was_fetched_is_found_without_a_request(old, hub):
    old.provision(code=1)
    assert asked_for(hub) == {"org/half"}


def test_a_download_that_was_killed_is_resumed(old, hub):
    (partial,) = (path for path in (old.root.parent / "store/partial").iterdir() if path.suffix != ".json")
    size = partial.stat().st_size
    old.provision(code=1)
    (request,) = hub.asked("GET", "*/resolve/*")
    assert request.headers["range"] == f"bytes={size - 1}-"
    handoff = old.handoff("half")
    assert Path(handoff["model"]["path"]).read_bytes() == (DATA / "hub/org/half/half.gguf").read_bytes()
    assert list((old.root.parent / "store/partial").iterdir()) == []


def test_a_download_of_an_earlier_start_of_the_machine_begins_again(old, hub):
    (note,) = (old.root.parent / "store/partial").glob("*.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": "an earlier one"}))
    old.provision(code=1)
    (request,) = hub.asked("GET", "*/resolve/*")
    assert "range" not in request.headers
    assert Path(old.handoff("half")["model"]["path"]).read_bytes() == (DATA / "hub/org/half/half.gguf").read_bytes()


def test_a_second_run_finds_nothing_to_do(old, hub):
    old.provision(code=1)
    before = artifacts(old), old.provenance()
    hub.forget()
    with opened_models() as models:
        answer = old.provision(code=1)
    assert "10 models: 7 current, 2 failed, 1 retired" in answer.out
    assert (models, hub.requests, (artifacts(old), old.provenance())) == (["failed.gguf"], [], before)


@pytest.mark.parametrize("name", version_0_1.QUESTIONS)
def test_a_command_that_only_looks_answers_as_version_0_1_did(old, name):
    answer = old.doit(*version_0_1.QUESTIONS[name], code=None)
    expected = by_this_version((DATA / "answers" / name).read_text()).replace(PLACE, str(old.root.parent))
    recorded = json.loads(expected)
    found = json.loads(answer.out) if name.startswith("attest") else as_version_0_1(document(answer), recorded)
    assert without_times(found) == as_recorded(without_times(recorded)), answer.err


def as_version_0_1(found, recorded):
    """Return what a document says in the form that its command's answer had in version 0.1."""
    result = found["result"]
    match found["command"]:
        case "list" | "show":
            pairs = zip(found["models"], result["catalog"], strict=True)
            return [row_0_1(model, row, old) for (model, row), old in zip(pairs, recorded, strict=True)]
        case "why":
            return [
                {
                    "name": model["name"],
                    "reasons": model["reasons"],
                    "retired": model["state"] == "Retired",
                    "current": model["name"] in result["current"] or model["state"] == "Retired",
                }
                for model in found["models"]
            ]
        case "check":
            models = [renamed(model, verdict="state") for model in result.pop("checked")]
            return blank({**result, "models": models})
        case "prune":
            items = {
                name: [renamed(each, size_bytes="bytes", freed_bytes="freed") for each in result[name]]
                for name in ("gone", "left")
            }
            return {**renamed(result, size_bytes="size", max_size_bytes="max_size"), **items}


def row_0_1(model, row, old):
    digest = model["digest"] and ":".join(model["digest"].values())
    found = {**row, **renamed(model, state="lifecycle", size_bytes="size"), "digest": digest}
    found["handoff"] = found["handoff"] or old["handoff"]  # today: where it is, not where it would be
    if "history" in row:
        found["history"] = [renamed(moved, state="lifecycle") for moved in row["history"]]
    if isinstance(row.get("store"), dict):  # today with what came of a model whose download broke off
        found["store"] = None if row["store"]["kind"] == "download" else renamed(row["store"], size_bytes="bytes")
    return {name: value for name, value in found.items() if name not in {"how", "reasons"}}


def renamed(found, **names):
    return {names.get(name, name): value for name, value in found.items()}


def blank(found):
    """Return an answer with empty texts where today's have null."""
    if isinstance(found, list):
        return list(map(blank, found))
    if isinstance(found, dict):
        return {name: blank(value) for name, value in found.items()}
    return "" if found is None else found


TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def by_this_version(text):
    """Return what version 0.1 said of a verification as who says it now: each names itself."""
    return re.sub(r'("(?:model-provisioner|version)": )"0\.1\.0"', rf'\1"{__version__}"', text)


def without_times(found):
    """Return an answer without the times that the copy of a store and of a memo does not keep."""
    if isinstance(found, list):
        return [without_times(each) for each in found]
    if isinstance(found, dict):
        left_out = {"last_used", "last_hashed"} | (WORDS if WORDS <= found.keys() else set())
        if isinstance(found.get("left"), list):  # the last used first, of what was used in the same second
            found = {**found, "left": sorted(found["left"], key=lambda each: each["name"])}
        return {name: without_times(value) for name, value in found.items() if name not in left_out}
    return found


WORDS = {"expected", "found", "fix"}
"""What an error says beside what happened and where: this version knows more to say."""


SAID_NOW = {
    "the last verification failed": "the last attempt failed",
    "the last run did not finish": "not handed off since its verification began",
}


def as_recorded(found):
    """Return an answer without what version 0.1 took from the log in the project, or from files as they are now."""
    if isinstance(found, list):
        return [as_recorded(each) for each in found]
    for reason in found.get("reasons", ()) if isinstance(found, dict) else ():
        reason["text"] = SAID_NOW.get(reason["text"], reason["text"])
    if isinstance(found, dict) and "predicate" in found:
        del found["predicate"]["policy"]["digest"]
        del found["predicate"]["policy"]["annotations"]["models.lock"]
    return found


def test_looking_writes_nothing(old):
    def everything():
        folders = (old.root, old.state, old.root.parent / "store")
        return {path: path.lstat() for folder in folders for path in folder.rglob("*") if not path.is_dir()}

    old.doit("model-check", code=None)  # the memo takes the form that it has now
    before = everything()
    for arguments in version_0_1.QUESTIONS.values():
        old.doit(*arguments, code=None)
    after = everything()
    assert before.keys() == after.keys()
    assert [path for path in before if before[path].st_mtime_ns != after[path].st_mtime_ns] == []


def test_the_audit_verifies_what_version_0_1_verified(old):
    answer = old.doit("model-verify", code=1)
    assert "failed" in answer.out
    assert {name: row["state"] for name, row in old.rows().items() if name in CURRENT} == dict.fromkeys(
        CURRENT, "Active"
    )
    full = old.doit("model-verify", "--full", "tiny", "fetched", "folder")
    assert old.handoff("tiny") and old.handoff("fetched") and old.handoff("folder"), full


def test_the_parsed_configuration_of_version_0_1_says_nothing():
    """It knows of no mirrors: the configuration is parsed anew."""
    (kept,) = (DATA / "state/projects").glob("*/config")
    data = kept.read_bytes()
    _, key, *_ = data.split(b"\n", 3)
    assert cache.parse(data, key.decode()) is None


def test_the_snapshot_of_version_0_1_says_nothing():
    """It vouches for files that this version hashes once more, and for some whose times can't be believed."""
    (kept,) = (DATA / "state/projects").glob("*/snapshot")
    assert snapshot.parse(kept.read_bytes()) is None


# ---- what is written


class Ours:
    """doit of this version, for what `make.py` does."""

    def __init__(self, project: Project) -> None:
        self._project, self.doit = project, project.doit

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._project.start(*arguments)

    def python(self, program: str) -> None:
        project = self._project
        subprocess.run([sys.executable, "-c", program], cwd=project.root, env=project.surroundings(), check=True)

    def answer(self, *arguments: str) -> bytes:
        return self._project.doit(*arguments, code=None).out.encode()


@pytest.fixture(scope="module")
def new(tmp_path_factory) -> Path:
    """Return a folder in which this version did all that version 0.1 did for what is kept."""
    top = tmp_path_factory.mktemp("new")
    (top / "home").mkdir()
    with Hub() as hub:
        version_0_1.make(top, hub, Ours(project_at(top, hub)), settle)
    return top


SINCE = "not (?:verified|handed off) since "
"""How a reason begins of which version 0.1 said nothing."""


def written(path: Path, top: Path | str) -> list[str]:
    """Return the lines of a text, apart from times, places and machine; those of a log in any order."""
    text = by_this_version(path.read_text()).replace(str(top), PLACE)
    # This version tells state folders apart by a number of their own, too.
    text = re.sub(f'"owner": "[^ ]+ {PLACE}/state \\d+( [0-9a-f]+)?"', '"owner": "vm"', text)
    # The words of errors grew, and the note of a download has the length of the whole, and what was asked.
    text = re.sub(
        r'("reason": "[^"\\\n]*)\\n[^\n]*', r'\1",', re.sub(r'"(total|request|ref)": (\d+|null|"hf:[^"]*"), ', "", text)
    )
    # A record of the store says whether it is of something wrong.
    text = re.sub(r'"etag":null,|,"wrong":false', "", text)
    lines = re.sub('"boot": ("[^"]+"|null)', '"boot": null', TIMES.sub("TIME", text)).splitlines(keepends=True)
    return sorted(lines) if path.suffix == ".jsonl" else lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        "project/.runtime/engines/*.json",
        "project/.runtime/digests/*.sha256",
        "project/.runtime/provenance/models.jsonl",
        "project/models.lock",
        "store/CACHEDIR.TAG",
        "store/refs/*.json",
        "store/uses/*.json",
        "store/partial/*.json",
    ],
)
def test_this_version_writes_what_version_0_1_wrote(new, pattern):
    before = [written(path, PLACE) for path in sorted(DATA.glob(pattern))]
    assert before
    assert [written(path, new) for path in sorted(new.glob(pattern))] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in version_0_1.QUESTIONS if name[0] not in "ap"])
def test_this_version_answers_what_version_0_1_answered(new, name):
    def read(top, place):
        text = (top / "answers" / name).read_text().replace(str(place), PLACE)
        text = re.sub(r'("reason": "[^"\\\n]*)\\n[^\n]*', r'\1",', text)  # the words of errors grew
        # Who leaves a model unverified says why, and a failure which policy it failed under.
        text = re.sub(rf'"(expected|reason)": ("sha256:0{{64}}"|"{SINCE}[^"]*")', r'"\1": null', text)
        return json.loads(TIMES.sub("TIME", text))

    recorded = read(DATA, PLACE)
    found = as_version_0_1(read(new, new), recorded)
    if name == "why.json":  # and reasons say what happened
        for each in (*found, *recorded):
            del each["reasons"]
    assert without_times(found) == without_times(recorded)


@pytest.mark.slow
def test_a_statement_names_the_configuration_of_the_verification_and_not_the_present_one(new):
    def parts(top, place):
        path = top / "answers/attest-styled.json"
        found = without_times(
            json.loads(TIMES.sub("TIME", by_this_version(path.read_text()).replace(str(place), PLACE)))
        )
        return found, found["predicate"]["policy"].pop("digest")

    (old, present), (now, then) = parts(DATA, PLACE), parts(new, new)
    assert now == old
    assert then != present


@pytest.mark.slow
def test_this_version_names_files_as_version_0_1_did(new):
    def names(top: Path) -> set[str]:
        paths = (path.relative_to(top) for each in ("project", "store") for path in (top / each).rglob("*"))
        return {str(path) for path in paths if not path.parts[1] in {"leases", "partial", "uses"}}

    links = json.loads((DATA / "links.json").read_bytes())
    made = {link: os.readlink(new / link) for link in links if link.startswith("store/")}
    assert made == {link: target for link, target in links.items() if link.startswith("store/")}
    trees = {str(folder) for link in links if link.startswith("store/") for folder in (Path(link), *Path(link).parents)}
    kept = names(DATA) | {"project/models/tiny.gguf"} | {name for name in trees if name.count("/")}
    assert names(new) - kept == kept - names(new) == set()


@pytest.mark.slow
@pytest.mark.parametrize("table", ["catalog.db model", "projects/*/build.db artifact"])
def test_this_version_records_what_version_0_1_recorded(new, table):
    name, _, table = table.partition(" ")
    schemas = {}

    def rows(top: Path, place: Path | str) -> list[dict]:
        (path,) = (top / "state").glob(name)
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()]
            schemas[top] = set(connection.execute("SELECT sql FROM sqlite_master").fetchall())
        moving = {"device", "inode", "mtime_ns", "ctime_ns", "hashed_at"}
        told = [{key: value for key, value in row.items() if key not in moving} for row in found]
        for row in told:
            if row.get("reason"):  # the words below it grew
                row["reason"] = re.sub(f"^{SINCE}.*", "", row["reason"].partition("\n")[0]) or None
            if row.get("lifecycle") == "Failed":
                row["expected"] = None
            if "history" in row:
                row["history"] = re.sub("Pending .*", "Pending", row["history"])
        return json.loads(TIMES.sub("TIME", json.dumps(told).replace(str(place), PLACE)))

    assert rows(new, new) == rows(DATA, PLACE)
    assert {tuple(each) for each in schemas[new]} >= {tuple(each) for each in schemas[DATA]}

"""Attack the promise with kills, failing system calls, full disks, power cuts and changed bytes, and check what is left.

    scripts/campaign.py --seed 1 --minutes 10

A handoff names bytes that were verified, when it was written, under the policy then in force: whatever ends a command, and
whatever changes meanwhile. Each step changes something, runs a command under a fault, and looks at what is on the disk. The
checks are code of their own: nothing of model_provisioner is imported, only the documented formats are read (docs/reference).

As root on Linux the models lie on one ext4 and the state on another, in loop devices that nobody else sees, so that disks can
be filled and cut off. Without root these two faults are left out, and the end says so.

Steps come in chapters; each begins with a new world, and `--chapter N` runs one of them alone. What is random comes from the
seed, but moments do not: a violation may need a few tries to come again. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import trustme  # noqa: E402

from tests.support import hub as hub_faults  # noqa: E402
from tests.support.files_server import FilesServer  # noqa: E402
from tests.support.hub import Hub  # noqa: E402

STEPS = 12
"""How many steps a chapter has."""
DISK = 96 << 20
LARGE = 260 << 20
"""Bytes of the model that takes a while to read: a run says so when it begins."""
PATIENCE = 120
"""Seconds after which a command counts as hanging."""
RACY = 2.5
"""Seconds after a change in which a file may be read once more (docs/reference/state-folder.md)."""
DONE = re.compile(r"^(?:pass|warn)  (\S+)  hashed ", re.MULTILINE)
"""What a run prints of a model all of whose bytes it read."""
CODES = {0, 1, 2, 3, 130}
SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN; with 2 the journal is not flushed: what was not synced is gone."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"

CALLS = {
    "open": "openat",
    "read": "read,pread64",
    "write": "write,pwrite64",
    "sync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
    "unlink": "unlink,unlinkat",
    "stat": "newfstatat,statx,fstat",
    "lock": "flock,fcntl",
    "mkdir": "mkdir,mkdirat",
    "link": "symlinkat",
    "truncate": "ftruncate",
    "list": "getdents64",
}
USUAL = {"open": 12, "stat": 20, "read": 8, "write": 8}
"""About how many calls of a kind a command makes to files of the world; of the other kinds it is a few."""
FEW = 3
ERRORS = ("EIO", "ENOSPC", "EMFILE", "ESTALE", "EACCES")


class ViolationError(Exception):
    """The promise, or what the documents say of the end of a command, does not hold."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- the disks


class Disk:
    """A folder that lies, as root, on an ext4 of its own, in a file."""

    def __init__(self, base: Path, name: str, *, real: bool) -> None:
        self.path, self._image, self.real = base / name, base / f"{name}.img", real
        self.path.mkdir()
        if real:
            with open(self._image, "wb") as file:
                file.truncate(DISK)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", self._image], check=True)
            self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.path], check=True)

    def cut(self) -> None:
        """Let nothing more reach the disk, as when the power fails."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", 2))
        finally:
            os.close(fd)

    def restart(self) -> None:
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        for _ in range(100):
            if subprocess.run(["umount", self.path], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.path} is in use")

    @contextmanager
    def filled(self, left: int) -> Iterator[None]:
        """Leave no more than `left` bytes free."""
        filler = self.path / "filler"
        with open(filler, "wb") as file:
            with suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            with suppress(OSError):
                file.truncate(max(0, file.tell() - left))
        try:
            yield
        finally:
            filler.unlink()

    def close(self) -> None:
        if self.real:
            self.unmount()


# ---- what the world is made of


@dataclass
class Handoff:
    """A handoff as it lies there; two are the same if nobody wrote it between."""

    data: bytes
    inode: int


@dataclass
class Policy:
    """What models.yaml and models.lock say at a moment, read from the two files."""

    entries: dict[str, dict]
    lock: dict[str, dict]

    def expected(self, name: str) -> str | None:
        """Return the digest that an entry must have, as `algo:value`."""
        entry = self.entries[name]
        if "expected_digest" in entry:
            return entry["expected_digest"]
        locked = self.lock.get(name)
        if locked is None or locked["ref"] != entry["model_ref"]:
            return None
        files = locked["files"]
        if locked["kind"] == "file":
            return f"sha256:{files[0]['sha256']}"
        return f"dirhash:{dirhash({each['path']: each['sha256'] for each in files})}"

    def contradicts(self, name: str) -> bool:
        """Tell whether models.yaml and the lock want two different digests, which is bad input."""
        entry = {key: value for key, value in self.entries[name].items() if key != "expected_digest"}
        locked = Policy({name: entry}, self.lock).expected(name)
        return locked is not None and self.entries[name].get("expected_digest", locked) != locked


def dirhash(files: dict[str, str]) -> str:
    return sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files, key=os.fsencode)).encode())


@dataclass
class Project:
    root: Path
    entries: dict[str, dict]
    top: dict

    def write(self) -> None:
        """Write models.yaml as an editor does: a new file in the place of the old one."""
        draft = self.root / ".models.yaml.edited"
        draft.write_text(json.dumps({**self.top, "models": self.entries}, indent=1))
        draft.rename(self.root / "models.yaml")

    def policy(self) -> Policy:
        lock = self.root / "models.lock"
        locked = {}
        with suppress(FileNotFoundError, ValueError):
            locked = json.loads(lock.read_bytes())["models"]
        return Policy(json.loads((self.root / "models.yaml").read_bytes())["models"], locked)

    def handoff_path(self, name: str) -> Path:
        return self.root / ".runtime" / "engines" / f"{name}.json"

    def handoffs(self) -> dict[str, Handoff]:
        found = {}
        for path in (self.root / ".runtime" / "engines").glob("*.json"):
            if not path.name.startswith("."):
                found[path.stem] = Handoff(path.read_bytes(), path.stat().st_ino)
        return found

    def readings(self) -> int:
        """Return how often bytes were read to verify a model: the lines of the provenance log."""
        folder = self.root / ".runtime" / "provenance"
        return sum(path.read_bytes().count(b"\n") for path in folder.glob("models.jsonl*"))


@dataclass
class Ran:
    command: tuple[str, ...]
    code: int
    out: str
    ended: str = ""
    """How it was ended, where it was."""


@dataclass
class Sources:
    """A web server and a Hub on this machine."""

    web: FilesServer
    hub: Hub
    environ: dict[str, str]
    changed: set[str] = field(default_factory=set)
    """The names of what is not as it was."""

    def heal(self) -> None:
        self.hub.heal()
        self.web.manners = type(self.web.manners)()

    @property
    def asked(self) -> int:
        return len(self.web.asked) + len(self.hub.requests)


@contextmanager
def sources(base: Path, rng: random.Random) -> Iterator[Sources]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(base / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    files = {"/small.bin": rng.randbytes(200_000), "/large.bin": rng.randbytes(6_000_000)}
    with FilesServer(files, context=context) as web, Hub() as hub:
        hub.add("org/one", {"one.bin": rng.randbytes(2_000_000)})
        hub.add(
            "org/two", {"config.json": b'{"model_type": "llama"}', "a.bin": rng.randbytes(900_000), "b.bin": b"b" * 99}
        )
        home = base / "home"
        home.mkdir()
        yield Sources(web, hub, {**hub.environ(home), "HOME": str(home), "SSL_CERT_FILE": str(base / "authority.pem")})


class World:
    """Two projects that share a state folder and a store, and the sources of their models."""

    def __init__(self, base: Path, rng: random.Random, came_from: Sources, *, real: bool) -> None:
        self.base, self.sources, self.rng = base, came_from, rng
        self.disks = [Disk(base, "p", real=real), Disk(base, "s", real=real)]
        self.boot = base / "boot_id"
        if real:
            self._start_machine()
            subprocess.run(["mount", "--bind", self.boot, BOOT_ID], check=True)
        self.state, self.cache = base / "s" / "state", base / "s" / "cache"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MODEL_PROVISIONER_", "HF_", "AWS_", "XDG_"))},
            **came_from.environ,
            "MODEL_PROVISIONER_STATE_DIR": str(self.state),
            "PYTHONWARNINGS": "ignore",
            "PYTHONFAULTHANDLER": "1",
        }
        self.kept: dict[str, bytes] = {}
        self.moves = 0
        """How often anything was changed, or the power cut."""
        self._hashed: dict[tuple, str] = {}
        self.state_is_whole = True
        """Whether the campaign damaged nothing in the state folder since the last quiet run."""
        self.projects = [self._project("a", full=True), self._project("b", full=False)]

    def _start_machine(self) -> None:
        """Give the machine the number of a new start, in the file that covers the kernel's."""
        value = f"{self.rng.getrandbits(128):032x}"
        self.boot.write_text(f"{value[:8]}-{value[8:12]}-4{value[13:16]}-8{value[17:20]}-{value[20:]}\n")

    def _project(self, name: str, *, full: bool) -> Project:
        root = self.base / "p" / name
        (root / "m").mkdir(parents=True)
        port = self.sources.web.port
        entries: dict[str, dict] = {
            "one": {"model_ref": "hf:org/one/one.bin"},
            "small": {"model_ref": f"https://localhost:{port}/small.bin"},
        }
        if full:
            entries["large"] = {"model_ref": f"https://localhost:{port}/large.bin"}
            entries["two"] = {"model_ref": "hf:org/two", "engine": "vllm"}
            entries["folder"] = {"model_ref": "file:m/folder", "engine": "vllm"}
            (root / "m" / "folder").mkdir()
            (root / "m" / "folder" / "config.json").write_text('{"model_type": "llama"}')
            (root / "m" / "folder" / "x.bin").write_bytes(self.rng.randbytes(50_000))
        for number, size in enumerate((1, 4_000, 300_000, 3_000_000, 9_000_000) if full else (2_000,)):
            (root / "m" / f"{number}.bin").write_bytes(self.rng.randbytes(size))
            entries[f"l{number}"] = {"model_ref": f"file:m/{number}.bin"}
        if full:  # one that takes a while to read, and no room
            with open(root / "m" / "5.bin", "wb") as file:
                file.write(name.encode())
                file.truncate(LARGE)
            entries["l5"] = {"model_ref": "file:m/5.bin"}
        project = Project(
            root,
            entries,
            {
                "cache_dir": str(self.cache),
                "network": {"allow": ["localhost", "127.0.0.1"]},
                "defaults": {"handoff": "{runtime_dir}/engines/{name}.json"},
            },
        )
        project.write()
        return project

    def power_cut(self) -> None:
        for disk in self.disks:
            disk.cut()

    def power_on(self) -> None:
        self.moves += 1
        for disk in self.disks:
            disk.restart()
        self._start_machine()

    def close(self) -> None:
        if self.disks[0].real:
            subprocess.run(["umount", BOOT_ID], check=False)
        for disk in self.disks:
            disk.close()

    # What is there, by our own eyes

    def lies(self, path: str) -> str | None:
        """Return the SHA-256 of the bytes that lie at a path now.

        They are hashed once between two changes, which are all made here, and again where the file's stat moved.
        """
        try:
            status = os.stat(path)
            key = path, self.moves, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            if key not in self._hashed:
                with open(path, "rb") as file:
                    self._hashed[key] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        return self._hashed[key]

    def local_files(self, project: Project, entry: dict) -> dict[str, Path]:
        """Return the files of a local model, by their names in the set."""
        path = project.root / entry["model_ref"].removeprefix("file:")
        if path.is_dir():
            return {str(each.relative_to(path)): each for each in sorted(path.rglob("*")) if each.is_file()}
        return {path.name: path} if path.is_file() else {}

    def retired(self, project: Project) -> set[str] | None:
        """Return the names that the catalog has as retired; None where it can't be read."""
        found = self.query(
            "catalog.db", "SELECT name FROM model WHERE lifecycle = 'Retired' AND project = ?", str(project.root)
        )
        return None if found is None else {name for (name,) in found}

    def query(self, name: str, sql: str, *values: str) -> list[tuple] | None:
        """Ask a copy of a database, so that looking changes nothing."""
        with tempfile.TemporaryDirectory(dir=self.base) as folder:
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copy(self.state / f"{name}{suffix}", Path(folder) / f"copy{suffix}")
            if not (Path(folder) / "copy").exists():
                return []
            try:
                with closing(sqlite3.connect(Path(folder) / "copy")) as connection:
                    return connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # it was killed before it made them
                    return []
                return None
            except sqlite3.DatabaseError:
                return None

    def databases(self) -> list[str]:
        return [str(path.relative_to(self.state)) for path in sorted(self.state.rglob("*.db"))]


# ---- what is checked


@dataclass
class Seen:
    """What there was at moments of a step: which bytes, which policies."""

    versions: dict[str, set[str]] = field(default_factory=dict)
    sets: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    policies: dict[Path, list[Policy]] = field(default_factory=dict)
    moments: int = 0

    def look(self, world: World) -> None:
        self.moments += 1
        for project in world.projects:
            policy = project.policy()
            self.policies.setdefault(project.root, []).append(policy)
            for entry in policy.entries.values():
                if not entry["model_ref"].startswith("file:"):
                    continue
                files = world.local_files(project, entry)
                self.sets.setdefault(entry["model_ref"], set()).add(tuple(sorted(files)))
                for path in files.values():
                    if (value := world.lies(str(path))) is not None:
                        self.versions.setdefault(str(path), set()).add(value)


def check_handoff(world: World, project: Project, name: str, data: bytes, seen: Seen) -> str | None:
    """Return why a handoff may not be there, by what was there while it was or could have been written."""
    try:
        handoff = json.loads(data)
        metadata, model = handoff["metadata"], handoff["model"]
        files = {each["path"]: each["sha256"] for each in metadata["files"]}
        digest = f"{metadata['digest']['algo']}:{metadata['digest']['value']}"
    except (ValueError, KeyError, TypeError) as error:
        return f"it is no handoff: {error!r}"
    policies = [policy for policy in seen.policies[project.root] if name in policy.entries]
    if not policies:
        return "models.yaml has no such entry"
    for path, said in files.items():
        there = seen.versions.get(path, set()) | ({world.lies(path)} - {None})
        if said not in there:
            return f"{path} has {', '.join(sorted(str(each)[:12] for each in there)) or 'no bytes'}, and it says {said[:12]}"
    kind = metadata["digest"]["algo"]
    if kind == "sha256":
        if [*files.values()] != [metadata["digest"]["value"]]:
            return "its digest is not that of its file"
    else:
        top = Path(model["path"])
        if (
            dirhash({str(Path(path).relative_to(top)): value for path, value in files.items()})
            != metadata["digest"]["value"]
        ):
            return "its digest is not that of its files"
    if (
        sum(Path(path).stat().st_size for path in files if Path(path).exists()) != metadata["size_bytes"]
        and seen.moments == 1
    ):
        return "its size is not that of its files"
    for policy in policies:
        entry, expected = policy.entries[name], policy.expected(name)
        verdict = "warn" if expected is None else "pass" if expected == digest else "fail"
        if metadata["verification"] == verdict and (verdict != "fail" or not entry.get("strict_verification", True)):
            return None
    return f"no policy of that time gives {metadata['verification']} for {digest[:20]}: expected {policies[-1].expected(name)}"


@dataclass
class Before:
    handoffs: dict[Path, dict[str, Handoff]]
    retired: dict[Path, set[str] | None]


def look_before(world: World) -> Before:
    return Before(
        {project.root: project.handoffs() for project in world.projects},
        {project.root: world.retired(project) for project in world.projects},
    )


def check_step(world: World, before: Before, seen: Seen, ran: list[tuple[Project, Ran]], *, strict: bool) -> None:
    """Hold everything that lies there to the promise. `strict` where nothing moved during the commands."""
    for _, each in ran:
        check_end(each)
    for project in world.projects:
        after = project.handoffs()
        whole = [each for at, each in ran if at is project and is_whole(each)]
        swept = [each for at, each in ran if at is project and has_swept(each)]
        for name, handoff in after.items():
            is_old = before.handoffs[project.root].get(name) == handoff
            if is_old and not whole and not swept:
                continue  # it was there before, and no run came to where it would be withdrawn
            if why := check_handoff(world, project, name, handoff.data, seen):
                kind = "stands after the sweep of a run" if is_old else "was written"
                raise ViolationError(f"handoff {name} of {project.root.name} {kind}, but {why}")
            retired = before.retired[project.root], world.retired(project)
            if all(names is not None and name in names for names in retired):
                raise ViolationError(f"handoff {name} of {project.root.name} is there, though it is retired")
        if not strict or not whole:
            continue
        policy = project.policy()
        retired = world.retired(project) or set()
        for each in whole:
            for name in policy.entries:
                if name in after or name in retired:
                    continue
                if each.code == 0:
                    raise ViolationError(f"exit 0, and {name} of {project.root.name} has no handoff")
                if name in before.handoffs[project.root] and not re.search(rf"\b{name}\b", each.out):
                    raise ViolationError(f"the handoff {name} of {project.root.name} went without a word")


def is_over_all(ran: Ran) -> bool:
    return ran.command[0] == "provision" and all(word.startswith("-") for word in ran.command[1:])


def is_whole(ran: Ran) -> bool:
    """Tell whether it is a run over all models that came to its end."""
    return (
        ran.code in {0, 1} and ran.command[0] == "provision" and all(word.startswith("-") for word in ran.command[1:])
    )


def has_swept(ran: Ran) -> bool:
    """Tell whether a run over all models began the long work, before which it withdraws what it can't confirm."""
    return (
        is_over_all(ran) and re.search(r"^(reading|fetching) |^(pass|warn)  \S+  ", ran.out, re.MULTILINE) is not None
    )


def check_end(ran: Ran) -> None:
    if "Traceback (most recent call last)" in ran.out:
        raise ViolationError(f"doit {' '.join(ran.command)} ended in a traceback ({ran.ended}):\n{ran.out[-2500:]}")
    killed = {-signal.SIGKILL, 128 + signal.SIGKILL, -signal.SIGTERM} if ran.ended else set()
    if ran.code not in CODES | killed:
        raise ViolationError(f"doit {' '.join(ran.command)} ended with {ran.code} ({ran.ended}):\n{ran.out[-2000:]}")


def check_databases(world: World) -> None:
    """Hold each database to be sound, or remove those that are not where the campaign itself tore one."""
    for name in world.databases():
        found = world.query(name, "PRAGMA integrity_check")
        if found in ([("ok",)], []):
            continue
        if world.state_is_whole:
            raise ViolationError(f"{name} is damaged: {found}")
        remove_database(world.state / name)


def litter(world: World) -> list[str]:
    """Return what lies there, after a quiet run, of drafts that nobody will finish.

    A draft has one name for each file that is written, and the next one who writes that file takes it: it is none.
    """
    names = {"gone", *(name for project in world.projects for name in project.entries)}
    taken = {f".{name}.{suffix}.tmp" for name in names for suffix in ("json", "sha256")}
    taken |= {".models.lock.tmp", ".snapshot.tmp", ".config.tmp"}
    tops = [*(project.root for project in world.projects), world.state]
    found = [path for top in tops for path in top.rglob("*") if path.name.endswith((".tmp", "-journal"))]
    return sorted(str(path.relative_to(world.base)) for path in found if path.name not in taken)


def abandoned(world: World) -> list[str]:
    """Return the unfinished downloads and drafts in the store."""
    partial = world.cache / "partial"
    return sorted(path.name for path in partial.iterdir()) if partial.exists() else []


# ---- what changes


def change_local(world: World, rng: random.Random, *, in_place: bool = False) -> str:
    world.moves += 1
    project = rng.choice(world.projects)
    files = sorted(path for path in (project.root / "m").rglob("*.bin"))
    path = rng.choice(files) if files else project.root / "m" / "0.bin"
    how = rng.choice(
        ["new", "in place", "in place, old times", "append", "cut", "future", "past", "copy", "remove", "mode"]
    )
    if in_place:
        how = rng.choice(["in place", "in place, old times"])
    if not path.exists():
        how = "new"
    size = path.stat().st_size if path.exists() else 0
    if how == "new":
        draft = path.with_suffix(".new")
        draft.write_bytes(rng.randbytes(rng.choice([1, 500, 100_000, 2_000_000])))
        draft.rename(path)
    elif how.startswith("in place"):
        status = path.stat()
        with open(path, "r+b") as file:
            file.seek(rng.randrange(size))
            file.write(rng.randbytes(1))
        if how.endswith("times"):
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "append":
        with open(path, "ab") as file:
            file.write(b"more")
    elif how == "cut":
        os.truncate(path, max(1, size // 2))
    elif how in {"future", "past"}:
        moment = time.time() + (1 if how == "future" else -1) * rng.choice([3, 3600, 10**8])
        os.utime(path, (moment, moment))
    elif how == "copy":
        draft = path.with_suffix(".new")
        subprocess.run(["cp", "-p", "--sparse=always", path, draft], check=True)
        draft.rename(path)
    elif how == "remove":
        path.unlink()
    else:
        os.chmod(path, rng.choice([0o644, 0o444]))
    return f"{path.relative_to(world.base)}: {how}"


def change_policy(world: World, rng: random.Random) -> str:
    project = rng.choice(world.projects)
    name = rng.choice(sorted(project.entries))
    entry = project.entries[name]
    how = rng.choice(["right", "wrong", "none", "lenient", "strict", "recheck", "keep", "touch"])
    if how == "right":
        files = {key: world.lies(str(path)) or "" for key, path in world.local_files(project, entry).items()}
        if not entry["model_ref"].startswith("file:") or not files:
            how = "none"
        elif (project.root / entry["model_ref"].removeprefix("file:")).is_dir():
            entry["expected_digest"] = f"dirhash:{dirhash(files)}"
        else:
            entry["expected_digest"] = f"sha256:{next(iter(files.values()))}"
    if how == "wrong":
        entry["expected_digest"] = f"{'dirhash' if name in {'folder', 'two'} else 'sha256'}:{rng.randbytes(32).hex()}"
    elif how == "none":
        entry.pop("expected_digest", None)
    elif how in {"lenient", "strict"}:
        entry["strict_verification"] = how == "strict"
    elif how == "recheck":
        project.top["recheck"] = rng.choice(["xxh3", "sha256"])
    elif how == "keep":
        entry["keep"] = not entry.get("keep", False)
    project.write()
    return f"models.yaml of {project.root.name}: {name} {how}"


def change_entries(world: World, rng: random.Random) -> str:
    project = world.projects[0]
    if "gone" in project.entries:
        project.entries.pop("gone")
        how = "entry gone removed"
    else:
        project.entries["gone"] = {"model_ref": "file:m/1.bin"}
        how = "entry gone added"
    project.write()
    return how


def change_lock(world: World, rng: random.Random) -> str:
    project = rng.choice(world.projects)
    lock = project.root / "models.lock"
    how = rng.choice(["keep", "back", "remove", "forge"])
    key = f"lock {project.root.name}"
    if how == "keep" and lock.exists():
        world.kept[key] = lock.read_bytes()
    elif how == "back" and key in world.kept:
        lock.write_bytes(world.kept[key])
    elif how == "forge" and lock.exists():
        data = lock.read_bytes()
        lock.write_bytes(re.sub(rb'"sha256": "[0-9a-f]{64}"', b'"sha256": "' + b"0" * 64 + b'"', data, count=1))
    else:
        lock.unlink(missing_ok=True)
        how = "remove"
    return f"models.lock of {project.root.name}: {how}"


def change_store(world: World, rng: random.Random) -> str:
    world.moves += 1
    blobs = sorted((world.cache / "blobs").rglob("*")) if world.cache.exists() else []
    blobs = [path for path in blobs if path.is_file()]
    if not blobs:
        return "store: nothing there"
    blob = rng.choice(blobs)
    how = rng.choice(["flip", "remove", "cut", "tree"])
    if how == "flip":
        data = bytearray(blob.read_bytes())
        data[rng.randrange(len(data))] ^= 1
        os.chmod(blob, 0o644)
        blob.write_bytes(data)
        os.chmod(blob, 0o444)
    elif how == "remove":
        blob.unlink()
    elif how == "cut":
        os.truncate(blob, blob.stat().st_size // 2)
    else:
        links = [path for path in sorted((world.cache / "trees").rglob("*")) if path.is_symlink()]
        if links:
            blob = rng.choice(links)
            blob.unlink()
    return f"{blob.relative_to(world.base)}: {how}"


def change_state(world: World, rng: random.Random) -> str:
    files = [path for path in sorted(world.state.rglob("*")) if path.is_file() and "locks" not in path.parts]
    files = [path for path in files if not path.name.endswith(("-wal", "-shm"))]
    if not files:
        return "state: nothing there"
    path = rng.choice(files)
    # Databases have no checksums: a flipped bit in one can't be found, and who writes the state folder is trusted.
    how = rng.choice(["tear", "keep", "back", "remove", "touch", "tear" if path.suffix == ".db" else "flip"])
    key = str(path)
    if how in {"tear", "flip"}:
        world.state_is_whole = False
        data = bytearray(path.read_bytes())
        if how == "tear":
            data = data[: rng.randrange(len(data) + 1)]
        elif data:
            data[rng.randrange(len(data))] ^= 255
        path.write_bytes(data)
    elif how == "keep":
        world.kept[key] = path.read_bytes()
        world.kept[f"{key}-wal"] = Path(f"{path}-wal").read_bytes() if Path(f"{path}-wal").exists() else b""
    elif how == "back" and key in world.kept:
        world.state_is_whole = False
        remove_database(path)
        path.write_bytes(world.kept[key])
        if path.suffix == ".db":
            Path(f"{path}-wal").write_bytes(world.kept[f"{key}-wal"])
        os.chmod(path, 0o600)
    elif how == "touch":
        moment = time.time() + rng.choice([-(10**8), 10**8])
        os.utime(path, (moment, moment))
    else:
        world.state_is_whole = False
        how = "remove"
        remove_database(path)
    return f"{path.relative_to(world.base)}: {how}"


def remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def change_handoff(world: World, rng: random.Random) -> str:
    project = rng.choice(world.projects)
    found = sorted(project.handoffs())
    if not found:
        return "handoff: nothing there"
    name = rng.choice(found)
    path = project.handoff_path(name)
    how = rng.choice(["remove", "forge", "cut", "copy", "touch", "digests"])
    if how == "remove":
        path.unlink()
    elif how == "forge":
        path.write_bytes(re.sub(rb'"sha256": "[0-9a-f]{8}', b'"sha256": "00000000', path.read_bytes()))
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "copy":
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    elif how == "touch":
        os.utime(path, (1, 1))
    else:
        (project.root / ".runtime" / "digests" / f"{name}.sha256").unlink(missing_ok=True)
    return f"{path.relative_to(world.base)}: {how}"


def change_source(world: World, rng: random.Random) -> str:
    came_from = world.sources
    how = rng.choice(["web", "hub", "web breaks", "web is slow", "hub breaks", "hub is slow", "hub is busy"])
    if how == "web":
        came_from.web.files["/small.bin"] = rng.randbytes(150_000)
        came_from.changed.add("small")
    elif how == "hub":
        came_from.hub.add("org/one", {"one.bin": rng.randbytes(1_500_000)})
        came_from.changed.add("one")
    elif how == "web breaks":
        came_from.web.manners.drop_at = rng.randrange(1, 6_000_000)
        came_from.web.manners.drop_times = rng.choice([1, 3, 1000])
    elif how == "web is slow":
        came_from.web.manners.part = 100_000
    elif how == "hub breaks":
        came_from.hub.fault(
            hub_faults.drop(after=rng.randrange(900_000)), on="*/resolve/*", method="GET", times=rng.choice([1, 5])
        )
    elif how == "hub is slow":
        came_from.hub.fault(hub_faults.slow(2_000_000), on="*/resolve/*", method="GET")
    else:
        came_from.hub.fault(hub_faults.error(503), times=3)
    return f"source: {how}"


CHANGES: list[tuple[int, Callable[[World, random.Random], str]]] = [
    (8, change_local),
    (4, change_policy),
    (1, change_entries),
    (2, change_lock),
    (2, change_store),
    (2, change_state),
    (2, change_handoff),
    (3, change_source),
]


def change(world: World, rng: random.Random) -> str:
    (chosen,) = rng.choices([each for _, each in CHANGES], [weight for weight, _ in CHANGES])
    return chosen(world, rng)


# ---- what is run


def a_command(world: World, project: Project, rng: random.Random) -> tuple[str, ...]:
    name = rng.choice(sorted(project.entries))
    return rng.choices(
        [
            ("provision",),
            ("provision", "--full"),
            ("provision", name),
            ("provision", "--locked"),
            ("provision", "--require-digest"),
            ("provision", "--offline"),
            ("model-lock",),
            ("model-lock", "--upgrade", name),
            ("model-lock", "--check"),
            ("model-verify",),
            ("model-verify", "--full"),
            ("model-check", "--full"),
            ("model-prune", "--older-than", "0s"),
            ("model-retire", name),
            ("model-retire", "--undo", name),
            ("model-attest", name, "-o", str(world.base / "p" / "statement.json")),
            ("model-report", "-o", str(world.base / "p" / "report.html")),
            ("model-list", "--json"),
            ("model-show", name),
            ("model-why",),
        ],
        [24, 5, 6, 3, 2, 2, 5, 5, 2, 3, 4, 2, 5, 4, 3, 3, 2, 1, 1, 1],
    )[0]


DOIT = str(Path(sys.executable).with_name("doit"))


class Running:
    """A command that was begun, in a group of its own, with its output in a file."""

    def __init__(self, world: World, project: Project, command: tuple[str, ...], before: tuple[str, ...] = ()) -> None:
        self.project, self.command, self.ended = project, command, ""
        if "-o" in command:
            Path(command[-1]).unlink(missing_ok=True)
        self._out = tempfile.TemporaryFile(dir=world.base)  # noqa: SIM115  closed in `end`
        self._process = subprocess.Popen(
            [*before, DOIT, *command],
            cwd=project.root,
            env=world.environ,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Send a signal, an interrupt only once the program handles it: before, Python itself answers."""
        handles = 1 << (signal.SIGTERM - 1)
        deadline = time.monotonic() + 10
        while number == signal.SIGINT and time.monotonic() < deadline:
            with suppress(OSError):
                status = Path(f"/proc/{self._process.pid}/status").read_text()
                caught = re.search(r"^SigCgt:\s+(\w+)", status, re.MULTILINE)
                if caught is None or int(caught[1], 16) & handles:
                    break
            if self._process.poll() is not None:
                return
            time.sleep(0.005)
        if self._process.poll() is None:
            self.ended = signal.Signals(number).name
            self._process.send_signal(number)

    def wait_for(self, text: bytes) -> None:
        """Wait until it has printed a text, or has ended."""
        while self._process.poll() is None and text not in os.pread(self._out.fileno(), 1 << 20, 0):
            time.sleep(0.005)

    def end(self) -> Ran:
        """Wait for its end, and that nothing of it goes on. Raises `ViolationError` where it hangs."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise ViolationError(f"doit {' '.join(self.command)} hangs") from None
        deadline = time.monotonic() + 5
        while True:
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                break
            if time.monotonic() > deadline:
                os.killpg(self._process.pid, signal.SIGKILL)
                raise ViolationError(f"doit {' '.join(self.command)} left processes behind")
            time.sleep(0.01)
        self._out.seek(0)
        out = self._out.read().decode(errors="replace")
        self._out.close()
        return Ran(self.command, code, out, self.ended)


def traced(world: World, rng: random.Random, log: Path, inject: str, calls: str) -> tuple[str, ...]:
    """Return the tracer that lets calls go wrong, of those alone that are about files of the world."""
    paths = [world.base / "p", world.base / "s", world.state, world.cache]
    for top in (*(project.root for project in world.projects), world.state, world.cache):
        paths += sorted(top.rglob("*"))
    for project in world.projects:  # what will be there
        paths += [project.root / ".runtime" / name for name in ("engines", "digests", "provenance")]
    paths += [world.state / name for name in ("memo.db", "memo.db-wal", "catalog.db", "catalog.db-wal")]
    chosen = [str(path) for path in dict.fromkeys(paths)][:400]
    trace = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "--seccomp-bpf",
        "-o",
        str(log),
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:{inject}",
    ]
    return (*trace, *(word for path in chosen for word in ("-P", path)), "--")


# ---- steps


@dataclass
class Campaign:
    seed: int
    real: bool
    deadline: float
    verbose: bool
    counts: Counter = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    told: dict[Path, set[str]] = field(default_factory=dict)
    """The models of a project that a command which was killed had said it had read or fetched."""

    def tell(self, text: str) -> None:
        self.story.append(text)
        if self.verbose:
            print(f"    {text}", flush=True)

    def chapter(self, number: int) -> None:
        self.story, self.told = [], {}
        rng = random.Random(f"{self.seed}:{number}")
        with tempfile.TemporaryDirectory(prefix="campaign.") as name, ExitStack() as stack:
            base = Path(name).resolve()
            world = World(base, rng, stack.enter_context(sources(base, rng)), real=self.real)
            try:
                self.quiet(world, "first run")
                for step in range(STEPS):
                    if time.monotonic() > self.deadline:
                        return
                    self.counts["steps"] += 1
                    self.tell(f"step {step}")
                    self.step(world, random.Random(f"{self.seed}:{number}:{step}"))
            except ViolationError as violation:
                step = sum(line.startswith("step") for line in self.story) - 1
                place = f"--seed {self.seed} --chapter {number}, step {step}"
                text = "\n".join([f"VIOLATION at {place}: {violation}", *(f"    {line}" for line in self.story[-14:])])
                self.violations.append(text)
                print(text, flush=True)
            finally:
                world.close()

    def step(self, world: World, rng: random.Random) -> None:
        world.sources.heal()
        for _ in range(rng.choice([0, 1, 1, 2])):
            self.tell(change(world, rng))
            self.counts["changes"] += 1
        kinds = {
            self.kill: 5,
            self.kill_in_the_long_work: 2,
            self.fault: 8,
            self.kill_at_a_call: 3,
            self.crowd: 2,
            self.plain: 3,
        }
        if self.real:
            kinds |= {self.full_disk: 2, self.cut: 3}
        (kind,) = rng.choices(list(kinds), list(kinds.values()))
        kind(world, rng)
        self.counts["rounds"] += 1
        world.sources.heal()
        self.quiet(world, "the next run")
        if rng.random() < 0.3:
            self.nothing_to_do(world)

    def one(
        self, world: World, rng: random.Random, ending: Callable[[Running, Seen], None], before: tuple[str, ...] = ()
    ) -> None:
        """Run a command with whatever happens to it, and check what it left."""
        project = rng.choices(world.projects, [3, 1])[0]
        command = a_command(world, project, rng)
        seen, was = Seen(), look_before(world)
        seen.look(world)
        running = Running(world, project, command, before)
        ending(running, seen)
        ran = running.end()
        seen.look(world)
        self.tell(f"{project.root.name}: doit {' '.join(command)} → {ran.code} {ran.ended}")
        check_step(world, was, seen, [(project, ran)], strict=seen.moments == 2)
        if ran.ended and seen.moments == 2 and world.state_is_whole and project.top.get("recheck") != "sha256":
            self.told[project.root] = set(DONE.findall(ran.out))

    def plain(self, world: World, rng: random.Random) -> None:
        """Change something while a command runs."""

        def ending(running: Running, seen: Seen) -> None:
            time.sleep(rng.uniform(0.2, 1.0))
            self.move(world, rng, seen)

        self.one(world, rng, ending)

    def move(self, world: World, rng: random.Random, seen: Seen) -> None:
        """Change models, models.yaml or sources while commands run."""
        chosen = rng.choice([change_local, change_local, change_policy, change_source, change_lock])
        seen.look(world)
        self.tell(f"meanwhile {chosen(world, rng)}")
        seen.look(world)

    def kill(self, world: World, rng: random.Random) -> None:
        def ending(running: Running, seen: Seen) -> None:
            time.sleep(rng.choice([rng.uniform(0, 0.3), rng.uniform(0.2, 0.8), rng.uniform(0.5, 2)]))
            if rng.random() < 0.25:
                self.move(world, rng, seen)
            running.signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            self.counts["kills"] += bool(running.ended)

        self.one(world, rng, ending)

    def kill_in_the_long_work(self, world: World, rng: random.Random) -> None:
        """Kill a run over all models once it reads the large one: what it can't confirm has no handoff by then."""
        project = world.projects[0]
        path = project.root / "m" / "5.bin"
        world.moves += 1
        with open(path, "wb") as file:
            file.write(rng.randbytes(8))
            file.truncate(LARGE)
        self.tell(change_local(world, rng, in_place=True))
        seen, was = Seen(), look_before(world)
        seen.look(world)
        running = Running(world, project, ("provision",))
        running.wait_for(b"reading l5")
        running.signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        self.counts["kills"] += bool(running.ended)
        ran = running.end()
        seen.look(world)
        self.tell(f"{project.root.name}: doit provision → {ran.code} {ran.ended} in the long work")
        check_step(world, was, seen, [(project, ran)], strict=True)

    def fault(self, world: World, rng: random.Random) -> None:
        error, call = rng.choice(ERRORS), rng.choice(sorted(CALLS))
        first = int(rng.expovariate(1 / USUAL.get(call, FEW))) + 1
        until = rng.choice(["", "", "+", f"..{first + 3}"])
        self._traced(world, rng, f"error={error}:when={first}{until}", call)

    def kill_at_a_call(self, world: World, rng: random.Random) -> None:
        call = rng.choice(sorted(CALLS))
        first = int(rng.expovariate(1 / USUAL.get(call, FEW))) + 1
        self._traced(world, rng, f"signal=KILL:when={first}", call)

    def _traced(self, world: World, rng: random.Random, inject: str, call: str) -> None:
        log = world.base / "strace.log"
        kills = inject.startswith("signal")

        def ending(running: Running, seen: Seen) -> None:
            running.ended = "a kill at a call" if kills else ""

        self.tell(f"{call}: {inject}")
        self.one(world, rng, ending, traced(world, rng, log, inject, CALLS[call]))
        found = log.read_text(errors="replace").splitlines() if log.exists() else []
        hit = [line for line in found if ("+++ killed by SIGKILL" if kills else "(INJECTED)") in line]
        if hit:
            self.counts["kills" if kills else "faults"] += 1
            self.tell(hit[0][:200])

    def full_disk(self, world: World, rng: random.Random) -> None:
        disk = rng.choice(world.disks)
        left = rng.choice([0, 4096, 40_000, 400_000, 3_000_000])
        self.tell(f"{disk.path.name} has {left} bytes left")
        with disk.filled(left):
            self.one(world, rng, lambda running, seen: None)
        self.counts["faults"] += 1

    def cut(self, world: World, rng: random.Random) -> None:
        """Let the power fail: what was not synced is gone. What the next run leaves is checked then."""
        project = rng.choices(world.projects, [3, 1])[0]
        command = a_command(world, project, rng)
        if rng.random() < 0.5:  # which may reach the disk later than what is noted of it
            command = ("provision",)
            self.tell(change_local(world, rng, in_place=True))
        running = Running(world, project, command)
        time.sleep(rng.choice([rng.uniform(0, 0.5), rng.uniform(0.3, 1.5), 3]))
        if rng.random() < 0.4:
            self.tell(f"meanwhile {change_local(world, rng)}")
        world.power_cut()
        running.signal(signal.SIGKILL)
        ran = running.end()
        self.tell(f"{project.root.name}: doit {' '.join(command)} → {ran.code}, power cut")
        world.power_on()
        self.counts["cuts"] += 1
        for each in world.projects:  # models.yaml is the user's, who saved it long ago
            each.write()
        check_databases(world)

    def crowd(self, world: World, rng: random.Random) -> None:
        """Let eight runs work at once, and a loop prune; kill some."""
        seen, was = Seen(), look_before(world)
        seen.look(world)
        runs = []
        for _ in range(8):
            project = rng.choice(world.projects)
            runs.append(
                Running(world, project, rng.choice([("provision",), ("provision",), a_command(world, project, rng)]))
            )
        pruned = []
        for _ in range(3):
            pruned.append(Running(world, rng.choice(world.projects), ("model-prune", "--older-than", "0s")))
            for running in rng.sample(runs, rng.choice([0, 0, 1])):
                running.signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
                self.counts["kills"] += bool(running.ended)
            pruned[-1]._process.wait(PATIENCE)  # noqa: SLF001
        ended = [(each.project, each.end()) for each in (*runs, *pruned)]
        seen.look(world)
        self.tell(
            "a crowd: "
            + ", ".join(f"{project.root.name} {' '.join(ran.command)} → {ran.code}" for project, ran in ended)
        )
        self.counts["crowds"] += 1
        # One of them may have retired or locked what another hands off, so each is held to all that was in force.
        check_step(world, was, seen, ended, strict=False)

    def quiet(self, world: World, what: str) -> None:
        """Run with nothing in the way: it comes to its end, and what it leaves is right."""
        for project in world.projects:
            seen, was = Seen(), look_before(world)
            seen.look(world)
            ran = Running(world, project, ("provision",)).end()
            if ran.code == 2 and not world.state_is_whole:
                ran = self._mend(world, project, ran)
            seen.look(world)
            self.tell(f"{what}, {project.root.name}: → {ran.code}")
            policy = project.policy()
            if ran.code == 3 and any(policy.contradicts(name) for name in policy.entries):
                for entry in project.entries.values():
                    entry.pop("expected_digest", None)
                project.write()
                continue
            if ran.code not in {0, 1}:
                raise ViolationError(f"a quiet run of {project.root.name} ended with {ran.code}:\n{ran.out[-2000:]}")
            check_step(world, was, seen, [(project, ran)], strict=True)
            again = set(DONE.findall(ran.out)) & self.told.pop(project.root, set())
            if again:
                raise ViolationError(
                    f"{', '.join(again)} had been done before the kill, and was done again:\n{ran.out}"
                )
            self._check_who_is_there(world, project, ran)
        check_databases(world)
        world.state_is_whole = True
        self.counts["checks"] += 1

    def _mend(self, world: World, project: Project, ran: Ran) -> Ran:
        """Do what the message says where a file of the state is damaged: take it away."""
        check_end(ran)
        damaged = [path for path in sorted(world.state.rglob("*.db")) if str(path) in ran.out]
        if not damaged:
            raise ViolationError(f"exit 2, and it does not say which file is damaged:\n{ran.out[-2000:]}")
        for path in damaged:
            remove_database(path)
        self.tell(f"removed {', '.join(path.name for path in damaged)}, as the message says")
        return Running(world, project, ("provision",)).end()

    def _check_who_is_there(self, world: World, project: Project, ran: Ran) -> None:
        """Hold the handoffs of local models to what must be there now."""
        policy, handoffs = project.policy(), project.handoffs()
        retired = world.retired(project) or set()
        for name, entry in policy.entries.items():
            if not entry["model_ref"].startswith("file:") or name in retired:
                continue
            files = {key: world.lies(str(path)) or "" for key, path in world.local_files(project, entry).items()}
            if not files:
                should = False
            else:
                is_folder = (project.root / entry["model_ref"].removeprefix("file:")).is_dir()
                digest = f"dirhash:{dirhash(files)}" if is_folder else f"sha256:{next(iter(files.values()))}"
                should = policy.expected(name) in {None, digest} or not entry.get("strict_verification", True)
            if should and name not in handoffs and "corrupt" not in ran.out and "changed, though" not in ran.out:
                raise ViolationError(
                    f"{name} of {project.root.name} is sound, and a quiet run does not hand it off:\n{ran.out[-2000:]}"
                )
            if not should and name in handoffs:
                raise ViolationError(f"{name} of {project.root.name} is not sound, and a quiet run leaves its handoff")

    def nothing_to_do(self, world: World) -> None:
        """Once all is at rest and was confirmed, a run reads nothing, asks nobody, and leaves no litter."""
        for project in world.projects:  # what says it was changed in the future is never at rest
            for path in (project.root / "m").rglob("*"):
                if path.stat().st_mtime > time.time():
                    os.utime(path)
        time.sleep(RACY)
        for project in world.projects:
            Running(world, project, ("provision",)).end()
        failed = set()
        for project in world.projects:
            read, asked = project.readings(), world.sources.asked
            ran = Running(world, project, ("provision",)).end()
            check_end(ran)
            if ran.code == 0 and (project.readings(), world.sources.asked) != (read, asked):
                raise ViolationError(f"{project.root.name} was current, and a run worked again:\n{ran.out[-1500:]}")
            failed |= {project.root.name} if ran.code else set()
        self.counts["idle checks"] += 1
        if left := litter(world):
            raise ViolationError(f"litter: {', '.join(left)}")
        if failed:
            return
        # What no run owns goes when the store is next written, a week after it was last touched.
        for name in abandoned(world):
            os.utime(world.cache / "partial" / name, (time.time() - 8 * 86400,) * 2)
        blob = next(path for path in (world.cache / "trees").rglob("*") if path.is_symlink()).resolve()
        blob.unlink(missing_ok=True)
        for project in world.projects:
            check_end(Running(world, project, ("provision",)).end())
        if blob.exists() and (left := abandoned(world)):
            raise ViolationError(f"old drafts stay in the store: {', '.join(left)}")


def main() -> int:
    """Run the campaign and print what it did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--chapter", type=int, help="run this chapter alone")
    parser.add_argument("--verbose", action="store_true", help="tell each step")
    asked = parser.parse_args()
    real = sys.platform == "linux" and os.geteuid() == 0
    if real and os.environ.get("CAMPAIGN_IS_ALONE") != "1":
        # What it mounts is seen by nobody else, and gone when it ends, however it ends.
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", again, {**os.environ, "CAMPAIGN_IS_ALONE": "1"})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what lies there is cleaned up
    campaign = Campaign(asked.seed, real, time.monotonic() + 60 * asked.minutes, asked.verbose)
    chapters = [asked.chapter] if asked.chapter is not None else range(1 << 30)
    for number in chapters:
        if time.monotonic() > campaign.deadline:
            break
        campaign.chapter(number)
    print(
        ", ".join(
            f"{campaign.counts[name]} {name}"
            for name in ("rounds", "changes", "kills", "faults", "cuts", "crowds", "checks", "idle checks")
        )
    )
    if not real:
        print("Not as root: no disk was filled, and no power cut.")
    print(f"{len(campaign.violations)} violations" if campaign.violations else "no violation")
    return 1 if campaign.violations else 0


if __name__ == "__main__":
    sys.exit(main())

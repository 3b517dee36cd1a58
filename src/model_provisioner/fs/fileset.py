"""What a local path resolves to: one file, the shards of a split GGUF, or every file of a folder.

Only names and file types are inspected, never content. The rules stand in `docs/reference/references.md`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from model_provisioner.errors import UnreadableModelError, UnsoundModelError
from model_provisioner.fs.clock import PROBE
from model_provisioner.fs.unreachable import explain, near_names
from model_provisioner.references.shards import split_names, split_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_HUB_SNAPSHOT = re.compile(r"(?P<repo>.*/models--[^/]+)/snapshots/[^/]+(?:/.*)?", re.DOTALL)
_FILE_SUFFIXES = (".gguf", ".safetensors")


@dataclass(frozen=True)
class Member:
    """One file of a model: its name in the set (a shard's or file's base name) and its absolute path."""

    name: str
    path: str
    role: str = "model"
    """`model`, or the role of the companion that it belongs to."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The files of a companion: what an engine loads beside the model."""

    role: str
    id: str
    """The id of its reference."""
    files: FileSet


@dataclass(frozen=True, kw_only=True)
class FileSet:
    """The files of a model, and those of its companions."""

    path: str
    """What an engine is to open: the file, the first shard, the folder, or the one file in it that the engine takes."""
    kind: Literal["file", "split", "folder"]
    """What the model itself is."""
    members: tuple[Member, ...]
    """The model's, sorted by the bytes of their names, then those of each companion."""
    companions: tuple[Beside, ...] = ()
    folders: tuple[str, ...] = field(default=(), compare=False)
    """The folders that were looked through: one more file moves the times of one of them."""
    stores: tuple[str, ...] = field(default=(), compare=False)
    """Other folders that links of a folder may lead into."""
    fetched: Mapping[str, str] | None = field(default=None, compare=False)
    """The SHA-256 that each file came with, by its name; None where the files were not fetched."""
    _alone: FileSet | None = field(default=None, compare=False, repr=False)
    _place: str | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """Where the model's files were found: the file, the first shard, the folder."""
        return self._place or self.path

    @property
    def model(self) -> FileSet:
        """The files of the model without its companions."""
        return self if self._alone is None else self._alone

    def with_companions(self, companions: Sequence[Beside]) -> FileSet:
        """Return the files of a model together with those of its companions."""
        theirs = (replace(member, role=each.role) for each in companions for member in each.files.members)
        return replace(
            self,
            members=(*self.members, *theirs),
            companions=tuple(companions),
            folders=(*self.folders, *(folder for each in companions for folder in each.files.folders)),
            _alone=self,
        )

    def names(self) -> list[str]:
        """Return for each member a name that no other has: those of companions begin with their role and its number."""
        found = [member.name for member in self.model.members]
        counts: Counter[str] = Counter()
        for each in self.companions:
            counts[each.role] += 1
            found += (f"{each.role}-{counts[each.role]}/{member.name}" for member in each.files.members)
        return found

    def again(self) -> FileSet:
        """Return the files that the paths resolve to now. Raises as `discover` does."""
        if self.companions:
            theirs = [replace(each, files=each.files.again()) for each in self.companions]
            return self.model.again().with_companions(theirs)
        found = replace(discover(self.place, stores=self.stores), fetched=self.fetched)
        return found if self._place is None else replace(found, path=self.path, _place=self._place)

    def opening(self, name: str) -> FileSet:
        """Return the files of a folder of which an engine is to open only the one of this name."""
        return replace(self, path=os.path.join(self.place, name), _place=self.place)


def discover(path: str, *, stores: tuple[str, ...] = ()) -> FileSet:
    """Return the files that a local path resolves to; links of a folder may lead into the folders of `stores`.

    Raises `ModelNotFoundError`, `UnreadableModelError` or `UnsoundModelError`.
    """
    if not os.path.isabs(path):
        path = os.path.join(os.getcwd(), path)
    try:
        status = os.stat(path)
    except OSError as error:
        raise explain(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        return _folder(path, stores)
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_file(path, status.st_mode)
    names = split_names(path)
    if names is not None and names != [os.path.basename(path)]:
        return _split(path, names)
    return FileSet(path=path, kind="file", members=(Member(os.path.basename(path), path),))


def _split(path: str, names: list[str]) -> FileSet:
    folder, name = os.path.split(path)
    if name != names[0]:
        raise UnsoundModelError(
            "a split is referenced by its first shard",
            where=path,
            expected=names[0],
            found=name,
            fix=f"name {os.path.join(folder, names[0])}",
        )
    _check_name(name, path)
    members = tuple(Member(name, os.path.join(folder, name)) for name in names)
    for member in members[1:]:
        _check_shard(member, names)
    return FileSet(path=path, kind="split", members=members)


def _check_shard(shard: Member, names: list[str]) -> None:
    try:
        mode = os.stat(shard.path).st_mode
    except OSError as error:
        if error.errno != errno.ENOENT or os.path.islink(shard.path):
            raise explain(shard.path, error) from None
        similar = near_names(shard.path, lambda name: name not in names and not _is_shard_of_another(name, shard.name))
        raise UnsoundModelError(
            f"a shard of the split is missing: {shard.name}",
            where=os.path.dirname(shard.path),
            expected=f"{len(names)} shards, {names[0]} to {names[-1]}",
            found=f"a file of a similar name, {similar[0]}" if similar else "no such file",
            fix="rename it back if it is that shard, else get the shard again" if similar else "get the shard again",
        ) from None
    if not stat.S_ISREG(mode):
        raise _not_a_file(shard.path, mode)


def _is_shard_of_another(name: str, shard: str) -> bool:
    """Tell whether a name is that of a sound shard of another model than the shard's."""
    this, that = split_prefix(shard), split_prefix(name)
    return this is not None and that is not None and this != that


def _folder(path: str, stores: tuple[str, ...]) -> FileSet:
    if path.rstrip("/").lower().endswith(_FILE_SUFFIXES):
        raise _not_a_file(path, stat.S_IFDIR)
    real = os.path.realpath(path)
    snapshot = _HUB_SNAPSHOT.fullmatch(real)
    allowed = [real, *map(os.path.realpath, stores)]
    if snapshot:
        # The second place is that of blobs which repositories share: those of a repository may be links to it.
        places = snapshot["repo"], os.path.dirname(snapshot["repo"])
        allowed += (os.path.realpath(os.path.join(place, "blobs")) for place in places)
    members = []
    folders: list[str] = []
    for name, entry in _walk(path, folders):
        _check_name(name, path)
        if entry.is_symlink():
            _check_link(entry.path, allowed)
        elif not entry.is_file(follow_symlinks=False):
            raise _not_a_file(entry.path, entry.stat(follow_symlinks=False).st_mode)
        members.append(Member(name, entry.path))
    if not members:
        raise UnsoundModelError(
            "the folder holds no file",
            where=path,
            expected="the files of a model",
            found="none that counts",
            fix="name the folder that holds them; .git, .cache/huggingface and .DS_Store don't count",
        )
    # Every name is UTF-8, whose bytes sort as its characters do.
    ordered = tuple(sorted(members, key=lambda member: member.name))
    return FileSet(path=path, kind="folder", members=ordered, folders=tuple(folders), stores=stores)


def _walk(top: str, seen: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that a folder holds and that is not itself a folder, with its path below `top`; put folders into `seen`."""
    folders = [""]
    while folders:
        below = folders.pop()
        folder = os.path.join(top, below) if below else top
        seen.append(folder)
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise explain(folder, error) from None
        for entry in found:
            name = f"{below}/{entry.name}" if below else entry.name
            if not entry.is_dir(follow_symlinks=False):
                if counts(entry.name):
                    yield name, entry
            elif entry.name != ".git" and not f"/{name}".endswith("/.cache/huggingface"):
                folders.append(name)


def counts(name: str) -> bool:
    """Tell whether a file of this base name is a part of a model: what file managers and our own clock leave is none."""
    return name != ".DS_Store" and not name.startswith(PROBE)


def _check_name(name: str, where: str) -> None:
    """Refuse what `sha256sum` would print in another way, for a set's digest is made of what it prints."""
    try:
        name.encode()
    except UnicodeEncodeError:
        found = "bytes that are not UTF-8"
    else:
        if not re.search(r"[\n\r\\]", name):
            return
        found = "a backslash" if "\\" in name else "a newline"
    raise UnsoundModelError(
        "a name that a set of files can't hold",
        where=where,
        expected="UTF-8 without newline and backslash",
        found=f"{found} in {name}",
        fix="rename it, or move it out of the folder",
    )


def _check_link(link: str, allowed: list[str]) -> None:
    """Refuse a link that leads out of the `allowed` folders, to a folder, or nowhere."""
    try:
        target = os.path.realpath(link)
        mode = os.stat(target).st_mode
    except OSError as error:
        raise explain(link, error) from None
    if stat.S_ISDIR(mode):
        raise UnsoundModelError(
            "a link to a folder, which is not followed",
            where=link,
            expected="links to files",
            found=f"a link to {target}",
            fix="put the folder itself in the place of the link",
        )
    if not any(target.startswith(folder.rstrip("/") + "/") for folder in allowed):
        raise UnsoundModelError(
            "a link that leads out of the model's folder",
            where=link,
            expected="a link to a file inside the folder, or into its Hugging Face cache",
            found=f"a link to {target}",
            fix="put the file itself in the place of the link",
        )
    if not stat.S_ISREG(mode):
        raise _not_a_file(link, mode)


def _not_a_file(path: str, mode: int) -> UnreadableModelError:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
    }
    found = kinds.get(stat.S_IFMT(mode), "something else")
    return UnreadableModelError(
        f"{found} where a file belongs",
        where=path,
        expected="a regular file",
        found=found,
        fix="name the file itself" if stat.S_ISDIR(mode) else "name a file that holds a model",
    )

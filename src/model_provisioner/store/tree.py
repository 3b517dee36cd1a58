"""A tree: the files of one model under the names that an engine wants, as links to blobs."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from typing import TYPE_CHECKING

from model_provisioner.errors import UnsoundModelError
from model_provisioner.fs.fileset import counts
from model_provisioner.fs.paths import NAME_BYTES
from model_provisioner.invocation import command as called
from model_provisioner.references.shards import split_names
from model_provisioner.store.layout import PARTIAL, TREES, Layout, blob_place, store_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from model_provisioner.fs.folder import Folder

KEY, VERSION = re.compile(r"[A-Za-z0-9._-]*-[0-9a-f]{16}"), re.compile("[0-9a-f]{16}")
"""The names of a folder of trees, and of a tree."""

_FORBIDDEN = re.compile(r"[\0\n\r\\]")


def tree_key(ref_id: str) -> str:
    """Return the name of the folder that holds the trees of a model: readable, and unlike any other's."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", ref_id).strip("-.")[:80]
    return f"{slug}-{hashlib.sha256(os.fsencode(ref_id)).hexdigest()[:16]}"


def tree_version(files: Mapping[str, str]) -> str:
    """Return the name of the tree of exactly these files, given as name and SHA-256."""
    lines = sorted(f"{sha256}  {name}\n" for name, sha256 in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def is_tree(root: str, path: str) -> bool:
    """Tell whether a path lies in a tree of the store at `root`, by its name."""
    top = f"{root}/{TREES}/"
    key, _, rest = path.removeprefix(top).partition("/")
    version = rest.partition("/")[0]
    return path.startswith(top) and bool(KEY.fullmatch(key) and VERSION.fullmatch(version))


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names that would leave the tree, or that a set of files can't hold. Raises `UnsoundModelError`."""
    known = set(names)
    for name in sorted(known):
        if fault := _fault(name) or _clash(name, known):
            raise UnsoundModelError(
                "a file name that the store can't hold",
                where=where,
                expected=f"a relative path without .. and of parts of at most {NAME_BYTES} bytes, in UTF-8",
                found=f"{fault}: {_shown(name)}",
                fix="this is how its source names the file: get the model from another source, or leave that file out",
            )


def _fault(name: str) -> str:
    if _FORBIDDEN.search(name):
        return "a NUL, newline or backslash"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "bytes that are not UTF-8"
    if name.startswith("/"):
        return "an absolute path"
    parts = encoded.split(b"/")
    if b".." in parts:
        return "a path that leads out of the model"
    if b"" in parts or b"." in parts:
        return "a part without a name"
    return "a part that is too long" if max(map(len, parts)) > NAME_BYTES else ""


def _clash(name: str, known: set[str]) -> str:
    parts = name.split("/")
    if any("/".join(parts[:count]) in known for count in range(1, len(parts))):
        return "a folder with the name of a file"
    return ""


def _shown(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:200]}…"


class Trees(Layout):
    """The trees of a store."""

    def make_tree(self, ref_id: str, files: Mapping[str, str], *, folder: bool = False) -> str:
        """Give blobs the names that an engine wants, given as name and SHA-256; return what it is to open.

        That is the one file, or the first shard of one split; else, and always where a `folder` was asked for, the
        folder. Raises `UnsoundModelError` for names that can't be, and `StorageError`.
        """
        check_names(files, ref_id)
        key, version, links = tree_key(ref_id), tree_version(files), _links(files)
        path = os.path.join(self.root, TREES, key, version)
        if self._held_links(key, version) != links:
            try:
                self._build(self.folder(f"{TREES}/{key}"), version, links)
            except OSError as error:
                raise store_error("the names of a model can't be made", path, error) from None
        return _opened(path, files, folder=folder)

    def tree(self, ref_id: str, files: Mapping[str, str], *, folder: bool = False) -> str | None:
        """Return what `make_tree` would, if these blobs have their names already; None where there is no such tree.

        Raises `UnsoundModelError` where the tree lacks one of these names, or holds anything else.
        """
        key, version, links = tree_key(ref_id), tree_version(files), _links(files)
        path = os.path.join(self.root, TREES, key, version)
        if (there := self._held_links(key, version)) is None:
            return None
        if there != links:
            raise changed_tree(path, links, there)
        return _opened(path, files, folder=folder)

    def names_blob(self, tree: str, sha256: str) -> bool:
        """Tell whether a tree (`<key>/<version>`, whoever says so) has a name for the blob with this SHA-256."""
        key, _, version = tree.partition("/")
        links = self._held_links(key, version) if KEY.fullmatch(key) and VERSION.fullmatch(version) else None
        return any(isinstance(to, str) and os.path.basename(to) == sha256 for to in (links or {}).values())

    def _held_links(self, key: str, version: str) -> dict[str, str | os.stat_result] | None:
        """Return all that a tree holds: of a link its target. None where there is no tree."""
        try:
            found = self.held(f"{TREES}/{key}/{version}").walk()
            return {name: each for name, each in found if counts(os.path.basename(name))}
        except OSError:
            return None

    def _build(self, folder: Folder, version: str, links: Mapping[str, str]) -> None:
        """Make a tree in `partial`, and move it to its place. Raises `OSError`.

        Whoever builds the same tree at the same time builds an equal one: the first to rename wins.
        """
        partial, draft = self.folder(PARTIAL), f"tree.{secrets.token_hex(8)}"
        try:
            partial.mkdir(draft)
            for name, target in links.items():
                above, last = os.path.split(f"{PARTIAL}/{draft}/{name}")
                self.folder(above).symlink(target, last)
            for each in {os.path.dirname(f"/{name}") for name in links} | {""}:
                self.held(f"{PARTIAL}/{draft}{each.rstrip('/')}").sync()
            try:
                partial.rename(draft, folder, version)
            except OSError:
                if self._held_links(os.path.basename(folder.path), version) == links:
                    return
                # Somebody changed it by hand, or it is of a version of ours that made it in another way.
                folder.rename(version, partial, f"{draft}.old")
                partial.rename(draft, folder, version)
            folder.sync()
        finally:
            for each in (draft, f"{draft}.old"):
                partial.remove_all(each)


def _links(files: Mapping[str, str]) -> dict[str, str]:
    """Return name and target of the links of a tree: relative, so that the store can be moved, and shared under other paths."""
    return {name: "../" * (3 + name.count("/")) + blob_place(sha256) for name, sha256 in files.items()}


def changed_tree(path: str, fetched: Mapping[str, object], there: Mapping[str, object]) -> UnsoundModelError:
    """Return the error for a tree at `path` that holds other files than were fetched; both are given by their names."""
    found = [f"{name} is missing" for name in sorted(fetched.keys() - there.keys())]
    found += [f"{name} was not fetched" for name in sorted(there.keys() - fetched.keys())]
    both = sorted(fetched.keys() & there.keys())
    found += [f"{name} is another file" for name in both if fetched[name] != there[name]]
    return UnsoundModelError(
        "the fetched files of the model are not as they were fetched",
        where=path,
        expected="links to the files that came, and nothing else",
        found=", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else ""),
        fix=f"run `{called('provision')}`, which makes the folder again",
    )


def _opened(path: str, files: Mapping[str, str], *, folder: bool) -> str:
    """Return what an engine is to open: the only file, the first shard of the only split, or the folder."""
    first = min(files)
    above, name = os.path.split(first)
    whole = {os.path.join(above, each) for each in split_names(first) or [name]}
    return path if folder or files.keys() != whole else os.path.join(path, first)

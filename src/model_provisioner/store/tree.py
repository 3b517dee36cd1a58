"""A tree: the files of one model under the names that an engine wants, as links to blobs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from model_provisioner.errors import UnsoundModelError
from model_provisioner.fs.atomic import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME_BYTES = 255
"""How long a part of a path may be on every file system that counts."""

_FORBIDDEN = re.compile(r"[\0\n\r\\]")


def tree_key(ref_id: str) -> str:
    """Return the name of the folder that holds the trees of a model: readable, and unlike any other's."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", ref_id).strip("-.")[:80]
    return f"{slug}-{hashlib.sha256(os.fsencode(ref_id)).hexdigest()[:16]}"


def tree_version(files: Mapping[str, str]) -> str:
    """Return the name of the tree of exactly these files, given as name and SHA-256."""
    lines = sorted(f"{sha256}  {name}\n" for name, sha256 in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


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


def is_tree(folder: str, links: Mapping[str, str]) -> bool:
    """Tell whether a folder holds these links, given as name and target, and nothing else."""
    found = {}
    folders = [""]
    try:
        while folders:
            below = folders.pop()
            with os.scandir(os.path.join(folder, below)) as entries:
                for entry in entries:
                    name = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_symlink():
                        found[name] = os.readlink(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    else:
                        return False
    except OSError:
        return False
    return found == links


def build(folder: str, links: Mapping[str, str], draft: str) -> None:
    """Put the tree of these links at `folder`, by way of the folders `draft` and `draft.old`. Raises `OSError`.

    Whoever builds the same tree at the same time builds an equal one: the first to rename wins.
    """
    try:
        made = {draft}
        os.mkdir(draft, 0o775)
        for name, target in links.items():
            path = os.path.join(draft, name)
            if (parent := os.path.dirname(path)) not in made:
                os.makedirs(parent, 0o775, exist_ok=True)
                made.add(parent)
            os.symlink(target, path)
        for each in made:
            sync_folder(each)
        try:
            os.rename(draft, folder)
        except OSError:
            if is_tree(folder, links):
                return
            # Somebody changed it by hand, or it is of a version of ours that made it in another way.
            os.rename(folder, f"{draft}.old")
            os.rename(draft, folder)
        sync_folder(os.path.dirname(folder))
    finally:
        for each in (draft, f"{draft}.old"):
            _remove_all(each)


def _remove_all(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)

"""What is at a path: for files and folders that are not ours, or that may lie anywhere."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.unreachable import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NAME_BYTES = 255
"""How long a part of a path may be on every file system that counts."""
_MANY = 16
"""To list a folder of so many files that are asked for is quicker than to look at each."""


def is_there(path: str) -> bool:
    """Tell whether anything is at a path, a broken link too. Raises `StorageError` where that can't be told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise storage_error("it can't be told whether a file is there", path, error) from None
    return True


def may_be_there(path: str) -> bool:
    """Return False only where it is certain that nothing is at a path."""
    try:
        return is_there(path)
    except StorageError:
        return True


def names_in(path: str) -> list[str]:
    """Return the names in the folder at `path`, sorted; none where it can't be listed."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def files_below(path: str) -> Iterator[str]:
    """Yield the paths of all that lies below the folder at `path` and is no folder, sorted folder by folder."""
    for where, folders, names in os.walk(path):
        folders.sort()
        yield from (os.path.join(where, name) for name in sorted(names))


def is_any_folder(paths: Iterable[str]) -> bool:
    """Tell whether there is a folder at one of these absolute paths."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, _, name = path.rpartition("/")
        names[folder].add(name)
    return any(_has_folder(folder, wanted) for folder, wanted in names.items())


def _has_folder(folder: str, names: set[str]) -> bool:
    if len(names) >= _MANY:
        try:
            with os.scandir(folder or "/") as found:
                return any(each.name in names and each.is_dir() for each in found)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # what can't be listed can be looked at
    return any(os.path.isdir(f"{folder}/{name}") for name in names)


def real_paths(paths: Sequence[str]) -> list[str]:
    """Return the paths without symbolic links; each folder is resolved once."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = f"{folders[folder]}/{name}"
        found.append(os.path.realpath(real) if os.path.islink(real) else real)
    return found

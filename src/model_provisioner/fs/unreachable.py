"""Why a path can't be reached or written, in words: which part is missing, broken or closed, and what was perhaps meant."""

from __future__ import annotations

import errno
import os
from itertools import islice
from typing import TYPE_CHECKING

from model_provisioner.errors import ModelNotFoundError, StorageError, UnreadableModelError
from model_provisioner.fs.read import NotOursError

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIME_SETTING = "MODEL_PROVISIONER_RUNTIME_DIR"
STATE_SETTING = "MODEL_PROVISIONER_STATE_DIR"
"""What a user sets to have the files of a run, or the state folder, somewhere else."""
EXPECTED = "a file or folder that you may read"
LISTED = 1000
"""How many names of a folder are compared, so that a mistyped path in a huge one is reported at once."""


def explain(path: str, error: OSError) -> ModelNotFoundError | UnreadableModelError:
    """Return the error for an absolute path that the operating system refused to look at or to list."""
    stop = _first_refused(path)
    folder = os.path.dirname(stop) if stop else path
    match error.errno:
        case errno.ENOENT:
            return _not_there(path, stop or path)
        case errno.ENOTDIR:
            what, found = "a file where a folder belongs", f"{folder} is a file"
            fix = "check the path"
        case errno.EACCES | errno.EPERM:
            what = "no permission to look into a folder"
            found = f"{stop} links to {os.readlink(stop)}" if os.path.islink(stop) else folder
            fix = "give yourself read and search permission (r-x) for that folder"
        case errno.ELOOP:
            what, found = "a link that leads in a circle", stop
            fix = "name the file itself"
        case errno.ENAMETOOLONG:
            what, found = "a name longer than the file system takes", f"{len(os.fsencode(path))} bytes"
            fix = "use a shorter path"
        case _:
            what, found = "the path can't be reached", error.strerror or str(error)
            fix = "check that its disk is there and sound"
    return UnreadableModelError(what, where=path, expected=EXPECTED, found=found, fix=fix)


def near_names(path: str, candidate: Callable[[str], bool] = bool) -> list[str]:
    """Return the names beside `path` that its last name may have been meant to be, the nearest first."""
    import difflib

    folder, name = os.path.split(path)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, LISTED) if candidate(entry.name))
    except OSError:
        return []
    folded = {other.casefold(): other for other in names}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), folded)]


def storage_error(what: str, path: str, error: OSError, *, elsewhere: str = RUNTIME_SETTING) -> StorageError:
    """Word a refusal to write or remove a file of ours, which the setting `elsewhere` could move."""
    if isinstance(error, NotOursError):
        return StorageError(
            what,
            where=str(error.filename),
            expected="a file or folder of our own",
            found=f"{error.strerror}, which was left as it is",
            fix=f"remove it, or name the real folder in {elsewhere}",
        )
    moves = "; a handoff goes there if its path begins with {runtime_dir}" if elsewhere == RUNTIME_SETTING else ""
    fixes = {
        "ENOSPC": "free some space on that disk and run again; what was finished is kept",
        "EDQUOT": "free some of your quota on that disk and run again; what was finished is kept",
        "EROFS": f"the disk is read-only: set {elsewhere} to a folder that you can write{moves}",
        "EACCES": f"give yourself write permission to that folder, or set {elsewhere} to one that you can write{moves}",
        "EPERM": f"give yourself write permission to that folder, or set {elsewhere} to one that you can write{moves}",
        "EISDIR": "a folder has the name of this file: rename it",
        "EEXIST": "a file has the name of this folder: rename it",
        "ENOTDIR": "a file has the name of a folder in this path: rename it",
        "ESTALE": "run again",
    }
    name = errno.errorcode.get(error.errno or 0, "")
    return StorageError(
        what,
        where=path,
        expected="a file or folder that we can write",
        found=error.strerror or str(error),
        fix=fixes.get(name, "mend that and run again"),
    )


def _not_there(path: str, stop: str) -> ModelNotFoundError:
    if os.path.islink(stop):
        return ModelNotFoundError(
            "a link that leads nowhere",
            where=path,
            expected=EXPECTED,
            found=f"{stop} links to {os.readlink(stop)}, which is not there",
            fix="mend the link, or name the file itself",
        )
    similar = near_names(stop)
    return ModelNotFoundError(
        "there is no such file or folder",
        where=path,
        expected=EXPECTED,
        found="nothing" if stop == path else f"no folder {stop}",
        fix=f"did you mean {' or '.join(similar)}?"
        if similar
        else "check the path; a relative one starts at the folder of models.yaml",
    )


def _first_refused(path: str) -> str:
    """Return the shortest beginning of an absolute path that can't be inspected; empty where all of it can."""
    ends = [place for place, character in enumerate(path) if character == "/" and place > 0]
    for end in [*ends, len(path)]:
        try:
            os.stat(path[:end])
        except OSError:
            return path[:end]
    return ""

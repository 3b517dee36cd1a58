"""Why a path can't be reached, in words: which part of it is missing, broken or closed, and what was perhaps meant."""

from __future__ import annotations

import errno
import os
from itertools import islice
from typing import TYPE_CHECKING

from model_provisioner.errors import ModelNotFoundError, UnreadableModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

LISTED = 1000
"""How many names of a folder are looked at for a similar one."""


def explain(path: str, error: OSError) -> ModelNotFoundError | UnreadableModelError:
    """Return the error for an absolute path that `os.stat` or `os.scandir` refused."""
    stop = _first_unreachable(path)
    folder = os.path.dirname(stop)
    if os.path.islink(stop) and error.errno == errno.ENOENT:
        return ModelNotFoundError(
            "a link that leads nowhere",
            where=path,
            found=f"{stop} links to {os.readlink(stop)}, which is not there",
            fix="mend the link, or name the file itself",
        )
    match error.errno:
        case errno.ENOENT:
            return _not_found(path, stop)
        case errno.ENOTDIR:
            what, found, fix = "a file where a folder belongs", f"{folder} is a file", "check the path"
        case errno.EACCES | errno.EPERM:
            closed = folder if stop != path else path
            ...
    return UnreadableModelError(what, where=path, found=found, fix=fix)

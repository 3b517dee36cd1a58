"""Which entries have files that a task of the project's `dodo.py` makes, as its last run by doit found.

It only words an error: `makers` in the project's part of the state folder may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.read import JSON_LIMIT, read_if_there
from model_provisioner.fs.root import Roots
from model_provisioner.fs.state_folder import project_folder
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = "makers"


def note_makers(state: str, root: str, names: Iterable[str]) -> None:
    """Note which entries of the project at `root` have files that its tasks make; where it can't be noted, it is not."""
    names = frozenset(names)
    if names == made_by_tasks(state, root):
        return
    with suppress(OSError, StorageError):
        path = os.path.join(project_folder(state, root), _NAME)
        write_atomically(path, json.dumps(sorted(names)).encode(), Roots(state, kind=PrivateFolder))


def made_by_tasks(state: str, root: str) -> frozenset[str] | None:
    """Return the entries that were noted last; None where none ever were."""
    data = read_if_there(os.path.join(project_folder(state, root), _NAME), JSON_LIMIT)
    with suppress(ValueError, TypeError):
        return None if data is None else frozenset(map(str, parse_json(data)))
    return None

"""When a project last used its store: the time of modification of its usage record there (see `store/usage.py`).

A run that finds all current moves that, through a link in the project's part of the state folder. Every no-op imports this
module, so it imports next to nothing.
"""

from __future__ import annotations

import hashlib
import os

from model_provisioner.fs.state_folder import project_folder

FOLDER = "uses"


def link_of(state: str, config: str) -> str:
    """Return the path of the link to the usage record of a configuration, which need not be there."""
    folder, name = os.path.split(config)
    return os.path.join(project_folder(state, folder), f"uses-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}")


def touch(state: str, config: str) -> bool:
    """Note that a project is used now, with all that its record names; return whether it has one."""
    try:
        path = os.readlink(link_of(state, config))
        uses, name = os.path.split(path)
        root, folder = os.path.split(uses)
        if folder != FOLDER or not is_record(name):
            return False
        from model_provisioner.fs.folder import Folder

        # The store is the project's, perhaps: no link in it is followed.
        with Folder.at(root) as store, store.folder(FOLDER) as records:
            records.touch(name)
    except OSError:
        return False
    return True


def is_record(name: str) -> bool:
    """Tell whether a usage record may have this name: 64 hexadecimal digits, and `.json`."""
    stem, ending = name[:64], name[64:]
    return ending == ".json" and len(stem) == 64 and not stem.strip("0123456789abcdef")

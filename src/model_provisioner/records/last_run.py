"""When a project's last run of `provision` ended: the time of modification of `ended` in its part of the state folder.

A run that found nothing to do moves it too, so every no-op imports this module, and it imports next to nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress

from model_provisioner.fs.state_folder import project_folder

NAME = "ended"


def note_end(state: str, root: str) -> None:
    """Note that a run of the project at `root` ends now; where that can't be written, it is not noted."""
    path = os.path.join(project_folder(state, root), NAME)
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        _make(state, path)
    except OSError:
        pass


def _make(state: str, path: str) -> None:
    """Make the file. It is not synced: what a power cut takes away, the next run notes."""
    from model_provisioner.fs.folder import PrivateFolder
    from model_provisioner.fs.root import Roots

    above, name = os.path.split(path)
    with suppress(OSError), Roots(state, kind=PrivateFolder) as roots:
        os.close(roots.make(above).open(name, os.O_WRONLY | os.O_CREAT))


def last_end(state: str, root: str) -> int | None:
    """Return when a run of the project ended last, in seconds since 1970; None where none was noted."""
    try:
        return int(os.lstat(os.path.join(project_folder(state, root), NAME)).st_mtime)
    except OSError:
        return None

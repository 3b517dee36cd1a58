"""The state folder: the user's own (0700, owner checked), on a local disk, never set by a project's files."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from model_provisioner.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def state_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the state folder; nothing is made or checked."""
    if named := environ.get("MODEL_PROVISIONER_STATE_DIR"):
        return os.path.abspath(os.path.expanduser(named))
    base = environ.get("XDG_STATE_HOME")
    if not base or not os.path.isabs(base):  # the XDG specification: a relative value is ignored
        base = os.path.expanduser("~/.local/state")
    return os.path.join(base, "model-provisioner")


def ensure_state_folder(folder: str) -> None:
    """Make the state folder if it is not there; refuse one that others own or may write.

    What lies in it is trusted as the record of what was verified, so nobody else may be able to plant it.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.stat(folder)
    except OSError as error:
        raise StorageError(
            "the state folder can't be made",
            where=folder,
            found=error.strerror or str(error),
            fix="set MODEL_PROVISIONER_STATE_DIR to a folder of your own on a local disk",
        ) from None
    if found.st_uid != os.geteuid():
        raise StorageError(
            "the state folder belongs to somebody else",
            where=folder,
            expected=f"owner {os.geteuid()}",
            found=f"owner {found.st_uid}",
            fix="set MODEL_PROVISIONER_STATE_DIR to a folder of your own",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            "the state folder can be written by others",
            where=folder,
            expected="mode 0700",
            found=f"mode {stat.S_IMODE(found.st_mode):04o}",
            fix=f"chmod 700 {folder}",
        )


def is_private(path: str) -> bool:
    """Tell whether the user owns a file or folder and nobody else may write it: only then is it trusted."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def project_folder(state: str, root: str) -> str:
    """Return the part of the state folder that belongs to the project at `root`."""
    return os.path.join(state, "projects", hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:20])

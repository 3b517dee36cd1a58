"""The state folder: the user's own (0700, owner checked), on a local disk, never set by a project's files.

What lies in it is believed as the record of what was verified. So whoever asks where it is gets no path of a folder that
somebody else could have filled. This module is on the way of every no-op: it imports little.
"""

from __future__ import annotations

import hashlib
import os
import stat

from model_provisioner.errors import StorageError
from model_provisioner.fs.ownership import ROOT, user

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Mapping

_LINKS = 40
"""How many links a path may have, as for Linux."""
_ELSEWHERE = "set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own"


def state_folder(project: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the state folder, which need not be there. `project` is the folder of the project that is asked about.

    Raises `StorageError` for one that can't be believed: it has no absolute path, it lies in the project, or others own it,
    may write it, or may put another in its place.
    """
    default = os.path.normpath(os.path.join(_state_home(environ), "model-provisioner"))
    folder = os.path.expanduser(environ.get("MODEL_PROVISIONER_STATE_DIR") or default)
    if not os.path.isabs(folder):
        raise StorageError(
            "the state folder has no absolute path",
            where=folder,
            expected="an absolute path, or one below a home that is known",
            found="a path that means another folder in every working directory",
            fix=_ELSEWHERE,
        )
    folder = os.path.normpath(folder)
    home = os.path.expanduser("~") if folder == default else None
    check_state_folder(folder, project, may_be_in=home)
    return folder


def _state_home(environ: Mapping[str, str]) -> str:
    base = environ.get("XDG_STATE_HOME", "")  # the XDG specification: a relative value is ignored
    return base if os.path.isabs(base) else os.path.expanduser("~/.local/state")


def check_state_folder(folder: str, project: str | None = None, *, may_be_in: str | None = None) -> None:
    """Raise `StorageError` for a state folder that can't be believed. One that is not there is fine.

    In the project at `project` it may lie only where that is the folder `may_be_in`, or one above it.
    """
    real = _followed(os.path.abspath(folder))
    if project is not None:
        root = os.path.realpath(project)
        if _is_in(real, root) and (may_be_in is None or not _is_in(os.path.realpath(may_be_in), root)):
            raise StorageError(
                "the state folder lies in the project, where any commit may fill it",
                where=folder,
                expected=f"a folder outside {root}",
                found="one inside",
                fix=f"{_ELSEWHERE}, outside the project",
            )
    try:
        found = os.stat(real)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            "the state folder can't be looked at",
            where=folder,
            expected="a folder of our own, or none yet",
            found=error.strerror or str(error),
            fix=_ELSEWHERE,
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise StorageError(
            "the state folder is no folder",
            where=folder,
            expected="a folder of our own, or none yet",
            found="a file",
            fix=_ELSEWHERE,
        )
    if found.st_uid != os.geteuid():
        raise StorageError(
            "the state folder belongs to somebody else",
            where=folder,
            expected=f"owner {user(os.geteuid())}",
            found=f"owner {user(found.st_uid)}",
            fix=_ELSEWHERE if os.geteuid() != ROOT else f"run it as that user, or by `sudo -H`; else {_ELSEWHERE}",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            "the state folder can be written by others",
            where=folder,
            expected="mode 0700",
            found=f"mode {stat.S_IMODE(found.st_mode):04o}",
            fix=f"chmod 700 {folder}",
        )


def _followed(path: str) -> str:
    """Return where a normal absolute path leads. Raises `StorageError` where any user could lead it elsewhere.

    A group that may write a folder above, and who owns it, are not asked: homes are made like that.
    """
    at, links, names = "/", 0, path.split("/")[::-1]
    while names:
        if (name := names.pop()) in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, name)
        try:
            found = os.lstat(here)
        except OSError:  # whoever makes or opens it says why that can't be done
            return os.path.normpath(os.path.join(here, *reversed(names)))
        if stat.S_ISLNK(found.st_mode) and links < _LINKS:
            if found.st_uid not in {os.geteuid(), ROOT}:
                raise StorageError(
                    "the path of the state folder has a link of another user",
                    where=here,
                    expected=f"a link of {user(os.geteuid())} or root",
                    found=f"a link of {user(found.st_uid)}",
                    fix="set MODEL_PROVISIONER_STATE_DIR to a path without that link",
                )
            target, links = os.readlink(here), links + 1
            names += target.split("/")[::-1]
            at = "/" if os.path.isabs(target) else at
            continue
        if names and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise StorageError(
                "anybody may put another folder in the place of the state folder",
                where=here,
                expected="a folder that not everybody may write, or one with the sticky bit",
                found=f"mode {stat.S_IMODE(found.st_mode):04o}",
                fix=f"chmod +t {here}, or {_ELSEWHERE} elsewhere",
            )
        at = here
    return at


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def ensure_state_folder(folder: str) -> None:
    """Make the state folder if it is not there, for the user alone. Raises `StorageError` as `state_folder` does."""
    try:
        _make(os.path.abspath(folder))
    except OSError as error:
        raise StorageError(
            "the state folder can't be made",
            where=folder,
            expected="a folder that can be made, with those above it",
            found=error.strerror or str(error),
            fix="set MODEL_PROVISIONER_STATE_DIR to a folder of your own on a local disk",
        ) from None
    check_state_folder(folder)


def _make(folder: str) -> None:
    """Make a folder, and those above it, for the user alone, as the XDG specification has it. Raises `OSError`."""
    above = os.path.dirname(folder)
    if not os.path.isdir(above):
        _make(above)  # not where it is there: in /proc, nothing can be made all the same, and that is "no such file"
    try:
        os.mkdir(folder, 0o700)
    except OSError:
        if not os.path.isdir(folder):
            raise


def state_id(state: str) -> str:
    """Return the random number of a state folder, which tells it from all others; an empty text before it has one."""
    from model_provisioner.fs.read import read_if_there

    return (read_if_there(os.path.join(state, "id"), 64) or b"").decode("ascii", "replace").strip()


def ensure_state_id(state: str) -> None:
    """Give a state folder its random number, unless it has one. Raises `StorageError`."""
    if not state_id(state):
        import secrets

        from model_provisioner.fs.atomic import write_atomically
        from model_provisioner.fs.folder import PrivateFolder
        from model_provisioner.fs.locking.locks import locked
        from model_provisioner.fs.root import Roots

        ensure_state_folder(state)
        with locked(state, "id", "id"):
            if not state_id(state):
                drawn = f"{secrets.token_hex(16)}\n".encode()
                write_atomically(os.path.join(state, "id"), drawn, Roots(state, kind=PrivateFolder))


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

"""How doit learns that a file changed: for model files the digest memo answers, for all others doit's own way does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from doit.dependency import MD5Checker as DoitChecker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import TypeGuard

    from model_provisioner.hashing.memo import Memo

_models: dict[str, str] = {}
"""The files of models as tasks name them, and their absolute paths."""


def watch(files: Mapping[str, str]) -> None:
    """Let the memo answer for these files from now on."""
    _models.update(files)


def are_watched(files: Collection[str]) -> bool:
    """Tell whether all these files, as tasks name them, are files of models."""
    return _models.keys() >= set(files)


def is_state(found: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Tell whether what is kept of a file has this checker's form: time, size, digest.

    Another checker's (`check_file_uptodate: timestamp` keeps a time) or a damaged one says nothing of the file.
    """
    return isinstance(found, list | tuple) and len(found) == 3


class MD5Checker(DoitChecker):  # type: ignore[misc]  # doit has no types
    """doit's checker, except that a model is never hashed again to see whether it changed.

    Its name and the form of its rows are doit's (time, size, digest): a project that begins or ends to use this plugin
    then runs none of its own tasks again for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opened: Memo | None = None

    def answer_from(self, memo: Memo) -> None:
        """Ask the memo of a run from now on, which has read much of it."""
        self._opened = memo

    def load(self, paths: Iterable[str]) -> None:
        """Read what the memo has of many files at once, so that it is not asked for each of them."""
        self._memo.load(paths)

    @property
    def _memo(self) -> Memo:
        if self._opened is None:
            from model_provisioner.fs.state_folder import state_folder
            from model_provisioner.hashing.memo import Memo

            self._opened = Memo(state_folder())
        return self._opened

    def check_modified(self, file_path: str, file_stat: os.stat_result, state: Any) -> bool:
        """Tell whether the file holds other bytes than when `state` was taken."""
        if not is_state(state):
            return True
        if file_path not in _models:
            return bool(super().check_modified(file_path, file_stat, state))
        path = _models[file_path]
        known = self._memo.known(path) or self._memo.doubted(path)  # whether the second holds, the verify step is asked
        return known is None or known.sha256 != state[2]

    def get_state(self, dep: str, current_state: Any) -> Any:
        """Return what is kept of the file after its task succeeded, None where that is kept already."""
        if not is_state(current_state):
            current_state = None
        if dep not in _models:
            return super().get_state(dep, current_state)
        status = os.stat(dep)
        path = _models[dep]
        # Of a link to a file that was verified under another name, the memo has no row of its own.
        found = self._memo.known(path) or self._memo.last(path)
        # Without any (the memo was deleted during the run) the next run asks the verify step, which asks the file.
        state = [status.st_mtime, status.st_size, "" if found is None else found.sha256]
        return None if current_state is not None and list(current_state) == state else state

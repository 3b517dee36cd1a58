"""What the paths of a configuration depend on beside its bytes: links, home folders and the working directory."""

from __future__ import annotations

import os
import stat

HERE = "."
_SHARED = 255
"""Longer paths are not remembered folder by folder: they are rare, and could be of a hostile length."""


class PathEnvironment:
    """Asks the machine, and each thing once: ten thousand models lie in a few folders."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        """What was asked: of an absolute folder where it leads, of `~` or `~USER` the home, of `.` the working directory."""
        self._real: dict[str, str] = {}

    def ask(self, question: str) -> str:
        """Return the answer to a question of one of the three kinds that `answers` names."""
        answer = self.answers.get(question)
        if answer is None:
            if question == HERE:
                answer = os.getcwd()
            elif question.startswith("~"):
                answer = os.path.expanduser(question)
            else:
                answer = self._follow(question)
            self.answers[question] = answer
        return answer

    def expand(self, path: str) -> str:
        """Return a path with the home in the place of its `~`."""
        if not path.startswith("~"):
            return path
        self.ask(path.partition("/")[0])
        return os.path.expanduser(path)

    def absolute(self, path: str, base: str) -> str:
        """Return a path made absolute, relative ones taken from the folder `base`; its links are kept."""
        return os.path.normpath(os.path.join(base, self.expand(path)))

    def _follow(self, folder: str) -> str:
        """Return what `os.path.realpath` does, but examine each folder above only once."""
        known = self._real.get(folder)
        if known is not None:
            return known
        if len(folder) > _SHARED:
            return os.path.realpath(folder)
        above, name = os.path.split(folder)
        real = self._follow(above) if above != folder else "/"
        if name == "..":
            real = os.path.dirname(real)
        elif name not in {"", "."}:
            real = os.path.join(real, name)
            if _is_link(real):
                real = os.path.realpath(real)
        self._real[folder] = real
        return real


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False

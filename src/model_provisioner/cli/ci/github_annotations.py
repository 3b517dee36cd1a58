"""What a command found as workflow commands of GitHub Actions, which shows them beside the lines of `models.yaml`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_provisioner.errors import printable
from model_provisioner.settings import is_true

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from model_provisioner.cli.ci.cases import Case


def are_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return is_true(environ.get("GITHUB_ACTIONS", ""))


def render(suite: str, cases: Iterable[Case], config: str) -> Iterator[str]:
    """Yield a line for each thing that is wrong or warned of, beside the entry in `config` where it has no place of its own."""
    for case in cases:
        for level, problems in (("error", case.wrong), ("warning", case.warnings)):
            for each in problems:
                file, line = each.place or (config, case.line or 1)
                title = suite if case.is_error else f"{case.name}: {each.kind}"
                yield _command(level, each.text, file=file, line=line, title=title)


def _command(level: str, message: str, *, file: str, line: int, title: str) -> str:
    place = _property(_in_repository(file))
    return f"::{level} file={place},line={line},title={_property(printable(title))}::{_data(message)}"


def _in_repository(path: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a path as annotations name files: from the folder of the repository."""
    top = os.path.realpath(environ.get("GITHUB_WORKSPACE") or os.path.dirname(path))
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return os.path.relpath(real, top) if real.startswith(f"{top.rstrip('/')}/") else real


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

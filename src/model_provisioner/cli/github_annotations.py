"""What a check found as workflow commands of GitHub Actions, which shows them beside the lines of `models.yaml`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from model_provisioner.errors import ConfigError, printable
from model_provisioner.settings import is_true

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.errors import ProvisionError
    from model_provisioner.operations.check import Report

_PLACE = re.compile(r"(?P<path>.+?):(?P<line>\d+)(,|$)")
"""How a fault of a file says where it is."""


def are_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return is_true(environ.get("GITHUB_ACTIONS", ""))


def of_report(report: Report, config: str, lock: str) -> Iterator[str]:
    """Yield a line for each difference and each warning; `config` and `lock` are the paths of the two files."""
    for model in report.models:
        for level, some in (("error", model.differences), ("warning", model.warnings)):
            for each in some:
                yield _command(level, str(each), file=config, line=model.line, title=f"{model.name}: {each.kind}")
    for left in report.left_over:
        file, line = (config, 1) if left.line is None else (lock, left.line)
        yield _command("error", str(left.difference), file=file, line=line, title=f"left over: {left.difference.kind}")


def of_error(error: ProvisionError, config: str) -> Iterator[str]:
    """Yield a line for each fault that kept a check from its answer."""
    for each in error.faults if isinstance(error, ConfigError) else (error,):
        place = _PLACE.match(each.where)
        named = place["path"] if place else error.path if isinstance(error, ConfigError) else config
        line = int(place["line"]) if place else 1
        yield _command("error", str(each), file=os.path.abspath(named), line=line, title="model-check")


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

"""Choose an executor: what the user wrote after --scheduler, or in MODEL_PROVISIONER_SCHEDULER."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from model_provisioner.errors import InputError, MissingExtraError, SettingError
from model_provisioner.installation import with_extra
from model_provisioner.units import AGES, parse_age

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager

    Opens: TypeAlias = Callable[[str], AbstractContextManager[Executor]]
    """Takes what follows the colon; the context is that in which the executor may be used. An executor that has an attribute
    `slots`, a number, does so many tasks at a time."""

SETTING = "MODEL_PROVISIONER_SCHEDULER"
TIMEOUT = "MODEL_PROVISIONER_SCHEDULER_TIMEOUT"
GROUP = "model_provisioner.executors"
"""The entry points by which other packages bring kinds of executors."""

PATIENCE = 600
"""For how many seconds no worker may say anything, beside the time that its file takes."""

_OURS = {"local": "", "dask": "distributed", "ray": "ray"}
"""The kinds that this package brings, and what they import: an extra of the same name installs it."""


@dataclass(frozen=True)
class Scheduler:
    """An executor that was asked for, before anything is connected or started."""

    name: str
    """As messages show it: without a name or a password."""
    opens: Callable[[], AbstractContextManager[Executor]] = field(repr=False)
    patience: int = PATIENCE
    """In seconds: see `PATIENCE`."""


def chosen(option: str | None, environ: Mapping[str, str] = os.environ) -> Scheduler | None:
    """Return what the option --scheduler asks for, or else the environment; None where neither does, or nothing is written.

    Raises `InputError` (of the option) or `SettingError` for what can't be understood, and `MissingExtraError`.
    """
    text = environ.get(SETTING, "") if option is None else option
    if not (text := text.strip()):
        return None
    where, kind = ("the environment", SettingError) if option is None else ("the command line", InputError)
    name, colon, rest = text.partition(":")
    shown = without_credentials(text)[:200]
    example = f"export {SETTING}=local:4" if option is None else "--scheduler local:4"
    ours = name in _OURS
    found = None if ours else next(iter(entry_points(group=GROUP, name=name)), None)
    if not colon or not (ours or found):
        raise kind(
            f"{name!r} is no kind of executor that is known here" if colon else "no kind of executor is named",
            where=where,
            expected=", ".join(
                ["local:N", "dask:ADDRESS", "ray:ADDRESS", *(f"{each}:…" for each in kinds()[len(_OURS) :])]
            ),
            found=shown,
            fix=f"write it as in   {example}",
        )
    if not rest or (name == "local" and not (re.fullmatch(r"[0-9]{1,4}", rest, re.ASCII) and int(rest))):
        raise kind(
            f"{shown} names no executor",
            where=where,
            expected="local:N, N processes" if name == "local" else f"{name}: and what it is reached by",
            found=rest[:80] or "nothing after the colon",
            fix=f"write it as in   {example}",
        )
    if (package := _OURS.get(name)) and find_spec(package) is None:
        raise MissingExtraError(
            f"the executor {name}: needs the package {package}, which is not installed",
            where="the Python that runs this",
            expected=f"the extra {name}",
            found=f"no module {package}",
            fix=f"{with_extra(name)}; or leave --scheduler and {SETTING} out: then files are read by threads of this machine",
        )

    def opens() -> AbstractContextManager[Executor]:
        module: Opens = import_module(f"{__package__}.{name}").opened if found is None else found.load()
        return module(rest)

    return Scheduler(shown, opens, _patience(environ))


def kinds() -> list[str]:
    """Return the kinds of executors that are known here, ours first."""
    return [*_OURS, *sorted({each.name for each in entry_points(group=GROUP)} - _OURS.keys())]


def without_credentials(text: str) -> str:
    """Return a text without what stands before the last @ of an address: a password may hold any character."""
    return re.sub(r"//\S*@", "//", text)


def _patience(environ: Mapping[str, str]) -> int:
    text = environ.get(TIMEOUT, "").strip()
    seconds = parse_age(text) if text else PATIENCE
    if not seconds:
        raise SettingError(
            f"{TIMEOUT} can't be understood",
            where="the environment",
            expected=AGES.replace("30d", "10m"),
            found=text[:80],
            fix=f"export {TIMEOUT}=10m, or take it out of the environment",
        )
    return seconds

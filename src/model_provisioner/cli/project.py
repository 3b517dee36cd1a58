"""What every command begins with: the project's folder, its configuration and records, its models by name.

On the way of every no-op, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager

from model_provisioner.errors import InputError, ProvisionError
from model_provisioner.fs.ownership import other_owner
from model_provisioner.invocation import by_doit, named
from model_provisioner.invocation import command as called

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.config.entries import Config, Entry
    from model_provisioner.engine.events import Progress
    from model_provisioner.engine.rules import Rules
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.errors import UnknownModelError
    from model_provisioner.hashing.executors.window import Window

CONFIG_NAME = "models.yaml"
_NEARLY = ("models.yml", "model.yaml", "model.yml", "Models.yaml")
_BESIDE = ("models.lock", "dodo.py", "doit.cfg", "pyproject.toml")
"""What else says what a project wants, or is run for it."""


def find_config(start: str) -> str | None:
    """Return the path of the `models.yaml` in `start` or the nearest folder above it.

    Raises `InputError` where the project is found above and is another user's: whoever may write a folder above, /tmp for
    instance, would otherwise say what is run here.
    """
    return find_file(CONFIG_NAME, start, beside=_BESIDE)


def find_file(name: str, start: str, beside: Sequence[str] = ()) -> str | None:
    """Return the path of the file of a project in `start` or the nearest folder above it.

    Raises `InputError` where it is found above, and the folder, the file or one `beside` it is another user's.
    """
    folder = _nearest(name, start)
    if folder is None:
        return None
    if folder != os.path.realpath(start):
        for path in (folder, *(os.path.join(folder, each) for each in (name, *beside))):
            if (owner := other_owner(path)) is not None:
                _refuse_unless_trusted(path, owner, folder)
    return os.path.join(folder, name)


def _nearest(name: str, start: str) -> str | None:
    """Return the folder that has a file: `start` or the nearest above it."""
    folder = os.path.realpath(start)
    while not os.path.lexists(os.path.join(folder, name)):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


def _refuse_unless_trusted(path: str, owner: int, folder: str) -> None:
    import shlex

    from model_provisioner.fs.ownership import user
    from model_provisioner.settings import is_on

    if is_on("MODEL_PROVISIONER_TRUST_OWNER"):
        return
    raise InputError(
        "the project in a folder above belongs to another user",
        where=path,
        expected=f"{user(os.geteuid())} or root as its owner",
        found=f"owner {user(owner)}",
        fix=f"if you trust that user: cd {shlex.quote(folder)}, or set MODEL_PROVISIONER_TRUST_OWNER=1",
    )


def state_folder_here() -> str:
    """Return the state folder, for what is asked of it and not of a project: it may not lie in the project here either.

    Raises `StorageError`.
    """
    from model_provisioner.fs.state_folder import state_folder

    return state_folder(_nearest(CONFIG_NAME, os.getcwd()))


def project_config() -> str:
    """Return the path of the nearest `models.yaml`. Raises `InputError` where there is none."""
    if (path := find_config(os.getcwd())) is None:
        raise no_config(os.getcwd())
    return path


def nearly_config(start: str) -> str:
    """Return the name of a file in a folder that was meant to be its `models.yaml`, empty where there is none."""
    return next((name for name in _NEARLY if os.path.lexists(os.path.join(start, name))), "")


def no_config(start: str) -> InputError:
    """Return the error for a folder that is in no project; it says how to begin one."""
    from model_provisioner.invocation import command

    near = nearly_config(start)
    begin, everything = command("add FILE"), command("list --all")
    return InputError(
        f"no {CONFIG_NAME} here or in a folder above",
        where=os.path.abspath(start),
        expected=f"a {CONFIG_NAME}, which makes a folder that of a project",
        found=near or "none up to /",
        fix=f"mv {near} {CONFIG_NAME}"
        if near
        else f"to begin one: `{begin}`; or go to a project's folder, or ask for the whole machine: {everything}",
    )


def enter_project() -> str:
    """Go to the folder of the nearest `models.yaml`, as `provision` does; return the path of the file."""
    path = project_config()
    os.chdir(os.path.dirname(path))  # a document of one model has paths from there
    return path


@contextmanager
def view_project() -> Iterator[Workspace]:
    """Enter the project and open it for reading: nothing is made or changed."""
    from model_provisioner.engine.workspace import look_at_workspace

    with closing(look_at_workspace(enter_project())) as work:
        yield work


@contextmanager
def telling_faults(reply: Reply) -> Iterator[None]:
    """Tell what keeps the project from being read in the block, and go on: the catalog is shown in spite of it."""
    try:
        yield
    except ProvisionError as error:
        reply.add_error(error)
        sys.stderr.write(f"WARNING: the project can't be read, and only the catalog is shown\n{error}\n")


@contextmanager
def open_project(
    *,
    rules: Rules | None = None,
    progress: Progress | None = None,
    window: Window | None = None,
    anew: Collection[str] = (),
) -> Iterator[Workspace]:
    """Enter the project and open it for a change of its records; the entries `anew` are about to be locked again."""
    from model_provisioner.engine.events import silent
    from model_provisioner.engine.workspace import open_workspace

    work = open_workspace(enter_project(), rules=rules, progress=progress or silent, window=window, anew=anew)
    with closing(work), closing(work.lease):
        yield work


def entries_named(work: Workspace, names: Collection[str]) -> list[Entry]:
    """Return the entries of these names, each once. Raises `UnknownModelError`."""
    entries = work.config.entries
    for name in names:
        if name not in entries:
            raise unknown_name(name, work.config)
    return [entries[name] for name in dict.fromkeys(names)]


def unknown_name(name: str, config: Config) -> UnknownModelError:
    """Return the error for a name that is no model, task or target."""
    from model_provisioner.config import entries

    tasks = "`doit list --all` shows the tasks that can be named as well"
    return entries.unknown_name(name, config, tasks if by_doit() else f"`{called('list')}` shows those that there are")


def wrong_count(command: str, expected: str, names: Sequence[str]) -> InputError:
    """Return the error for a command that was given too many or too few names."""
    return InputError(
        f"{named(command)} takes {expected}",
        where="the command line",
        expected=expected,
        found=f"{len(names)} of them: {' '.join(names)}" if names else "none",
        fix=f"give it as `{called('list')}` shows it",
    )

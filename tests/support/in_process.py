"""Run doit, or the program, in this process as if it were one of its own: nothing of a call is left when it returns.

A test that needs a real process (crashes, signals, imports, locales, terminals) asks `Project.start` for it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import doit.__main__
import doit.cmd_run
import doit.doit_cmd
import doit.globals
import doit.loader
import doit.plugin
import pytest
from doit.action import CmdAction, PythonAction
from doit.doit_cmd import DoitMain

from model_provisioner.cli import program
from model_provisioner.fs import clock, sqlite
from model_provisioner.plugin import checker

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
ROOT = str(Path(__file__).parents[2])
LIBRARIES = tuple(known for path in sys.path if path for known in (path, os.path.realpath(path)))
BOUND_TO_ENVIRONMENT = re.compile(r"huggingface_hub(\.|$)").match
"""Tells the modules of the package that reads the environment when it is imported."""

doit.plugin.entry_points = cache(doit.plugin.entry_points)  # each call of doit reads what hundreds of packages declare


class Doit(DoitMain):
    """doit, named as `python -m doit` names itself."""

    BIN_NAME = "__main__.py"


def doit_here(arguments: tuple[str, ...]) -> int | None:
    """Run `doit ARGUMENTS`."""
    sys.argv = [doit.__main__.__file__, *arguments]
    return Doit().run(list(arguments))


def program_here(arguments: tuple[str, ...]) -> int:
    """Run `model-provisioner ARGUMENTS`."""
    sys.argv = [program.__file__, *arguments]
    return program.run(list(arguments))


def run_here(
    main: Callable[[tuple[str, ...]], int | None],
    arguments: tuple[str, ...],
    folder: str | Path,
    environ: Mapping[str, str],
) -> tuple[int, str, str]:
    """Run a program in a folder under an environment; return its exit code, what it printed, and its errors."""
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        with (
            _leaving_nothing_open((*arguments, "run")[0]),
            _surroundings(folder, environ),
            _modules(),
            _globals(),
            _streams(out, err),
        ):
            try:
                code = main(arguments)
            except SystemExit as end:
                code = end.code
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return int(code or 0), *texts


@contextmanager
def _surroundings(folder: str | Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Change the working directory, the environment and what Python warns of, as the process would have them."""
    before, there = dict(os.environ), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ResourceWarning)  # doit leaves the pipes of its commands open
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.chdir(there)
    assert handlers == {number: signal.getsignal(number) for number in ENDING}, "a signal is still handled"


@contextmanager
def _modules() -> Iterator[None]:
    """Forget the modules of the project, and those that were bound to an environment."""
    path, argv, bytecode = list(sys.path), sys.argv, sys.dont_write_bytecode
    bound = _take_out([name for name in sys.modules if BOUND_TO_ENVIRONMENT(name)])
    importers, modules = set(sys.path_importer_cache), set(sys.modules)
    try:
        sys.path[:] = [os.getcwd(), *(each for each in path if each not in {"", ROOT})]
        sys.dont_write_bytecode = True  # a `dodo.py` that changes within a second keeps its size at times
        yield
    finally:
        sys.path[:], sys.argv, sys.dont_write_bytecode = path, argv, bytecode
        for name in sys.path_importer_cache.keys() - importers:
            del sys.path_importer_cache[name]
        _take_out(
            [name for name in sys.modules.keys() - modules if BOUND_TO_ENVIRONMENT(name) or _is_of_a_project(name)]
        )
        sys.modules.update(bound)
        importlib.invalidate_caches()


def _take_out(names: list[str]) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in names}


def _is_of_a_project(name: str) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return bool(file) and not file.startswith(LIBRARIES)


@contextmanager
def _globals() -> Iterator[None]:
    """Give the modules of doit, and ours, the state of a fresh process, and close what is in it afterwards."""
    kept = PythonAction.pm_pdb, CmdAction.STRING_FORMAT, doit.loader.initial_workdir
    ours = [(vars(module), dict(vars(module))) for name, module in sys.modules.items() if _is_ours(name)]
    _reset()
    try:
        yield
    finally:
        manager = doit.globals.Globals.dep_manager
        if manager is not None:
            manager.close()
            if (memo := getattr(manager.checker, "_opened", None)) is not None:
                memo.close()
        _reset()
        for now, before in ours:  # a `dodo.py` may replace what it likes
            now.update(before)
        PythonAction.pm_pdb, CmdAction.STRING_FORMAT, doit.loader.initial_workdir = kept


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "model_provisioner"


def _reset() -> None:
    checker._models.clear()
    clock._kinds.clear()
    sqlite._inherited.clear()
    doit.globals.Globals.dep_manager = None
    doit.doit_cmd._CMDLINE_VARS = None


@contextmanager
def _streams(out, err) -> Iterator[None]:
    """Let this process, and those that it starts, print into two files, and read from nothing."""
    names, files = ("stdin", "stdout", "stderr"), (open(os.devnull, "rb"), out, err)
    before = [getattr(sys, name) for name in names]
    for stream in before[1:]:
        stream.flush()
    saved = [os.dup(number) for number in range(3)]
    default = doit.cmd_run.opt_outfile
    try:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        default["default"] = sys.stdout
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, fd in enumerate(saved):
            os.dup2(fd, number)
            os.close(fd)
        files[0].close()
        for name, stream in zip(names, before, strict=True):
            setattr(sys, name, stream)
        default["default"] = sys.stdout


@contextmanager
def _leaving_nothing_open(command: str) -> Iterator[None]:
    """Fail where a call leaves a file open, or a thread running, that it did not find so."""
    files, threads, at_exit = _open_files(), set(threading.enumerate()), []
    register, unregister = atexit.register, atexit.unregister

    def note(call, *values):
        register(call, *values) if _is_pythons(call) else at_exit.append((call, values))
        return call

    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atexit, "register", note)
        patch.setattr(
            atexit, "unregister", lambda call: unregister(call) if _is_pythons(call) else at_exit.remove((call, ()))
        )
        try:
            yield
        finally:
            for call, values in reversed(at_exit):
                call(*values)
            left = _open_files().items() - files.items()
            gc.collect()
            gc.unfreeze()
            assert not left, f"`doit {command}` leaves open until the collector comes: {left}"
    left = _open_files().items() - files.items()
    assert not left, f"`doit {command}` leaves open: {left}"
    left = {each for each in set(threading.enumerate()) - threads if SERVER not in each.name}
    assert not left, f"`doit {command}` leaves running: {left}"


def _is_pythons(call: Callable) -> bool:
    """Tell whether Python's own library calls this when the process ends: `weakref` then finalizes nothing any more."""
    return (getattr(call, "__module__", None) or "").partition(".")[0] in sys.stdlib_module_names


SERVER = "process_request_thread"
"""What is in the name of a thread that answers a request: the servers of a test begin and end them as they like."""


def _open_files() -> dict[str, str]:
    """Return what is open: sockets apart, which the servers of a test open and close as they like."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            file = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
        if not file.startswith("socket:"):
            found[name] = file
    return found

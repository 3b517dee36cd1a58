"""The window: hands files to an executor, so many at a time, and judges what comes back.

All threads of a run share one window. What a worker says of a file counts only where it saw that file, as it is here, before
and after it read it. Trouble of the executor is an `ExecutorError`.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import ExitStack, suppress
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from model_provisioner.errors import ExecutorError
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.hashing.executors.choose import without_credentials
from model_provisioner.hashing.executors.tasks import Hashed, SawAnother, look_asked, size_of, tasks_of
from model_provisioner.hashing.executors.worker import hash_files, look_of
from model_provisioner.hashing.threads import CHECK_SECONDS, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from model_provisioner.hashing.executors.choose import Scheduler
    from model_provisioner.hashing.executors.tasks import Answer, Asked, Task
    from model_provisioner.hashing.executors.worker import Look, Said
    from model_provisioner.hashing.streaming import Progress

SLOTS = 16
"""How many tasks an executor is taken to do at a time that does not say."""
AHEAD = 256 << 20
"""While no more bytes than so many a slot are in flight, each slot has a second task waiting: small ones keep it busy so."""
CONNECT_SECONDS = 30
CLOSE_SECONDS = 5
NAMED = 16
"""How many of the files that had to be read here are named: on a mount that numbers inodes anew it may be each of millions."""
SLOWEST = 32 << 20
"""Bytes per second: the least that a worker is expected to read."""

Work: TypeAlias = "Callable[[Sequence[tuple[str, Look]]], tuple[str, list[Said]]]"
Result = TypeVar("Result")


class Window:
    """Hands files to the executor that a user asked for, which is opened when it is first used. Threads may share it.

    `work` is what a worker is to do with them: a function as `worker.hash_files` is.
    """

    def __init__(self, scheduler: Scheduler, work: Work = hash_files) -> None:
        self._scheduler, self._work = scheduler, work
        self._opening = Lock()
        self._open = ExitStack()
        self._executor: Executor | None = None
        self._room = Condition()
        self._flying: list[int] = []
        """The bytes of each task in flight."""
        self._heard = 0.0
        """When a task last ended, or the first began, by the monotonic clock."""

        self._refused: ExecutorError | None = None
        """Why the executor could not be opened: threads that wait for it do not each try again."""
        self.read_here: dict[str, str] = {}
        """Why files had to be read here though they were handed over, by path: the first `NAMED`."""
        self.more_read_here = 0
        """How many there were beside these."""

    def close(self) -> None:
        """End the executor, or the connection to it; its next use opens it again. What is in flight is given up."""
        with self._opening:
            self._refused = None
            if self._executor is not None:
                self._executor = None
                with suppress(Exception):  # one that is gone does not answer to a farewell
                    _within(CLOSE_SECONDS, self._open.close)

    def connect(self) -> None:
        """Open the executor where it is not open. Raises `ExecutorError` where it can't be reached."""
        self._opened()

    @property
    def slots(self) -> int:
        """How many tasks the executor does at a time, and so about how many models are worth reading side by side.

        Raises `ExecutorError` where it can't be reached.
        """
        return getattr(self._opened(), "slots", None) or SLOTS

    def hash(self, files: Sequence[Asked], progress: Progress) -> Generator[list[tuple[Asked, Answer]]]:
        """Hash files on the executor; yield what is found of them task by task, as each is done, in any order.

        `progress` is told of the bytes of each, and of 0 bytes several times a second: what it raises ends it. No more is
        handed over than the executor has use for. A caller that stops early, or raises, leaves nothing behind that waits.

        Raises `ExecutorError`.
        """
        slots = self.slots
        waiting = deque(tasks_of(files))
        running: dict[Future[Any], Task] = {}
        try:
            while waiting or running:
                while waiting and self._enter(size_of(waiting[0]), slots, patient=not running):
                    task = waiting.popleft()
                    running[self._submit(task)] = task
                progress(0)
                wait(running, CHECK_SECONDS, FIRST_COMPLETED)
                done = [future for future in running if future.done()]  # `wait` overlooks what was only cancelled
                for future in done:
                    task = running.pop(future)
                    found = self._judged(task, future)
                    for file, each in found:
                        if isinstance(each, SawAnother):
                            self.note_read_here(file.path, each.found)
                    yield found
                    progress(size_of(task))
                if not done:
                    self._check_silence()
        finally:
            for future in running:
                future.cancel()

    def note_read_here(self, path: str, why: str) -> None:
        """Note that a file was read here though it was handed over, and why."""
        with self._room:
            if path in self.read_here or len(self.read_here) < NAMED:
                self.read_here[path] = why
            else:
                self.more_read_here += 1

    def _opened(self) -> Executor:
        with self._opening:
            if self._refused is not None:
                raise self._refused
            if self._executor is None:
                try:
                    self._executor = _within(CONNECT_SECONDS, lambda: self._open.enter_context(self._scheduler.opens()))
                except Exception as error:  # noqa: BLE001  which errors they are is for each engine to choose
                    what, fix = "the executor can't be used", "start it, or correct the address"
                    self._refused = self._trouble(what, "one that answers there", error, fix)
                    raise self._refused from None
            return self._executor

    def _enter(self, size: int, slots: int, *, patient: bool) -> bool:
        """Take room for a task of so many bytes; return whether there was some. A `patient` caller waits for it a while."""
        with self._room:

            def has_room() -> bool:
                tasks = len(self._flying)
                return tasks < slots or (tasks < 2 * slots and sum(self._flying) + size <= AHEAD * slots)

            if not (self._room.wait_for(has_room, CHECK_SECONDS) if patient else has_room()):
                return False
            if not self._flying:
                self._heard = time.monotonic()
            self._flying.append(size)
            return True

    def _leave(self, size: int) -> None:
        with self._room:
            self._flying.remove(size)
            self._heard = time.monotonic()
            self._room.notify_all()

    def _submit(self, task: Task) -> Future[Any]:
        size = size_of(task)
        try:
            future = self._opened().submit(self._work, [(each.path, look_asked(each)) for each in task])
        except BaseException as error:
            self._leave(size)
            if isinstance(error, Exception):
                raise self._failed(task, error) from None
            raise
        future.add_done_callback(lambda _: self._leave(size))
        return future

    def _judged(self, task: Task, future: Future[Any]) -> list[tuple[Asked, Answer]]:
        """Return what a task found, as far as it can be believed."""
        if future.cancelled():
            raise self._failed(task, CancelledError("it was given up"))
        if (error := future.exception()) is not None:
            raise self._failed(task, error)
        match future.result():
            case str(host), said if isinstance(said, list) and len(said) == len(task):
                return [(asked, self._answer(asked, each, host[:80])) for asked, each in zip(task, said, strict=True)]
        raise self._incomprehensible(future.result())

    def _answer(self, asked: Asked, said: object, host: str) -> Answer:
        look = look_asked(asked)
        match said:
            case str(sha256), before, after if len(sha256) == 64 and not sha256.strip("0123456789abcdef"):
                if before == after == look:
                    return Hashed(sha256)
                return SawAnother(f"it changed while {host} read it")
            case (str(why), _):
                return SawAnother(f"{host} could not read it to its end: {why[:200]}")
            case (other,):
                return SawAnother(f"{host} sees another file there: {_worded(other)}, and not {_worded(look)}")
            case str(why):
                status = stat_or_none(asked.path)
                if status is None or look_of(status) != look:
                    return SawAnother(f"{host} could not read it: {why[:200]}")
                raise self._error(
                    "a worker can't read a file that is here",
                    where=asked.path,
                    expected="the same files under the same paths on every worker, for a user who may read them",
                    found=f"on {host}: {why[:200]}",
                    fix="mount the folder there",
                )
        raise self._incomprehensible(said)

    def _check_silence(self) -> None:
        with self._room:
            tasks, silent = len(self._flying), time.monotonic() - self._heard
            allowed = self._scheduler.patience + max(self._flying, default=0) / SLOWEST
        if tasks and silent > allowed:
            raise self._error(
                "the workers are silent",
                where=self._scheduler.name,
                expected=f"that one of {tasks} tasks ends within {allowed:.0f} s",
                found=f"none in {silent:.0f} s",
                fix="look at the workers; where they are only busy, set MODEL_PROVISIONER_SCHEDULER_TIMEOUT=1h",
            )

    def _incomprehensible(self, said: object) -> ExecutorError:
        return self._error(
            "a worker says what can't be understood",
            where=self._scheduler.name,
            expected="workers with this version of model-provisioner",
            found=repr(said)[:200],
            fix="install the same version everywhere",
        )

    def _failed(self, task: Task, error: BaseException) -> ExecutorError:
        """Return what to say of a task that ended without an answer."""
        about = task[0].path + (f" and {len(task) - 1} more" if len(task) > 1 else "")
        return self._trouble(
            f"a worker failed, or was lost, while it had {about}",
            "workers that stay, with this version of model-provisioner",
            error,
            "look at its log, and see that it has memory",
        )

    def _trouble(self, what: str, expected: str, error: BaseException, fix: str) -> ExecutorError:
        found = without_credentials(f"{type(error).__name__}: {error}".split("\n", 1)[0]).removesuffix(": ")[:300]
        return self._error(what, where=self._scheduler.name, expected=expected, found=found, fix=fix)

    def _error(self, what: str, *, where: str, expected: str, found: str, fix: str) -> ExecutorError:
        return ExecutorError(
            what,
            where=where,
            expected=expected,
            found=found,
            fix=f"{fix}; or leave --scheduler out: then the files are read by this machine",
        )


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what a call into another program returns; leave it behind, with a `TimeoutError`, after so many seconds."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise TimeoutError(f"no answer within {seconds:.0f} s")

    return left_behind(call, check)


def _worded(look: object) -> str:
    match look:
        case int(size), int(mtime_ns), int(inode):
            return f"{size:,} bytes of {mtime_ns / 1e9:.6f}, inode {inode}"
    return repr(look)[:80]

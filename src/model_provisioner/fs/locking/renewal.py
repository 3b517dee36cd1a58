"""Renewal: a thread that moves the times of open files every 30 seconds, so that hosts without our locks see that we live."""

from __future__ import annotations

import contextlib
import os
import threading

EVERY_S = 30.0
"""Seconds between two renewals of a file."""


class Renewal:
    """The files that this process renews. Its thread ends with the last of them, and with the process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Renew nothing: in a forked child, whose parent has the thread and renews on."""
        self._turn = threading.Condition()
        self._files: set[int] = set()
        self._thread: threading.Thread | None = None

    def begin(self, fd: int) -> None:
        """Renew an open file from now on, until `end`."""
        with self._turn:
            self._files.add(fd)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)
                self._thread.start()

    def end(self, fd: int) -> None:
        """Renew an open file no longer: to be called before it is closed."""
        with self._turn:
            self._files.discard(fd)
            if self._files or self._thread is None:
                return
            last, self._thread = self._thread, None
            self._turn.notify_all()
        last.join()

    def _run(self) -> None:
        with self._turn:
            while not self._turn.wait_for(lambda: self._thread is not threading.current_thread(), EVERY_S):
                for fd in self._files:
                    with contextlib.suppress(OSError):  # its disk may be back in 30 seconds
                        os.utime(fd)


RENEWAL = Renewal()
os.register_at_fork(after_in_child=RENEWAL.forget)

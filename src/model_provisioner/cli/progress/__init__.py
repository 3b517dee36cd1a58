"""Shows on stderr how far long readings and fetches are: on a terminal as they go on, in a log by a line now and then."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from model_provisioner.cli.progress.lines import Lines
from model_provisioner.engine.events import LockWaits

if TYPE_CHECKING:
    from model_provisioner.cli.progress.screen import Screen
    from model_provisioner.fs.locking.holder import Holder

_shown: Screen | Lines = Lines()
"""The progress that this process began last."""


def progress_for_stderr() -> Screen | Lines:
    """Return the progress that suits where stderr goes; a terminal that can't go back gets lines, as a log does."""
    global _shown  # noqa: PLW0603  a process has one stderr
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        _shown = Lines()
    else:
        from model_provisioner.cli.progress.screen import Screen

        _shown = Screen()
    return _shown


def show_wait(path: str, holder: Holder | None) -> None:
    """Show on stderr that a lock is waited for, and by whom it is held, beside what else is shown there."""
    _shown(LockWaits(path, holder))

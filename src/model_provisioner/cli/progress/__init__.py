"""Shows on stderr how far long readings and fetches are: on a terminal as they go on, in a log by a line now and then."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from model_provisioner.cli.progress.lines import Lines

if TYPE_CHECKING:
    from model_provisioner.cli.progress.screen import Screen


def progress_for_stderr() -> Screen | Lines:
    """Return the progress that suits where stderr goes; a terminal that can't go back gets lines, as a log does."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines()
    from model_provisioner.cli.progress.screen import Screen

    return Screen()

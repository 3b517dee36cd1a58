"""A disk that takes its time for each MiB of a model: what reads it reads for long, and takes no processor for that."""

from pathlib import Path

from tests.support.project import Project

_SITE = """
import os, time
read = os.preadv

def preadv(fd, buffers, offset):
    if offset and not os.path.exists({fast!r}):
        time.sleep({seconds})
    return read(fd, buffers, offset)

os.preadv = preadv
"""


class SlowDisk:
    """Lets the processes that a project starts wait before each further MiB of a file, until the disk is fast again."""

    def __init__(self, project: Project, seconds: float) -> None:
        folder = project.state.parent / "slow disk"
        folder.mkdir()
        self._fast: Path = folder / "fast"
        (folder / "sitecustomize.py").write_text(_SITE.format(fast=str(self._fast), seconds=seconds))
        project.environ["PYTHONPATH"] = str(folder)

    def be_fast(self) -> None:
        """Wait no more."""
        self._fast.touch()

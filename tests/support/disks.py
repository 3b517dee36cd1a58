"""Real file systems in files, which a test mounts, cuts the power of, and mounts again. They need root and loop devices."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)."""
NO_LOG_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk by now never comes there."""


def need_mounts(*programs: str) -> None:
    """Skip the test, and say why, where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("there are no loop devices here")
    for program in ("mount", "umount", "losetup", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@dataclass(frozen=True)
class Disk:
    """A file system in the file `image`, as the block device `device`, at the folder `at`.

    The device stays when it is unmounted: after a start of the machine a disk has the number that it had.
    """

    image: Path
    device: str
    at: Path

    def mount(self, *options: str) -> None:
        self.at.mkdir(exist_ok=True)
        command = ["mount", *(["-o", ",".join(options)] if options else []), self.device, self.at]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            pytest.skip(f"nothing can be mounted here: {run.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", self.at], check=True, capture_output=True)
        for _ in range(300):  # another process may just have begun a mount table of its own, with this mount in it
            try:
                os.close(os.open(self.device, os.O_RDONLY | os.O_EXCL))
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"{self.device} is still mounted somewhere")

    def cut(self) -> None:
        """Cut the power: from now on nothing reaches the disk."""
        fd = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)


@contextmanager
def attached(image: Path, at: Path) -> Iterator[Disk]:
    """Attach the image of a file system to a block device; it is mounted nowhere at the end of the block."""
    run = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"no loop device can be had here: {run.stderr.strip()}")
    device = run.stdout.strip()
    try:
        yield Disk(image, device, at)
    finally:
        subprocess.run(["umount", "-l", at], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=True, capture_output=True)


@contextmanager
def ext4(folder: Path, name: str, size: int = 48 << 20) -> Iterator[Disk]:
    """Make a file system of `size` bytes and mount it; it is gone at the end of the block."""
    image = folder / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    with attached(image, folder / name) as disk:
        disk.mount()
        yield disk
    image.unlink()

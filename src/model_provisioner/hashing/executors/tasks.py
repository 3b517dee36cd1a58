"""What is handed over, and what is answered. A large file is a task, small ones are tasks together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.hashing.executors.worker import Look

LARGE = 64 << 20
"""A file of more bytes is a task of its own. Smaller ones are put together up to so many bytes."""
FILES = 256
"""How many files a task has at the most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A file as it is here, and as a worker must see it."""

    path: str
    size: int
    """In bytes."""
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Hashed:
    """The bytes of the file, as a worker says that read them."""

    sha256: str


@dataclass(frozen=True, slots=True)
class SawAnother:
    """A worker saw another file at the path, or it changed meanwhile: it has to be read here."""

    found: str
    """In words."""


Answer: TypeAlias = Hashed | SawAnother
Task: TypeAlias = tuple[Asked, ...]


def tasks_of(files: Sequence[Asked]) -> list[Task]:
    """Put files together to tasks, in their order; a large one is alone."""
    tasks: list[Task] = []
    some: list[Asked] = []
    total = 0
    for each in files:
        if each.size > LARGE:
            tasks.append((each,))
            continue
        if total + each.size > LARGE or len(some) == FILES:
            tasks.append(tuple(some))
            some, total = [], 0
        some.append(each)
        total += each.size
    return [*tasks, tuple(some)] if some else tasks


def size_of(task: Task) -> int:
    """Return the bytes of a task."""
    return sum(each.size for each in task)


def look_asked(asked: Asked) -> Look:
    """Return how a worker must see a file."""
    return asked.size, asked.mtime_ns, asked.inode

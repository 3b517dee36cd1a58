"""Every error this library raises on purpose, as one tree under `ProvisionError`.

A message answers five questions: what went wrong, where, what was expected, what was found, and how to mend it.
It never holds a credential: references are shown by their id, which has none.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping


def printable(text: str | os.PathLike[str]) -> str:
    """Return `text` with every character that could move the cursor, colour the terminal or hide itself escaped."""
    text = os.fspath(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class ProvisionError(Exception):
    """The root of the tree. `exit_code` is what a command ends with when this error stops it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", found: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        fields = (("where", self.where), ("expected", self.expected), ("found", self.found), ("fix", self.fix))
        lines = [f"  {label:<8}  {printable(text)}" for label, text in fields if text]
        return "\n".join([printable(self.what), *lines])


def _again(kind: type[ProvisionError], args: tuple[object, ...], fields: dict[str, object]) -> ProvisionError:
    """Make an error again that came from another process: its subclasses take other arguments than they keep."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


# ---- bad input: exit code 3


class InputError(ProvisionError):
    """What the user wrote can't be used as it stands."""

    exit_code = 3


class InvalidReferenceError(InputError):
    """A model reference of no known form."""


class InvalidDigestError(InputError):
    """A digest that is not `sha256:` or `dirhash:` and 64 hexadecimal digits."""


class ConfigError(InputError):
    """The faults of one configuration file, all of them at once (`faults`)."""

    def __init__(self, path: str, faults: Iterable[InputError]) -> None:
        self.path = path
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(f"{path}: {count} fault{'s' if count != 1 else ''}")

    def __str__(self) -> str:
        return "\n\n".join([printable(self.what), *map(str, self.faults)])


class UnknownModelError(InputError):
    """A name or id that neither the configuration nor the catalog knows."""


# ---- a model failed: exit code 1


class ModelNotFoundError(ProvisionError):
    """A reference whose file or folder is not there."""


class UnreadableModelError(ProvisionError):
    """A path that is there but can't be read as a model: no permission, a FIFO, a folder where a file belongs."""


class UnsoundModelError(ProvisionError):
    """Bytes that are not a sound model: a broken header, a missing or foreign shard, a name a set can't hold."""


class DigestMismatchError(ProvisionError):
    """The bytes at `path` have the digest `actual`, not `wanted`; of a set, `detail` names the files that differ."""

    def __init__(self, path: str, wanted: str, actual: str, detail: str = "") -> None:
        self.path, self.wanted, self.actual = path, wanted, actual
        super().__init__(
            "the digest differs from what is expected",
            where=path,
            expected=wanted,
            found=f"{actual} ({detail})" if detail else actual,
            fix="get the file again from its source; if the new bytes are right, put the found digest into expected_digest",
        )


class DamagedError(DigestMismatchError):
    """A fetched file in the store, at `path`, whose bytes are no longer those that came."""

    def __init__(self, path: str, wanted: str, actual: str, fix: str) -> None:
        super().__init__(path, wanted, actual)
        self.what, self.fix = "a fetched file is damaged: it holds other bytes than it came with", fix
        self.args = (self.what,)


class DigestRequiredError(ProvisionError):
    """No digest is given for a model, and the run was told to take none without."""


class ChangingModelError(ProvisionError):
    """A file that changed each time while it was read."""


class OccupiedError(ProvisionError):
    """A file that is not ours stands where a handoff belongs; it was left as it is."""


class PolicyChangedError(ProvisionError):
    """The entry in the configuration changed while its model was verified; nothing was written."""


class NotAllowedError(ProvisionError):
    """The network policy does not allow what a reference needs."""


class NotLockedError(ProvisionError):
    """A model that the lock file does not name, in a run that takes no other."""


class FetchError(ProvisionError):
    """A remote reference that could not be brought here; `status` is the HTTP status, where a server answered with one."""

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        where: str = "",
        expected: str = "",
        found: str = "",
        fix: str = "",
    ) -> None:
        super().__init__(what, where=where, expected=expected, found=found, fix=fix)
        self.status = status


class IncompleteError(FetchError):
    """A transfer that broke off or never began; the same request may go well when it is made again.

    `wait` is for how many seconds the server wants to be left alone, where it said so.
    """

    wait: float | None = None


# ---- something broke: exit code 2


class StorageError(ProvisionError):
    """A file of ours could not be written or read: a full disk, a read-only folder, a foreign database."""

    exit_code = 2


@contextmanager
def failing(results: MutableMapping[Any, Any], names: Iterable[Any]) -> Iterator[None]:
    """Let an error of the block be the result of all `names`: it keeps what has another name from nothing."""
    try:
        yield
    except ProvisionError as error:
        results.update(dict.fromkeys(names, error))

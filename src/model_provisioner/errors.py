"""Every error that this library raises on purpose, as one tree under `ProvisionError`.

A message says what went wrong, where, what was expected, what was found, and how to fix it. It never holds a credential:
references are shown by their id, which has none.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping
    from typing import Any, ClassVar


def printable(text: str | os.PathLike[str]) -> str:
    """Return `text` with every character escaped that could move the cursor, colour the terminal or be invisible."""
    text = os.fspath(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class ProvisionError(Exception):
    """The root of the tree. `exit_code` is the exit code of a command that this error stops."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", found: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        fields = (("where", self.where), ("expected", self.expected), ("found", self.found), ("fix", self.fix))
        lines = [f"  {label:<8}  {printable(text)}" for label, text in fields if text]
        return "\n".join([printable(self.what), *lines])


def _restored(kind: type[ProvisionError], args: tuple[object, ...], fields: dict[str, object]) -> ProvisionError:
    """Restore an error from another process. Subclasses take other arguments than they keep."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


# ---- bad input: exit code 3


class InputError(ProvisionError):
    """Input of the user that can't be used."""

    exit_code = 3


class InvalidReferenceError(InputError):
    """A model reference of an unknown form."""


class InvalidDigestError(InputError):
    """A digest that is not `sha256:` or `dirhash:` and 64 hexadecimal digits."""


class ConfigError(InputError):
    """All faults of one configuration file (`faults`)."""

    def __init__(self, path: str, faults: Iterable[InputError]) -> None:
        self.path = path
        self.faults = tuple(faults)
        count = len(self.faults)
        super().__init__(f"{path}: {count} fault{'s' if count != 1 else ''}")

    def __str__(self) -> str:
        return "\n\n".join([printable(self.what), *map(str, self.faults)])


class SettingError(InputError):
    """A setting of the environment that can't be used: a malformed proxy, a switch that is neither on nor off."""


class UnknownModelError(InputError):
    """A name or id that is neither in the configuration nor in the catalog."""


# ---- a model failed: exit code 1


class FailedModelsError(ProvisionError):
    """What kept models of one call from being provisioned: `failures` by the name of the model, and other `trouble`."""

    def __init__(self, failures: Mapping[str, ProvisionError], trouble: Iterable[ProvisionError], count: int) -> None:
        self.failures, self.trouble = dict(failures), tuple(trouble)
        super().__init__(f"{len(self.failures)} of {count} model{'s' if count != 1 else ''} failed")

    def __str__(self) -> str:
        failures = (f"{printable(name)}: {error}" for name, error in self.failures.items())
        return "\n\n".join([printable(self.what), *failures, *map(str, self.trouble)])


class ModelNotFoundError(ProvisionError):
    """A reference to a file or folder that does not exist."""


class UnreadableModelError(ProvisionError):
    """A path that exists but can't be read as a model: no permission, a FIFO, a folder instead of a file."""


class UnsoundModelError(ProvisionError):
    """Bytes that are not a sound model: a broken header, a missing or foreign shard, a name that a set can't have."""


class WrongKindError(ProvisionError):
    """A sound file in the wrong field: an adapter as the model, a projector as an adapter, or one made for another model."""


class DigestMismatchError(ProvisionError):
    """The bytes at `path` have the digest `actual`, not `wanted`. `detail` names the files of a set that differ.

    `companion` is the label of a companion, empty for the model itself; `accepting` says how these bytes are let be right.
    """

    message: ClassVar[str] = "the digest{of} differs from what is expected"
    remedy: ClassVar[str] = "get the file again from its source"

    def __init__(
        self,
        path: str,
        wanted: str,
        actual: str,
        detail: str = "",
        companion: str = "",
        fix: str = "",
        accepting: str = "",
    ) -> None:
        self.path, self.wanted, self.actual, self.companion = path, wanted, actual, companion
        what = self.message.format(of=f" of {companion}" if companion else "")
        found = f"{actual} ({detail})" if detail else actual
        remedy = f"{self.remedy}; if these bytes are right, {accepting}" if accepting else self.remedy
        super().__init__(what, where=path, expected=wanted, found=found, fix=fix or remedy)


class DamagedError(DigestMismatchError):
    """A fetched file in the store, at `path`, whose bytes are no longer those that were fetched."""

    message = "a fetched file is damaged: it holds other bytes than it came with"


class SignatureError(ProvisionError):
    """A publisher's signature that does not hold: by another key or identity, over other bytes, or in a damaged bundle.

    `digest` is the model's, if it is known.
    """

    digest: str | None = None


class DigestRequiredError(ProvisionError):
    """A model without an expected digest, in a run that requires one."""


class ChangingModelError(ProvisionError):
    """A file that changed each time it was read."""


class CorruptModelError(DigestMismatchError):
    """Bytes that changed, though size and modification time did not: those at `path` are `actual`, and `wanted` is lost."""

    message = "the bytes changed, though size and modification time did not"
    remedy = "get the file again, and look at the disk"


class InvalidMoveError(ProvisionError):
    """A move of a model into a state that can't follow its present one."""


class RetiredModelError(InvalidMoveError):
    """A model that was retired by hand: no run verifies it or hands it off."""


class OccupiedError(ProvisionError):
    """A file in the place of a handoff that this program did not write; it is left alone."""


class PolicyChangedError(ProvisionError):
    """An entry that changed in the configuration while its model was verified; nothing was written."""


class NotAllowedError(ProvisionError):
    """A request that the network policy does not allow."""


class NotLockedError(ProvisionError):
    """A model that is not in the lock file, in a run that requires it there."""


class NotVerifiedError(ProvisionError):
    """A model without a recorded verification."""


class NotCurrentError(ProvisionError):
    """A model that is not handed off as it is now: it failed, moved or was never provisioned."""


class StatementError(ProvisionError):
    """A statement that does not hold: not signed by the given key, or about other bytes."""


class MissingExtraError(ProvisionError):
    """A feature whose package, which an extra installs, is missing."""


class FetchError(ProvisionError):
    """A remote reference that could not be fetched. `status` is the HTTP status, if a server answered.

    `code` is the server's own word for the reason, as a Hub sends one (`X-Error-Code`); empty where there is none.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        code: str = "",
        where: str = "",
        expected: str = "",
        found: str = "",
        fix: str = "",
    ) -> None:
        super().__init__(what, where=where, expected=expected, found=found, fix=fix)
        self.status, self.code = status, code


class IncompleteError(FetchError):
    """A transfer that broke off or never began. The same request may succeed later.

    `wait` is the number of seconds that the server asked to wait, if it did.
    """

    wait: float | None = None


# ---- something broke: exit code 2


class StorageError(ProvisionError):
    """A file of this program that can't be read or written: a full disk, a read-only folder, a foreign database."""

    exit_code = 2


class ExecutorError(ProvisionError):
    """Trouble of what `--scheduler` names: a lost scheduler, a dead or silent worker, a missing mount. No model failed."""

    exit_code = 2


class FleetError(ProvisionError):
    """The database of a fleet that can't be used: out of reach, silent, full, of another version, or closed to this role.

    What is known here is not touched by that.
    """

    exit_code = 2


@contextmanager
def concerning(label: str) -> Iterator[None]:
    """Put `label` before the message of an error of the block: it names a part of a model, and is empty for the model."""
    try:
        yield
    except ProvisionError as error:
        error.what = f"{label}: {error.what}" if label else error.what
        raise


@contextmanager
def failing(results: MutableMapping[Any, Any], names: Iterable[Any]) -> Iterator[None]:
    """Store an error of the block as the result of all `names`, so that the others are still done."""
    try:
        yield
    except ProvisionError as error:
        results.update(dict.fromkeys(names, error))

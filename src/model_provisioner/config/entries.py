"""The configuration as the rest of the program sees it: frozen values without faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from model_provisioner.config.paths import is_below
from model_provisioner.errors import ConfigError, InputError, UnknownModelError
from model_provisioner.invocation import command as called
from model_provisioner.references.digest import Digest, SetDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, KeysView

    from model_provisioner.references.digest import Expected
    from model_provisioner.references.mirror import Mirror
    from model_provisioner.references.reference import ModelRef

ROLES = ("mmproj", "lora")
"""What a file beside a model may be, by the field that names it: a projector, an adapter."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who is to have signed a model, and the bundle that proves it: a key, or an identity with its issuer.

    Paths are absolute.
    """

    bundle: str
    public_key: str | None = None
    identity: str | None = None
    issuer: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files on disk that it needs."""
        return (self.bundle,) if self.public_key is None else (self.bundle, self.public_key)


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """One file of a model: its name in the set, its size in bytes and its SHA-256 (in hex)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Locked:
    """What an entry resolved to when it was locked."""

    ref: str
    """The reference, as `locked_ref` writes it."""
    kind: str
    """`file`, `split` or `folder`."""
    revision: str | None
    """The commit of a Hub repository, the digest of a manifest, the ETag of a file; None where the source has no such thing."""
    files: tuple[LockedFile, ...]
    """Sorted by the bytes of their names."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    role: str = "model"
    """Of a companion, what it is loaded as."""
    companions: tuple[Locked, ...] = ()
    """What its companions resolved to, each of another role or reference."""

    @property
    def expected(self) -> Expected:
        """The digest that the model must have."""
        if self.kind == "file":
            return Digest("sha256", self.files[0].sha256)
        return SetDigest(tuple((file.name, Digest("sha256", file.sha256)) for file in self.files))


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A file that an engine loads beside a model: it is part of what the entry asks for."""

    role: str
    """One of `ROLES`."""
    ref: ModelRef
    """Absolute where it is local."""
    expected: Expected | None = None
    locked: Locked | None = None
    """What the lock file says of this reference."""
    by_lock: bool = False
    """Whether `expected` stands in the lock file alone."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of a project: what it is, what it must be, and who gets it."""

    name: str
    ref: ModelRef
    """Absolute where it is local."""
    expected: Expected | None
    strict: bool
    engine: str
    handoff: str
    """The path of the handoff, absolute: in the project, or in the user's own folder for what a run writes.

    Empty for what a program asked for, outside of any project: it has no checksum file and no provenance record either."""
    line: int
    """Where the entry stands in the file."""
    include: tuple[str, ...] = ()
    """Of a whole repository or prefix, the patterns of the files to take; empty for all of them."""
    exclude: tuple[str, ...] = ()
    """Of these, the patterns of the files to leave out."""
    keep: bool = False
    """Whether what was fetched for it stays in the store, however long nobody uses it."""
    signature: Claim | None = None
    locked: Locked | None = None
    """What the lock file says of this reference."""
    by_lock: bool = False
    """Whether `expected` stands in the lock file alone."""
    companions: tuple[Companion, ...] = ()
    role: str = "model"
    """What this is loaded as: one of `parts` may be a companion."""

    @property
    def parts(self) -> tuple[Entry, ...]:
        """The model alone, then its companions in their order, each as an entry that is fetched and found as any other."""
        if not self.companions:
            return (self,)
        alone = replace(self, companions=())
        beside = replace(alone, include=(), exclude=())
        return alone, *(
            replace(
                beside,
                role=each.role,
                ref=each.ref,
                expected=each.expected,
                locked=each.locked,
                by_lock=each.by_lock,
            )
            for each in self.companions
        )

    @property
    def label(self) -> str:
        """What this part is called in a message: empty for the model, as `lora style.gguf` for a companion."""
        return "" if self.role == "model" else label_of(self.role, self.ref.id)

    @property
    def is_local(self) -> bool:
        """Tell whether nothing of it has to be fetched."""
        return self.ref.is_local and all(each.ref.is_local for each in self.companions)

    @property
    def is_locked(self) -> bool:
        """Tell whether the lock file names the model and every companion."""
        return self.locked is not None and all(each.locked is not None for each in self.companions)


def pinned(part: Entry, digest: str) -> str:
    """Return the line of `models.yaml` that lets one of an entry's parts have a digest."""
    line = f'expected_digest: "{digest}"'
    return line if part.role == "model" else f"{part.role}: {{model_ref: …, {line}}}"


def accepting(part: Entry, digest: str, file: str = "") -> str:
    """Return what a user does to let one of an entry's parts have another digest than it has to have now.

    Where that has the digests of several files, the digest is that of `file`.
    """
    if not part.handoff:  # a program asked, and no project
        return "ask with that digest"
    line = f'"{file}": "{digest}"   under expected_digest in' if file else f"{pinned(part, digest)}   into"
    steps = [] if part.by_lock else [f"put   {line} models.yaml"]
    if part.locked is not None:
        steps.append(f"run `{called(f'lock --upgrade {part.name}')}`")
    return ", then ".join(steps)


def label_of(role: str, name: str) -> str:
    """Return what a companion is called in a message, given its path or id."""
    return f"{role} {name.rstrip('/').rpartition('/')[2]}"


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration without faults."""

    path: str
    root: str
    """The folder that relative paths are taken from, and that the handoffs lie in."""
    cache_dir: str
    runtime_dir: str
    """The folder for what a run writes: in the project, or where the user says."""
    allow: tuple[str, ...]
    recheck: Literal["xxh3", "sha256"]
    answers: tuple[tuple[str, str], ...]
    """What was asked of the machine, and the answers (see `PathEnvironment`): another answer means another file."""
    entries: Mapping[str, Entry]
    handoffs: tuple[str, ...]
    """Where they are handed off, in their order: to read all of these makes no `Entry`."""
    max_size: int | None = None
    """How many bytes the store may hold; None where it has no bound."""
    mirrors: tuple[Mirror, ...] = ()
    """Places that are asked for files by their SHA-256 before their sources, in their order."""
    remote: tuple[str, ...] = ()
    """The names of the entries that are fetched, in their order: a project without any never opens the store."""

    @property
    def cache_root(self) -> str:
        """The folder below which no link leads to the store: the project where the store lies in it, else the store itself."""
        return self.root if is_below(self.cache_dir, self.root) else self.cache_dir

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Folders that are named here, and where they lead, where that is elsewhere."""
        return tuple(sorted((asked, real) for asked, real in self.answers if asked.startswith("/") and asked != real))


class LazyEntries(Mapping[str, Entry]):
    """The entries by name, each made when it is first asked for: a run that finds one model changed needs one."""

    def __init__(self, names: Mapping[str, object], make: Callable[[str], Entry]) -> None:
        """Take the names in their order (a mapping, for its fast `in` and `keys`), and what makes the entry of one."""
        self._names, self._make = names, make
        self._made: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        entry = self._made.get(name)
        if entry is None:
            entry = self._made[name] = self._make(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> KeysView[str]:
        """Return the names; those of a dictionary are several times faster than those of `Mapping`."""
        return self._names.keys()


def unknown_name(name: str, config: Config, fix: str = "write the name of an entry") -> UnknownModelError:
    """Return the error for a name that no entry has; `fix` is for one that is like none."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(config.entries))
    return UnknownModelError(
        f"there is no model {name!r}",
        where=config.path,
        expected="one of " + ", ".join(sorted(config.entries)[:20]) if config.entries else "a name of an entry",
        found="no entry of this name",
        fix=f"did you mean {near[0]}?" if near else fix,
    )


def only_model(config: Config, handoff: str | None = None) -> Config:
    """Return the configuration of a file that names one model, which is handed off at `handoff` if that is given.

    Raises `ConfigError` for one of several models, or none.
    """
    if len(config.entries) != 1:
        fault = InputError(
            "the file must name exactly one model",
            where=config.path,
            expected="one entry",
            found=f"{len(config.entries)} entries",
            fix=f"run `{called('provision')}` for a file of several models",
        )
        raise ConfigError(config.path, [fault])
    if handoff is None:
        return config
    (entry,) = config.entries.values()
    return replace(config, entries={entry.name: replace(entry, handoff=handoff)}, handoffs=(handoff,))

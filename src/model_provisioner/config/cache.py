"""A configuration as it was parsed, as bytes: to read them takes neither YAML nor pydantic.

They claim nothing of their own and may be deleted at any time. The format is described in `docs/reference/state-folder.md`.
This module is on the way of every run that has something to do: it imports little.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model_provisioner.config.entries import Companion, Config, Entry
from model_provisioner.config.signature import Claim
from model_provisioner.fs.paths import is_any_folder
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.path_environment import Surroundings
from model_provisioner.references.reference import LocalRef, ModelRef, UrlRef

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView

    from model_provisioner.references.digest import Expected

MAGIC = b"model-provisioner config 3\n"
_LOCAL = "local:"


def render(config: Config, key: str) -> bytes | None:
    """Return the bytes of a configuration under a key, a text of one line; None where it may hold a secret."""
    entries = config.entries.values()
    if any(
        _is_secret(ref) for entry in entries for ref in (entry.ref, *(each.ref for each in entry.companions))
    ) or any("@" in host for host in config.allow):
        return None
    body = {
        "path": config.path,
        "root": config.root,
        "cache_dir": config.cache_dir,
        "runtime_dir": config.runtime_dir,
        "allow": config.allow,
        "recheck": config.recheck,
        "answers": config.answers,
        "handoffs": config.handoffs,
        "max_size": config.max_size,
        "remote": config.remote,
        "keep": {entry.name: True for entry in entries if entry.keep},
        "names": list(config.entries),
        "refs": [str(entry.ref) for entry in entries],
        "expected": [_plain(entry.expected) for entry in entries],
        "strict": [entry.strict for entry in entries],
        "engines": [entry.engine for entry in entries],
        "lines": [entry.line for entry in entries],
        "companions": {
            entry.name: [(each.role, str(each.ref), _plain(each.expected)) for each in entry.companions]
            for entry in entries
            if entry.companions
        },
        "signatures": {entry.name: vars(entry.signature) for entry in entries if entry.signature is not None},
        "patterns": {entry.name: (entry.include, entry.exclude) for entry in entries if entry.include or entry.exclude},
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    return MAGIC + key.encode() + b"\n%08x\n" % zlib.crc32(data) + data


def parse(data: bytes, key: str) -> Config | None:
    """Return the configuration that `render` wrote under a key; None where it is another file, or a damaged one."""
    head = MAGIC + key.encode() + b"\n"
    begin = len(head) + 9
    if not data.startswith(head) or data[len(head) : begin] != b"%08x\n" % zlib.crc32(memoryview(data)[begin:]):
        return None
    body = json.loads(data[begin:])
    return Config(
        path=body["path"],
        root=body["root"],
        cache_dir=body["cache_dir"],
        runtime_dir=body["runtime_dir"],
        allow=tuple(body["allow"]),
        recheck=body["recheck"],
        answers=tuple((asked, answer) for asked, answer in body["answers"]),
        entries=_Entries(body),
        handoffs=tuple(body["handoffs"]),
        max_size=body["max_size"],
        remote=tuple(body["remote"]),
    )


def still_holds(config: Config) -> bool:
    """Tell whether all that was asked of the machine for a configuration is so still."""
    surroundings = Surroundings()
    try:
        return all(surroundings.ask(asked) == answer for asked, answer in config.answers) and not is_any_folder(
            config.handoffs
        )
    except OSError:  # the working directory is gone
        return False


class _Entries(Mapping[str, Entry]):
    """The entries by name, each of them made when it is asked for: a run that finds one model changed needs one."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns
        self._numbers = {name: number for number, name in enumerate(columns["names"])}
        self._made: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        entry = self._made.get(name)
        if entry is None:
            entry = self._made[name] = self._make(name, self._numbers[name])
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def keys(self) -> KeysView[str]:
        """Return the names; those of a dictionary are several times faster than those of `Mapping`."""
        return self._numbers.keys()

    def _make(self, name: str, number: int) -> Entry:
        columns = self._columns
        include, exclude = columns["patterns"].get(name, ((), ()))
        signature = columns["signatures"].get(name)
        return Entry(
            name=name,
            ref=_reference(columns["refs"][number]),
            expected=_expected(columns["expected"][number]),
            strict=columns["strict"][number],
            engine=columns["engines"][number],
            handoff=columns["handoffs"][number],
            line=columns["lines"][number],
            include=tuple(include),
            exclude=tuple(exclude),
            companions=tuple(
                Companion(role=role, ref=_reference(ref), expected=_expected(expected))
                for role, ref, expected in columns["companions"].get(name, ())
            ),
            keep=name in columns["keep"],
            signature=None if signature is None else Claim(**signature),
        )


def _is_secret(ref: ModelRef) -> bool:
    """Tell whether a reference has more than its id tells, which is what may be written down: credentials or a query."""
    return isinstance(ref, UrlRef) and str(ref) != ref.id


def _reference(text: str) -> ModelRef:
    # A local one is absolute already, and means the file that it meant then.
    return LocalRef.at(text.removeprefix(_LOCAL)) if text.startswith(_LOCAL) else ModelRef.parse(text)


def _plain(expected: Expected | None) -> object:
    if isinstance(expected, SetDigest):
        return [(path, digest.value) for path, digest in expected.files]
    return None if expected is None else str(expected)


def _expected(plain: Any) -> Expected | None:
    if isinstance(plain, list):
        return SetDigest(tuple((path, Digest("sha256", value)) for path, value in plain))
    return None if plain is None else Digest.parse(plain)

"""The parsed configuration, kept in the state folder: to read it takes neither YAML nor pydantic.

It claims nothing of its own and may be deleted at any time. The format is described in `docs/reference/state-folder.md`.
Every run that has something to do imports this module: it imports little.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_provisioner.config.entries import Claim, Companion, Config, Entry, LazyEntries
from model_provisioner.config.paths import asked_cache_dir, asked_runtime_dir, real_path
from model_provisioner.errors import StorageError
from model_provisioner.fs.atomic import write_atomically
from model_provisioner.fs.folder import PrivateFolder
from model_provisioner.fs.paths import is_any_folder
from model_provisioner.fs.root import Roots
from model_provisioner.fs.state_folder import ensure_state_folder, is_private, project_folder
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.mirror import Mirror
from model_provisioner.references.path_environment import PathEnvironment
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef, UrlRef
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from model_provisioner.references.digest import Expected

NAME = "config"
LIMIT = 64 << 20
MAGIC = b"model-provisioner config 4\n"
_LOCAL = "local:"
_PLAIN = ("path", "root", "cache_dir", "runtime_dir", "recheck", "max_size")
_LISTS = ("allow", "handoffs", "remote")
"""The fields of a configuration that JSON has as they are, and those that it has as lists."""


@dataclass(frozen=True)
class ConfigCache:
    """Where the parsed form of one configuration file is kept, and the key that it must have."""

    state: str
    folder: str
    """The project's part of the state folder."""
    key: str
    """A hash of all that the meaning of the file depends on, but for what is asked of the machine (`still_holds`)."""

    @staticmethod
    def of(source: bytes, path: str, cache_dir: str | None, state: str) -> ConfigCache:
        """Return the cache of the configuration file at `path`, whose bytes are `source`."""
        real = real_path(path)
        user, digest = str(os.geteuid()), hashlib.sha256(source).hexdigest()
        runtime_dir = asked_runtime_dir()
        encoding = sys.getfilesystemencoding()  # which names there can be
        own = () if runtime_dir is None else (runtime_dir,)
        hub = os.environ.get("HF_ENDPOINT", "")  # whose URLs are read as hf:
        parts = "\0".join((__version__, real, asked_cache_dir(cache_dir) or "", user, digest, encoding, hub, *own))
        key = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
        return ConfigCache(state, project_folder(state, os.path.dirname(real)), key)

    def read(self) -> Config | None:
        """Return the configuration; None where there is none that can be believed and still holds."""
        path = os.path.join(self.folder, NAME)
        if not is_private(path):
            return None
        with Roots(self.state, kind=PrivateFolder) as roots:
            data = roots.read(path, LIMIT)
        config = None if data is None else parse(data, self.key)
        return config if config is not None and still_holds(config) else None

    def write(self, config: Config) -> None:
        """Keep a configuration. It only saves time: where it can't be written, the next run parses the file again."""
        if (data := render(config, self.key)) is None:
            return
        with suppress(StorageError):
            ensure_state_folder(self.state)
            write_atomically(os.path.join(self.folder, NAME), data, Roots(self.state, kind=PrivateFolder))


def still_holds(config: Config) -> bool:
    """Tell whether all that was asked of the machine for a configuration has the same answers now."""
    environment = PathEnvironment()
    try:
        same = all(environment.ask(asked) == answer for asked, answer in config.answers)
    except OSError:  # the working directory is gone
        return False
    return same and not is_any_folder(config.handoffs)


def render(config: Config, key: str) -> bytes | None:
    """Return the bytes of a configuration under a key, a text of one line; None where it may hold a secret."""
    entries = config.entries.values()
    refs = (ref for entry in entries for ref in (entry.ref, *(each.ref for each in entry.companions)))
    if any(_is_secret(ref) for ref in refs) or any("@" in host for host in config.allow):
        return None
    body = {
        **{name: getattr(config, name) for name in (*_PLAIN, *_LISTS, "answers")},
        "mirrors": [str(mirror) for mirror in config.mirrors],
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
    if written := {
        entry.name: texts for entry in entries if any(texts := [_written(each.ref) for each in entry.parts])
    }:
        body["written"] = written
    data = json.dumps(body, separators=(",", ":")).encode()
    return MAGIC + key.encode() + b"\n%08x\n" % zlib.crc32(data) + data


def parse(data: bytes, key: str) -> Config | None:
    """Return the configuration that `render` wrote under a key; None where it is another file, or a damaged one."""
    head = MAGIC + key.encode() + b"\n"
    begin = len(head) + 9
    if not data.startswith(head) or data[len(head) : begin] != b"%08x\n" % zlib.crc32(memoryview(data)[begin:]):
        return None
    body = json.loads(data[begin:])
    numbers = {name: number for number, name in enumerate(body["names"])}
    fields: dict[str, Any] = {name: body[name] for name in _PLAIN} | {name: tuple(body[name]) for name in _LISTS}
    return Config(
        **fields,
        mirrors=tuple(Mirror.parse(text) for text in body["mirrors"]),
        answers=tuple((asked, answer) for asked, answer in body["answers"]),
        entries=LazyEntries(numbers, lambda name: _entry(body, name, numbers[name])),
    )


def _entry(columns: dict[str, Any], name: str, number: int) -> Entry:
    include, exclude = columns["patterns"].get(name, ((), ()))
    signature = columns["signatures"].get(name)
    companions = columns["companions"].get(name, ())
    written = columns.get("written", {}).get(name) or [""] * (1 + len(companions))
    return Entry(
        name=name,
        ref=_reference(columns["refs"][number], written[0]),
        expected=_expected(columns["expected"][number]),
        strict=columns["strict"][number],
        engine=columns["engines"][number],
        handoff=columns["handoffs"][number],
        line=columns["lines"][number],
        include=tuple(include),
        exclude=tuple(exclude),
        companions=tuple(
            Companion(role=role, ref=_reference(ref, text), expected=_expected(expected))
            for (role, ref, expected), text in zip(companions, written[1:], strict=True)
        ),
        keep=name in columns["keep"],
        signature=None if signature is None else Claim(**signature),
    )


def _is_secret(ref: ModelRef) -> bool:
    """Tell whether a reference has more than its id, which is what may be written down: credentials or a query."""
    url = ref.url if isinstance(ref, HubRef) else ref
    return isinstance(url, UrlRef) and str(url) != url.id


def _written(ref: ModelRef) -> str:
    if isinstance(ref, HubRef):
        return "" if ref.url is None else str(ref.url)
    return ref.written if isinstance(ref, LocalRef) else ""


def _reference(text: str, written: str) -> ModelRef:
    if text.startswith(_LOCAL):  # it is absolute already, and means the file that it meant then
        return LocalRef.at(text.removeprefix(_LOCAL), written)
    return ModelRef.parse(written or text)


def _plain(expected: Expected | None) -> object:
    if isinstance(expected, SetDigest):
        return [(path, digest.value) for path, digest in expected.files]
    return None if expected is None else str(expected)


def _expected(plain: Any) -> Expected | None:
    if isinstance(plain, list):
        return SetDigest(tuple((path, Digest("sha256", value)) for path, value in plain))
    return None if plain is None else Digest.parse(plain)

"""From a document to a configuration: every fault of the file in one error."""

from __future__ import annotations

import difflib
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from model_provisioner.config.document import shown
from model_provisioner.config.entries import DEFAULT_CACHE_DIR, ROLES, Config
from model_provisioner.config.entry_reader import EntryReader, texts
from model_provisioner.config.expected import short
from model_provisioner.config.faults import MAX_FAULTS, Faults
from model_provisioner.config.network_policy import fault_of
from model_provisioner.config.schema import Defaults, Project, Single
from model_provisioner.config.validation import validate
from model_provisioner.references.path_environment import HERE, Surroundings
from model_provisioner.units import SIZES, parse_size

if TYPE_CHECKING:
    from model_provisioner.config.document import Document
    from model_provisioner.config.entry_reader import Found


class ConfigReader:
    """Gathers the faults of one document while it makes the configuration."""

    def __init__(self, document: Document, path: str, cache_dir: str | None) -> None:
        self._document, self._path, self._cache_dir = document, path, cache_dir
        self._faults = Faults(document)
        self._surroundings = Surroundings()
        self._entries = EntryReader(document, path, self._faults, self._surroundings)

    def read(self) -> Config:
        """Return the configuration, or raise all faults at once."""
        data = self._top()
        single = "models" not in data
        entries = [self._single(data)] if single else self._several(data)
        around = self._surroundings
        root = around.ask(HERE) if single else around.ask(os.path.dirname(self._path))
        # Without links, so that a folder under two names is one, and what was written under the other is found.
        runtime_dir = around.ask(around.absolute(self._path_text(data, "runtime_dir", ".runtime"), root))
        found = self._entries.entries(entries, root, runtime_dir)
        config = Config(
            path=self._path,
            root=root,
            cache_dir=around.absolute(self._cache_dir, around.ask(HERE))
            if self._cache_dir
            else around.absolute(self._path_text(data, "cache_dir", DEFAULT_CACHE_DIR), root),
            runtime_dir=runtime_dir,
            allow=self._hosts(data.get("network")),
            recheck=data.get("recheck", "xxh3"),
            entries=MappingProxyType(found),
            answers=tuple(around.answers.items()),
            handoffs=tuple(entry.handoff for entry in found.values()),
            max_size=self._max_size(data.get("cache")),
            remote=tuple(name for name, entry in found.items() if not entry.is_local),
        )
        self._faults.check()
        return config

    def _path_text(self, data: dict[str, Any], name: str, default: str) -> str:
        value = data.get(name, default)
        return value if isinstance(value, str) else default  # told already

    def _top(self) -> dict[str, Any]:
        data = self._document.data
        if not isinstance(data, dict) or not ({"models", "model_ref"} & data.keys()):
            what = "the file is empty" if data is None else "the file names no model"
            fix = 'write   models: {tiny: {model_ref: "file:models/tiny.gguf"}}'
            for name in list(data)[:MAX_FAULTS] if isinstance(data, dict) else ():
                if near := difflib.get_close_matches(name, ("models", "model_ref"), n=1):
                    fix = f"write {near[0]} in the place of {shown(name)}"
            self._faults.note(
                (),
                what,
                expected="a mapping with models: (several models, by name) or model_ref: (one)",
                found="nothing" if data is None else short(data),
                fix=fix,
            )
            self._faults.check()
        if "models" in data and "model_ref" in data:
            self._faults.note(
                ("model_ref",),
                "one model at the top level and several under models: are two forms of the file",
                fix="move the fields of the one model under models:, by a name of its own",
            )
            self._faults.check()
        return dict(data)

    def _single(self, data: dict[str, Any]) -> Found:
        validate(Single, data, (), self._faults)
        expected = self._entries.expected((), data)
        return (), str(data.get("engine", "llamacpp")), data, expected, self._entries.companion_forms((), data)

    def _several(self, data: dict[str, Any]) -> list[Found]:
        defaults = data.get("defaults")
        told = {} if isinstance(defaults, dict) else defaults
        if isinstance(defaults, dict):
            wrong, before = validate(Defaults, defaults, ("defaults",), self._faults), len(self._faults)
            self._entries.expected(("defaults",), defaults)
            if len(self._faults) > before:
                wrong.add("expected_digest")
            for role in ROLES:
                before = len(self._faults)
                self._entries.companion_forms(("defaults",), {role: defaults.get(role)})
                if len(self._faults) > before:
                    wrong.add(role)
            # A fault of the defaults is told once, and not again for each entry.
            defaults = {name: value for name, value in defaults.items() if name not in wrong}
        else:
            defaults = {}
        models = data["models"]
        if isinstance(models, dict):
            models = {name: {**defaults, **each} if isinstance(each, dict) else each for name, each in models.items()}
        validate(Project, {**data, "models": models, "defaults": told}, (), self._faults)
        found = models.items() if isinstance(models, dict) else ()
        return [
            (
                ("models", name),
                name,
                each,
                self._entries.expected(("models", name), each),
                self._entries.companion_forms(("models", name), each),
            )
            for name, each in found
            if isinstance(each, dict)
        ]

    def _hosts(self, network: Any) -> tuple[str, ...]:
        hosts = texts(network.get("allow") if isinstance(network, dict) else None)
        for number, host in enumerate(hosts):
            if (fault := fault_of(host)) is not None:
                self._faults.note(
                    ("network", "allow", number),
                    f"not a host: {fault}",
                    expected="a name, an address, *.NAME, or huggingface",
                    found=short(host.rpartition("@")[2]),
                    fix="write the host alone; every port of it is allowed",
                )
        return tuple(host.lower() for host in hosts)

    def _max_size(self, cache: Any) -> int | None:
        value = cache.get("max_size") if isinstance(cache, dict) else None
        if value is None or (size := parse_size(value)) is not None:
            return None if value is None else size
        self._faults.note(
            ("cache", "max_size"),
            "max_size is no size",
            expected=f"{SIZES}; the units are B, KB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024)",
            found=short(value),
            fix="write   cache: {max_size: 200GB}",
        )
        return None

"""Which entries are to be added to the bytes of a `models.yaml`, and what bytes that makes.

The entries are tried first: the file is parsed with them, local files are read and hashed, sources are asked. What fails is
left out.
"""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model_provisioner.config.document import read_document
from model_provisioner.config.load import parse_config
from model_provisioner.config.lockfile import lock_path_of, parse_lock, render_lock
from model_provisioner.config.network_policy import NetworkPolicy, written_for
from model_provisioner.config.paths import DEFAULT_RUNTIME_DIR, HandoffPaths, real_path, shown_path
from model_provisioner.config.schema import Defaults
from model_provisioner.engine.resolve import resolve_entry
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import (
    ConfigError,
    InputError,
    NotAllowedError,
    ProvisionError,
    StorageError,
    WrongKindError,
)
from model_provisioner.fetchers.sources import hosts_of
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.headers.compatibility import no_folder, opens_folders, read_checked
from model_provisioner.invocation import command as called
from model_provisioner.operations.adding.additions import Added, Additions, Asked
from model_provisioner.operations.adding.insertion import with_added
from model_provisioner.operations.adding.naming import names_for
from model_provisioner.operations.adding.offers import choices, not_allowed
from model_provisioner.operations.lock import lock_entry, locked_by_source
from model_provisioner.references.path_environment import PathEnvironment
from model_provisioner.references.reference import HubRef, LocalRef, UrlRef, is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model_provisioner.config.entries import Config, Entry, Locked
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.fs.fileset import FileSet
    from model_provisioner.operations.adding.additions import Findings, Options
    from model_provisioner.references.reference import ModelRef

_OWN_HANDOFF = "{runtime_dir}/engines/{name}.json"


class Plan:
    """What is to be added to a project whose files hold these bytes."""

    def __init__(
        self, path: str, before: bytes | None, lock: bytes | None, options: Options, findings: Findings
    ) -> None:
        """Take the path of `models.yaml`, and what it and the lock file hold. Raises `ConfigError` and `InputError`."""
        self._path, self._before, self._lock = path, before or b"", lock
        self._options, self._findings = options, findings
        self._shown = shown_path(path)
        document = read_document(self._before, self._shown)
        if document.faults:
            raise ConfigError(self._shown, document.faults)
        self._data: dict[str, Any] = document.data if isinstance(document.data, dict) else {}
        if "model_ref" in self._data and "models" not in self._data:
            raise InputError(
                "the file is the document of one model, which has no place for more",
                where=self._shown,
                expected="models:, and the entries by name",
                found="model_ref: at the top level",
                fix="put   models:   and a name above the fields of the one model, and indent them below it",
            )
        has_models = self._data.get("models") is not None
        self._old: Config | None = parse_config(self._before, path) if has_models else None

    def run(self, asked: Sequence[Asked]) -> Additions:
        """Find out what each model is; return what is to be written."""
        options, findings = self._options, self._findings
        while True:
            wanted = [findings.chosen.get(each.ref, each) for each in asked]
            there, entries = self._planned([each for each in wanted if findings.error(each) is None])
            hosts = self._hosts_to_allow([each for each, _ in entries.values()]) if options.allow else []
            left = [name for name, (each, _) in entries.items() if each.ref not in findings.locked]
            if not left:
                break
            proposed = self._text({name: fields for name, (_, fields) in entries.items()}, hosts)
            work = open_workspace(self._path, proposed=proposed, progress=options.progress)
            with closing(work), closing(work.lease):
                for name in left:
                    self._find_out(work, work.config.entries[name], entries[name][0])
        found = {name: findings.locked[each.ref] for name, (each, _) in entries.items()}
        locked = {name: each for name, each in found.items() if not isinstance(each, ProvisionError)}
        files = self._files({name: (*entry, locked[name]) for name, entry in entries.items()}, hosts)
        return Additions(
            path=self._path,
            added=tuple(Added(name, each.shown, locked[name]) for name, (each, _) in entries.items()),
            there=tuple(there),
            failed=tuple((each.shown, error) for each in wanted if (error := findings.error(each)) is not None),
            hosts=tuple(hosts),
            files=tuple(files),
            secrets=tuple(
                (str(ref), ref.id) for ref in self._refs(wanted) if isinstance(ref, UrlRef) and str(ref) != ref.id
            ),
        )

    def _refs(self, asked: Sequence[Asked]) -> Iterator[ModelRef]:
        """Yield all references that the file has, or is to have."""
        yield from (each.ref for each in asked)
        for entry in () if self._old is None else self._old.entries.values():
            yield from (each.ref for each in entry.parts)

    # ---- what the entries are to be

    def _planned(self, asked: Sequence[Asked]) -> tuple[list[tuple[str, str]], dict[str, tuple[Asked, dict[str, str]]]]:
        """Return what is there already, and the other entries by their name, each with its fields but for the digest."""
        names = {} if self._old is None else {_key(entry.ref): name for name, entry in self._old.entries.items()}
        taken = set(names.values())
        place = self._handoff_place()
        handoffs = set(() if self._old is None else self._old.handoffs)
        there: list[tuple[str, str]] = []
        entries: dict[str, tuple[Asked, dict[str, str]]] = {}
        for each in asked:
            if (name := names.get(_key(each.ref))) is not None:
                there.append((name, each.shown))
                continue
            if each.name in taken:
                raise self._taken_name(each)
            name = each.name or next(name for name in names_for(each.ref) if name not in taken)
            fields = {"model_ref": each.written}
            if self._engine != self._default("engine"):
                fields["engine"] = self._engine
            if place(self._default("handoff"), name) in handoffs:
                fields["handoff"] = _OWN_HANDOFF
            handoffs.add(place(fields.get("handoff", self._default("handoff")), name))
            names[_key(each.ref)] = name
            taken.add(name)
            entries[name] = each, fields
        return there, entries

    @property
    def _engine(self) -> str:
        return self._options.engine or self._default("engine")

    def _default(self, name: str) -> str:
        """Return what an entry has for a field that it does not name."""
        defaults = self._data.get("defaults")
        found = defaults.get(name) if isinstance(defaults, dict) else None
        return found if isinstance(found, str) else str(Defaults.model_fields[name].default)

    def _handoff_place(self) -> Callable[[str, str], str]:
        root = os.path.dirname(real_path(self._path))
        runtime_dir = os.path.join(root, DEFAULT_RUNTIME_DIR) if self._old is None else self._old.runtime_dir
        paths = HandoffPaths(root, runtime_dir, PathEnvironment())
        return lambda template, name: os.path.join(*paths.place(template, name, self._engine))

    def _taken_name(self, asked: Asked) -> InputError:
        free = next(name for name in names_for(asked.ref) if self._old is None or name not in self._old.entries)
        other = None if self._old is None else self._old.entries.get(str(asked.name))
        return InputError(
            f"the name {asked.name!r} is taken",
            where=self._shown if other is None else f"{self._shown}:{other.line}",
            expected="a name that no other model has",
            found="an entry of this name for another model" if other is None else other.ref.id,
            fix=f"choose another: --name {free}",
        )

    def _hosts_to_allow(self, asked: Sequence[Asked]) -> list[str]:
        allow = () if self._old is None else self._old.allow
        if self._old is None and isinstance(network := self._data.get("network"), dict):
            allow = tuple(str(host) for host in network.get("allow") or ())
        hosts: list[str] = []
        for each in asked:
            for host in () if each.ref.is_local else hosts_of(each.ref):
                if not NetworkPolicy((*allow, *hosts), None, self._path).allows(host):
                    hosts.append(written_for(host))
        return hosts

    # ---- what they are

    def _find_out(self, work: Workspace, entry: Entry, asked: Asked) -> None:
        """Note what an entry is, or why it can't be added, or which of several was chosen."""
        ref, found = asked.ref, self._findings.locked
        try:
            if isinstance(ref, HubRef) and is_whole(ref) and not opens_folders(entry.engine):
                choice = choices(work, entry)
                chosen = choice[0] if len(choice) == 1 else self._options.choose(ref, choice)
                self._findings.chosen[ref] = Asked(chosen.ref, str(chosen.ref), asked.name)
                return
            if ref.is_local:
                files = resolve_entry(entry, work.store)
                if os.path.isdir(files.path) and not opens_folders(entry.engine):
                    raise _unopened(entry, files)
                read_checked(files, entry.engine)
            locked = None if ref.is_local or entry.companions else locked_by_source(work, entry)
            if locked is None and (ref.is_local or not self._options.dry_run):
                locked = lock_entry(work, entry)
            found[ref] = locked
        except NotAllowedError as error:
            found[ref] = not_allowed(error, ref)
        except (InputError, StorageError):
            raise
        except ProvisionError as error:
            found[ref] = error

    # ---- the bytes

    def _text(self, entries: dict[str, dict[str, str]], hosts: Sequence[str]) -> bytes:
        text = self._before
        if hosts:
            text = with_added(text, self._shown, ("network", "allow"), hosts)
        return with_added(text, self._shown, ("models",), entries)

    def _files(
        self, entries: dict[str, tuple[Asked, dict[str, str], Locked | None]], hosts: Sequence[str]
    ) -> Iterator[tuple[str, bytes, bytes]]:
        if not entries:
            return
        fields = {}
        for name, (asked, others, locked) in entries.items():
            digest = {"expected_digest": str(locked.expected)} if asked.ref.is_local and locked is not None else {}
            fields[name] = {"model_ref": others["model_ref"], **digest, **others}
        yield self._path, self._before, self._text(fields, hosts)
        remote = any(not asked.ref.is_local for asked, *_ in entries.values())
        if remote or self._lock is not None:
            path = lock_path_of(self._path)
            new = {name: locked for name, (*_, locked) in entries.items() if locked is not None}
            models = {} if self._lock is None else parse_lock(self._lock, path)
            if (data := render_lock(models | new)) != self._lock:
                yield path, self._lock or b"", data


def _unopened(entry: Entry, files: FileSet) -> WrongKindError:
    """Return the error for a folder of this machine that the engine of an entry can't open."""
    error = no_folder([member.name for member in files.members], entry.engine, f"{files.path}/")
    error.fix = f"name the engine that loads it: {called(f'add {shlex.quote(files.path)} --engine vllm')}"
    return error


def _key(ref: ModelRef) -> object:
    """Return what is the same of two references of the same model: a file is known by what it is, whatever its name."""
    if isinstance(ref, LocalRef) and (found := stat_or_none(ref.path)) is not None:
        return found.st_dev, found.st_ino
    return ref if ref.is_local else min(ref.texts)

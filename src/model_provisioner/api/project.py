"""Provision the models of a configuration file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.api.arguments import folder, listener
from model_provisioner.api.resolved import ResolvedModel
from model_provisioner.arguments import check_type, path_text, texts
from model_provisioner.config.entries import only_model
from model_provisioner.config.paths import real_path
from model_provisioner.engine.events import waiting
from model_provisioner.engine.rules import Rules
from model_provisioner.engine.run import Run
from model_provisioner.engine.withdrawal.orphans import withdraw_orphans
from model_provisioner.errors import InputError
from model_provisioner.fs.locking.waits import waits_told
from model_provisioner.hashing.threads import core_count
from model_provisioner.operations import provision as operation
from model_provisioner.references.file_names import is_file_name
from model_provisioner.settings import is_on

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from model_provisioner.engine.events import Progress
    from model_provisioner.operations.provision import ProvisionResult


def provision(
    config: str | os.PathLike[str],
    names: Iterable[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    locked: bool = False,
    require_digest: bool = False,
    full: bool = False,
    progress: Progress | None = None,
) -> ProvisionResult:
    """Provision the models of a configuration file, or those with these names, as `doit provision` does with its options.

    A model that fails is told in the result and keeps no other from being done. `cache_dir` wins over the environment, that
    over the file. `progress` is as for `ensure_present`.

    Raises `ConfigError` for the faults of the file, `UnknownModelError` for a name that no entry has, `InputError` for the
    environment, and `StorageError` where the records can't be read or believed.
    """
    path, store = path_text("config", config), folder(cache_dir)
    chosen = None if names is None else texts("names", names, "a list of names")
    options = {"offline": offline, "locked": locked, "require_digest": require_digest, "full": full}
    for name, value in options.items():
        check_type(name, value, bool, "True or False")
    options["locked"] = locked or is_on("MODEL_PROVISIONER_LOCKED")
    told = listener(progress)
    with waits_told(waiting(told)), Run.begin(path, cache_dir=store, rules=Rules(**options), progress=told) as run:
        return operation.provision(run, chosen, core_count())


def provision_from_config_to_handoff(
    config: str | os.PathLike[str],
    handoff: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None = None,
) -> ResolvedModel:
    """Provision the one model of a configuration file and write its handoff to the path `handoff`; return the model.

    Its folder is made if need be. What an earlier call wrote for this file to another path is removed. Raises `OccupiedError`
    where something stands there that is no handoff of this project, else as `provision_from_config_to_default_handoff` does.
    """
    text = path_text("handoff", handoff)
    if not is_file_name(text):
        raise InputError(
            "no handoff can have this name",
            where="handoff",
            expected="the path of a file",
            found=repr(text),
            fix='name a file, as in   "handoff.json"',
        )
    return _provision_one(path_text("config", config), folder(cache_dir), real_path(text))


def provision_from_config_to_default_handoff(
    config: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None
) -> ResolvedModel:
    """Provision the one model of a configuration file and write its handoff; return the model.

    `cache_dir` wins over the environment, that over the file. Raises `ConfigError` for the faults of the file and for one
    that has more models than one, and what a failing step raises; then there is no handoff. Raises `StorageError` also where
    one that no entry claims any more can't be removed.
    """
    return _provision_one(path_text("config", config), folder(cache_dir), None)


def _provision_one(config: str, cache_dir: str | None, handoff: str | None) -> ResolvedModel:
    with Run.begin(config, cache_dir=cache_dir, adapt=partial(only_model, handoff=handoff)) as run:
        try:
            (name,) = run.work.config.entries
            found = run.provision_one(name)
            _, trouble = withdraw_orphans(run.work)
        finally:
            run.finish()
    for error in trouble:
        raise error
    return ResolvedModel.of(found)

"""Add models to `models.yaml`, each with the digest that it has now: every other byte of the file stays.

If another program writes the file meanwhile, all is done again on what it wrote.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from model_provisioner.config.load import read_config
from model_provisioner.config.lockfile import lock_path_of, read_lock
from model_provisioner.errors import InputError, StorageError
from model_provisioner.fs.atomic import drafted
from model_provisioner.fs.identity import stat_or_none
from model_provisioner.fs.paths import may_be_there
from model_provisioner.fs.unreachable import RUNTIME_SETTING
from model_provisioner.operations.adding.additions import Findings
from model_provisioner.operations.adding.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.operations.adding.additions import Additions, Asked, Options

TRIES = 10
"""How often what another program wrote meanwhile is begun with anew."""


def add(path: str, asked: Sequence[Asked], options: Options) -> Additions:
    """Add the models that can be added to the `models.yaml` at `path`, which need not be there, and to the lock file.

    Raises `InputError`, and `StorageError` where nothing can be written.
    """
    findings = Findings()
    for _ in range(TRIES):
        before = _read(path)
        found = Plan(path, *before, options, findings).run(asked)
        if options.dry_run or not found.files or _write(path, found, before):
            return found
    raise StorageError(
        "another program writes the file again and again",
        where=path,
        expected=f"a moment of rest in {TRIES} tries",
        found="other bytes each time",
        fix="end that program, or wait for it, and run this again; nothing was added",
    )


def _read(config: str) -> tuple[bytes | None, bytes | None]:
    """Return what models.yaml and models.lock hold. Raises where they are not to be written to."""
    for path in (config, lock_path_of(config)):
        if os.path.islink(path):
            raise InputError(
                f"{os.path.basename(path)} is a link, and nothing is added through a link",
                where=path,
                expected="a file",
                found=f"a link to {os.readlink(path)}",
                fix="put a copy of the file in the place of the link, or edit the file that it leads to",
            )
        found = stat_or_none(path)
        if found is not None and not (found.st_mode & 0o222 and os.access(path, os.W_OK)):
            raise StorageError(
                f"{os.path.basename(path)} is read-only",
                where=path,
                expected="a file that you may write",
                found=stat.filemode(found.st_mode),
                fix="make it writable, if it is yours to change: chmod u+w",
            )
    return read_config(config) if may_be_there(config) else None, read_lock(lock_path_of(config))


def _write(config: str, found: Additions, before: tuple[bytes | None, bytes | None]) -> bool:
    """Write the files, the lock first: it may name what models.yaml does not. Return False where others wrote meanwhile."""
    try:
        with drafted({path: data for path, _, data in found.files}) as (drafts, errors):
            for error in errors.values():
                raise error
            if _read(config) != before:
                return False
            for draft in drafts:
                draft.take_mode()
                draft.publish()
    except StorageError as error:
        if RUNTIME_SETTING in error.fix:  # which moves neither
            error.fix = "make this a place that you can write; nothing was added"
        raise
    return True

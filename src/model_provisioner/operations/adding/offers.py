"""What a repository offers to who has not named a file: its GGUFs, each with the reference that names it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model_provisioner.config.load import parse_config, read_config
from model_provisioner.config.network_policy import written_for
from model_provisioner.engine.fetching.fetch import listing_of
from model_provisioner.engine.workspace import open_workspace
from model_provisioner.errors import InputError, NotAllowedError, printable
from model_provisioner.fetchers.offered import size_of
from model_provisioner.fetchers.sources import hosts_of
from model_provisioner.fs.paths import may_be_there
from model_provisioner.invocation import command
from model_provisioner.references.quantizations import offers
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.references.reference import HubRef, ModelRef


@dataclass(frozen=True)
class Choice:
    """A GGUF of a repository."""

    ref: HubRef
    """By its quantization, where no other has the same; else by its file."""
    files: tuple[str, ...]
    quantization: str | None
    size: int
    """In bytes."""


def offered_by(path: str, ref: HubRef, *, allow: bool) -> list[Choice]:
    """Return what a repository offers, by the policy of the `models.yaml` at `path`, which need not be there.

    Where `allow`, its host may be asked, whatever the policy says. Raises as `choices` does, and `ConfigError`.
    """
    hosts = list(parse_config(read_config(path), path).allow) if may_be_there(path) else []
    if allow:
        hosts += map(written_for, hosts_of(ref))
    asked = {"network": {"allow": hosts}, "models": {"model": {"model_ref": str(ref)}}}
    work = open_workspace(path, proposed=json.dumps(asked).encode())
    with closing(work), closing(work.lease):
        try:
            return choices(work, work.config.entries["model"])
        except NotAllowedError as error:
            raise not_allowed(error, ref) from None


def not_allowed(error: NotAllowedError, ref: ModelRef) -> NotAllowedError:
    """Return the error for a reference on the command line whose host may not be contacted."""
    error.what, error.where = error.what.replace(error.what.partition(" ")[0], ref.id, 1), ref.id
    if "network.allow" in error.expected:  # else it is the environment that forbids it
        error.fix = f"add --allow, if you trust {error.expected.partition(' ')[0]}"
    return error


def choices(work: Workspace, entry: Entry) -> list[Choice]:
    """Return the models among the GGUFs of a Hub repository, the smallest first.

    Raises as `listing_of` does, and `InputError` where there are none.
    """
    ref: HubRef = entry.ref  # type: ignore[assignment]
    sizes = {file.name: file.size for file in listing_of(work, replace(entry, engine="")).files}
    models = [each for each in offers(sizes) if each.kind == "model"]
    if not models:
        raise InputError(
            "the repository has no GGUF that is a model",
            where=ref.id,
            expected="at least one .gguf beside projectors and importance matrices",
            found=f"{len(sizes)} other files",
            fix=f"name a repository with GGUFs, or an engine that loads this one: {command(f'add {ref} --engine vllm')}",
        )
    counts = [each.quantization for each in models]
    found = [
        Choice(
            replace(ref, quantization=each.quantization)
            if each.quantization is not None and counts.count(each.quantization) == 1
            else replace(ref, path=each.names[0]),
            each.names,
            each.quantization,
            size_of(each, sizes),
        )
        for each in models
    ]
    return sorted(found, key=lambda each: (each.size, each.files))


def in_lines(choices: Sequence[Choice]) -> list[str]:
    """Return the GGUFs of a repository, one a line: quantization, size, reference."""
    width = max(len(each.quantization or "-") for each in choices)
    return [
        f"{each.quantization or '-':<{width}}  {human(each.size):>9}  {printable(str(each.ref))}" for each in choices
    ]

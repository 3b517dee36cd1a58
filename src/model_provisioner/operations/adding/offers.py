"""What a repository or an artifact offers to who has not named a file, each with the reference that names it."""

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
from model_provisioner.references.quantizations import offers, quantization_of
from model_provisioner.references.reference import HubRef
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.config.entries import Entry
    from model_provisioner.engine.workspace import Workspace
    from model_provisioner.references.reference import ModelRef, OciRef, OllamaRef


@dataclass(frozen=True)
class Choice:
    """A GGUF of a repository; of an artifact what its reference means, or one of the files beside that."""

    ref: ModelRef
    """In a repository by its quantization, where no other has the same; else by its file."""
    files: tuple[str, ...]
    quantization: str | None
    size: int
    """In bytes."""


def offered_by(path: str, ref: HubRef | OciRef | OllamaRef, *, allow: bool) -> list[Choice]:
    """Return what a repository or an artifact offers, by the policy of the `models.yaml` at `path`, which need not be there.

    Where `allow`, its host may be asked, whatever the policy says. Raises as `choices` does, and `ConfigError`.
    """
    hosts = list(parse_config(read_config(path), path).allow) if may_be_there(path) else []
    if allow:
        hosts += map(written_for, hosts_of(ref))
    asked = {"network": {"allow": hosts}, "models": {"model": {"model_ref": str(ref)}}}
    work = open_workspace(path, proposed=json.dumps(asked).encode())
    with closing(work), closing(work.lease):
        try:
            entry = work.config.entries["model"]
            return choices(work, entry) if isinstance(ref, HubRef) else files_of_artifact(work, entry)
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


def files_of_artifact(work: Workspace, entry: Entry) -> list[Choice]:
    """Return what the reference of an artifact means, then each file that can be named: of a split its first shard.

    Raises as `listing_of` does.
    """
    ref: OciRef | OllamaRef = entry.ref  # type: ignore[assignment]
    listing = listing_of(work, replace(entry, engine=""))
    meant = tuple(file.name for file in listing.files)
    sizes = {file.name: file.size or 0 for file in (*listing.files, *listing.beside)}
    groups = {each.names[0]: each.names for each in offers(sizes)}
    shards = {name for names in groups.values() for name in names}
    single = [groups.get(name, (name,)) for name in sorted(sizes) if name in groups or name not in shards]
    return [
        Choice(
            ref if names == meant else replace(ref, path=names[0]),
            names,
            next((found for name in names if (found := quantization_of(name))), None),
            sum(sizes[name] for name in names),
        )
        for names in (meant, *(names for names in single if names != meant))
    ]


def in_lines(choices: Sequence[Choice]) -> list[str]:
    """Return what is offered, one a line: quantization, size, reference."""
    width = max(len(each.quantization or "-") for each in choices)
    return [
        f"{each.quantization or '-':<{width}}  {human(each.size):>9}  {printable(str(each.ref))}" for each in choices
    ]

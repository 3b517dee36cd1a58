"""`list`: the models of a project, or of the machine, as a table."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.cli.columns import table
from model_provisioner.cli.project import (
    CONFIG_NAME,
    find_config,
    project_config,
    state_folder_here,
    telling_faults,
    view_project,
)
from model_provisioner.cli.reply.fields import model_fields, row_fields
from model_provisioner.errors import InputError, printable
from model_provisioner.invocation import command as called
from model_provisioner.records.catalog.catalog import Catalog
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply
    from model_provisioner.cli.store_view import StoreView
    from model_provisioner.records.catalog.catalog import Model

_HEAD = ("NAME", "STATE", "CHECK", "SIZE", "TYPE", "DIGEST")


def run(
    reply: Reply,
    names: Sequence[str],
    *,
    all: bool,  # noqa: A002  the option's name
    allow: bool,
    fleet: bool,
    digest: str | None,
    state: str | None,
    differs: bool,
    silent: str | None,
) -> int:
    """Print a table; with a reference, what its repository offers; with the options of a fleet, what that has."""
    if fleet or digest or state or differs or silent:
        from model_provisioner.cli.commands.queries.fleet import list_fleet

        others = [*names, *(["--all"] if all else []), *(["--allow"] if allow else [])]
        return list_fleet(reply, others, fleet=fleet, digest=digest, state=state, differs=differs, silent=silent)
    if names:
        return _offers(reply, names, allow=allow)
    with closing(Catalog.reader(state_folder_here())) as catalog:
        rows = catalog.all() if all else catalog.of_project(os.path.dirname(project_config()))
    view = None if all else _store_view(reply, rows)
    reply.models = [model_fields(row.name, row.id, row) for row in rows]
    store = {} if view is None else view.by_name()
    reply.result = {"catalog": [row_fields(row) | {"store": store.get(row.name)} for row in rows]}
    if not rows:
        reply.say(f"no models are registered yet: run `{called('provision')}`")
    for project in dict.fromkeys(row.project for row in rows):
        if all:
            reply.say(f"{printable(project) or 'registered by programs'}:")
        reply.say(*_table([row for row in rows if row.project == project]))
    reply.say(*(() if view is None else view.lines()))
    return 0


def _offers(reply: Reply, names: Sequence[str], *, allow: bool) -> int:
    from model_provisioner.operations.adding.offers import in_lines, offered_by
    from model_provisioner.references.reference import HubRef, ModelRef, OciRef, OllamaRef

    ref = ModelRef.parse(names[0]) if len(names) == 1 else None
    names_one = isinstance(ref, HubRef) and ref.quantization is not None
    if not isinstance(ref, HubRef | OciRef | OllamaRef) or ref.path is not None or names_one:
        raise InputError(
            "list takes one repository or artifact, or no name",
            where="the command line",
            expected="hf:ORG/REPO, oci:REGISTRY/REPO:TAG or ollama:NAME:TAG",
            found=" ".join(names),
            fix=f"`{called('show NAME')}` shows a model of the project"
            if ref is None or ref.is_local
            else f"write {called(f'list hf:{ref.repo}')}"
            if isinstance(ref, HubRef)
            else "name a repository of the Hub, or an artifact of a registry",
        )
    found = offered_by(find_config(os.getcwd()) or os.path.join(os.getcwd(), CONFIG_NAME), ref, allow=allow)
    reply.result = {
        "offers": [
            {
                "model_ref": str(each.ref),
                "quantization": each.quantization,
                "size_bytes": each.size,
                "files": each.files,
            }
            for each in found
        ]
    }
    reply.say(*in_lines(found))
    return 0


def _store_view(reply: Reply, rows: Sequence[Model]) -> StoreView | None:
    """Return what the store has of the project here; None where its models are all local, or the store can't be looked at."""
    from model_provisioner.cli.store_view import StoreView

    view = None
    with telling_faults(reply), view_project() as work:
        if not all(row.id.startswith("local:") for row in rows):
            view = StoreView.of(work, rows)
    return view


def _table(rows: Sequence[Model]) -> list[str]:
    return table(_HEAD, [_cells(row) for row in rows], right={"SIZE"}, least={"TYPE": 16, "NAME": 20})


def _cells(row: Model) -> tuple[str, str, str, str, str, str]:
    metadata = row.metadata
    kind = " ".join(filter(None, (metadata.architecture, metadata.quantization))) if metadata else ""
    digest = (row.digest or "").partition(":")[2][:12]
    size = "-" if row.size is None else human(row.size)
    return printable(row.name), row.lifecycle, row.outcome or "-", size, printable(kind), digest

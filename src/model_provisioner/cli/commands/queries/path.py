"""`path`: the path that an engine is to load. Whoever starts an engine waits for it, so it imports little."""

from __future__ import annotations

import os

from model_provisioner.cli.project import entries_named, project_config, view_project, wrong_count
from model_provisioner.engine.snapshot.compare import look
from model_provisioner.fs.read import JSON_LIMIT, read_if_there

TYPE_CHECKING = False  # `typing` would take as long as all else
if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply


def run(reply: Reply, names: Sequence[str]) -> int:
    """Print the path and a line break."""
    if len(names) != 1:
        raise wrong_count("path", "one NAME", names)
    path = _by_snapshot(names[0]) or _by_records(names[0])
    if reply.is_json:
        from model_provisioner.cli.reply.fields import models_of

        with view_project() as work:
            reply.models = models_of(work, names)
        reply.result = {"path": path}
    reply.say_bytes(os.fsencode(path) + b"\n")  # a path is bytes: an engine has to get these
    return 0


def _by_snapshot(name: str) -> str | None:
    """Return the path that the handoff names, where the snapshot says that nothing moved; else None."""
    found = look(project_config())
    if found is None or found.snapshot is None or name in found.retired or name not in found.same:
        return None
    from model_provisioner.json_text import parse_json

    data = read_if_there(found.snapshot.handoff_of(name), JSON_LIMIT)
    return None if data is None else str(parse_json(data)["model"]["path"])


def _by_records(name: str) -> str:
    from model_provisioner.operations.path import files_to_load

    with view_project() as work:
        return files_to_load(work, *entries_named(work, [name])).path

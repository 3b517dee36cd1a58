"""`schema`: the JSON Schema of `models.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import to_json
from model_provisioner.config.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply


def run(reply: Reply, names: Sequence[str]) -> int:
    """Print the schema, which is JSON by itself; `--json` puts it into the document."""
    reply.result = json_schema()
    reply.say(to_json(reply.result))
    return 0

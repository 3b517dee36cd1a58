"""`schema`: the JSON Schema of `models.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_json
from model_provisioner.config.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(names: Sequence[str], *, json: bool) -> int:
    """Print the schema; it is JSON with and without `--json`."""
    return print_json(json_schema())

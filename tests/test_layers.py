"""Imports go down only, in the order of `ROOMS`; only plugin imports doit."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "model_provisioner"
ROOMS = [
    "errors",
    "units",
    "version",
    "references",
    "fs",
    "config",
    "hashing",
    "headers",
    "store",
    "records",
    "provenance",
    "fetchers",
    "engine",
    "operations",
    "api",
    "cli",
    "plugin",
]
BELOW = {room: set(ROOMS[:number]) for number, room in enumerate(ROOMS)}
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "model_provisioner" and rest:
            other = rest.split(".")[0]
            assert other == room or other in BELOW[room], f"{room} imports {name}"
        assert first != "doit" or room == "plugin", f"{room} imports doit"


def test_no_module_is_called_utils():
    assert not [path for path in MODULES if path.stem in {"utils", "util", "helpers", "common", "misc"}]

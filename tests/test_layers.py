"""Imports go down only, in the order of `ROOMS`, and never in a circle; only plugin imports doit; folders stay small."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "model_provisioner"
ROOMS = [
    "arguments",
    "errors",
    "settings",
    "units",
    "version",
    "invocation",
    "collector",
    "references",
    "fs",
    "installation",
    "json_text",
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
    "__main__",
]
BELOW = {room: set(ROOMS[:number]) for number, room in enumerate(ROOMS)}
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]

MOST = 14


def imports(path):
    """Yield all that a file imports, wherever in it and for whatever: for types as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_of(folder, prefix=""):
    """Return the modules of a folder by the names by which they are imported."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((*prefix, *parts)).removesuffix(".__init__")] = path
    return found


def graph(modules):
    """Return which other modules each imports. A package that is named on the way to its module is not meant by that."""
    found = {}
    for name, path in modules.items():
        asked = set(imports(path))
        meant = {other for other in asked & modules.keys() if not any(each.startswith(f"{other}.") for each in asked)}
        meant |= {each for each in asked & modules.keys() if modules[each].name != "__init__.py"}
        found[name] = meant - {name}
    return found


def circles(edges):
    """Return the sets of modules that reach each other (Tarjan's strongly connected components)."""
    index, low, path, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        path.append(name)
        for other in sorted(edges[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in path:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = path.index(name)
            found.append(set(path[at:]))
            del path[at:]

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return [each for each in found if len(each) > 1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "model_provisioner" and rest:
            other = rest.split(".")[0]
            assert other == room or other in BELOW[room], f"{room} imports {name}"
        assert first != "doit" or room == "plugin", f"{room} imports doit"


def test_no_files_import_each_other_in_a_circle():
    found = circles(graph(names_of(SOURCE, ("model_provisioner",))))
    assert [sorted(each) for each in found] == []


@pytest.mark.parametrize("folder", ["benchmarks", "scripts"])
def test_no_scripts_import_each_other_in_a_circle(folder):
    assert circles(graph(names_of(ROOT / folder))) == []


def test_what_a_circle_is(tmp_path):
    for name, text in {
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import B\n",
        "b": "def f():\n    import c\n",
        "c": "from a import A\n",
        "d": "import a\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert circles(graph(names_of(tmp_path))) == [{"a", "b", "c"}]


def test_no_folder_has_more_modules_than_a_reader_keeps_in_mind():
    count = Counter(str(path.parent.relative_to(SOURCE)) for path in MODULES if path.name != "__init__.py")
    assert {folder: number for folder, number in count.items() if number > MOST} == {}


def test_no_module_is_called_utils():
    assert not [path for path in MODULES if path.stem in {"utils", "util", "helpers", "common", "misc"}]

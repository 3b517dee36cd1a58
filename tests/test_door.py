"""One door to the disk: only `fs` opens, makes, names, locks and removes files; the exceptions stand here with a reason."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "model_provisioner"
MODULES = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] != "fs"]

OS = {
    *("open", "fdopen", "unlink", "remove", "removedirs", "rename", "renames", "replace", "mkdir", "makedirs", "rmdir"),
    *("link", "symlink", "truncate", "mkfifo", "mknod", "scandir", "listdir", "walk", "fwalk", "lockf"),
}
FORBIDDEN = {f"os.{name}" for name in OS} | {"open", "io.open", "os.path.lexists", "sqlite3.connect"}
MODULES_OF_FS = {"fcntl", "filelock", "glob", "shutil", "tempfile"}
METHODS = {"read_bytes", "read_text", "write_bytes", "write_text"}
"""Those of `pathlib.Path`."""

EXCEPTIONS = {
    ("cli/report_page/document.py", "read_text"): "the style sheet, which comes with the package",
    ("cli/exit_codes.py", "open"): "a closed stdout or stderr becomes /dev/null",
    ("cli/exit_codes.py", "os.open"): "a stdout that nobody reads any more becomes /dev/null",
    ("cli/project.py", "os.path.lexists"): "a folder above that can't be searched has no models.yaml for us",
    ("installation.py", "read_text"): "what the installer wrote of this package, through importlib.metadata",
    ("records/stat_snapshot.py", "open"): "the two ends of a pipe to a forked process, by their descriptors",
}


def operations(source):
    """Yield every file operation that a module refers to, called or not."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name for alias in node.names if (name := alias.name.partition(".")[0]) in MODULES_OF_FS)
        elif isinstance(node, ast.ImportFrom):
            if node.module.partition(".")[0] in MODULES_OF_FS:
                yield node.module
            yield from (name for alias in node.names if (name := f"{node.module}.{alias.name}") in FORBIDDEN)
        elif isinstance(node, ast.Attribute):
            if (name := dotted(node)) in FORBIDDEN:
                yield name
            elif node.attr in METHODS:
                yield node.attr
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN:
            yield node.id


def dotted(node):
    """Return a name with its dots, as far as it is made of names alone."""
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def found_in(path):
    name = str(path.relative_to(SOURCE))
    return {(name, operation) for operation in operations(path.read_text())}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_fs_goes_to_the_disk(path):
    assert found_in(path) <= EXCEPTIONS.keys(), "use what fs/ offers, or add it there"


def test_every_exception_is_needed():
    assert set().union(*map(found_in, MODULES)) == EXCEPTIONS.keys()


@pytest.mark.parametrize(
    ("source", "operation"),
    [
        ("with open(path) as file: pass", "open"),
        ("os.open(path, os.O_RDONLY)", "os.open"),
        ("any(map(os.path.lexists, paths))", "os.path.lexists"),
        ("from os import unlink", "os.unlink"),
        ("def f():\n    import shutil", "shutil"),
        ("from tempfile import TemporaryDirectory", "tempfile"),
        ("fcntl.flock(fd, 0)\nimport fcntl", "fcntl"),
        ("sqlite3.connect(path)", "sqlite3.connect"),
        ("pathlib.Path(path).read_bytes()", "read_bytes"),
    ],
)
def test_an_operation_is_found_however_it_is_written(source, operation):
    assert set(operations(source)) == {operation}


@pytest.mark.parametrize("source", ["https.open(url)", "store.blobs.open", "os.stat(path)", "Partial.open(store, key)"])
def test_what_only_has_the_name_of_an_operation_is_none(source):
    assert set(operations(source)) == set()

"""Of other packages, the private names that we use are still there; versions are bounded; CI installs what was tried."""

import ast
import importlib
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "model_provisioner"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / ".ci" / "requirements.txt").read_text()

PRIVATE = [
    ("doit", "doit.cmd_run", "Run._execute"),
    ("doit", "doit.cmdparse", "DefaultUpdate._non_default_keys"),
    ("doit", "doit.task", "Task._actions"),
    ("huggingface-hub", "huggingface_hub.utils._http", "_GLOBAL_CLIENT_FACTORY"),
    ("huggingface-hub", "huggingface_hub.utils._http", "default_client_factory"),
    ("model-signing", "model_signing._hashing.hashing", "Digest"),
    ("sigstore", "sigstore._internal.tuf", "TrustUpdater"),
    ("sigstore", "sigstore.models", "ClientTrustConfig._inner"),
]
"""Each name with an underscore that we use of another package: the package, the module, and the name in it."""

FORMATS = ["botocore", "pydantic", "pyyaml", "securesystemslib", "urllib3", "xxhash"]
"""What is used by public names alone, but where another major version would change what we write, sign or send."""


def requirements():
    """Yield each requirement of the program, its extras too."""
    for line in (
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ):
        yield Requirement(line)


@pytest.mark.parametrize(
    ("package", "module", "name"), PRIVATE, ids=[f"{module}:{name}" for _, module, name in PRIVATE]
)
def test_a_private_name_is_where_it_was(package, module, name):
    moved = (
        f"{package} {version(package)} has no {name} in {module} any more: lower its upper bound, or mend what uses it"
    )
    try:
        holder = importlib.import_module(module)
    except ImportError:
        pytest.fail(moved)
    *classes, attribute = name.split(".")
    for each in classes:
        holder = getattr(holder, each)
    # What an object gets when it is made is not in its class.
    is_there = hasattr(holder, attribute) or attribute in holder.__init__.__code__.co_names
    assert is_there, moved


def test_the_ways_to_aws_credentials_that_ask_a_host_have_the_names_that_they_had():
    from botocore.credentials import ContainerProvider, InstanceMetadataProvider

    assert (ContainerProvider.METHOD, InstanceMetadataProvider.METHOD) == ("container-role", "iam-role")


def private_names(path):
    """Yield the private names of other packages that a module uses: parts of imports, attributes of what is not its own."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            inside = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                parts = f"{inside}.{alias.name}".strip(".").split(".")
                if parts[0] not in {"__future__", "model_provisioner"}:
                    yield from (part for part in parts if part.startswith("_"))
        elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^_[A-Za-z]\w+$|(?<=\.)_[a-z]\w+", node.value)


def test_no_other_private_name_is_used():
    known = {part for _, module, name in PRIVATE for part in f"{module}.{name}".split(".") if part.startswith("_")}
    known |= {"_replace", "_exit", "_type"}  # of named tuples, of os, and of in-toto's statements: they are documented
    own = set()
    for path in SOURCE.rglob("*.py"):
        own |= {node.name for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name") and node.name}
        own |= set(re.findall(r"(?:self|cls)\.(_\w+)", path.read_text()))
    used = {(path.name, name) for path in SOURCE.rglob("*.py") for name in private_names(path)}
    assert not {(file, name) for file, name in used if name not in known | own}


def test_what_is_used_beyond_its_public_names_has_an_upper_bound():
    bounded = {*FORMATS, *(package for package, _, _ in PRIVATE)}
    program = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in ("hf", "s3", "sign"):
        program += [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    found = {canonicalize_name(each.name): each.specifier for each in program}
    assert {name for name in bounded if "<" not in str(found[name])} == set()


# ---- what CI installs


def locked():
    """Return each pinned package with its version, and with the lines of its hashes."""
    return {
        canonicalize_name(match[1]): (match[2], match[3])
        for match in re.finditer(
            r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[ \\\n]*)+)", LOCK, re.M
        )
    }


def test_the_packages_of_ci_are_those_that_the_project_asks_for():
    found = locked()
    extras = PROJECT["optional-dependencies"]
    asked = [
        Requirement(line)
        for line in (*PROJECT["dependencies"], *extras["test"], *extras["docs"], "hatchling", "editables")
    ]
    stale = [
        str(each)
        for each in asked
        if canonicalize_name(each.name) not in found or found[canonicalize_name(each.name)][0] not in each.specifier
    ]
    assert stale == [], "renew .ci/requirements.txt: CONTRIBUTING.md says how"


def test_each_package_of_ci_has_its_hashes_and_no_other_place_to_come_from():
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    assert all(
        re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        for line in lines
    )
    pins = [number for number, line in enumerate(lines) if "==" in line and not line.startswith(" ")]
    assert all(lines[number + 1].startswith("    --hash") for number in pins)
    assert "://" not in LOCK
    assert "--index" not in LOCK

"""The command that adds an extra to an installation, in environments as each installer leaves them.

`scripts/release_check.py` has the real pip, pipx and uv install the package, and does what the message says.
"""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from model_provisioner.version import __version__

SOURCE = Path(__file__).parents[1] / "src"
UV_RECEIPT = """[tool]
requirements = [
    { name = "model-provisioner", extras = ["s3"], path = "/dist/model_provisioner-0.2.0-py3-none-any.whl" },
    { name = "boto3", specifier = ">=1.36" },
]
entrypoints = [
    { name = "model-provisioner", install-path = "/home/u/.local/bin/model-provisioner", from = "model-provisioner" },
]
"""
OF_DOIT = """[tool]
requirements = [{ name = "doit" }, { name = "model-provisioner", directory = "/src" }]
entrypoints = []
"""
"""As `uv tool install doit --with ./src` writes it."""


@pytest.fixture
def environment(tmp_path):
    """Return a function that makes an environment, as an installer left it, and asks in it for the extra `hf`."""

    def ask(name="an environment", *, installer="pip", files=(), origin=None, **environ):
        prefix = tmp_path / name
        venv.create(prefix, symlinks=True)
        (packages,) = prefix.glob("lib/python*/site-packages")
        (packages / "here.pth").write_text(str(SOURCE))
        if installer is not None:
            info = packages / f"model_provisioner-{__version__}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: model-provisioner\nVersion: {__version__}\n")
            (info / "INSTALLER").write_text(f"{installer}\n")
            if origin is not None:
                (info / "direct_url.json").write_text(origin)
        for file, text in files:
            (prefix / file).write_text(text)
        program = "from model_provisioner.installation import with_extra; print(with_extra('hf'))"
        clean = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
        command = [prefix / "bin" / "python", "-c", program]
        run = subprocess.run(command, env={**clean, **environ}, capture_output=True, text=True, check=True)
        return run.stdout.removesuffix("\n").replace(str(tmp_path), "…")

    return ask


def test_pip_of_an_environment_is_named_by_its_path(environment):
    assert environment() == "'…/an environment/bin/pip' install 'model-provisioner[hf]'"


def test_pip_of_an_activated_environment_is_within_reach(environment, tmp_path):
    assert environment(VIRTUAL_ENV=str(tmp_path / "an environment")) == "pip install 'model-provisioner[hf]'"


def test_an_environment_of_uv_has_no_pip(environment):
    assert environment(installer="uv") == "uv pip install --python '…/an environment' 'model-provisioner[hf]'"


@pytest.mark.parametrize("installer", ["pip", "uv"])  # pipx has a choice of both
@pytest.mark.parametrize("name", ["model-provisioner", "doit"])
def test_pipx_adds_to_its_environment_whatever_that_is_of(environment, name, installer):
    found = environment(name, installer=installer, files=[("pipx_metadata.json", "{}")])
    assert found == f"pipx inject {name} 'model-provisioner[hf]'"


def test_a_tool_of_uv_keeps_what_it_was_installed_with(environment):
    found = environment(installer="uv", files=[("uv-receipt.toml", UV_RECEIPT)])
    assert found == "uv tool install 'model-provisioner[hf,s3]' --with 'boto3>=1.36'"


def test_a_tool_of_uv_that_has_this_beside_it(environment):
    found = environment(installer="uv", files=[("uv-receipt.toml", OF_DOIT)])
    assert found == "uv tool install doit --with 'model-provisioner[hf]'"


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (None, "model-provisioner[hf]"),
        ('{"url": "file:///a%20folder/x.whl", "archive_info": {}}', "/a folder/x.whl[hf]"),
        ('{"url": "https://me:s3cret@host/x.whl", "archive_info": {}}', "model-provisioner[hf]"),
    ],
    ids=["of an index", "of a file", "of an address"],
)
def test_uvx_installs_for_one_run_so_the_run_is_another_one(environment, origin, named):
    found = environment("archive-v0/Ct4JdZ9ACHlvJAjs", installer="uv", origin=origin)
    assert found == f"uvx --from '{named}' model-provisioner …"


def test_without_a_word_of_an_installer_it_is_pip(environment):
    assert environment(installer=None) == "'…/an environment/bin/pip' install 'model-provisioner[hf]'"


def test_no_other_part_of_the_program_says_how_to_install():
    said = {
        path.name for path in SOURCE.rglob("*.py") if re.search(r"\b(pip|pipx|uv) (tool )?install", path.read_text())
    }
    assert said <= {"installation.py"}

"""What the examples are run on: a checkout of a project, and an index-less pip that finds what the tests are installed with."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.github_runner import clean
from tests.support.project import Project

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROJECT = "models: {tiny: {model_ref: 'file:models/tiny.gguf', handoff: '{runtime_dir}/engines/llamacpp.json'}}\n"


@pytest.fixture
def checkout(project: Project) -> Project:
    """A project of one model with its lock, as a job checks it out."""
    path = project.add_tiny()
    os.utime(path, (1e9, 1e9))
    project.models(PROJECT)
    project.program("lock")
    return project


@pytest.fixture
def offline() -> dict[str, str]:
    """An environment in which pip builds this project with what is installed here, and asks nobody."""
    return {
        **clean(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # 0 means that nothing is isolated: pip reads it as the value of the option
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # a module is compiled when it is imported, and few of them are
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }

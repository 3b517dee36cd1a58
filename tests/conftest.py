from pathlib import Path

import pytest

from tests.support.project import Project


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory, monkeypatch):
    """No test sees, or leaves anything in, the state folder of the user who runs it."""
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(tmp_path_factory.mktemp("state", numbered=True)))
    for name in ("MODEL_PROVISIONER_CACHE_DIR", "HF_ENDPOINT", "DOIT_FILE", "DOIT_SEEK_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "a project"
    root.mkdir()
    return Project(root, tmp_path / "state")

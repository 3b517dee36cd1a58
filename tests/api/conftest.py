import os
import shutil

import pytest

from model_provisioner.hashing import memo
from tests.support.fixtures import hub, trusted  # noqa: F401
from tests.support.project import TINY
from tests.support.remote import REPO


@pytest.fixture
def state(tmp_path, monkeypatch):
    path = tmp_path / "state"
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(path))
    return path


@pytest.fixture
def model(tmp_path, state):
    path = tmp_path / "tiny model.gguf"
    shutil.copy(TINY, path)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened to be hashed."""
    names = []

    def counting(path, real=memo.open_model):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(memo, "open_model", counting)
    return names


@pytest.fixture
def store(tmp_path, state, hub, monkeypatch):  # noqa: F811
    """An empty store, for a program that may reach a Hub on loopback; no other program has anything on this machine."""
    path = tmp_path / "cache"
    (tmp_path / "home").mkdir()
    environ = {**hub.environ(tmp_path / "hf"), "HOME": str(tmp_path / "home"), "MODEL_PROVISIONER_CACHE_DIR": str(path)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    hub.add("org/tiny", REPO)
    return path

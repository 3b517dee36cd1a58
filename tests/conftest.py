import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from model_provisioner.fs import clock
from model_provisioner.invocation import called_by_doit
from tests.support.ids import id_of
from tests.support.project import Project, clock_after_settle

# How long an example takes is also for others to say: none has a deadline. CI says the same of the same commit; a
# developer's runs look further each time, the nightly ones furthest.
settings.register_profile("everyday", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("everyday"), derandomize=True)
settings.register_profile("nightly", parent=settings.get_profile("everyday"), max_examples=1000)
settings.load_profile("ci" if "CI" in os.environ else "everyday")


def pytest_configure():
    """In memory no stat proves any bytes: where `/tmp` lies there, the tests go elsewhere."""
    folder = tempfile.gettempdir()
    if clock.unseen_on(f"{folder}/.", os.stat(folder).st_dev) is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = "/var/tmp"


def pytest_make_parametrize_id(val, argname):
    return id_of(val, argname)


def pytest_collection_modifyitems(items):
    """What is long is slow as well."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores: for a third of their time tests wait for processes, servers and disks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let workers that are done take from the others: some tests take a hundred times as long as most."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory, monkeypatch):
    """No test sees, or leaves anything in, the state folder of the user who runs it."""
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", str(tmp_path_factory.mktemp("state", numbered=True)))
    called_by_doit(False)  # as a process says that was not told
    for name in (
        "MODEL_PROVISIONER_CACHE_DIR",
        "MODEL_PROVISIONER_FLEET_URL",
        "HF_ENDPOINT",
        "DOIT_FILE",
        "DOIT_SEEK_FILE",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _settling():
    """Let `settle` take no time: the one place where tests change the margin of the racily-clean rule."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "_clock", clock_after_settle)
        yield


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "a project"
    root.mkdir()
    return Project(root, tmp_path / "state")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """The models of `scripts/build_tiny_model.py`: F32, Q8_0, three shards, and an adapter."""
    folder = tmp_path_factory.mktemp("tiny models")
    script = Path(__file__).parents[1] / "scripts" / "build_tiny_model.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def run_python():
    """Run a program in a fresh interpreter; return what it prints."""

    def run(program: str) -> str:
        return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture(scope="session")
def moto():
    """A real S3 storage on loopback, in a process of its own."""
    from tests.support.s3 import Moto

    storage = Moto()
    yield storage
    storage.close()


@pytest.fixture
def s3(moto, tmp_path, monkeypatch):
    """The storage with nothing in it, behind a front that remembers what was asked; no AWS settings of this user are seen."""
    from tests.support.s3 import Front, clean

    for name in clean():
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    moto.reset()
    front = Front(moto)
    yield front
    front.close()
    moto.reset()


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL on loopback, in processes of its own, as a user that is not root."""
    from tests.support.postgres import Postgres

    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def fleet(postgres):
    """An empty database of it."""
    with postgres.database() as database:
        yield database

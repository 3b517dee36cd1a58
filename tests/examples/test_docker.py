"""The Dockerfiles: their instructions, run one after the other on layers, and their containers, with a real llama.cpp."""

import os
import re
import shutil
import sys
import tempfile
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.examples.conftest import EXAMPLES, ROOT
from tests.support.hub import Hub, corrupt
from tests.support.image import Build, Host
from tests.support.project import TINY, Project, settle_in_every_process

DOCKER = EXAMPLES / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
(ENTRY,) = yaml.safe_load((DOCKER / "models.yaml").read_text())["models"].values()
_, ORGANISATION, REPOSITORY, NAME = re.split("[:/]", ENTRY["model_ref"])

SIZE = TINY.stat().st_size
TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root, for overlays",
)


@pytest.fixture
def hub():
    with Hub() as hub:
        hub.add(f"{ORGANISATION}/{REPOSITORY}", {NAME: TINY.read_bytes()})
        yield hub


@pytest.fixture
def context(hub, tmp_path):
    """The folder of the build: the example's files, with a lock of what the Hub of this test has."""
    folder = tmp_path / "context"
    shutil.copytree(DOCKER, folder)
    text = (folder / "models.yaml").read_text().replace("[huggingface]", '["127.0.0.1"]', 1)
    (folder / "models.yaml").write_text(text)
    Project(folder, tmp_path / "state of the lock", hub.environ(tmp_path / "outside")).program("lock")
    return folder


@pytest.fixture
def layers():
    """A folder of another file system than `/`, which is the lowest layer, and may not hold those above it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def environ(hub, tmp_path):
    """The environment of the image that FROM names: a Python with what the tests are installed with, and this Hub."""
    return {
        "PATH": f"/usr/local/bin:{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_ENDPOINT": hub.environ(tmp_path / "outside")["HF_ENDPOINT"],
    }


ENGINE = ("sh", "-c", 'id -u; sha256sum "$2"; test -w "$2" && echo "may write"; exit 0', "engine")
"""In place of an engine: says who it runs as, and what model it was given; `$1` is `-m`."""


@needs_root
@pytest.mark.slow
def test_models_that_are_in_the_image(context, environ, layers, tmp_path, hub):
    image = Build(context / "at-build.Dockerfile", context, layers, environ).image
    (models,) = [layer for layer in image.layers if any(path.stat().st_size == SIZE for path in layer.files())]
    assert models.instruction == "COPY --from=models --chown=root:root /srv/store /srv/store", "a layer of their own"
    assert not [layer for layer in image.layers if list(layer.folder.rglob("state/model-provisioner"))]

    hub.forget()
    told = Host(image, layers, tmp_path / "volumes").start(*ENGINE)
    assert re.fullmatch(rf"10001\n{TINY_SHA}  /srv/store/\S+\n", told.stdout), told.stdout
    assert hub.requests == []


@needs_root
@pytest.mark.slow
def test_models_that_a_container_fetches_are_there_for_the_next_one(context, environ, layers, tmp_path, hub):
    image = Build(context / "at-start.Dockerfile", context, layers, environ).image
    assert not [layer for layer in image.layers if any(path.stat().st_size == SIZE for path in layer.files())]

    host = Host(image, layers, tmp_path / "volumes")
    first = host.start(*ENGINE)
    assert (
        "pass  smol  hashed 105.2 KB (fetched from 127.0.0.1) → /srv/handoffs/engines/llamacpp.json" in first.stdout
    ), first.stdout
    assert re.search(rf"^10001\n{TINY_SHA}  /srv/store/", first.stdout, re.MULTILINE), first.stdout
    settle_in_every_process()
    hub.forget()
    second = host.start(*ENGINE)
    assert "1 model: 1 current" in second.stdout, second.stdout
    assert re.search(rf"^10001\n{TINY_SHA}  /srv/store/", second.stdout, re.MULTILINE), second.stdout
    assert hub.requests == []


@needs_root
@pytest.mark.slow
def test_no_engine_is_started_with_other_bytes_than_the_lock_names(context, environ, layers, tmp_path, hub):
    image = Build(context / "at-start.Dockerfile", context, layers, environ).image
    hub.fault(corrupt(5000), on="*", method="GET", times=None)
    told = Host(image, layers, tmp_path / "volumes").start(*ENGINE)
    assert (told.returncode, "FAIL  smol" in told.stdout, "10001" in told.stdout) == (1, True, False), told.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_image_keeps_no_cache_and_runs_as_a_user_of_its_own(path):
    text = path.read_text()
    assert [line for line in text.splitlines() if "pip install" in line and "--no-cache-dir" not in line] == []
    *_, last = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert last == "models"
    assert text.rindex("\nUSER ") < text.rindex("\nENTRYPOINT ")

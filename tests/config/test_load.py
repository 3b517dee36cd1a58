"""The file of a configuration: how it is read, what is no file, and what its parsing leaves as it was."""

import gc
import os
import subprocess
import sys

import pytest

from model_provisioner.config.load import parse_config, read_config
from model_provisioner.errors import ConfigError
from model_provisioner.fs.read import LIMIT


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A project folder, as the working directory, so that messages name the file as `models.yaml`."""
    monkeypatch.chdir(tmp_path)
    return str(tmp_path)


def unreadable(found, fix):
    return (
        "models.yaml: 1 fault\n\nthe configuration can't be read\n"
        f"  where     models.yaml\n  expected  a file that you may read\n  found     {found}\n  fix       {fix}"
    )


def test_a_file_is_read(root):
    with open("models.yaml", "wb") as file:
        file.write(b"models: {a: {model_ref: x}}")
    assert read_config(f"{root}/models.yaml") == b"models: {a: {model_ref: x}}"


def test_the_environment_is_that_of_the_process(monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_CACHE_DIR", "/environ")
    assert parse_config(b"models: {}", "models.yaml").cache_dir == "/environ"


def make_large(path):
    with open(path, "wb") as file:
        file.truncate(LIMIT + 1)


@pytest.mark.parametrize(
    ("put", "found", "fix"),
    [
        (lambda path: None, "No such file or directory", "check its name and its permissions"),
        (os.mkdir, "a folder, a FIFO or a device", "name a file"),
        (os.mkfifo, "a folder, a FIFO or a device", "name a file"),
        (lambda path: os.symlink("/dev/zero", path), "a folder, a FIFO or a device", "name a file"),
        (lambda path: os.symlink("gone", path), "No such file or directory", "check its name and its permissions"),
        (
            lambda path: os.symlink(path, path),
            "Too many levels of symbolic links",
            "check its name and its permissions",
        ),
        (make_large, "16,777,217 bytes", "shorten it: at most 16,777,216 bytes are read, comments too"),
        pytest.param(
            lambda path: os.symlink("/proc/self/mem", path),
            "Input/output error",
            "check the disk it lies on",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="macOS has no file that opens and can't be read"),
        ),
    ],
    ids=["nothing", "folder", "FIFO", "device", "link to nothing", "circle", "large", "broken disk"],
)
def test_what_is_no_file_is_refused_at_once(root, put, found, fix):
    put(f"{root}/models.yaml")
    for path in ("models.yaml", f"{root}/models.yaml"):
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(caught.value) == unreadable(found, fix)


def test_no_file_descriptor_is_left_open(root):
    os.mkfifo("models.yaml")
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with pytest.raises(ConfigError):
            read_config("models.yaml")
    assert len(os.listdir("/dev/fd")) == before


def test_no_permission(root):
    with open("models.yaml", "w") as file:
        file.write("models: {}")
    os.chmod("models.yaml", 0)
    script = (
        "from model_provisioner.config.load import read_config\n"
        "try: read_config('models.yaml')\n"
        "except Exception as error: print(type(error).__name__, error, sep='\\n')"
    )
    # File modes bind root too once it has lost these two capabilities.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert answer == f"ConfigError\n{unreadable('Permission denied', 'check its name and its permissions')}\n"


def test_a_file_of_another_folder_is_named_in_full(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir("here")
    with pytest.raises(ConfigError, match=f"  where     {tmp_path}/models.yaml:1, models\n"):
        parse_config(b"models:", f"{tmp_path}/models.yaml")


def test_to_import_it_needs_neither_pydantic_nor_yaml():
    script = (
        "import sys, model_provisioner.config.entries, model_provisioner.config.load\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('pydantic', 'pydantic_core', 'yaml', '_yaml')])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize("text", ["models: {}", "models: [", "\0", "models: 5"])
def test_the_garbage_collector_is_left_as_it_was(text):
    for enabled in (True, False):
        gc.enable() if enabled else gc.disable()
        try:
            parse_config(text.encode(), "models.yaml")
        except ConfigError:
            pass
        finally:
            was, _ = gc.isenabled(), gc.enable()
        assert was is enabled

"""docs/guides/engines.md, as its reader would use it: with a real llama.cpp, and for vLLM up to the command that would be run."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.project import TINY
from tests.support.remote import wait_until

TINY_SHA = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guides" / "engines.md").read_text(encoding="utf-8")
DODO, VLLM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERVER = ROOT / "tests" / "support" / "llama_server.py"


@pytest.fixture
def served(project, tmp_path):
    """The page's `dodo.py` in a project of one model, with `llama-server` on the PATH."""
    (programs := tmp_path / "bin").mkdir()
    program = programs / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(SERVER))} "$@"\n')
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    project.environ.update(PATH=f"{programs}:{os.environ['PATH']}", PORT=str(port))
    project.write("dodo.py", DODO)
    project.add_tiny("models/a model.gguf")
    project.models("models: {tiny: {model_ref: 'file:models/a model.gguf'}}")
    yield project
    project.doit("clean", "serve")


def loaded(project):
    """Return what the engine that runs says it has loaded, and its process."""
    url = f"http://127.0.0.1:{project.environ['PORT']}/props"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["model_path"], (project.root / ".runtime/llama-server.pid").read_text()


@pytest.mark.slow
def test_the_engine_is_started_anew_only_when_it_would_load_something_else(served):
    assert ".  serve\n" in served.doit("serve").out
    path, first = loaded(served)
    assert path == str(served.root / "models/a model.gguf")

    assert "-- serve\n" in served.doit("serve").out
    assert loaded(served) == (path, first)

    os.utime(path)  # confirmed anew, and the handoff has the same bytes
    assert "-- serve\n" in served.doit("serve").out
    assert loaded(served) == (path, first)

    served.models(f"models: {{tiny: {{model_ref: 'file:models/a model.gguf', expected_digest: 'sha256:{TINY_SHA}'}}}}")
    assert "-- serve\n" in served.doit("serve").out  # now it is a pass; the bytes are the same
    assert served.handoff()["metadata"]["verification"] == "pass"
    assert loaded(served) == (path, first)

    served.models("models: {tiny: {model_ref: 'file:models/another.gguf'}}")
    served.write("models/another.gguf", TINY.read_bytes())
    assert ".  serve\n" in served.doit("serve").out
    path, second = loaded(served)
    assert path == str(served.root / "models/another.gguf")
    assert second != first

    os.kill(int(second), 9)
    assert ".  serve\n" in served.doit("serve").out
    assert loaded(served)[1] != second


@pytest.mark.slow
def test_an_adapter_of_the_model_is_loaded_with_it(served, tiny_models):
    (adapter,) = tiny_models.glob("*lora*.gguf")
    served.write("adapters/style.gguf", adapter.read_bytes())
    served.models("models: {tiny: {model_ref: 'file:models/a model.gguf', lora: 'file:adapters/style.gguf'}}")
    assert ".  serve\n" in served.doit("serve").out
    with urllib.request.urlopen(f"http://127.0.0.1:{served.environ['PORT']}/lora-adapters", timeout=30) as answer:
        (loaded_adapter,) = json.load(answer)
    assert loaded_adapter["path"] == str(served.root / "adapters/style.gguf")


@pytest.mark.slow
def test_a_model_that_fails_starts_no_engine(served):
    served.write("models/a model.gguf", b"GGUF and no more")
    answer = served.doit("serve", code=None)
    assert answer.code in (1, 2)
    assert not (served.root / ".runtime/llama-server.pid").exists()


@pytest.mark.slow
def test_an_engine_that_can_not_start_is_told(served):
    (Path(served.environ["PATH"].partition(":")[0]) / "llama-server").write_text("#!/bin/sh\nexit 3\n")
    process = served.start("serve")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"llama-server ended with 3: see .runtime/llama-server.log" in out
    assert not (served.root / ".runtime/llama-server.pid").exists()


def test_the_command_for_vllm(project):
    folder = project.root / "models/a folder"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 2048}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    project.models("models: {whole: {model_ref: 'file:models/a folder', engine: vllm}}")
    project.provision()
    program = project.write("command.py", VLLM)
    command = [sys.executable, program, project.root / ".runtime/engines/vllm.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shlex.split(printed) == [
        *("vllm", "serve", str(folder), "--served-model-name", str(folder), "--max-model-len", "2048"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/guides/own-models.md"])
def test_from_nothing_to_a_served_model_without_a_file_written_by_hand(served, tmp_path, page):
    """As the page says, but for the installation: in an empty folder, with a model in the home folder."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(pip install model-provisioner\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    _, add, provision, serve = block.splitlines()
    assert (add.split()[:2], provision) == (["model-provisioner", "add"], "model-provisioner provision")
    home, folder = tmp_path / "home", tmp_path / "new"
    (home / "models").mkdir(parents=True)
    folder.mkdir()
    (home / "models/mine.gguf").write_bytes(TINY.read_bytes())
    path = f"{Path(sys.executable).parent}:{served.environ['PATH']}"
    environ = {**served.surroundings(), "HOME": str(home), "PATH": path}
    for line in (add, provision):
        done = subprocess.run(["sh", "-ec", line], cwd=folder, env=environ, capture_output=True, text=True, check=True)
        assert "warn" not in done.stdout + done.stderr
    command = f"exec {serve} --port {environ['PORT']}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(["sh", "-ec", command], cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{environ['PORT']}"
        wait_until(lambda: server.poll() is not None or answers(f"{url}/health"), 60)
        with urllib.request.urlopen(f"{url}/props", timeout=30) as answer:
            assert json.load(answer)["model_path"] == str(home / "models/mine.gguf")
    finally:
        server.terminate()
        server.wait(30)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False

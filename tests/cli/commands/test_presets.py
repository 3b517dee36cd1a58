"""`report --presets`: the file that `llama-server --models-preset` reads, of the models that are handed off."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.gguf_bytes import gguf, text
from tests.support.project import settle
from tests.support.remote import TINY_BYTES, wait_until

SERVER = Path(__file__).parents[2] / "support" / "llama_server.py"
PROJECTOR = gguf({"general.architecture": text("clip"), "general.type": text("mmproj")}, [])
HANDOFF = 'defaults: {handoff: "{runtime_dir}/engines/{name}.json"}\n'

# What llama.cpp's parser takes, rule by rule (common/preset.cpp).
HEADER = re.compile(rb"\[[ \t]*([^]]+?)[ \t]*\][ \t]*(?:[;#].*)?")
KEY = re.compile(rb"([a-zA-Z_][a-zA-Z0-9_.-]*)[ \t]*=[ \t]*((?:(?![ \t]*(?:[;#]|\Z)).)*)[ \t]*(?:[;#].*)?")
EMPTY = re.compile(rb"[ \t]*(?:[;#].*)?")


def parse(data: bytes) -> dict[str, dict[str, str]]:
    """Read a file of presets as llama.cpp does; fail where its parser would."""
    found: dict[str, dict[str, str]] = {}
    section = "default"
    for line in re.split(rb"\r\n|\n|\r", data):
        if header := HEADER.fullmatch(line):
            section = os.fsdecode(header[1])
            found[section] = {}
        elif pair := KEY.fullmatch(line):
            found.setdefault(section, {})[pair[1].decode()] = os.fsdecode(pair[2])
        else:
            assert EMPTY.fullmatch(line), line
    return found


def test_the_parser_reads_the_example_of_the_documentation():
    assert parse(
        b"version = 1\n\n; (Optional) shared\n[*]\nc = 8192\n\n[ggml-org/MY-MODEL-GGUF:Q8_0]\n; string value\n"
        b"chat-template = chatml\njinja = true ; flag\nLLAMA_ARG_CACHE_RAM = 0\nmodel-draft = /Users/abc/draft.gguf\n"
    ) == {
        "default": {"version": "1"},
        "*": {"c": "8192"},
        "ggml-org/MY-MODEL-GGUF:Q8_0": {
            "chat-template": "chatml",
            "jinja": "true",
            "LLAMA_ARG_CACHE_RAM": "0",
            "model-draft": "/Users/abc/draft.gguf",
        },
    }


@pytest.fixture
def served(project, tiny_models):
    """A model with an adapter, one with a projector, one that failed, and one of another engine."""
    (adapter,) = tiny_models.glob("*lora*.gguf")
    project.write("a model.gguf", TINY_BYTES)
    project.write("style.gguf", adapter.read_bytes())
    project.write("see.gguf", PROJECTOR)
    project.write("bad.gguf", b"GGUF")
    project.models(
        HANDOFF + "models:\n"
        "  styled: {model_ref: 'a model.gguf', lora: [style.gguf]}\n"
        "  seeing: {model_ref: 'a model.gguf', mmproj: see.gguf}\n"
        "  bad: {model_ref: bad.gguf}\n"
        "  other: {model_ref: 'a model.gguf', engine: vllm}\n"
    )
    settle()
    project.program("provision", code=1)
    return project


def test_the_models_that_are_handed_off_are_in_it_with_what_is_loaded_beside_them(served):
    answer = served.program("report", "--presets", "models.ini")
    assert answer.out == "models.ini: 2 models, 1 left out\n"
    assert answer.err.startswith("left out  bad  bad is not handed off as it is now\n")
    assert (served.root / "models.ini").read_text() == (
        "; made by model-provisioner: `report --presets` makes it anew\nversion = 1\n\n"
        f"[seeing]\n; ctx-size = 256\nmodel = {served.root}/a model.gguf\nmmproj = {served.root}/see.gguf\n\n"
        f"[styled]\n; ctx-size = 256\nmodel = {served.root}/a model.gguf\nlora = {served.root}/style.gguf\n"
    )
    assert parse((served.root / "models.ini").read_bytes()) == {
        "default": {"version": "1"},
        "seeing": {"model": f"{served.root}/a model.gguf", "mmproj": f"{served.root}/see.gguf"},
        "styled": {"model": f"{served.root}/a model.gguf", "lora": f"{served.root}/style.gguf"},
    }


def test_a_model_that_moved_is_not_in_it(served):
    os.utime(served.root / "a model.gguf", (1, 1))
    answer = served.program("report", "--presets", "-")
    assert parse(answer.out.encode()) == {"default": {"version": "1"}}
    assert answer.err.count("left out  ") == 3


@pytest.mark.slow
def test_the_engine_loads_what_a_section_says(served):
    """The server at hand has no router: its options are those of a section, as the router passes them to a server."""
    served.program("report", "--presets", "models.ini")
    section = parse((served.root / "models.ini").read_bytes())["styled"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [part for key, value in section.items() for part in ("-m" if key == "model" else f"--{key}", value)]
    server = subprocess.Popen(
        [sys.executable, SERVER, *options, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answer(f"{url}/health") is not None or server.poll() is not None, 60)
        assert answer(f"{url}/props")["model_path"] == section["model"]
        assert [each["path"] for each in answer(f"{url}/lora-adapters")] == [section["lora"]]
    finally:
        server.terminate()
        server.wait(30)


def answer(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as found:
            return json.load(found)
    except OSError:
        return None


@pytest.mark.parametrize("name", ["a#b.gguf", "a;b.gguf", "line\nbreak.gguf"])
def test_a_path_that_the_format_can_not_hold_is_left_out(project, name):
    project.write(name, TINY_BYTES)
    project.write("good, really.gguf", TINY_BYTES)
    project.program("add", "odd", name)
    project.program("add", "good", "good, really.gguf")
    project.program("provision")
    answer = project.program("report", "--presets", "models.ini")
    assert answer.err.startswith("left out  odd  odd can't be named in a file of presets\n")
    assert list(parse((project.root / "models.ini").read_bytes())) == ["default", "good"]


def test_a_name_that_is_no_text_is_written_as_the_bytes_that_it_is(project):
    name = os.fsdecode(b"\xff.gguf")
    project.write(name, TINY_BYTES)
    project.program("add", "odd", name)
    project.program("provision")
    project.program("report", "--presets", "models.ini")
    assert parse((project.root / "models.ini").read_bytes())["odd"] == {"model": f"{project.root}/{name}"}


def test_it_is_replaced_and_another_s_file_is_not(served):
    for _ in range(2):
        served.program("report", "--presets", "models.ini")
    served.write("mine.ini", "[mine]\nmodel = x\n")
    answer = served.program("report", "--presets", "mine.ini", code=3)
    assert "name another file after --presets, or add --force to replace this one" in answer.err
    served.program("report", "--presets", "mine.ini", "--force")


@pytest.mark.parametrize("more", [["--json"], ["-o", "x.html"]])
def test_it_is_no_page(served, more):
    assert served.program("report", "--presets", "models.ini", *more, code=3).err == (
        "ERROR: --presets is a file of its own, and no page\n  where     the command line\n"
        "  expected  --presets FILE alone, or -o FILE or --json without it\n  found     both\n"
        "  fix       run it twice, once with each\n"
    )
    assert not (served.root / "models.ini").exists()

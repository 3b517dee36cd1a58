"""A real llama.cpp loads what the handoff names, and says of it what the handoff says."""

import json
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from tests.support.gguf_bytes import LLAMA, Tensor, gguf, text
from tests.support.project import TINY

# In a process of its own: an engine that dies of a model must not take the tests with it.
ENGINE = """
import json, sys
import xllamacpp
handoff = json.load(open(sys.argv[1]))
params = xllamacpp.CommonParams()
params.model.path = handoff["model"]["path"]
params.n_ctx = 0
params.n_parallel = 1
params.n_gpu_layers = 0
params.hostnames = ["127.0.0.1"]
params.port = 0
params.warmup = False
for companion in handoff["model"].get("companions", []):
    if companion["role"] == "mmproj":
        params.mmproj.path = companion["path"]
        params.mmproj_use_gpu = False
    else:
        params.lora_adapters += [xllamacpp.CommonAdapterLoraInfo(companion["path"], 1.0)]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def started(handoff):
    """Start the engine on a handoff; yield its address."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, handoff],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as engine:
        try:
            address = engine.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), engine.stderr.read()
            yield address
        finally:
            engine.kill()


def ask(url, body=None):
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one file", "three shards", "a link to one file"])
def test_llama_cpp_loads_the_path_of_the_handoff(project, tiny_models, kind):
    if kind == "three shards":
        for shard in sorted(tiny_models.glob("*-of-00003.gguf")):
            (project.root / shard.name).write_bytes(shard.read_bytes())
        reference = "tiny-llama-split-00001-of-00003.gguf"
    elif kind == "one file":
        project.add_tiny(reference := "models/a model.gguf")
    else:
        (project.root / (reference := "model.gguf")).symlink_to(TINY)
    project.models(f"models:\n  tiny:\n    model_ref: 'file:{reference}'\n")
    project.provision()
    handoff = project.handoff()
    assert handoff["model"]["path"] == str(project.root / reference)

    with started(project.root / ".runtime/engines/llamacpp.json") as address:
        (model,) = ask(f"{address}/v1/models")["data"]
        answer = ask(f"{address}/completion", {"prompt": "Hello", "n_predict": 4, "ignore_eos": True})
    metadata = handoff["metadata"]
    assert metadata["ctx_max"] == model["meta"]["n_ctx_train"] == 256
    assert metadata["tokenizer"]["vocab_size"] == model["meta"]["n_vocab"] == 259
    assert metadata["parameter_count"] == model["meta"]["n_params"]
    assert answer["tokens_predicted"] == 4


@pytest.fixture
def beside(project, tiny_models):
    """A project with the tiny model, and its projector and adapter as they are and broken in one thing each."""
    project.add_tiny("tiny.gguf")
    for role in ("mmproj", "lora"):
        shutil.copy(tiny_models / f"tiny-llama-{role}.gguf", project.root / f"{role}.gguf")
    adapter = {**LLAMA, "general.type": text("adapter"), "adapter.type": text("lora")}
    pair = [Tensor(name=f"blk.0.attn_q.weight.lora_{end}", shape=shape, offset=at, size=512) for end, shape, at in PAIR]
    for name, pairs in {
        "wide": adapter,
        "qwen": {**adapter, "general.architecture": text("qwen2")},
        "ia3": {**adapter, "adapter.type": text("ia3")},
    }.items():
        project.write(f"{name}.gguf", gguf(pairs, pair))
    data = bytearray((project.root / "mmproj.gguf").read_bytes())
    at = data.index(b"projection_dim") + len("projection_dim") + 4
    data[at : at + 4] = (128).to_bytes(4, "little")
    project.write("other.gguf", bytes(data))
    return project


PAIR = (("a", (128, 1), 0), ("b", (1, 128), 512))


def answers(project, **companions):
    """Provision with these companions; return what the engine says of itself, and what it goes on with."""
    project.models(json.dumps({"models": {"tiny": {"model_ref": "tiny.gguf", **companions}}}))
    project.provision()
    with started(project.root / ".runtime/engines/llamacpp.json") as address:
        body = {"prompt": "Hello", "n_predict": 8, "temperature": 0, "return_tokens": True}
        tokens = ask(f"{address}/completion", body)["tokens"]
        adapters = [each["path"] for each in ask(f"{address}/lora-adapters")]
        return ask(f"{address}/props")["modalities"]["vision"], adapters, tokens


@pytest.mark.slow
def test_llama_cpp_loads_the_companions_of_the_handoff(beside):
    sees, adapters, plain = answers(beside)
    assert (sees, adapters) == (False, [])
    sees, adapters, adapted = answers(beside, mmproj="mmproj.gguf", lora="lora.gguf")
    assert (sees, adapters) == (True, [f"{beside.root}/lora.gguf"])
    assert adapted != plain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "companion"),
    [
        ("lora.gguf", None),
        ("mmproj.gguf", None),
        ("tiny.gguf", ("lora", "mmproj.gguf")),
        ("tiny.gguf", ("lora", "wide.gguf")),
        ("tiny.gguf", ("lora", "qwen.gguf")),
        ("tiny.gguf", ("lora", "ia3.gguf")),
        ("tiny.gguf", ("mmproj", "lora.gguf")),
    ],
)
def test_what_is_refused_as_the_wrong_kind_llama_cpp_refuses_too(beside, model, companion):
    role, name = companion or ("", "")
    beside.models(json.dumps({"models": {"tiny": {"model_ref": model} | ({role: name} if companion else {})}}))
    out = beside.provision(code=1).out
    assert " is a" in out or " was made for " in out
    path = beside.root / model
    told = {"path": str(path), "companions": [{"role": role, "path": str(beside.root / name)}] if companion else []}
    beside.write("handoff.json", json.dumps({"model": told}))
    with pytest.raises(AssertionError, match="Failed to init server"), started(beside.root / "handoff.json"):
        pass


def test_a_projector_of_another_width_is_refused(beside):
    beside.models("models: {tiny: {model_ref: tiny.gguf, mmproj: other.gguf}}")
    assert "FAIL  tiny  mmproj other.gguf was made for another model\n" in beside.provision(code=1).out

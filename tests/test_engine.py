"""A real llama.cpp loads what the handoff names, and says of it what the handoff says."""

import json
import subprocess
import sys
import urllib.request

import pytest

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
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


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

    path = project.root / ".runtime/engines/llamacpp.json"
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as engine:
        try:
            address = engine.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), engine.stderr.read()
            (model,) = ask(f"{address}/v1/models")["data"]
            answer = ask(f"{address}/completion", {"prompt": "Hello", "n_predict": 4})
        finally:
            engine.kill()
    metadata = handoff["metadata"]
    assert metadata["ctx_max"] == model["meta"]["n_ctx_train"] == 256
    assert metadata["tokenizer"]["vocab_size"] == model["meta"]["n_vocab"] == 259
    assert metadata["parameter_count"] == model["meta"]["n_params"]
    assert answer["tokens_predicted"] == 4

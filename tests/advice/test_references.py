"""What is advised for a reference that is none names the model."""

import os

import pytest

from tests.support.advice import advised
from tests.support.remote import REPO, TINY_BYTES, TINY_SHA


@pytest.fixture
def sources(remote, hub, web):
    """A project that may ask a Hub and a server of files, with files of its own."""
    hub.add("org/tiny", REPO)
    web.files["/x.gguf"] = TINY_BYTES
    for name in ("models/tiny.gguf", "name:x.gguf", "a:b@c.gguf", "~nobody-of-this-name/x.gguf"):
        remote.project.write(name, TINY_BYTES)
    return remote


WEB, HERE = "https://localhost:PORT/x.gguf", "models/tiny.gguf"


@pytest.mark.parametrize(
    ("sentence", "fault", "mended"),
    [
        ("write the path of the model", "", HERE),
        (
            "write https: before its slashes; if it is a local path, write local: before it",
            "//a:b@localhost:PORT/x.gguf",
            "https://a:b@localhost:PORT/x.gguf",
        ),
        (
            "write https: before its slashes; if it is a local path, write local: before it",
            "//a:b@c/../ROOT/models/tiny.gguf",
            "local://a:b@c/../ROOT/models/tiny.gguf",
        ),
        ("download the model and name the file", "ftp://localhost:PORT/x.gguf", HERE),
        (
            "if it is a URL, write https:// before it; if it is a local path, write ./ before it",
            "a:b@localhost:PORT/x.gguf",
            "https://a:b@localhost:PORT/x.gguf",
        ),
        (
            "if it is a URL, write https:// before it; if it is a local path, write ./ before it",
            "a:b@c.gguf",
            "./a:b@c.gguf",
        ),
        ("if that is the name of a local file, write ./{}", "name:x.gguf", "./name:x.gguf"),
        (
            "if that is the name of a local file, write ./{}",
            "~nobody-of-this-name/x.gguf",
            "./~nobody-of-this-name/x.gguf",
        ),
        (
            "take the bad character out; bytes that are not UTF-8 can be written as %XX after file://",
            "file://ROOT/models/tiny%00.gguf",
            "file://ROOT/models/tiny.gguf",
        ),
        (
            "take the bad character out; bytes that are not UTF-8 can be written as %XX after file://",
            "file://ROOT/models/%00%FF.gguf",
            "file://ROOT/models/%FF.gguf",
        ),
        ("three slashes start an absolute path; a relative one is written file:PATH", f"file://{HERE}", f"file:{HERE}"),
        (
            "three slashes start an absolute path; a relative one is written file:PATH",
            "file://models/tiny.gguf",
            "file://ROOT/models/tiny.gguf",
        ),
        ("copy the link of the file from its page", "https:///x.gguf", WEB),
        (
            "copy ORG/REPO from the top of its page: hf:gpt2 is hf:openai-community/gpt2",
            "hf:tiny",
            "hf:org/tiny/tiny.gguf",
        ),
        ("write hf:{}@main, or leave @ out", "hf:org/tiny@/tiny.gguf", "hf:org/tiny@main/tiny.gguf"),
        ("write hf:{}@main, or leave @ out", "hf:org/tiny@/tiny.gguf", "hf:org/tiny/tiny.gguf"),
        (
            "write the file's path as the repository lists it, or none for the whole repository",
            "hf:org/tiny/../tiny.gguf",
            "hf:org/tiny/tiny.gguf",
        ),
        (
            "name a model's repository: ORG/REPO from the top of its page",
            "hf:datasets/org/tiny.gguf",
            "hf:org/tiny/tiny.gguf",
        ),
    ],
)  # fmt: skip
def test_what_is_advised_makes_a_reference(sources, web, sentence, fault, mended):
    sources.project.write(os.fsdecode(b"models/\xff.gguf"), TINY_BYTES)

    def models(ref):
        ref = ref.replace("ROOT", str(sources.root).replace(" ", "%20") if "file://" in ref else str(sources.root))
        sources.models({"x": ref.replace("PORT", str(web.port))})

    models(fault)
    advised(sources.provision(code=3), sentence)
    models(mended)
    sources.provision()
    assert sources.bytes_of("x") == TINY_BYTES


def test_a_revision_with_a_slash_is_written_as_it_is_told(tiny, hub):
    hub.add("org/tiny", REPO, branch="refs/pr/1")
    tiny.models({"tiny": "hf:org/tiny@refs/pr/1/tiny.gguf"})
    (word,) = advised(tiny.provision(code=3), "write {}")
    tiny.models({"tiny": word})
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_an_address_of_http_is_written_as_it_is_told(sources, web):
    sources.models({"x": f"http://localhost:{web.port}/x.gguf"})
    (word,) = advised(sources.provision(code=3), "write {}")
    sources.models({"x": {"model_ref": word, "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "pass  x" in sources.provision().out


def test_a_split_on_a_hub_is_named_by_the_shard_that_is_told(remote, hub, tiny_models):
    shards = {path.name: path.read_bytes() for path in tiny_models.glob("*-of-*.gguf")}
    hub.add("org/split", shards)
    remote.models({"x": f"hf:org/split/{sorted(shards)[1]}"})
    (first,) = advised(remote.provision(code=3), "name {} in its place: all shards come with it")
    remote.models({"x": f"hf:org/split/{first}"})
    remote.provision()
    assert len(remote.project.handoff("x")["metadata"]["files"]) == len(shards)

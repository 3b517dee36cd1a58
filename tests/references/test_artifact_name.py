"""How artifacts of registries and models of Ollama are named, and what can't be one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.reference import ModelRef, OciRef, OllamaRef
from model_provisioner.references.shown import CREDENTIALS

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "value", "id"),
    [
        ("oci:ghcr.io/org/model:q4", OciRef("ghcr.io", "org/model", "q4"), "oci:ghcr.io/org/model:q4"),
        ("oci:ghcr.io/org/model", OciRef("ghcr.io", "org/model"), "oci:ghcr.io/org/model"),
        ("oci://ghcr.io/org/model:q4", OciRef("ghcr.io", "org/model", "q4"), "oci:ghcr.io/org/model:q4"),
        ("OCI:GHCR.io/org/model:Q4_K_M", OciRef("ghcr.io", "org/model", "Q4_K_M"), "oci:ghcr.io/org/model:Q4_K_M"),
        (f"oci:ghcr.io/org/model@{DIGEST}", OciRef("ghcr.io", "org/model", None, DIGEST), "oci:ghcr.io/org/model"),
        (f"oci:ghcr.io/o/m:q4@{DIGEST}", OciRef("ghcr.io", "o/m", "q4", DIGEST), "oci:ghcr.io/o/m:q4"),
        ("oci:localhost/m", OciRef("localhost", "m"), "oci:localhost/m"),
        ("oci:localhost:5000/m:1", OciRef("localhost:5000", "m", "1"), "oci:localhost:5000/m:1"),
        ("oci:[::1]:5000/m:1", OciRef("[::1]:5000", "m", "1"), "oci:[::1]:5000/m:1"),
        ("oci:r.io/a/b__c/d.e-f:v", OciRef("r.io", "a/b__c/d.e-f", "v"), "oci:r.io/a/b__c/d.e-f:v"),
        ("oci:r.io/m:q4#a/b c#.gguf", OciRef("r.io", "m", "q4", None, "a/b c#.gguf"), "oci:r.io/m:q4#a/b c#.gguf"),
        (f"oci:r.io/m@{DIGEST}#x.gguf", OciRef("r.io", "m", None, DIGEST, "x.gguf"), "oci:r.io/m#x.gguf"),
        ("ollama:qwen2.5", OllamaRef("qwen2.5"), "ollama:qwen2.5:latest"),
        ("ollama:qwen2.5:0.5b", OllamaRef("qwen2.5", "0.5b"), "ollama:qwen2.5:0.5b"),
        ("ollama://qwen2.5:0.5b", OllamaRef("qwen2.5", "0.5b"), "ollama:qwen2.5:0.5b"),
        ("ollama:library/qwen2.5:0.5b", OllamaRef("qwen2.5", "0.5b"), "ollama:qwen2.5:0.5b"),
        ("ollama:user/name:tag", OllamaRef("user/name", "tag"), "ollama:user/name:tag"),
        ("ollama:llava:7b#mmproj.gguf", OllamaRef("llava", "7b", "mmproj.gguf"), "ollama:llava:7b#mmproj.gguf"),
    ],
)
def test_what_is_accepted(text, value, id):
    ref = ModelRef.parse(text)
    assert (ref, ref.id) == (value, id)
    assert ModelRef.parse(str(ref)) == ref
    assert ModelRef.parse(ref.id).id == ref.id


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "oci:org/model:q4",
            "an artifact is named by its registry and its repository\n"
            "  expected  oci:REGISTRY/REPO[:TAG][@sha256:DIGEST][#FILE]\n  found     oci:org/model:q4\n"
            "  fix       if it lies at Docker Hub, write oci:docker.io/org/model:q4",
        ),
        (
            "oci:ghcr.io",
            "an artifact is named by its registry and its repository\n"
            "  expected  oci:REGISTRY/REPO[:TAG][@sha256:DIGEST][#FILE]\n  found     oci:ghcr.io/\n"
            "  fix       write the registry's host and then the repository, as in oci:ghcr.io/org/model:q4",
        ),
        (
            "oci:ghcr.io/Org/Model:q4",
            "no repository of a registry can have this name\n  where     oci:ghcr.io\n"
            "  expected  small letters and digits, parts parted by / and within them by . _ or -\n"
            "  found     Org/Model\n  fix       write oci:ghcr.io/org/model",
        ),
        (
            "oci:ghcr.io/org/model:",
            "no artifact can have this tag\n  where     oci:ghcr.io/org/model\n"
            "  expected  up to 128 letters, digits, _ . and -, none of the last two first\n"
            "  found     an empty text\n"
            "  fix       copy the tag from the registry's page, or leave it out with its colon: then it is latest",
        ),
        (
            "oci:ghcr.io/org/model@q4",
            "not the digest of a manifest\n  where     oci:ghcr.io/org/model\n"
            "  expected  sha256: and 64 hexadecimal digits in small letters after @\n  found     q4\n"
            "  fix       copy it from the registry's page; a version is written with a colon: :TAG",
        ),
        (
            "oci:r.io/m:q4#../x",
            "not a file of an artifact\n  where     oci:r.io/m:q4\n"
            "  expected  oci:REGISTRY/REPO[:TAG][@sha256:DIGEST][#FILE]\n  found     ../x\n"
            "  fix       write the file's name as `list` shows it after #, or neither name nor #",
        ),
        (
            "oci:r.io/m:q4#x-00002-of-00003.gguf",
            "a split is referenced by its first shard\n  where     oci:r.io/m:q4#x-00002-of-00003.gguf\n"
            "  expected  x-00001-of-00003.gguf\n  found     x-00002-of-00003.gguf\n"
            "  fix       name x-00001-of-00003.gguf in its place: all shards come with it",
        ),
        (
            "ollama:hf.co/org/repo:Q4_K_M",
            "a repository of the Hugging Face Hub, which is not asked by way of Ollama\n"
            "  expected  ollama:NAME[:TAG][#FILE] or ollama:USER/NAME[:TAG][#FILE]\n"
            "  found     ollama:hf.co/org/repo:Q4_K_M\n  fix       write hf:org/repo:Q4_K_M",
        ),
        (
            f"ollama:qwen@{DIGEST}",
            "a model of Ollama is named by a tag, and by no digest\n"
            "  expected  ollama:NAME[:TAG][#FILE] or ollama:USER/NAME[:TAG][#FILE]\n"
            f"  found     ollama:qwen@{DIGEST}\n  fix       write the tag alone: the lock file pins the digest",
        ),
        (
            "ollama:host/user/name",
            "not the name of a model of Ollama\n"
            "  expected  ollama:NAME[:TAG][#FILE] or ollama:USER/NAME[:TAG][#FILE]\n"
            "  found     ollama:host/user/name:latest\n"
            "  fix       copy the name from its page at ollama.com; a model of another registry is written "
            "oci:REGISTRY/REPO:TAG",
        ),
        (
            "ollama:qwen:",
            "no model of Ollama can have this tag\n  where     ollama:qwen\n"
            "  expected  up to 80 letters, digits, _ . and -, none of the last two first\n  found     an empty text\n"
            "  fix       copy the tag from the model's page at ollama.com, or leave it out with its colon: then it is latest",
        ),
    ],
)
def test_what_is_refused_and_how_it_is_said(text, error):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    "text",
    [
        "oci:",
        "oci:/m",
        "oci://",
        "oci:ghcr.io/",
        "oci:ghcr.io//m",
        "oci:ghcr.io/m/",
        "oci:ghcr.io/m::t",
        "oci:ghcr.io/m:-t",
        f"oci:ghcr.io/m:{'t' * 129}",
        "oci:ghcr.io:port/m",
        "oci:ghcr.io:0/m",
        "oci:ghcr.io:65536/m",
        "oci:-ghcr.io/m",
        "oci:ghcr.io/../m",
        "oci:ghcr.io/m..n",
        "oci:ghcr.io/m n",
        "oci:ghcr.io/m\n",
        "oci:ghcr.io/m:t\n",
        "oci:gh\u0441r.io/m",
        f"oci:ghcr.io/{'m' * 256}",
        f"oci:ghcr.io/m@{DIGEST.upper()}",
        f"oci:ghcr.io/m@{DIGEST}0",
        "oci:ghcr.io/m@sha512:00",
        "oci:ghcr.io/m#",
        "oci:ghcr.io/m#/x",
        "oci:ghcr.io/m#a//b",
        "oci:ghcr.io/m?x",
        "ollama:",
        "ollama:/x",
        "ollama:user/",
        "ollama:../x",
        "ollama:a b",
        "ollama:x:a:b",
        "ollama:x:a/b",
        f"ollama:{'x' * 81}",
        "ollama:x#",
        "ollama:x#m-00002-of-00003.gguf",
    ],
)
def test_what_is_not_well_formed_is_refused(text):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert all((caught.value.what, caught.value.expected, caught.value.found, caught.value.fix))


@pytest.mark.parametrize("text", ["oci:me:s3cret@ghcr.io/m", "oci://me:s3cret@ghcr.io/m", "ollama:me:s3cret@host/m"])
def test_a_password_is_refused_and_not_shown(text):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert "s3cret" not in str(caught.value)


def test_a_tag_before_a_digest_is_no_password():
    assert CREDENTIALS.search(f"oci:ghcr.io/org/model:q4@{DIGEST}") is None
    assert CREDENTIALS.search("ghcr.io/org/model:q4@host") is not None


def test_the_tag_latest_may_be_left_out():
    one, other = ModelRef.parse("oci:r.io/m"), ModelRef.parse("oci:r.io/m:latest")
    assert one.is_meant_by(str(other))
    assert other.is_meant_by(str(one))
    assert not one.is_meant_by("oci:r.io/m:q4")
    assert not one.is_meant_by(f"oci:r.io/m@{DIGEST}")


@given(st.text(max_size=60), st.sampled_from(["oci:", "ollama:", "oci:r.io/m", "ollama:m:t"]))
def test_whatever_follows_is_read_back_as_it_was_or_refused(text, start):
    try:
        ref = ModelRef.parse(start + text)
    except InvalidReferenceError:
        return
    assert ModelRef.parse(str(ref)) == ref
    assert ModelRef.parse(ref.id).id == ref.id

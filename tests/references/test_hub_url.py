"""URLs of a Hub, as people copy them from its pages: which reference each of them means."""

import pytest

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.reference import HubRef, ModelRef, UrlRef, id_now

HUB = "https://huggingface.co"
FILE = f"{HUB}/org/repo/resolve/main/x.gguf"
OF_QUERY = "#query-4e7f534bcbf5"
"""What the id of a URL has of `?download=true`."""


@pytest.fixture(autouse=True)
def endpoint(monkeypatch):
    """Name the Hub of `HF_ENDPOINT`; here none is."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return lambda address: monkeypatch.setenv("HF_ENDPOINT", address)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"{HUB}/org/repo", "hf:org/repo"),
        (f"{HUB}/org/repo/", "hf:org/repo"),
        (f"{HUB}/org/repo.git", "hf:org/repo"),
        (f"{HUB}/org/repo?library=llama-cpp-python", "hf:org/repo"),
        (f"{HUB}/org/repo/tree/main", "hf:org/repo@main"),
        (f"{HUB}/org/repo/tree/refs%2Fpr%2F1/", "hf:org/repo@refs%2Fpr%2F1"),
        (f"{HUB}/org/repo/blob/main/x.gguf", "hf:org/repo@main/x.gguf"),
        (f"{HUB}/org/repo/raw/v1/x.gguf", "hf:org/repo@v1/x.gguf"),
        (f"{FILE}?download=true", "hf:org/repo@main/x.gguf"),
        (f"{FILE}#L1", "hf:org/repo@main/x.gguf"),
        ("HTTPS://HuggingFace.CO:443/org/repo/resolve/main/x.gguf", "hf:org/repo@main/x.gguf"),
        ("https://hf.co/org/repo", "hf:org/repo"),
        ("https://me:s3cret@huggingface.co/org/repo/blob/main/x.gguf", "hf:org/repo@main/x.gguf"),
        (f"{HUB}/org/repo/blob/feature%2Fnew/a%20b/x.gguf", "hf:org/repo@feature%2Fnew/a b/x.gguf"),
        (f"{HUB}/org/repo/blob/refs/pr/12/a/x.gguf", "hf:org/repo@refs%2Fpr%2F12/a/x.gguf"),
        (f"{HUB}/org/repo/blob/refs/convert/gguf/x.gguf", "hf:org/repo@refs%2Fconvert%2Fgguf/x.gguf"),
        (f"{HUB}/org/repo/resolve/main/mod%C3%A8le.gguf", "hf:org/repo@main/modèle.gguf"),
        (f"{HUB}/resolve/tree/resolve/blob/resolve/raw", "hf:resolve/tree@blob/resolve/raw"),
    ],
)
def test_what_a_url_means(url, text):
    ref = ModelRef.parse(url)
    assert isinstance(ref, HubRef)
    assert str(ref) == text
    assert ref == ModelRef.parse(text)
    assert {ref.id, *map(id_now, ref.ids)} == {ModelRef.parse(text).id}
    assert "s3cret" not in repr(ref) + "".join((*ref.ids, *ref.texts))


@pytest.mark.parametrize(
    "url",
    [
        f"{HUB}/gpt2/resolve/main/x.safetensors",
        f"{HUB}/gpt2",
        f"{HUB}/org/repo/discussions/1",
        f"{HUB}/org/repo/blob/main",
        f"{HUB}/org/repo/tree",
        f"{HUB}/org/repo/resolve/main/%FF.gguf",
        f"{HUB}/org/re@po/resolve/main/x.gguf",
        f"{HUB}/org/a%2Fb/resolve/main/x.gguf",
        f"{HUB}/org/x.gguf",
        f"{HUB}/datasets/org/repo/resolve/main/x.gguf",
        f"{HUB}/datasets/files/x.gguf",
        f"{HUB}:8443/org/repo/resolve/main/x.gguf",
        "https://huggingface.co@evil.example/org/repo/resolve/main/x.gguf",
        "https://huggingface.co.evil.example/org/repo/resolve/main/x.gguf",
        "https://evil.example/huggingface.co/org/repo/resolve/main/x.gguf",
    ],
)
def test_what_stays_a_file_of_a_web_server(url):
    assert ModelRef.parse(url) == UrlRef(url)
    assert id_now(ModelRef.parse(url).id) == ModelRef.parse(url).id


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            f"{HUB}/datasets/org/repo/blob/main/x.parquet",
            "a repository of datasets, which holds no models\n  expected  hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]\n"
            "  found     hf:datasets/org/repo\n  fix       name a model's repository: ORG/REPO from the top of its page",
        ),
        (
            f"{HUB}/spaces/org/app",
            "a repository of spaces, which holds no models\n  expected  hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]\n"
            "  found     hf:spaces/org/app\n  fix       name a model's repository: ORG/REPO from the top of its page",
        ),
        (
            f"{HUB}/org/repo/tree/main/a%20b",
            "a folder of a Hugging Face repository is no model by itself\n  expected  a repository, or one file of it\n"
            "  found     hf:org/repo@main/a b\n"
            "  fix       name one of its files; or take some of the repository's files:   "
            '{model_ref: "hf:org/repo@main", include: ["a b/*"]}',
        ),
        (
            f"{HUB}/org/repo/blob/main/x-00002-of-00003.gguf",
            "a split is referenced by its first shard\n  where     hf:org/repo@main/x-00002-of-00003.gguf\n"
            "  expected  x-00001-of-00003.gguf\n  found     x-00002-of-00003.gguf\n"
            "  fix       name x-00001-of-00003.gguf in its place: all shards come with it",
        ),
        (
            f"{HUB}/org/repo/resolve/main/../x.gguf",
            "not a file of a Hugging Face repository\n  where     hf:org/repo\n  expected  hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]\n"
            "  found     ../x.gguf\n  fix       write the file's path as the repository lists it, or none for the whole repository",
        ),
        (
            "http://me:s3cret@huggingface.co/org/repo",
            "models are not fetched over http:\n  expected  https://HOST/FILE\n  found     http://…\n  fix       write https://…",
        ),
    ],
)
def test_what_is_refused_and_how_it_is_said(url, message):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(url)
    assert str(caught.value) == message


@pytest.mark.parametrize("address", ["https://hub.example/hf", "https://hub.example:443/hf/", "https://HUB.example/hf"])
def test_the_hub_of_the_environment(endpoint, address):
    url = "https://hub.example/hf/org/repo/resolve/main/x.gguf"
    assert ModelRef.parse(url) == UrlRef(url)
    endpoint(address)
    assert str(ModelRef.parse(url)) == "hf:org/repo@main/x.gguf"
    assert str(ModelRef.parse(FILE)) == "hf:org/repo@main/x.gguf"
    outside = "https://hub.example/org/repo/resolve/main/x.gguf"
    assert ModelRef.parse(outside) == UrlRef(outside)


def test_a_hub_of_this_machine_is_named_by_its_own_scheme(endpoint):
    endpoint("http://127.0.0.1:8080")
    assert str(ModelRef.parse("http://127.0.0.1:8080/org/repo/blob/main/x.gguf")) == "hf:org/repo@main/x.gguf"
    for other in ("http://127.0.0.1:8081/org/repo", "http://localhost:8080/org/repo", "http://huggingface.co/org/repo"):
        with pytest.raises(InvalidReferenceError, match="models are not fetched over http:"):
            ModelRef.parse(other)
    assert ModelRef.parse("https://127.0.0.1:8080/org/repo") == UrlRef("https://127.0.0.1:8080/org/repo")


@pytest.mark.parametrize(
    "address", ["hub.example", "https://", "https://[", "https://h:port", "ftp://huggingface.co", "/"]
)
def test_an_endpoint_that_is_none_changes_no_meaning(endpoint, address):
    endpoint(address)
    assert str(ModelRef.parse(FILE)) == "hf:org/repo@main/x.gguf"
    assert ModelRef.parse("https://host/org/repo") == UrlRef("https://host/org/repo")


def test_what_records_may_have_it_as():
    ref = ModelRef.parse(f"https://me:s3cret@HuggingFace.co/org/repo/blob/main/a%20b.gguf?download=true")
    url = f"{HUB}/org/repo/resolve/main/a%20b.gguf{OF_QUERY}"
    assert ref.ids == ("hf:org/repo/a b.gguf", url)
    assert ref.texts == ("hf:org/repo@main/a b.gguf", "hf:org/repo/a b.gguf", url)
    assert str(ref.url) == f"https://me:s3cret@huggingface.co/org/repo/resolve/main/a%20b.gguf{OF_QUERY}"
    assert ModelRef.parse(f"{HUB}/org/repo/tree/v1").texts == ("hf:org/repo@v1",)


@pytest.mark.parametrize("text", ["hf:org/repo/x.gguf", "hf:org/repo@main/x.gguf", FILE, f"{FILE}{OF_QUERY}"])
@pytest.mark.parametrize("ref", ["hf:org/repo/x.gguf", "hf:org/repo@main/x.gguf", f"{HUB}/org/repo/blob/main/x.gguf"])
def test_texts_of_the_same_files(text, ref):
    assert ModelRef.parse(ref).is_meant_by(text)


@pytest.mark.parametrize(
    "text",
    [
        "hf:org/repo@v1/x.gguf",
        "hf:org/repo",
        "hf:org/other/x.gguf",
        "https://host/org/repo/resolve/main/x.gguf",
        "x.gguf",
        "hf:",
        "x:\0",
    ],
)
def test_texts_of_others(text):
    assert not ModelRef.parse(FILE).is_meant_by(text)

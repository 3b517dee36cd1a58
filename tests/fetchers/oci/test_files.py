"""Which files an artifact has, and which of them its reference means, by what each tool writes."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import FetchError, ProvisionError
from model_provisioner.fetchers.oci.files import files_of, meant_by
from model_provisioner.fetchers.oci.manifest import read_manifest
from model_provisioner.fetchers.oci.place import registry_place
from model_provisioner.references.reference import ModelRef
from tests.support.project import AT_ONCE
from tests.support.registry import OCI_INDEX

PLACE = registry_place("r.io", "org/model")
WHERE = "oci:r.io/org/model:q4 at r.io"
TITLE, FILEPATH = "org.opencontainers.image.title", "org.cncf.model.filepath"
OCI_IMAGE = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def descriptor(media_type, name=None, *, number=0, key=TITLE, **more):
    named = {} if name is None else {"annotations": {key: name}}
    return {"mediaType": media_type, "digest": f"sha256:{number:064x}", "size": 10 + number, **named, **more}


def read(layers, **more):
    document = {"schemaVersion": 2, "layers": layers, **more}
    return read_manifest(json.dumps(document).encode(), "sha256:" + "f" * 64, PLACE, WHERE)


def files(layers, **more):
    made = [each if isinstance(each, dict) else descriptor(*each, number=number) for number, each in enumerate(layers)]
    return files_of(read(made, **more), "model-q4", WHERE)


def meant(layers, ref="oci:r.io/org/model:q4", **more):
    return [file.name for file in meant_by(files(layers, **more), ModelRef.parse(ref), WHERE)]


def refused(layers, **more):
    with pytest.raises(FetchError) as caught:
        meant(layers, **more)
    error = caught.value
    assert all((error.what, error.where, error.expected, error.found, error.fix))
    return error


def weight(name):
    return "application/vnd.cncf.model.weight.v1.raw", name


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        # one GGUF is the model, whatever lies beside it
        ([(LAYER, "m.gguf")], ["m.gguf"]),
        ([(LAYER, "m.gguf"), (LAYER, "README.md"), (LAYER, "config.json")], ["m.gguf"]),
        ([(LAYER, "m.gguf"), (LAYER, "mmproj-m.gguf"), (LAYER, "m.imatrix.gguf")], ["m.gguf"]),
        ([weight("m.gguf"), ("application/vnd.cncf.model.dataset.v1.raw", "d.csv")], ["m.gguf"]),
        ([("application/vnd.cncf.model.weight.v1.gguf",)], ["model-q4.gguf"]),
        ([("application/vnd.docker.ai.gguf.v3",), ("application/vnd.docker.ai.mmproj",)], ["model-q4.gguf"]),
        ([("application/vnd.docker.ai.gguf.v3", "mmproj.gguf"), (LAYER, "m.gguf")], ["m.gguf"]),
        # a split counts as one
        (
            [("application/vnd.docker.ai.gguf.v3",), ("application/vnd.docker.ai.gguf.v3",)],
            ["model-q4-00001-of-00002.gguf", "model-q4-00002-of-00002.gguf"],
        ),
        # other weights alone are one file, and with their configuration a folder
        ([weight("m.safetensors"), (LAYER, "README.md"), (LAYER, "LICENSE")], ["m.safetensors"]),
        ([weight("m.safetensors"), (LAYER, "config.json")], ["m.safetensors", "config.json"]),
        ([weight("a.safetensors"), weight("b.safetensors")], ["a.safetensors", "b.safetensors"]),
        ([weight("a-Q4_0.gguf"), weight("a-Q8_0.gguf")], ["a-Q4_0.gguf", "a-Q8_0.gguf"]),
        # a projector or an adapter that lies alone is what is meant
        ([("application/vnd.docker.ai.mmproj",)], ["mmproj.gguf"]),
        ([("application/vnd.ollama.image.adapter",), ("application/vnd.ollama.image.params",)], ["adapter.gguf"]),
        # archives of papers are not in the way
        ([weight("m.gguf"), ("application/vnd.cncf.model.doc.v1.tar", "docs")], ["m.gguf"]),
        # the annotation of ModelPack goes before the title, and the place where there is no layer counts for none
        ([{**descriptor(LAYER), "annotations": {TITLE: "a.gguf", FILEPATH: "b/c.gguf"}}], ["b/c.gguf"]),
        ([(LAYER, "m.gguf"), ("application/vnd.oci.empty.v1+json",)], ["m.gguf"]),
        ([(LAYER, "m.gguf"), ("application/x",)], ["m.gguf"]),
    ],
)
def test_which_files_a_reference_means(layers, names):
    assert meant(layers) == names


def test_a_file_is_named_after_the_sign():
    layers = [weight("m.gguf"), (LAYER, "sub/mmproj.gguf")]
    assert meant(layers, "oci:r.io/org/model:q4#sub/mmproj.gguf") == ["sub/mmproj.gguf"]
    split = [(LAYER, f"s/x-0000{number}-of-00002.gguf") for number in (1, 2)]
    assert meant(split, "oci:r.io/m#s/x-00001-of-00002.gguf") == [name for _, name in split]


def test_a_file_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(FetchError) as caught:
        meant([weight("m.gguf")], "oci:r.io/org/model:q4#x.gguf")
    assert str(caught.value) == (
        f"the artifact has no file x.gguf\n  where     {WHERE}\n  expected  a file as the artifact names it\n"
        "  found     m.gguf (10 bytes)\n  fix       write #m.gguf or another of them"
    )


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([], "the artifact has no layers"),
        ([("application/vnd.oci.empty.v1+json",)], "the artifact has no layers"),
        ([("application/x",)], "no layer of the artifact says which file it is"),
        ([(LAYER, "README.md"), (LAYER, "config.json")], "the artifact has no weights of a model"),
        ([(LAYER, "a.gguf"), (LAYER, "A.GGUF")], "two files of the artifact would have one name"),
        (
            [(f"{LAYER}+gzip", "x")],
            "the reference names a container image, and no artifact whose layers are the files of a model",
        ),
        (
            [("application/vnd.docker.image.rootfs.diff.tar.gzip",)],
            "the reference names a container image, and no artifact whose layers are the files of a model",
        ),
        (
            [("application/vnd.cncf.model.weight.v1.tar", "m")],
            "m is packed as a tar file, whose digest is not that of its files",
        ),
        (
            [("application/vnd.cncf.model.weight.v1.raw+zstd", "m")],
            "m is packed as a tar file, whose digest is not that of its files",
        ),
        (
            [weight("m.gguf"), ("application/vnd.docker.ai.vllm.config.tar",)],
            "a layer of the artifact is packed as a tar file, whose digest is not that of its files",
        ),
        (
            [("application/vnd.kitops.modelkit.modelpart.v1.tar+gzip", "m")],
            "m is packed as a tar file, whose digest is not that of its files",
        ),
        (
            [{**descriptor(LAYER), "annotations": {TITLE: "m", "io.deis.oras.content.unpack": "true"}}],
            "m is packed as a tar file, whose digest is not that of its files",
        ),
        (
            [descriptor(LAYER, "m.gguf", urls=["https://elsewhere/m"])],
            "a layer of the artifact lies elsewhere than in its registry",
        ),
        (
            [("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",)],
            "a layer of the artifact lies elsewhere than in its registry",
        ),
        (
            [("application/vnd.ollama.image.tensor",), ("application/vnd.ollama.image.json",)],
            "the model is stored tensor by tensor, which only Ollama puts together",
        ),
    ],
)
def test_what_can_t_be_taken_is_told(layers, what):
    assert refused(layers).what == what


def test_a_plain_layer_of_an_image_is_no_file():
    named = [(LAYER, "m.gguf")]
    assert meant(named) == ["m.gguf"]
    assert "container image" in refused(named, config={"mediaType": OCI_IMAGE}).what


def test_an_adapter_beside_a_projector_has_to_be_named():
    error = refused([("application/vnd.ollama.image.adapter",), ("application/vnd.ollama.image.projector",)])
    assert error.fix == "name the file that is meant: oci:r.io/org/model:q4#adapter.gguf"


# ---- manifests


GOOD = descriptor(LAYER, "m.gguf")


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (b"", "no JSON: "),
        (b"<html>", "no JSON: "),
        (b"[]", "JSON, and no object"),
        (b"[" * 100_000, "no JSON: "),
        ({"schemaVersion": 1, "fsLayers": []}, "schemaVersion 1, where 2 is read"),
        ({"schemaVersion": 2}, "no list of layers"),
        ({"schemaVersion": 2, "layers": {}}, "no list of layers"),
        ({"schemaVersion": 2, "layers": ["x"]}, "layer 0 is no descriptor"),
        ({"schemaVersion": 2, "layers": [{}]}, "layer 0 has no media type, or annotations that are none"),
        ({"schemaVersion": 2, "layers": [GOOD, GOOD | {"annotations": [1]}]}, "layer 1 has no media type"),
        ({"schemaVersion": 2, "layers": [GOOD | {"digest": "sha512:00"}]}, "layer 0 has the digest 'sha512:00'"),
        ({"schemaVersion": 2, "layers": [GOOD | {"digest": "sha256:../../x"}]}, "layer 0 has the digest"),
        ({"schemaVersion": 2, "layers": [GOOD | {"digest": f"sha256:{'A' * 64}"}]}, "layer 0 has the digest"),
        ({"schemaVersion": 2, "layers": [GOOD | {"digest": 1}]}, "layer 0 has the digest 1"),
        ({"schemaVersion": 2, "layers": [GOOD | {"size": -1}]}, "layer 0 has the size -1"),
        ({"schemaVersion": 2, "layers": [GOOD | {"size": True}]}, "layer 0 has the size True"),
        ({"schemaVersion": 2, "layers": [GOOD | {"size": 1 << 80}]}, "layer 0 has the size 12089258"),
        ({"schemaVersion": 2, "layers": [GOOD | {"size": "10"}]}, "layer 0 has the size '10'"),
        ({"schemaVersion": 2, "layers": [GOOD | {"annotations": {TITLE: 1}}]}, "layer 0 is named by something else"),
        (
            {"schemaVersion": 2, "layers": [GOOD | {"annotations": {TITLE: "x" * 4097}}]},
            "layer 0 has a name of 4,097 characters",
        ),
        ({"schemaVersion": 2, "layers": [GOOD | {"mediaType": "x" * 256}]}, "layer 0 has no media type"),
    ],
)
def test_what_is_no_manifest_is_told(document, found):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(FetchError) as caught:
        read_manifest(data, "sha256:" + "f" * 64, PLACE, WHERE)
    assert caught.value.what == "the registry's answer is no manifest that can be understood"
    assert caught.value.found.startswith(found)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("manifests", [None, 5, "x", {"digest": 1}, [], [1]])
def test_an_index_that_names_nothing_is_told(manifests):
    data = json.dumps({"mediaType": OCI_INDEX, "manifests": manifests}).encode()
    with pytest.raises(FetchError) as caught:
        read_manifest(data, "sha256:" + "f" * 64, PLACE, WHERE)
    assert caught.value.what == "the reference names an index of several manifests, and no model by itself"
    assert caught.value.found == "an index of none"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "schemaVersion",
                        "layers",
                        "manifests",
                        "config",
                        "mediaType",
                        "digest",
                        "size",
                        "annotations",
                        TITLE,
                        "urls",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=30,
    ),
    st.booleans(),
)
def test_whatever_a_registry_sends_ends_in_files_or_in_an_error(value, is_manifest):
    document = {"schemaVersion": 2, "layers": [{**GOOD, **value}] if isinstance(value, dict) else [value]}
    data = json.dumps(document if is_manifest else value).encode()
    try:
        found = files_of(read_manifest(data, "sha256:" + "f" * 64, PLACE, WHERE), "m", WHERE)
        assert meant_by(found, ModelRef.parse("oci:r.io/m"), WHERE)
    except ProvisionError as error:
        assert all((error.what, error.where, error.expected, error.found, error.fix))


def test_a_manifest_of_as_many_layers_as_it_can_have_is_read_at_once():
    began = time.monotonic()
    found = files([(LAYER, f"{number}.gguf") for number in range(18_000)])
    assert len(meant_by(found, ModelRef.parse("oci:r.io/org/model:q4"), WHERE)) == 18_000
    assert time.monotonic() - began < AT_ONCE

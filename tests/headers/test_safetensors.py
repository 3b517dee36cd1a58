"""What is read from a safetensors header and from a folder's config.json, and in which words a broken one is refused."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_provisioner.headers.metadata import Metadata
from model_provisioner.headers.safetensors import combine_folder, read_safetensors, read_transformers_config
from model_provisioner.errors import UnsoundModelError

from tests.support.examples import examples

DAMAGED = "get the file again from its source: its header is damaged"
CUT = "get the file again from its source: it was cut off"


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def file(header, data=b"\0" * 4) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def message(what: str, expected: str = "", found: str = "", fix: str = DAMAGED) -> str:
    fields = (("where", "x"), ("expected", expected), ("found", found), ("fix", fix))
    return "\n".join([what, *(f"  {label:<8}  {value}" for label, value in fields if value)])


def named_by_message(*cases):
    """Cases that end with the message of their error, whose first line names them."""
    return [pytest.param(*case, id=case[-1].partition("\n")[0]) for case in cases]


@pytest.fixture
def facts(tmp_path):
    def of(data: bytes) -> Metadata:
        path = tmp_path / "x.safetensors"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        try:
            return read_safetensors(fd, "x", len(data))
        finally:
            os.close(fd)

    return of


def test_a_file_has_its_parameters_and_the_type_that_most_of_them_have(facts):
    header = {
        "__metadata__": {"format": "pt"},
        "norm": tensor("F32", (4,), (0, 16)),
        "matrix": tensor("BF16", (4, 8), (16, 80)),
        "scalar": tensor("F32", (), (80, 84)),
    }
    assert facts(file(header, bytes(84))) == Metadata(
        format="safetensors",
        kind="model",
        quantization="BF16",
        tensor_types=(("BF16", 32), ("F32", 5)),
        parameter_count=37,
        tensor_count=3,
    )


def test_a_file_without_tensors(facts):
    assert facts(file({}, b"")) == Metadata(format="safetensors", kind="model", parameter_count=0, tensor_count=0)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F8_E4M3", (3,), 3), ("F8_E5M2FNUZ", (3,), 3), ("F4", (4,), 2), ("F6_E2M3", (4,), 3), ("C64", (2,), 16)],
)
def test_sizes_are_checked_in_bits(facts, dtype, shape, size):
    assert facts(file({"a": tensor(dtype, shape, (0, size))}, bytes(size))).quantization == dtype


@pytest.mark.parametrize(
    ("data", "words"),
    named_by_message(
        (
            b"abc",
            message(
                "not a safetensors file, or one that was cut off",
                "a header of at most 0 bytes",
                "a header of 6,513,249 bytes in a file of 3 bytes",
            ),
        ),
        (
            struct.pack("<Q", 1 << 63) + b"{}",
            message(
                "not a safetensors file, or one that was cut off",
                "a header of at most 2 bytes",
                "a header of 9,223,372,036,854,775,808 bytes in a file of 10 bytes",
            ),
        ),
        (
            file(b"{"),
            message(
                "the JSON in it can't be read",
                "a JSON object",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
        ),
        (
            file(b"[" * 200_000),
            message(
                "the JSON in it can't be read",
                "a JSON object",
                "the values nest too deeply",
            ),
        ),
        (file([]), message("the JSON in it is not an object", "a JSON object", "list")),
        (file({"a": 1}), message("tensor a has no description", "dtype, shape and data_offsets", "int")),
        (
            file({"a\n": {"dtype": "F32"}}),
            message("tensor a\\n has no description", "dtype, shape and data_offsets", "{'dtype': 'F32'}"),
        ),
        *(
            (
                file({"a": broken}),
                message(
                    "tensor a has no description", "dtype, shape and data_offsets", str(json.loads(json.dumps(broken)))
                ),
            )
            for broken in (
                tensor(dtype=1),
                tensor(shape=(-1,)),
                tensor(shape=(True,)),
                tensor(shape=(1.0,)),
                tensor(offsets=(0,)),
                tensor(offsets=(0, 4, 8)),
            )
        ),
        (
            file({"a": tensor(offsets=(4, 0))}),
            message("tensor a ends before it begins", "an end behind its begin", "data_offsets [4, 0]"),
        ),
        (
            file({"a": tensor(shape=(2, 3))}),
            message("the size of tensor a is not that of its shape", "24 bytes (F32 [2, 3])", "4 bytes"),
        ),
        (
            file({"a": tensor()}, b"123"),
            message("the file ends before its tensors do", "73 bytes", "72 bytes", CUT),
        ),
        (
            file({"a": tensor()}, bytes(5)),
            message(
                "bytes that belong to no tensor follow the last one",
                "73 bytes",
                "74 bytes",
                "get the file again from its source",
            ),
        ),
        (
            file({"b": tensor(), "a": tensor(offsets=(8, 12))}, bytes(12)),
            message(
                "tensor a does not start where the one before it ends", "data_offsets from 4", "data_offsets from 8"
            ),
        ),
        (
            file({"b": tensor(shape=(2,), offsets=(0, 8)), "a": tensor(offsets=(4, 8))}, bytes(8)),
            message(
                "tensor a does not start where the one before it ends", "data_offsets from 8", "data_offsets from 4"
            ),
        ),
        (
            file({"a\n": tensor("Q4_K")}),
            message(
                "tensor a\\n has a type that safetensors does not have",
                "a type such as F16, BF16 or F32",
                "Q4_K",
                "get the model in another type",
            ),
        ),
        (
            file(b"\xef\xbb\xbf{}", b""),
            message(
                "the JSON in it can't be read",
                "a JSON object",
                "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
            ),
        ),
        (
            file("{}".encode("utf-16-le"), b""),
            message(
                "the JSON in it can't be read",
                "a JSON object",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
        ),
    ),
)
def test_a_broken_file_is_refused(facts, data, words):
    with pytest.raises(UnsoundModelError) as caught:
        facts(data)
    assert str(caught.value) == words


@pytest.mark.parametrize("dtype", ["F32", "NEW"])
@pytest.mark.parametrize("shape", [[1 << 62] * 2, [1 << 62] * 1000, [1] * 100, [(1 << 63) - 1] * 200_000], ids=len)
def test_a_shape_that_no_tensor_has_is_refused_before_it_is_multiplied(facts, dtype, shape):
    with pytest.raises(UnsoundModelError) as caught:
        facts(file({"a": tensor(dtype, shape)}))
    assert str(caught.value) == message("tensor a is too large", "fewer than 2^63 elements", f"shape {shape}"[:256])


@pytest.mark.parametrize("metadata", [{"format": 1}, [], "pt"], ids=["number", "list", "text"])
def test_metadata_is_strings_to_strings(facts, metadata):
    with pytest.raises(UnsoundModelError) as caught:
        facts(file({"__metadata__": metadata}))
    assert str(caught.value) == message(
        "__metadata__ is not what the format allows", "strings to strings", "something else"
    )


def test_no_metadata_may_be_written_as_null(facts):
    assert facts(file({"__metadata__": None, "a": tensor()})).tensor_count == 1


def test_two_tensors_of_one_name_are_refused(facts):
    one = json.dumps(tensor()).encode()
    with pytest.raises(UnsoundModelError) as caught:
        facts(file(b'{"a": ' + one + b', "a": ' + one + b"}"))
    assert str(caught.value) == message(
        "the JSON in it can't be read", "a JSON object", "a name occurs twice in one object"
    )


CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 4096,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": 259,
}
TOLD = Metadata(
    kind="model",
    architecture="llama",
    context_length=4096,
    embedding_length=64,
    block_count=2,
    vocabulary_size=259,
)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        {"model_type": "llama", "n_positions": 4096, "n_embd": 64, "n_layer": 2, "vocab_size": 259},
        {"model_type": "llama", "vocab_size": 1, "text_config": {**CONFIG, "model_type": "inner"}},
    ],
    ids=["usual", "GPT-2", "nested"],
)
def test_a_configuration_in_each_of_its_spellings(config):
    assert read_transformers_config(json.dumps(config).encode(), "x") == TOLD


@pytest.mark.parametrize("value", [None, "4096", 1.5, True, -1, [4096]], ids=repr)
def test_an_odd_value_in_a_configuration_is_ignored(value):
    config = {**CONFIG, "max_position_embeddings": value, "model_type": 7, "quantization_config": "gptq"}
    found = read_transformers_config(json.dumps(config).encode(), "x")
    assert (found.context_length, found.architecture, found.quantization) == (None, None, None)


def test_a_configuration_that_is_no_json_is_refused():
    with pytest.raises(UnsoundModelError) as caught:
        read_transformers_config(b"model_type: llama", "x")
    assert str(caught.value) == message(
        "the JSON in it can't be read", "a JSON object", "Expecting value: line 1 column 1 (char 0)"
    )


def test_a_folder_tells_its_configuration_and_what_its_weights_are():
    weights = Metadata(format="safetensors", quantization="BF16", tensor_types=(("BF16", 40),), parameter_count=40)
    told = combine_folder(read_transformers_config(json.dumps(CONFIG).encode(), "x"), weights)
    assert (told.format, told.architecture, told.parameter_count, told.quantization) == (
        "safetensors",
        "llama",
        40,
        "BF16",
    )


def test_of_equal_names_in_a_configuration_the_last_counts_as_for_engines():
    told = read_transformers_config(b'{"model_type": "a", "model_type": "b"}', "/x/config.json")
    assert told.architecture == "b"
    assert told.notes == ("config.json has a name twice, of which the last counts: model_type",)


def test_a_quantization_method_goes_before_the_type_of_the_weights():
    config = read_transformers_config(
        json.dumps({**CONFIG, "quantization_config": {"quant_method": "gptq"}}).encode(), "x"
    )
    assert combine_folder(config, Metadata(quantization="I32", parameter_count=1)).quantization == "gptq"


def test_a_folder_of_weights_alone_and_of_a_configuration_alone():
    assert combine_folder(None, Metadata(quantization="F16", parameter_count=5)).parameter_count == 5
    assert combine_folder(TOLD, None) == TOLD


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=100), st.dictionaries(st.text(max_size=9), ANYTHING, max_size=4)))
def test_whatever_the_header_holds_it_is_refused_or_read_but_never_more(facts, header):
    tracemalloc.start()
    try:
        facts(file(header))
    except UnsoundModelError as error:
        assert len(str(error)) < 2000
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20

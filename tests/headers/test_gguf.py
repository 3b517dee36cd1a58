"""What is read from the header of a GGUF file, and in which words a broken one is refused."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import gguf as oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_provisioner.headers.metadata import Metadata, check_split, combine, from_json, to_json
from model_provisioner.headers.gguf import read_gguf
from model_provisioner.errors import UnsoundModelError
from tests.support.examples import examples
from tests.support.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    I32,
    I64,
    LAYOUTS,
    LLAMA,
    U8,
    U16,
    U32,
    Tensor,
    Value,
    array,
    gguf,
    scalar,
    string,
    strings,
    text,
    u32,
)

ROOT = Path(__file__).parents[2]
TINY = ROOT / "models" / "tiny-llama.gguf"
DAMAGED = "get the file again from its source: its header is damaged"
CUT = "get the file again from its source: it was cut off"
CUT_OR_DAMAGED = "get the file again from its source: it was cut off, or its header is damaged"

in_a_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, size: int | None = None) -> Metadata:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_gguf(fd, "x.gguf", os.fstat(fd).st_size if size is None else size)
    finally:
        os.close(fd)


@pytest.fixture
def metadata(tmp_path):
    def of(data: bytes) -> Metadata:
        path = tmp_path / "x.gguf"
        path.write_bytes(data)
        return read(path)

    return of


@pytest.fixture
def refusal(metadata):
    def of(data: bytes) -> str:
        with pytest.raises(UnsoundModelError) as caught:
            metadata(data)
        return str(caught.value)

    return of


def message(what: str, expected: str = "", found: str = "", fix: str = DAMAGED) -> str:
    fields = (("where", "x.gguf"), ("expected", expected), ("found", found), ("fix", fix))
    return "\n".join([what, *(f"  {label:<8}  {value}" for label, value in fields if value)])


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """What scripts/build_tiny_model.py makes."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, ROOT / "scripts" / "build_tiny_model.py", folder], check=True, capture_output=True)
    return folder


# ---- what is read


def test_the_shipped_model():
    assert read(TINY) == Metadata(
        format="gguf",
        kind="model",
        architecture="llama",
        context_length=256,
        embedding_length=64,
        block_count=2,
        vocabulary_size=259,
        tokenizer_model="llama",
        chat_template_sha256="5875dc31f4b023c58d43ff8ded039eaf555533b0c7b47d8e333d7518721dfff6",
        quantization="Q8_0",
        tensor_types=(("Q8_0", 90_304), ("F32", 320)),
        parameter_count=90_624,
        tensor_count=20,
        alignment=32,
        attention_width=64,
    )


def test_the_script_makes_the_shipped_model(built):
    assert read(built / "tiny-llama-Q8_0.gguf") == read(TINY)


@pytest.mark.parametrize(
    "name", ["tiny-llama-F32", "tiny-llama-Q8_0", "tiny-llama-split-00001-of-00003", "tiny-llama-lora"]
)
def test_a_written_file_reads_as_the_gguf_package_reads_it(built, name):
    path = built / f"{name}.gguf"
    theirs, ours = oracle.GGUFReader(path), read(path)

    def field(key):
        found = theirs.get_field(key)
        return None if found is None else found.contents()

    template = field("tokenizer.chat_template")
    tokens = field("tokenizer.ggml.tokens")
    assert ours.architecture == field("general.architecture")
    assert ours.kind == field("general.type")
    assert ours.context_length == field("llama.context_length")
    assert ours.embedding_length == field("llama.embedding_length")
    assert ours.block_count == field("llama.block_count")
    assert ours.vocabulary_size == (None if tokens is None else len(tokens))
    assert ours.tokenizer_model == field("tokenizer.ggml.model")
    assert ours.chat_template_sha256 == (None if template is None else hashlib.sha256(template.encode()).hexdigest())
    assert ours.tensor_count == len(theirs.tensors)
    assert ours.parameter_count == sum(int(tensor.n_elements) for tensor in theirs.tensors)
    assert ours.alignment == theirs.alignment


def test_a_file_with_every_type_of_value_is_walked_through(tmp_path):
    writer = oracle.GGUFWriter(tmp_path / "x.gguf", "llama")
    for add in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"):
        getattr(writer, f"add_{add}")(f"x.{add}", 1)
    writer.add_bool("x.bool", val=True)
    writer.add_string("x.string", "über 漢字")
    writer.add_array("x.strings", ["", "a", "漢" * 1000])
    writer.add_array("x.numbers", [1, 2, 3])
    writer.add_array("x.floats", [1.0, 2.0])
    writer.add_array("x.bools", [True, False])
    writer.add_context_length(77)
    writer.add_custom_alignment(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read(tmp_path / "x.gguf")
    assert (found.context_length, found.alignment, found.notes) == (77, 64, ())


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(metadata, version):
    assert metadata(gguf(version=version)).architecture == "llama"


@pytest.mark.parametrize(
    ("pairs", "kind"),
    [
        (LLAMA, "model"),
        ({**LLAMA, "general.type": text("adapter")}, "adapter"),
        ({"general.architecture": text("clip"), "general.type": text("mmproj")}, "mmproj"),
        ({"general.architecture": text("clip")}, "mmproj"),  # projectors from before general.type
        ({**LLAMA, "adapter.type": text("lora")}, "adapter"),
        ({**LLAMA, "adapter.type": u32(1)}, "model"),
    ],
    ids=["model", "adapter", "projector", "old projector", "adapter.type", "adapter.type of another type"],
)
def test_the_kind(metadata, pairs, kind):
    assert metadata(gguf(pairs)).kind == kind


def test_an_adapter_that_does_not_say_so_is_known_by_its_tensors(metadata):
    found = metadata(gguf(LLAMA, [Tensor(name="blk.0.ffn_up.weight.lora_b")]))
    assert (found.kind, found.adapter, found.attention_width) == ("adapter", None, None)
    assert found.notes == ("general.type is missing: llama.cpp takes an adapter only where that says so",)


def test_an_adapter(built):
    found = read(built / "tiny-llama-lora.gguf")
    assert (found.kind, found.architecture, found.adapter, found.notes) == ("adapter", "llama", "lora", ())
    assert found.attention_width == read(TINY).attention_width == 64


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({"general.type": text("mmproj"), "clip.vision.projection_dim": u32(64)}, 64),
        ({"general.type": text("mmproj"), "clip.audio.projection_dim": u32(64)}, 64),
        ({"general.type": text("clip-vision"), "clip.vision.projection_dim": u32(64)}, 64),
        ({"general.type": text("mmproj"), "clip.vision.projection_dim": u32(0)}, None),
        ({"general.type": text("mmproj")}, None),
        # What wrote these put CLIP's own width there: 768 for each LLaVA, whatever the model's.
        ({"clip.vision.projection_dim": u32(768)}, None),
    ],
    ids=["vision", "audio", "clip-vision", "zero", "none", "LLaVA"],
)
def test_the_width_that_a_projector_was_made_for(metadata, pairs, expected):
    assert metadata(gguf({"general.architecture": text("clip"), **pairs})).projects_to == expected


def test_keys_may_come_before_the_architecture_they_belong_to(metadata):
    assert metadata(gguf({"llama.context_length": u32(7), "qwen2.context_length": u32(8), **LLAMA})).context_length == 7


def test_the_number_of_tokens_goes_before_the_vocabulary_size(metadata):
    pairs = {**LLAMA, "llama.vocab_size": u32(9)}
    assert metadata(gguf(pairs)).vocabulary_size == 9
    assert metadata(gguf({**pairs, "tokenizer.ggml.tokens": strings(["a", "b"])})).vocabulary_size == 2


@pytest.mark.parametrize(
    ("file_type", "expected"),
    [
        (0, "F32"),
        (1, "F16"),
        (7, "Q8_0"),
        (15, "Q4_K_M"),
        (32, "BF16"),
        (15 | 1024, "Q4_K_M"),
        (999, "Q8_0"),
        (None, "Q8_0"),
    ],
)
def test_the_quantization_is_the_file_type_else_that_of_most_parameters(metadata, file_type, expected):
    pairs = LLAMA if file_type is None else {**LLAMA, "general.file_type": u32(file_type)}
    tensors = [Tensor(name="norm"), Tensor(name="matrix", shape=(64, 4), type=8, offset=128, size=272)]
    assert metadata(gguf(pairs, tensors)).quantization == expected


def test_a_chat_template_longer_than_what_is_held_at_once_is_hashed(metadata):
    template = "{% x %}" * 500_000
    found = metadata(gguf({**LLAMA, "tokenizer.chat_template": text(template)})).chat_template_sha256
    assert found == hashlib.sha256(template.encode()).hexdigest()


def test_strings_are_safe_to_print_and_short(metadata):
    assert metadata(gguf({"general.architecture": text(b"a\x1b[31m\xff\n")})).architecture == "a\\x1b[31m\ufffd\\n"
    assert metadata(gguf({"general.architecture": text("x" * 5000)})).architecture == "x" * 256


@pytest.mark.parametrize("items", [0, 1, 1000, 300_000])
def test_what_stands_behind_a_vocabulary_is_found(metadata, items):
    words = [f"{number:0{number % 30}}" for number in range(items)]
    pairs = {"tokenizer.ggml.tokens": strings(words), **LLAMA, "llama.context_length": u32(5)}
    found = metadata(gguf(pairs))
    assert (found.vocabulary_size, found.context_length) == (items, 5)


def test_a_string_longer_than_the_window_is_jumped_over(metadata):
    pairs = {"tokenizer.ggml.merges": strings(["a", "b" * 3_000_000, "c"]), **LLAMA, "llama.context_length": u32(5)}
    assert metadata(gguf(pairs)).context_length == 5


def test_no_tensor_is_read(tmp_path):
    """A terabyte of holes: reading it would take minutes."""
    path = tmp_path / "x.gguf"
    header = gguf(LLAMA, [Tensor(shape=(1 << 20, 1 << 18))], data=0)
    path.write_bytes(header)
    os.truncate(path, len(header) + (1 << 40))
    assert read(path).parameter_count == 1 << 38


# ---- what an engine refuses is a note


@pytest.mark.parametrize(
    ("type_", "name", "expected"),
    [(U16, "uint16", 7), (I32, "int32", 7), (I64, "int64", 7), (F32, "float32", None), (BOOL, "bool", None)],
    ids=["uint16", "int32", "int64", "float32", "bool"],
)
def test_a_context_length_of_another_type_is_noted(metadata, type_, name, expected):
    found = metadata(gguf({**LLAMA, "llama.context_length": scalar(type_, 7)}))
    assert found.context_length == expected
    assert found.notes == (f"llama.context_length has the type {name}, which llama.cpp refuses: it takes uint32 only",)


def test_a_context_length_that_is_a_string_is_noted(metadata):
    found = metadata(gguf({**LLAMA, "llama.context_length": text("4096")}))
    assert found.context_length is None
    assert found.notes == ("llama.context_length has the type string, which llama.cpp refuses: it takes uint32 only",)


def test_a_tensor_type_that_is_not_known_yet_is_noted_and_counted(metadata):
    found = metadata(gguf(LLAMA, [Tensor(type=43)]))
    assert found.parameter_count == 32
    assert found.notes == ("tensor type 43 is newer than this program: the sizes of such tensors were not checked",)


@pytest.mark.parametrize("key", ["llama.context_length", "split.count", "general.file_type"])
def test_a_number_that_is_an_array_is_ignored(metadata, key):
    found = metadata(gguf({**LLAMA, key: array(U32, [bytes(4)])}))
    assert (found.context_length, found.split, found.quantization) == (None, None, None)


def test_a_context_length_that_is_an_array_is_noted(metadata):
    found = metadata(gguf({**LLAMA, "llama.context_length": array(U32, [bytes(4)])}))
    assert found.notes == ("llama.context_length has the type array, which llama.cpp refuses: it takes uint32 only",)


def test_a_negative_context_length_is_ignored(metadata):
    assert metadata(gguf({**LLAMA, "llama.context_length": scalar(I32, -1)})).context_length is None


@pytest.mark.parametrize(("value", "name"), [(u32(1), "uint32"), (array(U8, [b"a"]), "array")], ids=["uint32", "array"])
def test_a_tokenizer_that_is_no_string_is_noted(metadata, value, name):
    found = metadata(gguf({**LLAMA, "tokenizer.ggml.model": value}))
    assert found.tokenizer_model is None
    assert found.notes == (f"tokenizer.ggml.model has the type {name}, which llama.cpp refuses: it takes string only",)


def test_an_array_of_arrays_is_noted(metadata):
    found = metadata(gguf({**LLAMA, "x": array(ARRAY, [array(U8, [b"a"]).raw])}))
    assert found.notes == ("x is an array of arrays, which llama.cpp refuses",)


def test_many_unknown_tensor_types_make_one_short_note(metadata):
    tensors = [Tensor(name=f"t{number}", type=43 + number % 8, size=0) for number in range(300)]
    assert metadata(gguf(LLAMA, tensors)).notes == (
        "tensor type 43, 44, 45, 46 is newer than this program: the sizes of such tensors were not checked",
    )


def test_the_file_is_read_once_however_many_arrays_it_holds(tmp_path, monkeypatch):
    """65,000 small arrays once cost 65,000 reads of a window."""
    path = tmp_path / "x.gguf"
    path.write_bytes(
        gguf([*LLAMA.items(), *((f"k{number}", strings(["a"])) for number in range(5000))]) + bytes(1 << 20)
    )
    read_bytes = []

    def counting(fd, count, offset, pread=os.pread):
        read_bytes.append(count)
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", counting)
    read(path)
    assert sum(read_bytes) <= 2 * path.stat().st_size


# ---- what is refused


def named_by_message(*cases):
    """Cases that end with the message of their error, whose first line names them."""
    return [pytest.param(*case, id=case[-1].partition("\n")[0]) for case in cases]


@pytest.mark.parametrize(
    ("data", "words"),
    named_by_message(
        (
            b"",
            message(
                "the file ends inside the GGUF magic",
                "4 bytes at offset 0",
                "0 bytes to the end of the file",
                CUT_OR_DAMAGED,
            ),
        ),
        (
            b"<!DOCTYPE html>",
            message(
                "not a GGUF file",
                "the bytes 'GGUF' at its start",
                "'<!DO'",
                "get the model again, or give the file the suffix of what it is",
            ),
        ),
        (
            b"GGUF\3\0",
            message(
                "the file ends inside the version",
                "4 bytes at offset 4",
                "2 bytes to the end of the file",
                CUT_OR_DAMAGED,
            ),
        ),
        (
            gguf(version=0x03000000),
            message(
                "a big-endian GGUF file",
                "little-endian",
                "big-endian",
                "convert it: `gguf-convert-endian FILE little`, of the Python package gguf",
            ),
        ),
        *(
            (
                gguf(version=version),
                message(
                    "a GGUF version that can't be read",
                    "version 2 or 3",
                    f"version {version}",
                    "convert the model again with a current llama.cpp",
                ),
            )
            for version in (0, 1, 4)
        ),
        (
            gguf(pair_count=1 << 60),
            message(
                "the header has too many keys or tensors",
                "at most 65,536 keys and 131,072 tensors",
                "1,152,921,504,606,846,976 keys and 0 tensors",
            ),
        ),
        (
            gguf(pair_count=1000),
            message(
                "the file ends inside its header",
                "13,000 bytes at offset 24",
                "45 bytes to the end of the file",
                CUT_OR_DAMAGED,
            ),
        ),
        (gguf([("", u32(1)), *LLAMA.items()]), message("key 1 is empty", "a name", "offset 24")),
        (gguf([*LLAMA.items(), *LLAMA.items()]), message("a key occurs twice", "each once", "general.architecture")),
        (
            gguf({**LLAMA, "k" * 65_536: u32(1)}),
            message("key 2 is too long", "at most 65,535 bytes", "65,536 bytes"),
        ),
        (
            gguf({**LLAMA, "x": Value(13, bytes(8))}),
            message("x has a type that GGUF does not have", "a type from 0 to 12", "13"),
        ),
        (
            gguf({**LLAMA, "x": array(13, [bytes(8)])}),
            message("x has elements of a type that GGUF does not have", "a type from 0 to 12", "13"),
        ),
        (
            gguf({**LLAMA, "x": array(U8, [b"a"], count=1 << 40)}),
            message(
                "the file ends inside x",
                "1,099,511,627,776 bytes at offset 94",
                "1 bytes to the end of the file",
                CUT_OR_DAMAGED,
            ),
        ),
        (
            gguf({**LLAMA, "x": array(8, [string("a")], count=1 << 40)}),
            message("x is too long", "at most 16,777,216 strings in all arrays", "1,099,511,627,776 strings"),
        ),
        (
            gguf({**LLAMA, "x": Value(8, struct.pack("<Q", (1 << 64) - 1))}),
            message(
                "the file ends inside x",
                "18,446,744,073,709,551,615 bytes at offset 90",
                "0 bytes to the end of the file",
                CUT_OR_DAMAGED,
            ),
        ),
        (
            gguf({**LLAMA, "x": array(ARRAY, [array(ARRAY, [array(ARRAY, [array(U8, []).raw]).raw]).raw])}),
            message(
                "x nests arrays too deeply or too widely",
                "at most 3 inside each other, and 65,536 in all",
                "1 arrays at depth 3",
            ),
        ),
        (gguf({}), message("general.architecture is missing", "a string, which every engine looks for first", "none")),
        *(
            (
                gguf({**LLAMA, "general.alignment": value}),
                message("general.alignment can't be used", "a power of two, as uint32", found),
            )
            for value, found in (
                (u32(0), "0, as uint32"),
                (u32(48), "48, as uint32"),
                (scalar(U16, 32), "32, as uint16"),
            )
        ),
    ),
)
def test_a_broken_header_is_refused(refusal, data, words):
    assert refusal(data) == words


@pytest.mark.parametrize(
    ("tensors", "words"),
    named_by_message(
        ([Tensor(), Tensor(offset=128)], message("a tensor occurs twice", "each once", "a")),
        ([Tensor(shape=(1,) * 5)], message("tensor a has too many dimensions", "at most 4", "5")),
        (
            [Tensor(shape=(1 << 32, 1 << 31), size=0)],
            message("tensor a is too large", "fewer than 2^63 elements", "shape [4294967296, 2147483648]"),
        ),
        *(
            (
                [Tensor(), Tensor(name="b", offset=offset)],
                message("tensor b does not start where the one before it ends", "offset 128", f"offset {offset}"),
            )
            for offset in (0, 256)
        ),
        (
            [Tensor(shape=(), type=8)],
            message("tensor a does not fill its blocks", "rows of a multiple of 32 elements (Q8_0)", "rows of 1"),
        ),
        ([Tensor(offset=1)], message("tensor a is not aligned", "an offset in steps of 32", "1")),
        (
            [Tensor(shape=(33,), type=8)],
            message("tensor a does not fill its blocks", "rows of a multiple of 32 elements (Q8_0)", "rows of 33"),
        ),
        (
            [Tensor(name="é" * 32)],
            message("the name of tensor 1 is too long", "at most 63 bytes", "64 bytes"),
        ),
        *(
            (
                [Tensor(type=number)],
                message(
                    "tensor a has a type that llama.cpp removed",
                    "a type up to 42 that it still has",
                    f"type {number} ({name})",
                    "get the model in another quantization, or convert it again with a current llama.cpp",
                ),
            )
            for number, name in (
                (4, "Q4_2"),
                (5, "Q4_3"),
                (31, "Q4_0_4_4"),
                (32, "Q4_0_4_8"),
                (33, "Q4_0_8_8"),
                (36, "IQ4_NL_4_4"),
                (37, "IQ4_NL_4_8"),
                (38, "IQ4_NL_8_8"),
            )
        ),
        *(
            (
                [Tensor(type=number)],
                message(
                    "tensor a has a type that llama.cpp does not have",
                    "a type up to 42 that it still has",
                    f"type {number}",
                    "get the model in a quantization that llama.cpp itself has: forks of it have types of their own",
                ),
            )
            for number in (51, 137, (1 << 32) - 1)
        ),
        (
            [Tensor(shape=(0, 1 << 63))],
            message("tensor a is too large", "fewer than 2^63 elements", f"shape [0, {1 << 63}]"),
        ),
        ([Tensor(size=127)], message("the file ends before its tensors do", "256 bytes", "255 bytes", CUT)),
    ),
)
def test_a_broken_tensor_is_refused(refusal, tensors, words):
    assert refusal(gguf(LLAMA, tensors)) == words


def test_a_tensor_name_of_63_bytes_is_the_longest(metadata):
    assert metadata(gguf(LLAMA, [Tensor(name="a" * 63)])).tensor_count == 1


def test_a_tensor_of_unknown_type_must_start_inside_the_file(refusal):
    tensors = [Tensor(type=43), Tensor(name="b", type=43, offset=1 << 40)]
    assert refusal(gguf(LLAMA, tensors, data=128)) == message(
        "the file ends before its tensors do", "1,099,511,627,936 bytes", "288 bytes", CUT
    )


@pytest.mark.slow
def test_every_cut_of_the_shipped_model_is_refused(tmp_path):
    path = tmp_path / "x.gguf"
    data = TINY.read_bytes()
    for length in [*range(0, 9000, 37), len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(UnsoundModelError, match="the file ends"):
            read(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(TINY.read_bytes()[:5000])
    with pytest.raises(UnsoundModelError) as caught:
        read(path, size=TINY.stat().st_size)
    assert str(caught.value) == message(
        "the file became shorter while it was read",
        "a file at rest",
        "fewer bytes than it had",
        fix="wait until what writes it has ended, then run again",
    )


# ---- split models


def shard(number: int, count: int = 2, tensors: int = 2) -> bytes:
    fields = {
        "split.no": scalar(U16, number),
        "split.count": scalar(U16, count),
        "split.tensors.count": scalar(I32, tensors),
    }
    return gguf({**(LLAMA if number == 0 else {}), **fields}, [Tensor(name=f"t{number}")])


def test_the_shards_of_a_split_model_have_the_metadata_of_the_whole(built):
    names = [f"tiny-llama-split-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    shards = [(name, name, read(built / name)) for name in names]
    check_split(shards)
    found, whole = combine([each for _, _, each in shards]), read(built / "tiny-llama-Q8_0.gguf")
    assert to_json(found) == {**to_json(whole), "split": {"number": 0, "count": 3, "tensors": 20}}


@pytest.mark.parametrize(
    ("second", "expected", "found"),
    [
        (gguf(), "split.no, split.count and split.tensors.count in its header", "a model of its own"),
        (shard(1, count=3), "split.count 2", "split.count 3"),
        (shard(0), "split.no 1", "split.no 0"),
        (shard(1, tensors=9), "split.tensors.count 2", "split.tensors.count 9"),
    ],
    ids=["no split", "count", "number", "tensors"],
)
def test_a_shard_that_does_not_belong_is_named(metadata, second, expected, found):
    shards = [
        ("m-00001-of-00002.gguf", "x.gguf", metadata(shard(0))),
        ("m-00002-of-00002.gguf", "x.gguf", metadata(second)),
    ]
    with pytest.raises(UnsoundModelError) as caught:
        check_split(shards)
    assert str(caught.value) == message(
        "m-00002-of-00002.gguf is not that shard of this model",
        expected,
        found,
        "get the shard again from where the others came from, and keep its name",
    )


def test_shards_that_hold_too_few_tensors_are_refused(metadata):
    shards = [("a", "x.gguf", metadata(shard(0, tensors=3))), ("b", "x.gguf", metadata(shard(1, tensors=3)))]
    with pytest.raises(UnsoundModelError) as caught:
        check_split(shards)
    assert str(caught.value) == message(
        "the shards do not hold all tensors of the model",
        "3 tensors",
        "2 tensors",
        "get all shards again from one source",
    )


# ---- whatever the bytes


KEYS = st.text(min_size=1, max_size=40).filter(
    lambda key: not key.startswith(("general.", "split.", "tokenizer.", "llama."))
)
VALUES = st.one_of(
    st.sampled_from(sorted(LAYOUTS)).map(lambda type_: scalar(type_, 1)),
    st.text(max_size=300).map(text),
    st.lists(st.text(max_size=20), max_size=20).map(strings),
    st.lists(st.binary(min_size=4, max_size=4), max_size=20).map(lambda items: array(U32, items)),
)
COUNTS = st.integers(0, 2**32 - 1)


@pytest.mark.slow
@in_a_folder
@given(
    st.dictionaries(KEYS, VALUES, max_size=12),
    COUNTS,
    COUNTS,
    st.lists(st.lists(st.integers(1, 8), max_size=4), max_size=6),
    st.sampled_from([1, 8, 32, 64]),
)
def test_a_sound_file_reads_back(tmp_path, others, context, blocks, shapes, alignment):
    pairs = {
        **others,
        **LLAMA,
        "llama.context_length": u32(context),
        "llama.block_count": u32(blocks),
        "general.alignment": u32(alignment),
    }
    tensors, offset, parameters = [], 0, 0
    for number, shape in enumerate(shapes):
        elements = 1
        for length in shape:
            elements *= length
        tensors.append(Tensor(name=f"t{number}", shape=shape, offset=offset, size=4 * elements))
        offset += -(-4 * elements // alignment) * alignment
        parameters += elements
    (tmp_path / "x.gguf").write_bytes(gguf(pairs, tensors, alignment=alignment))
    found = read(tmp_path / "x.gguf")
    assert (found.context_length, found.block_count, found.alignment) == (context, blocks, alignment)
    assert (found.tensor_count, found.parameter_count) == (len(shapes), parameters)
    assert found.quantization == ("F32" if shapes else None)
    assert from_json(to_json(found)) == found


@pytest.mark.slow
@settings(in_a_folder, max_examples=examples(500))
@given(
    st.lists(st.tuples(st.integers(0, 9500), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    st.integers(0, 105_248),
)
def test_damage_is_refused_or_read_but_never_more(tmp_path, damages, length):
    """No other exception, no more memory than some megabytes; the rest of the machine's patience is the test run's."""
    data = bytearray(TINY.read_bytes())
    for place, damage in damages:
        data[place : place + len(damage)] = damage
    (tmp_path / "x.gguf").write_bytes(data[: max(length, 9500)] if length % 2 else data)
    tracemalloc.start()
    try:
        read(tmp_path / "x.gguf")
    except UnsoundModelError as error:
        assert len(str(error)) < 2000
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.slow
@settings(in_a_folder, max_examples=examples(300))
@given(st.binary(max_size=200))
def test_noise_behind_the_magic_is_refused_or_read_but_never_more(tmp_path, noise):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + noise)
    try:
        read(tmp_path / "x.gguf")
    except UnsoundModelError as error:
        assert str(error)

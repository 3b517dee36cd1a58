"""What is read and what is refused is what the libraries read and refuse that engines load models with.

llama.cpp is asked itself: the library that the tests install has its functions.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from dataclasses import dataclass

import gguf as gguf_package
import pytest
import safetensors
import xllamacpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_provisioner.errors import UnsoundModelError
from model_provisioner.headers.gguf import MAX_TENSOR_NAME, read_gguf
from model_provisioner.headers.gguf_types import LAST_TENSOR_TYPE, REMOVED_TENSOR_TYPES, TENSOR_TYPES, file_type
from model_provisioner.headers.safetensors import read_safetensors
from tests.support.examples import examples
from tests.support.gguf_bytes import LLAMA, Tensor, gguf, u32

in_a_folder = settings(
    deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class _Parameters(ctypes.Structure):
    """`struct gguf_init_params`: no data is read."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


llama_cpp = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
llama_cpp.gguf_init_from_file.argtypes = (ctypes.c_char_p, _Parameters)
llama_cpp.gguf_init_from_file.restype = ctypes.c_void_p
llama_cpp.gguf_free.argtypes = (ctypes.c_void_p,)
llama_cpp.ggml_type_size.restype = ctypes.c_size_t
llama_cpp.ggml_blck_size.restype = ctypes.c_int64


def llama_cpp_reads(path) -> bool:
    context = llama_cpp.gguf_init_from_file(os.fsencode(path), _Parameters(no_alloc=True, ctx=None))
    llama_cpp.gguf_free(context)
    return context is not None


def safetensors_reads(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return False
    return True


def we_read(reader, path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        reader(fd, "x", os.fstat(fd).st_size)
    except UnsoundModelError:
        return False
    finally:
        os.close(fd)
    return True


# ---- GGUF


def test_the_tensor_types_are_those_of_llama_cpp():
    count = xllamacpp.ggml_type.GGML_TYPE_COUNT.value
    sizes = {number: (llama_cpp.ggml_blck_size(number), llama_cpp.ggml_type_size(number)) for number in range(count)}
    assert {number: (block, size) for number, (_, block, size) in TENSOR_TYPES.items()} == {
        number: size for number, size in sizes.items() if size[0]
    }
    assert sorted(REMOVED_TENSOR_TYPES) == [number for number, size in sizes.items() if not size[0]]
    assert count - 1 <= LAST_TENSOR_TYPE
    assert MAX_TENSOR_NAME == xllamacpp.GGML_MAX_NAME - 1


def test_the_names_of_types_are_those_of_the_package_gguf():
    for known in gguf_package.GGMLQuantizationType:
        size = gguf_package.GGML_QUANT_SIZES[known]
        # The package has the size that blocks of Q8_1 had in 2023. No file has them: they are for intermediate results.
        assert TENSOR_TYPES[known] == (known.name, *((32, 36) if known.name == "Q8_1" else size))
    for known in gguf_package.LlamaFileType:
        name = known.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        assert file_type(known) == (None if name == "GUESSED" else name) or known == gguf_package.LlamaFileType.GUESSED


@st.composite
def tensor_tables(draw) -> bytes:
    """A GGUF whose tensors are right, or wrong in a name, a type, a shape, an offset or the size of the file."""
    alignment = draw(st.sampled_from([32, 32, 64, 1, 48]))
    tensors, offset = [], 0
    names = st.one_of(
        st.sampled_from(["a", "b", "é" * 31, "x" * 63, "x" * 64]),
        st.text("abc", max_size=70),
    )
    for number in range(draw(st.integers(0, 4))):
        # A type that is newer than both is a note here, and an error there.
        kind = draw(
            st.sampled_from(sorted(TENSOR_TYPES) * 4 + sorted(REMOVED_TENSOR_TYPES) + [LAST_TENSOR_TYPE + 1, 137])
        )
        block, size = TENSOR_TYPES[kind][1:] if kind in TENSOR_TYPES else (1, 4)
        rows = draw(st.lists(st.integers(0, 3), max_size=4 if draw(st.booleans()) else 3))
        shape = [block * draw(st.integers(0, 3)), *rows] if draw(st.integers(0, 9)) else rows
        elements = 1
        for each in shape:
            elements *= each
        moved = draw(st.sampled_from([0] * 12 + [alignment, -alignment, 1]))
        name = draw(names) if draw(st.integers(0, 4)) == 0 else f"t{number}"
        length = elements // block * size
        tensors.append(Tensor(name=name, shape=shape, type=kind, offset=max(0, offset + moved), size=length))
        offset += -(-length // alignment) * alignment
    return gguf({**LLAMA, "general.alignment": u32(alignment)}, tensors, alignment=alignment)


@pytest.mark.slow
@in_a_folder
@given(tensor_tables())
def test_llama_cpp_refuses_the_tensors_that_we_refuse_and_no_others(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    assert we_read(read_gguf, path) == llama_cpp_reads(path)


# ---- safetensors

DTYPES = {
    "F32": 32,
    "BF16": 16,
    "I64": 64,
    "BOOL": 8,
    "F8_E4M3FNUZ": 8,
    "F4": 4,
    "F6_E3M2": 6,
    "C64": 64,
    "NEW": 8,
    "Q4_K": 8,
}


@dataclass
class Damage:
    """How often something is wrong in a header: once in so many draws, or never."""

    draw: st.DrawFn
    one_in: int

    def __bool__(self) -> bool:
        return self.draw(st.integers(1, self.one_in)) == self.one_in


@st.composite
def headers(draw) -> bytes:
    """A safetensors file that is right, or wrong in its types, offsets, size, encoding or metadata."""
    wrong = Damage(draw, draw(st.sampled_from([10, 40])))
    tensors, offset = {}, 0
    for number in range(draw(st.integers(0, 4))):
        dtype = draw(st.sampled_from(sorted(DTYPES))) if wrong else draw(st.sampled_from(["F32", "BF16", "F4", "I64"]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        count = 1
        for each in shape:
            count *= each
        length = count * DTYPES[dtype] // 8 + (draw(st.sampled_from([-1, 1, 4])) if wrong else 0)
        begin = max(0, offset + (draw(st.sampled_from([-4, -1, 1, 8])) if wrong else 0))
        tensors[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, max(0, begin + length)]}
        offset = max(offset, begin + length)
    for field in ("dtype", "shape", "data_offsets"):
        if tensors and wrong:
            tensors["t0"][field] = draw(
                st.sampled_from([None, -1, 1.5, True, "F32", [], [0], [0, -4], [1.0], [0, 4, 8], {}])
            )
    names = draw(st.permutations(sorted(tensors)))
    header = {name: tensors[name] for name in names}
    if draw(st.booleans()):
        values = [{"format": "pt"}, {}, None] if not wrong else [{"a": 1}, [], "pt", {"a": None}, 0, False]
        header["__metadata__"] = draw(st.sampled_from(values))
    text = json.dumps(header)
    if wrong:
        text = draw(
            st.sampled_from(["\ufeff" + text, text + "x", text[:-1], "", "[]", "null", " " + text, text + "\n \t"])
        )
    raw = text.encode(draw(st.sampled_from(["utf-16-le", "utf-32-be"])) if wrong else "utf-8")
    size = max(0, offset + (draw(st.sampled_from([-1, 1, 100])) if wrong else 0))
    return struct.pack("<Q", len(raw) + (draw(st.sampled_from([-1, 1, 1 << 40])) if wrong else 0)) + raw + bytes(size)


@pytest.mark.slow
@in_a_folder
@given(headers())
def test_the_reference_library_refuses_what_we_refuse_and_nothing_else(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    assert we_read(read_safetensors, path) == safetensors_reads(data)


def test_every_type_of_the_reference_library_is_known():
    header = {"a": {"dtype": "NEW", "shape": [], "data_offsets": [0, 0]}}
    raw = json.dumps(header).encode()
    with pytest.raises(safetensors.SafetensorError) as caught:
        safetensors.deserialize(struct.pack("<Q", len(raw)) + raw)
    from model_provisioner.headers.safetensors import _BITS

    assert sorted(str(caught.value).split("`")[3::2]) == sorted(_BITS)

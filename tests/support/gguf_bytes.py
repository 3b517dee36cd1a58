"""Raw GGUF bytes for tests: whatever is asked for, broken headers included. Nothing here checks anything."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LAYOUTS = {
    U8: "<B",
    I8: "<b",
    U16: "<H",
    I16: "<h",
    U32: "<I",
    I32: "<i",
    F32: "<f",
    BOOL: "<?",
    U64: "<Q",
    I64: "<q",
    F64: "<d",
}


def string(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


@dataclass(frozen=True)
class Value:
    """A typed value: its type's number and its bytes."""

    type: int
    raw: bytes


def scalar(type_: int, value: float) -> Value:
    return Value(type_, struct.pack(LAYOUTS[type_], value))


def u32(value: int) -> Value:
    return scalar(U32, value)


def text(value: str | bytes) -> Value:
    return Value(STRING, string(value))


def array(type_: int, items: Sequence[bytes], count: int | None = None) -> Value:
    """An array of items that are packed already; `count` is what the header says of their number."""
    return Value(ARRAY, struct.pack("<IQ", type_, len(items) if count is None else count) + b"".join(items))


def strings(items: Sequence[str | bytes]) -> Value:
    return array(STRING, [string(item) for item in items])


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor's line in the header, and how many bytes of data it brings."""

    name: str | bytes = "a"
    shape: Sequence[int] = (32,)
    type: int = 0
    offset: int = 0
    size: int = 128


LLAMA = {"general.architecture": text("llama")}


def gguf(
    pairs: Mapping[str | bytes, Value] | Sequence[tuple[str | bytes, Value]] = LLAMA,  # noqa: B006  never changed
    tensors: Sequence[Tensor] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    pair_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
    data: int | None = None,
) -> bytes:
    """A GGUF file: header, padding, and `data` zeros: as many as the tensors need, where it is not said."""
    pairs = list(pairs.items()) if isinstance(pairs, Mapping) else pairs
    header = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(pairs) if pair_count is None else pair_count,
    )
    header += b"".join(string(key) + struct.pack("<I", value.type) + value.raw for key, value in pairs)
    for tensor in tensors:
        header += string(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        header += struct.pack("<IQ", tensor.type, tensor.offset)
    if not tensors:
        return header
    if data is None:
        data = max(tensor.offset + tensor.size for tensor in tensors)
    return header.ljust(-(-len(header) // alignment) * alignment, b"\0") + bytes(data)

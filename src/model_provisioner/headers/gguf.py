"""Read the header of a GGUF file, version 2 or 3, within bounds and without touching tensor data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What llama.cpp refuses is an error here: the user learns it
before an hour of hashing, not from an engine that dies. A tensor type that llama.cpp may have added since is a note.

Every count, length, offset and type is checked against the file before it is used. Arrays are skipped, not built. The limits
below bound memory, whatever the file says.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, NoReturn

from model_provisioner.headers.gguf_cursor import MAX_SHOWN, Cursor
from model_provisioner.headers.gguf_metadata import STRINGS, Kept, is_kept
from model_provisioner.headers.gguf_types import (
    ARRAY,
    LAST_TENSOR_TYPE,
    REMOVED_TENSOR_TYPES,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    TYPE_NAMES,
    U32,
)

if TYPE_CHECKING:
    from model_provisioner.headers.metadata import Metadata

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_KEY = (1 << 16) - 1
MAX_TENSOR_NAME = 63
"""llama.cpp's GGML_MAX_NAME, which counts the zero at its end."""
MAX_NESTING = 3

_LORA = (b".lora_a", b".lora_b")


def read_gguf(fd: int, path: str, size: int) -> Metadata:
    """Read the header of the GGUF file of `size` bytes that is open at `fd`; `path` is for messages.

    Raises `UnsoundModelError` for whatever llama.cpp would refuse, and for a file that ends before its tensors do.
    """
    return _Header(Cursor(fd, path, size)).read()


class _Header:
    """A header that is read while the cursor moves through it."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._kept = Kept()
        self._nested = 0

    def read(self) -> Metadata:
        cursor = self._cursor
        self._read_magic()
        tensors = cursor.count("the number of tensors")
        keys = cursor.count("the number of keys")
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            cursor.fail(
                "the header has too many keys or tensors",
                expected=f"at most {MAX_KEYS:,} keys and {MAX_TENSORS:,} tensors",
                found=f"{keys:,} keys and {tensors:,} tensors",
            )
        cursor.need(13 * keys + 24 * tensors, "its header")
        seen: set[int] = set()
        for number in range(keys):
            self._read_pair(number, seen)
        alignment = self._alignment()
        data_size = self._read_tensors(tensors, alignment)
        end = -(-cursor.offset // alignment) * alignment + data_size
        if tensors and end > cursor.size:
            what, fix = "the file ends before its tensors do", "get the file again from its source: it was cut off"
            cursor.fail(what, expected=f"{end:,} bytes", found=f"{cursor.size:,} bytes", fix=fix)
        found = self._kept.metadata(alignment)
        # Only the first shard of a split model describes it.
        if not found.architecture and (found.split is None or found.split.number == 0):
            expected = "a string, which every engine looks for first"
            cursor.fail("general.architecture is missing", expected=expected, found="none")
        return found

    def _read_magic(self) -> None:
        cursor = self._cursor
        if (magic := cursor.take(4, "the GGUF magic")) != b"GGUF":
            cursor.fail(
                "not a GGUF file",
                expected="the bytes 'GGUF' at its start",
                found=repr(magic)[1:],
                fix="get the model again, or give the file the suffix of what it is",
            )
        version = cursor.number(U32, "the version")
        if version in (0x02000000, 0x03000000):
            fix = "convert it: `gguf-convert-endian FILE little`, of the Python package gguf"
            cursor.fail("a big-endian GGUF file", expected="little-endian", found="big-endian", fix=fix)
        if version not in (2, 3):
            found, fix = f"version {version}", "convert the model again with a current llama.cpp"
            cursor.fail("a GGUF version that can't be read", expected="version 2 or 3", found=found, fix=fix)

    def _read_name(self, what: str, kind: str, limit: int, seen: set[int]) -> tuple[bytes, str]:
        """Read a name, which must be new and of at most `limit` bytes; return it, and the beginning of it as a text."""
        raw = self._cursor.string(what, limit)
        shown = raw[: 4 * MAX_SHOWN].decode("utf-8", "replace")[:MAX_SHOWN]
        if hash(raw) in seen:
            self._cursor.fail(f"a {kind} occurs twice", expected="each once", found=shown)
        seen.add(hash(raw))
        return raw, shown

    def _read_pair(self, number: int, seen: set[int]) -> None:
        cursor = self._cursor
        raw, key = self._read_name(f"key {number + 1}", "key", MAX_KEY, seen)
        if not raw:
            cursor.fail(f"key {number + 1} is empty", expected="a name", found=f"offset {cursor.offset - 8:,}")
        kind, value = cursor.number(U32, f"the type of {key}"), None
        if kind == ARRAY:
            count = self._skip_array(key, 1)
            if key == "tokenizer.ggml.tokens":
                self._kept.tokens = count
        elif kind == STRING:
            if key == "tokenizer.chat_template":
                self._kept.template = cursor.sha256(key)
            elif key in STRINGS:
                value = cursor.text(key)
            else:
                cursor.skip(cursor.count(key), key)
        elif kind in SCALARS:
            value = cursor.number(kind, key)
        else:
            cursor.fail(f"{key} has a type that GGUF does not have", expected="a type from 0 to 12", found=str(kind))
        if is_kept(key):
            self._kept.values[key] = kind, value

    def _skip_array(self, key: str, depth: int) -> int:
        """Skip an array; return its length."""
        cursor = self._cursor
        kind = cursor.number(U32, f"the element type of {key}")
        count = cursor.count(f"the length of {key}")
        if kind in SCALARS:
            cursor.skip(count * SCALARS[kind].size, key)
        elif kind == STRING:
            cursor.skip_strings(count, key)
        elif kind == ARRAY:
            self._kept.note(f"{key} is an array of arrays, which llama.cpp refuses")
            self._nested += count
            if depth >= MAX_NESTING or self._nested > MAX_KEYS:
                cursor.fail(
                    f"{key} nests arrays too deeply or too widely",
                    expected=f"at most {MAX_NESTING} inside each other, and {MAX_KEYS:,} in all",
                    found=f"{count:,} arrays at depth {depth}",
                )
            for _ in range(count):
                self._skip_array(key, depth + 1)
        else:
            what = f"{key} has elements of a type that GGUF does not have"
            cursor.fail(what, expected="a type from 0 to 12", found=str(kind))
        return count

    def _alignment(self) -> int:
        kind, value = self._kept.values.get("general.alignment", (U32, 32))
        if kind != U32 or value < 1 or value & (value - 1):
            found = f"{value!r}, as {TYPE_NAMES[kind]}"
            self._cursor.fail("general.alignment can't be used", expected="a power of two, as uint32", found=found)
        return int(value)

    def _read_tensors(self, count: int, alignment: int) -> int:
        """Read the descriptions of the tensors; return the size of their data."""
        cursor, elements = self._cursor, self._kept.elements
        self._kept.tensors = count
        end = 0
        following: int | None = 0  # where the next tensor starts; unknown after one of an unknown type
        unknown: set[int] = set()
        seen: set[int] = set()
        for number in range(count):
            name, shape = self._read_shape(number, seen)
            total = prod(shape)
            if max(total, *shape, 0) >= 1 << 63:
                cursor.fail(
                    f"tensor {name} is too large", expected="fewer than 2^63 elements", found=f"shape {list(shape)}"
                )
            kind = cursor.number(U32, f"the type of {name}")
            offset = cursor.count(f"the offset of {name}")
            if offset % alignment:
                expected = f"an offset in steps of {alignment}"
                cursor.fail(f"tensor {name} is not aligned", expected=expected, found=str(offset))
            if following not in (None, offset):
                what = f"tensor {name} does not start where the one before it ends"
                cursor.fail(what, expected=f"offset {following:,}", found=f"offset {offset:,}")
            if kind in REMOVED_TENSOR_TYPES or kind > LAST_TENSOR_TYPE:
                self._refuse_type(name, kind)
            if kind not in TENSOR_TYPES:
                elements[f"type {kind}"] += total
                unknown.add(kind)
                end, following = max(end, offset), None
                continue
            type_name, per_block, block_bytes = TENSOR_TYPES[kind]
            row = shape[0] if shape else 1
            if row % per_block:
                expected = f"rows of a multiple of {per_block} elements ({type_name})"
                cursor.fail(f"tensor {name} does not fill its blocks", expected=expected, found=f"rows of {row}")
            elements[type_name] += total
            stop = offset + total // per_block * block_bytes
            end, following = max(end, stop), -(-stop // alignment) * alignment
        if unknown:
            first = ", ".join(map(str, sorted(unknown)[:4]))
            self._kept.note(
                f"tensor type {first} is newer than this program: the sizes of such tensors were not checked"
            )
        return end

    def _refuse_type(self, name: str, kind: int) -> NoReturn:
        what, found = f"tensor {name} has a type that llama.cpp does not have", f"type {kind}"
        fix = "get the model in a quantization that llama.cpp itself has: forks of it have types of their own"
        if removed := REMOVED_TENSOR_TYPES.get(kind):
            what, found = f"tensor {name} has a type that llama.cpp removed", f"type {kind} ({removed})"
            fix = "get the model in another quantization, or convert it again with a current llama.cpp"
        self._cursor.fail(what, expected=f"a type up to {max(TENSOR_TYPES)} that it still has", found=found, fix=fix)

    def _read_shape(self, number: int, seen: set[int]) -> tuple[str, tuple[int, ...]]:
        """Return the name of a tensor, as it can be shown, and its shape."""
        cursor = self._cursor
        raw, name = self._read_name(f"the name of tensor {number + 1}", "tensor", MAX_TENSOR_NAME, seen)
        dimensions = cursor.number(U32, f"the shape of {name}")
        if dimensions > 4:
            cursor.fail(f"tensor {name} has too many dimensions", expected="at most 4", found=str(dimensions))
        shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions, f"the shape of {name}"))
        self._kept.has_lora = self._kept.has_lora or raw.endswith(_LORA)
        if self._kept.width is None and shape and raw.removesuffix(_LORA[0]).endswith(b".attn_q.weight"):
            self._kept.width = shape[0]
        return name, shape

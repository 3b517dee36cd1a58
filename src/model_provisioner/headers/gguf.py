"""The header of a GGUF file, versions 2 and 3, read with care: a bounded reader that never touches tensor data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What llama.cpp refuses is an error here, so that it is told
before an hour of hashing and not by an engine that dies; a tensor type that we don't know yet is a note.

Every count, length, offset and type is checked against the file before it is used. Arrays are skipped, not built. Memory is
bounded by the limits below whatever the file says.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from model_provisioner.errors import printable
from model_provisioner.headers.gguf_cursor import MAX_SHOWN, Cursor
from model_provisioner.headers.gguf_types import (
    ARRAY,
    FILE_TYPES,
    GUESSED,
    INTEGERS,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    TYPE_NAMES,
    U32,
)
from model_provisioner.headers.metadata import Facts, Split

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NAME = (1 << 16) - 1
MAX_NESTING = 3
MAX_NOTES = 16

_STRINGS_KEPT = {
    "adapter.type",
    "general.architecture",
    "general.type",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
}
_NUMBERS_KEPT = {"general.alignment", "general.file_type", "split.no", "split.count", "split.tensors.count"}
_QUERY = b".attn_q.weight"
_LORA = (b".lora_a", b".lora_b")
_PROJECTORS = ("mmproj", "clip-vision")
"""What `general.type` of a projector is, or was for a while in 2025; before that there was none."""
_PROJECTIONS = ("clip.vision.projection_dim", "clip.audio.projection_dim")
_NUMBERS_OF_ARCHITECTURE = ("context_length", "embedding_length", "block_count", "vocab_size")
_TEMPLATE = "tokenizer.chat_template"
_TOKENS = "tokenizer.ggml.tokens"


def read_gguf(fd: int, path: str, size: int) -> Facts:
    """Read the header of the GGUF file that is open at `fd` and `size` bytes long; `path` is for messages.

    Raises `UnsoundModelError` for whatever llama.cpp would refuse, and for a file that ends before its tensors do.
    """
    header = _Header(Cursor(fd, path, size))
    return header.read()


class _Header:
    """What is gathered while the header goes by."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._strings: dict[str, str] = {}
        self._numbers: dict[str, tuple[int, Any]] = {}
        """Type and value of the numbers that are looked at, by key."""
        self._template: str | None = None
        self._tokens: int | None = None
        self._notes: list[str] = []
        self._nested = 0
        self._has_lora = False
        self._width: int | None = None

    def read(self) -> Facts:
        cursor = self._cursor
        self._read_magic()
        tensors = cursor.count("the number of tensors")
        keys = cursor.count("the number of keys")
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            cursor.fail(
                "the header counts more than any model has",
                expected=f"at most {MAX_KEYS:,} keys and {MAX_TENSORS:,} tensors",
                found=f"{keys:,} keys and {tensors:,} tensors",
            )
        cursor.need(13 * keys + 24 * tensors, "its header")
        seen: set[int] = set()
        for number in range(keys):
            self._read_pair(number, seen)
        alignment = self._alignment()
        elements, blocks_end = self._read_tensors(tensors, alignment)
        data = -(-cursor.offset // alignment) * alignment
        if tensors and data + blocks_end > cursor.size:
            cursor.fail(
                "the file ends before its tensors do",
                expected=f"{data + blocks_end:,} bytes",
                found=f"{cursor.size:,} bytes",
                fix="get the file again from its source: it was cut off",
            )
        return self._facts(tensors, alignment, elements)

    def _read_magic(self) -> None:
        cursor = self._cursor
        if (magic := cursor.take(4, "the GGUF magic")) != b"GGUF":
            cursor.fail(
                "not a GGUF file",
                expected="the bytes 'GGUF' at its start",
                found=repr(magic)[1:],
                fix="get the model again, or give the file the suffix of what it is",
            )
        version = cursor.number(SCALARS[U32], "the version")
        if version in (0x02000000, 0x03000000):
            cursor.fail(
                "a big-endian GGUF file",
                expected="little-endian",
                found="big-endian",
                fix="convert it: gguf-convert-endian",
            )
        if version not in (2, 3):
            cursor.fail(
                "a GGUF version that can't be read",
                expected="version 2 or 3",
                found=f"version {version}",
                fix="convert the model again with a current llama.cpp",
            )

    def _read_pair(self, number: int, seen: set[int]) -> None:
        cursor = self._cursor
        raw = cursor.string(f"key {number + 1}", MAX_NAME)
        key = printable(raw[: 4 * MAX_SHOWN].decode("utf-8", "replace"))[:MAX_SHOWN]
        if not raw:
            cursor.fail(f"key {number + 1} is empty", found=f"offset {cursor.offset - 8:,}")
        if hash(raw) in seen:
            cursor.fail("a key stands twice", found=key)
        seen.add(hash(raw))
        kind = cursor.number(SCALARS[U32], f"the type of {key}")
        if kind == ARRAY:
            count = self._skip_array(key, 1)
            if key == _TOKENS:
                self._tokens = count
            elif _is_number(key) or key in _STRINGS_KEPT:
                self._numbers[key] = (ARRAY, None)
        elif kind == STRING:
            if key == _TEMPLATE:
                self._template = cursor.sha256(key)
            elif key in _STRINGS_KEPT:
                self._strings[key] = cursor.text(key)
            else:
                if _is_number(key):
                    self._numbers[key] = (STRING, None)
                cursor.skip(cursor.count(key), key)
        elif kind in SCALARS:
            value = cursor.number(SCALARS[kind], key)
            if _is_number(key) or key in _STRINGS_KEPT:
                self._numbers[key] = (kind, value)
        else:
            cursor.fail(f"{key} has a type that GGUF does not have", expected="a type from 0 to 12", found=str(kind))

    def _skip_array(self, key: str, depth: int) -> int:
        cursor = self._cursor
        kind = cursor.number(SCALARS[U32], f"the element type of {key}")
        count = cursor.count(f"the length of {key}")
        if kind in SCALARS:
            cursor.skip(count * SCALARS[kind].size, key)
        elif kind == STRING:
            cursor.skip_strings(count, key)
        elif kind == ARRAY:
            self._note(f"{key} is an array of arrays, which llama.cpp refuses")
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
            cursor.fail(
                f"{key} has elements of a type that GGUF does not have", expected="a type from 0 to 12", found=str(kind)
            )
        return count

    def _alignment(self) -> int:
        kind, value = self._numbers.get("general.alignment", (U32, 32))
        if kind != U32 or value < 1 or value & (value - 1):
            self._cursor.fail(
                "general.alignment can't be used",
                expected="a power of two, as uint32",
                found=f"{value!r}, as {TYPE_NAMES[kind]}",
            )
        return int(value)

    def _read_tensors(self, count: int, alignment: int) -> tuple[Counter[str], int]:
        """Return the elements of each tensor type, and where the last tensor ends in the data."""
        cursor = self._cursor
        elements: Counter[str] = Counter()
        end = 0
        following: int | None = 0  # where the next tensor starts; after one of unknown size nobody can tell
        unknown: set[int] = set()
        seen: set[int] = set()
        for number in range(count):
            raw = cursor.string(f"the name of tensor {number + 1}", MAX_NAME)
            name = printable(raw[:MAX_SHOWN].decode("utf-8", "replace"))
            if hash(raw) in seen:
                cursor.fail("a tensor stands twice", found=name)
            seen.add(hash(raw))
            dimensions = cursor.number(SCALARS[U32], f"the shape of {name}")
            if dimensions > 4:
                cursor.fail(f"tensor {name} has too many dimensions", expected="at most 4", found=str(dimensions))
            shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions, f"the shape of {name}"))
            total = 1
            for length in shape:
                total *= length
            if total >= 1 << 63:
                cursor.fail(f"tensor {name} is larger than any", found=f"shape {list(shape)}")
            if raw.endswith(_LORA):
                self._has_lora = True
                raw = raw.removesuffix(_LORA[0])
            if self._width is None and shape and raw.endswith(_QUERY):
                self._width = shape[0]
            kind = cursor.number(SCALARS[U32], f"the type of {name}")
            offset = cursor.count(f"the offset of {name}")
            if offset % alignment:
                cursor.fail(
                    f"tensor {name} is not aligned", expected=f"an offset in steps of {alignment}", found=str(offset)
                )
            if following not in (None, offset):
                cursor.fail(
                    f"tensor {name} does not start where the one before it ends",
                    expected=f"offset {following:,}",
                    found=f"offset {offset:,}",
                )
            if kind not in TENSOR_TYPES:
                elements[f"type {kind}"] += total
                unknown.add(kind)
                end, following = max(end, offset), None
                continue
            type_name, per_block, block_bytes = TENSOR_TYPES[kind]
            row = shape[0] if shape else 1
            if row % per_block:
                cursor.fail(
                    f"tensor {name} does not fill its blocks",
                    expected=f"rows of a multiple of {per_block} elements ({type_name})",
                    found=f"rows of {row}",
                )
            elements[type_name] += total
            stop = offset + total // per_block * block_bytes
            end, following = max(end, stop), -(-stop // alignment) * alignment
        if unknown:
            first = ", ".join(map(str, sorted(unknown)[:4]))
            self._note(f"tensor type {first} is newer than this program: the sizes of such tensors were not checked")
        return elements, end

    def _facts(self, tensors: int, alignment: int, elements: Counter[str]) -> Facts:
        split = self._split()
        architecture = self._strings.get("general.architecture")
        # Only the first shard of a split model describes it.
        if not architecture and (split is None or split.number == 0):
            self._cursor.fail(
                "general.architecture is missing", expected="a string, which every engine looks for first"
            )
        for key in sorted(_STRINGS_KEPT & self._numbers.keys()):
            found = TYPE_NAMES[self._numbers[key][0]]
            self._note(f"{key} has the type {found}, which llama.cpp refuses: it takes string only")
        of_architecture = {name: self._number(f"{architecture}.{name}") for name in _NUMBERS_OF_ARCHITECTURE}
        kind = self._kind(architecture)
        return Facts(
            format="gguf",
            kind=kind,
            architecture=architecture,
            context_length=of_architecture["context_length"],
            embedding_length=of_architecture["embedding_length"],
            block_count=of_architecture["block_count"],
            vocabulary_size=of_architecture["vocab_size"] if self._tokens is None else self._tokens,
            tokenizer_model=self._strings.get("tokenizer.ggml.model"),
            tokenizer_pre=self._strings.get("tokenizer.ggml.pre"),
            chat_template_sha256=self._template,
            quantization=self._quantization(elements),
            tensor_types=tuple(elements.most_common()),
            parameter_count=sum(elements.values()),
            tensor_count=tensors,
            alignment=alignment,
            adapter=self._strings.get("adapter.type") if kind == "adapter" else None,
            projects_to=self._projects_to() if kind == "mmproj" else None,
            attention_width=self._width,
            split=split,
            notes=tuple(self._notes),
        )

    def _kind(self, architecture: str | None) -> str:
        if architecture == "clip":
            return "mmproj"
        is_adapter = self._has_lora or "adapter.type" in self._strings
        if is_adapter and "general.type" not in self._strings:
            self._note("general.type is missing: llama.cpp takes an adapter only where that says so")
        return self._strings.get("general.type", "adapter" if is_adapter else "model")

    def _projects_to(self) -> int | None:
        """Return the text model's embedding length, where what wrote the file is known to write that.

        The converters of before `general.type` wrote the width of CLIP's own projection there, or 0.
        """
        if self._strings.get("general.type") not in _PROJECTORS:
            return None
        return next((found for key in _PROJECTIONS if (found := self._number(key))), None)

    def _number(self, key: str) -> int | None:
        """Return a number that llama.cpp reads as uint32; tell where it has a type that llama.cpp refuses."""
        if key not in self._numbers:
            return None
        kind, value = self._numbers[key]
        if kind != U32:
            self._note(f"{key} has the type {TYPE_NAMES[kind]}, which llama.cpp refuses: it takes uint32 only")
        return int(value) if kind in INTEGERS and value >= 0 else None

    def _quantization(self, elements: Counter[str]) -> str | None:
        """Return what the file says of itself, else the type that most of its parameters have."""
        kind, value = self._numbers.get("general.file_type", (U32, None))
        if kind in INTEGERS and value is not None and (name := FILE_TYPES.get(value & ~GUESSED)):
            return name
        return elements.most_common(1)[0][0] if elements else None

    def _split(self) -> Split | None:
        found = {name: self._numbers.get(f"split.{name}") for name in ("no", "count", "tensors.count")}
        values = [value for kind, value in filter(None, found.values()) if kind in INTEGERS]
        # gguf-split writes all three; a count of 0 or 1 is a model of its own.
        if len(values) != len(found) or values[1] < 2:
            return None
        return Split(number=values[0], count=values[1], tensors=values[2])

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < MAX_NOTES:
            self._notes.append(text)


def _is_number(key: str) -> bool:
    return key in _NUMBERS_KEPT or key in _PROJECTIONS or key.endswith(_NUMBERS_OF_ARCHITECTURE)

"""Read the header of a safetensors file and the JSON files of its folder, without touching tensor data.

Format: https://github.com/huggingface/safetensors#format — 8 bytes of little-endian length, then a JSON object of that length:
name to `dtype`, `shape` and `data_offsets`, and `__metadata__`, strings to strings.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from model_provisioner.errors import UnsoundModelError, printable
from model_provisioner.fs.read import JSON_LIMIT
from model_provisioner.headers.metadata import Metadata
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_HEADER = JSON_LIMIT
"""In bytes: that of 131,072 tensors, with room. The reference implementation reads 100 MB."""
MAX_SHOWN = 256
MAX_DIMENSIONS = 64

_LORA = (".lora_A.weight", ".lora_B.weight")

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip


def read_safetensors(fd: int, path: str, size: int) -> Metadata:
    """Read the header of one safetensors file: see `read_tensors`."""
    return describe(read_tensors(fd, path, size))


def read_tensors(fd: int, path: str, size: int) -> dict[str, tuple[str, int]]:
    """Return type and number of elements of each tensor, by name, of the safetensors file of `size` bytes that is open at `fd`.

    `path` is for messages. Raises `UnsoundModelError` for whatever the reference implementation refuses: a broken header, a
    type that it does not have, tensors that do not fill the file one after the other.
    """
    length = int.from_bytes(os.pread(fd, 8, 0), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER):
        _fail(
            "not a safetensors file, or one that was cut off",
            path,
            expected=f"a header of at most {max(0, min(size - 8, MAX_HEADER)):,} bytes",
            found=f"a header of {length:,} bytes in a file of {size:,} bytes",
        )
    header = _load(os.pread(fd, length, 8), path, _unique)
    metadata = header.get("__metadata__")
    if metadata is not None and not (
        isinstance(metadata, dict) and all(type(value) is str for value in metadata.values())
    ):
        _fail("__metadata__ is not what the format allows", path, expected="strings to strings", found="something else")
    tensors: dict[str, tuple[str, int]] = {}
    spans: list[tuple[int, int, str]] = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, stop, count, dtype = _tensor(name, tensor, path)
        tensors[name] = dtype, count
        spans.append((begin, stop, name))
    end = 8 + length + _end_of(spans, path)
    if end > size:
        what, fix = "the file ends before its tensors do", "get the file again from its source: it was cut off"
        _fail(what, path, expected=f"{end:,} bytes", found=f"{size:,} bytes", fix=fix)
    if end < size:
        what, fix = "bytes that belong to no tensor follow the last one", "get the file again from its source"
        _fail(what, path, expected=f"{end:,} bytes", found=f"{size:,} bytes", fix=fix)
    return tensors


def describe(tensors: Mapping[str, tuple[str, int]]) -> Metadata:
    """Return what the tensors of one or of several files tell, as `read_tensors` returns them."""
    elements: Counter[str] = Counter()
    for dtype, count in tensors.values():
        elements[dtype] += count
    return Metadata(
        format="safetensors",
        kind="adapter" if any(name.endswith(_LORA) for name in tensors) else "model",
        quantization=elements.most_common(1)[0][0] if elements else None,
        tensor_types=tuple(elements.most_common()),
        parameter_count=sum(elements.values()),
        tensor_count=len(tensors),
    )


def read_adapter_config(data: bytes, path: str) -> Metadata:
    """Read the `adapter_config.json` of a PEFT folder. It does not name the architecture that it was made for."""
    config, notes = _load_settings(data, path)
    kind = _text(config.get("peft_type"))
    return Metadata(kind="adapter", adapter=None if kind is None else kind.lower(), notes=notes)


def read_transformers_config(data: bytes, path: str) -> Metadata:
    """Read a folder's `config.json`. `architecture` is its `model_type`, the name that Transformers and vLLM use."""
    config, notes = _load_settings(data, path)
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, dict) else config
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    return Metadata(
        kind="model",
        architecture=_text(config.get("model_type")),
        context_length=_number(text, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"),
        embedding_length=_number(text, "hidden_size", "n_embd", "d_model"),
        block_count=_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        vocabulary_size=_number(text, "vocab_size"),
        quantization=_text(method),
        notes=notes,
    )


def read_index(data: bytes, path: str) -> dict[str, str]:
    """Return the `weight_map` of a folder's `model.safetensors.index.json`: tensor to file."""
    weights = _load(data, path, dict).get("weight_map")
    if not isinstance(weights, dict) or not all(isinstance(file, str) for file in weights.values()):
        _fail(
            "the index has no weight_map",
            path,
            expected="an object of tensor names and file names",
            found="something else",
        )
    return weights


def combine_folder(config: Metadata | None, weights: Metadata | None) -> Metadata:
    """Return the metadata of a folder: what its configuration says, and what its weights are."""
    if weights is None or config is None:
        return weights or config or Metadata()
    return replace(
        config,
        format=weights.format,
        quantization=config.quantization or weights.quantization,
        tensor_types=weights.tensor_types,
        parameter_count=weights.parameter_count,
        tensor_count=weights.tensor_count,
        notes=(*config.notes, *weights.notes),
    )


def _end_of(spans: list[tuple[int, int, str]], path: str) -> int:
    """Return where the last tensor ends in the data; they must follow each other without a hole and without overlap."""
    following = 0
    for begin, end, name in sorted(spans):
        if begin != following:
            what = f"tensor {printable(name)[:MAX_SHOWN]} does not start where the one before it ends"
            _fail(what, path, expected=f"data_offsets from {following:,}", found=f"data_offsets from {begin:,}")
        following = end
    return following


def _tensor(name: str, tensor: Any, path: str) -> tuple[int, int, int, str]:
    """Return where a tensor begins and ends in the data, the number of its elements and its type."""
    shown = printable(name)[:MAX_SHOWN]
    what, expected = f"tensor {shown} has no description", "dtype, shape and data_offsets"
    if not isinstance(tensor, dict):
        _fail(what, path, expected=expected, found=type(tensor).__name__)
    dtype, shape, offsets = tensor.get("dtype"), tensor.get("shape"), tensor.get("data_offsets")
    if not isinstance(dtype, str) or not _are_lengths(shape) or not _are_lengths(offsets) or len(offsets) != 2:
        _fail(what, path, expected=expected, found=printable(str(tensor))[:MAX_SHOWN])
    # The product of a long list of large numbers takes minutes.
    count = prod(shape) if len(shape) <= MAX_DIMENSIONS else 1 << 63
    if count >= 1 << 63:
        _fail(
            f"tensor {shown} is too large",
            path,
            expected="fewer than 2^63 elements",
            found=f"shape {shape}"[:MAX_SHOWN],
        )
    begin, end = offsets
    if begin > end or end >= 1 << 63:
        _fail(
            f"tensor {shown} ends before it begins",
            path,
            expected="an end behind its begin",
            found=f"data_offsets {offsets}",
        )
    if dtype not in _BITS:
        what, fix = f"tensor {shown} has a type that safetensors does not have", "get the model in another type"
        _fail(what, path, expected="a type such as F16, BF16 or F32", found=printable(dtype)[:MAX_SHOWN], fix=fix)
    if count * _BITS[dtype] != 8 * (end - begin):
        expected = f"{-(-count * _BITS[dtype] // 8):,} bytes ({dtype} {shape})"[:MAX_SHOWN]
        _fail(
            f"the size of tensor {shown} is not that of its shape",
            path,
            expected=expected,
            found=f"{end - begin:,} bytes",
        )
    return begin, end, count, dtype


def _are_lengths(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 63 for each in value)


def _load(data: bytes, path: str, make: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> dict[str, Any]:
    try:
        found = parse_json(data, make)
    except ValueError as error:
        _fail("the JSON in it can't be read", path, expected="a JSON object", found=printable(str(error))[:MAX_SHOWN])
    if not isinstance(found, dict):
        _fail("the JSON in it is not an object", path, expected="a JSON object", found=type(found).__name__)
    return found


def _load_settings(data: bytes, path: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a JSON object as engines read it, in which the last of equal names counts, and a note on such names."""
    twice: dict[str, None] = {}

    def last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.update((name, None) for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return found

    found = _load(data, path, last)
    names = ", ".join(printable(name) for name in islice(twice, 5))
    note = f"{os.path.basename(path)} has a name twice, of which the last counts: {names}"[:MAX_SHOWN]
    return found, (note,) if twice else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _number(config: dict[str, Any], *names: str) -> int | None:
    return next((config[name] for name in names if type(config.get(name)) is int and 0 <= config[name] < 1 << 63), None)


def _text(value: Any) -> str | None:
    return printable(value)[:MAX_SHOWN] if isinstance(value, str) else None


def _fail(what: str, path: str, *, expected: str = "", found: str = "", fix: str = "") -> NoReturn:
    fix = fix or "get the file again from its source: its header is damaged"
    raise UnsoundModelError(what, where=path, expected=expected, found=found, fix=fix)

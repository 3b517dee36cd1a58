"""The handoff: the JSON from which an engine loads a model. The same inputs give the same bytes: no clock, no host name.

The original tool wrote `model.id` and `model.path`; `metadata` is additive. The format is described in
`docs/reference/handoff.md`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from model_provisioner.json_text import parse_json
from model_provisioner.references.reference import id_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.fs.fileset import Beside
    from model_provisioner.hashing.memo import FileDigest
    from model_provisioner.headers.metadata import Metadata
    from model_provisioner.references.digest import Digest

SCHEMA_VERSION = 1


def render(
    *,
    id: str,  # noqa: A002  the field's name in the format
    path: str,
    engine: str,
    digest: Digest,
    files: Sequence[FileDigest],
    metadata: Metadata,
    outcome: str,
    roles: Sequence[str] = (),
    companions: Sequence[Beside] = (),
) -> bytes:
    """Return the bytes of a handoff: sorted keys, two-space indent, a newline at the end.

    `roles` has the role of each of `files`; without `companions` it may be empty, since all files are the model's.
    """
    document = {
        "metadata": {
            "architecture": metadata.architecture,
            "chat_template_sha256": metadata.chat_template_sha256,
            "ctx_max": metadata.context_length,
            "digest": {"algo": digest.algo, "value": digest.value},
            "engine": engine,
            "files": [
                {"path": file.path, "role": role, "sha256": file.sha256, "size_bytes": file.identity.size}
                for file, role in zip(files, roles or ["model"] * len(files), strict=True)
            ],
            "format": metadata.format,
            "parameter_count": metadata.parameter_count,
            "quantization": metadata.quantization,
            "size_bytes": sum(file.identity.size for file in files),
            "tokenizer": {
                "model": metadata.tokenizer_model,
                "pre": metadata.tokenizer_pre,
                "vocab_size": metadata.vocabulary_size,
            },
            "verification": outcome,
            **({} if metadata.signature is None else {"signature": metadata.signature.to_dict()}),
        },
        "model": {"id": id, "path": path, **_beside(companions)},
        "schema_version": SCHEMA_VERSION,
    }
    try:
        return _dump(document, ensure_ascii=False)
    except UnicodeEncodeError:  # a file name that is not UTF-8: escaped, it survives a round trip through Python
        return _dump(document, ensure_ascii=True)


def _beside(companions: Sequence[Beside]) -> dict[str, object]:
    """Return what the engine loads beside the model; no key if there is nothing."""
    if not companions:
        return {}
    return {"companions": [{"role": each.role, "id": each.id, "path": each.files.path} for each in companions]}


def is_handoff(data: bytes) -> bool:
    """Tell whether `data` is a handoff: ours, of any version, or one of the original tool."""
    return _model_in(data) is not None


def handoff_id(data: bytes) -> object:
    """Return the id, as it is now, of the model that a handoff names; None of what is no handoff."""
    found = (_model_in(data) or {}).get("id")
    return id_now(found) if isinstance(found, str) else found


def files_named(data: bytes) -> list[str]:
    """Return the files that a handoff names, of any version of ours, or of the original tool; none of what is no handoff."""
    if (model := _model_in(data)) is None:
        return []
    metadata = parse_json(data).get("metadata")
    files = metadata.get("files") if isinstance(metadata, dict) else None
    named = [model["path"]]
    named += [file.get("path") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return [path for path in named if isinstance(path, str)]


def loaded_by(data: bytes) -> str | None:
    """Return a text that is another for two handoffs if an engine loads other bytes, paths or companions by them.

    What is known of these, as whether a digest was expected, does not count. None of what is no handoff of ours.
    """
    try:
        document = parse_json(data)
        model, files = document["model"], document["metadata"]["files"]
        loaded = {
            "path": model["path"],
            "companions": [(each["role"], each["path"]) for each in model.get("companions", [])],
            "files": [(each["path"], each["sha256"]) for each in files],
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return hashlib.sha256(json.dumps(loaded, sort_keys=True).encode()).hexdigest()


def _model_in(data: bytes) -> dict[str, object] | None:
    try:
        document = parse_json(data)
    except ValueError:
        return None
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, dict) and {"id", "path"} <= model.keys() else None


def _dump(document: dict[str, object], *, ensure_ascii: bool) -> bytes:
    return (_indented(document, ensure_ascii, "\n") + "\n").encode()


def _indented(value: object, ensure_ascii: bool, line: str) -> str:
    """Return what `json.dumps` returns with `sort_keys` and an indent of two; with an indent it is slow."""
    inner = line + "  "
    if isinstance(value, dict) and value:
        nested = {key: each for key, each in value.items() if isinstance(each, dict | list)}
        encode = _encoder(ensure_ascii, inner)
        if not nested:
            return f"{{{inner}{encode(value)[1:-1]}{line}}}"
        parts: list[str] = []
        for is_nested, keys in groupby(sorted(value), key=nested.__contains__):
            if is_nested:
                parts += (f"{encode(key)}: {_indented(value[key], ensure_ascii, inner)}" for key in keys)
            else:
                parts.append(encode({key: value[key] for key in keys})[1:-1])
        return f"{{{inner}{f',{inner}'.join(parts)}{line}}}"
    if isinstance(value, list) and value:
        parts = [_indented(each, ensure_ascii, inner) for each in value]
        return f"[{inner}{f',{inner}'.join(parts)}{line}]"
    return _encoder(ensure_ascii, inner)(value)


@cache
def _encoder(ensure_ascii: bool, line: str) -> Callable[[object], str]:
    """Return the encoder of a flat value, with items on lines that begin with `line`."""
    return json.JSONEncoder(ensure_ascii=ensure_ascii, sort_keys=True, separators=(f",{line}", ": ")).encode

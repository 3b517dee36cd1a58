"""Check from their headers that the files of a model are what their fields say: a model, its projector, adapters for it.

What llama.cpp would refuse when it starts is an error here, which names the field that the file belongs to. A header that
does not say what a file is, is trusted: nothing is guessed from names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.config.entries import label_of
from model_provisioner.errors import WrongKindError, concerning
from model_provisioner.headers.reader import read_metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from model_provisioner.fs.fileset import Beside, FileSet
    from model_provisioner.headers.metadata import Metadata

LISTED = 20
"""How many files a message lists."""
_OPENS_ONE_FILE = {"llamacpp": "llama.cpp"}
"""The engines that open one GGUF, or the first shard of a split, and what they are called."""
_WORDS = {"model": "a model", "mmproj": "a projector", "adapter": "an adapter", "imatrix": "an importance matrix"}
_KINDS = {"mmproj": "mmproj", "lora": "adapter"}
"""The kind of file that a role takes."""
_FIX = {
    "model": "name it as the model_ref of an entry",
    "mmproj": "name it under mmproj: of the model that it was made for",
    "adapter": "name it under lora: of the model that it was made for",
    "imatrix": "it serves to quantize a model; no engine loads it",
}


def read_checked(files: FileSet, engine: str) -> Metadata:
    """Read the headers of a model that `engine` is to load, and of its companions; return the model's metadata.

    Raises `WrongKindError` if a file is not what its field says or was made for another model, and `UnsoundModelError` as
    `read_metadata` does.
    """
    model = read_metadata(files.model)
    if model.kind in _WORDS and model.kind != "model":
        raise WrongKindError(
            f"the model is {_WORDS[model.kind]}",
            where=files.path,
            expected="a model",
            found=_described(model),
            fix=_FIX[model.kind],
        )
    notes = list(model.notes)
    for companion in files.companions:
        label = label_of(companion.role, companion.files.path)
        with concerning(label):
            metadata = read_metadata(companion.files)
        _check(companion, label, metadata, model, engine)
        notes += [f"{label}: {note}" for note in metadata.notes]
    return replace(model, notes=tuple(notes)) if files.companions else model


def opened_in(names: Collection[str], engine: str, inside: str) -> str | None:
    """Return the file of a folder that `engine` is to open, where it opens no folder and there is but one; else None.

    `names` are the paths of the folder's files; `inside` is what one of them is added to, to name it, as the folder and its
    slash. Raises `WrongKindError` for several GGUFs.
    """
    if engine not in _OPENS_ONE_FILE:
        return None
    from model_provisioner.references.quantizations import offers

    if not (found := offers(names)):
        return None
    if len(found) > 1:
        raise no_folder(names, engine, inside)
    return found[0].names[0]


def no_folder(names: Collection[str], engine: str, inside: str) -> WrongKindError:
    """Return the error for a folder whose `engine` opens one GGUF: it lists those that there are, with their quantizations.

    `inside` is as for `opened_in`.
    """
    from model_provisioner.references.quantizations import offers

    found = offers(names)
    listed = [each.names[0] + (f" ({each.quantization})" if each.quantization else "") for each in found]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    models = [each.names[0] for each in found if each.kind == "model"]
    beside = "; a projector goes under mmproj:" if any(each.kind == "mmproj" for each in found) else ""
    return WrongKindError(
        f"{_OPENS_ONE_FILE[engine]} opens one GGUF and no folder",
        where=inside[:-1],
        expected="a reference that names one GGUF",
        found=(", ".join(listed[:LISTED]) + more) if listed else "no GGUF",
        fix=f"name the one to load: {inside}{models[0]}{beside}"
        if models
        else "name a repository or folder that holds a GGUF, or another engine",
    )


def opens_folders(engine: str) -> bool:
    """Tell whether an engine may be given a folder."""
    return engine not in _OPENS_ONE_FILE


def _check(companion: Beside, label: str, metadata: Metadata, model: Metadata, engine: str) -> None:
    wanted = _KINDS[companion.role]
    if metadata.kind is not None and metadata.kind != wanted:
        raise WrongKindError(
            f"{label} is {_WORDS.get(metadata.kind, metadata.kind)}, not {_WORDS[wanted]}",
            where=companion.files.path,
            expected=_expected(wanted),
            found=_described(metadata),
            fix=_FIX.get(metadata.kind, f"name {_WORDS[wanted]}"),
        )
    for what, expected, found, fix in _differences(metadata, model, engine):
        raise WrongKindError(f"{label} {what}", where=companion.files.path, expected=expected, found=found, fix=fix)


def _differences(companion: Metadata, model: Metadata, engine: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield why a companion of the right kind does not fit the model: message, expected, found, fix."""
    another = f"get the {'projector' if companion.kind == 'mmproj' else 'adapter'} that was made for this model"
    if companion.adapter not in (None, "lora"):
        yield "is an adapter of another kind", "a LoRA", f"adapter type {companion.adapter}", "name a LoRA"
    if companion.format == "gguf" and model.format == "safetensors":
        fix = (
            "remove it: a folder of safetensors has its projector inside, and its engine takes no other"
            if companion.kind == "mmproj"
            else "name the folder of the adapter as it was trained: adapter_config.json and adapter_model.safetensors"
        )
        yield "is of another format than the model", "safetensors, as the model's", "GGUF", fix
    if companion.format == "safetensors" and model.format == "gguf" and not opens_folders(engine):
        fix = "convert it: convert_lora_to_gguf.py of llama.cpp"
        yield "is of another format than the model", "GGUF, which is all that llama.cpp loads", "safetensors", fix
    if (
        companion.format == model.format == "gguf"
        and companion.kind == "adapter"
        and companion.architecture != model.architecture
    ):
        yield (
            "was made for another architecture",
            f"general.architecture {model.architecture}, as the model's",
            f"general.architecture {companion.architecture}",
            another,
        )
    width, theirs = model.embedding_length, companion.projects_to
    if None not in (width, theirs) and width != theirs:
        yield (
            "was made for another model",
            f"a projection to {width}, the model's {model.architecture}.embedding_length",
            f"a projection to {theirs}",
            another,
        )
    width, theirs = model.attention_width, companion.attention_width
    if companion.kind == "adapter" and None not in (width, theirs) and width != theirs:
        yield (
            "was made for a model of another size",
            f"attention weights of width {width}, as the model's",
            f"width {theirs}",
            another,
        )


def _expected(kind: str) -> str:
    return (
        "a projector: a GGUF of architecture clip" if kind == "mmproj" else "a LoRA adapter: a GGUF, or a PEFT folder"
    )


def _described(metadata: Metadata) -> str:
    """Return what kind of file the header says it is."""
    words = _WORDS.get(metadata.kind or "", str(metadata.kind))
    made_for = "made for architecture" if metadata.kind == "adapter" else "of architecture"
    return words if metadata.architecture is None else f"{words}, {made_for} {metadata.architecture}"

"""What a GGUF header that was read says of its model: from the kept keys and the tensors to metadata."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from model_provisioner.headers.gguf_types import STRING, TYPE_NAMES, U32, file_type
from model_provisioner.headers.metadata import Metadata, Split

MAX_NOTES = 16

STRINGS = {"adapter.type", "general.architecture", "general.type", "tokenizer.ggml.model", "tokenizer.ggml.pre"}
"""The keys of which the text is kept."""
_NUMBERS = {"general.alignment", "general.file_type", "split.no", "split.count", "split.tensors.count"}
_OF_ARCHITECTURE = ("context_length", "embedding_length", "block_count", "vocab_size")
_PROJECTORS = ("mmproj", "clip-vision")
"""The values of `general.type` for a projector, the second one from a few months of 2025; older files have none."""
_PROJECTIONS = ("clip.vision.projection_dim", "clip.audio.projection_dim")


def is_kept(key: str) -> bool:
    """Tell whether anything is asked of a key."""
    return key in STRINGS or key in _NUMBERS or key in _PROJECTIONS or key.endswith(_OF_ARCHITECTURE)


@dataclass(slots=True)
class Kept:
    """The parts of a header that are kept, filled while it is read."""

    values: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Type and value of the kept keys; arrays, and strings in place of numbers, are None."""
    template: str | None = None
    """The SHA-256 of the chat template."""
    tokens: int | None = None
    """How many there are."""
    elements: Counter[str] = field(default_factory=Counter)
    """Of all tensors of a type, by its name."""
    tensors: int = 0
    has_lora: bool = False
    """Whether a tensor is named as those of adapters are."""
    width: int | None = None
    """The first dimension of the weights of attention."""
    notes: list[str] = field(default_factory=list)

    def metadata(self, alignment: int) -> Metadata:
        """Return what the header says; what llama.cpp refuses in it, and a user may not mind, is noted."""
        split = self._split()
        architecture = self._string("general.architecture")
        for key in sorted(STRINGS & self.values.keys()):
            if (found := self.values[key][0]) != STRING:
                self.note(f"{key} has the type {TYPE_NAMES[found]}, which llama.cpp refuses: it takes string only")
        context, embedding, blocks, vocabulary = (self._number(f"{architecture}.{name}") for name in _OF_ARCHITECTURE)
        kind = self._kind(architecture)
        return Metadata(
            format="gguf",
            kind=kind,
            architecture=architecture,
            context_length=context,
            embedding_length=embedding,
            block_count=blocks,
            vocabulary_size=vocabulary if self.tokens is None else self.tokens,
            tokenizer_model=self._string("tokenizer.ggml.model"),
            tokenizer_pre=self._string("tokenizer.ggml.pre"),
            chat_template_sha256=self.template,
            quantization=self._quantization(),
            tensor_types=tuple(self.elements.most_common()),
            parameter_count=sum(self.elements.values()),
            tensor_count=self.tensors,
            alignment=alignment,
            adapter=self._string("adapter.type") if kind == "adapter" else None,
            projects_to=self._projects_to() if kind == "mmproj" else None,
            attention_width=self.width,
            split=split,
            notes=tuple(self.notes),
        )

    def _kind(self, architecture: str | None) -> str:
        if architecture == "clip":
            return "mmproj"
        general = self._string("general.type")
        is_adapter = self.has_lora or self._string("adapter.type") is not None
        if is_adapter and general is None:
            self.note("general.type is missing: llama.cpp takes an adapter only where that says so")
        return general if general is not None else "adapter" if is_adapter else "model"

    def _projects_to(self) -> int | None:
        """Return the embedding length of the text model, if the file is new enough to say it.

        Converters from before `general.type` wrote the width of CLIP's own projection there, or 0.
        """
        if self._string("general.type") not in _PROJECTORS:
            return None
        return next((found for key in _PROJECTIONS if (found := self._number(key))), None)

    def _string(self, key: str) -> str | None:
        kind, value = self.values.get(key, (STRING, None))
        return value if kind == STRING else None

    def _number(self, key: str) -> int | None:
        """Return a number that llama.cpp reads as uint32; note a type that it refuses."""
        if key not in self.values:
            return None
        kind, value = self.values[key]
        if kind != U32:
            self.note(f"{key} has the type {TYPE_NAMES[kind]}, which llama.cpp refuses: it takes uint32 only")
        return value if type(value) is int and value >= 0 else None

    def _quantization(self) -> str | None:
        """Return what the file says, else the type of most of its parameters."""
        _, value = self.values.get("general.file_type", (U32, None))
        name = file_type(value) if type(value) is int else None
        return name or next((most for most, _ in self.elements.most_common(1)), None)

    def _split(self) -> Split | None:
        found = [self.values.get(f"split.{name}", (U32, None))[1] for name in ("no", "count", "tensors.count")]
        # gguf-split writes all three; a count of 0 or 1 is a model of its own.
        if any(type(value) is not int for value in found) or found[1] < 2:
            return None
        return Split(number=found[0], count=found[1], tensors=found[2])

    def note(self, text: str) -> None:
        """Note once, of a few things at most, what an engine would not like."""
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(text)

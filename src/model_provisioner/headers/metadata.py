"""The metadata of a model, whatever its format: what catalog and handoff store and show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import UnsoundModelError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which shard of a split model a file is: its number from 0, of `count`. `tensors` is the number in all shards."""

    number: int
    count: int
    tensors: int


@dataclass(frozen=True, kw_only=True)
class SignatureResult:
    """The result of checking a publisher's signature. Bundle and key are the SHA-256 of their files."""

    over: str
    """The digest of the model that it was checked against."""
    bundle: str
    public_key: str | None
    identity: str | None
    issuer: str | None
    fault: tuple[str, ...] | None = None
    """The five fields of the error if it does not hold; None if it does."""

    @property
    def outcome(self) -> str:
        """`pass` or `fail`."""
        return "pass" if self.fault is None else "fail"

    def to_dict(self) -> dict[str, Any]:
        """Return what handoff, log and statement say of it."""
        fields = {
            "bundle_sha256": self.bundle,
            "identity": self.identity,
            "issuer": self.issuer,
            "outcome": self.outcome,
            "public_key_sha256": self.public_key,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the headers of a model say; None for what they don't."""

    format: str | None = None
    """`gguf`, `safetensors`, or None for an unknown format."""
    kind: str | None = None
    """`model`, `adapter`, `mmproj` or another `general.type`."""
    architecture: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    block_count: int | None = None
    vocabulary_size: int | None = None
    tokenizer_model: str | None = None
    tokenizer_pre: str | None = None
    chat_template_sha256: str | None = None
    quantization: str | None = None
    """`Q8_0`, `Q4_K_M`, `BF16`: what the file says, else the type of most of its parameters."""
    tensor_types: tuple[tuple[str, int], ...] = ()
    """The types of the tensors and how many parameters each has, most first."""
    parameter_count: int | None = None
    tensor_count: int | None = None
    alignment: int | None = None
    adapter: str | None = None
    """The kind of an adapter: `lora`."""
    projects_to: int | None = None
    """The embedding length of the model that a projector was made for, if its header can be trusted in that."""
    attention_width: int | None = None
    """The width of the attention's query weights: those of the model, or of the model that an adapter was made for."""
    split: Split | None = None
    notes: tuple[str, ...] = ()
    """What the user should know."""
    signature: SignatureResult | None = None
    """The signature over the model, if the entry names one. No header says that."""


def to_json(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as plain JSON values."""
    split = None if metadata.split is None else vars(metadata.split)
    types = [list(each) for each in metadata.tensor_types]
    plain = {**vars(metadata), "split": split, "tensor_types": types, "notes": list(metadata.notes)}
    if (signed := plain.pop("signature")) is not None:
        fault = None if signed.fault is None else list(signed.fault)
        plain["signature"] = {**vars(signed), "fault": fault, "outcome": signed.outcome}
    return plain


def from_json(fields: dict[str, Any]) -> Metadata:
    """Return the metadata that `to_json` wrote."""
    split = None if fields["split"] is None else Split(**fields["split"])
    types = tuple((name, count) for name, count in fields["tensor_types"])
    signature = fields.get("signature")
    if signature is not None:
        signature = {name: value for name, value in signature.items() if name != "outcome"}
        signature = SignatureResult(**{**signature, "fault": signature["fault"] and tuple(signature["fault"])})
    notes = tuple(fields["notes"])
    return Metadata(**{**fields, "split": split, "tensor_types": types, "notes": notes, "signature": signature})


def combine(shards: Sequence[Metadata]) -> Metadata:
    """Return the metadata of a split model: the first shard's, with the parameters of all."""
    types = sum_types(shards)
    first = shards[0]
    # The first shard may say what the whole is. If it doesn't, its own few tensors don't count.
    named = first.quantization if first.quantization not in {name for name, _ in first.tensor_types[:1]} else None
    return replace(
        first,
        quantization=named or next((name for name, _ in types), None),
        tensor_types=types,
        parameter_count=sum(each.parameter_count or 0 for each in shards),
        tensor_count=sum(each.tensor_count or 0 for each in shards),
        attention_width=next((each.attention_width for each in shards if each.attention_width), None),
        notes=tuple(dict.fromkeys(note for each in shards for note in each.notes)),
    )


def sum_types(files: Sequence[Metadata]) -> tuple[tuple[str, int], ...]:
    """Return the tensor types of all files together."""
    total: Counter[str] = Counter()
    for each in files:
        total.update(dict(each.tensor_types))
    return tuple(total.most_common())


def check_split(shards: Sequence[tuple[str, str, Metadata]]) -> None:
    """Raise `UnsoundModelError` unless shards, given in order as (name, path, metadata), belong together."""
    first = shards[0][2].split
    for number, (name, path, metadata) in enumerate(shards):
        if (split := metadata.split) is None or first is None:
            expected = "split.no, split.count and split.tensors.count in its header"
            raise _foreign(name, path, expected, "a model of its own")
        for key, wanted, found in (
            ("split.count", len(shards), split.count),
            ("split.no", number, split.number),
            ("split.tensors.count", first.tensors, split.tensors),
        ):
            if found != wanted:
                raise _foreign(name, path, f"{key} {wanted}", f"{key} {found}")
    found, wanted = sum(each.tensor_count or 0 for _, _, each in shards), first.tensors if first else 0
    if found != wanted:
        raise UnsoundModelError(
            "the shards do not hold all tensors of the model",
            where=shards[0][1],
            expected=f"{wanted} tensors",
            found=f"{found} tensors",
            fix="get all shards again from one source",
        )


def _foreign(name: str, path: str, expected: str, found: str) -> UnsoundModelError:
    return UnsoundModelError(
        f"{name} is not that shard of this model",
        where=path,
        expected=expected,
        found=found,
        fix="get the shard again from where the others came from, and keep its name",
    )

"""What `models.yaml` may hold: the pydantic models that build its values, the words for its faults, and its JSON Schema."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, model_validator

from model_provisioner.config.entries import ROLES
from model_provisioner.config.faults import short, shown
from model_provisioner.config.fields import (
    EXPECTED_SCHEMA,
    ExpectedDigest,
    Handoff,
    Host,
    MaxSize,
    Mirrors,
    Reference,
    refusable,
    refused,
)
from model_provisioner.config.paths import DEFAULT_CACHE_DIR, DEFAULT_HANDOFF, DEFAULT_RUNTIME_DIR
from model_provisioner.errors import InputError
from model_provisioner.references.mirror import FORMS
from model_provisioner.references.reference import ModelRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_provisioner.config.source_map import Path

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENGINE_PATTERN = r"^[a-z][a-z0-9_-]*$"


_COMPANION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"model_ref": {"type": "string"}, "expected_digest": EXPECTED_SCHEMA},
            "required": ["model_ref"],
            "additionalProperties": False,
        },
    ]
}
_MMPROJ_SCHEMA: dict[str, Any] = {
    "description": "The projector that is loaded beside the model: a reference, or one with its expected_digest.",
    "anyOf": [*_COMPANION_SCHEMA["anyOf"], {"type": "null"}],
}
_LORA_SCHEMA: dict[str, Any] = {
    "description": "The LoRA adapters that are loaded beside the model: one or a list of them, each as mmproj.",
    "anyOf": [*_COMPANION_SCHEMA["anyOf"], {"type": "array", "items": _COMPANION_SCHEMA}, {"type": "null"}],
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Companion(_Strict):
    """A file beside a model, where it is not written as its reference alone."""

    model_ref: Reference
    expected_digest: ExpectedDigest = None


def _companion(value: Any, role: str, accepted: str, fix: str = "write a text, in quotes") -> Companion:
    if isinstance(value, str):
        return Companion.model_construct(model_ref=ModelRef.parse(value))
    if isinstance(value, dict):
        return Companion.model_validate(value)
    raise InputError(f"{role} has the wrong type", expected=accepted, fix=fix)


def _mmproj(value: Any) -> Companion | None:
    if value is None:
        return None
    accepted = "a reference, or a mapping with model_ref: and expected_digest:"
    if isinstance(value, list):
        return _companion(value, "mmproj", accepted, "name one file: a model has one projector")
    return _companion(value, "mmproj", accepted)


def _lora(value: Any) -> Companion:
    return _companion(value, "lora", "a reference, a mapping with model_ref: and expected_digest:, or a list of these")


_LORAS: TypeAdapter[list[Companion]] = TypeAdapter(list[Annotated[Any, PlainValidator(refusable(_lora))]])


def _loras(value: Any) -> Companion | list[Companion] | None:
    if value is None:
        return None
    return _LORAS.validate_python(value) if isinstance(value, list) else _lora(value)


class Signature(_Strict):
    """Who is to have signed the model: a public key, or an identity with its issuer."""

    bundle: str = Field(description="The file of the signature: an OpenSSF model signing or sigstore bundle.")
    public_key: str | None = Field(default=None, description="The file of the publisher's ECDSA public key, PEM.")
    identity: str | None = Field(
        default=None, description="Whom the certificate must name: an e-mail address or a URL."
    )
    issuer: str | None = Field(default=None, description="The OpenID Connect issuer that vouched for the identity.")

    @model_validator(mode="after")
    def _names_one_signer(self) -> Signature:
        given = {name for name in ("public_key", "identity", "issuer") if getattr(self, name) is not None}
        if given in ({"public_key"}, {"identity", "issuer"}):
            return self
        error = InputError(
            "a signature is by a key, or by an identity that an issuer vouched for",
            expected="public_key, or identity and issuer",
            found=" and ".join(sorted(given)) or "neither",
            fix='write   signature: {bundle: "model.sig", public_key: "publisher.pub"}',
        )
        raise refused(error, self)


class Defaults(_Strict):
    """Any field of an entry, for the entries that do not have it."""

    model_ref: Reference | None = Field(
        default=None, description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY."
    )
    expected_digest: ExpectedDigest = None
    strict_verification: bool = Field(default=True, description="A mismatch fails the build.")
    engine: str = Field(
        default="llamacpp", pattern=ENGINE_PATTERN, description="Who is to load it: llamacpp, vllm, tgi, …"
    )
    handoff: Handoff = Field(
        default=DEFAULT_HANDOFF, description="Where the handoff is written; {runtime_dir}, {name} and {engine} expand."
    )
    include: list[str] | None = Field(
        default=None, description="Of a whole repository or prefix, the files to take: patterns as *.safetensors."
    )
    exclude: list[str] | None = Field(default=None, description="Of these, the files to leave out.")
    keep: bool = Field(default=False, description="What was fetched for it is never removed to make room.")
    mmproj: Annotated[Companion | None, PlainValidator(refusable(_mmproj)), WithJsonSchema(_MMPROJ_SCHEMA)] = None
    lora: Annotated[
        Companion | list[Companion] | None, PlainValidator(refusable(_loras)), WithJsonSchema(_LORA_SCHEMA)
    ] = None
    signature: Signature | None = Field(
        default=None, description="The publisher's signature, checked without a network."
    )

    def companions(self) -> Iterator[tuple[Path, Companion]]:
        """Yield the companions, each with its place in the entry: the projector first, wherever it stands."""
        if self.mmproj is not None:
            yield ("mmproj",), self.mmproj
        if isinstance(self.lora, list):
            yield from ((("lora", number), each) for number, each in enumerate(self.lora))
        elif self.lora is not None:
            yield ("lora",), self.lora


class Entry(Defaults):
    """One model."""

    model_ref: Reference = Field(description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY.")


class Network(_Strict):
    """What may be contacted."""

    allow: list[Host] = Field(
        default=[],
        description="Hosts that may be contacted: names, addresses, *.NAME for all below a name, or huggingface for the Hub "
        "with the hosts of its files; empty is offline.",
    )


class Cache(_Strict):
    """How much what was fetched may take."""

    max_size: MaxSize = None


class Settings(_Strict):
    """What concerns all models."""

    cache_dir: str = Field(
        default=DEFAULT_CACHE_DIR, description="Where fetched files land; MODEL_PROVISIONER_CACHE_DIR wins."
    )
    runtime_dir: str = Field(
        default=DEFAULT_RUNTIME_DIR,
        description="Where handoffs, digests and provenance are written, in the project; MODEL_PROVISIONER_RUNTIME_DIR wins.",
    )
    network: Network = Network()
    cache: Cache = Cache()
    mirrors: Mirrors = Field(
        default=[],
        description=f"Asked for files by SHA-256 before their source: {FORMS}; MODEL_PROVISIONER_MIRRORS wins.",
    )
    recheck: Literal["xxh3", "sha256"] = Field(default="xxh3", description="How a file whose times moved is confirmed.")


class Project(Settings):
    """The models of a project."""

    defaults: Defaults | None = Field(
        default=Defaults(), description="Any field of an entry, for the entries that do not have it."
    )
    models: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Entry] = Field(description="The models, by name.")


class Single(Settings, Entry):
    """One model, as the original tool wrote it."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file."""
    project, single = (model.model_json_schema(ref_template="#/$defs/{model}") for model in (Project, Single))
    project["properties"]["models"]["additionalProperties"] = False  # other names than those of the pattern
    # An entry may have its reference from the defaults.
    required = {"required": project["$defs"]["Entry"].pop("required")}
    project["if"] = {
        "properties": {"defaults": {"properties": {"model_ref": {"type": "string"}}, "type": "object", **required}},
        "required": ["defaults"],
    }
    project["else"] = {"properties": {"models": {"patternProperties": {NAME_PATTERN: required}}}}
    definitions = {**project.pop("$defs", {}), **single.pop("$defs", {}), "Project": project, "Single": single}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "models.yaml of model-provisioner",
        "$defs": definitions,
        "if": {"required": ["models"]},
        "then": {"$ref": "#/$defs/Project"},
        "else": {"$ref": "#/$defs/Single"},
    }


# ---- what is wrong, in words


def without_echoes(errors: Sequence[Any]) -> list[Any]:
    """Return the faults that pydantic found, less a field that is missing because it stands there mistyped."""
    unknown: dict[Path, list[str]] = {}
    for error in errors:
        if error["type"] == "extra_forbidden":
            unknown.setdefault(error["loc"][:-1], []).append(str(error["loc"][-1]))
    return [
        error
        for error in errors
        if error["type"] != "missing"
        or not difflib.get_close_matches(str(error["loc"][-1]), unknown.get(error["loc"][:-1], ()), n=1)
    ]


def worded(error: Any, model: type[BaseModel], base: Path) -> tuple[Path, InputError]:
    """Return the place of a fault that pydantic found in the data of a model at `base`, and what is wrong, in our words."""
    path = tuple(step for step in error["loc"] if step != "[key]")
    place = (*base, *path)
    fault = _fault(error, path, shown(str(place[-1])) if place else "", model)
    return place[:-1] if error["type"] == "missing" else place, fault


def _fault(error: Any, path: Path, name: str, model: type[BaseModel]) -> InputError:
    kind, value = error["type"], error["input"]
    *_, field = ["", *(step for step in path[:-1] if isinstance(step, str))]  # what it stands in; a list has no name
    if kind == "refused":
        return InputError(**error["ctx"])
    if kind == "missing":
        example = f'"file:models/{field if field in ROLES else "tiny"}.gguf"' if name == "model_ref" else "…"
        return InputError(
            f"{name} is missing", expected=f"{name}: and its value", found="none", fix=f"add   {name}: {example}"
        )
    if kind == "extra_forbidden":
        known = list(_INNER.get(field, model).model_fields)
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"write {near[0]}" if near else "remove it"
        return InputError(f"unknown field {name!r}", expected="one of " + ", ".join(known), found=name, fix=fix)
    if kind == "string_pattern_mismatch":
        what, expected = _ENGINE_NAME if name == "engine" else _MODEL_NAME
        return InputError(what, expected=expected, found=short(value), fix="choose a name of these characters")
    if kind == "literal_error":
        expected, what = error["ctx"]["expected"], f"{name} has no such value"
        return InputError(what, expected=expected, found=short(value), fix="write one of these")
    expected, fix = _TYPES.get(kind, ("another value", "see docs/reference/models-yaml.md"))
    if kind == "string_type" and isinstance(value, bool | int | float):
        fix = f"put it in quotes: without, YAML takes it for a {'boolean' if isinstance(value, bool) else 'number'}"
    return InputError(f"{name} has the wrong type", expected=expected, found=short(value), fix=fix)


_INNER: dict[str, type[BaseModel]] = {
    "network": Network,
    "cache": Cache,
    "signature": Signature,
    **dict.fromkeys(ROLES, Companion),
}
"""The models of fields that are mappings."""
_MODEL_NAME = "not a name for a model", "a letter or digit, then letters, digits, dots, underscores and hyphens"
_ENGINE_NAME = "not a name for an engine", "a small letter, then small letters, digits, underscores and hyphens"
_MAPPING = "a mapping", "write names and values, indented"
_TYPES = {
    "string_type": ("a text", "write a text, in quotes if need be"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "list_type": ("a list", "write [a, b] or one line '- a' for each"),
}

"""What `models.yaml` may hold: the pydantic models that build its values, the words for its faults, and its JSON Schema."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from model_provisioner.config.document import short, shown
from model_provisioner.config.entries import ROLES
from model_provisioner.config.network_policy import fault_of
from model_provisioner.config.paths import DEFAULT_CACHE_DIR, DEFAULT_HANDOFF, unknown_placeholder
from model_provisioner.errors import InputError, InvalidDigestError
from model_provisioner.references.digest import Digest, Expected, SetDigest
from model_provisioner.references.reference import ModelRef
from model_provisioner.units import SIZE_PATTERN, SIZES, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.config.source_map import Path

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENGINE_PATTERN = r"^[a-z][a-z0-9_-]*$"


# ---- values: each is made once, here


def _refusable(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let an `InputError` of `parse` be a fault of the field that it reads."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except InputError as error:
            raise _refused(error) from None

    return validate


def _refused(error: InputError) -> PydanticCustomError:
    fields = {"what": error.what, "expected": error.expected, "found": error.found, "fix": error.fix}
    return PydanticCustomError("refused", "{what}", fields)


def _of_text(parse: Callable[[str], Any]) -> GetPydanticSchema:
    """Return the annotation of a value that `parse` makes of a text."""
    schema = core_schema.no_info_after_validator_function(_refusable(parse), core_schema.str_schema(strict=True))
    return GetPydanticSchema(lambda _source, _handler: schema)


def _handoff(template: str) -> str:
    if (unknown := unknown_placeholder(template)) is None:
        return template
    raise InputError(
        f"unknown placeholder {unknown}",
        expected="{runtime_dir}, {name} and {engine}",
        found=short(template),
        fix="write one of these",
    )


def _host(host: str) -> str:
    if (fault := fault_of(host)) is None:
        return host.lower()
    raise InputError(
        f"not a host: {fault}",
        expected="a name, an address, *.NAME, or huggingface",
        found=short(host.rpartition("@")[2]),
        fix="write the host alone; every port of it is allowed",
    )


def _max_size(value: Any) -> int | None:
    if value is None or (size := parse_size(value)) is not None:
        return None if value is None else size
    raise InputError(
        "max_size is no size",
        expected=f"{SIZES}; the units are B, KB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024)",
        found=short(value),
        fix="write   cache: {max_size: 200GB}",
    )


def _file_digest(value: Any) -> Digest:
    digest = Digest.parse(value) if isinstance(value, str) else None
    if digest is not None and digest.algo == "sha256":
        return digest
    raise InvalidDigestError(
        "not the digest of a file",
        expected='"sha256:<64 hexadecimal digits>"',
        found=short(value),
        fix="run `sha256sum FILE`",
    )


def _inner_path(path: str) -> str:
    if all(part not in ("", ".", "..") for part in path.split("/")) and "\n" not in path and "\\" not in path:
        return path
    raise InputError(
        "not the path of a file in a set",
        expected="a relative path without ..",
        found=short(path),
        fix="write the path as it is inside the folder, or the shard's base name",
    )


_FILES = TypeAdapter(
    dict[
        Annotated[str, AfterValidator(_refusable(_inner_path))],
        Annotated[Any, PlainValidator(_refusable(_file_digest))],
    ]
)


def _expected(value: Any) -> Expected | None:
    if value is None:
        return None
    if isinstance(value, str):
        return Digest.parse(value)
    if isinstance(value, dict) and not value.keys() <= {"algo", "value"}:
        files = _FILES.validate_python(value).items()
        return SetDigest(tuple(sorted(files, key=lambda file: os.fsencode(file[0]))))
    if isinstance(value, dict) and value and all(isinstance(each, str) for each in value.values()):
        return Digest(value.get("algo", "").lower(), value.get("value", ""))
    raise InvalidDigestError(
        "not a digest",
        expected='"sha256:<hex>", "dirhash:<hex>", {algo: …, value: …} or a mapping of path to "sha256:<hex>"',
        found=short(value),
        fix="run `sha256sum FILE` and copy the first word behind sha256:",
    )


# ---- the JSON Schema of what pydantic can't tell from a function

_HEX = "[0-9A-Fa-f]{64}"
_EXPECTED_SCHEMA: dict[str, Any] = {
    "description": "The digest the model must have: of one file sha256, of a split or a folder dirhash or one sha256 a file.",
    "anyOf": [
        {"type": "string", "pattern": f"^(sha256|dirhash):{_HEX}$"},
        {
            "type": "object",
            "properties": {
                "algo": {"enum": ["sha256", "dirhash"]},
                "value": {"type": "string", "pattern": f"^{_HEX}$"},
            },
            "required": ["algo", "value"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "additionalProperties": {"type": "string", "pattern": f"^sha256:{_HEX}$"},
            "minProperties": 1,
        },
        {"type": "null"},
    ],
}
_SIZE_SCHEMA: dict[str, Any] = {
    "description": "How much the store may hold, in bytes or as 200GB or 1.5 GiB: before a fetch that would not fit, what was "
    "not used for longest is removed.",
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}, {"type": "null"}],
}
_COMPANION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"model_ref": {"type": "string"}, "expected_digest": _EXPECTED_SCHEMA},
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


# ---- the models


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Reference = Annotated[ModelRef, _of_text(ModelRef.parse)]
_Expected = Annotated[Expected | None, PlainValidator(_refusable(_expected)), WithJsonSchema(_EXPECTED_SCHEMA)]


class Companion(_Strict):
    """A file beside a model, where it is not written as its reference alone."""

    model_ref: _Reference
    expected_digest: _Expected = None


def _companion(value: Any, role: str, accepted: str, fix: str = "write a text, in quotes") -> Companion:
    if isinstance(value, str):
        return Companion.model_construct(model_ref=ModelRef.parse(value))
    if isinstance(value, dict):
        return Companion.model_validate(value)
    raise InputError(f"{role} has the wrong type", expected=accepted, found=short(value), fix=fix)


def _mmproj(value: Any) -> Companion | None:
    if value is None:
        return None
    accepted = "a reference, or a mapping with model_ref: and expected_digest:"
    if isinstance(value, list):
        return _companion(value, "mmproj", accepted, "name one file: a model has one projector")
    return _companion(value, "mmproj", accepted)


def _lora(value: Any) -> Companion:
    return _companion(value, "lora", "a reference, a mapping with model_ref: and expected_digest:, or a list of these")


_LORAS: TypeAdapter[list[Companion]] = TypeAdapter(list[Annotated[Any, PlainValidator(_refusable(_lora))]])


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
        raise _refused(
            InputError(
                "a signature is by a key, or by an identity that an issuer vouched for",
                expected="public_key, or identity and issuer",
                found=" and ".join(sorted(given)) or "neither",
                fix='write   signature: {bundle: "model.sig", public_key: "publisher.pub"}',
            )
        )


class Defaults(_Strict):
    """Any field of an entry, for the entries that do not have it."""

    model_ref: _Reference | None = Field(
        default=None, description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY."
    )
    expected_digest: _Expected = None
    strict_verification: bool = Field(default=True, description="A mismatch fails the build.")
    engine: str = Field(
        default="llamacpp", pattern=ENGINE_PATTERN, description="Who is to load it: llamacpp, vllm, tgi, …"
    )
    handoff: Annotated[str, _of_text(_handoff)] = Field(
        default=DEFAULT_HANDOFF, description="Where the handoff is written; {runtime_dir}, {name} and {engine} expand."
    )
    include: list[str] | None = Field(
        default=None, description="Of a whole repository or prefix, the files to take: patterns as *.safetensors."
    )
    exclude: list[str] | None = Field(default=None, description="Of these, the files to leave out.")
    keep: bool = Field(default=False, description="What was fetched for it is never removed to make room.")
    mmproj: Annotated[Companion | None, PlainValidator(_refusable(_mmproj)), WithJsonSchema(_MMPROJ_SCHEMA)] = None
    lora: Annotated[
        Companion | list[Companion] | None, PlainValidator(_refusable(_loras)), WithJsonSchema(_LORA_SCHEMA)
    ] = None
    signature: Signature | None = Field(
        default=None, description="The publisher's signature, checked without a network."
    )


class Entry(Defaults):
    """One model."""

    model_ref: _Reference = Field(description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY.")


class Network(_Strict):
    """What may be contacted."""

    allow: list[Annotated[str, _of_text(_host)]] = Field(
        default=[],
        description="Hosts that may be contacted: names, addresses, *.NAME for all below a name, or huggingface for the Hub "
        "with the hosts of its files; empty is offline.",
    )


class Cache(_Strict):
    """How much what was fetched may take."""

    max_size: Annotated[int | None, PlainValidator(_refusable(_max_size)), WithJsonSchema(_SIZE_SCHEMA)] = None


class Settings(_Strict):
    """What concerns all models."""

    cache_dir: str = Field(
        default=DEFAULT_CACHE_DIR, description="Where fetched files land; MODEL_PROVISIONER_CACHE_DIR wins."
    )
    runtime_dir: str = Field(default=".runtime", description="Where handoffs, digests and provenance are written.")
    network: Network = Network()
    cache: Cache = Cache()
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
        return InputError(f"{name} is missing", fix=f"add   {name}: {example}")
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

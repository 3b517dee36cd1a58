"""What `models.yaml` may hold: the pydantic models, and the JSON Schema by which an editor completes and checks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from model_provisioner.config.entries import DEFAULT_CACHE_DIR
from model_provisioner.units import SIZE_PATTERN

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ENGINE_PATTERN = r"^[a-z][a-z0-9_-]*$"
DEFAULT_HANDOFF = "{runtime_dir}/engines/{engine}.json"

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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Signature(_Strict):
    """Who is to have signed the model: a public key, or an identity with its issuer."""

    bundle: str = Field(description="The file of the signature: an OpenSSF model signing or sigstore bundle.")
    public_key: str | None = Field(default=None, description="The file of the publisher's ECDSA public key, PEM.")
    identity: str | None = Field(
        default=None, description="Whom the certificate must name: an e-mail address or a URL."
    )
    issuer: str | None = Field(default=None, description="The OpenID Connect issuer that vouched for the identity.")


class Defaults(_Strict):
    """Any field of an entry, for the entries that do not have it."""

    model_ref: str | None = Field(
        default=None, description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY."
    )
    expected_digest: Annotated[Any, WithJsonSchema(_EXPECTED_SCHEMA)] = None
    strict_verification: bool = Field(default=True, description="A mismatch fails the build.")
    engine: str = Field(
        default="llamacpp", pattern=ENGINE_PATTERN, description="Who is to load it: llamacpp, vllm, tgi, …"
    )
    handoff: str = Field(
        default=DEFAULT_HANDOFF, description="Where the handoff is written; {runtime_dir}, {name} and {engine} expand."
    )
    include: list[str] | None = Field(
        default=None, description="Of a whole repository or prefix, the files to take: patterns as *.safetensors."
    )
    exclude: list[str] | None = Field(default=None, description="Of these, the files to leave out.")
    keep: bool = Field(default=False, description="What was fetched for it is never removed to make room.")
    mmproj: Annotated[Any, WithJsonSchema(_MMPROJ_SCHEMA)] = None
    lora: Annotated[Any, WithJsonSchema(_LORA_SCHEMA)] = None
    signature: Signature | None = Field(
        default=None, description="The publisher's signature, checked without a network."
    )


class Entry(Defaults):
    """One model."""

    model_ref: str = Field(description="file:PATH, hf:ORG/REPO/FILE, https://HOST/FILE or s3://BUCKET/KEY.")


class Network(_Strict):
    """What may be contacted."""

    allow: list[str] = Field(
        default=[],
        description="Hosts that may be contacted: names, addresses, *.NAME for all below a name, or huggingface for the Hub "
        "with the hosts of its files; empty is offline.",
    )


class Cache(_Strict):
    """How much what was fetched may take."""

    max_size: Annotated[Any, WithJsonSchema(_SIZE_SCHEMA)] = None


class _Document(_Strict):
    cache_dir: str = Field(
        default=DEFAULT_CACHE_DIR, description="Where fetched files land; MODEL_PROVISIONER_CACHE_DIR wins."
    )
    runtime_dir: str = Field(default=".runtime", description="Where handoffs, digests and provenance are written.")
    network: Network = Network()
    cache: Cache = Cache()
    recheck: Literal["xxh3", "sha256"] = Field(default="xxh3", description="How a file whose times moved is confirmed.")


class Project(_Document):
    """The models of a project."""

    defaults: Defaults | None = Field(
        default=Defaults(), description="Any field of an entry, for the entries that do not have it."
    )
    models: dict[Annotated[str, Field(pattern=NAME_PATTERN)], Entry] = Field(description="The models, by name.")


class Single(_Document, Entry):
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

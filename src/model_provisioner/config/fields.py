"""The fields of `models.yaml` that are more than text: what makes the value of each, and the JSON Schema of what it takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, GetPydanticSchema, PlainValidator, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from model_provisioner.config.faults import short
from model_provisioner.config.network_policy import fault_of
from model_provisioner.config.paths import unknown_placeholder
from model_provisioner.errors import InputError, InvalidDigestError, printable
from model_provisioner.references.digest import Digest, Expected, SetDigest
from model_provisioner.references.mirror import Mirror, checked
from model_provisioner.references.reference import ModelRef
from model_provisioner.units import SIZE_PATTERN, SIZES, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable


def refusable(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let an `InputError` of `parse` be a fault of the field that it reads."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except InputError as error:
            raise refused(error, value) from None

    return validate


def refused(error: InputError, value: Any) -> PydanticCustomError:
    """Return what pydantic is to report of an error; without a `found` of its own it tells the value."""
    found = error.found or short(value)
    fields = {"what": error.what, "expected": error.expected, "found": found, "fix": error.fix}
    # Printable, for pydantic takes no text with a lone surrogate: a name that is not UTF-8, written with its percents.
    return PydanticCustomError("refused", "{what}", {name: printable(text) for name, text in fields.items()})


def of_text(parse: Callable[[str], Any]) -> GetPydanticSchema:
    """Return the annotation of a value that `parse` makes of a text."""
    schema = core_schema.no_info_after_validator_function(refusable(parse), core_schema.str_schema(strict=True))
    return GetPydanticSchema(lambda _source, _handler: schema)


def _handoff(template: str) -> str:
    if (unknown := unknown_placeholder(template)) is None:
        return template
    raise InputError(
        f"unknown placeholder {unknown}", expected="{runtime_dir}, {name} and {engine}", fix="write one of these"
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


def _mirrors(mirrors: list[Mirror]) -> list[Mirror]:
    return list(checked(mirrors))


def _max_size(value: Any) -> int | None:
    size = None if value is None else parse_size(value)
    if value is None or size is not None:
        return size
    raise InputError(
        "max_size is no size",
        expected=f"{SIZES}; the units are B, KB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024)",
        fix="write   cache: {max_size: 200GB}",
    )


_SUM = "run `sha256sum FILE` and copy the first word behind sha256:"


def _file_digest(value: Any) -> Digest:
    digest = Digest.parse(value) if isinstance(value, str) else None
    if digest is not None and digest.algo == "sha256":
        return digest
    raise InvalidDigestError("not the digest of a file", expected='"sha256:<64 hexadecimal digits>"', fix=_SUM)


def _inner_path(path: str) -> str:
    if all(part not in ("", ".", "..") for part in path.split("/")) and "\n" not in path and "\\" not in path:
        return path
    raise InputError(
        "not the path of a file in a set",
        expected="a relative path without ..",
        fix="write the path as it is inside the folder, or the shard's base name",
    )


_FILES = TypeAdapter(
    dict[
        Annotated[str, AfterValidator(refusable(_inner_path))], Annotated[Any, PlainValidator(refusable(_file_digest))]
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
        fix=_SUM,
    )


_HEX = "[0-9A-Fa-f]{64}"
EXPECTED_SCHEMA: dict[str, Any] = {
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


Reference = Annotated[ModelRef, of_text(ModelRef.parse)]
Handoff = Annotated[str, of_text(_handoff)]
Host = Annotated[str, of_text(_host)]
Mirrors = Annotated[list[Annotated[Mirror, of_text(Mirror.parse)]], AfterValidator(refusable(_mirrors))]
MaxSize = Annotated[int | None, PlainValidator(refusable(_max_size)), WithJsonSchema(_SIZE_SCHEMA)]
ExpectedDigest = Annotated[Expected | None, PlainValidator(refusable(_expected)), WithJsonSchema(EXPECTED_SCHEMA)]

"""An incremental build for model files: resolve, fetch, verify, register, hand off."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from model_provisioner.api import ModelProvisioner, ResolvedModel, provision_from_config_to_default_handoff
    from model_provisioner.errors import (
        ChangingModelError,
        ConfigError,
        DigestMismatchError,
        DigestRequiredError,
        FetchError,
        InputError,
        InvalidDigestError,
        InvalidReferenceError,
        ModelNotFoundError,
        NotAllowedError,
        OccupiedError,
        PolicyChangedError,
        ProvisionError,
        StorageError,
        UnknownModelError,
        UnreadableModelError,
        UnsoundModelError,
        WrongKindError,
    )
    from model_provisioner.records.catalog import Catalog
    from model_provisioner.references.digest import Digest, SetDigest
    from model_provisioner.references.reference import ModelRef

# Importing the package costs next to nothing: each name brings its module when it is first used. Errors are in `errors`.
_HOMES = {
    "Catalog": "records.catalog",
    "Digest": "references.digest",
    "ModelProvisioner": "api",
    "ModelRef": "references.reference",
    "ResolvedModel": "api",
    "SetDigest": "references.digest",
    "provision_from_config_to_default_handoff": "api",
}

__all__ = [
    "Catalog",
    "ChangingModelError",
    "ConfigError",
    "Digest",
    "DigestMismatchError",
    "DigestRequiredError",
    "FetchError",
    "InputError",
    "InvalidDigestError",
    "InvalidReferenceError",
    "ModelNotFoundError",
    "ModelProvisioner",
    "ModelRef",
    "NotAllowedError",
    "OccupiedError",
    "PolicyChangedError",
    "ProvisionError",
    "ResolvedModel",
    "SetDigest",
    "StorageError",
    "UnknownModelError",
    "UnreadableModelError",
    "UnsoundModelError",
    "WrongKindError",
    "provision_from_config_to_default_handoff",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'model_provisioner' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"model_provisioner.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

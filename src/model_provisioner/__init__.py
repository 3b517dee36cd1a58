"""An incremental build for model files: resolve, fetch, verify, register, hand off."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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

# Importing the package costs next to nothing: each name brings its module when it is first used.
_HOMES = {
    "model_provisioner.api": ("ModelProvisioner", "ResolvedModel", "provision_from_config_to_default_handoff"),
    "model_provisioner.records.catalog": ("Catalog",),
    "model_provisioner.references.digest": ("Digest", "SetDigest"),
    "model_provisioner.references.reference": ("ModelRef",),
    "model_provisioner.errors": (
        "ChangingModelError",
        "ConfigError",
        "DigestMismatchError",
        "DigestRequiredError",
        "FetchError",
        "InputError",
        "InvalidDigestError",
        "InvalidReferenceError",
        "ModelNotFoundError",
        "NotAllowedError",
        "OccupiedError",
        "PolicyChangedError",
        "ProvisionError",
        "StorageError",
        "UnknownModelError",
        "UnreadableModelError",
        "UnsoundModelError",
        "WrongKindError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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
    if name not in _HOME:
        raise AttributeError(f"module 'model_provisioner' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""An incremental build for model files: resolve, fetch, verify, register, hand off."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would take as long as a whole no-op
if TYPE_CHECKING:
    from model_provisioner.api import (
        ModelProvisioner,
        ResolvedModel,
        ensure_present,
        provision,
        provision_from_config_to_default_handoff,
        provision_from_config_to_handoff,
    )
    from model_provisioner.engine.events import (
        BytesRead,
        Event,
        FetchBegins,
        FetchEnded,
        FetchReached,
        FetchWaits,
        LockWaits,
        MirrorFails,
        ModelEnded,
        Progress,
        ReadingBegins,
        WorkBegins,
    )
    from model_provisioner.errors import (
        ChangingModelError,
        ConfigError,
        CorruptModelError,
        DamagedError,
        DigestMismatchError,
        DigestRequiredError,
        ExecutorError,
        FailedModelsError,
        FetchError,
        FleetError,
        IncompleteError,
        InputError,
        InvalidDigestError,
        InvalidMoveError,
        InvalidReferenceError,
        MissingExtraError,
        ModelNotFoundError,
        NotAllowedError,
        NotCurrentError,
        NotLockedError,
        NotVerifiedError,
        OccupiedError,
        PolicyChangedError,
        ProvisionError,
        RetiredModelError,
        SettingError,
        SignatureError,
        StatementError,
        StorageError,
        UnknownModelError,
        UnreadableModelError,
        UnsoundModelError,
        WrongKindError,
    )
    from model_provisioner.operations.provision import ModelResult, ProvisionResult
    from model_provisioner.records.catalog.catalog import Catalog
    from model_provisioner.references.digest import Digest, SetDigest
    from model_provisioner.references.reference import ModelRef
    from model_provisioner.version import __version__

# Importing the package costs next to nothing: each name brings its module when it is first used. Errors are in `errors`.
_HOMES = {
    "BytesRead": "engine.events",
    "Catalog": "records.catalog.catalog",
    "Digest": "references.digest",
    "Event": "engine.events",
    "FetchBegins": "engine.events",
    "FetchEnded": "engine.events",
    "FetchReached": "engine.events",
    "FetchWaits": "engine.events",
    "LockWaits": "engine.events",
    "MirrorFails": "engine.events",
    "ModelEnded": "engine.events",
    "ModelProvisioner": "api",
    "ModelRef": "references.reference",
    "ModelResult": "operations.provision",
    "Progress": "engine.events",
    "ProvisionResult": "operations.provision",
    "ReadingBegins": "engine.events",
    "ResolvedModel": "api",
    "SetDigest": "references.digest",
    "WorkBegins": "engine.events",
    "__version__": "version",
    "ensure_present": "api",
    "provision": "api",
    "provision_from_config_to_default_handoff": "api",
    "provision_from_config_to_handoff": "api",
}

__all__ = [
    "BytesRead",
    "Catalog",
    "ChangingModelError",
    "ConfigError",
    "CorruptModelError",
    "DamagedError",
    "Digest",
    "DigestMismatchError",
    "DigestRequiredError",
    "Event",
    "ExecutorError",
    "FailedModelsError",
    "FetchBegins",
    "FetchEnded",
    "FetchError",
    "FetchReached",
    "FetchWaits",
    "FleetError",
    "IncompleteError",
    "InputError",
    "InvalidDigestError",
    "InvalidMoveError",
    "InvalidReferenceError",
    "LockWaits",
    "MirrorFails",
    "MissingExtraError",
    "ModelEnded",
    "ModelNotFoundError",
    "ModelProvisioner",
    "ModelRef",
    "ModelResult",
    "NotAllowedError",
    "NotCurrentError",
    "NotLockedError",
    "NotVerifiedError",
    "OccupiedError",
    "PolicyChangedError",
    "Progress",
    "ProvisionError",
    "ProvisionResult",
    "ReadingBegins",
    "ResolvedModel",
    "RetiredModelError",
    "SetDigest",
    "SettingError",
    "SignatureError",
    "StatementError",
    "StorageError",
    "UnknownModelError",
    "UnreadableModelError",
    "UnsoundModelError",
    "WorkBegins",
    "WrongKindError",
    "__version__",
    "ensure_present",
    "provision",
    "provision_from_config_to_default_handoff",
    "provision_from_config_to_handoff",
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

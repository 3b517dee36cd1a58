"""Resolve: from a reference to the files it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.artifacts.fileset import FileSet, discover
from model_provisioner.errors import ModelNotFoundError
from model_provisioner.models.reference import LocalRef

if TYPE_CHECKING:
    from model_provisioner.models.reference import ModelRef


def resolve(ref: ModelRef) -> FileSet:
    """Return the files that `ref` stands for, reading none of them.

    Raises `ModelNotFoundError`, `UnreadableModelError` or `UnsoundModelError`.
    """
    if isinstance(ref, LocalRef):
        return discover(ref.path)
    raise ModelNotFoundError(
        "the model is not on this machine",
        where=ref.id,
        fix="download it and point model_ref at the file: this version fetches nothing",
    )

"""What the calls of the API take, as the engine takes it. A value of a wrong type is a `TypeError`."""

from __future__ import annotations

import os
from types import NoneType
from typing import TYPE_CHECKING

from model_provisioner.arguments import check_type, path_text, texts
from model_provisioner.config.network_policy import check_hosts
from model_provisioner.engine.events import silent
from model_provisioner.references.digest import Digest, SetDigest
from model_provisioner.references.reference import LocalRef, ModelRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.engine.events import Progress
    from model_provisioner.references.digest import Expected


def reference(name: str, value: str | os.PathLike[str] | ModelRef) -> ModelRef:
    check_type(name, value, (str, os.PathLike, ModelRef), "a string, a path or a ModelRef")
    ref = (
        value
        if isinstance(value, ModelRef)
        else ModelRef.parse(value)
        if isinstance(value, str)
        else ModelRef.local(value)
    )
    return ref.absolute(os.getcwd()) if isinstance(ref, LocalRef) else ref


def expected_digest(digest: Expected | str | None) -> Expected | None:
    check_type("digest", digest, (str, Digest, SetDigest, NoneType), "a Digest, its string or None")
    return Digest.parse(digest) if isinstance(digest, str) else digest


def allowed(allow: Iterable[str]) -> tuple[str, ...]:
    hosts = texts("allow", allow, "a list of hosts")
    check_hosts(hosts)
    return hosts


def listener(progress: Progress | None) -> Progress:
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function of one event, not {type(progress).__name__}")
    return progress or silent


def folder(cache_dir: str | os.PathLike[str] | None) -> str | None:
    return None if cache_dir is None else path_text("cache_dir", cache_dir)

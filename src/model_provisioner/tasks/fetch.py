"""Fetch: bring a remote reference here, if the policy allows. Offline by default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model_provisioner.errors import FetchError, NotAllowedError, printable
from model_provisioner.models.reference import HubRef, ObjectRef
from model_provisioner.tasks.withdraw import fail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.models.config import Entry
    from model_provisioner.models.reference import ModelRef
    from model_provisioner.tasks.workspace import Workspace


def host_of(ref: ModelRef, environ: Mapping[str, str] = os.environ) -> str:
    """Return the host that a remote reference is fetched from."""
    if isinstance(ref, HubRef):
        return _host(environ.get("HF_ENDPOINT")) or "huggingface.co"
    if isinstance(ref, ObjectRef):
        return _host(environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")) or "s3.amazonaws.com"
    return _host(ref.id)


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:
        return ""


def fetch(work: Workspace, entry: Entry) -> None:
    """Bring the model of a remote entry here; its older handoff is withdrawn, for nothing can confirm it.

    Raises `NotAllowedError` where the policy says no, `FetchError` where this version has no way to.
    """
    host = host_of(entry.ref)
    error: NotAllowedError | FetchError
    if host not in work.config.allow:
        error = NotAllowedError(
            f"{entry.name} would have to be fetched, and the network is not allowed",
            where=f"{work.config.path}:{entry.line}",
            expected=f"{host} among the hosts of network.allow",
            found=f"allow: [{', '.join(printable(name) for name in work.config.allow)}]",
            fix=f'add "{host}" to network.allow, or download the model and point model_ref at the file',
        )
    else:
        error = FetchError(
            f"this version of model-provisioner does not fetch {entry.ref.id.partition(':')[0]}: references",
            where=f"{work.config.path}:{entry.line}",
            found=entry.ref.id,
            fix="download the model and point model_ref at the file",
        )
    fail(work, entry, error)
    raise error

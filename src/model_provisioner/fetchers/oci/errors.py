"""Why a registry does not give what is asked of it, in sentences that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http.client import status_text
from model_provisioner.fetchers.oci.place import place_of
from model_provisioner.fetchers.patience import TRANSIENT, too_long, wait_asked_by
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from model_provisioner.fetchers.http.client import Answer
    from model_provisioner.fetchers.oci.logins import Found
    from model_provisioner.fetchers.oci.place import Place
    from model_provisioner.references.reference import OciRef, OllamaRef


def registry_error(answer: Answer, place: Place, found: Found, where: str) -> FetchError:
    """Return the error for an answer that is not what was asked for; `found` is who we are to the registry."""
    status, code = answer.status, _code(answer)
    kind: type[FetchError] = FetchError
    host = answer.url.host
    if status in {401, 403} and answer.url.origin != place.origin:
        what = f"{host}, where {place.registry} keeps its blobs, does not let us have them"
        fix = "run again, which asks the registry for a new way to them; else tell who runs it"
    elif status in {401, 403} and found.login is None:
        what = f"{place.registry} shows this only to who is logged in, or does not have it"
        helper = f"{found.why_not}: " if found.why_not else ""
        fix = f"{helper}check the spelling; for a private one, {login_command(place.registry)}"
    elif status in {401, 403}:
        what = f"{place.registry} does not take our login, or has nothing here that it may read"
        fix = f"check the spelling; ask for the right to pull it; or log in anew: {login_command(place.registry)}"
    elif status in TRANSIENT:
        what, fix, kind = f"{place.registry} can't answer now", "try again later", IncompleteError
    else:
        what = f"{place.registry} {'has no such repository' if status == 404 else 'does not answer as a registry does'}"
        fix = "check the registry that the reference names, and the repository there"
    error = kind(
        what,
        status=status,
        code=code,
        where=where,
        expected="an answer of the registry's API, version 2",
        found=f"{status_text(status)}{f' ({code})' if code else ''}{too_long(wait_asked_by(answer.headers))}",
        fix=fix,
    )
    if isinstance(error, IncompleteError):
        error.wait = wait_asked_by(answer.headers)
    return error


def reword_layer(error: FetchError, ref: OciRef | OllamaRef) -> None:
    """Let the error of a layer that was listed, and is not handed out, say what that means."""
    registry = place_of(ref).registry
    if error.status == 404:
        error.what = f"{registry} has the manifest of the artifact, and not a layer that it names"
        error.fix = "ask who runs the registry for it, or have the artifact pushed anew"
    else:
        error.fix = f"run again; for a private one, {login_command(registry)}"


def reword_for_sender(error: FetchError, place: Place, found: Found) -> None:
    """Let the error of a registry that takes no files of ours say so; `found` is who we are to it."""
    if error.status == 405:
        error.what = f"{place.registry} is only read, as a registry is that keeps copies of another's"
        error.fix = "name a registry that files can be pushed to"
    elif error.status in {401, 403}:
        error.what = f"{place.registry} does not let us send files to {place.repository}"
        error.fix = login_command(place.registry)
        if found.login is not None:
            error.fix = f"ask for the right to push to it; or log in anew: {error.fix}"
        elif found.why_not:
            error.fix = f"{found.why_not}: {error.fix}"


def login_command(registry: str) -> str:
    """Return the commands that log in to a registry, as a part of a sentence."""
    return f"`docker login {registry}` or `podman login {registry}`"


def _code(answer: Answer) -> str:
    """Return the registry's own word for why: MANIFEST_UNKNOWN, DENIED; empty where it says none that can be shown."""
    try:
        code = parse_json(answer.body)["errors"][0]["code"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    return (
        code if isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum() and len(code) < 64 else ""
    )

"""What a Hugging Face Hub says of a repository: its commit, its files, and the digests that it keeps of them.

`huggingface_hub` knows the Hub: it is asked for listings, and for the user's token. The bytes are fetched by
`fetchers/https.py`, which holds every redirect to the policy and hashes what comes.
"""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from model_provisioner.errors import FetchError
from model_provisioner.models.remote import Listing, RemoteFile
from model_provisioner.models.split import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.models.reference import HubRef

_COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 30.0
"""Seconds without an answer after which a question is given up."""

_check: ContextVar[Callable[[str], None] | None] = ContextVar("_check", default=None)
"""What the hosts of the present question are held to: the client of huggingface_hub is shared by the whole process."""


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of the Hub."""
    return (environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


class Hub:
    """The Hub that `HF_ENDPOINT` names, huggingface.co without it.

    `check` is given the host of every request before it is made, and raises where the policy has something against it.
    Raises `FetchError` where huggingface_hub is not installed.
    """

    def __init__(self, check: Callable[[str], None]) -> None:
        try:
            import huggingface_hub
        except ImportError:
            raise FetchError(
                "hf: references need the package huggingface_hub, which is not installed",
                fix="pip install 'model-provisioner[hf]'; or download the model and name it as file:PATH, which needs nothing",
            ) from None
        self._check = check
        self._endpoint = endpoint()
        token = huggingface_hub.get_token()
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._api = huggingface_hub.HfApi(endpoint=self._endpoint, token=token or False)

    def listing(self, ref: HubRef) -> Listing:
        """Return what a reference stands for now: the commit, and every file. Raises `FetchError`."""
        revision = ref.revision or "main"
        commit = revision if _COMMIT.fullmatch(revision) else self._commit(ref, revision)
        files = self._asked(ref, lambda: list(self._api.list_repo_tree(ref.repo, recursive=True, revision=commit)))
        found = {}
        for file in files:
            if hasattr(file, "blob_id"):  # else it is a folder
                known = {"sha256": file.lfs.sha256} if file.lfs is not None else {"git_blob": file.blob_id}
                found[file.path] = replace(self._file(ref, commit, file.path), size=file.size, **known)
        return Listing(revision=commit, files=_chosen(ref, found))

    def at(self, ref: HubRef, commit: str, names: Sequence[str]) -> Listing:
        """Return where the files `names` of a reference are at a commit that is known. Nothing is asked."""
        folder = "" if ref.path is None else ref.path.rpartition("/")[0]
        paths = [f"{folder}/{name}" if folder else name for name in names]
        files = (replace(self._file(ref, commit, path), name=name) for path, name in zip(paths, names, strict=True))
        return Listing(revision=commit, files=tuple(files))

    def _file(self, ref: HubRef, commit: str, path: str) -> RemoteFile:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(ref.repo, path, revision=commit, endpoint=self._endpoint)
        return RemoteFile(name=path, url=url, headers=self._headers)

    def _commit(self, ref: HubRef, revision: str) -> str:
        found = self._asked(ref, lambda: self._api.model_info(ref.repo, revision=revision, timeout=TIMEOUT))
        return str(found.sha)

    def _asked(self, ref: HubRef, ask: Callable[[], Any]) -> Any:
        import httpx2
        from huggingface_hub import errors, get_session

        _hold(get_session())
        token = _check.set(self._check)
        try:
            return ask()
        except errors.GatedRepoError:
            raise self._refused(ref, "the repository is gated: its owner lets in who asked", GATED) from None
        except errors.RepositoryNotFoundError:
            raise self._refused(ref, "the Hub has no such repository, or shows it to others only", PRIVATE) from None
        except errors.RevisionNotFoundError:
            what = f"the repository has no revision {ref.revision or 'main'}"
            raise self._refused(ref, what, "copy the name of a branch, a tag or a commit from its page") from None
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            what = f"the Hub answered with {status} {error.response.reason_phrase}"
            raise self._refused(ref, what, "try again later") from None
        except (httpx2.TransportError, errors.OfflineModeIsEnabled) as error:
            raise self._refused(ref, "the Hub can't be reached", "check the network", type(error).__name__) from None
        finally:
            _check.reset(token)

    def _refused(self, ref: HubRef, what: str, fix: str, found: str = "") -> FetchError:
        return FetchError(what, where=f"{ref.id} at {urlsplit(self._endpoint).hostname}", found=found, fix=fix)


GATED = "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it"
PRIVATE = "check the spelling; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it"


def _hold(client: Any) -> None:
    """Let every request of the client, each hop of a redirect too, be checked first, and be bounded in time."""

    def hook(request: Any) -> None:
        check = _check.get()
        if check is not None:
            check(request.url.host)
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT)

    hooks = client.event_hooks
    if not any(getattr(each, "__qualname__", "") == hook.__qualname__ for each in hooks["request"]):
        client.event_hooks = {**hooks, "request": [hook, *hooks["request"]]}


def _chosen(ref: HubRef, found: Mapping[str, RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return the files that a reference stands for, by the names that they have in its set."""
    if ref.path is None:
        return tuple(found[path] for path in sorted(found, key=os.fsencode))
    folder, _, name = ref.path.rpartition("/")
    names = split_names(name) or [name]
    chosen = []
    for each in names:
        path = f"{folder}/{each}" if folder else each
        if path not in found:
            raise _no_such_file(ref, path, found)
        chosen.append(replace(found[path], name=each))
    return tuple(chosen)


def _no_such_file(ref: HubRef, path: str, found: Mapping[str, RemoteFile]) -> FetchError:
    import difflib

    near = difflib.get_close_matches(path, list(found), n=1, cutoff=0.4)
    return FetchError(
        f"the repository has no file {path}",
        where=f"hf:{ref.repo}",
        expected="a path as the repository lists it",
        found=f"{len(found)} other files",
        fix=f"did you mean {near[0]}?" if near else "copy the path from the repository's page",
    )

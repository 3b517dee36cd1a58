"""What a Hugging Face Hub says of a repository: its commit, its files, and the digests that it keeps of them.

`huggingface_hub` knows the Hub: it is asked for listings, and for the user's token. The bytes are fetched by
`fetchers/http`, which holds every redirect to the policy.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from model_provisioner.errors import FetchError, MissingExtraError, SettingError
from model_provisioner.fetchers.http.url import Url
from model_provisioner.fetchers.listing import FILES, Listing, Patterns, RemoteFile, name_of
from model_provisioner.fetchers.offered import chosen_offer
from model_provisioner.fetchers.patience import pause
from model_provisioner.references.shards import split_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_provisioner.fetchers.hub_requests import GivenUpError
    from model_provisioner.references.reference import HubRef

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?", re.ASCII)


def endpoint() -> str:
    """Return the address of the Hub. Raises `SettingError` where the environment names none."""
    text = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    try:
        Url.parse(text)
    except FetchError:
        host = Url.parse(f"https://{text}").host if _HOST.fullmatch(text) else ""
        raise SettingError(
            "HF_ENDPOINT is not the address of a Hub",
            where="the environment",
            expected="https://HOST",
            found=text if host else "something else",
            fix=f"export HF_ENDPOINT=https://{text}" if host else "set it to https:// and the name of the Hub's host",
        ) from None
    return text


def is_installed() -> bool:
    """Tell whether there is the package that asks a Hub."""
    try:
        import huggingface_hub  # noqa: F401  whether it can be imported is the question
    except ImportError:
        return False
    return True


class Hub:
    """What a reference names on the Hub of `HF_ENDPOINT`, huggingface.co without it.

    `check` is given the host of every request before it is made, and raises where the policy has something against it;
    `wait` waits some seconds where the Hub is busy, and tells why.
    Raises `MissingExtraError` without huggingface_hub, and `SettingError` for an address or a token that is none.
    """

    def __init__(
        self,
        ref: HubRef,
        check: Callable[[str], None],
        patterns: Patterns,
        wait: Callable[[float, str], object] = pause,
    ) -> None:
        if not is_installed():
            from model_provisioner.installation import with_extra

            raise MissingExtraError(
                "hf: references need the package huggingface_hub, which is not installed",
                where=ref.id,
                expected="the extra hf",
                found="no module huggingface_hub",
                fix=f"{with_extra('hf')}; or download the model and name it as file:PATH, which needs nothing",
            )
        import huggingface_hub
        from huggingface_hub import constants

        from model_provisioner.fetchers.hub_requests import Question

        self._ref, self._patterns = ref, patterns
        self._endpoint = endpoint()
        self._question = Question(check, Url.parse(self._endpoint), wait)
        # Else a list of programs is asked for before the first question, for the user agent.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        with self._question.asking():
            token = _token()  # which may ask for another one, where it is about to expire
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._api = huggingface_hub.HfApi(endpoint=self._endpoint, token=token or False)

    def listing(self) -> Listing:
        """Return what the reference resolves to now: the commit, and its files. Raises `FetchError`."""
        return self._listing(self._ref.revision or "main")

    def _listing(self, revision: str) -> Listing:
        repo = self._ref.repo
        commit = revision
        if not _COMMIT.fullmatch(revision):
            commit = str(self._ask(lambda: self._api.model_info(repo, revision=revision)).sha)
            if not _COMMIT.fullmatch(commit):  # it becomes a part of paths
                raise self._error(NONSENSE, OTHER_HUB, f"a commit {commit[:80]!r}")
        found = {}
        tree = self._ask(
            lambda: list(islice(self._api.list_repo_tree(repo, recursive=True, revision=commit), FILES + 1))
        )
        if len(tree) > FILES:
            raise self._question.too_much(f"at most {FILES:,} files and folders in a repository", "more")
        for file in tree:
            if hasattr(file, "blob_id"):  # else it is a folder
                known = {"sha256": file.lfs.sha256} if file.lfs is not None else {"git_blob": file.blob_id}
                found[file.path] = replace(self._file(commit, file.path, file.path), size=file.size, **known)
        return Listing(revision=commit, files=self._chosen(found))

    def at(self, revision: str | None, names: Sequence[str]) -> Listing:
        """Return where the files `names` are at a commit that is known. Nothing is asked, unless a quantization names them."""
        commit = revision or "main"
        if self._ref.quantization is not None:
            return self._listing(commit)  # only that says in which folder they lie
        return Listing(revision=commit, files=tuple(self._file(commit, self._path(name), name) for name in names))

    def _path(self, name: str) -> str:
        """Return the path in the repository of a file of the reference."""
        folder = (self._ref.path or "").rpartition("/")[0]
        return f"{folder}/{name}" if folder else name

    def _file(self, commit: str, path: str, name: str) -> RemoteFile:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._ref.repo, path, revision=commit, endpoint=self._endpoint)
        return RemoteFile(name=name, url=url, headers=self._headers)

    def _chosen(self, found: Mapping[str, RemoteFile]) -> tuple[RemoteFile, ...]:
        """Return those of the repository's files that the reference names, by the names that they have in its set."""
        if self._ref.quantization is not None:
            offer = chosen_offer(self._ref, {path: file.size for path, file in found.items()})
            return tuple(replace(found[path], name=os.path.basename(path)) for path in offer.names)
        if self._ref.path is None:
            fix = "compare the patterns with the list of files on the repository's page"
            where = self._ref.id
            names = self._patterns.select(found, kind="file", place="of the repository", where=where, fix=fix)
            return tuple(found[path] for path in sorted(names, key=os.fsencode))
        name = name_of(self._ref)
        chosen = []
        for each in split_names(name) or [name]:
            if (path := self._path(each)) not in found:
                raise _no_such_file(self._ref, path, found)
            chosen.append(replace(found[path], name=each))
        return tuple(chosen)

    def _ask(self, ask: Callable[[], Any]) -> Any:
        import httpx2
        from huggingface_hub import errors

        from model_provisioner.fetchers.hub_requests import GivenUpError

        try:
            with self._question.asking():
                return ask()
        except GivenUpError as error:
            raise self._given_up(error) from None
        except errors.GatedRepoError as error:
            what = "the repository is gated: its owner lets in who asked"
            raise self._error(what, GATED, _status(error), "a repository that we may read") from None
        except errors.RepositoryNotFoundError as error:
            what = "the Hub has no such repository, or shows it to others only"
            raise self._error(what, PRIVATE, _status(error), "a repository of the Hub that we may see") from None
        except errors.RevisionNotFoundError as error:
            what = f"the repository has no revision {self._ref.revision or 'main'}"
            fix = "copy the name of a branch, a tag or a commit from its page, with %2F for each slash in it"
            raise self._error(what, fix, _status(error), "a branch, a tag or a commit of the repository") from None
        except errors.HfHubHTTPError as error:
            raise self._status_error(error.response.status_code, _status(error)) from None
        except (httpx2.RequestError, httpx2.InvalidURL, errors.OfflineModeIsEnabled) as error:
            if isinstance(error.__cause__, FetchError):  # of our connections
                raise error.__cause__ from None
            raise self._error("the Hub can't be reached", "check HF_ENDPOINT", type(error).__name__) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._error(NONSENSE, OTHER_HUB, type(error).__name__) from None

    def _given_up(self, error: GivenUpError) -> FetchError:
        often = f", {error.tried} times in a row" if error.tried > 1 else ""
        if isinstance(cause := error.__cause__, FetchError):  # of our connections
            fix = (
                f"{cause.fix}; if another Hub is meant, correct HF_ENDPOINT"
                if "HF_ENDPOINT" in os.environ
                else cause.fix
            )
            return FetchError(
                f"{cause.what}{often}", where=cause.where, expected=cause.expected, found=cause.found, fix=fix
            )
        if error.status is None:
            return self._error(f"the Hub can't be reached{often}", "check HF_ENDPOINT", error.found)
        return self._error(f"the Hub can't answer now{often}", "try again later", error.found)

    def _status_error(self, status: int, found: str) -> FetchError:
        if status == 401:
            what = "the Hub does not take our token" if self._headers else "the Hub wants a token"
            return self._error(what, LOGIN, found)
        if status == 403:
            return self._error("the Hub does not let us see the repository", GATED, found)
        return self._error(f"the Hub answered with {found}", "try again later", found)

    def _error(self, what: str, fix: str, found: str = "", expected: str = "an answer of the Hub") -> FetchError:
        where = f"{self._ref.id} at {self._question.hub.host}"
        return FetchError(what, where=where, expected=expected, found=found, fix=fix)


def _status(error: Any) -> str:
    return f"{error.response.status_code} {error.response.reason_phrase}"


LOGIN = "`hf auth login`, or set HF_TOKEN to a token that may read it"
GATED = "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it"
PRIVATE = "check the spelling; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it"


NONSENSE = "what the Hub answered can't be understood"
OTHER_HUB = "check HF_ENDPOINT, and whether a page to log in to the network answers in its place"


def _token() -> str | None:
    import httpx2
    from huggingface_hub import errors, get_token

    try:
        token = get_token()
    except (errors.OIDCError, httpx2.HTTPError, OSError) as error:
        if isinstance(error.__cause__, FetchError):
            raise error.__cause__ from None
        raise FetchError(
            "the token for the Hub can't be had",
            where="the environment, or what `hf auth login` keeps",
            expected="a token, or none",
            found=type(error).__name__,
            fix="if HF_OIDC_RESOURCE is set, take it out of the environment; then set HF_TOKEN to a token, or `hf auth login`",
        ) from None
    strange = next((each for each in token or "" if not "!" <= each <= "~"), None)
    if strange is not None:
        raise SettingError(
            "the token for the Hub is none: it has a character that no token has",
            where="HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token that `hf auth login` keeps",
            expected="ASCII letters, digits and signs",
            found=f"U+{ord(strange):04X}, {unicodedata.name(strange, 'a control character')}",
            fix="copy the token again, without quotes around it: `hf auth login`, or set HF_TOKEN",
        )
    return token


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

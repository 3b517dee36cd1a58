"""How a repository of the Hugging Face Hub, a revision and a file of it are named after `hf:`."""

from __future__ import annotations

import re
from typing import NamedTuple

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.invocation import command
from model_provisioner.references.file_names import NO_KEY
from model_provisioner.references.shown import shown

_FORM = "hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]"
_REPO = re.compile(r"(?!.*(?:--|\.\.))\w(?:[\w.-]*\w)?/\w(?:[\w.-]{0,94}\w)?(?<!\.git)", re.ASCII)
# What git forbids in the name of a branch or tag, and "%", which is left for "%2F" alone.
_NO_REVISION = re.compile(r"[ ~^:?*\[\\%]|\.\.|@\{|//|^/|/\Z|^\Z")


class HubName(NamedTuple):
    """What a text names, as it is written: nothing of it is checked."""

    repo: str
    revision: str | None
    path: str | None
    quantization: str | None


def read_hub_name(rest: str) -> HubName:
    """Read what follows `hf:`. Raises `InvalidReferenceError` for what can't be told apart."""
    org, _, rest = rest.partition("/")
    if org in {"datasets", "spaces"}:  # as fsspec names what is no model
        raise InvalidReferenceError(
            f"a repository of {org}, which holds no models",
            expected=_FORM,
            found=shown(f"hf:{org}/{rest}"),
            fix="name a model's repository: ORG/REPO from the top of its page",
        )
    name, slash, path = rest.partition("/")
    name, colon, quantization = name.partition(":")
    name, at, revision = name.partition("@")
    if revision == "refs" and path:  # where git keeps all names: it is none itself
        *folders, last = path.split("/")
        whole = folders if "." in last else [*folders, last]
        raise InvalidReferenceError(
            "the revision of a Hugging Face repository is cut at its first slash",
            expected="%2F for each slash of a revision",
            found=shown(f"hf:{org}/{name}@refs/{path}"),
            fix="write "
            + shown(f"hf:{org}/{name}@{'%2F'.join(['refs', *whole])}" + (f"/{last}" if "." in last else "")),
        )
    revision = revision.replace("%2F", "/").replace("%2f", "/")
    return HubName(f"{org}/{name}", revision if at else None, path if slash else None, quantization if colon else None)


def check_hub_name(repo: str, revision: str | None, path: str | None) -> None:
    """Raise `InvalidReferenceError` unless there can be such a repository, revision and file."""
    if not _REPO.fullmatch(repo):
        raise InvalidReferenceError(
            "a Hugging Face repository is named by its organisation or user and its name",
            expected=_FORM,
            found=shown(f"hf:{repo.rstrip('/')}"),
            fix="copy ORG/REPO from the top of its page: hf:gpt2 is hf:openai-community/gpt2",
        )
    if revision is not None and (not revision.isprintable() or _NO_REVISION.search(revision)):
        raise InvalidReferenceError(
            "not a revision of a Hugging Face repository",
            where=shown(f"hf:{repo}"),
            expected="a branch, tag or commit after @, with %2F for a slash in it",
            found=shown(revision),
            fix=f"write hf:{repo}@main, or leave @ out",
        )
    if path is not None and (NO_KEY.search(path) or "" in path.split("/")):
        raise InvalidReferenceError(
            "not a file of a Hugging Face repository",
            where=shown(f"hf:{repo}"),
            expected=_FORM,
            found=shown(path),
            fix="write the file's path as the repository lists it, or none for the whole repository",
        )


def checked_quantization(repo: str, text: str, path: str | None) -> str:
    """Return a quantization as it is named everywhere. Raises `InvalidReferenceError`."""
    from model_provisioner.references.quantizations import quantization_named

    found = quantization_named(text)
    if found is not None and path is None:
        return found
    raise InvalidReferenceError(
        "not a quantization of a Hugging Face repository",
        where=shown(f"hf:{repo}"),
        expected="one name after the colon, as Q4_K_M, UD-Q4_K_XL or BF16, and nothing behind it",
        found=shown(text if path is None else f"{text}/{path}"),
        fix=f"`{command(f'list hf:{repo}')}` shows which there are",
    )

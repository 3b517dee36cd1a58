"""How this program was installed, and so how the user adds an extra to it: with pip, pipx or uv."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import unquote, urlsplit

from model_provisioner.fs.read import read_if_there
from model_provisioner.invocation import PROGRAM

_LIMIT = 1 << 20


def with_extra(extra: str) -> str:
    """Return the command, as a shell reads it, that adds an extra to the installation which runs this.

    An installed version is kept, so the name is enough: also where it came from a folder, a file or a repository.
    """
    asked = f"{PROGRAM}[{extra}]"
    if (receipt := _noted("uv-receipt.toml")) is not None:
        return shlex.join(["uv", "tool", "install", *_tool(tomllib.loads(receipt)["tool"]["requirements"], extra)])
    if _noted("pipx_metadata.json") is not None:
        return shlex.join(["pipx", "inject", os.path.basename(sys.prefix), asked])
    if os.path.basename(os.path.dirname(sys.prefix)).startswith("archive-v"):  # in uv's cache: gone after the run
        return shlex.join(["uvx", "--from", f"{_origin()}[{extra}]", PROGRAM]) + " …"
    if _metadata("INSTALLER").strip() == "uv":
        return shlex.join(["uv", "pip", "install", "--python", sys.prefix, asked])
    in_reach = sys.prefix in {sys.base_prefix, os.environ.get("VIRTUAL_ENV")}
    return shlex.join(["pip" if in_reach else os.path.join(sys.prefix, "bin", "pip"), "install", asked])


def _tool(requirements: list[dict[str, Any]], extra: str) -> list[str]:
    """Return what to install as a tool: as before and the extra too, since `uv tool install` begins anew."""
    words: list[str] = []
    for each in requirements:
        extras = {*each.get("extras", ()), *((extra,) if each["name"] == PROGRAM else ())}
        named = each["name"] + (f"[{','.join(sorted(extras))}]" if extras else "") + each.get("specifier", "")
        words += ["--with", named] if words else [named]
    return words


def _origin() -> str:
    """Return what was installed: a folder or a file of this machine, or the name in an index."""
    url = urlsplit(json.loads(_metadata("direct_url.json") or "{}").get("url", ""))
    return unquote(url.path) if url.scheme == "file" else PROGRAM


def _metadata(name: str) -> str:
    """Return what the installer wrote of this package into a file, nothing where it wrote none."""
    try:
        return distribution(PROGRAM).read_text(name) or ""
    except PackageNotFoundError:
        return ""


def _noted(name: str) -> str | None:
    """Return what an installer noted in the folder of the environment, None where it noted nothing."""
    data = read_if_there(os.path.join(sys.prefix, name), _LIMIT)
    return None if data is None else data.decode()

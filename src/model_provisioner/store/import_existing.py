"""What other programs have on this disk already: their files are read, never written and never linked to.

A hard link would leave another program's hand on our bytes, so a file is cloned (it shares its place on the disk until
one of the two changes) or copied, and it is the result whose digest has to be right.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_provisioner.fs.identity import stat_or_none
from model_provisioner.fs.paths import files_below, names_in
from model_provisioner.fs.read import open_regular
from model_provisioner.hashing.streaming import BUFFER
from model_provisioner.store.arriving.partial import Partial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from model_provisioner.hashing.fingerprint import FingerprintKey
    from model_provisioner.hashing.streaming import Progress
    from model_provisioner.store.blobs import Blobs


@dataclass(frozen=True)
class Found:
    """A file that may hold the bytes that are wanted."""

    path: str
    source: str
    """Whose it is, in words: `the Hugging Face cache`."""


def find(sha256: str, size: int | None, name: str, environ: Mapping[str, str] = os.environ) -> Iterator[Found]:
    """Yield the files of other programs that may have this SHA-256, the most likely first; nothing is read or raised.

    Hugging Face, Ollama, Docker and Podman name files by their SHA-256. LM Studio keeps the name that a file had where it came
    from: its files are candidates by their `size` in bytes, whatever they are called, or by the file `name` where no size is
    known.
    """
    home = environ.get("HOME") or os.path.expanduser("~")
    hub = _hub_cache(environ, home)
    places = [(os.path.join(hub, repo, "blobs", sha256), "the Hugging Face cache") for repo in names_in(hub)]
    ollama = (environ.get("OLLAMA_MODELS") or "~/.ollama/models", "/usr/share/ollama/.ollama/models")
    places += [(os.path.join(_expanded(models, home), "blobs", f"sha256-{sha256}"), "Ollama") for models in ollama]
    places += [
        (os.path.join(_expanded(place, home), "blobs", "sha256", sha256), name) for place, name in _layouts(environ)
    ]
    for path, source in places:
        if _is_file(path, size):
            yield Found(path, source)
    for models in ("~/.lmstudio/models", "~/.cache/lm-studio/models"):
        for path in files_below(_expanded(models, home)):
            if (size is not None or os.path.basename(path) == os.path.basename(name)) and _is_file(path, size):
                yield Found(path, "LM Studio")


def adopt(
    store: Blobs,
    found: Found,
    sha256: str,
    progress: Progress = lambda _: None,
    *,
    fingerprints: FingerprintKey | None = None,
) -> bool:
    """Take a file of another program into the store; return False where it can't be read or holds other bytes.

    Raises `StorageError` where the store can't be written, and what `progress` raises.
    """
    try:
        source = open_regular(found.path)
    except OSError:
        return False
    try:
        # A name of its own: half a download of the same bytes may wait to be resumed.
        with Partial.open(store, f"adopt {sha256}", fingerprints=fingerprints) as partial:
            partial.begin(None)
            if partial.clone(source):
                progress(partial.size)
            else:
                size, disk = os.fstat(source).st_size, os.statvfs(store.root)
                fits = size <= disk.f_bavail * disk.f_frsize  # where nobody knew the size, it may be made up
                if not fits or not _copy(source, size, partial, progress):
                    partial.discard()
                    return False
            if partial.finish().sha256 != sha256:
                partial.discard()
                return False
            store.publish(partial, sha256)
            return True
    finally:
        os.close(source)


def _copy(source: int, size: int, partial: Partial, progress: Progress) -> bool:
    """Copy so many bytes, if there still are; return whether it could be read. They are hashed as they are written."""
    left = size  # to the end, a file that grows would be copied for ever
    while left:
        try:
            chunk = os.read(source, min(BUFFER, left))
        except OSError:
            return False
        if not chunk:
            break
        left -= len(chunk)
        partial.write(chunk)
        progress(len(chunk))
    return True


def _layouts(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the folders where programs for containers keep artifacts as they come from a registry, and whose they are."""
    yield environ.get("MODELS_PATH") or "~/.docker/models", "Docker Model Runner"
    data = environ.get("XDG_DATA_HOME") or "~/.local/share"
    for storage in (os.path.join(data, "containers/storage"), "/var/lib/containers/storage"):
        yield f"{storage}/artifacts", "Podman"
    for content in ("/var/lib/containerd", "/var/lib/docker/containerd/daemon"):
        yield f"{content}/io.containerd.content.v1.content", "containerd"


def _hub_cache(environ: Mapping[str, str], home: str) -> str:
    if named := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(named, home)
    base = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.join(_expanded(base, home), "hub")


def _expanded(path: str, home: str) -> str:
    return os.path.join(home, path[2:]) if path.startswith("~/") else os.path.expanduser(path)


def _is_file(path: str, size: int | None) -> bool:
    found = stat_or_none(path)
    return found is not None and stat.S_ISREG(found.st_mode) and size in (None, found.st_size)

"""Blobs: the bytes of files, by their SHA-256.

A blob is published by one rename of a file that was hashed while it was written, so that a kill at any moment leaves a
whole blob or none. Its bytes were right when it came; whoever hands it to an engine asks the digest memo whether they
still are.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from model_provisioner.errors import DigestMismatchError
from model_provisioner.fs.identity import identity
from model_provisioner.fs.locking.locks import locked_folder
from model_provisioner.references.digest import SHA256_HEX
from model_provisioner.store.layout import BLOBS, QUARANTINE, Layout, blob_place, store_error

if TYPE_CHECKING:
    from model_provisioner.fs.identity import Identity
    from model_provisioner.store.arriving.partial import Partial, Received


class Blobs(Layout):
    """The blobs of a store."""

    @property
    def blobs(self) -> str:
        """Where the links of trees may lead."""
        return os.path.join(self.root, "blobs")

    def blob_path(self, sha256: str) -> str:
        """Return where the file with this SHA-256 lies if it is here. Raises `UnsoundModelError` for what is no SHA-256."""
        return os.path.join(self.root, blob_place(sha256))

    def blob_behind(self, path: str) -> str | None:
        """Return the SHA-256 of the blob here that `path` leads to: a name in a tree whose link is exactly as we make it.

        None for any other path. Raises `StorageError` where the folder is no store.
        """
        below = path.removeprefix(f"{self.root}/")
        if below == path:
            return None
        above, name = os.path.split(below)
        try:
            target = self.held(above).readlink(name)
            sha256 = os.path.basename(target)
            if not SHA256_HEX.fullmatch(sha256) or target != "../" * below.count("/") + blob_place(sha256):
                return None
            found = self._stat(sha256)
            return sha256 if found is not None and os.path.samestat(found, os.stat(path)) else None
        except OSError:
            return None

    def has(self, sha256: str, size: int | None = None) -> bool:
        """Tell whether a file with this SHA-256, and of this size in bytes, was published here; its bytes are not read."""
        found = self._stat(sha256)
        return found is not None and size in (None, found.st_size)

    def _stat(self, sha256: str) -> os.stat_result | None:
        """Return the stat of a blob, None where there is no file of that name. Raises `UnsoundModelError`."""
        folder, name = os.path.split(blob_place(sha256))
        try:
            found = self.held(folder).stat(name)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def open(self, sha256: str, flags: int = os.O_RDONLY) -> int:
        """Open a blob; no link on the way is followed. Raises `NotOursError` for what is no file, and `OSError`."""
        folder, name = os.path.split(blob_place(sha256))
        return self.held(folder).open(name, flags)

    def holds(self, sha256: str, file: Identity) -> bool:
        """Tell whether the blob with this SHA-256 is still that very file."""
        found = self._stat(sha256)
        return found is not None and identity(found)[:2] == file[:2]

    def shelves(self) -> list[str] | None:
        """Return the names among which are the folders of blobs, by the first two digits of their SHA-256.

        None where there is no folder for any of them. Raises `OSError`.
        """
        try:
            return self.held(BLOBS).names()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def shelf(self, digits: str) -> tuple[dict[str, int], list[str]]:
        """Return the blobs whose SHA-256 begins with two digits, with their bytes, and the places of what else lies there.

        Raises `OSError`.
        """
        sizes: dict[str, int] = {}
        others: list[str] = []
        try:
            folder = self.held(f"{BLOBS}/{digits}")
        except FileNotFoundError:
            return sizes, others
        for name in folder.names():
            with suppress(FileNotFoundError):  # evicted meanwhile
                found = folder.stat(name)
                if SHA256_HEX.fullmatch(name) and name.startswith(digits) and stat.S_ISREG(found.st_mode):
                    sizes[name] = found.st_size
                else:
                    others.append(f"{BLOBS}/{digits}/{name}")
        return sizes, others

    def publish(self, partial: Partial, sha256: str) -> Received:
        """Give a file that arrived its place; return what arrived, with the file that has it if that is ours.

        Of several publishers one wins; the others' files are removed.
        Raises `DigestMismatchError` where it holds other bytes (it is removed then, so that the next try does not resume
        it), and `StorageError`.
        """
        path = self.blob_path(sha256)
        received = partial.finish()
        if received.sha256 != sha256:
            partial.discard()
            raise DigestMismatchError(path, f"sha256:{sha256}", f"sha256:{received.sha256}")
        folder = self.folder(f"{BLOBS}/{sha256[:2]}")
        try:
            partial.seal()
            with ExitStack() as stack:
                with suppress(OSError):  # without locks, two may publish the same bytes
                    stack.enter_context(locked_folder(folder))
                if self.has(sha256, received.size):
                    partial.discard()
                else:
                    received = replace(received, file=partial.move(folder, sha256))
                    folder.sync()
        except OSError as error:
            raise store_error("a file can't be taken into the store", path, error) from None
        return received

    def put_away(self, sha256: str) -> str | None:
        """Move a blob that is damaged or no model to where nobody finds it again; return where, None if there was none.

        Raises `StorageError`.
        """
        path, name = self.blob_path(sha256), f"{sha256}.{secrets.token_hex(8)}"
        try:
            folder = self.held(f"{BLOBS}/{sha256[:2]}")
            if not folder.has(sha256):
                return None
            away = self.folder(QUARANTINE)
            folder.rename(sha256, away, name)
            with suppress(OSError):
                away.touch(name)  # it is kept for some days from now on
            folder.sync()
        except (FileNotFoundError, NotADirectoryError):  # another run was faster
            return None
        except OSError as error:
            raise store_error("a wrong file can't be moved away", path, error) from None
        return away.path_of(name)

"""The note beside a file on its way into the store: what the next owner has to know to resume it."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from typing import Self

    from model_provisioner.fs.folder import Folder


@dataclass(frozen=True)
class Note:
    """What is kept beside a file."""

    validator: str | None
    """What the server called this version: a strong ETag or a time of last modification."""
    boot: str | None
    """Of which start of the machine its last writer was: what it wrote may be lost with the next one."""
    synced: int
    """How many bytes were safely on the disk."""
    total: int | None = None
    """How many bytes the whole file has, as its server said."""
    request: str | None = None
    """For what request it comes, in hexadecimal digits, hashed under a key of the user who made it."""
    ref: str | None = None
    """For which model it comes: the id of its reference."""

    @classmethod
    def read(cls, folder: Folder, name: str) -> Self:
        """Return the note of the file `name`; one that says nothing where it is missing or unsound."""
        try:
            found = parse_json(folder.read(note_name(name), limit=1 << 16) or b"")
            validator, boot, synced = found["validator"], found.get("boot"), found.get("synced", 0)
            # Versions before did not note these.
            total, request, ref = found.get("total"), found.get("request"), found.get("ref")
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(None, None, 0)
        known = isinstance(validator, str | None) and isinstance(boot, str | None)
        if not known or type(synced) is not int or synced < 0:
            return cls(None, None, 0)
        total = total if type(total) is int and total >= 0 else None
        request, ref = (each if isinstance(each, str) else None for each in (request, ref))
        return cls(validator, boot, synced, total, request, ref)

    def write(self, folder: Folder, name: str) -> None:
        """Replace the note whole: what is written now and then must not be lost to a kill. Raises `OSError`."""
        draft = f"draft.{secrets.token_hex(8)}"
        data = json.dumps(asdict(self), sort_keys=True).encode()
        folder.write(draft, data, sync=False)
        folder.rename(draft, folder, note_name(name))


def note_name(name: str) -> str:
    """Return what the note of the file `name` is called."""
    return f"{name}.json"

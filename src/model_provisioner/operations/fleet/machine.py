"""What tells this installation of an operating system from all others, also from its clones."""

from __future__ import annotations

import hashlib
import string
from contextlib import suppress

from model_provisioner.fs.read import read_if_there

_DIGITS = frozenset(string.digits + "abcdef")

PLACES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
"""A clone of a machine gets a new one at its first start; an image of a container often has none."""


def machine_id(places: tuple[str, ...] = PLACES) -> str:
    """Return 32 hexadecimal digits; an empty text where nothing tells.

    They are made from the machine's own number, which is not for others to see (machine-id(5)).
    """
    for place in places:
        with suppress(OSError):
            text = (read_if_there(place, 4096) or b"").decode("ascii", "replace").strip()
            if len(text) == 32 and _DIGITS.issuperset(text):
                return hashlib.sha256(f"model-provisioner {text}".encode()).hexdigest()[:32]
    return ""

"""What of a reference may stand in a message: no credential, no query, not a page of it."""

from __future__ import annotations

import re

_NETWORK = re.compile(r"https?:/*|[^/]*:?//", re.IGNORECASE)
CREDENTIALS = re.compile(
    r"(?<![^\s/:])(?!hf:)[^\s/:@]{1,256}:[^\s/@]{1,2048}@(?!sha256:[0-9a-f]{64})|(?<=//)[^\s/@]{1,2048}@", re.IGNORECASE
)
"""Where a name and a password begin that stand before a host, whether or not a scheme stands before them. What stands before
a digest is the tag of an artifact."""


def shown(text: str) -> str:
    """Return what of a reference may stand in a message: no credentials, no query, not a page of it."""
    if start := _NETWORK.match(text):
        text = f"{start[0]}…" if "@" in text else re.split("[?#]", text, maxsplit=1)[0]
    elif found := CREDENTIALS.search(text):
        text = f"{text[: found.start()]}…"
    return text if len(text) <= 200 else f"{text[:200]}…"

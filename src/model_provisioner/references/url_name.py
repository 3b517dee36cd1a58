"""What is a URL of a file, and which of them are of one model."""

from __future__ import annotations

import hashlib
import re

# Host and credentials are matched narrowly, so that no other program can see another host in the same text.
URL = re.compile(
    r"https://(?:[\w.~!$&'()*+,;=:%-]*@)?"
    r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>(?::[0-9]{1,5})?)"
    r"(?P<path>/[!-\"$->@-~]+)(?:\?(?P<query>[!-\"$-~]*))?(?:\#(?P<fragment>[!-~]*))?",
    re.ASCII,
)
"""For `fullmatch`."""
_QUERY_MARK = re.compile(r"query-[0-9a-f]{12}")


def id_of_url(url: str) -> str:
    """Return a URL without credentials, query and fragment; `#query-<hash>` tells URLs of different queries apart."""
    found = URL.fullmatch(url)
    assert found is not None  # who asks saw to it
    place = f"https://{found['host'].lower()}{found['port']}{found['path']}"
    if found["query"]:
        return f"{place}#query-{hashlib.sha256(found['query'].encode()).hexdigest()[:12]}"
    if _QUERY_MARK.fullmatch(found["fragment"] or ""):
        return f"{place}#{found['fragment']}"
    return place

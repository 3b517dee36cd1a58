"""Who we are to a host: from the URL, else from `.netrc`. Nothing of it is ever shown."""

from __future__ import annotations

import os
from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING

from model_provisioner.fs.read import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.fetchers.http.url import Url

LIMIT = 1 << 20
"""Bytes that `.netrc` may have."""


class Credentials:
    """The credentials that this user has for hosts; `.netrc` is read once, when it is first needed."""

    def __init__(self) -> None:
        self.path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
        self.fault = ""
        """Why `.netrc` could not be used, where it is there; told when a host wants credentials, and not before."""

    def for_url(self, url: Url, *, redirected: bool) -> dict[str, str]:
        """Return the headers that tell `url` who we are; none where nothing is known.

        Nobody else says who gets them: a host that others `redirected` to gets none, whatever they put into its URL, and
        the `default` of `.netrc`, which names no host, is for none.
        """
        found = None if redirected else url.user or self._hosts.get(url.host)
        if found is None:
            return {}
        return {"Authorization": "Basic " + b64encode(":".join(found).encode()).decode()}

    @cached_property
    def _hosts(self) -> Mapping[str, tuple[str, str]]:
        """Name and password by host."""
        from netrc import NetrcParseError, netrc

        try:
            read_file(self.path, LIMIT)  # netrc takes a path alone, and waits for a FIFO
            found = netrc(self.path).hosts.items()
            return {host: (name or "", password or "") for host, (name, _, password) in found if host != "default"}
        except FileNotFoundError:
            pass
        except OSError as error:
            self.fault = error.strerror or "it can't be read"
        except NetrcParseError as error:
            self.fault = f"line {error.lineno} can't be understood"  # its message may hold a password
        except ValueError:
            self.fault = "it is not UTF-8"
        return {}

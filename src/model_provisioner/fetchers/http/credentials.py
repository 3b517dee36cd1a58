"""Who we are to a host: from the URL, else from `.netrc`. Nothing of it is ever shown."""

from __future__ import annotations

import os
from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.fetchers.http.url import Url


class Credentials:
    """The credentials that this user has for hosts; `.netrc` is read once, when it is first needed."""

    def __init__(self) -> None:
        self.path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
        self.fault = ""
        """Why `.netrc` could not be used, where it is there; told when a host wants credentials, and not before."""

    def for_url(self, url: Url, *, redirected: bool) -> dict[str, str]:
        """Return the headers that tell `url` who we are; none where nothing is known.

        What another host put into a redirect is not ours to send, and neither is `default`, which is for the host that
        was asked for.
        """
        found = None if redirected else url.user
        if found is None:
            found = self._in_netrc(url.host, default=not redirected)
        if found is None:
            return {}
        return {"Authorization": "Basic " + b64encode(":".join(found).encode()).decode()}

    def _in_netrc(self, host: str, *, default: bool) -> tuple[str, str] | None:
        known = self._hosts.get(host) or (self._hosts.get("default") if default else None)
        return None if known is None else (known[0] or "", known[2] or "")

    @cached_property
    def _hosts(self) -> Mapping[str, tuple[str | None, str | None, str | None]]:
        from netrc import NetrcParseError, netrc

        try:
            return netrc(self.path).hosts
        except FileNotFoundError:
            pass
        except OSError as error:
            self.fault = error.strerror or "it can't be read"
        except NetrcParseError as error:
            self.fault = f"line {error.lineno} can't be understood"  # its message may hold a password
        except ValueError:
            self.fault = "it is not UTF-8"
        return {}

"""Tokens for one repository of a registry: the registry says who gives them out, and gets what it wants of no other.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from model_provisioner.errors import FetchError, NotAllowedError
from model_provisioner.fetchers.http.client import status_text
from model_provisioner.fetchers.http.url import Url
from model_provisioner.fetchers.oci.logins import login_for
from model_provisioner.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.fetchers.http.client import Answer, HttpClient
    from model_provisioner.fetchers.oci.logins import Found
    from model_provisioner.fetchers.oci.place import Place

_ANSWER_BYTES = 1 << 20
_PAIR = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"\\]*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[!-~]{1,65536}")
LEAST = 60.0
"""Seconds that a token lives where nobody says it, as the protocol has it."""
_MARGIN = 10.0
"""Seconds before its end from which a token is not used any more."""


@dataclass
class Tokens:
    """The header that says who we are to the registry of a place, for as long as that holds; threads may share it.

    A login is used for its registry alone: it goes to the registry itself, or to whom this names over https: to give out its
    tokens. A token goes to the registry.
    """

    place: Place
    client: HttpClient
    actions: str
    """What is to be done: `pull`, or `pull,push`."""
    _lock: Lock = field(default_factory=Lock, repr=False)
    _challenge: Mapping[str, str] | None = field(default=None, repr=False)
    """What the registry asked for when it last refused a request; None before that."""
    _header: str = field(default="", repr=False)
    _until: float = 0.0
    """When the header ends, by the clock of this process."""

    def header(self) -> dict[str, str]:
        """Return the header of a request of this moment: none before the registry asked for one. Raises `FetchError`."""
        with self._lock:
            if self._challenge is None:
                return {}
            if time.monotonic() > self._until:
                self._renew(self._challenge)
            return {"authorization": self._header} if self._header else {}

    def answer(self, refused: Answer, sent: Mapping[str, str]) -> bool:
        """Take note of what a registry that refused a request asks for; return whether the request may go well now.

        `sent` is the header that the request had: another thread may have got a new one meanwhile.
        Raises `FetchError`, and `NotAllowedError` where who gives out tokens may not be contacted.
        """
        challenge = _challenge(refused.headers.get("WWW-Authenticate", ""))
        if challenge is None or refused.url.origin != self.place.origin:
            return False
        with self._lock:
            before = sent.get("authorization", "")
            if self._header in {"", before}:
                self._challenge = challenge
                self._renew(challenge)
            return self._header not in {"", before}

    def found(self) -> Found:
        """Return who we are to the registry, as the user's files have it."""
        return login_for(self.place)

    def _renew(self, challenge: Mapping[str, str]) -> None:
        login = self.found().login
        if challenge["scheme"] == "basic":
            known = login is not None and bool(login.password)
            self._header, self._until = login.basic if login is not None and known else "", float("inf")
            return
        realm = self._realm(challenge["realm"])
        query = {"scope": f"repository:{self.place.repository}:{self.actions}"}
        if service := challenge.get("service"):
            query["service"] = service
        asked = time.monotonic()
        if login is not None and login.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "client_id": "model-provisioner",
            }
            kind = {"content-type": "application/x-www-form-urlencoded"}
            answer = self._ask(realm, "POST", kind, urlencode({**form, **query}).encode())
        else:
            headers = {} if login is None else {"authorization": login.basic}
            mark = "&" if "?" in realm else "?"
            answer = self._ask(f"{realm}{mark}{urlencode(query)}", "GET", headers, None)
        if answer.status in {401, 403}:
            self._header, self._until = "", 0.0
            return
        self._header, seconds = self._read(answer)
        self._until = asked + seconds - min(_MARGIN, seconds / 2)

    def _realm(self, text: str) -> str:
        """Return the URL that gives out tokens. Raises `FetchError` for one that would be asked over http:."""
        url = Url.parse(text)
        if url.scheme == "http" and not (self.place.is_loopback and url.is_loopback):
            raise FetchError(
                f"{self.place.host} has its tokens given out over http:, where anybody can read them",
                where=url.origin,
                expected="https:",
                found="http:",
                fix="ask who runs the registry to name an https: realm",
            )
        return text

    def _ask(self, url: str, method: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        other = Url.parse(url).origin != self.place.origin
        try:
            return self.client.ask(url, method=method, headers=headers, body=body, limit=_ANSWER_BYTES, as_nobody=other)
        except NotAllowedError as error:
            error.found += f"; {self.place.registry} has its tokens given out by {Url.parse(url).host}"
            raise

    def _read(self, answer: Answer) -> tuple[str, float]:
        """Return the header that a token makes, and for how many seconds it holds. Raises `FetchError` for no token."""
        document: Any = None
        with suppress(ValueError):
            document = parse_json(answer.body)
        known = document if answer.status == 200 and isinstance(document, dict) else {}
        token, seconds = known.get("token") or known.get("access_token"), known.get("expires_in")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise FetchError(
                f"{answer.url.host} gives out no token for {self.place.registry}",
                status=answer.status,
                where=str(answer.url),
                expected="a token, as JSON",
                found="an answer without one" if answer.status == 200 else status_text(answer.status),
                fix="try again later; else tell who runs the registry",
            )
        if not isinstance(seconds, int) or not 0 < seconds < 1 << 31:
            seconds = LEAST
        return f"Bearer {token}", float(seconds)


def _challenge(text: str) -> dict[str, str] | None:
    """Return what a `WWW-Authenticate` asks for: its `scheme` in small letters, its parameters. None for what is not spoken."""
    scheme, _, rest = text[:8192].strip().partition(" ")
    found = {name.lower(): quoted or bare for name, quoted, bare in _PAIR.findall(rest)}
    found["scheme"] = scheme.lower()
    return found if scheme.lower() == "basic" or (scheme.lower() == "bearer" and found.get("realm")) else None

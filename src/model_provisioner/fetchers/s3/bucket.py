"""What an S3 storage says of a bucket: its objects, their versions, and the digests that it keeps of them.

Its questions go through our own connections, each held to the policy; the bytes are fetched by `fetchers/http`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http.client import status_text
from model_provisioner.fetchers.http.url import Url
from model_provisioner.fetchers.listing import FILES, RemoteFile
from model_provisioner.fetchers.patience import SOURCE, TRANSIENT, Patience, Terms, pause, too_long, wait_asked_by
from model_provisioner.fetchers.s3.errors import storage_error
from model_provisioner.fetchers.s3.session import AwsSession, Payload
from model_provisioner.fetchers.s3.xml import Listed, is_region, read_error, read_page
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model_provisioner.fetchers.http.connections import Connections

MOVES = 3
"""How often a question is asked again in another region."""
PAGES = 100
"""Responses that a listing may have, of a thousand objects each."""
_LARGEST = 8 << 20
"""Bytes that one response may have."""
_PATIENCE = 60.0
"""Seconds that one response may take."""
_VERSION = "x-amz-version-id"
_TELL_DIGESTS = {"x-amz-checksum-mode": "ENABLED"}


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Bucket:
    """A bucket of the storage that the AWS settings name, of Amazon's without any.

    `check` is given each host before it is contacted, and raises where it may not be: that of the bucket already here,
    though nobody is contacted yet. Raises `FetchError` where botocore is not installed, and `SettingError` for settings that
    can't be used.
    """

    def __init__(
        self,
        name: str,
        check: Callable[[str], None],
        wait: Callable[[float, str], object] = pause,
        *,
        terms: Terms = SOURCE,
        connections: Connections | None = None,
    ) -> None:
        """`terms` say how long the storage is borne with. Its questions go over `connections`, where these are given."""
        from model_provisioner.fetchers.http.connections import Connections

        self._name, self._check, self._wait = name, check, wait
        self._session = AwsSession(check)
        self._region = self._session.region
        self._terms, self._connections = terms, connections or Connections(terms)
        check(Url.parse(self._place("")).host)

    def below(self, prefix: str) -> list[Listed]:
        """Return all objects whose keys begin with `prefix`, but for those that stand for folders. Raises `FetchError`."""
        found: list[Listed] = []
        token: str | None = None
        for _ in range(PAGES):
            query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
            response = self._ask("GET", "", query if token is None else {**query, "continuation-token": token})
            if response.status != 200:
                raise self._error(response, prefix)
            try:
                page = read_page(response.body)
            except ValueError as error:
                raise self._no_storage(str(error)) from None
            if any(not each.key.startswith(prefix) for each in page.objects):
                raise self._no_storage("keys that were not asked for")
            found += [each for each in page.objects if not (each.key.endswith("/") and each.size == 0)]
            if len(found) > FILES:
                break  # a page may hold more than a thousand
            if page.after is None:
                if not found:
                    raise FetchError(
                        "no object lies under the prefix",
                        where=self._where(prefix),
                        expected="keys that begin with it",
                        found="none",
                        fix="check the spelling, small and capital letters too; one object is named without / at its end",
                    )
                return found
            token = page.after
        raise FetchError(
            "more objects lie under the prefix than a model can have",
            where=self._where(prefix),
            expected=f"at most {PAGES} pages of a listing, and {FILES:,} objects",
            found=f"more, with {len(found):,} objects",
            fix="name the folder of one model: a longer prefix",
        )

    def file(self, listed: Listed, name: str, *, ask: bool = True) -> RemoteFile:
        """Return an object of a listing as a file; where `ask`, also with a digest that the storage keeps of it."""
        sha256 = self.head(listed.key, name)[0].sha256 if ask and listed.has_sha256 else None
        return self._file(listed.key, name, listed.size, listed.etag, sha256)

    def head(self, key: str, name: str, revision: str | None = None) -> tuple[RemoteFile, str | None]:
        """Return an object as it is now, or was at a revision, and what names this version of it.

        Raises `FetchError`: also where the object is not that of the revision any more, and no digest could tell that its
        bytes are.
        """
        kind, _, version = (revision or "").partition(":")
        query: dict[str, str] = {}
        response = self._ask("HEAD", key, query, _TELL_DIGESTS)
        # Who may read an object may not always name a version of it, so only one that was replaced is named.
        if kind == "version" and not (response.status == 200 and response.headers.get(_VERSION) == version):
            query = {"versionId": version}
            response = self._ask("HEAD", key, query, _TELL_DIGESTS)
        if response.status != 200:
            why = self._ask("GET", key, query, {"range": "bytes=0-0"})  # a response to HEAD has no place for reasons
            raise self._error(why if why.status >= 300 else response, key)
        etag = response.headers.get("ETag", "")
        now = "etag:" + etag.strip('"') if etag else None
        file = self._as_told(response, key, name, query)
        if kind == "etag" and revision is not None and file.sha256 is None and revision != now:
            raise FetchError(
                "the object was replaced since it was locked or first fetched, and the storage does not keep the old one",
                where=self._where(key),
                expected=revision,
                found=now or "no ETag",
                fix=f"if the new one is right, `{called('lock --upgrade NAME')}` takes it; else put the old one back",
            )
        if (kept := response.headers.get(_VERSION, "null")) != "null":
            now = f"version:{kept}"
        return file, now

    def find(self, key: str, name: str) -> RemoteFile | None:
        """Return an object as it is now; None where there is none. Raises `FetchError`."""
        response = self._ask("HEAD", key, {}, _TELL_DIGESTS)
        if response.status == 200:
            return self._as_told(response, key, name)
        why = self._ask("GET", key, {}, {"range": "bytes=0-0"})  # a response to HEAD has no place for reasons
        if why.status == 404 and read_error(why.body)[0] != "NoSuchBucket":
            return None
        raise self._error(why if why.status >= 300 else response, key)

    def _as_told(self, response: Response, key: str, name: str, query: Mapping[str, str] | None = None) -> RemoteFile:
        """Return the object that a response to HEAD is about."""
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
        return self._file(key, name, size, response.headers.get("ETag", ""), _sha256_of(response.headers), query)

    def _file(
        self,
        key: str,
        name: str,
        size: int | None,
        etag: str,
        sha256: str | None,
        query: Mapping[str, str] | None = None,
    ) -> RemoteFile:
        url = self._place(key, query)
        same = {"if-match": etag} if etag.startswith('"') else {}  # what was listed, and not what came after
        sign = partial(self._session.sign, "GET", url, {}, self._region)
        return RemoteFile(name=name, url=url, size=size, sha256=sha256, headers=same, sign=sign)

    def _place(self, key: str, query: Mapping[str, str] | None = None) -> str:
        """Return the URL of an object, of the bucket where the key is empty; nothing of it is secret."""
        endpoint, path_style = self._session.endpoint, self._session.path_style
        if endpoint is None:
            domain = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
            scheme, host, path = "https", f"s3.{self._region}.{domain}", ""
            in_path = "." in self._name if path_style is None else path_style  # for the certificate
        else:
            scheme, _, host = endpoint.origin.partition("://")
            path, in_path = endpoint.path.rstrip("/"), path_style is not False
        place = f"{scheme}://{host}{path}/{self._name}/" if in_path else f"{scheme}://{self._name}.{host}{path}/"
        place = (place.rstrip("/") if not key and in_path else place) + quote(key, safe="/~")
        return f"{place}?{urlencode(query, quote_via=quote, safe='~')}" if query else place

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        payload: Payload | None = None,
    ) -> Response:
        """Return the response to a question, asked again where that may help, and in the region of the bucket."""
        patience, moved = Patience(self._wait, self._terms), 0
        while True:
            try:
                response = self._exchange(method, self._place(key, query), headers or {}, payload)
            except IncompleteError as error:
                if not patience.allows(None, error.what):
                    raise
                continue
            if response.status >= 300 and moved < MOVES and self._moves(response):
                moved += 1
                continue
            host = Url.parse(self._place("")).host
            if response.status not in TRANSIENT or not patience.allows(
                wait_asked_by(response.headers), f"{host} answers with {status_text(response.status)}"
            ):
                return response

    def _moves(self, response: Response) -> bool:
        """Switch to the region that a response names; tell whether that is another one."""
        region = response.headers.get("x-amz-bucket-region") or read_error(response.body)[1]
        if not is_region(region) or region == self._region:
            return False
        self._region = region
        return True

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], payload: Payload | None = None) -> Response:
        from model_provisioner.fetchers.http.connections import HTTPError, release
        from model_provisioner.fetchers.http.failures import network_error

        to = Url.parse(url)
        self._check(to.host)
        signed = self._session.sign(method, url, headers, self._region, payload)
        sent = {"user-agent": "model-provisioner", **signed, "accept-encoding": "identity"}
        body_sent = None if payload is None else payload.begin()
        try:
            response = self._connections.get(to, sent, method=method, body=body_sent)
        finally:
            if body_sent is not None and not isinstance(body_sent, bytes):
                body_sent.close()
        body, end = bytearray(), monotonic() + _PATIENCE
        try:
            while data := response.read1(1 << 20):
                body += data
                if len(body) > _LARGEST or monotonic() > end:
                    raise self._no_storage("more than a listing can be" if len(body) > _LARGEST else "next to nothing")
        except HTTPError as error:
            raise network_error(to, error) from None
        finally:
            release(response)
        return Response(status=response.status, headers=response.headers, body=bytes(body))

    def _where(self, key: str) -> str:
        return f"s3://{self._name}/{key} at {Url.parse(self._place('')).host}"

    def _error(self, response: Response, key: str) -> FetchError:
        code, _ = read_error(response.body)
        anonymous, hint = self._session.is_anonymous, self._session.role_hint
        error = storage_error(response.status, code, where=self._where(key), anonymous=anonymous, hint=hint)
        error.found += too_long(wait_asked_by(response.headers))
        return error

    def _no_storage(self, found: str) -> FetchError:
        host = Url.parse(self._place("")).host
        return FetchError(
            f"{host} does not answer as an S3 storage does",
            where=self._where(""),
            expected="a listing of the bucket",
            found=found,
            fix="check that AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, names an S3 storage",
        )


def _sha256_of(headers: Mapping[str, str]) -> str | None:
    """Return the SHA-256 of the whole object, in hexadecimal, where the storage tells it.

    Of an object that was sent in pieces the storage keeps a digest of the digests of its pieces; an ETag is none at all.
    """
    kind = headers.get("x-amz-checksum-type", "FULL_OBJECT")
    if kind != "FULL_OBJECT" or "-" in headers.get("ETag", ""):
        return None
    try:
        raw = base64.b64decode(headers.get("x-amz-checksum-sha256", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None

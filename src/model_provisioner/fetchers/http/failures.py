"""Why there is no response, or no more of it, in sentences. The texts of urllib3 are not used: they hold the whole URL."""

from __future__ import annotations

import re
import ssl
from http.client import HTTPException, responses
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from model_provisioner.errors import FetchError, IncompleteError

if TYPE_CHECKING:
    from model_provisioner.fetchers.http.environment import Proxy, Trust
    from model_provisioner.fetchers.http.url import Url

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_OTHER_NAME = {62, 64}
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_OTHER_TIME = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class EndlessError(HTTPException):
    """Lines without an end, where a response should begin, go on or end."""


def connection_error(url: Url, error: HTTPError, proxy: Proxy | None, trust: Trust) -> FetchError:
    """Word why no response to a request came, with the setting that the cause lies in, where it lies in one.

    An `IncompleteError` where another try may help. `proxy` is the one that was asked, `trust` whose certificates count.
    """
    if proxy is not None and isinstance(error, ProxyError):
        return _proxy_error(url, error, proxy, trust)
    return _untrusted(url.host, url, error, trust) or network_error(url, error)


def network_error(url: Url, error: HTTPError) -> FetchError:
    """Word why a response broke off, whatever the environment says; an `IncompleteError` where another try may help."""
    host = url.host
    if isinstance(error, SSLError):
        return _transient(url, f"no secure connection to {host} could be made or kept")
    if isinstance(error, NameResolutionError):
        fix = "check its spelling, and whether this machine is in a network; one with a proxy needs HTTPS_PROXY"
        return IncompleteError(
            f"the name {host} was not found",
            where=str(url),
            expected="a name that has an address",
            found="none",
            fix=fix,
        )
    if isinstance(error, NewConnectionError):
        return _transient(url, f"{host} could not be reached", _reason(error))
    if isinstance(error, ConnectTimeoutError):
        return _transient(url, f"{host} did not answer in time")
    if isinstance(error, ReadTimeoutError):
        return _transient(url, f"{host} sent nothing for too long")
    cause = error.args[-1] if isinstance(error, ProtocolError) else None
    if isinstance(cause, EndlessError):
        return _transient(url, f"{host} sends headers without an end", str(cause))
    return _transient(url, f"{host} broke the connection off")


def _transient(url: Url, what: str, found: str = "") -> IncompleteError:
    return IncompleteError(what, where=str(url), expected="an answer", found=found or "none", fix="try again later")


def _reason(error: BaseException) -> str:
    """Return why no connection was made, in the words of the system, which hold no address; empty where it says nothing."""
    if isinstance(error, NameResolutionError):
        return "its name was not found"
    return getattr(error.__cause__, "strerror", None) or ("no answer in time" if "timed out" in str(error) else "")


def _proxy_error(url: Url, error: ProxyError, proxy: Proxy, trust: Trust) -> FetchError:
    """Word why the proxy brings us nowhere."""
    place, cause, where = proxy.place, error.original_error, str(url)
    if untrusted := _untrusted(f"the proxy {place}", url, cause, trust):
        return untrusted
    if "appears to only use HTTP" in str(error):  # the words of urllib3
        return FetchError(
            f"the proxy {place} does not speak TLS",
            where=where,
            expected="http://HOST:PORT",
            found="https://",
            fix=f"write {proxy.variable} with http://; what goes through it to https: hosts is encrypted all the same",
        )
    refused = _TUNNEL.search(str(cause))  # the words of http.client
    if refused is None:
        found, reached = _reason(cause), "an answer of the proxy"
        fix = f"check {proxy.variable}, and NO_PROXY if {url.host} is to be reached without it"
        return IncompleteError(
            f"the proxy {place} can't be reached", where=where, expected=reached, found=found or "none", fix=fix
        )
    status = int(refused[1])
    found = f"{status} {responses.get(status, '')}".strip()
    if status == 407:
        known = bool(proxy.headers)
        what = f"the proxy {place} does not take our credentials" if known else f"the proxy {place} wants credentials"
        return FetchError(
            what,
            where=where,
            expected=f"{proxy.variable}=http://NAME:PASSWORD@HOST:PORT, special characters as %XX",
            found=found,
            fix=f"correct name and password of {proxy.variable}"
            if known
            else f"put name and password into {proxy.variable}",
        )
    tunnel = f"a way through it to {url.host}:{url.port}"
    if status < 500:
        return FetchError(
            f"the proxy {place} does not let {url.host} be reached",
            where=where,
            expected=tunnel,
            found=found,
            fix=f"have it allow {url.host}, or name that in NO_PROXY if it can be reached without the proxy",
        )
    fix = "try again later; or ask who runs the proxy"
    return IncompleteError(
        f"the proxy {place} can't reach {url.host}", where=where, expected=tunnel, found=found, fix=fix
    )


def _untrusted(who: str, url: Url, error: BaseException, trust: Trust) -> FetchError | None:
    """Return the error for the certificate of `who`, a host or the proxy; None where `error` is about something else."""
    cause = error.args[0] if isinstance(error, SSLError) and error.args else error
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    code = cause.verify_code
    if code in _OTHER_NAME:
        what = f"the certificate that {who} shows is that of another host"
        fix = "check the name of the host, and whether a proxy or a page to log in to the network answers in its place"
    elif code in _OTHER_TIME:
        what = f"the certificate of {who} does not hold now"
        fix = "set the clock of this machine; or have who runs the host renew it"
    else:
        what = f"the certificate of {who} is not trusted by {trust}"
        fix = (
            f"add the authority's certificate there; or take {trust.variable} out of the environment: then this machine's count"
            if trust.variable
            else "if your network has an authority of its own, name its certificates in SSL_CERT_FILE"
        )
    expected = "a certificate for this host by an authority that is trusted, and in its time"
    return FetchError(what, where=str(url), expected=expected, found=cause.verify_message, fix=fix)

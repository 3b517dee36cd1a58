"""Proxies, their exceptions and private authorities, as companies have them: the three ways to fetch behave alike."""

import json
import os
import socket
import ssl
import subprocess
from unittest.mock import patch

import huggingface_hub
import pytest
import trustme
from huggingface_hub.utils import _http

from model_provisioner.errors import FetchError, InputError, ProvisionError
from model_provisioner.fetchers import hub
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.listing import Patterns
from model_provisioner.fetchers.s3 import bucket
from model_provisioner.references.reference import HubRef
from tests.fetchers.conftest import context_of
from tests.support.files_server import FilesServer
from tests.support.proxy import Proxy
from tests.support.receiving import bring, remote
from tests.support.s3 import KEYS

COMMIT = "c" * 40
SECRET = "s3cret"
LISTED = [{"type": "file", "path": "x.gguf", "size": 5, "oid": "0" * 40}]
FILES = {
    "/x.gguf": b"bytes",
    "/models/x.gguf": b"bytes",
    f"/api/models/org/tiny/tree/{COMMIT}": json.dumps(LISTED).encode(),
}
"""What one server says as a web server, as an S3 storage and as a Hub."""


@pytest.fixture(autouse=True)
def environ(monkeypatch, tmp_path):
    """An environment in which nothing is said of proxies, certificates and credentials."""
    named = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "NETRC")
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith(named)}
    kept = {name: value for name, value in kept.items() if not name.startswith(("AWS_", "HF_"))}
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with patch.dict(os.environ, {**kept, **KEYS, "HOME": str(tmp_path)}, clear=True):
        yield os.environ
    huggingface_hub.set_client_factory(_http.default_client_factory)


@pytest.fixture
def server(serve):
    return serve(FILES)


def no_wait(seconds, why):
    """Ask again at once."""


def https(server, host):
    return bring(HttpClient(lambda host: None), remote(server, url=server.url("/x.gguf", host=host)))


def hf(server, host):
    with patch.dict(os.environ, {"HF_ENDPOINT": server.url("", host=host)}):
        return hub.Hub(HubRef("org/tiny", COMMIT, None), lambda host: None, Patterns(), no_wait).listing()


def s3(server, host):
    with patch.dict(os.environ, {"AWS_ENDPOINT_URL": server.url("", host=host)}):
        return bucket.Bucket("models", lambda host: None, no_wait).head("x.gguf", "x.gguf")


ALIKE = pytest.mark.parametrize("ask", [https, hf, s3])


def refused(ask, server, host="localhost"):
    """Return the error; its text without the URL, which alone is not the same for all."""
    with pytest.raises(ProvisionError) as caught:
        ask(server, host)
    text = str(caught.value)
    assert SECRET not in f"{text}{caught.value!r}"
    assert "check the network" not in text
    return caught.value


# ---- who is trusted


@ALIKE
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"])
def test_a_private_authority(environ, server, authority, ask, variable):
    environ[variable] = authority.file
    ask(server, "localhost")
    assert server.asked != []


@ALIKE
def test_a_folder_of_certificates(environ, server, authority, ask, tmp_path):
    certificates = ssl.create_default_context(cafile=authority.file).get_ca_certs(binary_form=True)
    (tmp_path / "certs").mkdir()
    name = __import__("subprocess").check_output(
        ["openssl", "x509", "-hash", "-noout", "-in", authority.file], text=True
    )
    (tmp_path / "certs" / f"{name.strip()}.0").write_text(ssl.DER_cert_to_PEM_cert(certificates[0]))
    environ["REQUESTS_CA_BUNDLE"] = str(tmp_path / "certs")
    ask(server, "localhost")


@ALIKE
def test_a_host_that_this_machine_does_not_trust(server, ask):
    error = refused(ask, server)
    assert error.what == "the certificate of localhost is not trusted by this machine"
    assert error.found == "unable to get local issuer certificate"
    assert error.fix == "if your network has an authority of its own, name its certificates in SSL_CERT_FILE"
    assert isinstance(error, FetchError)
    assert server.asked == []


@ALIKE
def test_a_host_that_the_named_certificates_do_not_vouch_for(environ, server, ask, tmp_path):
    other = str(tmp_path / "other.pem")
    trustme.CA().cert_pem.write_to_path(other)
    environ["SSL_CERT_FILE"] = other
    error = refused(ask, server)
    assert error.what == f"the certificate of localhost is not trusted by SSL_CERT_FILE ({other})"
    assert error.fix == (
        "add the authority's certificate there; or take SSL_CERT_FILE out of the environment: then this machine's count"
    )
    assert error.exit_code == 1


@ALIKE
def test_a_certificate_of_another_host(environ, authority, ask):
    environ["SSL_CERT_FILE"] = authority.file
    with FilesServer(FILES, context=authority.stranger) as server:
        error = refused(ask, server)
    assert error.what == "the certificate that localhost shows is that of another host"
    assert error.fix == (
        "check the name of the host, and whether a proxy or a page to log in to the network answers in its place"
    )


@ALIKE
def test_a_certificate_that_ran_out(environ, ask, tmp_path):
    from datetime import UTC, datetime

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with FilesServer(FILES, context=context_of(issued)) as server:
        error = refused(ask, server)
    assert (error.what, error.found) == ("the certificate of localhost does not hold now", "certificate has expired")
    assert error.fix == "set the clock of this machine; or have who runs the host renew it"


@ALIKE
@pytest.mark.parametrize(
    ("content", "found"), [(None, "No such file or directory"), ("", "no certificate"), ("no PEM", "no certificate")]
)
def test_certificates_that_can_not_be_read(environ, server, ask, tmp_path, content, found):
    named = tmp_path / "named.pem"
    if content is not None:
        named.write_text(content)
    environ["SSL_CERT_FILE"] = str(named)
    assert str(refused(ask, server)) == (
        "the certificates of SSL_CERT_FILE can't be read\n"
        f"  where     {named}\n"
        "  expected  a file of certificates (PEM), or a folder of them as OpenSSL has it\n"
        f"  found     {found}\n"
        "  fix       correct SSL_CERT_FILE, or take it out of the environment"
    )
    assert refused(ask, server).exit_code == 3


# ---- by which proxy


@pytest.fixture
def trusting(environ, authority):
    environ["SSL_CERT_FILE"] = authority.file
    return environ


@ALIKE
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy(trusting, server, ask, variable):
    with Proxy() as proxy:
        trusting[variable] = proxy.url()
        ask(server, "localhost")
        assert [head.split()[:2] for head in proxy.heads] == [["CONNECT", f"localhost:{server.port}"]]
        assert not any("authorization" in head.lower() for head in proxy.heads)


@ALIKE
def test_a_proxy_that_wants_to_know_who_we_are(trusting, server, ask):
    with Proxy(user=f"me:{SECRET}/@") as proxy:
        trusting["HTTPS_PROXY"] = proxy.url(f"me:{SECRET}%2F%40")
        ask(server, "localhost")
        trusting["HTTPS_PROXY"] = proxy.url(f"me:{SECRET}%2F%40").removeprefix("http://")
        ask(server, "localhost")
        trusting["HTTPS_PROXY"] = proxy.url(f"you:{SECRET}")
        assert str(refused(ask, server)).splitlines()[0] == (
            f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY does not take our credentials"
        )
        trusting["HTTPS_PROXY"] = proxy.url()
        error = refused(ask, server)
        assert error.what == f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY wants credentials"
        assert error.expected == "HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT, special characters as %XX"
        assert error.found == "407 Proxy Authentication Required"
        assert error.fix == "put name and password into HTTPS_PROXY"
        assert error.exit_code == 1


@ALIKE
def test_a_proxy_over_tls(trusting, authority, server, ask):
    with Proxy(context=context_of(authority.issued)) as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        ask(server, "localhost")
        assert len(proxy.heads) == 1
    with Proxy(context=authority.stranger) as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        error = refused(ask, server)
        assert error.what == (
            f"the certificate that the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY shows is that of another host"
        )
    with Proxy() as proxy:
        trusting["HTTPS_PROXY"] = proxy.url().replace("http:", "https:")
        error = refused(ask, server)
        assert error.what == f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY does not speak TLS"
        assert error.fix == (
            "write HTTPS_PROXY with http://; what goes through it to https: hosts is encrypted all the same"
        )


@ALIKE
def test_a_proxy_that_forbids_the_host(trusting, server, ask):
    with Proxy(answer=b"403 Forbidden by s3cret") as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        error = refused(ask, server)
    assert error.what == f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY does not let localhost be reached"
    assert error.found == "403 Forbidden"
    assert error.fix == "have it allow localhost, or name that in NO_PROXY if it can be reached without the proxy"
    assert server.connections == 0


@ALIKE
def test_a_proxy_that_does_not_get_there(trusting, server, ask):
    with Proxy(answer=b"502 Bad Gateway") as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        error = refused(ask, server)
    assert f"the proxy 127.0.0.1:{proxy.port} of HTTPS_PROXY can't reach localhost" in error.what
    assert error.found == "502 Bad Gateway"


@ALIKE
def test_a_proxy_that_is_not_there(trusting, server, ask):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    trusting["ALL_PROXY"] = f"http://me:{SECRET}@127.0.0.1:{port}"
    error = refused(ask, server)
    assert f"the proxy 127.0.0.1:{port} of ALL_PROXY can't be reached" in error.what
    assert error.found == "Connection refused"


@ALIKE
def test_a_proxy_of_a_kind_that_is_not_spoken(trusting, server, ask):
    trusting["ALL_PROXY"] = f"socks5://me:{SECRET}@127.0.0.1:1080"
    assert str(refused(ask, server)) == (
        "the proxy that ALL_PROXY names can't be used\n"
        "  where     the environment\n"
        "  expected  http://HOST:PORT or https://HOST:PORT; a password with special characters as %XX\n"
        "  found     socks5:, a kind of proxy that is not spoken here\n"
        "  fix       correct ALL_PROXY, set HTTPS_PROXY to a proxy of this kind, or name the host in NO_PROXY"
    )
    assert isinstance(refused(ask, server), InputError)
    trusting["NO_PROXY"] = "localhost"
    ask(server, "localhost")
    del trusting["NO_PROXY"]
    with Proxy() as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        ask(server, "localhost")


@ALIKE
@pytest.mark.parametrize(
    "value",
    [
        f"http://[me:{SECRET}",
        f"http://me:{SECRET}@127.0.0.1:bad",
        f"http://me:{SECRET}@",
        f"me:1/{SECRET}@127.0.0.1:3128",
        f"http://me:1#{SECRET}@127.0.0.1:3128",
        f"http://me:1?{SECRET}@127.0.0.1:3128",
        f"http://{SECRET}:99999",
    ],
)
def test_a_malformed_proxy(trusting, server, ask, value):
    trusting["HTTPS_PROXY"] = value
    error = refused(ask, server)
    found = "something else, which may hold a password"
    assert (error.what, error.found) == ("the proxy that HTTPS_PROXY names can't be used", found)
    assert error.exit_code == 3


@ALIKE
@pytest.mark.parametrize("exception", ["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8, 127.0.0.1", "*", "127.0.0.1:{port}"])
def test_a_host_that_needs_no_proxy(trusting, server, ask, exception):
    with Proxy() as proxy:
        trusting["HTTPS_PROXY"] = proxy.url()
        trusting["NO_PROXY"] = exception.format(port=server.port)
        ask(server, "127.0.0.1")
        assert proxy.heads == []
        ask(server, "localhost") if exception != "*" else None
        assert len(proxy.heads) == (exception != "*")

"""Requests to real servers that redirect and refuse: the policy, credentials, certificates and proxies."""

import base64
import logging
import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import patch

import pytest

from urllib3.connection import HTTPConnection

from model_provisioner.errors import FetchError, IncompleteError, NotAllowedError
from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.fetchers.listing import RemoteFile
from tests.support.files_server import FilesServer
from tests.support.remote import wait_until
from tests.support.receiving import DATA, SECRETS, Naps, Sink, bring, fetch, refused, remote


# ---- statuses


@pytest.mark.parametrize(
    ("status", "what", "fix"),
    [
        (401, "localhost wants credentials", "give credentials for localhost in {home}/.netrc"),
        (
            403,
            "localhost does not let us have the file",
            "ask its owner for access; credentials are read from {home}/.netrc",
        ),
        (
            404,
            "localhost has no such file",
            "copy the link of the file from its page, or ask who runs the server for it",
        ),
        (
            410,
            "localhost has no such file",
            "copy the link of the file from its page, or ask who runs the server for it",
        ),
        (418, "localhost does not serve the file", "download the model and point model_ref at the file"),
        (204, "localhost does not serve the file", "download the model and point model_ref at the file"),
        (416, "localhost does not serve the file", "download the model and point model_ref at the file"),
    ],
)
def test_statuses_that_will_not_pass(https, server, environ, status, what, fix):
    server.manners.statuses.append((status, {}))
    error = refused(https, remote(server, "/x.gguf?token=tok3n"))
    assert (error.what, error.status, error.fix) == (what, status, fix.format(home=environ["HOME"]))
    assert error.found.startswith(str(status))
    assert error.where == f"https://localhost:{server.port}/x.gguf"
    assert not isinstance(error, IncompleteError)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_statuses_that_may_pass(https, server, status):
    server.manners.statuses.append((status, {"Retry-After": "7"}))
    sink, naps = bring(https, remote(server))
    assert sink.data == DATA
    assert naps == [7.0]


def test_a_server_says_how_long_we_wait(https, server):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    server.manners.statuses.extend(
        [
            (429, {"RateLimit": '"api";r=0;t=200'}),
            (429, {"Retry-After": later}),
            (503, {"Retry-After": "soon"}),
            (429, {"RateLimit": '"api";r=9;t=200'}),
        ]
    )
    _, naps = bring(https, remote(server))
    assert naps[0] == 200
    assert 15 < naps[1] <= 20
    assert 2 <= naps[2] <= 4
    assert 4 <= naps[3] <= 8


@pytest.mark.parametrize("waits", [["86400"], ["200", "101"]])
def test_a_server_that_makes_us_wait_for_more_than_five_minutes_in_all_is_given_up(https, server, waits):
    server.manners.statuses.extend((429, {"Retry-After": wait}) for wait in waits)
    error = refused(https, remote(server))
    assert len(server.asked) == len(waits)
    assert error.found.startswith("429 Too Many Requests")
    assert ("and asks for a wait of 86,400 s, where at most 300 s are waited" in error.found) == (len(waits) == 1)


def test_a_busy_server_is_given_up(https, server):
    server.manners.statuses.extend([(503, {})] * 5)
    error = refused(https, remote(server))
    assert error.what == "x.gguf could not be fetched: localhost can't serve the file now, 5 times in a row"
    assert (error.status, error.found) == (503, "503 Service Unavailable")
    assert len(server.asked) == 5


# ---- redirects and the policy


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_asked_of_the_policy_first(environ, serve, status):
    there = serve({"/blob": DATA})
    here = serve({})
    here.manners.redirects["/x.gguf"] = (status, there.url("/blob?signature=1", host="127.0.0.1"))
    contacted = []
    https = HttpClient(contacted.append)
    sink, _ = bring(https, remote(here, headers={"Authorization": "Bearer tok3n", "X-Token": "tok3n"}))
    assert sink.data == DATA
    assert contacted == ["localhost", "127.0.0.1"]
    assert here.asked[0].headers["authorization"] == "Bearer tok3n"
    assert there.asked[0].path == "/blob?signature=1"
    assert "authorization" not in there.asked[0].headers
    assert "x-token" not in there.asked[0].headers


def test_a_host_that_is_not_allowed_is_not_contacted(environ, serve):
    there, here = serve({"/blob": DATA}), serve({})
    here.manners.redirects["/x.gguf"] = (302, there.url("/blob", host="127.0.0.1"))
    policy = NetworkPolicy(("localhost",), None, "models.yaml")
    https = HttpClient(lambda host: policy.check(host, "tiny", 2))
    with pytest.raises(NotAllowedError) as caught:
        bring(https, remote(here))
    assert str(caught.value) == (
        "tiny would have to be fetched, and the network is not allowed\n"
        "  where     models.yaml:2\n"
        "  expected  127.0.0.1 among the hosts of network.allow\n"
        "  found     allow: [localhost]; localhost redirects to 127.0.0.1\n"
        '  fix       add "127.0.0.1" to network.allow, or download the model and point model_ref at the file'
    )
    assert there.connections == 0
    here.connections_before = here.connections
    policy = NetworkPolicy((), None, "models.yaml")
    with pytest.raises(NotAllowedError):
        bring(https, remote(here))
    assert here.connections == here.connections_before


def test_another_port_is_another_server_and_gets_no_credentials(environ, serve):
    there, here = serve({"/blob": DATA}), serve({})
    here.manners.redirects["/x.gguf"] = (302, there.url("/blob"))
    https = HttpClient(lambda host: None)
    bring(https, remote(here, url=here.url("/x.gguf").replace("//", "//u:s3cret@"), headers={"X-Token": "tok3n"}))
    assert "authorization" in here.asked[0].headers
    assert {"authorization", "x-token"}.isdisjoint(there.asked[0].headers)


def test_credentials_do_not_come_back_by_a_detour(https, serve):
    here, there = serve({"/private": DATA}), serve({})
    here.manners.redirects["/x.gguf"] = (302, there.url("/detour"))
    there.manners.redirects["/detour"] = (302, here.url("/private"))
    bring(https, remote(here, headers={"Authorization": "Bearer tok3n"}))
    assert here.asked[-1].path == "/private"
    assert "authorization" not in here.asked[-1].headers


def test_an_answer_comes_as_a_whole_whatever_its_status_and_only_what_is_accepted_goes_to_another_host(environ, serve):
    other = serve({"/x": b"a whole answer"})
    front = serve({})
    front.manners.redirects["/x"] = (307, other.url("/x", "127.0.0.1"))
    asked = {"authorization": "Bearer s3cret", "accept": "application/json"}
    with HttpClient(lambda host: None) as client:
        answer = client.ask(front.url("/x"), headers=asked, limit=100)
        assert (answer.status, answer.body, answer.url.host) == (200, b"a whole answer", "127.0.0.1")
        assert client.ask(front.url("/y"), headers=asked, limit=100).status == 404
        assert client.ask(front.url("/x"), headers=asked, limit=0, method="HEAD").body == b""
    assert front.asked[0].headers["authorization"] == "Bearer s3cret"
    assert [("authorization" in each.headers, each.headers["accept"]) for each in other.asked] == [
        (False, "application/json")
    ] * 2
    assert "s3cret" not in repr(answer)


def test_an_answer_without_an_end_is_not_read_to_it(environ, serve):
    server = serve({"/x": bytes(64 << 20)})
    with HttpClient(lambda host: None) as client, pytest.raises(FetchError) as caught:
        client.ask(server.url("/x"), limit=1 << 20)
    assert str(caught.value) == (
        f"localhost answers without an end\n  where     {server.url('/x')}\n"
        "  expected  at most 1,048,576 bytes, within 60 s\n  found     more\n"
        "  fix       check that the reference names the host that was meant"
    )
    assert server.sent < 32 << 20


@pytest.mark.parametrize("location", ["/a/b%20c?d=1#e", "b%20c?d=1", "//localhost:{port}/a/b%20c?d=1", "/a/b c?d=1"])
def test_relative_redirects_keep_the_credentials(https, serve, location):
    server = serve({"/a/b%20c": DATA})
    server.manners.redirects["/a/x"] = (302, location.format(port=server.port))
    sink, _ = bring(https, remote(server, "/a/x", headers={"Authorization": "Bearer tok3n"}))
    assert sink.data == DATA
    assert server.asked[-1].path == "/a/b%20c?d=1"
    assert server.asked[-1].headers["authorization"] == "Bearer tok3n"


def test_a_redirect_in_utf8(https, serve):
    server = serve({"/%C3%A9": DATA})
    server.manners.redirects["/x.gguf"] = (302, "/é".encode().decode("latin-1"))
    assert bring(https, remote(server))[0].data == DATA


def test_redirects_without_end(https, server):
    server.manners.redirects["/loop"] = (302, "/loop")
    error = refused(https, remote(server, "/loop"))
    assert (error.what, error.expected) == ("localhost redirects without end", "at most 10 redirects")
    assert len(server.asked) == 11


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://localhost/x", "https://[::1/x", "https://a b/x", "https://a:99999/x"]
)
def test_redirects_to_nowhere(https, server, location):
    server.manners.redirects["/x"] = (302, location)
    error = refused(https, remote(server, "/x"))
    assert error.what == "the address of the file is no URL that it can be fetched from"
    assert len(server.asked) == 1


def test_a_redirect_that_does_not_say_where_to(https, server):
    server.manners.statuses.append((302, {}))
    assert refused(https, remote(server)).found == "302 Found"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a\\@b/x", "b"),
        ("https://a/@b/x", "a"),
        ("https://a?@b/x", "a"),
        ("https://a#@b/x", "a"),
        ("https://A:B@[::1]/", "::1"),
    ],
)
def test_the_host_that_is_checked_is_the_host_that_is_contacted(environ, url, host):
    """Readers of URLs differ about what a host is; ours is asked of the policy, and handed on taken apart."""

    def check(host):
        raise NotAllowedError(host)

    with pytest.raises(NotAllowedError, match=f"^{host}$"):
        bring(HttpClient(check), RemoteFile(name="x", url=url))


def test_from_https_to_http_is_refused(https, serve):
    there, here = serve({"/blob": DATA}, tls=False), serve({})
    here.manners.redirects["/x.gguf"] = (302, there.url("/blob"))
    error = refused(https, remote(here))
    assert error.what == "localhost would have the model sent over http:, where anybody can read and change it"
    assert there.connections == 0


def test_http_is_for_a_hub_on_this_machine_alone(https, serve):
    there, here = serve({"/blob": DATA}, tls=False), serve({}, tls=False)
    here.manners.redirects["/x.gguf"] = (302, there.url("/blob", host="127.0.0.1"))
    assert bring(https, remote(here))[0].data == DATA
    assert "over http:" in refused(https, RemoteFile(name="x", url="http://192.0.2.1/x")).what
    here.manners.redirects["/x.gguf"] = (302, "http://192.0.2.1/x")
    assert "over http:" in refused(https, remote(here)).what


# ---- credentials, certificates, proxies


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_credentials_of_the_url(https, server):
    server.manners.users["/x.gguf"] = basic("me:s3cret:ü")
    url = server.url("/x.gguf?token=tok3n").replace("//", "//me:s3cret%3A%C3%BC@")
    file = remote(server, url=url)
    assert bring(https, file)[0].data == DATA
    assert not any(secret in repr(file) for secret in SECRETS)
    server.manners.users["/x.gguf"] = "other"
    error = refused(https, file)
    assert (error.what, error.fix) == (
        "localhost does not take our credentials",
        "correct the credentials for localhost",
    )


@pytest.mark.parametrize("place", ["HOME", "NETRC"])
def test_credentials_of_netrc(environ, server, tmp_path, place):
    path = tmp_path / (".netrc" if place == "HOME" else "elsewhere")
    path.write_text("machine localhost login me password s3cret\nmachine other login you password no\n")
    if place == "NETRC":
        environ["NETRC"] = str(path)
    https = HttpClient(lambda host: None)
    server.manners.users["/x.gguf"] = basic("me:s3cret")
    assert bring(https, remote(server))[0].data == DATA
    bring(https, remote(server, "/empty", headers={"authorization": "Bearer tok3n"}))
    assert server.asked[-1].headers["authorization"] == "Bearer tok3n"


def test_netrc_is_for_hosts_that_it_names_and_that_the_user_named(environ, serve, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\ndefault login any password s3cret\n")
    there, here = serve({"/blob": DATA}), serve({"/blob": DATA})
    here.manners.redirects["/x"] = (302, there.url("/blob"))
    here.manners.redirects["/y"] = (302, there.url("/blob", host="127.0.0.1").replace("//", "//evil:evil@"))
    https = HttpClient(lambda host: None)
    for path in ("/x", "/y", "/blob"):
        bring(https, remote(here, path))
    assert [each.path for each in there.asked] == ["/blob", "/blob"]
    assert not any("authorization" in each.headers for each in here.asked + there.asked)
    bring(https, remote(there, url=there.url("/blob", host="127.0.0.1")))
    assert there.asked[-1].headers["authorization"] == basic("me:s3cret")


def test_a_host_that_a_redirect_led_to_is_told_to_be_named_itself(environ, serve, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    there, here = serve({"/blob": DATA}), serve({})
    there.manners.users["/blob"] = basic("me:s3cret")
    here.manners.redirects["/x"] = (302, there.url("/blob", host="127.0.0.1"))
    error = refused(HttpClient(lambda host: None), remote(here, "/x"))
    assert error.what == "127.0.0.1 does not let us have the file"
    assert error.fix == "name its URL at 127.0.0.1 itself: where a redirect leads, no credentials are sent"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"machine localhost login me pass s3cret", "line 1 can't be understood"),
        (b"machine \xff", "it is not UTF-8"),
        (b"#" * (1 << 20) + b"\n", "1,048,577 bytes"),
    ],
)
def test_a_broken_netrc_is_told_where_credentials_are_wanted(environ, server, tmp_path, content, fault):
    (tmp_path / ".netrc").write_bytes(content)
    https = HttpClient(lambda host: None)
    assert bring(https, remote(server))[0].data == DATA
    server.manners.users["/x.gguf"] = "other"
    assert refused(https, remote(server)).fix == f"give credentials for localhost in {tmp_path}/.netrc ({fault})"


def test_a_server_that_speaks_no_tls(https, serve):
    server = serve({"/x": DATA}, tls=False)
    error = refused(https, remote(server, url=server.url("/x").replace("http:", "https:")))
    assert "no secure connection to localhost could be made or kept" in error.what


def test_no_secret_reaches_a_log(https, server, caplog):
    caplog.set_level(logging.DEBUG)
    server.manners.redirects["/r"] = (302, "/x.gguf?signature=2")
    url = server.url("/r?token=tok3n").replace("//", "//me:s3cret@")
    bring(https, remote(server, url=url, headers={"X-Token": "tok3n"}))
    assert "GET /x.gguf" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


def test_urllib3_is_imported_where_something_is_fetched(run_python):
    program = "import sys, model_provisioner.fetchers.http.receive, model_provisioner.config.network_policy; print('urllib3' in sys.modules)"
    assert run_python(program) == "False\n"


def test_threads_share_one(https, serve):
    files = {f"/{number}": os.urandom(200_000) for number in range(8)}
    server = serve(files)
    results = {}

    def work(path):
        results[path] = bytes(bring(https, remote(server, path))[0].data)

    threads = [threading.Thread(target=work, args=(path,)) for path in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == files


def test_closing_ends_a_thread_that_waits_for_the_first_byte(environ, server):
    """Whoever presses Ctrl-C would else wait until a silent host is given up."""
    server.before_each = lambda: server.closing.wait(20)
    client, ended = HttpClient(lambda host: None), []

    def ask():
        with pytest.raises(IncompleteError):
            client.ask(server.url("/x"), limit=10)
        ended.append(time.monotonic())

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: server.connections)
    time.sleep(0.1)
    began = time.monotonic()
    client.close()
    thread.join()
    assert ended[0] - began < 2


def test_a_closed_client_leaves_no_connection_open_while_somebody_has_an_error_of_it(https, server):
    """The traceback has the response, and with it the pool of the host."""
    server.manners.redirects["/y.gguf"] = (302, "ftp://elsewhere.example/x.gguf")
    with pytest.raises(FetchError) as raised, https.open(server.url("/y.gguf")):
        pass
    (connection,) = (made for made in https.connections._made._all if isinstance(made, HTTPConnection))
    assert connection.sock is not None
    https.close()
    assert connection.sock is None
    assert raised.value.__traceback__ is not None

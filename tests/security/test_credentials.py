"""Credentials go to the host that the user gave them for, over TLS, and nowhere else; and nothing that is shown holds one."""

import base64
import json
import os
import socket
import threading
from contextlib import contextmanager

import pytest

from tests.support.files_server import FilesServer
from tests.support.hub import Hub, redirect
from tests.support.project import TINY
from tests.support.remote import ONE, REPO
from tests.support.s3 import KEYS, clean

BYTES = TINY.read_bytes()
SECRET = "s3cretword"
NETRC = f"machine localhost login me password {SECRET}\nmachine 127.0.0.2 login me password {SECRET}2\n"
SENT = ("authorization", "proxy-authorization", "cookie", "x-amz-security-token", "x-amz-date")
"""Headers that say who we are."""


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def servers(trusted):
    """Two hosts: what the user names is `localhost`; `127.0.0.1` is another one."""
    with FilesServer({"/x.gguf": BYTES}, context=trusted.context) as here:
        with FilesServer({"/x.gguf": BYTES}, context=trusted.context) as there:
            yield here, there


@pytest.fixture
def user(victim, trusted, monkeypatch):
    for name in clean():
        monkeypatch.delenv(name)
    (victim.home / ".netrc").write_text(NETRC)
    (victim.home / ".netrc").chmod(0o600)
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    monkeypatch.setenv("HF_HOME", str(victim.home / "hf"))
    return victim


def provision(victim, ref, *, allow=("localhost", "127.0.0.1"), code=0, **environ):
    """Provision one model; nothing that is shown or written holds a secret."""
    entry = {"model_ref": ref, "engine": "llamacpp"}
    models = {"cache_dir": "cache", "network": {"allow": list(allow)}, "models": {"m": entry}}
    victim.write("models.yaml", json.dumps(models))
    ran = victim.doit("provision", environ={"NO_PROXY": "*", **environ})
    (victim.clone / "models.yaml").unlink()
    assert ran.code == code, ran
    assert SECRET not in ran.all, ran
    for top in (victim.clone, victim.state):
        for path in top.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    return ran


def told(server):
    """Return what the requests that came said of who we are."""
    return [{name: each.headers[name] for name in SENT if name in each.headers} for each in server.asked]


# ---- .netrc


def test_an_entry_of_netrc_is_for_its_host(user, servers):
    here, there = servers
    provision(user, here.url("/x.gguf"))
    provision(user, there.url("/x.gguf?anew", host="127.0.0.1"))
    assert told(here) == [{"authorization": basic(f"me:{SECRET}")}]
    assert told(there) == [{}]


@pytest.mark.parametrize("entries", ["default login any password {0}\n", "machine default login any password {0}\n"])
def test_the_default_of_netrc_is_for_nobody(user, servers, entries):
    (user.home / ".netrc").write_text(entries.format(SECRET))
    here, there = servers
    here.manners.redirects["/y.gguf"] = (302, there.url("/x.gguf"))
    provision(user, here.url("/x.gguf"))
    provision(user, here.url("/y.gguf"))
    assert told(here) + told(there) == [{}, {}, {}]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_where_a_redirect_leads_no_credentials_are_sent(user, servers, status):
    """Not those of the host before, nor those that the user has for this one, nor those that the redirect brings."""
    here, there = servers
    there.manners.redirects["/a.gguf"] = (status, here.url("/x.gguf").replace("//", f"//evil:{SECRET}@"))
    here.manners.redirects["/b.gguf"] = (status, there.url("/a.gguf", host="127.0.0.1"))
    provision(user, here.url("/b.gguf"))
    assert told(here) == [{"authorization": basic(f"me:{SECRET}")}, {}]
    assert told(there) == [{}]


def test_a_redirect_to_http_is_refused(user, servers, trusted):
    here, _ = servers
    with FilesServer({"/x.gguf": BYTES}) as plain:
        here.manners.redirects["/y.gguf"] = (302, plain.url("/x.gguf").replace("//", f"//evil:{SECRET}@"))
        ran = provision(user, here.url("/y.gguf"), code=1)
        assert "would have the model sent over http:" in ran.out
        assert plain.asked == []


@pytest.mark.parametrize(
    "location",
    [
        f"https://evil:{SECRET}@[::1",
        f"https://evil:{SECRET}@localhost:port/",
        f"https://evil:{SECRET}@/x",
        f"ftp://evil:{SECRET}@localhost/x",
        f"//evil:{SECRET}@127.0.0.1:1/x?token={SECRET}",
        f"https://evil:{SECRET}@elsewhere.example/x",
    ],
)
def test_a_redirect_that_can_not_be_followed_shows_no_credentials(user, servers, location):
    here, _ = servers
    here.manners.redirects["/y.gguf"] = (302, location)
    provision(user, here.url("/y.gguf"), code=1)


@pytest.mark.parametrize(
    "ref",
    [
        f"https://me:{SECRET}@localhost:port/x.gguf",
        f"https://me:{SECRET}@[::1/x.gguf",
        f"https://me:{SECRET}@/x.gguf",
        f"https://me:{SECRET} @localhost/x.gguf",
        f"http://me:{SECRET}@localhost/x.gguf",
        f"ftp://me:{SECRET}@localhost/x.gguf",
        f"s3://me:{SECRET}@bucket/x.gguf",
        f"hf://me:{SECRET}@host/x.gguf",
    ],
)
def test_a_reference_that_can_not_be_read_shows_no_credentials(user, ref):
    user.write("models.yaml", json.dumps({"models": {"m": {"model_ref": ref, "engine": "llamacpp"}}}))
    ran = user.doit("provision")
    assert ran.code in {1, 3}
    assert SECRET not in ran.all, ran


# ---- the Hub


def test_the_token_is_for_the_hub_alone(user):
    with Hub(
        {"org/tiny": {"c" * 40: REPO}}, references={"org/tiny": {"main": "c" * 40}}, content_host="127.0.0.2"
    ) as hub:
        hub.private.add("org/tiny")
        hub.tokens = {SECRET}
        environ = {"HF_ENDPOINT": hub.url, "HF_TOKEN": SECRET}
        provision(user, ONE, allow=["127.0.0.1", "127.0.0.2"], **environ)
        assert {each.headers.get("authorization") for each in hub.asked(host="hub")} == {f"Bearer {SECRET}"}
        assert [each.headers.get("authorization") for each in hub.asked(host="content")] == [None]


def test_a_redirect_of_a_listing_gets_no_token(user, servers):
    here, _ = servers
    with Hub({"org/tiny": {"c" * 40: REPO}}) as hub:
        hub.fault(redirect(here.url("/listing")), on="/api/models/*")
        provision(user, ONE, code=1, HF_ENDPOINT=hub.url, HF_TOKEN=SECRET)
    assert told(here) == [{}]


# ---- S3


def test_signatures_are_for_the_storage_alone(user, servers):
    here, there = servers
    elsewhere = there.url("/x.gguf", host="127.0.0.1")
    here.manners.statuses.extend([(200, {"ETag": '"one"'}), (307, {"Location": elsewhere})])
    environ = {**KEYS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET + "3"}
    provision(user, "s3://models/x.gguf", code=1, AWS_ENDPOINT_URL=here.url("").rstrip("/"), **environ)
    assert [each.method for each in here.asked] == ["HEAD", "GET"]
    assert all(each["authorization"].startswith("AWS4-HMAC") for each in told(here))
    assert told(there) == [{}]


# ---- proxies


@contextmanager
def closed_proxy():
    """Yield the port of a proxy that hangs up on everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("proxy", "code"),
    [
        ("http://me:{0}@127.0.0.1:{1}", 1),
        ("me:{0}@127.0.0.1:{1}", 1),
        ("http://me:{0} x@127.0.0.1:{1}", 1),
        ("http://me:{0}@127.0.0.1:port", 3),
        ("http://me:{0}@[::1", 3),
        ("http://me:1#{0}@127.0.0.1:{1}", 3),
        ("socks5://me:{0}@127.0.0.1:{1}", 3),
        ("socks9://me:{0}@127.0.0.1:{1}", 3),
        ("https://me:{0}@", 3),
    ],
)
@pytest.mark.parametrize("ref", ["https", "hf", "s3"])
def test_the_password_of_a_proxy_is_in_no_message(user, proxy, code, ref):
    with closed_proxy() as port:
        refs = {"https": "https://files.example/x.gguf", "hf": ONE, "s3": "s3://models/x.gguf"}
        said = proxy.format(SECRET, port)
        environ = {"HTTPS_PROXY": said, "ALL_PROXY": said, "NO_PROXY": "", "HF_ENDPOINT": "https://hub.example", **KEYS}
        environ["AWS_ENDPOINT_URL"] = "https://storage.example"
        ran = provision(
            user, refs[ref], allow=["files.example", "hub.example", "storage.example"], code=code, **environ
        )
    assert "FAIL  m" in ran.out


# ---- the user's own limit


def test_the_user_limits_what_a_project_may_contact(user, servers):
    here, there = servers
    here.manners.redirects["/y.gguf"] = (302, there.url("/x.gguf", host="127.0.0.1"))
    for limit, shown in (
        ("off", "off"),
        ("OFF", "off"),
        ("huggingface, models.example", "huggingface, models.example"),
    ):
        ran = provision(user, here.url("/x.gguf"), code=1, MODEL_PROVISIONER_NETWORK=limit)
        assert "m would have to be fetched, and MODEL_PROVISIONER_NETWORK does not allow localhost\n" in ran.out
        assert f"found     MODEL_PROVISIONER_NETWORK={shown}\n" in ran.out
    assert (here.connections, there.connections) == (0, 0)
    ran = provision(user, here.url("/y.gguf"), code=1, MODEL_PROVISIONER_NETWORK="localhost")
    assert "MODEL_PROVISIONER_NETWORK does not allow 127.0.0.1\n" in ran.out
    assert "localhost redirects to 127.0.0.1" in ran.out
    assert there.connections == 0
    provision(user, here.url("/y.gguf"), MODEL_PROVISIONER_NETWORK=" localhost,127.0.0.1 ")
    provision(user, here.url("/x.gguf?anew"), MODEL_PROVISIONER_NETWORK="")


def test_it_allows_nothing_that_the_project_does_not(user, servers):
    here, _ = servers
    ran = provision(user, here.url("/x.gguf"), allow=[], code=1, MODEL_PROVISIONER_NETWORK="localhost")
    assert "expected  localhost among the hosts of network.allow\n" in ran.out
    assert here.connections == 0


def test_it_holds_for_hosts_that_give_credentials(user, servers):
    here, there = servers
    environ = {
        "AWS_ENDPOINT_URL": here.url("").rstrip("/"),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": there.url("/token", host="127.0.0.1"),
        "MODEL_PROVISIONER_NETWORK": "localhost",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    ran = provision(user, "s3://models/x.gguf", code=1, **environ)
    assert "MODEL_PROVISIONER_NETWORK does not allow 127.0.0.1" in ran.out
    assert there.connections == 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("off huggingface.co", "off: it stands alone"),
        ("https://huggingface.co", 'https://huggingface.co: it is more than a host; write "huggingface.co"'),
        (f"me:{SECRET}@huggingface.co", '…@huggingface.co: it is more than a host; write "huggingface.co"'),
        ("*", "*: it would allow every host; name the hosts, or *.NAME for all below a name"),
        (",", ",: it names no host"),
    ],
)
def test_what_is_no_limit_is_bad_input(user, value, found):
    for command in ("provision", "model-lock", "model-verify"):
        ran = user.doit(command, environ={"MODEL_PROVISIONER_NETWORK": value})
        assert ran.code == 3, ran
        assert SECRET not in ran.all
        assert ran.err == (
            "ERROR: MODEL_PROVISIONER_NETWORK can't be understood\n"
            "  where     the environment\n"
            "  expected  off, or hosts with blanks or commas between them, written as in network.allow\n"
            f"  found     {found}\n"
            '  fix       correct it, as in   export MODEL_PROVISIONER_NETWORK="huggingface, models.example.org"\n'
        )


def test_a_run_with_nothing_to_do_tells_it_too(user):
    assert user.doit("provision").code == 0
    os.utime(user.clone / "models.yaml", (1e9, 1e9))
    assert user.doit("provision").code == 0
    assert user.doit("provision", environ={"MODEL_PROVISIONER_NETWORK": "*"}).code == 3
    assert user.doit("provision", environ={"MODEL_PROVISIONER_NETWORK": "off"}).code == 0

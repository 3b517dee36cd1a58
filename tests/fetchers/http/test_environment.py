"""What is read of the environment, and which host is reached how."""

import pytest

from model_provisioner.fetchers.http.environment import Environment
from model_provisioner.fetchers.http.url import Url

PROXY = {"https_proxy": "http://me:s3cret@proxy.example:3128"}


def proxied(url, **environ):
    return Environment.read({**PROXY, **environ}).proxy_for(Url.parse(url)) is not None


@pytest.mark.parametrize(
    ("exceptions", "without", "by_proxy"),
    [
        ("", [], ["https://a.example"]),
        ("*", ["https://a.example", "https://10.0.0.1", "https://[::1]"], []),
        ("other, *", ["https://a.example"], []),
        ("a.example", ["https://a.example", "https://b.a.example", "https://A.EXAMPLE:8443"], ["https://ba.example"]),
        (".a.example", ["https://a.example", "https://b.a.example"], ["https://ba.example"]),
        ("*.a.example", ["https://b.a.example"], ["https://ba.example"]),
        ("a.example:8443", ["https://a.example:8443"], ["https://a.example"]),
        ("10.0.0.0/8", ["https://10.1.2.3", "https://10.1.2.3:8443"], ["https://11.0.0.1", "https://10.example"]),
        ("10.0.0.7/8", ["https://10.1.2.3"], ["https://11.0.0.1"]),
        ("192.0.2.1:8443", ["https://192.0.2.1:8443"], ["https://192.0.2.1"]),
        ("::1", ["https://[::1]", "https://[0::1]:9"], ["https://[::2]"]),
        ("[::1]", ["https://[::1]"], ["https://[::2]"]),
        ("[::1]:8443", ["https://[::1]:8443"], ["https://[::1]"]),
        ("fd00::/8", ["https://[fd12::1]"], ["https://[fe80::1]"]),
        ("a.example b.example,\tc.example", ["https://a.example", "https://b.example", "https://c.example"], []),
    ],
)
def test_hosts_that_need_no_proxy(exceptions, without, by_proxy):
    for name in ("NO_PROXY", "no_proxy"):
        assert [url for url in without if proxied(url, **{name: exceptions})] == []
        assert [url for url in by_proxy if not proxied(url, **{name: exceptions})] == []


def test_small_letters_count_before_capitals_and_https_before_all():
    def place(**environ):
        return Environment.read(environ).proxy_for(Url.parse("https://a.example"))

    assert place(HTTPS_PROXY="http://a:1", https_proxy="http://b:1").url.host == "b"
    assert place(HTTPS_PROXY="http://a:1", all_proxy="http://b:1").url.host == "a"
    assert place(HTTPS_PROXY="", ALL_PROXY="http://b:1").variable == "ALL_PROXY"
    assert place(HTTPS_PROXY="http://a:1", https_proxy="") is None
    assert place(HTTP_PROXY="http://a:1") is None


def test_this_machine_is_reached_over_http_without_a_proxy():
    assert not proxied("http://127.0.0.1:8000/x")


def test_no_secret_is_shown():
    environment = Environment.read(PROXY)
    proxy = environment.proxy_for(Url.parse("https://a.example"))
    assert "s3cret" not in f"{environment!r}{proxy!r}{proxy.place}"
    assert proxy.place == "proxy.example:3128 of https_proxy"

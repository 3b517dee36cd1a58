"""What is advised for hosts, proxies, certificates and servers brings the file, or another."""

import datetime
import os
import ssl
from pathlib import Path

import pytest
import trustme

from model_provisioner.engine.fetching import download as fetching_download
from tests.support.advice import advised
from tests.support.files_server import FilesServer
from tests.support.proxy import Proxy
from tests.support.remote import TINY_BYTES, TINY_SHA

FILE = "/x.gguf"
DOWNLOADED = "models/x.gguf"
KEPT = "{}; what is here already is kept and resumed"


@pytest.fixture
def fetching(remote, web, monkeypatch):
    """A project of one model on a server of files; nothing is said of proxies."""
    said = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "NETRC")
    for name in [name for name in os.environ if name.upper().endswith(said)]:
        monkeypatch.delenv(name)
    del remote.environ["NO_PROXY"]
    web.files[FILE] = TINY_BYTES
    remote.project.write(DOWNLOADED, TINY_BYTES)
    remote.models({"x": web.url(FILE)})
    return remote


def download(remote):
    """Name the file that the user downloaded, in the place of its source."""
    remote.models({"x": DOWNLOADED})


# ---- which hosts may be asked


def test_a_host_is_added_to_the_policy_or_the_file_is_downloaded(fetching, web):
    fetching.models({"x": web.url(FILE)}, allow=[])
    sentence = 'add "{}" to network.allow{}, or download the model and point model_ref at the file'
    host, _ = advised(fetching.provision(code=1), sentence)
    fetching.models({"x": web.url(FILE)}, allow=[host])
    fetching.provision()
    fetching.models({"x": DOWNLOADED}, allow=[])
    fetching.provision()


def test_an_offline_run_is_run_once_without(fetching):
    sentence = "run once without {}, or download the model and point model_ref at the file"
    (option,) = advised(fetching.provision("--offline", code=1), sentence)
    assert option == "--offline"
    fetching.provision()
    fetching.provision("--offline")
    fetching.empty_cache()
    download(fetching)
    fetching.provision("--offline")


def test_a_host_is_added_to_what_the_user_allows(fetching):
    fetching.environ["MODEL_PROVISIONER_NETWORK"] = "https://x"
    advised(
        fetching.provision(code=3),
        'correct it, as in   export MODEL_PROVISIONER_NETWORK="huggingface, models.example.org"',
    )
    fetching.environ["MODEL_PROVISIONER_NETWORK"] = "huggingface, models.example.org"
    sentence = "add {} to it if you trust that host, or download the model and point model_ref at the file"
    (host,) = advised(fetching.provision(code=1), sentence)
    fetching.environ["MODEL_PROVISIONER_NETWORK"] += f", {host}"
    fetching.provision()


def test_what_is_not_here_is_fetched_by_a_run(fetching):
    sentence = "run `doit provision`, which fetches what is missing where network.allow has its host"
    advised(fetching.doit("model-check", code=1), sentence)
    fetching.provision()
    fetching.doit("model-lock")
    fetching.provision()
    fetching.doit("model-check")


# ---- certificates


def issue(*names, **options):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return authority, context


@pytest.mark.parametrize("way", ["named", "added", "taken out"])
def test_the_authority_of_a_network_is_named_or_added(fetching, web, tmp_path, way):
    ours = fetching.environ.pop("SSL_CERT_FILE")
    if way == "named":
        advised(
            fetching.provision(code=1),
            "if your network has an authority of its own, name its certificates in SSL_CERT_FILE",
        )
        fetching.environ["SSL_CERT_FILE"] = ours
    else:
        file = tmp_path / "others.pem"
        trustme.CA().cert_pem.write_to_path(str(file))
        fetching.environ["SSL_CERT_FILE"] = str(file)
        sentence = "add the authority's certificate there; or take {} out of the environment: then this machine's count"
        (variable,) = advised(fetching.provision(code=1), sentence)
        if way == "taken out":
            del fetching.environ[variable]
            fetching.environ["SSL_CERT_FILE"] = ours  # the machine of this test trusts nobody else
        else:
            file.write_text(file.read_text() + Path(ours).read_text())
    fetching.provision()


@pytest.mark.parametrize("content", ["", None])
def test_certificates_that_can_not_be_read_are_corrected(fetching, tmp_path, content):
    ours, file = fetching.environ["SSL_CERT_FILE"], tmp_path / "other.pem"
    if content is not None:
        file.write_text(content)
    fetching.environ["SSL_CERT_FILE"] = str(file)
    assert advised(fetching.provision(code=3), "correct {}, or take it out of the environment") == ("SSL_CERT_FILE",)
    fetching.environ["SSL_CERT_FILE"] = ours
    fetching.provision()


def test_a_host_is_named_as_its_certificate_names_it(fetching, tmp_path):
    authority, context = issue("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    fetching.environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with FilesServer({FILE: TINY_BYTES}, context=context) as server:
        fetching.models({"x": server.url(FILE)}, allow=["127.0.0.1", "localhost"])
        advised(
            fetching.provision(code=1),
            "check the name of the host, and whether a proxy or a page to log in to the network answers in its place",
        )
        fetching.models({"x": server.url(FILE, host="127.0.0.1")})
        fetching.provision()


def test_a_certificate_that_ran_out_is_renewed(fetching, tmp_path):
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority, context = issue("localhost", not_after=past, not_before=past - datetime.timedelta(days=1))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    fetching.environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with FilesServer({FILE: TINY_BYTES}, context=context) as server:
        fetching.models({"x": server.url(FILE)})
        advised(fetching.provision(code=1), "set the clock of this machine; or have who runs the host renew it")
        authority.issue_cert("localhost").configure_cert(context)
        fetching.provision()


# ---- proxies


def test_a_proxy_of_a_kind_that_is_not_spoken_is_left_out_or_another(fetching):
    sentence = "correct {}, set HTTPS_PROXY to a proxy of this kind, or name the host in NO_PROXY"
    for value in ("socks5://127.0.0.1:1", "http://a b"):
        fetching.environ["ALL_PROXY"] = value
        assert advised(fetching.provision(code=3), sentence) == ("ALL_PROXY",)
    fetching.environ["NO_PROXY"] = "localhost"
    fetching.provision()
    fetching.empty_cache()
    del fetching.environ["NO_PROXY"]
    with Proxy() as proxy:
        fetching.environ["HTTPS_PROXY"] = proxy.url()
        fetching.provision()
        assert proxy.heads


@pytest.mark.parametrize("known", [False, True])
def test_a_proxy_is_told_name_and_password(fetching, known):
    with Proxy(user="me:right") as proxy:
        fetching.environ["HTTPS_PROXY"] = proxy.url("me:wrong" if known else "")
        sentence = "correct name and password of {}" if known else "put name and password into {}"
        answer = fetching.provision(code=1)
        assert advised(answer, sentence) == ("HTTPS_PROXY",)
        assert "wrong" not in answer.all
        fetching.environ["HTTPS_PROXY"] = proxy.url("me:right")
        fetching.provision()


def test_a_proxy_that_speaks_no_tls_is_named_with_http(fetching):
    with Proxy() as proxy:
        fetching.environ["HTTPS_PROXY"] = f"https://127.0.0.1:{proxy.port}"
        sentence = "write {} with http://; what goes through it to https: hosts is encrypted all the same"
        assert advised(fetching.provision(code=1), sentence) == ("HTTPS_PROXY",)
        fetching.environ["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.port}"
        fetching.provision()
        assert proxy.heads[0].startswith("CONNECT localhost")


def test_a_proxy_that_forbids_a_host_is_passed_by(fetching):
    with Proxy(answer=b"403 Forbidden") as proxy:
        fetching.environ["HTTPS_PROXY"] = proxy.url()
        sentence = "have it allow {}, or name that in NO_PROXY if it can be reached without the proxy"
        (host,) = advised(fetching.provision(code=1), sentence)
        fetching.environ["NO_PROXY"] = host
        fetching.provision()


def test_a_proxy_that_does_not_get_there_is_asked_again_later(fetching, hurried):
    with Proxy(answer=b"502 Bad Gateway") as proxy:
        fetching.environ["HTTPS_PROXY"] = proxy.url()
        sentence = "try again later; or ask who runs the proxy"
        assert advised(fetching.provision(code=1), KEPT) == (sentence,)
        proxy._answer = b""
        fetching.provision()


def test_a_proxy_that_is_not_there_is_corrected(fetching, hurried):
    fetching.environ["HTTPS_PROXY"] = "http://127.0.0.1:1"
    answer = fetching.provision(code=1)
    assert "the proxy 127.0.0.1:1 of HTTPS_PROXY can't be reached" in answer.all
    (sentence,) = advised(answer, KEPT)
    assert sentence == "check {}, and NO_PROXY if {} is to be reached without it".replace(
        "{}", "HTTPS_PROXY", 1
    ).replace("{}", "localhost")
    fetching.environ["NO_PROXY"] = "localhost"
    fetching.provision()


# ---- servers


def test_a_name_that_is_misspelt_is_checked(fetching, web, hurried):
    fetching.models({"x": web.url(FILE, host="nowhere.invalid")}, allow=["nowhere.invalid"])
    sentence = "check its spelling, and whether this machine is in a network; one with a proxy needs HTTPS_PROXY"
    assert advised(fetching.provision(code=1), KEPT) == (sentence,)
    fetching.models({"x": web.url(FILE)})
    fetching.provision()


def test_credentials_are_given_and_corrected_in_netrc(fetching, web):
    web.manners.users[FILE] = "Basic bWU6cmlnaHQ="  # me:right
    host, netrc = advised(fetching.provision(code=1), "give credentials for {} in {}")
    path = fetching.home / ".netrc"
    assert netrc == str(path)
    path.write_text(f"machine {host} login me password wrong\n")
    path.chmod(0o600)
    assert advised(fetching.provision(code=1), "correct the credentials for {}") == (host,)
    path.write_text("machine\n")
    (_, _, fault) = advised(fetching.provision(code=1), "give credentials for {} in {} ({})")
    assert fault
    path.write_text(f"machine {host} login me password right\n")
    fetching.provision()


def test_a_file_of_another_owner_is_asked_for(fetching, web):
    web.manners.statuses.append((403, {}))
    (netrc,) = advised(fetching.provision(code=1), "ask its owner for access; credentials are read from {}")
    assert netrc.endswith(".netrc")
    (fetching.home / ".netrc").write_text("machine\n")
    web.manners.statuses.append((403, {}))
    advised(fetching.provision(code=1), "ask its owner for access; credentials are read from {} ({})")
    fetching.provision()  # the owner gave it


def test_a_link_is_copied_from_the_page(fetching, web):
    fetching.models({"x": web.url("/y.gguf")})
    advised(fetching.provision(code=1), "copy the link of the file from its page, or ask who runs the server for it")
    web.manners.redirects["/y.gguf"] = (302, "/y.gguf")
    advised(fetching.provision(code=1), "copy the link of the file from its page")
    web.manners.redirects["/y.gguf"] = (302, "ftp://localhost/x.gguf")
    advised(fetching.provision(code=1), "copy the link of the file from its page")
    fetching.models({"x": web.url(FILE)})
    fetching.provision()


def test_where_a_redirect_leads_is_named_itself(fetching, web, trusted):
    with FilesServer({FILE: TINY_BYTES}, context=trusted.context) as other:
        other.manners.users[FILE] = "Basic bWU6cmlnaHQ="
        web.manners.redirects[FILE] = (302, other.url(FILE))
        (fetching.home / ".netrc").write_text("machine localhost login me password right\n")
        (fetching.home / ".netrc").chmod(0o600)
        sentence = "name its URL at {} itself: where a redirect leads, no credentials are sent"
        assert advised(fetching.provision(code=1), sentence) == ("localhost",)
        fetching.models({"x": other.url(FILE)})
        fetching.provision()


def test_a_source_over_http_is_another_over_https(fetching, web):
    web.manners.redirects[FILE] = (302, "http://localhost:1/x.gguf")
    advised(fetching.provision(code=1), "name a source that is reached over https:")
    web.manners.redirects.clear()
    fetching.provision()


def status(code):
    def harm(web):
        web.manners.statuses.append((code, {}))

    return harm


def encoded(web):
    web.manners.content_encoding = "gzip"


def lying(web):
    web.manners.tell_whole, web.manners.content_range = True, "bytes 5-9/100"


@pytest.mark.parametrize(
    ("sentence", "harm"),
    [
        ("download the model and point model_ref at the file", status(418)),
        ("download the model and point model_ref at the file", encoded),
        (
            "a server that lies about what it sends can't be fetched from; download the model and point model_ref at the file",
            lying,
        ),
    ],
)  # fmt: skip
def test_a_file_that_a_server_does_not_serve_is_downloaded(fetching, web, sentence, harm):
    harm(web)
    advised(fetching.provision(code=1), sentence)
    download(fetching)
    fetching.provision()


def test_a_transfer_that_broke_off_goes_on_later(fetching, web, hurried):
    web.manners.drop_at, web.manners.drop_times = 5000, 100
    assert advised(fetching.provision(code=1), KEPT) == ("try again later",)
    web.manners.drop_times = 0
    web.asked.clear()
    fetching.provision()
    assert "range" in web.asked[0].headers


def test_a_file_of_which_nobody_says_how_long_it_is_is_fetched_with_its_digest(fetching, web):
    web.manners.no_length = True
    sentence = "give its expected_digest, or download the model and point model_ref at the file"
    advised(fetching.provision(code=1), sentence)
    fetching.models({"x": {"model_ref": web.url(FILE), "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "pass  x" in fetching.provision().out
    download(fetching)
    fetching.provision()


def test_another_version_of_a_file_is_taken_by_another_run(fetching, web):
    web.manners.statuses.append((412, {}))
    advised(fetching.provision(code=1), "run again, which takes the new one")
    fetching.provision()


def test_a_long_file_of_untold_length_is_bounded_by_a_setting_or_downloaded(fetching, web, monkeypatch):
    monkeypatch.setattr(fetching_download, "UNSIZED", 1000)
    web.manners.no_length = True
    entry = {"model_ref": web.url(FILE), "expected_digest": f"sha256:{TINY_SHA}"}
    fetching.models({"x": entry})
    sentence = "set cache.max_size in models.yaml, which is the bound then; or download the model and name its file"
    advised(fetching.provision(code=1), sentence)
    fetching.models({"x": entry}, cache={"max_size": "1MB"})
    fetching.provision()
    fetching.empty_cache()
    download(fetching)
    fetching.provision()

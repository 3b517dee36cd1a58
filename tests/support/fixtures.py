"""Fixtures of the tests that fetch: a Hub on loopback, a project that may use it, a server of files."""

import ssl
from types import SimpleNamespace

import pytest
import trustme

from model_provisioner.fetchers import patience
from model_provisioner.fetchers.http import connections
from tests.support.files_server import FilesServer
from tests.support.hub import Hub
from tests.support.remote import ONE, REPO, Remote


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def remote(project, tmp_path, hub):
    """A project whose models may come from a Hub on loopback; no other program has anything on this machine."""
    (tmp_path / "home").mkdir()
    project.environ.update(hub.environ(tmp_path / "hf"), HOME=str(tmp_path / "home"))
    return Remote(project, tmp_path / "cache", tmp_path / "home")


@pytest.fixture
def hurried(monkeypatch):
    """Ask again after a hundredth of the time, and take a server for silent after one second, not thirty."""
    backoff = patience.backoff
    monkeypatch.setattr(patience, "backoff", lambda tried: backoff(tried) / 100)
    assert connections.STALL == 30
    monkeypatch.setattr(connections, "STALL", 1.0)


@pytest.fixture
def tiny(remote, hub):
    """A project of one model, a file of a repository with more files."""
    hub.add("org/tiny", REPO)
    remote.models({"tiny": ONE})
    return remote


@pytest.fixture(scope="session")
def trusted(tmp_path_factory):
    """What a server on loopback says who it is by, and the file of the authority that vouches for it."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return SimpleNamespace(file=str(file), context=context)


@pytest.fixture
def web(trusted, remote):
    """A server of files over https:, which the project's runs trust."""
    remote.environ["SSL_CERT_FILE"] = trusted.file
    with FilesServer({}, context=trusted.context) as server:
        yield server


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A real registry on loopback, open to all. Tests that push take a repository of their own."""
    from tests.support.registry import Registry

    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry

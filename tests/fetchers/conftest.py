import ssl
from types import SimpleNamespace

import pytest
import trustme

from tests.support.files_server import FilesServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority of our own: `file` holds its certificate, `context` is a server's for loopback, `stranger` for a name."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    return SimpleNamespace(
        file=str(file),
        context=context_of(issued),
        stranger=context_of(authority.issue_cert("elsewhere.example")),
        issued=issued,
    )


def context_of(issued):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


@pytest.fixture
def serve(authority):
    """Start servers of files, https: unless told otherwise, that end with the test."""
    servers = []

    def start(files, *, tls=True):
        servers.append(FilesServer(files, context=authority.context if tls else None))
        return servers[-1]

    yield start
    for server in servers:
        server.close()

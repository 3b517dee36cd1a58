import os
from unittest.mock import patch

import pytest

from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.client import HttpClient
from tests.support.receiving import DATA


@pytest.fixture
def environ(authority, tmp_path, monkeypatch):
    """The environment, as it is for this test."""
    for name in [name for name in os.environ if name.lower().endswith(("_proxy", "_ca_bundle")) or name == "NETRC"]:
        monkeypatch.delenv(name)
    with patch.dict(os.environ, {"SSL_CERT_FILE": authority.file, "HOME": str(tmp_path)}):
        yield os.environ


@pytest.fixture
def stall(monkeypatch):
    """Set how many seconds no byte may come."""
    return lambda seconds: monkeypatch.setattr(connections, "STALL", seconds)


@pytest.fixture
def https(environ, stall):
    stall(2)
    return HttpClient(lambda host: None)


@pytest.fixture
def server(serve):
    return serve({"/x.gguf": DATA, "/empty": b""})

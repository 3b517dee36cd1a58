"""Files that are received in tests of the network: into memory, and with waits that are noted."""

import random

import pytest

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.listing import RemoteFile

from model_provisioner.fetchers.http.receive import receive

DATA = random.Random(4).randbytes(3_000_000)
SECRETS = ("s3cret", "tok3n", "Basic ", "czNjcmV0", "signature")


class Sink:
    """The bytes of one file in memory, by the rules of a partial file."""

    def __init__(self, data=b"", validator=None, total=None, *, is_for_request=False):
        self.is_for_request = is_for_request
        self.data, self.validator, self.total, self.begun = bytearray(data), validator, total, []

    @property
    def size(self):
        return len(self.data)

    def begin(self, validator, total=None):
        if validator is None or (validator, total) != (self.validator, self.total):
            self.data.clear()
        self.validator, self.total = validator, total
        self.begun.append(validator)

    def write(self, chunk):
        assert isinstance(chunk, bytes)
        self.data += chunk


class Naps(list):
    """Waits that are noted and not waited."""

    def __call__(self, seconds, why=""):
        self.append(seconds)


def fetch(client, file, sink, **options):
    """Receive a file, as `receive` does; nobody is told of its size and of how far it is."""
    return receive(client, file, sink, expect=lambda size: None, reach=lambda done: None, **options)


def remote(server, path="/x.gguf", **values):
    return RemoteFile(name="x.gguf", **{"url": server.url(path), **values})


def bring(https, file, sink=None):
    sink = sink or Sink()
    naps = Naps()
    fetch(https, file, sink, wait=naps)
    return sink, naps


def refused(https, file, sink=None):
    with pytest.raises(FetchError) as caught:
        bring(https, file, sink)
    assert not any(secret in f"{caught.value!s}{caught.value!r}" for secret in SECRETS)
    return caught.value

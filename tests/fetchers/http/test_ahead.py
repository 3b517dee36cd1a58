"""Bytes are received while the caller still works: in order, not too many, and by no thread that is left over."""

import threading
import time

import pytest

from model_provisioner.errors import IncompleteError
from model_provisioner.fetchers.http.ahead import AHEAD, read_ahead
from model_provisioner.fetchers.http.client import HttpClient
from tests.support.endless import Endless, answered
from tests.support.receiving import Sink, fetch, remote
from tests.support.remote import wait_until


def test_what_came_before_trouble_comes_before_it():
    def chunks():
        yield b"one"
        yield b"two"
        raise IncompleteError("it broke off", where="here", expected="all", found="two", fix="try again")

    got = []
    with pytest.raises(IncompleteError, match="it broke off"):
        got.extend(read_ahead(chunks(), pytest.fail))
    assert got == [b"one", b"two"]


def test_it_waits_for_a_caller_that_is_slower():
    taken = []

    def chunks():
        for number in range(3 * AHEAD):
            taken.append(number)
            yield b"%d" % number

    ahead = read_ahead(chunks(), pytest.fail)
    assert next(ahead) == b"0"
    wait_until(lambda: len(taken) > AHEAD)
    time.sleep(0.05)
    assert len(taken) <= AHEAD + 2
    assert list(ahead) == [b"%d" % number for number in range(1, 3 * AHEAD)]


def test_who_leaves_early_waits_for_no_byte():
    more = threading.Event()

    def chunks():
        yield b"one"
        assert more.wait(20)
        yield b"two"

    ahead = read_ahead(chunks(), more.set)
    before = threading.active_count()
    assert next(ahead) == b"one"
    assert threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before


def test_a_full_disk_ends_a_fetch_from_a_server_that_has_stalled(environ, server, stall):
    stall(20)
    server.manners.stall_at = 2_000_000
    threads = threading.active_count()

    class Full(Sink):
        def write(self, chunk):
            raise OSError("no space left")

    began = time.monotonic()
    with HttpClient(lambda host: None) as https, pytest.raises(OSError, match="no space left"):
        fetch(https, remote(server), Full())
    assert time.monotonic() - began < 5
    assert threading.active_count() <= threads + 1  # the server's


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
def test_closing_lets_nothing_through_that_is_not_of_the_file(environ, authority, headers):
    """What a secure connection has not decrypted when a run is ended would else be taken for bytes of the file."""
    data, got, first, closed = bytes(16 << 20), [], threading.Event(), threading.Event()

    def receive():
        with client.open(f"{server.url}/x") as response, pytest.raises(IncompleteError):
            for chunk in response.chunks():
                got.append(chunk)
                first.set()
                closed.wait(10)

    with Endless(lambda _: answered(data, *headers), context=authority.context) as server:
        client = HttpClient(lambda host: None)
        thread = threading.Thread(target=receive)
        thread.start()
        assert first.wait(10)
        time.sleep(0.1)
        client.close()
        closed.set()
        thread.join()
    assert 0 < len(b"".join(got)) < len(data)
    assert not any(b"".join(got).strip(b"\0"))

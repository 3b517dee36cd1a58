"""Files from real servers that cut, lie, stall and are busy: whole, resumed, or refused."""

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

from model_provisioner.errors import FetchError, IncompleteError, NotAllowedError
from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.http.begun import Begun
from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.fetchers.listing import RemoteFile
from model_provisioner.fetchers.patience import MIRROR
from tests.support.files_server import FilesServer, etag_of
from tests.support.receiving import DATA, SECRETS, Naps, Sink, bring, fetch, refused, remote


# ---- the plain way


def test_a_file_is_brought_whole(https, server):
    sink, naps = bring(https, remote(server))
    assert sink.data == DATA
    assert sink.validator.startswith('"')
    assert naps == []
    (asked,) = server.asked
    assert asked.headers["accept-encoding"] == "identity"
    assert "range" not in asked.headers
    assert "authorization" not in asked.headers


def test_what_an_answer_tells(https, server):
    with https.open(server.url("/x.gguf")) as answer:
        assert (answer.offset, answer.total, answer.host) == (0, len(DATA), "localhost")
        chunks = list(answer.chunks())
    assert b"".join(chunks) == DATA
    assert len(chunks) <= 20
    begun = Begun(size=1000, validator=answer.validator, total=answer.total)
    with https.open(server.url("/x.gguf"), begun=begun) as rest:
        assert (rest.offset, rest.total, rest.validator) == (1000, len(DATA), answer.validator)
        assert b"".join(rest.chunks()) == DATA[1000:]


def test_an_empty_file(https, server):
    assert bring(https, remote(server, "/empty"))[0].begun != []


def test_many_files_need_one_connection(https, serve):
    server = serve({f"/{number}": b"%d" % number for number in range(20)})
    for number in range(20):
        assert bring(https, remote(server, f"/{number}"))[0].data == b"%d" % number
    assert server.connections == 1


@pytest.mark.parametrize("manner", ["chunked", "no_length"])
def test_a_file_of_untold_length(https, server, manner):
    setattr(server.manners, manner, True)
    assert bring(https, remote(server, sha256="0" * 64))[0].data == DATA


def test_without_length_and_digest_a_cut_could_not_be_told(https, server):
    server.manners.no_length = True
    error = refused(https, remote(server))
    assert error.what == "localhost does not say how long x.gguf is, so that half of it would look like all of it"
    server.manners.no_length, server.manners.chunked = False, True
    assert bring(https, remote(server))[0].data == DATA


# ---- what broke off is resumed


def test_what_a_dead_owner_left_is_resumed(https, server):
    first, _ = bring(https, remote(server))
    sink, _ = bring(https, remote(server), Sink(DATA[:1_000_000], first.validator))
    assert sink.data == DATA
    assert sink.begun == []
    assert server.asked[-1].headers["range"] == "bytes=999999-"
    assert server.asked[-1].headers["if-range"] == first.validator


def test_a_file_that_is_here_whole_is_asked_for_its_last_byte_or_not_at_all(https, server):
    validator = bring(https, remote(server))[0].validator
    sink, _ = bring(https, remote(server), Sink(DATA, validator))
    assert sink.data == DATA
    assert server.asked[-1].headers["range"] == f"bytes={len(DATA) - 1}-"
    server.asked.clear()
    bring(https, remote(server, size=len(DATA), sha256="0" * 64), Sink(DATA, validator))
    bring(https, remote(server, sha256="0" * 64), Sink(DATA, None, len(DATA)))
    bring(https, remote(server), Sink(DATA, None, len(DATA), is_for_request=True))
    assert server.asked == []
    bring(https, remote(server), Sink(DATA[:-1], validator, len(DATA), is_for_request=True))
    assert len(server.asked) == 1


def test_a_cut_is_resumed(https, server):
    server.manners.drop_at, server.manners.drop_times = 1_234_567, 1
    sink, naps = bring(https, remote(server))
    assert sink.data == DATA
    assert [asked.headers.get("range") for asked in server.asked] == [None, "bytes=1234566-"]
    assert len(naps) == 1
    assert 0.5 <= naps[0] <= 1


def test_a_reset_is_resumed(https, server):
    server.manners.drop_at, server.manners.drop_times, server.manners.reset = 1_234_567, 1, True
    sink, _ = bring(https, remote(server))
    assert sink.data == DATA


def test_a_date_serves_where_there_is_no_etag(https, server):
    server.manners.etag, server.manners.last_modified = None, time.time() - 100
    server.manners.drop_at, server.manners.drop_times = 1_000_000, 1
    assert bring(https, remote(server))[0].data == DATA
    assert server.asked[-1].headers["range"] == "bytes=999999-"
    assert server.asked[-1].headers["if-range"].endswith("GMT")


@pytest.mark.parametrize("etag", [None, 'W/"weak"', '"', "bare"])
def test_without_a_strong_validator_it_begins_anew(https, server, etag):
    server.manners.etag, server.manners.last_modified = etag, time.time() + 5
    server.manners.drop_at, server.manners.drop_times = 1_000_000, 1
    assert bring(https, remote(server))[0].data == DATA
    assert "range" not in server.asked[-1].headers


def test_a_server_without_ranges_sends_it_all_and_only_the_rest_is_written(https, server):
    server.manners.ignore_range = True
    server.manners.drop_at, server.manners.drop_times = 1_000_000, 1
    written = []

    class Counting(Sink):
        def write(self, chunk):
            written.append(len(chunk))
            super().write(chunk)

    sink, _ = bring(https, remote(server), Counting())
    assert sink.data == DATA
    assert sum(written) == len(DATA)


def test_a_changed_file_is_begun_anew(https, server):
    server.manners.etags.extend(['"a"', '"b"'])
    server.manners.etag = '"b"'
    server.manners.drop_at, server.manners.drop_times = 1_000_000, 1
    sink, _ = bring(https, remote(server))
    assert sink.data == DATA
    assert sink.begun == ['"a"', '"b"']


@pytest.mark.parametrize("etag", ['"b"', None])
def test_a_part_of_another_file_is_not_taken(https, server, etag):
    server.manners.etags.append('"a"')
    server.manners.etag, server.manners.ignore_if_range = etag, True
    server.manners.drop_at, server.manners.drop_times = 1_000_000, 1
    sink, _ = bring(https, remote(server))
    assert sink.data == DATA
    assert [asked.headers.get("range") for asked in server.asked] == [None, "bytes=999999-", None]


def test_a_file_that_shrank_is_begun_anew(https, server):
    server.manners.ignore_if_range = True
    sink, _ = bring(https, remote(server), Sink(bytes(len(DATA) + 7), '"old"'))
    assert sink.data == DATA
    assert len(server.asked) == 2


def test_a_partial_that_is_too_long_is_dropped(https, server):
    validator = bring(https, remote(server))[0].validator
    sink, _ = bring(https, remote(server, size=len(DATA)), Sink(DATA + b"x", validator))
    assert sink.data == DATA


def test_a_server_that_sends_less_than_the_range_is_asked_again(https, server):
    validator = bring(https, remote(server))[0].validator
    server.manners.part = 1_000_000
    sink, _ = bring(https, remote(server), Sink(DATA[:1000], validator))
    assert sink.data == DATA


# ---- what came before


DATED = {"etag": None, "last_modified": 1e9}
STILL = {
    "304": {},
    "304, no ranges": {"ignore_range": True},
    "304, no length": {"ignore_range": True, "chunked": True},
    "206": {"ignore_conditions": True},
    "200": {"ignore_conditions": True, "ignore_range": True},
    "a date, 206": DATED,
    "a date, 200": {**DATED, "ignore_range": True},
}


@pytest.mark.parametrize("manners", STILL.values(), ids=STILL)
@pytest.mark.parametrize("path", ["/x.gguf", "/empty"])
def test_a_server_is_asked_once_whether_it_still_has_what_came_before(https, server, manners, path):
    vars(server.manners).update(manners)
    data = server.files[path] = server.files[path] + bytes(32 << 20 if path == "/x.gguf" else 0)
    validator = server.etag(path) if server.manners.etag else "Sun, 09 Sep 2001 01:46:40 GMT"
    before, sink = Begun(size=len(data), validator=validator, total=len(data)), Sink()
    assert not fetch(https, remote(server, path), sink, before=before)
    assert (sink.size, sink.begun, len(server.asked)) == (0, [], 1)
    assert server.sent <= len(data) // 2, "nobody waits for the bytes"


OTHER = {
    "304 to another": {"etag_of_304": '"other"'},
    "304 to a like one": {"etag_of_304": f"W/{etag_of(DATA)}"},
    "another ETag": {"etag": '"other"'},
    "another ETag, whatever the condition": {"etag": '"other"', "ignore_if_range": True},
    "no ETag": {"etag": None},
    "no ETag, whatever the condition": {"etag": None, "ignore_if_range": True},
    "an older date": {**DATED, "last_modified": 9e8},
    "an older date, whatever the condition": {**DATED, "last_modified": 9e8, "ignore_if_range": True},
    "no date, no ranges": {"etag": None, "last_modified": None, "ignore_range": True},
}


@pytest.mark.parametrize("manners", OTHER.values(), ids=OTHER)
def test_what_a_server_does_not_say_to_be_what_came_before_is_fetched(https, server, manners):
    vars(server.manners).update(manners)
    validator = "Sun, 09 Sep 2001 01:46:40 GMT" if "last_modified" in manners else etag_of(DATA)
    before, sink = Begun(size=len(DATA), validator=validator, total=len(DATA)), Sink()
    assert fetch(https, remote(server), sink, before=before)
    assert sink.data == DATA
    assert ["if-range" in each.headers for each in server.asked] in ([True, False], [True])


def test_what_has_another_length_is_not_what_came_before(https, server):
    server.manners.ignore_conditions = server.manners.ignore_if_range = True
    before, sink = Begun(size=1000, validator=server.etag("/x.gguf"), total=1000), Sink()
    assert fetch(https, remote(server), sink, before=before)
    assert sink.data == DATA


# ---- servers that lie


@pytest.mark.parametrize(
    "text", ["bytes 5-9/10", "bytes 999-99/100", "bytes 999-2999999/5", "items", "bytes 999-1999/3000000"]
)
def test_after_a_lying_content_range_the_file_is_begun_anew(https, server, text):
    first, _ = bring(https, remote(server))
    server.asked.clear()
    server.manners.content_range = text
    sink, naps = bring(https, remote(server), Sink(bytes(1000), first.validator, first.total))
    assert sink.data == bytes(1000) + DATA[1000:], "of the same version, what is here is not written again"
    assert [asked.headers.get("range") for asked in server.asked] == ["bytes=999-", None]
    assert naps == []


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("etag", ["auto", None, '"new"'])
def test_a_part_that_is_sent_as_200_is_never_taken_for_the_file(https, server, told, etag):
    """It is taken for the part that it is where it says so and agrees with what was begun; else the file is asked for."""
    server.manners.part_as_200, server.manners.tell_part = True, told
    server.manners.drop_at, server.manners.drop_times = 2_799_999, 1
    first_etag = server.etag("/x.gguf")
    server.manners.etags.append(first_etag)
    server.manners.etag, server.manners.ignore_if_range = etag, True
    sink, _ = bring(https, remote(server))
    assert sink.data == DATA
    ranges = [asked.headers.get("range") for asked in server.asked]
    agrees = told and etag == "auto"
    assert ranges == [None, "bytes=2799998-"] + ([] if agrees else [None])


def test_a_part_that_is_sent_as_200_with_the_same_date_is_told_by_its_length(https, server):
    server.manners.etag, server.manners.last_modified = None, time.time() - 100
    server.manners.part_as_200, server.manners.tell_part = True, False
    server.manners.drop_at, server.manners.drop_times = 2_799_999, 1
    assert bring(https, remote(server))[0].data == DATA
    assert [asked.headers.get("range") for asked in server.asked] == [None, "bytes=2799998-", None]


def test_a_200_of_another_length_is_another_resource(https, server):
    validator = bring(https, remote(server))[0].validator
    sink, _ = bring(https, remote(server), Sink(bytes(1000), validator, len(DATA) - 1))
    assert sink.data == DATA


def test_a_part_of_a_file_of_another_length_is_not_taken(https, server):
    first, _ = bring(https, remote(server))
    server.manners.etag, server.manners.ignore_if_range = first.validator, True
    server.files["/x.gguf"] = DATA + b"more"
    sink, _ = bring(https, remote(server), Sink(DATA[:1000], first.validator, first.total))
    assert sink.data == DATA + b"more"
    assert server.asked[-1].headers.get("range") is None


def test_a_file_that_is_said_to_begin_in_the_middle_is_refused(https, server):
    server.manners.content_range = "bytes 5-2999999/3000000"
    server.manners.length_lie = -5
    server.manners.tell_whole = True
    error = refused(https, remote(server))
    assert error.what == "localhost does not send what it says"
    assert (error.expected, error.found) == ("the file from its first byte on", "bytes from 5 on")


def test_a_body_that_lies_is_dropped_so_that_the_next_run_begins_anew(https, server):
    """A part with more bytes than it says is refused; what it was a part of is not believed either."""
    first, _ = bring(https, remote(server))
    server.manners.chunked, server.manners.extra = True, b"more"
    sink = Sink(DATA[:1000], first.validator, first.total)
    assert refused(https, remote(server, size=len(DATA)), sink).found == "more"
    assert sink.size == 0
    server.manners.extra = b""
    assert bring(https, remote(server, size=len(DATA)), sink)[0].data == DATA


def test_a_part_that_nobody_asked_for(https, server):
    server.manners.statuses.append((206, {}))
    assert refused(https, remote(server)).found == "206 Partial Content"


def test_a_length_that_is_too_long_is_tried_again_and_told(https, server):
    server.manners.length_lie, server.manners.ignore_range = 100, True
    error = refused(https, remote(server))
    assert str(error) == (
        "x.gguf could not be fetched: localhost broke the connection off, 5 times in a row\n"
        f"  where     https://localhost:{server.port}/x.gguf\n"
        "  expected  the whole file\n"
        "  found     3,000,000 of 3,000,100 bytes\n"
        "  fix       try again later; what is here already is kept and resumed"
    )
    assert not isinstance(error, IncompleteError)


def test_a_length_that_is_too_short_is_told_where_the_size_is_known(https, server):
    server.manners.length_lie = -100
    error = refused(https, remote(server, size=len(DATA)))
    assert str(error) == (
        "the file at localhost has another size than its source says\n"
        f"  where     https://localhost:{server.port}/x.gguf\n"
        "  expected  3,000,000 bytes\n"
        "  found     2,999,900 bytes\n"
        "  fix       it may have just been changed there: try again; else tell who runs the server"
    )


def test_bytes_behind_the_end_do_not_become_the_next_answer(https, serve):
    server = serve({"/x": b"right"})
    server.manners.extra = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    for _ in range(5):
        assert bring(https, remote(server, "/x"))[0].data == b"right"
        time.sleep(0.02)


def test_more_bytes_than_the_known_size(https, server):
    server.manners.chunked = True
    sink = Sink()
    error = refused(https, remote(server, size=1_500_000), sink)
    assert error.what == "localhost does not send what it says"
    assert len(sink.data) <= 1_500_000


def test_bytes_in_another_encoding_are_refused(https, server):
    server.manners.content_encoding = "gzip"
    assert refused(https, remote(server)).found == "Content-Encoding: gzip"
    server.manners.content_encoding = "identity"
    bring(https, remote(server))


# ---- patience and its end


def test_a_stall_is_resumed(environ, server, stall):
    stall(0.3)
    https = HttpClient(lambda host: None)
    server.manners.stall_at, server.manners.stall_times = 1_500_000, 1
    sink, naps = bring(https, remote(server))
    assert sink.data == DATA
    assert len(naps) == 1
    assert server.asked[-1].headers["range"] == "bytes=1499999-"


def test_a_trickle_is_a_stall(environ, serve, stall):
    stall(0.3)
    https = HttpClient(lambda host: None)
    server = serve({"/x": bytes(500)})
    server.manners.trickle = 0.05
    sink = Sink()
    error = refused(https, remote(server, "/x"), sink)
    assert "localhost sends next to nothing, 5 times in a row" in error.what
    assert 0 < sink.size < 100


def test_a_slow_sink_is_no_stall(environ, server, stall):
    stall(0.3)
    https = HttpClient(lambda host: None)

    class Slow(Sink):
        def write(self, chunk):
            super().write(chunk)
            time.sleep(0.5 if len(self.data) == len(chunk) else 0)

    assert bring(https, remote(server), Slow())[1] == []


def test_a_server_that_never_comes_back_is_given_up(https, serve):
    server = serve({})
    server.close()
    naps = Naps()
    with pytest.raises(FetchError) as caught:
        fetch(https, remote(server), Sink(), wait=naps)
    assert str(caught.value) == (
        "x.gguf could not be fetched: localhost could not be reached, 5 times in a row\n"
        f"  where     https://localhost:{server.port}/x.gguf\n"
        "  expected  an answer\n"
        "  found     Connection refused\n"
        "  fix       try again later; what is here already is kept and resumed"
    )
    assert len(naps) == 4
    assert all(2**n / 2 <= nap <= 2**n for n, nap in enumerate(naps))


def test_progress_gives_the_tries_back(https, server):
    """A connection that breaks every 140,000 bytes brings the file all the same."""
    server.manners.part = 140_000
    server.manners.drop_at, server.manners.drop_times = 140_000, 1
    sink, naps = bring(https, remote(server))
    assert sink.data == DATA
    assert len(naps) > 20
    assert max(naps) <= 1


def test_a_file_that_always_changes_is_given_up(https, server):
    server.manners.etags.extend(f'"{number}"' for number in range(100))
    drops = iter([1_000_000, 100_000] * 20)

    def drop():
        server.manners.drop_at = next(drops)

    server.before_each = drop
    refused(https, remote(server))
    assert [asked.headers.get("range") is None for asked in server.asked].count(True) == 5


def test_a_name_that_is_not_known(https):
    error = refused(https, RemoteFile(name="x.gguf", url="https://nowhere.invalid/x.gguf"))
    assert error.what == "x.gguf could not be fetched: the name nowhere.invalid was not found, 5 times in a row"


def test_what_the_sink_raises_ends_it_at_once(https, server):
    class Stopped(Sink):
        def write(self, chunk):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(https, remote(server), Stopped())
    assert len(server.asked) == 1


# ---- a file whose digest is known, begun at another place


def test_the_rest_is_taken_from_a_server_that_calls_the_file_otherwise(https, serve):
    server = serve({"/x.gguf": DATA})
    sink = Sink(DATA[:1_000_000], '"of another place"', len(DATA))
    bring(https, remote(server, sha256="ab" * 32), sink)
    assert bytes(sink.data) == DATA
    assert [(each.headers["range"], each.headers.get("if-range")) for each in server.asked] == [
        ("bytes=999999-", '"of another place"'),
        ("bytes=999999-", None),
    ]


def test_without_a_digest_it_is_fetched_anew(https, serve):
    server = serve({"/x.gguf": DATA})
    sink = Sink(DATA[:1_000_000], '"of another place"', len(DATA))
    bring(https, remote(server), sink)
    assert bytes(sink.data) == DATA
    assert sink.begun == [server.etag("/x.gguf")]


def test_a_file_of_another_size_is_another_file(https, serve):
    server = serve({"/x.gguf": DATA})
    sink = Sink(b"x" * 1_000_000, '"of another place"', len(DATA) + 1)
    bring(https, remote(server, sha256="ab" * 32), sink)
    assert bytes(sink.data) == DATA


def test_a_mirror_is_borne_with_for_two_tries(https, serve):
    server = serve({"/x.gguf": DATA})
    server.manners.statuses.extend([(503, {})] * 9)
    naps = Naps()
    with pytest.raises(FetchError, match="can't serve the file now, 2 times in a row"):
        fetch(https, remote(server), Sink(), wait=naps, terms=MIRROR)
    assert len(naps) == 1

"""Whatever a server does in whatever order: in the end the bytes are those of one version of the file, never of two."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.patience import Terms
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.listing import RemoteFile
from tests.support.examples import examples
from tests.support.files_server import FilesServer, Manners
from tests.support.receiving import Sink, fetch

VERSIONS = tuple(random.Random(seed).randbytes(size) for seed, size in ((1, 150_000), (2, 150_000), (3, 90_000)))
CLIENT = HttpClient(lambda host: None)  # one for all: reading the certificates of a machine takes longest

TROUBLE = st.fixed_dictionaries(
    {"version": st.sampled_from(range(3))},
    optional={
        "drop_at": st.integers(0, 150_000),
        "reset": st.booleans(),
        "ignore_range": st.booleans(),
        "ignore_if_range": st.booleans(),
        "etag": st.sampled_from(["auto", None, 'W/"same"']),
        "last_modified": st.sampled_from([None, 1.7e9]),
        "length_lie": st.sampled_from([0, 50]),
        "chunked": st.booleans(),
        "part": st.sampled_from([None, 10_000]),
        "part_as_200": st.booleans(),
        "tell_part": st.booleans(),
        "status": st.sampled_from([429, 500, 503]),
    },
)


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(st.lists(TROUBLE, max_size=6), st.sampled_from(range(3)))
def test_the_bytes_are_of_one_version(troubles, last):
    with FilesServer({"/x": b""}) as server:
        script = iter(troubles)

        def next_manners():
            trouble = dict(next(script, {"version": last}))
            version = trouble.pop("version")
            server.files["/x"] = VERSIONS[version]
            server.manners = Manners()
            if trouble.get("last_modified") and trouble.get("etag", "auto") != "auto":
                trouble["last_modified"] += version  # a date that tells versions apart
            if status := trouble.pop("status", None):
                server.manners.statuses.append((status, {}))
            for name, value in trouble.items():
                setattr(server.manners, name, value)

        server.before_each = next_manners
        sink = Sink()
        file = RemoteFile(name="x", url=server.url("/x"))
        try:
            terms = Terms(attempts=len(troubles) + 2)
            fetch(CLIENT, file, sink, wait=lambda seconds, why: None, terms=terms)
        except FetchError as error:
            assert "does not send what it says" in error.what
            assert any(trouble.get("length_lie") for trouble in troubles)
            assert any(version.startswith(sink.data) for version in VERSIONS)
        else:
            assert bytes(sink.data) in VERSIONS

"""A source may be endless: what is read of it is bounded in bytes, in memory and in time, and the error names the limit.

Every command runs in a process of its own: `Victim.bounded` holds that it takes less than 512 MB, ends, and prints no traceback.
"""

import json
import zlib
from itertools import chain, count, repeat

import pytest

from tests.support.endless import Endless, answered, begun
from tests.support.s3 import KEYS, clean

pytestmark = pytest.mark.slow

MORE = 8 << 20
"""How many bytes may be read past a limit."""
MIB = 1 << 20
ZEROS = bytes(1 << 16)
CHUNK = b"10000\r\n" + ZEROS + b"\r\n"
CHUNKED = "Transfer-Encoding: chunked"


def packed(mebibytes):
    """Return so many MiB of blanks as gzip packs them, in a thousandth of the room."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(b" " * MIB) for _ in range(mebibytes)), packer.flush()])


def cases(table):
    return pytest.mark.parametrize(
        ("answer", "limit", "said"), [pytest.param(*row, id=name) for name, row in table.items()]
    )


def project(victim, ref, host="127.0.0.1", **top):
    fields = top.pop("fields", {})
    entry = {"model_ref": ref, "engine": "llamacpp", **fields}
    victim.write("models.yaml", json.dumps({"network": {"allow": [host]}, **top, "models": {"m": entry}}))


def refused(victim, server, limit, said, environ):
    ran = victim.bounded("provision", environ={"NO_PROXY": "*", **environ}, seconds=100)
    assert ran.code == 1, ran
    assert said in ran.out, ran
    assert server.sent <= limit + MORE, f"{server.sent:,} bytes"
    assert not (victim.clone / ".runtime/engines/llamacpp.json").exists()
    return ran


# ---- a file on a web server


def endless(head):
    return lambda url: chain([head], repeat(CHUNK if b"chunked" in head else ZEROS))


TRIES = 5
HEADERS = "sends headers without an end"


@cases(
    {
        "responses before the response": (lambda url: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), MIB, HEADERS),
        "a status line": (lambda url: repeat(b"HTTP/1.1 200 " * 5000), MIB, "broke the connection off"),
        "a header": (lambda url: chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(ZEROS)), MIB, "broke the connection off"),
        "headers": (
            lambda url: chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X: y\r\n" * 9000)),
            MIB,
            "broke the connection off",
        ),
        "the size of a chunk": (
            lambda url: chain([begun(CHUNKED) + b"10;"], repeat(b"x" * 9000)),
            MIB,
            "broke the connection off",
        ),
        "what follows the last chunk": (
            lambda url: chain([begun(CHUNKED) + b"1\r\nx\r\n0\r\n"], repeat(b"X: y\r\n" * 9000)),
            TRIES * MIB,
            HEADERS,
        ),
        "a body that says nothing of its length": (
            endless(begun()),
            0,
            "does not say how long x.gguf is, so that half of it would look like all of it",
        ),
        "the body of an error": (endless(begun(CHUNKED, status="404 Not Found")), 0, "has no such file"),
        "redirects": (
            lambda url: answered(b"", f"Location: {url}x", status="302 Found"),
            0,
            "redirects without end",
        ),
        "the bodies of redirects": (
            lambda url: chain([begun(CHUNKED, f"Location: {url}x", status="302 Found")], repeat(CHUNK)),
            MIB,
            "redirects without end",
        ),
        "a packed body": (
            endless(begun(CHUNKED, "Content-Encoding: gzip")),
            0,
            "sends the file in an encoding that was not asked for",
        ),
    }
)
def test_a_file(victim, trusted, answer, limit, said):
    with Endless(answer, context=trusted.context) as server:
        project(victim, f"{server.url}/x.gguf")
        refused(victim, server, limit, said, {"SSL_CERT_FILE": trusted.file})


DIGEST = {"expected_digest": "sha256:" + "0" * 64}


@pytest.mark.parametrize("fields", [{}, DIGEST], ids=["no digest", "a digest"])
@pytest.mark.parametrize("head", [begun(CHUNKED), begun()], ids=["chunked", "to the end of the connection"])
def test_a_body_without_a_length_gets_the_room_that_the_store_has(victim, trusted, head, fields):
    with Endless(endless(head), context=trusted.context) as server:
        project(victim, f"{server.url}/x.gguf", fields=fields, cache={"max_size": "1MB"}, cache_dir="cache")
        said = "does not fit into the store" if fields or b"chunked" in head else "does not say how long"
        refused(victim, server, 1_000_000, said, {"SSL_CERT_FILE": trusted.file})
    assert sum(path.stat().st_size for path in (victim.clone / "cache").rglob("*") if path.is_file()) < 4 * MIB


@pytest.mark.parametrize(
    "head", [begun(CHUNKED), begun(), begun("Content-Length: 600000")], ids=["chunked", "no length", "a length"]
)
def test_a_locked_size_is_the_bound(victim, trusted, head):
    with Endless(endless(head), context=trusted.context) as server:
        url = f"{server.url}/x.gguf"
        files = [{"path": "x.gguf", "size": 1000, "sha256": "0" * 64}]
        lock = {"version": 1, "models": {"m": {"ref": url, "kind": "file", "files": files}}}
        victim.write("models.lock", json.dumps(lock))
        project(victim, url, cache_dir="cache")
        said = "x.gguf is larger than when it was locked or first fetched"
        ran = refused(victim, server, 1000, said, {"SSL_CERT_FILE": trusted.file})
    assert "expected  1,000 bytes" in ran.out
    assert not [path for path in (victim.clone / "cache/partial").iterdir() if path.suffix != ".json"]


# ---- a Hub

COMMIT = "a" * 40
TOLD = answered(json.dumps({"id": "org/tiny", "sha": COMMIT}).encode())
LISTS = b"[" + b"[]," * 2_000_000 + b"[]]"
LARGE = "at most 8,388,608 bytes in one response"


def tree(pages):
    """Answer what the commit is, and then the pages of the list of files."""
    return lambda url: pages(url) if "/tree/" in url else TOLD


def link(url):
    return f'Link: <{url.partition("?")[0]}?cursor=next>; rel="next"'


def file(number):
    return {"type": "file", "path": f"{number}.gguf", "size": 1, "oid": "0" * 40}


def page():
    return json.dumps([file(number) for number in range(5000)]).encode()


@cases(
    {
        "what the commit is": (endless(begun(CHUNKED)), 8 * MIB, LARGE),
        "what the commit is, to the end of the connection": (endless(begun()), 8 * MIB, LARGE),
        "the list": (tree(endless(begun(CHUNKED))), 8 * MIB, LARGE),
        "lists": (tree(lambda url: answered(LISTS)), 8 * MIB, "what the Hub answered can't be understood"),
        "nesting": (
            tree(lambda url: answered(b"[" * 1_000_000)),
            8 * MIB,
            "what the Hub answered can't be understood",
        ),
        "a packed list": (
            tree(lambda url: answered(packed(300), "Content-Encoding: gzip")),
            0,
            "Content-Encoding: gzip",
        ),
        "empty pages": (tree(lambda url: answered(b"[]", link(url))), MIB, "at most 300 requests"),
        "pages": (tree(lambda url: answered(page(), link(url))), 16 * MIB, "at most 100,000 files and folders"),
        "redirects": (
            lambda url: answered(b"", f"Location: {url}x", status="307 Found"),
            MIB,
            "the Hub can't be reached",
        ),
        "headers": (
            lambda url: chain([b"HTTP/1.1 200 OK\r\n"], (b"X-%d: y\r\n" % number * 99 for number in count())),
            TRIES * 2 * MIB,
            "broke the connection off",
        ),
        "the body of an error": (endless(begun(CHUNKED, status="400 Bad Request")), 8 * MIB, LARGE),
    }
)
def test_a_listing_of_a_hub(victim, answer, limit, said):
    with Endless(answer) as server:
        project(victim, "hf:org/tiny/tiny.gguf")
        refused(victim, server, limit, said, {"HF_ENDPOINT": server.url, "HF_HOME": str(victim.home / "hf")})


# ---- an S3 storage


def xml(inner, *, after=""):
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{after}</NextContinuationToken>" if after else ""
    return answered(b"<ListBucketResult>" + inner + more.encode() + b"</ListBucketResult>")


OBJECTS = b"".join(b"<Contents><Key>p/%d</Key><Size>1</Size></Contents>" % number for number in range(20_000))
BOMB = b'<!DOCTYPE a [<!ENTITY a "%s">%s]><ListBucketResult>&z;</ListBucketResult>'
ENTITIES = b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 10) for c in range(ord("b"), ord("z") + 1))
S3_SAYS = "does not answer as an S3 storage does"


@cases(
    {
        "the list": (endless(begun(CHUNKED)), 8 * MIB, "more than a listing can be"),
        "the list, to the end of the connection": (endless(begun()), 8 * MIB, "more than a listing can be"),
        "elements": (lambda url: xml(b"<a/>" * 2_000_000), 8 * MIB, "at most 262,144 are read"),
        "nesting": (lambda url: answered(b"<a>" * 2_000_000), 8 * MIB, "at most 262,144 are read"),
        "entities": (lambda url: answered(BOMB % (b"x" * 99, ENTITIES)), MIB, "a declaration, a comment or CDATA"),
        "empty pages": (lambda url: xml(b"", after="next"), MIB, "at most 100 pages of a listing"),
        "objects": (lambda url: xml(OBJECTS, after="next"), 16 * MIB, "100,000 objects"),
        "the body of an error": (endless(begun(CHUNKED, status="403 Forbidden")), 8 * MIB, S3_SAYS),
        "a packed list": (
            lambda url: answered(packed(300), "Content-Encoding: gzip"),
            MIB,
            S3_SAYS,
        ),
    }
)
def test_a_listing_of_s3(victim, monkeypatch, answer, limit, said):
    for name in clean():
        monkeypatch.delenv(name)
    with Endless(answer) as server:
        project(victim, "s3://models/p/")
        refused(victim, server, limit, said, {"AWS_ENDPOINT_URL": server.url, **KEYS})

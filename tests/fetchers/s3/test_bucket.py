"""What is asked of a bucket, where, and what is made of the answers; the storage is real, the front before it can go wrong."""

import base64
import hashlib
from urllib.parse import urlsplit

import pytest

from model_provisioner.errors import FetchError, NotAllowedError
from model_provisioner.fetchers.patience import ATTEMPTS
from model_provisioner.fetchers.s3 import bucket as module
from model_provisioner.fetchers.s3.bucket import MOVES, Bucket
from model_provisioner.fetchers.s3.xml import Listed
from model_provisioner.config.network_policy import NetworkPolicy
from tests.support.receiving import Naps
from tests.support.s3 import SECRETS, Front

KEY = "a folder/tïny.bin"
DATA = b"some bytes"


@pytest.fixture
def client(s3, moto, monkeypatch):
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    client = moto.client()
    client.create_bucket(Bucket="models")
    return client


@pytest.fixture
def naps():
    """The waits between tries, which are noted and not waited."""
    return Naps()


@pytest.fixture
def bucket(client, naps):
    return Bucket("models", lambda host: None, naps)


def refused(ask, *arguments):
    with pytest.raises(FetchError) as caught:
        ask(*arguments)
    assert not any(secret in f"{caught.value!s}{caught.value!r}" for secret in SECRETS)
    return caught.value


# ---- what is told of an object


def test_an_object(bucket, client):
    client.put_object(Bucket="models", Key=KEY, Body=DATA, ChecksumAlgorithm="SHA256")
    file, revision = bucket.head(KEY, "tïny.bin")
    assert (file.name, file.size, file.sha256) == ("tïny.bin", len(DATA), hashlib.sha256(DATA).hexdigest())
    assert revision == f"etag:{hashlib.md5(DATA).hexdigest()}"
    assert file.url.endswith("/models/a%20folder/t%C3%AFny.bin")
    assert not any(secret in repr(file) for secret in SECRETS)


def test_each_look_at_the_headers_is_signed_anew(bucket, client):
    client.put_object(Bucket="models", Key=KEY, Body=DATA)
    file, _ = bucket.head(KEY, "x")
    assert file.headers == {"if-match": f'"{hashlib.md5(DATA).hexdigest()}"'}
    assert file.sign()["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")


WHOLE = base64.b64encode(hashlib.sha256(DATA).digest()).decode()


@pytest.mark.parametrize(
    ("headers", "sha256"),
    [
        ({"x-amz-checksum-sha256": WHOLE}, hashlib.sha256(DATA).hexdigest()),
        ({"x-amz-checksum-sha256": WHOLE, "x-amz-checksum-type": "FULL_OBJECT"}, hashlib.sha256(DATA).hexdigest()),
        ({"x-amz-checksum-sha256": WHOLE, "x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-sha256": f"{WHOLE}-2"}, None),
        ({"x-amz-checksum-sha256": WHOLE, "ETag": '"0123-2"'}, None),
        ({"x-amz-checksum-sha256": WHOLE[:-4]}, None),
        ({"x-amz-checksum-sha256": "é"}, None),
        ({"x-amz-checksum-sha256": ""}, None),
        ({"ETag": f'"{hashlib.sha256(DATA).hexdigest()}"'}, None),
        ({}, None),
    ],
)
def test_a_digest_is_believed_of_an_object_in_one_piece_alone(bucket, s3, headers, sha256):
    s3.answer = lambda asked: (200, {**headers, "Content-Length": "10"}, b"")
    assert bucket.head(KEY, "x")[0].sha256 == sha256


def test_a_storage_that_tells_next_to_nothing(bucket, s3):
    s3.answer = lambda asked: (200, {"Content-Length": "10"}, b"")
    file, revision = bucket.head(KEY, "x")
    assert (file.size, file.headers, revision) == (10, {}, None)


def test_a_version(bucket, client, s3):
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket="models", Key=KEY, Body=DATA)["VersionId"]
    client.put_object(Bucket="models", Key=KEY, Body=b"newer")
    file, revision = bucket.head(KEY, "x", f"version:{first}")
    assert (revision, file.size) == (f"version:{first}", len(DATA))
    assert file.url.endswith(f"?versionId={first}")
    now, newer = bucket.head(KEY, "x")
    assert now.size == 5
    assert bucket.head(KEY, "x", newer)[0].url == now.url == file.url.partition("?")[0]
    client.delete_object(Bucket="models", Key=KEY, VersionId=newer.removeprefix("version:"))
    gone = refused(bucket.head, KEY, "x", newer)
    assert gone.what in {
        "the version of the object that was locked or first fetched is gone",
        "the bucket has no such object",
    }


GONE = {"the version of the object that was locked or first fetched is gone", "the bucket has no such object"}


# ---- where it is asked


MOVED = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>"


@pytest.mark.parametrize(
    "answer",
    [
        (301, {"x-amz-bucket-region": "eu-central-1"}, b""),
        (307, {"x-amz-bucket-region": "eu-central-1", "Location": "http://127.0.0.9/"}, b""),
        (400, {"x-amz-bucket-region": "eu-central-1"}, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>"),
        (400, {}, MOVED),
    ],
)
def test_the_region_that_the_storage_names_is_used(bucket, client, s3, naps, answer):
    client.put_object(Bucket="models", Key=KEY, Body=DATA)
    s3.answer = lambda asked: None if "/eu-central-1/s3/" in asked.headers["authorization"] else answer
    (listed,) = bucket.below("a folder/")
    file = bucket.file(listed, "x")
    assert "/eu-central-1/s3/" in file.sign()["Authorization"]
    assert len(s3.asked) == 2
    assert naps == []


@pytest.mark.parametrize("region", ["evil.example/", "a@b", "EU", "", "x" * 30])
def test_what_is_no_region_is_not_believed(bucket, s3, region):
    s3.answer = lambda asked: (301, {"x-amz-bucket-region": region}, b"")
    error = refused(bucket.below, "x/")
    assert (error.what, error.found) == ("the storage does not answer the question", "301 Moved Permanently")
    assert len(s3.asked) == 1


def test_a_storage_that_never_settles_on_a_region(bucket, s3):
    s3.answer = lambda asked: (301, {"x-amz-bucket-region": f"region-{len(s3.asked)}"}, b"")
    assert refused(bucket.below, "x/").status == 301
    assert len(s3.asked) == 1 + MOVES


@pytest.mark.parametrize(
    ("name", "environ", "config", "place"),
    [
        ("models", {}, "", "https://models.s3.us-east-1.amazonaws.com/k"),
        ("models", {"AWS_REGION": "cn-north-1"}, "", "https://models.s3.cn-north-1.amazonaws.com.cn/k"),
        ("my.models", {}, "", "https://s3.us-east-1.amazonaws.com/my.models/k"),
        ("models", {}, "[default]\ns3 =\n  addressing_style = path\n", "https://s3.us-east-1.amazonaws.com/models/k"),
        ("models", {"AWS_ENDPOINT_URL": "https://a.example/b/"}, "", "https://a.example/b/models/k"),
        (
            "models",
            {"AWS_ENDPOINT_URL": "https://a.example:9000"},
            "[default]\ns3 =\n  addressing_style = virtual\n",
            "https://models.a.example:9000/k",
        ),
    ],
)
def test_where_a_bucket_is(s3, tmp_path, monkeypatch, name, environ, config, place):
    (tmp_path / "home/.aws/config").write_text(config)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    hosts = []
    bucket = Bucket(name, hosts.append)
    assert bucket.file(Listed(key="k", size=1, etag="", has_sha256=False), "k").url == place
    assert hosts == [urlsplit(place).hostname]


def test_the_host_is_checked_before_it_is_asked_and_before_each_question(client, s3):
    policy = NetworkPolicy(("elsewhere.example",), None, "models.yaml")
    with pytest.raises(NotAllowedError):
        Bucket("models", lambda host: policy.check(host, "m", 1))
    allowed = ["127.0.0.1"]
    bucket = Bucket("models", lambda host: NetworkPolicy(tuple(allowed), None, "models.yaml").check(host, "m", 1))
    allowed.clear()
    with pytest.raises(NotAllowedError):
        bucket.below("nothing/")
    assert s3.asked == []


def test_certificates_that_aws_is_told_to_trust(moto, client, authority, monkeypatch, naps):
    client.put_object(Bucket="models", Key=KEY, Body=DATA)
    front = Front(moto, context=authority.context)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        assert (
            refused(Bucket("models", lambda host: None).head, KEY, "x").what
            == "the certificate of 127.0.0.1 is not trusted by this machine"
        )
        monkeypatch.setenv("AWS_CA_BUNDLE", authority.file)
        assert Bucket("models", lambda host: None).head(KEY, "x")[0].size == len(DATA)
    finally:
        front.close()


# ---- listings


def test_pages_are_put_together(bucket, client, s3):
    for number in range(5):
        client.put_object(Bucket="models", Key=f"p/é {number}", Body=b"x" * number)

    def two_at_a_time(asked):
        asked.path += "&max-keys=2"

    s3.answer = two_at_a_time
    assert [(each.key, each.size) for each in bucket.below("p/")] == [(f"p/é {number}", number) for number in range(5)]
    assert len(s3.asked) == 3


def test_a_listing_without_end(bucket, s3, monkeypatch):
    monkeypatch.setattr(module, "PAGES", 3)
    more = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
    s3.answer = lambda asked: (200, {}, more)
    assert refused(bucket.below, "x/").what == "more objects lie under the prefix than a model can have"
    assert len(s3.asked) == 3


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"<html><body>Welcome</body></html>", "<html>"),
        (b"hello", "syntax error: line 1, column 0"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>', "a declaration, a comment or CDATA"),
        (b"<ListBucketResult><Contents><Key>other</Key><Size>1</Size></Contents></ListBucketResult>", "keys that were not asked for"),
        (b"<ListBucketResult><Contents><Key>x/</Key></Contents></ListBucketResult>", "an object without key or size"),
    ],
)  # fmt: skip
def test_what_is_no_listing(bucket, s3, body, found):
    s3.answer = lambda asked: (200, {}, body)
    error = refused(bucket.below, "x/")
    assert (error.what, error.found) == ("127.0.0.1 does not answer as an S3 storage does", found)
    assert error.fix == "check that AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, names an S3 storage"


def test_an_answer_that_is_too_long(bucket, s3, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", 1000)
    s3.answer = lambda asked: (200, {}, b"<" * 2000)
    assert refused(bucket.below, "x/").found == "more than a listing can be"


# ---- trouble that may pass


@pytest.mark.parametrize("status", [429, 500, 503])
def test_it_is_asked_again(bucket, client, s3, naps, status):
    client.put_object(Bucket="models", Key=KEY, Body=DATA)
    s3.answer = lambda asked: (status, {}, b"") if len(s3.asked) < 3 else None
    assert bucket.head(KEY, "x")[0].size == len(DATA)
    assert [0.5 <= naps[0] <= 1, 1 <= naps[1] <= 2, len(naps)] == [True, True, 2]


def test_but_not_for_ever(bucket, s3, naps):
    s3.answer = lambda asked: (503, {}, b"<Error><Code>SlowDown</Code></Error>")
    error = refused(bucket.below, "x/")
    assert (error.what, error.found) == ("the storage can't answer now", "503 Service Unavailable (SlowDown)")
    assert len(s3.asked) == ATTEMPTS
    assert len(naps) == ATTEMPTS - 1


def test_it_is_asked_again_when_it_wants_to_be(bucket, client, s3, naps):
    client.put_object(Bucket="models", Key=KEY, Body=DATA)
    s3.answer = lambda asked: (503, {"Retry-After": "120"}, b"") if len(s3.asked) < 3 else None
    bucket.head(KEY, "x")
    assert naps == [120, 120]
    s3.answer = lambda asked: (503, {"Retry-After": "301"}, b"")
    found = "503 Service Unavailable, and asks for a wait of 301 s, where at most 300 s are waited"
    assert refused(bucket.below, "x/").found == found
    assert len(naps) == 2


def test_nobody_is_there(bucket, s3, naps):
    s3.close()
    assert refused(bucket.below, "x/").what == "127.0.0.1 could not be reached"
    assert len(naps) == ATTEMPTS - 1


def test_what_the_storage_says_of_our_credentials_is_not_repeated(bucket, s3):
    body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>s3cret</Message><StringToSign>AWS4-HMAC</StringToSign></Error>"
    s3.answer = lambda asked: (403, {}, body)
    error = refused(bucket.head, KEY, "x")
    assert error.what == "the storage does not take our credentials"
    assert error.found == "403 Forbidden (SignatureDoesNotMatch)"

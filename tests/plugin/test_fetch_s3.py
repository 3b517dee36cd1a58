"""`s3:` references from what a user types to the handoff, against a real storage on loopback."""

import hashlib
import json
import random
import time

import pytest

from model_provisioner.installation import with_extra
from tests.support.project import TINY
from tests.support.s3 import KEYS, SECRETS

TINY_BYTES = TINY.read_bytes()
TINY_SHA256 = hashlib.sha256(TINY_BYTES).hexdigest()
BIG = TINY_BYTES + random.Random(7).randbytes(3_000_000)


@pytest.fixture
def client(s3, moto):
    client = moto.client()
    client.create_bucket(Bucket="models")
    return client


@pytest.fixture
def s3_project(project, s3):
    project.environ.update(
        s3.environ(HOME=str(project.root.parent / "home"), MODEL_PROVISIONER_CACHE_DIR=str(project.root / "cache"))
    )
    return project


def models(project, ref, *, allow="127.0.0.1", **fields):
    project.models(json.dumps({"network": {"allow": [allow]}, "models": {"m": {"model_ref": ref, **fields}}}))


def provision(project, *args, code=0):
    answer = project.provision(*args, code=code)
    assert not any(secret in answer.all for secret in SECRETS), answer.all
    return answer


def put(client, key, body=TINY_BYTES, **options):
    client.put_object(Bucket="models", Key=key, Body=body, **options)


def in_pieces(client, key, body):
    started = client.create_multipart_upload(Bucket="models", Key=key, ChecksumAlgorithm="SHA256")
    parts = []
    for number, at in enumerate(range(0, len(body), 5 << 20), start=1):
        sent = client.upload_part(
            Bucket="models",
            Key=key,
            UploadId=started["UploadId"],
            PartNumber=number,
            Body=body[at : at + (5 << 20)],
            ChecksumAlgorithm="SHA256",
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]})
    client.complete_multipart_upload(
        Bucket="models", Key=key, UploadId=started["UploadId"], MultipartUpload={"Parts": parts}
    )


# ---- one object


@pytest.mark.parametrize(
    "key", ["tiny.gguf", "a folder/tïny + 100% ? # [x].gguf", "x//y.gguf", "~a/+/&=;:@$,'()*!.gguf"]
)
def test_an_object_becomes_a_model(s3_project, s3, client, key):
    put(client, key)
    models(s3_project, f"s3://models/{key}", expected_digest=f"sha256:{TINY_SHA256}")
    answer = provision(s3_project)
    assert "pass  m  hashed 105.2 KB (fetched from 127.0.0.1) → .runtime/engines/llamacpp.json\n" in answer.out
    handoff = s3_project.handoff()
    assert handoff["model"]["id"] == f"s3://models/{key}"
    assert handoff["model"]["path"].endswith(key.rpartition("/")[2])
    assert [each.method for each in s3.asked] == ["HEAD", "GET"]
    # and a second run asks nobody
    s3.asked.clear()
    assert "1 current" in provision(s3_project).out
    assert s3.asked == []


def test_signatures_hold(s3_project, s3, client, moto):
    """Also of names in which a signature goes wrong easily; the storage verifies them."""
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    key = "a folder/tïny + 1%.gguf"
    put(client, key)
    for name in ("b c", "x%2Fy", "~a/+/&=;:@$,'()*!", '[z]{}|^`<>"', "é/日本", "?versionId=1#2"):
        put(client, f"tree+ 1/{name}", name.encode())
    s3_project.environ.update(moto.verify())
    models(s3_project, f"s3://models/{key}")
    provision(s3_project)
    models(s3_project, "s3://models/tree+ 1/", engine="vllm")
    provision(s3_project)
    assert len(s3_project.handoff("vllm")["metadata"]["files"]) == 6
    assert all("authorization" in each.headers for each in s3.asked)


def test_who_may_read_objects_and_nothing_else_can_fetch_one(s3_project, s3, client, moto):
    """Not list the bucket, and not name versions, though it keeps them."""
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    put(client, "tiny.gguf")
    s3_project.environ.update(moto.verify(["s3:GetObject"]))
    models(s3_project, "s3://models/tiny.gguf")
    s3_project.doit("model-lock")
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "other cache")
    assert "pass  m  " in provision(s3_project, "--locked").out
    assert '"revision": "version:' in (s3_project.root / "models.lock").read_text()


def test_credentials_of_a_profile_and_a_token(s3_project, s3, client, project):
    put(client, "tiny.gguf")
    for name in KEYS:
        del s3_project.environ[name]
    folder = project.root.parent / "home" / ".aws"
    (folder / "credentials").write_text(
        "[work]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s3cret\naws_session_token = t0ken\n"
    )
    (folder / "config").write_text("[profile work]\nregion = eu-west-2\n")
    s3_project.environ["AWS_PROFILE"] = "work"
    models(s3_project, "s3://models/tiny.gguf")
    provision(s3_project)
    for asked in s3.asked:
        assert "Credential=AKIAOTHER/" in asked.headers["authorization"]
        assert "/eu-west-2/s3/aws4_request" in asked.headers["authorization"]
        assert asked.headers["x-amz-security-token"] == "t0ken"


def test_without_credentials_nothing_is_signed(s3_project, s3, client):
    put(client, "tiny.gguf", ACL="public-read")
    put(client, "private.gguf")
    for name in KEYS:
        del s3_project.environ[name]
    models(s3_project, "s3://models/tiny.gguf")
    provision(s3_project)
    models(s3_project, "s3://models/private.gguf")
    answer = provision(s3_project, code=1)
    assert (
        "FAIL  m  the storage does not show this to everybody, and no AWS credentials were found\n"
        "        where     s3://models/private.gguf at 127.0.0.1\n"
        "        expected  a bucket and a key that we may read\n"
        "        found     403 Forbidden\n"
        "        fix       set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the role of this machine is asked for "
        "where network.allow has 169.254.169.254\n"
    ) in answer.out
    assert not any("authorization" in each.headers for each in s3.asked)


def test_a_split_by_its_first_shard(s3_project, client, tiny_models):
    shards = sorted(tiny_models.glob("*-of-00003.gguf"))
    assert len(shards) == 3
    for shard in shards:
        put(client, f"deep/{shard.name}", shard.read_bytes())
    models(s3_project, f"s3://models/deep/{shards[0].name}")
    provision(s3_project)
    assert [file["path"].rpartition("/")[2] for file in s3_project.handoff()["metadata"]["files"]] == [
        shard.name for shard in shards
    ]


def test_an_object_in_pieces_has_no_digest_that_could_mislead(s3_project, client):
    body = TINY_BYTES + bytes(6 << 20)
    in_pieces(client, "pieces.bin", body)
    models(s3_project, "s3://models/pieces.bin")
    provision(s3_project)
    assert s3_project.handoff()["metadata"]["digest"]["value"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("ref", ["s3://models/x.gguf", "s3://models/folder/"])
def test_a_wrong_object_is_asked_for_again_and_not_sent_again_as_long_as_it_is_the_same(s3_project, s3, client, ref):
    key = "x.gguf" if ref.endswith("x.gguf") else "folder/x.gguf"
    put(client, key, b"<html>log in</html>")
    models(s3_project, ref)
    for _ in range(2):
        assert "or run again, and its source is asked again\n" in provision(s3_project, code=1).out
    statuses = [each.status for each in s3.asked if each.method == "GET" and key in each.path]
    assert [status for status in statuses if status == 200] == [200]
    put(client, key)
    provision(s3_project)
    assert TINY_SHA256 in json.dumps(s3_project.handoff())


def test_a_digest_that_the_storage_tells_saves_the_fetch(s3_project, s3, client):
    put(client, "a.gguf", ChecksumAlgorithm="SHA256")
    put(client, "b.gguf", ChecksumAlgorithm="SHA256")
    models(s3_project, "s3://models/a.gguf")
    provision(s3_project)
    s3.asked.clear()
    models(s3_project, "s3://models/b.gguf")  # the same bytes
    provision(s3_project)
    assert [each.method for each in s3.asked] == ["HEAD"]


def test_an_upgrade_downloads_no_object_that_is_as_it_was(s3_project, s3, client):
    put(client, "a.gguf")
    models(s3_project, "s3://models/a.gguf")
    provision(s3_project)
    s3_project.doit("model-lock")
    s3.asked.clear()
    s3_project.doit("model-lock", "--upgrade", "m")
    assert [each.method for each in s3.asked] == ["HEAD"]
    put(client, "a.gguf", BIG)
    s3_project.doit("model-lock", "--upgrade", "m")
    assert hashlib.sha256(BIG).hexdigest() in (s3_project.root / "models.lock").read_text()


@pytest.mark.parametrize(
    "place", [".lmstudio/models/org/repo/another.gguf", f".ollama/models/blobs/sha256-{TINY_SHA256}"]
)
def test_a_copy_of_another_program_saves_the_fetch(s3_project, s3, client, place):
    put(client, "a.gguf")
    path = s3_project.root.parent / "home" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY_BYTES)
    models(s3_project, "s3://models/a.gguf", expected_digest=f"sha256:{TINY_SHA256}")
    assert "taken from" in provision(s3_project).out
    assert s3.of("GET") == []


def test_other_bytes_than_expected_are_not_fetched_where_the_storage_tells(s3_project, s3, client):
    put(client, "a.gguf", BIG, ChecksumAlgorithm="SHA256")
    models(s3_project, "s3://models/a.gguf", expected_digest=f"sha256:{TINY_SHA256}")
    answer = provision(s3_project, code=1)
    assert "the digest differs from what is expected" in answer.out
    assert s3.of("GET") == []


def test_a_broken_connection_is_resumed(s3_project, s3, client):
    put(client, "big.bin", BIG)
    s3.drop_at = 1_000_000
    models(s3_project, "s3://models/big.bin")
    provision(s3_project)
    assert s3_project.handoff()["metadata"]["digest"]["value"] == hashlib.sha256(BIG).hexdigest()
    first, second = s3.of("GET")
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=999999-"
    assert second.headers["if-range"] == second.headers["if-match"] == f'"{hashlib.md5(BIG).hexdigest()}"'


def test_what_a_killed_run_began_is_resumed(s3_project, s3, client):
    put(client, "big.bin", BIG)
    s3.drop_at, s3.drop_times = 1_000_000, 1 << 30
    models(s3_project, "s3://models/big.bin")
    process = s3_project.start("provision")
    deadline = time.monotonic() + 60
    while len(s3.of("GET")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    s3.drop_at = None
    s3.asked.clear()
    provision(s3_project)
    assert s3_project.handoff()["metadata"]["digest"]["value"] == hashlib.sha256(BIG).hexdigest()
    (asked,) = s3.of("GET")
    assert int(asked.headers["range"].removeprefix("bytes=").removesuffix("-")) >= 999_999


def test_an_object_replaced_while_it_is_fetched(s3_project, s3, client):
    put(client, "big.bin", BIG)

    def replace(asked):
        if asked.method == "GET":
            put(client, "big.bin", TINY_BYTES)

    s3.answer = replace
    models(s3_project, "s3://models/big.bin")
    answer = provision(s3_project, code=1)
    assert "FAIL  m  127.0.0.1 has another version of the file by now\n" in answer.out
    assert "fix       run again, which takes the new one\n" in answer.out
    assert s3_project.handoff() is None
    s3.answer = lambda asked: None
    provision(s3_project)


# ---- all under a prefix


def test_a_prefix_becomes_a_folder(s3_project, s3, client):
    for name in ("config.bin", "sub dir/é +&%.bin", "x<y>&amp;.bin", "[z].bin"):
        put(client, f"tree/{name}", name.encode())
    put(client, "tree/summed.bin", b"summed", ChecksumAlgorithm="SHA256")
    put(client, "tree/sub dir/", b"")  # how consoles show a folder
    put(client, "treetop", b"another")
    models(s3_project, "s3://models/tree/", engine="vllm")
    provision(s3_project)
    handoff = s3_project.handoff("vllm")
    root = handoff["model"]["path"]
    assert {file["path"].removeprefix(f"{root}/") for file in handoff["metadata"]["files"]} == {
        "config.bin", "sub dir/é +&%.bin", "x<y>&amp;.bin", "[z].bin", "summed.bin"
    }  # fmt: skip
    assert len(s3.of("GET", listing=True)) == 1
    assert len(s3.of("HEAD")) == 1  # of the one that the storage has a digest of
    assert len(s3.of("GET", listing=False)) == 5


def test_include_and_exclude(s3_project, s3, client):
    for name in ("a.pt", "b.bin", "sub/c.pt", "sub/d.pt"):
        put(client, f"tree/{name}", name.encode(), ChecksumAlgorithm="SHA256")
    models(s3_project, "s3://models/tree/", engine="vllm", include=["*.pt"], exclude=["sub/d*"])
    provision(s3_project)
    assert sorted(file["path"][-4:] for file in s3_project.handoff("vllm")["metadata"]["files"]) == ["a.pt", "c.pt"]
    assert len(s3.of("HEAD")) == 2
    models(s3_project, "s3://models/tree/", engine="vllm", include=["*.gguf"])
    answer = provision(s3_project, code=1)
    assert "FAIL  m  no object under the prefix matches include and exclude\n" in answer.out
    assert "expected  one of 4 objects\n" in answer.out


@pytest.mark.slow
def test_more_objects_than_one_answer_holds(s3_project, s3, client):
    for number in range(1001):
        put(client, f"tree/{number:04d}", b"%d" % number)
    models(s3_project, "s3://models/tree/", engine="vllm", include=["0000", "1000"])
    provision(s3_project)
    assert len(s3.of("GET", listing=True)) == 2
    assert len(s3.of("GET", listing=False)) == 2


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["../../evil"], "a path that leads out of the model: ../../evil"),
        (["a/../b"], "a path that leads out of the model: a/../b"),
        (["a//b"], "a part without a name: a//b"),
        (["/etc/x"], "an absolute path: /etc/x"),
        (["a", "a/b"], "a folder with the name of a file: a/b"),
        (["a\nb"], "a NUL, newline or backslash: a\\nb"),
    ],
)
def test_keys_that_are_no_file_names_are_refused_before_a_byte_comes(s3_project, s3, client, keys, fault):
    s3.answer = lambda asked: (200, {}, page(keys)) if "list-type=2" in asked.path else None
    models(s3_project, "s3://models/tree/", engine="vllm")
    answer = provision(s3_project, code=1)
    assert "FAIL  m  a file name that the store can't hold\n" in answer.out
    assert f"found     {fault}\n" in answer.out
    assert s3.of("GET", listing=False) == []


def page(keys):
    contents = "".join(f"<Contents><Key>tree/{key}</Key><Size>1</Size></Contents>" for key in keys)
    return f"<ListBucketResult>{contents}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()


# ---- the lock


def test_a_locked_version_is_fetched_when_there_is_a_newer_one(s3_project, s3, client):
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    put(client, "tiny.gguf")
    models(s3_project, "s3://models/tiny.gguf")
    s3_project.doit("model-lock")
    revision = json.loads((s3_project.root / "models.lock").read_bytes())["models"]["m"]["revision"]
    put(client, "tiny.gguf", BIG)
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "other cache")
    s3.asked.clear()
    answer = provision(s3_project, "--locked")
    assert "pass  m  " in answer.out
    assert revision.startswith("version:")
    assert [each.path.partition("?")[2] for each in s3.asked] == ["", *[revision.replace("version:", "versionId=")] * 2]
    assert s3_project.handoff()["metadata"]["digest"]["value"] == TINY_SHA256


def test_a_locked_object_that_was_replaced_is_not_fetched(s3_project, s3, client):
    put(client, "tiny.gguf")
    models(s3_project, "s3://models/tiny.gguf")
    s3_project.doit("model-lock")
    put(client, "tiny.gguf", BIG)
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "other cache")
    s3.asked.clear()
    answer = provision(s3_project, code=1)
    assert (
        "FAIL  m  the object was replaced since it was locked or first fetched, and the storage does not keep the old one\n"
        "        where     s3://models/tiny.gguf at 127.0.0.1\n"
        f"        expected  etag:{hashlib.md5(TINY_BYTES).hexdigest()}\n"
        f"        found     etag:{hashlib.md5(BIG).hexdigest()}\n"
        "        fix       if the new one is right, `doit model-lock --upgrade NAME` takes it; else put the old one back\n"
    ) in answer.out
    assert [each.method for each in s3.asked] == ["HEAD"]
    s3_project.doit("model-lock", "--upgrade", "m")
    assert "pass  m  " in provision(s3_project).out
    assert s3_project.handoff()["metadata"]["digest"]["value"] == hashlib.sha256(BIG).hexdigest()


def test_the_same_bytes_put_there_again_are_the_locked_ones(s3_project, client):
    in_pieces(client, "x.bin", TINY_BYTES)
    models(s3_project, "s3://models/x.bin")
    s3_project.doit("model-lock")
    put(client, "x.bin", TINY_BYTES, ChecksumAlgorithm="SHA256")  # with another ETag
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "other cache")
    assert "pass  m  " in provision(s3_project, "--locked").out


def test_a_locked_prefix_is_the_locked_files_alone(s3_project, s3, client):
    for name in ("a", "b"):
        put(client, f"tree/{name}", name.encode())
    models(s3_project, "s3://models/tree/", engine="vllm")
    s3_project.doit("model-lock")
    put(client, "tree/c", b"new")
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "other cache")
    assert "pass  m  " in provision(s3_project, "--locked").out
    assert len(s3_project.handoff("vllm")["metadata"]["files"]) == 2
    client.delete_object(Bucket="models", Key="tree/b")
    s3_project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(s3_project.root / "third cache")
    answer = provision(s3_project, code=1)
    assert "FAIL  m  an object that was there when the prefix was locked or first fetched is gone\n" in answer.out
    assert "expected  b\n" in answer.out


def test_what_is_here_and_locked_needs_no_network_and_no_botocore(s3_project, s3, client):
    put(client, "tiny.gguf")
    models(s3_project, "s3://models/tiny.gguf")
    s3_project.doit("model-lock")
    s3.asked.clear()
    folder = s3_project.write("without/botocore/__init__.py", "raise ImportError").parent.parent
    s3_project.environ["PYTHONPATH"] = str(folder)
    assert "pass  m  " in s3_project.process("provision", "--locked", "--offline").out
    s3_project.process("provision", "--full", "--offline")
    assert s3.asked == []


def test_without_the_extra(s3_project, s3):
    folder = s3_project.write("without/botocore/__init__.py", "raise ImportError").parent.parent
    s3_project.environ["PYTHONPATH"] = str(folder)
    models(s3_project, "s3://models/tiny.gguf")
    assert s3_project.process("provision", code=1).out.startswith(
        "FAIL  m  s3: references need the package botocore, which is not installed\n"
        "        where     the Python that runs this\n"
        "        expected  the extra s3\n"
        "        found     no module botocore\n"
        f"        fix       {with_extra('s3')}; or download the model and name it as file:PATH, "
        "which needs nothing\n"
    )


# ---- who may not be asked


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "models.s3.us-east-1.amazonaws.com"),
        ({"AWS_REGION": "cn-north-1"}, "models.s3.cn-north-1.amazonaws.com.cn"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "models.s3.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "https://minio.example:9000"}, "minio.example"),
        ({"AWS_ENDPOINT_URL": "https://a.example", "AWS_ENDPOINT_URL_S3": "https://b.example"}, "b.example"),
    ],
)
def test_a_host_that_is_not_allowed_is_not_asked(s3_project, s3, environ, host):
    del s3_project.environ["AWS_ENDPOINT_URL"]
    s3_project.environ.update(environ)
    models(s3_project, "s3://models/tiny.gguf")
    answer = provision(s3_project, code=1)
    assert "FAIL  m  m would have to be fetched, and the network is not allowed\n" in answer.out
    assert f"expected  {host} among the hosts of network.allow\n" in answer.out
    assert s3.asked == []


def test_offline(s3_project, s3):
    models(s3_project, "s3://models/tiny.gguf")
    answer = provision(s3_project, "--offline", code=1)
    assert "FAIL  m  m would have to be fetched, and this run is offline (--offline)\n" in answer.out
    assert s3.asked == []


# ---- what goes wrong


@pytest.mark.parametrize("encoding", ["aws-chunked", "aws-chunked,", "AWS-chunked, identity"])
def test_how_an_object_was_uploaded_is_no_encoding_of_its_bytes(s3_project, s3, client, encoding):
    put(client, "tiny.gguf", ContentEncoding=encoding)
    models(s3_project, "s3://models/tiny.gguf", expected_digest=f"sha256:{TINY_SHA256}")
    assert "pass  m  hashed 105.2 KB" in provision(s3_project).out
    put(client, "packed.gguf", ContentEncoding="aws-chunked,gzip")
    models(s3_project, "s3://models/packed.gguf")
    assert "found     Content-Encoding: gzip\n" in provision(s3_project, code=1).out


def refusal(status, code):
    """Return what a storage answers with."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return status, {"Content-Type": "application/xml"}, body


@pytest.mark.parametrize("ref", ["s3://models/tree/", "s3://models/tree/tiny.gguf"])
@pytest.mark.parametrize(
    ("status", "code", "what", "fix"),
    [
        (
            403,
            "InvalidObjectState",
            "the object is archived: it can't be read before it is restored",
            "restore it (`aws s3api restore-object`), which may take hours, and run again; or move it to a storage class "
            "that is read at once",
        ),
        (
            400,
            "ExpiredToken",
            "the session of our AWS credentials has expired",
            "log in again (`aws sso login`), or get new ones: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN",
        ),
    ],
)
def test_bytes_that_are_refused_say_why(s3_project, s3, client, ref, status, code, what, fix):
    """As an archive does, which lists an object and tells all of it but its bytes."""
    put(client, "tree/tiny.gguf")
    s3.answer = lambda asked: refusal(status, code) if asked.method == "GET" and "list-type" not in asked.path else None
    models(s3_project, ref, engine="vllm")
    answer = provision(s3_project, code=1)
    assert answer.out.startswith(
        f"FAIL  m  {what}\n        where     {s3.url}/models/tree/tiny.gguf\n        expected  the file\n"
        f"        found     {status} {'Forbidden' if status == 403 else 'Bad Request'} ({code})\n        fix       {fix}\n"
    ), answer


@pytest.mark.parametrize("ref", ["s3://models/tree/", "s3://models/tiny.gguf"])
def test_a_session_that_has_expired_is_said_to(s3_project, s3, client, ref):
    s3.answer = lambda asked: refusal(400, "ExpiredToken")
    models(s3_project, ref)
    answer = provision(s3_project, code=1)
    assert (
        f"FAIL  m  the session of our AWS credentials has expired\n        where     {ref} at 127.0.0.1\n" in answer.out
    )


@pytest.mark.parametrize(
    ("ref", "what", "found"),
    [
        ("s3://models/nothing.gguf", "the bucket has no such object", "404 Not Found (NoSuchKey)"),
        ("s3://models/nothing/", "no object lies under the prefix", "none"),
        ("s3://nowhere/x.gguf", "the storage has no such bucket", "404 Not Found (NoSuchBucket)"),
        ("s3://nowhere/x/", "the storage has no such bucket", "404 Not Found (NoSuchBucket)"),
    ],
)
def test_what_is_not_there(s3_project, client, ref, what, found):
    models(s3_project, ref)
    answer = provision(s3_project, code=1)
    assert f"FAIL  m  {what}\n        where     {ref} at 127.0.0.1\n" in answer.out
    assert f"found     {found}\n" in answer.out


@pytest.mark.parametrize("ref", ["s3://models/tiny.gguf", "s3://models/tree/"])
@pytest.mark.parametrize(
    ("wrong", "what", "code"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "the storage does not take our credentials", "InvalidAccessKeyId"),
        ({"AWS_SECRET_ACCESS_KEY": "s3cret"}, "the storage does not take our credentials", "SignatureDoesNotMatch"),
        ({}, "our credentials may not read this", "AccessDenied"),
    ],
)
def test_credentials_that_do_not_do(s3_project, client, moto, ref, wrong, what, code):
    put(client, "tiny.gguf")
    s3_project.environ.update({**moto.verify(["s3:PutObject"]), **wrong})
    models(s3_project, ref)
    answer = provision(s3_project, code=1)
    assert (
        f"FAIL  m  {what}\n        where     {ref} at 127.0.0.1\n"
        f"        expected  a bucket and a key that we may read\n        found     403 Forbidden ({code})\n"
        in answer.out
    )


def test_a_listing_that_may_be_read_and_bytes_that_may_not(s3_project, client, moto):
    put(client, "tree/tiny.gguf")
    s3_project.environ.update(moto.verify(["s3:ListBucket"]))
    models(s3_project, "s3://models/tree/", engine="vllm")
    answer = provision(s3_project, code=1)
    assert "FAIL  m  127.0.0.1 does not let us have the file\n" in answer.out
    assert (
        "fix       ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own\n"
        in answer.out
    )

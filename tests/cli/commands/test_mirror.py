"""`mirror`: verified bytes are sent to a bucket or a registry, once, and come back from there by their SHA-256."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_provisioner.fetchers.s3 import upload
from model_provisioner.hashing.threads import Stopped
from model_provisioner.installation import with_extra
from tests.support.files_server import FilesServer
from tests.support.gguf_bytes import gguf, text
from tests.support.registry import Registry, TokenServer
from tests.support.remote import ONE, TINY_BYTES, TINY_SHA, sha256, wait_until
from tests.support.s3 import KEYS, SECRETS

KEY = f"cache/sha256/{TINY_SHA[:2]}/{TINY_SHA}"
BUCKET = "s3://site-models/cache/"
BIG = gguf([("general.architecture", text("llama"))]) + random.Random(5).randbytes(12_000_000)


@pytest.fixture
def client(s3, moto):
    client = moto.client()
    client.create_bucket(Bucket="site-models")
    return client


@pytest.fixture
def here(tiny, s3, client):
    """A project whose model is fetched, verified, locked and handed off, and a bucket."""
    tiny.environ.update(s3.environ())
    tiny.doit("model-lock")
    tiny.provision()
    return tiny


def mirror(project, *args, code=0):
    answer = project.project.program("mirror", *args, code=code)
    assert not any(secret in answer.all for secret in SECRETS), answer.all
    return answer


def objects(client):
    found = client.list_objects_v2(Bucket="site-models").get("Contents", [])
    return {each["Key"]: client.get_object(Bucket="site-models", Key=each["Key"])["Body"].read() for each in found}


# ---- a bucket


def test_a_bucket_is_filled_and_another_machine_is_served_from_it(here, hub, s3, client):
    assert mirror(here, "--to", BUCKET).out == (
        f"sent  tiny  sha256:{TINY_SHA}  105.2 KB\n{BUCKET}: 1 file: 1 sent (105.2 KB), 0 there before\n"
    )
    assert objects(client) == {KEY: TINY_BYTES}
    here.another_machine()
    hub.forget()
    here.models({"tiny": ONE}, mirrors=[BUCKET])
    answer = here.provision("--locked")
    assert f"(fetched from the mirror {BUCKET})" in answer.out
    assert hub.asked() == []
    assert here.bytes_of("tiny") == TINY_BYTES
    assert not any(secret in answer.all for secret in SECRETS)
    assert "s3cret" not in here.everything().decode(errors="replace")


def test_the_storage_is_told_the_digest_and_keeps_it(here, client):
    mirror(here, "--to", BUCKET)
    head = client.head_object(Bucket="site-models", Key=KEY, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"]
    assert head["ContentLength"] == len(TINY_BYTES)


def test_signatures_are_right(here, moto, client):
    here.environ.update(moto.verify())
    mirror(here, "--to", BUCKET)
    moto.client("s3")
    here.another_machine()
    here.models({"tiny": ONE}, mirrors=[BUCKET])
    assert "fetched from the mirror" in here.provision().out


def test_what_is_there_is_not_sent_again(here, s3, client):
    mirror(here, "--to", BUCKET)
    s3.asked.clear()
    assert mirror(here, "--to", BUCKET).out == f"{BUCKET}: 1 file: 0 sent (0 bytes), 1 there before\n"
    assert [each.method for each in s3.asked] == ["HEAD"]


def test_half_an_object_there_is_sent_anew(here, client):
    client.put_object(Bucket="site-models", Key=KEY, Body=TINY_BYTES[:100])
    assert "1 sent" in mirror(here, "--to", BUCKET).out
    assert objects(client) == {KEY: TINY_BYTES}


def test_a_dry_run_sends_nothing(here, client):
    assert mirror(here, "tiny", "--to", BUCKET, "--dry-run").out == (
        f"would be sent  tiny  sha256:{TINY_SHA}  105.2 KB\n{BUCKET}: 1 file: 1 would be sent (105.2 KB), 0 there before\n"
    )
    assert objects(client) == {}


def test_a_large_file_goes_in_parts(here, client, monkeypatch, hub):
    monkeypatch.setattr(upload, "ONE_REQUEST", 6 << 20)
    monkeypatch.setattr(upload, "PART", 5 << 20)
    hub.add("org/big", {"big.gguf": BIG})
    here.models({"big": "hf:org/big/big.gguf"})
    here.doit("model-lock")
    here.provision()
    mirror(here, "--to", "s3://site-models")
    key = f"sha256/{sha256(BIG)[:2]}/{sha256(BIG)}"
    assert objects(client) == {key: BIG}
    assert client.head_object(Bucket="site-models", Key=key)["ETag"].endswith('-3"')
    assert client.list_multipart_uploads(Bucket="site-models").get("Uploads", []) == []
    assert "0 sent" in mirror(here, "--to", "s3://site-models").out


def test_parts_that_fail_are_taken_back(here, s3, client, monkeypatch, hub):
    monkeypatch.setattr(upload, "ONE_REQUEST", 6 << 20)
    monkeypatch.setattr(upload, "PART", 5 << 20)
    hub.add("org/big", {"big.gguf": BIG})
    here.models({"big": "hf:org/big/big.gguf"})
    here.doit("model-lock")
    here.provision()
    s3.answer = lambda asked: (403, {}, b"") if "partNumber=2" in asked.path else None
    answer = mirror(here, "--to", BUCKET, code=1)
    assert answer.err.endswith(
        "ERROR: our credentials may not write this\n"
        f"  where     s3://site-models/cache/sha256/{sha256(BIG)[:2]}/{sha256(BIG)} at 127.0.0.1\n"
        "  expected  a bucket and a key that we may write\n"
        "  found     403 Forbidden\n"
        "  fix       ask for s3:PutObject, s3:GetObject and s3:AbortMultipartUpload under the prefix, and for s3:ListBucket on "
        "the bucket\n"
    )
    assert client.list_multipart_uploads(Bucket="site-models").get("Uploads", []) == []
    assert objects(client) == {}


def test_parts_are_taken_back_where_who_sends_them_is_stopped(client, moto, s3, tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "ONE_REQUEST", 6 << 20)
    monkeypatch.setattr(upload, "PART", 5 << 20)
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "big").write_bytes(BIG)
    sent = []

    def stop_in_the_second_part(count):
        sent.append(count)
        if sum(sent) > 7 << 20:
            raise Stopped

    with pytest.raises(Stopped):
        upload.UploadBucket("site-models", lambda host: None).put(
            "big", str(tmp_path / "big"), sha256(BIG), len(BIG), stop_in_the_second_part
        )
    assert len(s3.of("DELETE")) == 1
    assert client.list_multipart_uploads(Bucket="site-models").get("Uploads", []) == []
    assert objects(client) == {}


def test_a_storage_that_breaks_off_is_asked_again(here, s3, client, monkeypatch):
    from model_provisioner.fetchers import patience

    monkeypatch.setattr(patience, "backoff", lambda tried: 0.01)
    failing = [503, 503]
    s3.answer = lambda asked: (failing.pop(), {}, b"") if asked.method == "PUT" and failing else None
    mirror(here, "--to", BUCKET)
    assert objects(client) == {KEY: TINY_BYTES}


def test_a_bucket_that_is_not_there(here):
    answer = mirror(here, "--to", "s3://no-such-bucket/", code=1)
    assert "ERROR: the storage has no such bucket\n" in answer.err


# ---- which models


def test_local_models_with_a_digest_and_folders_go_too(here, client, project):
    project.add_tiny("local.gguf")
    project.add_tiny("plain.gguf").write_bytes(gguf([("general.architecture", text("plain"))]))
    here.models(
        {
            "local": {"model_ref": "file:local.gguf", "expected_digest": f"sha256:{TINY_SHA}"},
            "plain": "file:plain.gguf",
            "gone": "hf:org/gone/gone.gguf",
        }
    )
    here.provision(code=1)
    answer = mirror(here, "--to", BUCKET)
    assert answer.out.startswith("left  plain  plain has no digest that its bytes have to have (")
    assert "left  gone  gone is not handed off as it is now (" in answer.out
    assert objects(client) == {KEY: TINY_BYTES}


def test_a_name_that_is_not_current_is_an_error(here, client):
    here.models({"tiny": ONE, "gone": "hf:org/gone/gone.gguf"})
    answer = mirror(here, "gone", "tiny", "--to", BUCKET, code=1)
    assert "FAIL  gone  gone is not handed off as it is now\n" in answer.out
    assert objects(client) == {KEY: TINY_BYTES}


def test_bytes_that_changed_are_not_sent(here, client):
    path = here.path("tiny")
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(TINY_BYTES[:-1] + b"?")
    assert "is not handed off as it is now" in mirror(here, "--to", BUCKET).out
    assert objects(client) == {}


# ---- what may be asked for


def test_a_web_server_is_not_written(here):
    answer = mirror(here, "--to", "https://mirror.example.org/", code=3)
    assert answer.err == (
        "ERROR: a web server is a mirror that is read, and not written by this program\n"
        "  where     --to\n"
        "  expected  s3://BUCKET/PREFIX/ or oci:REGISTRY/REPOSITORY\n"
        "  found     https://mirror.example.org/\n"
        "  fix       name the bucket or registry behind it; or copy the files there as sha256/<first two digits>/<64 digits>\n"
    )


@pytest.mark.parametrize("place", ["s3://me:s3cret@bucket/", "nonsense", "s3://x", "oci:registry/repo:tag"])
def test_what_is_no_mirror(here, place):
    answer = mirror(here, "--to", place, code=3)
    assert answer.err.startswith("ERROR: not a mirror\n  where     --to\n")
    assert "s3cret" not in answer.all


def test_a_project_does_not_say_where_its_models_are_sent(here, s3):
    here.project.write("doit.cfg", f"[GLOBAL]\nto = {BUCKET}\n[model-mirror]\nto = {BUCKET}\n")
    s3.asked.clear()
    answer = here.doit("model-mirror", code=3)
    assert answer.err.startswith("ERROR: nothing says which mirror the models are sent to\n")
    assert s3.asked == []


def test_nothing_says_where_to(here):
    answer = mirror(here, code=3)
    assert answer.err.startswith("ERROR: nothing says which mirror the models are sent to\n")


def test_a_host_that_is_not_allowed(here, s3):
    here.models({"tiny": ONE}, allow=["localhost"])
    s3.asked.clear()
    answer = mirror(here, "--to", BUCKET, code=1)
    assert answer.err == (
        f"ERROR: files would be sent to {BUCKET}, and 127.0.0.1 may not be contacted\n"
        f"  where     {here.root}/models.yaml\n"
        "  expected  127.0.0.1 among the hosts of network.allow\n"
        "  found     allow: [localhost]\n"
        '  fix       add "127.0.0.1" to network.allow\n'
    )
    assert s3.asked == []


def test_offline(here, s3):
    here.environ["MODEL_PROVISIONER_OFFLINE"] = "1"
    s3.asked.clear()
    answer = mirror(here, "--to", BUCKET, code=1)
    assert "fix       run once without MODEL_PROVISIONER_OFFLINE=1\n" in answer.err
    assert s3.asked == []


def test_the_document(here):
    found = json.loads(here.project.program("mirror", "--to", BUCKET, "--json").out)
    assert found["result"] == {
        "to": BUCKET,
        "dry_run": False,
        "sent": [{"model": "tiny", "sha256": TINY_SHA, "size_bytes": len(TINY_BYTES)}],
        "there": [],
        "left": [],
    }
    assert [model["name"] for model in found["models"]] == ["tiny"]


# ---- a registry


@pytest.fixture(params=["open", "passwords", "tokens"])
def registry(request, tmp_path, tiny):
    tokens = None
    if request.param == "tokens":
        tokens = request.getfixturevalue("token_server")
    with Registry(tmp_path / "registry", passwords=request.param == "passwords", tokens=tokens) as registry:
        if request.param != "open":
            login(tiny, registry)
        yield registry


@pytest.fixture
def token_server():
    with TokenServer(anonymous=False) as server:
        yield server


def login(project, registry):
    folder = project.home / ".docker"
    folder.mkdir(exist_ok=True)
    from tests.support.registry import PASSWORD, USER
    import base64

    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.place: {"auth": auth}}}))


def test_a_registry_is_filled_and_another_machine_is_served_from_it(tiny, hub, registry):
    place = f"oci:{registry.place}/site/models"
    tiny.doit("model-lock")
    tiny.provision()
    answer = tiny.project.program("mirror", "--to", place)
    assert "s3cret" not in answer.all
    assert (
        answer.out == f"sent  tiny  sha256:{TINY_SHA}  105.2 KB\n{place}: 1 file: 1 sent (105.2 KB), 0 there before\n"
    )
    assert registry.has_blob("site/models", f"sha256:{TINY_SHA}")
    assert "0 sent (0 bytes), 1 there before" in tiny.project.program("mirror", "--to", place).out
    tiny.another_machine()
    hub.forget()
    tiny.models({"tiny": ONE}, mirrors=[place])
    answer = tiny.provision("--locked")
    assert f"(fetched from the mirror {place})" in answer.out
    assert hub.asked() == []
    assert b"s3cret" not in tiny.everything()


def test_a_registry_that_lacks_it(tiny, hub, tmp_path):
    with Registry(tmp_path / "registry") as registry:
        place = f"oci:{registry.place}/site/models"
        tiny.models({"tiny": ONE}, mirrors=[place])
        answer = tiny.provision()
    assert (
        f"note: the mirror {place} was passed over: it does not have every file; the first that it lacks is "
        f"{place}@sha256:{TINY_SHA}\n"
    ) in answer.err


# ---- stopped


@pytest.mark.slow
def test_who_is_stopped_leaves_nothing_half_sent(here, s3, client):
    held = []

    def hold(asked):
        if asked.method == "PUT":
            held.append(asked)
            wait_until(lambda: stopped)
        return None

    stopped = []
    s3.answer = hold
    process = here.project.start_program("mirror", "--to", BUCKET)
    wait_until(lambda: held)
    process.send_signal(signal.SIGINT)
    stopped.append(True)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted: what was sent whole is there, and is not sent again" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_who_is_stopped_while_a_registry_asks_for_a_long_wait_does_not_wait(tiny):
    tiny.doit("model-lock")
    tiny.provision()
    with FilesServer({}) as busy:
        busy.manners.statuses.extend([(503, {"Retry-After": "100"})] * 9)
        process = tiny.project.start_program("mirror", "--to", f"oci:127.0.0.1:{busy.port}/m")
        wait_until(lambda: busy.asked)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130


# ---- a large file


class Sink(BaseHTTPRequestHandler):
    """Takes what is sent, as a bucket and as a registry, and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.answer(202)

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        buffer = memoryview(bytearray(1 << 20))
        while left:
            left -= self.rfile.readinto(buffer[: min(left, len(buffer))])
        self.answer(201 if self.path.startswith("/v2/") else 200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Location", "/v2/m/blobs/uploads/1")
        self.send_header("Content-Length", "0")
        self.end_headers()


SENDING = """
import resource, sys
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.oci.place import registry_place
from model_provisioner.fetchers.oci.registry import Registry
from model_provisioner.fetchers.s3.upload import UploadBucket
from model_provisioner.fs.read import Piece
path, port, size, digits = sys.argv[1], sys.argv[2], int(sys.argv[3]), "0" * 64
def check(host): pass
def tell(count): pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # that of who started this process, at first
UploadBucket("models", check).put("key", path, digits, size, tell)
with HttpClient(check) as client, Piece(path, 0, size, tell) as body:
    Registry(registry_place(f"127.0.0.1:{port}", "m"), client).push(digits, size, body, "")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before << 10)
"""


@pytest.mark.slow
def test_a_large_file_is_sent_in_little_memory(tmp_path):
    size = 640 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            port = server.server_address[1]
            environ = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **KEYS}
            command = [sys.executable, "-c", SENDING, str(tmp_path / "large"), str(port), str(size)]
            ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
        finally:
            server.shutdown()
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 256 << 20

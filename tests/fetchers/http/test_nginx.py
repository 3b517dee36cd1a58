"""The https fetcher against a real nginx: its ranges, validators, redirects, and its death."""

import os
import random
import shutil
import socket
import subprocess
import time

import pytest

from model_provisioner.errors import FetchError
from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.begun import Begun
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.listing import RemoteFile
from tests.support.receiving import Naps, Sink, fetch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (apt-get install nginx-light)"),
]

DATA = random.Random(5).randbytes(8_000_000)
CONFIG = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{}}
http {{
  log_format asked '$request_method $request_uri $status "$http_range" "$http_if_range" "$http_authorization"';
  access_log {root}/access.log asked;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
  server {{
    listen 127.0.0.1:{port} ssl;
    root {root}/files;
    location /slow/ {{ alias {root}/files/; limit_rate 2m; }}
    location /dated/ {{ alias {root}/files/; etag off; if_modified_since before; }}
    location /whole/ {{ alias {root}/files/; max_ranges 0; }}
    location /moved/ {{ return 302 https://127.0.0.1:{port}/x.gguf?signature=1; }}
    location /zipped/ {{ alias {root}/files/; gzip on; gzip_types *; gzip_min_length 1; }}
    location /busy/ {{ limit_req zone=few; limit_req_status 429; alias {root}/files/; }}
    location /private/ {{ auth_basic "x"; auth_basic_user_file {root}/users; alias {root}/files/; }}
  }}
  limit_req_zone $binary_remote_addr zone=few:1m rate=60r/m;
}}
"""


class Nginx:
    def __init__(self, root, issued):
        self.root = root
        (root / "files").mkdir()
        (root / "files" / "x.gguf").write_bytes(DATA)
        os.utime(root / "files" / "x.gguf", (1_700_000_000, 1_700_000_000))
        (root / "users").write_text("me:{PLAIN}s3cret\n")
        issued.private_key_pem.write_to_path(str(root / "key.pem"))
        (root / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (root / "nginx.conf").write_text(CONFIG.format(root=root, port=self.port))
        self.start()

    def start(self):
        command = ["nginx", "-p", self.root, "-c", self.root / "nginx.conf", "-e", self.root / "error.log"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.root / "error.log").read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def asked(self):
        time.sleep(0.1)  # it writes its log after the answer
        return (self.root / "access.log").read_text().splitlines()

    def file(self, path="/x.gguf", user="", **values):
        return RemoteFile(name="x.gguf", url=f"https://{user}localhost:{self.port}{path}", **values)


@pytest.fixture
def nginx(authority, tmp_path):
    server = Nginx(tmp_path, authority.issued)
    yield server
    server.kill()


@pytest.fixture
def https(authority, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", authority.file)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connections, "STALL", 2)
    return HttpClient(lambda host: None)


@pytest.mark.parametrize(("path", "of_the_whole"), [("/x.gguf", 304), ("/dated/x.gguf", 206)])
def test_it_resumes_by_a_validator_of_nginx(nginx, https, path, of_the_whole):
    sink = Sink()
    with https.open(nginx.file(path).url) as answer:
        sink.begin(answer.validator, answer.total)
        sink.write(next(answer.chunks()))
    here = sink.size
    assert 0 < here < len(DATA)
    fetch(https, nginx.file(path), sink)
    assert sink.data == DATA
    assert sink.begun == [sink.validator]
    assert f' 206 "bytes={here - 1}-"' in nginx.asked()[-1]
    fetch(https, nginx.file(path), sink)
    assert f' {of_the_whole} "bytes={len(DATA) - 1}-"' in nginx.asked()[-1]


@pytest.mark.parametrize(
    ("path", "statuses"), [("/x.gguf", [304, 200]), ("/dated/x.gguf", [206, 200]), ("/whole/x.gguf", [304, 200])]
)
@pytest.mark.parametrize("seconds", [-100, 100])
def test_nginx_says_whether_it_still_has_what_came_before(nginx, https, path, statuses, seconds):
    with https.open(nginx.file(path).url) as answer:
        before = Begun(size=len(DATA), validator=answer.validator, total=len(DATA))
    sink = Sink()
    assert not fetch(https, nginx.file(path), sink, before=before)
    assert (sink.size, sink.begun) == (0, [])
    other = DATA[:-1] + b"x"
    (nginx.root / "files" / "x.gguf").write_bytes(other)
    os.utime(nginx.root / "files" / "x.gguf", (1_700_000_000 + seconds,) * 2)  # older, too: copied there with its times
    assert fetch(https, nginx.file(path), sink, before=before)
    assert sink.data == other
    assert [int(line.split()[2]) for line in nginx.asked()[1:3]] == statuses


def test_a_file_that_was_replaced_is_begun_anew(nginx, https):
    sink = Sink(bytes(1000), '"6553f100-7a1200x"')
    fetch(https, nginx.file(), sink)
    assert sink.data == DATA
    assert ' 200 "bytes=999-"' in nginx.asked()[-2]


def test_an_nginx_without_ranges(nginx, https):
    with https.open(nginx.file("/whole/x.gguf").url) as answer:
        sink = Sink(DATA[:1_000_000], answer.validator)
    fetch(https, nginx.file("/whole/x.gguf"), sink)
    assert sink.data == DATA


def test_a_redirect_of_nginx_gets_no_credentials(nginx, https):
    sink = Sink()
    fetch(https, nginx.file("/moved/x", headers={"Authorization": "Bearer tok3n"}), sink)
    assert sink.data == DATA
    assert nginx.asked() == [
        'GET /moved/x 302 "-" "-" "Bearer tok3n"',
        'GET /x.gguf?signature=1 200 "-" "-" "-"',
    ]


def test_an_nginx_that_would_compress_does_not(nginx, https):
    sink = Sink()
    fetch(https, nginx.file("/zipped/x.gguf"), sink)
    assert sink.data == DATA
    assert sink.validator.startswith('"')


def test_an_nginx_that_limits_requests(nginx, https):
    naps = Naps()

    def wait(seconds, why):
        naps(seconds)
        time.sleep(seconds)

    for _ in range(3):
        fetch(https, nginx.file("/busy/x.gguf"), sink := Sink(), wait=wait)
        assert sink.data == DATA
    assert naps
    assert any(" 429 " in line for line in nginx.asked())


def test_credentials_for_nginx(nginx, https):
    fetch(https, nginx.file("/private/x.gguf", user="me:s3cret@"), sink := Sink())
    assert sink.data == DATA
    with pytest.raises(FetchError, match="localhost wants credentials"):
        fetch(https, nginx.file("/private/x.gguf"), Sink())
    with pytest.raises(FetchError, match="localhost has no such file"):
        fetch(https, nginx.file("/nothing"), Sink())


def test_the_death_of_nginx_is_survived(nginx, https):
    class Killing(Sink):
        def write(self, chunk):
            super().write(chunk)
            if self.size > 2_000_000 and nginx.process.returncode is None and not restarts:
                nginx.kill()

    restarts = []

    def wait(seconds, why):
        restarts.append(seconds)
        if len(restarts) == 2:
            nginx.start()

    fetch(https, nginx.file("/slow/x.gguf"), sink := Killing(), wait=wait)
    assert sink.data == DATA
    assert len(restarts) == 2
    assert ' 206 "bytes=' in nginx.asked()[-1]

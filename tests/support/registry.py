"""An OCI registry on loopback: a real `docker-registry` in a process of its own, open, with passwords, or with tokens.

    with Registry(tmp_path) as registry:
        weights = registry.push_blob("org/model", data)
        digest = registry.push_manifest("org/model", "q4", {"schemaVersion": 2, …, "layers": [{…, "digest": weights}]})

`registry.place` is `127.0.0.1:PORT`, as a reference names it: `oci:{place}/org/model:q4`.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "me", "s3cret-pass"
_HTPASSWD = "me:$2b$04$j80KFgy.i2xVe8iCvGuB1uIXA/smwJCO3Zj/cDocsQ2MDClczxpvK\n"
"""The line of `USER`, by bcrypt, as docker-registry wants it."""


class Registry:
    """A docker-registry that keeps what it has below `folder`.

    `passwords`: only `USER` with `PASSWORD` may read and write. `tokens`: only who brings a token of that `TokenServer`.
    """

    def __init__(self, folder, *, passwords=False, tokens=None):
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.place = f"127.0.0.1:{self.port}"
        self._tokens, self._passwords = tokens, passwords
        config = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.place},
        }
        if passwords:
            (folder / "htpasswd").write_text(_HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        if tokens is not None:
            (folder / "tokens.pem").write_bytes(tokens.certificate)
            config["auth"] = {
                "token": {
                    "realm": f"{tokens.url}/token",
                    "service": tokens.service,
                    "issuer": tokens.issuer,
                    "rootcertbundle": str(folder / "tokens.pem"),
                }
            }
        (folder / "config.yml").write_text(json.dumps(config))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._wait()

    def _wait(self):
        for _ in range(300):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        self.close()
        raise AssertionError("docker-registry does not start")

    def push_blob(self, repository, data):
        """Upload bytes; return their digest, `sha256:…`."""
        digest = digest_of(data)
        begun = self._ask("POST", f"/v2/{repository}/blobs/uploads/", repository)
        where = begun.headers["Location"]
        self._ask("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", repository, data)
        return digest

    def push_manifest(self, repository, reference, manifest, media_type=None):
        """Upload a manifest, a dict or its bytes, under a tag or its digest; return its digest."""
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        kind = media_type or json.loads(data).get("mediaType", OCI_MANIFEST)
        self._ask("PUT", f"/v2/{repository}/manifests/{reference}", repository, data, kind)
        return digest_of(data)

    def delete_manifest(self, repository, digest):
        self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", repository)

    def has_blob(self, repository, digest):
        """Tell whether the repository has a blob."""
        try:
            self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", repository)
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return False
        return True

    def _ask(self, method, where, repository, data=None, kind="application/octet-stream"):
        url = where if where.startswith("http") else f"http://{self.place}{where}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        if self._passwords:
            request.add_header("Authorization", f"Basic {basic(USER, PASSWORD)}")
        if self._tokens is not None:
            token = self._tokens.token(
                [{"type": "repository", "name": repository, "actions": ["pull", "push", "delete"]}]
            )
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            answer.read()
            return answer

    def close(self):
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TokenServer:
    """Gives out tokens for registries: to anybody for pulling where `anonymous`, else to `USER` with `PASSWORD`."""

    service, issuer = "test-registry", "test-issuer"

    def __init__(self, *, anonymous=True, seconds=300, host="127.0.0.1"):
        self.anonymous, self.seconds = anonymous, seconds
        self.identity = None
        """The identity token that stands for `USER` with `PASSWORD`."""
        self.asked = []
        """The requests that came: (path with query, headers with names in lower case)."""
        self.answer = lambda path: None
        """Given a path, returns bytes to send in the place of a token, or None."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.issuer)])
        now = datetime.datetime.now(datetime.UTC)
        issued = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = issued.public_bytes(serialization.Encoding.PEM)
        self._der = base64.b64encode(issued.public_bytes(serialization.Encoding.DER)).decode()
        self._server = ThreadingHTTPServer((host, 0), type("Bound", (_Tokens,), {"owner": self}))
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def token(self, access):
        """Return a token for what is given as the registry's `access`."""
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self._der]}
        claims = {
            "iss": self.issuer,
            "sub": "",
            "aud": self.service,
            "exp": now + self.seconds,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.asked)),
            "access": access,
        }
        text = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Tokens(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: TokenServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.asked.append((self.path, headers))
        known = headers.get("authorization") == f"Basic {basic(USER, PASSWORD)}"
        if ("authorization" in headers and not known) or not (known or self.owner.anonymous):
            return self.send(401, b'{"errors": []}')
        return self.give(parse_qs(urlsplit(self.path).query), known)

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.owner.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != [self.owner.identity]:
            return self.send(401, b'{"errors": []}')
        return self.give(form, True)

    def give(self, asked, known):
        if (other := self.owner.answer(self.path)) is not None:
            return self.send(200, other)
        access = []
        for scope in asked.get("scope", []):
            kind, name, actions = scope.split(":")
            allowed = [each for each in actions.split(",") if known or each == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        token = {"token": self.owner.token(access), "expires_in": self.owner.seconds}
        return self.send(200, json.dumps(token).encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

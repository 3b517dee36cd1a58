"""A Hugging Face Hub, and a plain file server, on loopback: true enough for `huggingface_hub`, and able to go wrong.

    with Hub({"org/tiny": {COMMIT: {"config.json": b"{}"}}}, content_host="127.0.0.2") as hub:
        hub.fault(drop(after=1000), on="*.gguf", times=1)
        ...
        assert hub.asked("GET") == []

`python -m tests.support.hub` serves the shipped model to a shell.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import select
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate, parsedate_to_datetime
from fnmatch import fnmatch
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_ABOVE = 1 << 20
LFS_NAMES = ("*.gguf", "*.safetensors")
PIECE = 1 << 18


@dataclass(frozen=True)
class Blob:
    """The bytes of one file, with the names that git and LFS have for them."""

    content: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        )

    @cached_property
    def oid(self) -> str:
        """What git stores: the file, or for LFS the pointer to it."""
        return git_blob_id(self.pointer if self.lfs else self.content)

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.lfs else self.oid}"'


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Request:
    """One request, as it came; `host` is "hub" or "content"."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case


@dataclass(frozen=True)
class Fault:
    """What goes wrong with an answer. Made by the functions below, put in place by `Hub.fault`."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    drop_after: int | None = None
    reset: bool = False
    stall_after: float | None = None  # a count of bytes, or a part of the body
    flip: int | None = None
    range_ignored: bool = False
    length_off: int = 0
    length_hidden: bool = False
    bytes_a_second: float | None = None
    until: threading.Event | None = None


def drop(after: int, *, reset: bool = False) -> Fault:
    """Close the connection after so many bytes of a body; with `reset`, as a machine that went away does."""
    return Fault(drop_after=after, reset=reset)


def stall(after: float = 0.5) -> Fault:
    """Send so many bytes, or (below 1) such a part of the body, and then nothing, with the connection open."""
    return Fault(stall_after=after)


def corrupt(at: int = 0) -> Fault:
    """Flip a bit of the byte at this place of the file, whatever range of it is sent."""
    return Fault(flip=at)


def ignore_range() -> Fault:
    """Answer 200 with the whole file to whoever asks for a part."""
    return Fault(range_ignored=True)


def wrong_length(by: int) -> Fault:
    """Announce a body that is longer or shorter by so much than what is sent."""
    return Fault(length_off=by)


def no_length() -> Fault:
    """Send the body in chunks and do not say how long it will be."""
    return Fault(length_hidden=True)


def slow(bytes_a_second: float, *, until: threading.Event | None = None) -> Fault:
    """Send so fast and no faster, to the end or until something has happened."""
    return Fault(bytes_a_second=bytes_a_second, until=until)


def error(status: int, code: str = "", message: str = "", **headers: str) -> Fault:
    """Answer with the Hub's form of an error: X-Error-Code, X-Error-Message, and the message again as JSON."""
    named = {"X-Error-Code": code, "X-Error-Message": message}
    return Fault(status=status, message=message, headers={name: said for name, said in named.items() if said} | headers)


def unauthorized() -> Fault:
    return error(401, "", "Invalid credentials in Authorization header")


def gated(repo: str = "org/gated", *, logged_in: bool = True) -> Fault:
    if not logged_in:
        asks = "You must have access to it and be authenticated to access it. Please log in."
        return error(401, "GatedRepo", f"Access to model {repo} is restricted. {asks}")
    asks = f"Visit https://huggingface.co/{repo} to ask for access."
    return error(
        403, "GatedRepo", f"Access to model {repo} is restricted and you are not in the authorized list. {asks}"
    )


def forbidden() -> Fault:
    return error(403, "", "Forbidden: pass a token that may read this repository")


def no_repo() -> Fault:
    return error(404, "RepoNotFound", "Repository not found")


def no_revision(revision: str = "") -> Fault:
    return error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def no_entry() -> Fault:
    return error(404, "EntryNotFound", "Entry not found")


def busy(retry_after: int | str = 1) -> Fault:
    return error(429, "", "Too many requests", **{"Retry-After": str(retry_after)})


def unavailable() -> Fault:
    return error(503, "", "Service unavailable")


def redirect(location: str, status: int = 302) -> Fault:
    return Fault(status=status, headers={"Location": location})


@dataclass
class _Placed:
    fault: Fault
    on: str
    method: str
    host: str
    left: int | None

    def meets(self, request: Request) -> bool:
        here = self.left != 0 and self.method in {"*", request.method} and self.host in {"*", request.host}
        return here and fnmatch(unquote(request.path.partition("?")[0]), self.on)


class Hub:
    """Repositories, plain files, and a record of every request.

    With `content_host` (a name or address of this machine) LFS files are answered by a redirect to a second server there,
    and others by one to `/api/resolve-cache/…`, as the real Hub does; without it, at once.
    """

    def __init__(
        self,
        repositories: Mapping[str, Mapping[str, Mapping[str, bytes]]] | None = None,
        *,
        references: Mapping[str, Mapping[str, str]] | None = None,
        host: str = "127.0.0.1",
        content_host: str | None = None,
        page: int = 1000,
        tls: bool = False,
        xet: bool = False,
        port: int = 0,
    ) -> None:
        self.repositories: dict[str, dict[str, dict[str, Blob]]] = {}
        self.references: dict[str, dict[str, str]] = {}
        self.files: dict[str, bytes] = {}  # what /files/… serves; /files/private/… asks for `login`
        self.login = "user:secret"
        self.tokens = {"hf_good"}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.page = page
        self.xet = xet  # offer Xet storage, which nothing here can serve: whoever takes the offer is seen, and fails
        self.requests: list[Request] = []
        self.broken: list[BaseException] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._placed: list[_Placed] = []
        for repo, commits in (repositories or {}).items():
            for commit, files in commits.items():
                self.add(repo, files, commit=commit)
        for repo, names in (references or {}).items():
            self.references[repo].update(names)
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")
        context = None
        if tls:
            context = self._certified(host, content_host)
        self._scheme = "https" if tls else "http"
        self._server = _Server(self, "hub", host, context, port)
        self._content = _Server(self, "content", content_host, context) if content_host else None
        self.url = f"{self._scheme}://{host}:{self._server.server_port}"
        self.content_url = f"{self._scheme}://{content_host}:{self._content.server_port}" if self._content else None

    def _certified(self, *hosts: str | None) -> ssl.SSLContext:
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*dict.fromkeys(filter(None, hosts))).configure_cert(context)
        return context

    @property
    def authority(self) -> Path:
        """The certificate that a client must trust, with `tls`."""
        return Path(self._folder.name) / "authority.pem"

    def environ(self, home: Path | str) -> dict[str, str]:
        """What a process must have in its environment, before it imports `huggingface_hub`, to use this Hub only."""
        environ = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "*", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return environ | ({"SSL_CERT_FILE": str(self.authority)} if self._scheme == "https" else {})

    def add(self, repo: str, files: Mapping[str, bytes], *, commit: str | None = None, branch: str = "main") -> str:
        """Commit these files, all that the repository then holds, to a branch; return the commit."""
        blobs = {path: Blob(content, is_lfs(path, content)) for path, content in sorted(files.items())}
        if commit is None:
            listed = "".join(f"{blob.oid} {path}\n" for path, blob in blobs.items())
            commit = hashlib.sha1(f"{repo}\n{listed}".encode(), usedforsecurity=False).hexdigest()
        self.repositories.setdefault(repo, {})[commit] = blobs
        self.references.setdefault(repo, {})[branch] = commit
        return commit

    def fault(
        self, fault: Fault, *, on: str = "*", method: str = "*", host: str = "*", times: int | None = None
    ) -> None:
        """Let requests for paths of this form (`*` crosses slashes) go wrong, so many times or always; the newest wins."""
        with self._lock:
            self._placed.insert(0, _Placed(fault, on, method, host, times))

    def heal(self) -> None:
        with self._lock:
            self._placed.clear()

    def forget(self) -> None:
        """Begin a new record of requests."""
        with self._lock:
            self.requests.clear()

    def asked(self, method: str = "*", on: str = "*", host: str = "*") -> list[Request]:
        with self._lock:
            placed = _Placed(Fault(), on, method, host, None)
            return [request for request in self.requests if placed.meets(request)]

    def take(self, request: Request) -> Fault:
        """Note a request; tell what shall go wrong with it."""
        with self._lock:
            self.requests.append(request)
            for placed in self._placed:
                if placed.meets(request):
                    if placed.left is not None:
                        placed.left -= 1
                    return placed.fault
        return Fault()

    def __enter__(self) -> Hub:
        for server in self._servers():
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.closing.set()
        for server in self._servers():
            server.shutdown()
            server.hang_up()
            server.server_close()
        self._folder.cleanup()
        if self.broken and raised[0] is None:
            raise self.broken[0]

    def _servers(self) -> list[_Server]:
        return [self._server, *([self._content] if self._content else [])]


def is_lfs(path: str, content: bytes) -> bool:
    return len(content) > LFS_ABOVE or any(fnmatch(path, name) for name in LFS_NAMES)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Hub, name: str, host: str, context: ssl.SSLContext | None, port: int = 0) -> None:
        self.hub = hub
        self.name = name
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)
        if context is not None:
            # The handshake is left to the thread of the connection, so that a client that is slow at it holds up no other.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request, client_address) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request, client_address) -> None:
        raised = sys.exc_info()[1]
        if not isinstance(raised, OSError):  # which a client that goes away, or does not trust us, is
            self.hub.broken.append(raised)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self.hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Request(self.server.name, self.command, self.path, headers)
        self.fault = self.hub.take(self.asked)
        if self.fault.status is not None:
            return self._fail(self.fault)
        address = urlsplit(self.path)
        self.query = parse_qs(address.query, keep_blank_values=True)
        return self._route(address.path)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing: `Hub.requests` is the log."""

    def _route(self, path: str) -> None:
        if path.startswith("/files/"):
            return self._plain(unquote(path.removeprefix("/files/")))
        if self.server.name == "content":
            return self._stored(path)
        if path == "/api/agent-harnesses":  # huggingface_hub asks for this on its own, for its user agent
            return self._json({"standardEnvVars": [], "harnesses": {}})
        if path.startswith("/api/models/"):
            return self._api(path.removeprefix("/api/models/"))
        if path.startswith("/api/resolve-cache/models/"):
            org, name, commit, file = path.removeprefix("/api/resolve-cache/models/").split("/", 3)
            return self._resolve(f"{org}/{name}", commit, unquote(file), final=True)
        repo, found, rest = path.removeprefix("/").partition("/resolve/")
        if not found:
            return self._fail(error(404, "", "Not found"))
        revision, _, file = rest.partition("/")
        return self._resolve(unquote(repo), unquote(revision), unquote(file))

    # The Hub

    def _api(self, path: str) -> None:
        parts = path.split("/")
        verbs = [at for at, part in enumerate(parts) if at and part in {"revision", "tree", "xet-read-token"}]
        repo, rest = "/".join(parts[: verbs[0]] if verbs else parts), parts[verbs[0] :] if verbs else []
        verb, revision = (*rest[:2], "", "")[:2]
        commit = self._commit(repo, unquote(revision) or "main", listing=True)
        if commit is None:
            return None
        if verb == "tree":
            return self._tree(repo, commit, unquote("/".join(rest[2:])))
        if verb == "xet-read-token":
            cas = self.hub.content_url or self.hub.url
            expiry = str(int(time.time()) + 3600)
            said = {"X-Xet-Cas-Url": cas, "X-Xet-Access-Token": "xet_token", "X-Xet-Token-Expiration": expiry}
            return self._json({"casUrl": cas, "exp": int(expiry), "accessToken": "xet_token"}, said)
        files = self.hub.repositories[repo][commit]
        siblings: list[dict] = [{"rfilename": path} for path in files]
        if "blobs" in self.query:
            for sibling, blob in zip(siblings, files.values(), strict=True):
                sibling |= {"size": len(blob.content), "blobId": blob.oid}
                if blob.lfs:
                    lfs = {"sha256": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
                    sibling["lfs"] = lfs
        about = {"_id": "0" * 24, "id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}
        about |= {"private": repo in self.hub.private, "gated": "auto" if repo in self.hub.gated else False}
        about |= {"disabled": False, "downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z"}
        return self._json(about)

    def _tree(self, repo: str, commit: str, below: str) -> None:
        files = self.hub.repositories[repo][commit]
        entries: dict[str, dict] = {}
        for path, blob in files.items():
            for folder in list(PurePosixPath(path).parents)[-2::-1]:  # all but ".", the outermost first
                oid = git_blob_id(f"{commit}{folder}".encode())
                entries.setdefault(str(folder), {"type": "directory", "oid": oid, "size": 0, "path": str(folder)})
            entry = {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": path}
            if blob.lfs:
                entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
                if self.hub.xet:
                    entry["xetHash"] = blob.sha256[::-1]
            entries[path] = entry
        prefix = f"{below}/" if below else ""
        listed = [entry for path, entry in entries.items() if path.startswith(prefix)]
        if self.query.get("recursive", ["false"])[0].lower() not in {"true", "1"}:
            listed = [entry for entry in listed if "/" not in entry["path"].removeprefix(prefix)]
        if below and not listed:
            return self._fail(no_entry())
        page = min(self.hub.page, int(self.query.get("limit", [self.hub.page])[0]))
        start = int(self.query.get("cursor", ["0"])[0])
        said = {}
        if start + page < len(listed):
            kept = "&".join(f"{name}={quote(values[0])}" for name, values in self.query.items() if name != "cursor")
            address = f"{self.hub.url}{urlsplit(self.path).path}?{kept}{'&' if kept else ''}cursor={start + page}"
            said["Link"] = f'<{address}>; rel="next"'
        return self._json(listed[start : start + page], said)

    def _commit(self, repo: str, revision: str, *, listing: bool = False) -> str | None:
        """Find the commit that this user may see, or say why there is none."""
        given = self.asked.headers.get("authorization")
        known = given is not None and given.removeprefix("Bearer ") in self.hub.tokens
        hidden = repo not in self.hub.repositories or (repo in self.hub.private and not known)
        refused = None
        if given is not None and not known:
            refused = unauthorized()
        elif hidden:
            # To a stranger the real Hub does not tell a private repository from one that is not there.
            refused = no_repo() if known else error(401, "RepoNotFound", "Invalid username or password.")
        elif repo in self.hub.gated and not known and not listing:
            refused = gated(repo, logged_in=False)
        if refused is not None:
            return self._fail(refused)
        commits = self.hub.repositories[repo]
        found = self.hub.references[repo].get(revision, revision if revision in commits else None)
        return found or self._fail(no_revision(revision))

    def _resolve(self, repo: str, revision: str, path: str, *, final: bool = False) -> None:
        commit = self._commit(repo, revision)
        if commit is None:
            return None
        blob = self.hub.repositories[repo][commit].get(path)
        if blob is None:
            return self._fail(replace(no_entry(), headers={**no_entry().headers, "X-Repo-Commit": commit}))
        said = {"X-Repo-Commit": commit, "ETag": blob.etag}
        if blob.lfs:
            said |= {"X-Linked-ETag": blob.etag, "X-Linked-Size": str(len(blob.content))}
            if self.hub.xet:
                route = f"{self.hub.url}/api/models/{repo}/xet-read-token/{commit}"
                said |= {"X-Xet-Hash": blob.sha256[::-1], "Link": f'<{route}>; rel="xet-auth"'}
        if self.hub.content_url is None or final:
            return self._body(blob.content, said)
        if blob.lfs:
            where = f"{self.hub.content_url}/{repo}/{blob.sha256}?filename={quote(PurePosixPath(path).name)}&Signature=signed"
            return self._answer(302, said | {"Location": where}, b"")
        where = f"/api/resolve-cache/models/{repo}/{commit}/{quote(path)}?etag={quote(blob.etag)}"
        return self._answer(307, said | {"X-Linked-Size": str(len(blob.content)), "Location": where}, b"")

    def _stored(self, path: str) -> None:
        """Serve the content host: signed addresses, which a bucket refuses to whoever brings another credential too."""
        if "authorization" in self.asked.headers:
            return self._answer(400, {}, b"Only one auth mechanism allowed")
        if self.query.get("Signature") != ["signed"]:
            return self._answer(403, {}, b"AccessDenied")
        wanted = path.rpartition("/")[2]
        commits = (commit for commits in self.hub.repositories.values() for commit in commits.values())
        blobs = (blob for files in commits for blob in files.values() if blob.lfs)
        blob = next((blob for blob in blobs if blob.sha256 == wanted), None)
        if blob is None:
            return self._answer(404, {}, b"NoSuchKey")
        # A bucket's ETag is its own: MD5s of parts, not the SHA-256.
        part = hashlib.md5(wanted.encode(), usedforsecurity=False).hexdigest()
        return self._body(blob.content, {"ETag": f'"{part}-1"'})

    # Plain files

    def _plain(self, name: str) -> None:
        login = base64.b64encode(self.hub.login.encode()).decode()
        if name.startswith("private/") and self.asked.headers.get("authorization") != f"Basic {login}":
            return self._answer(401, {"WWW-Authenticate": 'Basic realm="files"'}, b"log in\n")
        content = self.hub.files.get(name)
        if content is None:
            return self._answer(404, {}, b"not found\n")
        said = {"ETag": f'"{git_blob_id(content)}"', "Last-Modified": formatdate(1_700_000_000, usegmt=True)}
        if self.asked.headers.get("if-none-match") == said["ETag"]:
            return self._answer(304, said, b"")
        return self._body(content, said)

    # Answers

    def _fail(self, fault: Fault) -> None:
        said = dict(fault.headers)
        return self._json({"error": fault.message} if fault.message else {}, said, fault.status or 500)

    def _json(self, value: object, said: Mapping[str, str] | None = None, status: int = 200) -> None:
        body = json.dumps(value).encode()
        if status == 200:
            return self._body(body, {"Content-Type": "application/json; charset=utf-8"} | dict(said or {}))
        return self._answer(status, {"Content-Type": "application/json; charset=utf-8"} | dict(said or {}), body)

    def _body(self, content: bytes, said: Mapping[str, str]) -> None:
        """Answer with a body or the range of it that was asked for, and with what goes wrong at that."""
        fault = self.fault
        if fault.flip is not None and content:
            at = fault.flip % len(content)
            content = b"".join((content[:at], bytes([content[at] ^ 1]), content[at + 1 :]))
        part = None if fault.range_ignored else self._range(len(content), said)
        status, headers = 200, {"Content-Type": "application/octet-stream", **said}
        if not fault.range_ignored:
            headers["Accept-Ranges"] = "bytes"
        body = memoryview(content)
        if part is not None and not part:
            return self._answer(416, headers | {"Content-Range": f"bytes */{len(content)}"}, b"")
        if part is not None:
            status, body = 206, body[part.start : part.stop]
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
        return self._answer(status, headers, body)

    def _range(self, size: int, said: Mapping[str, str]) -> range | None:
        """What part is asked for: None for all, an empty range for one that there is not."""
        asked = self.asked.headers.get("range", "")
        condition = self.asked.headers.get("if-range")
        if condition is not None and condition != said.get("ETag") and not self._unchanged(condition, said):
            return None
        if not asked.startswith("bytes=") or "," in asked:
            return None
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if not first:
            return range(max(size - int(last), 0), size)
        return range(int(first), min(int(last) + 1, size) if last else size)

    @staticmethod
    def _unchanged(condition: str, said: Mapping[str, str]) -> bool:
        try:
            return parsedate_to_datetime(condition) == parsedate_to_datetime(said["Last-Modified"])
        except (KeyError, ValueError):
            return False

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes | memoryview) -> None:
        fault = self.fault
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.length_hidden:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + fault.length_off))
        self.send_header("X-Request-Id", "request-1")
        if fault.length_off:
            self.send_header("Connection", "close")  # which makes send_header end the connection after this answer
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        for piece in self._pieces(body):
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if fault.length_hidden else piece
            self.wfile.write(chunk)
            sent += len(piece)
        if sent == len(body) and fault.length_hidden:
            self.wfile.write(b"0\r\n\r\n")
        if fault.drop_after is not None and fault.drop_after < len(body):
            self._hang_up(fault.reset)
        elif sent < len(body):
            self._hold()

    def _pieces(self, body: bytes | memoryview) -> Iterator[bytes | memoryview]:
        fault = self.fault
        end = len(body)
        if fault.drop_after is not None:
            end = min(end, fault.drop_after)
        if fault.stall_after is not None:
            end = min(end, int(fault.stall_after if fault.stall_after >= 1 else fault.stall_after * len(body)))
        step, pause = PIECE, 0.0
        if fault.bytes_a_second is not None:
            step, pause = max(int(fault.bytes_a_second / 50), 1), 1 / 50
        for start in range(0, end, step):
            if pause and not (fault.until and fault.until.is_set()) and self.hub.closing.wait(pause):
                return
            yield body[start : min(start + step, end)]

    def _hang_up(self, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _hold(self) -> None:
        """Keep the connection open, and silent, until the client or the test has had enough."""
        self.close_connection = True
        while not self.hub.closing.wait(0.02):
            if select.select([self.connection], [], [], 0)[0]:
                return


def main() -> None:
    """Serve the shipped model as `test/tiny-llama` until Ctrl-C."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--bytes-a-second", type=float, help="be this slow")
    arguments.add_argument("file", nargs="*", type=Path, help="more files of the repository")
    asked = arguments.parse_args()
    shipped = Path(__file__).parents[2] / "models" / "tiny-llama.gguf"
    with Hub(port=asked.port) as hub:
        hub.add("test/tiny-llama", {path.name: path.read_bytes() for path in [shipped, *asked.file]})
        if asked.bytes_a_second:
            hub.fault(slow(asked.bytes_a_second), method="GET")
        print(f"export HF_ENDPOINT={hub.url}", flush=True)
        try:
            for seen in itertools.count():
                while len(hub.requests) <= seen:
                    time.sleep(0.05)
                print(hub.requests[seen].method, hub.requests[seen].path, file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()

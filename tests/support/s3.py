"""An S3 storage on loopback: a real moto_server, and before it a front that can go wrong and remembers what was asked."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cretkey"}
SECRETS = ("s3cret", "Signature=", "AWS4-HMAC", "X-Amz-", "t0ken")


class Moto:
    """The storage itself, in a process of its own."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.1)
        raise AssertionError("moto_server does not start")

    def client(self, service="s3", **options):
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="seed",
            aws_secret_access_key="seed",
            config=Config(retries={"total_max_attempts": 1}),
            **options,
        )

    def reset(self):
        """Forget all that is stored, and take any credentials again."""
        self._post("reset-auth", b"inf")
        self._post("reset", b"")

    def verify(self, actions=("s3:*",)):
        """Take only a user who may do `actions`, and verify signatures; return the user's credentials as variables."""
        iam = self.client("iam")
        iam.create_user(UserName="me")
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="me", PolicyName="p", PolicyDocument=policy)
        key = iam.create_access_key(UserName="me")["AccessKey"]
        self._post("reset-auth", b"0")
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def _post(self, what, body):
        url = f"http://127.0.0.1:{self.port}/moto-api/{what}"
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "text/plain"}, method="POST")).close()

    def close(self):
        self._process.kill()
        self._process.wait()


@dataclass
class Asked:
    method: str
    path: str
    headers: dict
    """Names in lower case."""
    status: int = 0
    """What was answered."""


class Front:
    """Hands requests on to the storage. `answer` may take one for itself, `drop_at` breaks bodies off."""

    def __init__(self, moto, host="127.0.0.1", context=None):
        self.moto, self.asked = moto, []
        self.answer = lambda asked: None
        """Given a request, returns (status, headers, body) in the storage's place, or None."""
        self.drop_at, self.drop_times = None, 1
        self._server = ThreadingHTTPServer((host, 0), type("Bound", (_Handler,), {"front": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # a client that left, or does not trust us
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://{host}:{self.port}"
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def environ(self, **more):
        return {"AWS_ENDPOINT_URL": self.url, **KEYS, **more}

    def of(self, method, *, listing=None):
        """Return what was asked by `method`; only for listings, or only for others."""
        found = [each for each in self.asked if each.method == method]
        return found if listing is None else [each for each in found if ("list-type=2" in each.path) == listing]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front

    def log_message(self, *args):
        pass

    def do_GET(self):
        front = self.front
        asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        front.asked.append(asked)
        answer = front.answer(asked) or self.storage(asked)
        status, headers, body = answer
        asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if front.drop_at is not None and front.drop_times and len(body) > front.drop_at:
            front.drop_times -= 1
            body, self.close_connection = body[: front.drop_at], True
        with suppress(OSError):
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def storage(self, asked):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with closing(http.client.HTTPConnection("127.0.0.1", self.front.moto.port, timeout=60)) as connection:
            connection.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
        ours = {"connection", "transfer-encoding", "server", "date"}
        return answer.status, {name: value for name, value in answer.getheaders() if name.lower() not in ours}, data


def clean(environ=os.environ):
    """Return the names of the variables that say who this user is to AWS."""
    return [name for name in environ if name.startswith("AWS_")]

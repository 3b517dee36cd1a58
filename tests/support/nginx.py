"""A real nginx that serves a folder over https: on loopback."""

import os
import socket
import subprocess
import time
from contextlib import suppress


class Nginx:
    """`certificate` and `key` are files in PEM. A context manager; nothing of it outlives that."""

    def __init__(self, base, certificate, key):
        base.mkdir()
        self.folder, self.log = base / "www", base / "log"
        self.folder.mkdir()
        os.chmod(base, 0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._config = base / "nginx.conf"
        self._config.write_text(
            f"daemon off; master_process off; pid {base}/pid; error_log {base}/errors;\n"
            "events {}\n"
            "http {\n"
            "  log_format short '$status $request_method $uri';\n"
            f"  access_log {self.log} short;\n"
            + "".join(
                f"  {kind}_temp_path {base}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + f"  server {{ listen 127.0.0.1:{self.port} ssl; root {self.folder};\n"
            f"    ssl_certificate {certificate}; ssl_certificate_key {key}; }}\n"
            "}\n"
        )

    def __enter__(self):
        self._process = subprocess.Popen(["nginx", "-c", str(self._config)], stderr=subprocess.DEVNULL)
        for _ in range(200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            time.sleep(0.05)
        self._process.kill()
        raise AssertionError("nginx does not start")

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(timeout=10)

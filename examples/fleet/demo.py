"""A fleet on one machine: PostgreSQL, a registry as the site's mirror, a Dask scheduler with three workers, and three hosts.

python examples/fleet/demo.py [FOLDER]

It needs Linux, `pip install "model-provisioner[fleet,dask]"` and, on Debian or Ubuntu, `apt-get install postgresql
docker-registry openssl`; two gigabytes of disk, and a minute. Everything but the database lies in FOLDER (by default a
temporary one, which goes at the end), and listens on 127.0.0.1. Each line with a `$` is a command as an operator types it on
that host; what every host has in its environment stands in `Host`.
"""

from __future__ import annotations

import http.server
import os
import pwd
import shlex
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = os.path.join(os.path.dirname(sys.executable), "model-provisioner")
DASK = os.path.join(os.path.dirname(sys.executable), "dask")
MODELS, SIZE = 4, 96 << 20
"""So large that a store's audit is still under way when a worker is killed."""
HOSTS = ("node-a", "node-b", "node-c")


def main(folder: Path) -> None:
    """Bring up the services, provision three hosts from one mirror, and find one flipped bit."""
    if missing := list(what_is_missing(folder)):
        sys.exit("\n".join(missing))
    with ExitStack() as end:
        site = Site(folder, end)
        first, *others = (Host(folder / name, name, site) for name in HOSTS)

        say("The first host fetches from the source, and fills the site's mirror.")
        first.run("lock")
        first.run("provision")
        first.run("mirror", "--to", site.mirror)
        asked = site.source.asked()

        say("The others have the same models.yaml and models.lock, and the mirror.")
        for host in others:
            host.take_lock(first)
            host.run("provision", mirrors=site.mirror)
        check(site.source.asked() == asked == MODELS, f"the source was asked {MODELS} times, once a model")

        say("Each host sends its catalog: a systemd timer does this.")
        for host in (first, *others):
            host.run("publish")

        say("One bit of one file rots on node-b, without a trace in its times.")
        rotten = flip_a_bit(others[0])

        say("node-b audits its store with the workers of the site. One of them is killed while it reads.")
        audit = others[0].begin("verify", "--store", "--scheduler", site.scheduler)
        site.kill_a_worker_that_reads(audit)
        told = others[0].ended(audit, code=1)
        check(rotten in told, f"the audit names the damaged file, sha256:{rotten[:12]}…")

        say("The fleet's catalog knows.")
        others[0].run("publish")
        _, *failed = first.run("list", "--fleet", "--state", "Failed").splitlines()
        check([line.split()[0] for line in failed] == ["node-b"], "node-b alone has a failed model")

        say("Its next run fetches the file again, from the mirror.")
        others[0].run("provision", mirrors=site.mirror)
        others[0].run("publish")
        check(site.source.asked() == asked, "the source was not asked again")
        first.run("list", "--fleet")


def what_is_missing(folder: Path) -> Iterator[str]:
    """Yield a line for each thing that is needed and is not here."""
    for package, extra in (("distributed", "dask"), ("psycopg", "fleet")):
        if find_spec(package) is None:
            yield f"{package} is not installed: pip install 'model-provisioner[{extra}]'"
    for program in (postgresql() / "initdb", "docker-registry", "openssl", "unshare"):
        if shutil.which(program) is None:
            yield f"there is no program {program}: apt-get install postgresql docker-registry openssl util-linux"
    if folder.exists() and any(folder.iterdir()):
        yield f"{folder} is not empty: name a new folder"
    if (
        shutil.which("unshare")
        and subprocess.run([*as_host("test"), "true"], capture_output=True, check=False).returncode
    ):
        yield "no process may have a host name of its own here, as `unshare --map-root-user --uts` gives it: run this as root"


def postgresql() -> Path:
    """Return the folder of PostgreSQL's programs, the newest that is here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else Path(shutil.which("initdb") or "/usr/bin/initdb").parent


def as_host(name: str) -> list[str]:
    """Return what a command begins with so that its host has this name."""
    return ["unshare", "--map-root-user", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]


def say(what: str) -> None:
    """Print what comes next."""
    print(f"\n# {what}", flush=True)


def check(holds: bool, what: str) -> None:
    """Print what holds; end the demonstration where it does not."""
    if not holds:
        sys.exit(f"this does not hold: {what}")
    print(f"  ok: {what}", flush=True)


class Site:
    """What all hosts share: the source, the mirror, the catalog's database, the scheduler. It ends with `end`."""

    def __init__(self, folder: Path, end: ExitStack) -> None:
        self._end = end
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "certificate.pem"
        self.source = Source(folder / "source", self.certificate)
        end.callback(self.source.close)
        self.mirror = f"oci:127.0.0.1:{self._registry(folder / 'registry')}/models"
        self.database = self._postgresql()
        port = free_port()
        self.scheduler = f"dask:tcp://127.0.0.1:{port}"
        self._start([DASK, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"], folder, port)
        self._workers = [
            self._start(
                [DASK, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny"], folder
            )
            for _ in range(3)
        ]

    def kill_a_worker_that_reads(self, audit: subprocess.Popen[str]) -> None:
        """Kill a worker as soon as it has a file of a store open."""
        while audit.poll() is None:
            for worker in self._workers:
                if any("/blobs/" in name for name in open_files(worker.pid)):
                    worker.kill()
                    print(f"$ kill -9 {worker.pid}", flush=True)
                    return
            time.sleep(0.002)
        sys.exit("the audit ended before a worker could be killed")

    def _registry(self, folder: Path) -> int:
        folder.mkdir()
        port = free_port()
        (folder / "config.yml").write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        )
        self._start(["docker-registry", "serve", "config.yml"], folder, port)
        return port

    def _postgresql(self) -> str:
        folder = Path(self._end.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        user = {}
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        data, port = folder / "data", free_port()
        initdb = [postgresql() / "initdb", "-D", data, "-U", "fleet", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        self._start(
            [postgresql() / "postgres", "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", port], folder, port, **user
        )
        return f"postgresql://fleet@127.0.0.1:{port}/postgres"

    def _start(self, command: list[object], folder: Path, port: int = 0, **options: object) -> subprocess.Popen[bytes]:
        """Start a service, which ends with the site; wait until it listens, where it has a port."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        service = subprocess.Popen(list(map(str, command)), cwd=folder, **quiet, **options)

        def stop() -> None:
            service.terminate()
            try:
                service.wait(10)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()

        self._end.callback(stop)
        if port and not listens(port, service):
            sys.exit(f"this does not come up: {shlex.join(map(str, command))}")
        return service


class Source:
    """Where the models come from: a web server with a certificate of its own, which counts what it is asked for."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        folder.mkdir()
        for number in range(MODELS):
            with open(folder / f"model-{number}.gguf", "wb") as file:
                file.write(GGUF + os.urandom(SIZE))
        key = folder.parent / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
             "/CN=source", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        asked = self._asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the models are."""
        return f"https://127.0.0.1:{self._server.server_port}"

    def asked(self) -> int:
        """Return how many files were asked for."""
        return len(self._asked)

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class Host:
    """A host: a project, a state folder and a store of its own, and its settings."""

    def __init__(self, folder: Path, name: str, site: Site) -> None:
        self.name = name
        self._project = folder / "project"
        self._project.mkdir(parents=True)
        lines = ["network: {allow: [127.0.0.1]}", "defaults: {handoff: '{runtime_dir}/{name}.json'}", "models:"]
        lines += [f"  model-{number}: {{model_ref: {site.source.url}/model-{number}.gguf}}" for number in range(MODELS)]
        (self._project / "models.yaml").write_text("\n".join(lines) + "\n")
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_PROVISIONER_")},
            "MODEL_PROVISIONER_STATE_DIR": str(folder / "state"),
            "MODEL_PROVISIONER_CACHE_DIR": str(folder / "store"),
            "MODEL_PROVISIONER_FLEET_URL": site.database,
            "SSL_CERT_FILE": str(site.certificate),
        }
        self.store = folder / "store"

    def take_lock(self, other: Host) -> None:
        """Have the lock file that another host made, as from their common repository."""
        shutil.copy(other._project / "models.lock", self._project)

    def begin(self, *words: str, mirrors: str = "") -> subprocess.Popen[str]:
        """Begin a command of model-provisioner."""
        more = {"MODEL_PROVISIONER_MIRRORS": mirrors} if mirrors else {}
        shown = [*(f"{name}={value}" for name, value in more.items()), shlex.join(["model-provisioner", *words])]
        print(f"{self.name}$ {' '.join(shown)}", flush=True)
        return subprocess.Popen(
            [*as_host(self.name), PROGRAM, *words], cwd=self._project, env={**self._environ, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ended(self, run: subprocess.Popen[str], *, code: int = 0) -> str:
        """Wait for a command, print what it says and return it; end the demonstration where it ends otherwise."""
        told = run.communicate()[0]
        print("".join(f"  {line}\n" for line in told.splitlines()), end="", flush=True)
        if run.returncode != code:
            sys.exit(f"{self.name}: exit code {run.returncode}, expected {code}")
        return told

    def run(self, *words: str, mirrors: str = "") -> str:
        """Run a command that ends well; return what it says."""
        return self.ended(self.begin(*words, mirrors=mirrors))


_NAME, _VALUE = b"general.architecture", b"llama"
GGUF = struct.pack(f"<4sIQQQ{len(_NAME)}sIQ{len(_VALUE)}s", b"GGUF", 3, 0, 1, len(_NAME), _NAME, 8, len(_VALUE), _VALUE)
"""The header of a GGUF file without tensors: version 3, one field, a string (type 8)."""


def flip_a_bit(host: Host) -> str:
    """Flip one bit of one blob, and give the file its times back; return the blob's digest."""
    blob = min(path for path in host.store.rglob("*") if path.is_file() and path.stat().st_size > SIZE)
    before = blob.stat()
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)[0]
        file.seek(SIZE // 2)
        file.write(bytes([byte ^ 1]))
    blob.chmod(before.st_mode)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    return blob.name


def open_files(process: int) -> list[str]:
    """Return the files that a process has open."""
    folder, found = f"/proc/{process}/fd", []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except OSError:
            continue  # closed meanwhile
    return found


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int, service: subprocess.Popen[bytes]) -> bool:
    """Wait until a service listens on a port; return False where it ends before that, or takes longer than a minute."""
    for _ in range(600):
        with socket.socket() as client:
            if not client.connect_ex(("127.0.0.1", port)):
                return True
        if service.poll() is not None:
            return False
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            main(Path(name))

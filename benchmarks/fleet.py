"""A fleet on paper: simulate publishing, audits and a model's way to all hosts; check each part against what happens here.

python benchmarks/fleet.py [--hosts 10000] [--models 1000] [--size 5GB] [--seed 1] [--checks-only | --no-checks]
    [--publish-ms 20] [--workers 16] [--timeout 30] [--rate 1GB] [--night 500GB] [--mirror-line 1.25GB] [--host-line 1.25GB]
    [--source-line 1.25GB] [--slots 4096]

Rates are bytes a second. `--publish-ms` is what one publish takes of the database: measure it on yours. `--rate` is at which a
host reads and hashes; it is measured here where it is not given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Self

from machine import describe
from peers import CURL, IP, NGINX, NSENTER, TC, UNSHARE
from simulation import arrivals, audit_nights, fan_out, queue, share, spread

from model_provisioner.units import human, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NGINX_CONF = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:8080;
    root {folder}/served;
    location /slow/ {{ alias {folder}/served/; limit_rate {limit}; }}
  }}
}}
"""
URL = "http://127.0.0.1:8080"
LINE = 40_000_000
"""Bytes/s of the line of the checks: so slow that no processor is in its way."""
CLIENTS = 8


@dataclass(frozen=True)
class Check:
    """What the simulation says of something that was done here as well."""

    what: str
    said: float
    measured: float
    unit: str = "s"

    def row(self) -> str:
        """Return the line of the table."""
        ratio = self.said / self.measured
        return f"| {self.what} | {self.said:.3g} {self.unit} | {self.measured:.3g} {self.unit} | {ratio:.2f} |"


# ---- checks: the same thing, simulated and done


def check_queue(random: Random) -> Iterator[Check]:
    """Let clients wait for four threads that take some 50 ms for each: at once, and apart."""
    workers, clients = 4, 100
    service = median(_served([number / 10 for number in range(10)], workers))  # nobody waits
    for jitter in (0.0, 2.0):
        at = arrivals(clients, jitter, random)
        said = queue(at, service, workers, float("inf"))
        took = _served(at, workers)
        what = f"{clients} clients within {jitter:.0f} s, {workers} workers that take {service * 1000:.0f} ms"
        yield Check(f"{what}: the mean", sum(said.took) / clients, sum(took) / clients)


def _served(at: Sequence[float], workers: int) -> list[float]:
    took: list[float] = []
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()

        def serve(arrived: float) -> None:
            time.sleep(0.05)
            took.append(time.perf_counter() - began - arrived)

        for each in at:
            time.sleep(max(0.0, began + each - time.perf_counter()))
            pool.submit(serve, each)
    return took


class Audited:
    """A project of models of several sizes, which is audited as a user does it."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        self._folder, self._sizes = folder, sizes
        self._environ = {**os.environ, "MODEL_PROVISIONER_STATE_DIR": str(folder.with_suffix(".state"))}
        folder.mkdir(parents=True)
        lines = ["defaults: {handoff: '{runtime_dir}/{name}.json'}", "models:"]
        for number, size in enumerate(sizes):
            name = f"m{number:03}"
            header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
            with (folder / f"{name}.safetensors").open("wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                file.write(Random(number).randbytes(min(size, 1 << 20)) * -(-size // (1 << 20)))
                file.truncate(8 + len(header) + size)
            lines.append(f"  {name}: {{model_ref: 'file:{name}.safetensors'}}")
        (folder / "models.yaml").write_text("\n".join(lines) + "\n")
        self._run("provision")
        self.sizes = [(folder / f"m{number:03}.safetensors").stat().st_size for number in range(len(sizes))]

    def night(self, most: int) -> int:
        """Audit at most so many bytes; return how many were read."""
        time.sleep(1.05)  # the catalog's times are whole seconds: the next night is another one
        read: int = json.loads(self._run("verify", "--full", "--max-bytes", str(most), "--json"))["result"][
            "read_bytes"
        ]
        return read

    def rate(self) -> float:
        """Return at how many bytes a second a full audit reads, its start-up aside, which an audit of nothing tells."""
        began = time.perf_counter()
        self._run("verify", "--older-than", "1d")
        start = time.perf_counter() - began
        began = time.perf_counter()
        self._run("verify", "--full")
        return sum(self.sizes) / max(0.001, time.perf_counter() - began - start)

    def _run(self, *words: str) -> bytes:
        command = [sys.executable, "-m", "model_provisioner", *words]
        return subprocess.run(
            command, cwd=self._folder, env=self._environ, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout


def check_audit(folder: Path, random: Random) -> Iterator[Check]:
    """Audit twelve models of 50 KB to 1 MB, at most 2 MB a night, until each had its turn."""
    project = Audited(folder / "audited", [random.randrange(50_000, 1_000_000) for _ in range(12)])
    most = 2_000_000
    said = audit_nights(project.sizes, most)
    done, left = [], sum(project.sizes)
    while left > 0:
        done.append(project.night(most))
        left -= done[-1]
    what = f"a round of audits of {len(project.sizes)} models, {human(most)} a night"
    yield Check(f"{what}: nights", len(said), len(done), "nights")
    yield Check(f"{what}: bytes of the first night", said[0], done[0], "bytes")


class Mirror:
    """An nginx behind a line of `LINE`, which the kernel shapes in a network of their own, and clients that share that line."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        (folder / "served").mkdir(parents=True)
        (folder / "served" / "file").write_bytes(os.urandom(1 << 20) * (size >> 20))
        (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, limit=LINE // 4))
        shaped = f"ip link set lo up && tc qdisc add dev lo root tbf rate {8 * LINE}bit burst 256kb latency 50ms"
        nginx = f"exec {NGINX.command} -p {folder} -c {folder}/nginx.conf -e stderr"
        self._nginx = subprocess.Popen(
            [UNSHARE.command, "--net", "sh", "-c", f"{shaped} && {nginx}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._enter = [NSENTER.command, "--target", str(self._nginx.pid), "--net", CURL.command, "-sf"]

    def __enter__(self) -> Self:
        for _ in range(500):
            head = [*self._enter, "-I", f"{URL}/file"]
            if subprocess.run(head, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return self
            time.sleep(0.02)
        self.__exit__()
        raise RuntimeError("nginx does not answer behind its line: shaping it needs root")

    def __exit__(self, *_: object) -> None:
        self._nginx.terminate()
        self._nginx.wait()

    def fetched(self, name: str, at: Sequence[float]) -> list[float]:
        """Fetch a file by one curl for each of these times, in seconds from now; return how long each took."""
        command = [*self._enter, "-w", "%{time_total}", "-o", "/dev/null", f"{URL}/{name}"]
        began, processes = time.perf_counter(), []
        for each in at:
            time.sleep(max(0.0, began + each - time.perf_counter()))
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return [float(process.communicate(timeout=600)[0]) for process in processes]


def check_fan_out(folder: Path, size: int, pairs: int, random: Random) -> Iterator[Check]:
    """Fetch a file by eight clients over one line: at once, and one after the other where each has a line of its own, too."""
    with Mirror(folder / "mirror", size) as mirror:
        line = size / median(mirror.fetched("file", [0.0])[0] for _ in range(pairs))
        said = fan_out([0.0] * CLIENTS, size, line, line, CLIENTS, random)
        took = [max(mirror.fetched("file", [0.0] * CLIENTS)) for _ in range(pairs)]
        yield Check(f"{CLIENTS} clients at once over a line of {human(int(line))}/s: the last", said.end, median(took))
        at = [number * size / line / 2 for number in range(CLIENTS)]
        said = fan_out(at, size, line, LINE // 4, CLIENTS, random)
        mean = [sum(mirror.fetched("slow/file", at)) / CLIENTS for _ in range(pairs)]
        what = f"{CLIENTS} clients one after the other, each with {human(LINE // 4)}/s: the mean"
        yield Check(what, sum(said.took) / CLIENTS, median(mean))


# ---- the fleet


def publishing(options: argparse.Namespace, random: Random) -> Iterator[str]:
    """Yield a row for each jitter: how long a publish takes, and who gives up."""
    service, workers = options.publish_ms / 1000, options.workers
    least = options.hosts * service / workers
    for jitter in (0.0, 60.0, 300.0, 900.0):
        found = queue(arrivals(options.hosts, jitter, random), service, workers, options.timeout)
        yield (
            f"| {jitter:,.0f} s | {share(found.took, 0.5):,.2f} s | {share(found.took, 0.99):,.2f} s | {found.given_up:,} "
            f"| {100 * min(1.0, least / max(jitter, found.end)):.0f} % |"
        )


def auditing(options: argparse.Namespace, rate: float) -> Iterator[str]:
    """Yield a row for each bound of a night: how many nights a round takes, and how long each is."""
    total = options.models * options.size
    for most in (options.night // 5, options.night, options.night * 4, total):
        nights = audit_nights([options.size] * options.models, most)
        yield f"| {human(most)} | {len(nights):,} | {max(nights) / rate / 3600:,.2f} h | {total / rate / 3600:,.2f} h |"


def spreading(options: argparse.Namespace, random: Random) -> Iterator[str]:
    """Yield a row for each number of mirrors and jitter: until when all hosts have a new model, and what leaves the source."""
    rows = [(0, 0.0), (1, 0.0), (10, 0.0), (10, 1800.0), (100, 0.0), (100, 300.0)]
    for mirrors, jitter in rows:
        line = options.mirror_line if mirrors else options.source_line
        filled = mirrors * options.size / options.source_line
        found = spread(
            options.hosts, max(1, mirrors), options.size, line, options.host_line, options.slots, jitter, random
        )
        took = [each for one in found for each in one.took]
        last = filled + max(each.end for each in found)
        sent = human((mirrors or options.hosts) * options.size)
        most, given_up = max(each.most for each in found), sum(each.given_up for each in found)
        yield (
            f"| {mirrors or 'none'} | {jitter:,.0f} s | {sent} | {filled / 60:,.1f} min | {share(took, 0.5) / 60:,.1f} min "
            f"| {last / 60:,.1f} min | {most:,} | {given_up:,} |"
        )


def size_of(text: str) -> int:
    """Return a size that was given as `5GB`."""
    if not (size := parse_size(text)):
        raise argparse.ArgumentTypeError(f"no size: {text}")
    return size


def main() -> None:
    """Check the simulation, run it, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=1000, help="of each host")
    parser.add_argument("--size", type=size_of, default=size_of("5GB"), help="of a model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--publish-ms", type=float, default=20.0, help="what a publish takes of one of --workers")
    parser.add_argument("--workers", type=int, default=16, help="publishes that the database does at a time")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds after which a publish is given up")
    parser.add_argument("--rate", type=size_of, help="bytes/s that a host reads and hashes")
    parser.add_argument("--night", type=size_of, default=size_of("500GB"), help="--max-bytes of the audit")
    parser.add_argument("--mirror-line", type=size_of, default=size_of("1.25GB"), help="bytes/s of a mirror")
    parser.add_argument("--host-line", type=size_of, default=size_of("1.25GB"), help="bytes/s of a host")
    parser.add_argument("--source-line", type=size_of, default=size_of("1.25GB"), help="bytes/s of the source")
    parser.add_argument("--slots", type=int, default=4096, help="hosts that a mirror sends to at a time")
    parser.add_argument("--check-size", type=int, default=16, help="MiB of the file of the checks")
    parser.add_argument("--pairs", type=int, default=3, help="how often the fetches of the checks are measured")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checks-only", action="store_true")
    which.add_argument("--no-checks", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # nginx gives up root
        rate = _checks(Path(name), options)
    if not options.checks_only:
        _fleet(options, options.rate or rate)


def _checks(folder: Path, options: argparse.Namespace) -> float:
    """Print how the simulation did, unless that is not asked for; return at which rate this machine audits, in bytes/s."""
    random = Random(options.seed)
    if not options.no_checks:
        print(f"{describe(folder)}\n\n| check | simulated | measured | ratio |\n|---|---|---|---|", flush=True)
        for check in check_queue(random):
            print(check.row(), flush=True)
        for check in check_audit(folder, random):
            print(check.row(), flush=True)
        if missing := [peer for peer in (NGINX, CURL, IP, TC, UNSHARE, NSENTER) if not peer.find()]:
            print(f"\nSkipped: the fan-out: needs {missing[0]}.")
        else:
            for check in check_fan_out(folder, options.check_size << 20, options.pairs, random):
                print(check.row(), flush=True)
        print()
    if options.rate or options.checks_only:
        return 0.0
    return Audited(folder / "rate", [512 << 20]).rate()


def _fleet(options: argparse.Namespace, rate: float) -> None:
    """Print what becomes of a fleet of this size."""
    random = Random(options.seed)
    print(f"{options.hosts:,} hosts, {options.models:,} models of {human(options.size)} each; seed {options.seed}\n")
    print(
        f"Publishing: {options.publish_ms:g} ms each, {options.workers} at a time, given up after {options.timeout:g} s\n"
    )
    print("| jitter | median | slowest of a hundred | given up | database busy |\n|---|---|---|---|---|")
    print(*publishing(options, random), sep="\n")
    print(f"\nAuditing at {human(int(rate))}/s a host\n")
    print("| --max-bytes | nights of a round | a night | all at once |\n|---|---|---|---|")
    print(*auditing(options, rate), sep="\n")
    print(
        f"\nA new model of {human(options.size)}: a mirror sends {human(options.mirror_line)}/s to at most {options.slots:,} "
        f"hosts at a time, the source {human(options.source_line)}/s, a host takes {human(options.host_line)}/s\n"
    )
    print("| mirrors | jitter | leaves the source | mirrors filled | median | all hosts | at a time | given up |")
    print("|---|---|---|---|---|---|---|---|")
    print(*spreading(options, random), sep="\n")


if __name__ == "__main__":
    main()

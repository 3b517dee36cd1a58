"""The benchmarks run, on sizes that say nothing: every row is there, or why it is not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIZES = (
    "--models 3 --large 2 --each 1 --threads 2 --cold 8 --workers 2 --shared 2 --share 1 --fetch 1 --repository 3 --folder 3 "
    "--tokens 100 --pairs 1"
).split()
HEAD = ["what", "ours", "against", "theirs", "ratio", "reach", "notes"]
ROWS = [
    ("`import model_provisioner`", "`python -c pass`"),
    ("no-op, one model, `doit provision`", "doit, one task that is up to date"),
    ("no-op, one model, `model-provisioner provision`", "doit, one task that is up to date"),
    ("no-op, one model, `model-provisioner provision`", "`python -c pass`"),
    ("first run, one model, `model-provisioner provision`", "`python -c pass`"),
    ("first run, 3 models", "doit, 9 empty tasks"),
    ("no-op, 3 models", "doit, 9 empty tasks, no-op"),
    ("no-op, 3 models, `doit provision`", "ninja, 9 edges, no-op"),
    ("no-op, 3 models, `model-provisioner provision`", "ninja, 9 edges, no-op"),
    ("one changed of 3 models", "its no-op"),
    ("no-op, 3 models", "`dvc status` of as many files"),
    ("a folder of 3 files of 4 KB, first run", "`sha256sum` of them"),
    ("a folder of 3 files of 4 KB, all touched", "`sha256sum` of them"),
    ("first verification of one file of 2 MB", "SHA-256 alone, over one hot 1 MiB buffer"),
    ("one file of 2 MB, touched", "a read loop of one thread"),
    ("`hash_both` of one file of 2 MB", "SHA-256 alone, over one hot 1 MiB buffer"),
    ("`fingerprint` of one file of 2 MB", "a read loop of one thread"),
    ("`fingerprint` of one file of 2 MB, on one core", "one xxh3-128 without a key, reading included"),
    ("first verification of 8 files of 1 MB", "ours on one core"),
    ("first verification of 8 files of 1 MB", "`rhash --sha256`"),
    ("first verification of 8 files of 1 MB", "`openssl dgst -sha256`"),
    ("first verification of 8 files of 1 MB", "`sha256sum -c`"),
    ("first verification of 8 files of 1 MB", "2 plain threads that take SHA-256 and xxh3-128"),
    ("`hash_both` of 8 files of 1 MB, 2 threads", "1 thread"),
    ("`hash_both` of 8 files of 1 MB, 2 threads", "4 threads"),
    ("first verification of 8 files of 1 MB, from the disk", "`dd bs=1M` of one after the other"),
    ("first verification of 2 files of 1 MB, by 2 dask workers", "ours, by threads"),
    ("fetch of 1 MB, verified", "`curl -o FILE`, or SHA-256 alone: what is slower"),
    ("no-op, a fetched repository of 3 files", "the same files as a local folder"),
    ("pull of 1 MB from a registry, verified", "`curl -o FILE`, or SHA-256 alone: what is slower"),
    ("header of a GGUF file of 100 tokens", "`gguf.GGUFReader`"),
]


def benchmarks(*args: str, **environ: str) -> str:
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), *args],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_every_row_is_measured_or_says_what_it_needs(tmp_path):
    machine, empty, head, rule, *rest = benchmarks(*SIZES, TMPDIR=str(tmp_path)).splitlines()
    assert re.fullmatch(
        r"\d+ cores? of .+, \d+ GB of memory, (Linux|Darwin) [\d.]+, files on .+, Python 3\.\d+\.\d+\S*, doit 0\.37\.\d+; "
        r"warm, medians of 1 pairs",
        machine,
    )
    assert (empty, cells(head), set(rule)) == ("", HEAD, {"|", "-"})
    table = [cells(line) for line in rest if line.startswith("|")]
    for row in table:
        _, ours, _, theirs, ratio, _, _ = row
        assert re.fullmatch(r"-?\d+\.\d{3} s", ours), row
        assert re.fullmatch(r"-?\d+\.\d{3} s", theirs), row
        float(ratio)
    skipped = re.findall(r"^Skipped: (.+), against (.+): needs \S+ \(.+\)\.$", "\n".join(rest), re.MULTILINE)
    assert len(rest) == len(table) + bool(skipped) + len(skipped)
    assert sorted([(row[0], row[2]) for row in table] + skipped) == sorted(ROWS)
    assert [(row[0], row[2]) for row in table] == [row for row in ROWS if row not in skipped]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_publishing_is_measured_where_a_database_is_named(fleet, tmp_path):
    sizes = "--hosts 2 --published 3 --pairs 1 --only publish".split()
    said = benchmarks(*SIZES, *sizes, "--database", fleet.url("admin"), TMPDIR=str(tmp_path))
    what = "from 2 hosts, 3 models each"
    assert [cells(line)[0] for line in said.splitlines()[4:]] == [
        f"publish, first, {what}",
        f"publish, all moved, {what}",
        f"publish, nothing moved, {what}",
    ]
    assert len(fleet.query("SELECT 1 FROM fleet.models")) == 6


@pytest.mark.slow
def test_a_program_that_is_missing_is_named_and_the_others_run(tmp_path):
    program = "/nowhere/program"
    said = benchmarks(*SIZES, "--only", "SUM", PATH=program)
    assert said.endswith(
        "|---|---|---|---|---|---|---|\n\n"
        "Skipped: a folder of 3 files of 4 KB, first run, against `sha256sum` of them: needs sha256sum (GNU coreutils).\n"
        "Skipped: a folder of 3 files of 4 KB, all touched, against `sha256sum` of them: needs sha256sum (GNU coreutils).\n"
        "Skipped: first verification of 8 files of 1 MB, against `sha256sum -c`: needs sha256sum (GNU coreutils).\n"
    )


def fleet(*args: str) -> str:
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "fleet.py"), *args],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.mark.slow
def test_the_fleet_of_the_page_is_the_fleet_that_is_simulated():
    page = (ROOT / "docs/architecture/fleet.md").read_text()
    (command,) = re.findall(r"^\.venv/bin/python benchmarks/fleet\.py (--no-checks.*)$", page, re.MULTILINE)
    rows = [line for line in fleet(*command.split()).splitlines() if re.match(r"\| [\dn]", line)]
    assert len(rows) == 14
    assert [row for row in rows if row not in page] == []


@pytest.mark.long
def test_the_simulated_fleet_is_compared_with_what_happens_here():
    table = [cells(line) for line in fleet("--checks-only", "--pairs", "1").splitlines() if line.startswith("| ")]
    what, said, measured, ratio = zip(*table[1:], strict=True)
    assert [each.partition(":")[0] for each in what][2] == "a round of audits of 12 models, 2.0 MB a night"
    assert said[2:4] == measured[2:4], "which models a night reads is no matter of speed"
    assert len(ratio) == 6 and all(0.5 < float(each) < 2 for each in ratio)

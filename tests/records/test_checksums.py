"""`sha256sum` prints what we render, and `sha256sum -c` accepts it."""

import hashlib
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.records.checksums import render

NAMES = [
    b"plain.gguf",
    b"two  spaces ",
    b" leading",
    b"-c",
    b"--",
    b"*star",
    b"back\\slash",
    b"\\",
    b"\\n",
    b"new\nline",
    b"\n",
    b"carriage\rreturn",
    b"end\r",
    b"all\\\n\r\\r",
    "modèle-模型.gguf".encode(),
    b"latin-1-\xe9\xff",
    b"tab\tbell\a",
    b"#comment",
    b"%41'\"$(x)`",
]


def written(folder, names):
    """Write a file of each name; return the pairs to render."""
    files = []
    for name in names:
        path = os.path.join(os.fsencode(folder), name)
        with open(path, "wb") as file:
            file.write(name)
        files.append((os.fsdecode(path), hashlib.sha256(name).hexdigest()))
    return files


def test_a_line_is_digest_two_spaces_and_path():
    assert render([("/m/b", "1" * 64), ("/m/a", "2" * 64)]) == (
        b"1111111111111111111111111111111111111111111111111111111111111111  /m/b\n"
        b"2222222222222222222222222222222222222222222222222222222222222222  /m/a\n"
    )
    assert render([]) == b""


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_the_line_is_the_one_sha256sum_prints(tmp_path, name):
    ((path, sha256),) = files = written(tmp_path, [name])
    printed = subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout
    assert render(files) == printed


def test_sha256sum_checks_it_as_it_stands(tmp_path):
    files = written(tmp_path, NAMES)
    target = tmp_path / "x.sha256"
    target.write_bytes(render(files))
    answer = subprocess.run(["sha256sum", "-c", "--strict", target], cwd="/", capture_output=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert answer.stdout.count(b": OK\n") == len(NAMES)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_sha256sum_notices_a_changed_file(tmp_path, name):
    ((path, _),) = files = written(tmp_path, [name])
    target = tmp_path / "x.sha256"
    target.write_bytes(render(files))
    with open(path, "ab") as file:
        file.write(b"!")
    assert subprocess.run(["sha256sum", "-c", "--status", target], check=False).returncode == 1


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name)))
def test_every_file_is_one_line(names):
    data = render((os.fsdecode(b"/" + name), "0" * 64) for name in names)
    assert data.count(b"\n") == len(names)
    assert b"\r" not in data

"""Digests as they are written, and the dirhash as `sha256sum` and `sort` make it."""

import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import InvalidDigestError
from model_provisioner.references.digest import Digest, SetDigest, dirhash

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (f"sha256:{HEX}", Digest("sha256", HEX)),
        (f"dirhash:{HEX}", Digest("dirhash", HEX)),
        (f"SHA256:{HEX.upper()}", Digest("sha256", HEX)),
        (f"  sha256:{HEX}\n", Digest("sha256", HEX)),
    ],
)
def test_parsing(text, digest):
    assert Digest.parse(text) == digest
    assert Digest.parse(str(digest)) == digest


def test_the_value_is_folded_to_lower_case():
    assert Digest("sha256", HEX.upper()).value == HEX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f" {HEX}\n",
            "a digest names its algorithm\n"
            "  expected  sha256:<64 hexadecimal digits>\n"
            f"  found     '{HEX}'\n"
            f"  fix       write sha256:{HEX}",
        ),
        (
            "",
            "a digest names its algorithm\n"
            "  expected  sha256:<64 hexadecimal digits>\n"
            "  found     ''\n"
            "  fix       run `sha256sum FILE` and copy the first word",
        ),
        (
            f"md5:{HEX}",
            "unknown digest algorithm\n"
            "  expected  sha256 (one file) or dirhash (a split or a folder)\n"
            "  found     'md5'\n"
            "  fix       SHA-256 is what `sha256sum FILE` prints",
        ),
        (
            "sha256:1234",
            "not a digest value\n"
            "  expected  64 hexadecimal digits\n"
            "  found     '1234' (4 characters)\n"
            "  fix       run `sha256sum FILE` and copy the first word",
        ),
    ],
)
def test_what_is_refused_and_how_it_is_said(text, message):
    with pytest.raises(InvalidDigestError) as caught:
        Digest.parse(text)
    assert str(caught.value) == message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("value", [HEX[:-1], HEX + "0", HEX[:-1] + "g", HEX[:-1] + "\n", HEX[:-1] + "١", "", f" {HEX}"])
def test_only_64_hexadecimal_digits_are_a_value(value):
    with pytest.raises(InvalidDigestError, match="not a digest value"):
        Digest("sha256", value)


@given(st.text())
def test_any_text_is_a_digest_or_refused(text):
    try:
        digest = Digest.parse(text)
    except InvalidDigestError:
        return
    assert Digest.parse(str(digest)) == digest


def test_dirhash_is_what_sha256sum_and_sort_make(tmp_path):
    contents = {"b.gguf": b"1", "B": b"2", "a/x y": b"3", "a.x": b"4", "é": b"5", "a-b/.dot": b"", " lead": b"6"}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    command = "find . -type f -printf '%P\\0' | xargs -0 sha256sum -- | LC_ALL=C sort -k2 | sha256sum"
    answer = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    files = [(name, hashlib.sha256(content).hexdigest()) for name, content in contents.items()]
    assert dirhash(files) == Digest("dirhash", answer.split()[0])
    assert dirhash(reversed(files)) == dirhash(files)


def test_dirhash_tells_names_and_contents_apart():
    one, two = "1" * 64, "2" * 64
    hashes = {
        dirhash(files)
        for files in ([], [("a", one)], [("b", one)], [("a", two)], [("a", one), ("b", two)], [("a", two), ("b", one)])
    }
    assert len(hashes) == 6


def test_a_digest_of_a_set_prints_as_its_dirhash():
    expected = SetDigest((("a", Digest("sha256", HEX)), ("b/c", Digest("sha256", HEX))))
    assert expected.dirhash == dirhash([("a", HEX), ("b/c", HEX)])
    lines = f"{HEX}  a\n{HEX}  b/c\n"
    assert str(expected) == f"dirhash:{hashlib.sha256(lines.encode()).hexdigest()}"

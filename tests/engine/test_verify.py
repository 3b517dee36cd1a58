"""Verifying: splits, folders, expected digests of each kind."""

import hashlib
import os
import shutil

import pytest

from model_provisioner.hashing import memo
from model_provisioner.errors import DigestMismatchError, InvalidDigestError, UnsoundModelError
from model_provisioner.engine.verification import examine
from model_provisioner.engine.run import Run
from model_provisioner.engine.workspace import Rules, open_workspace
from tests.support.project import settle


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set/sub").mkdir(parents=True)
    (tmp_path / "set/b").write_bytes(b"bb")
    (tmp_path / "set/sub/a").write_bytes(b"a")
    return tmp_path


DIRHASH = hashlib.sha256(f"{sha(b'bb')}  b\n{sha(b'a')}  sub/a\n".encode()).hexdigest()


def run(tmp_path, text, **rules):
    (tmp_path / "models.yaml").write_text(text)
    work = open_workspace(str(tmp_path / "models.yaml"), rules=Rules(**rules))
    (name,) = work.config.entries
    with Run(work) as run:
        return run.provision_one(name)


def one(ref, expected=None):
    return f"models: {{m: {{model_ref: {ref}" + (f", expected_digest: {expected}" if expected else "") + "}}"


@pytest.mark.parametrize(
    "expected",
    [
        f"'dirhash:{DIRHASH}'",
        f"{{algo: dirhash, value: '{DIRHASH.upper()}'}}",
        f"{{b: 'sha256:{sha(b'bb')}', sub/a: 'sha256:{sha(b'a')}'}}",
    ],
)
def test_a_folder_matches_its_dirhash_or_its_files(folder, expected):
    found = run(folder, one("set", expected))
    assert (found.outcome, str(found.digest), found.size) == ("pass", f"dirhash:{DIRHASH}", 3)


@pytest.mark.parametrize(
    ("harm", "detail"),
    [
        (lambda top: (top / "b").write_bytes(b"xx"), "b differs"),
        (lambda top: (top / "b").unlink(), "b is missing"),
        (lambda top: (top / "c").write_bytes(b"c"), "c was not expected"),
        (lambda top: (top / "b").rename(top / "d"), "b is missing, d was not expected"),
        (
            lambda top: [(top / f"x{number}").write_bytes(b"") for number in range(7)],
            "x0 was not expected, x1 was not expected, x2 was not expected, x3 was not expected, x4 was not expected and 2 more",
        ),
    ],
)
def test_the_files_that_differ_are_named(folder, harm, detail):
    harm(folder / "set")
    expected = f"{{b: 'sha256:{sha(b'bb')}', sub/a: 'sha256:{sha(b'a')}'}}"
    with pytest.raises(DigestMismatchError) as caught:
        run(folder, one("set", expected))
    assert caught.value.found.endswith(f" ({detail})")
    assert caught.value.expected == f"dirhash:{DIRHASH}"


@pytest.mark.parametrize(
    ("ref", "expected", "words"),
    [
        (
            "set",
            f"'sha256:{sha(b'a')}'",
            ("a folder of 2 files", "dirhash:<hex>, or a mapping of path to sha256:<hex>"),
        ),
        ("set/b", f"'dirhash:{DIRHASH}'", ("one file", "sha256:<hex>")),
    ],
)
def test_a_digest_of_the_wrong_kind_is_told_before_anything_is_read(folder, ref, expected, words):
    with pytest.raises(InvalidDigestError) as caught:
        run(folder, one(ref, expected))
    assert words[0] in caught.value.what
    assert caught.value.expected == words[1]


def test_a_mapping_of_one_file_expects_that_file(folder):
    assert run(folder, one("set/b", f"{{b: 'sha256:{sha(b'bb')}'}}")).outcome == "pass"


def test_a_split_is_verified_whole(tmp_path, tiny_models):
    names = [f"tiny-llama-split-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for name in names:
        shutil.copy(tiny_models / name, tmp_path / name)
    lines = "".join(f"{sha((tmp_path / name).read_bytes())}  {name}\n" for name in names)
    digest = sha(lines.encode())
    found = run(tmp_path, one(names[0], f"'dirhash:{digest}'"))
    assert (found.outcome, len(found.digests), found.metadata.parameter_count) == ("pass", 3, 90_624)
    assert found.files.path == str(tmp_path / names[0])
    (tmp_path / names[1]).rename(tmp_path / "hidden")
    with pytest.raises(UnsoundModelError, match=f"a shard of the split is missing: {names[1]}"):
        run(tmp_path, one(names[0]))


def test_full_hashes_what_the_memo_knows(folder):
    os.utime(folder / "set/b", (1e9, 1e9))
    assert run(folder, one("set/b")).how == "hashed"
    assert run(folder, one("set/b")).how in ("stat", "xxh3")
    assert run(folder, one("set/b"), full=True).how == "hashed"


def test_recheck_sha256_trusts_no_fingerprint(folder):
    run(folder, one("set/b"))
    os.utime(folder / "set/b", (1e9, 1e9))
    assert run(folder, one("set/b")).how == "xxh3"
    os.utime(folder / "set/b", (2e9, 2e9))
    assert run(folder, "recheck: sha256\n" + one("set/b")).how == "hashed"


def test_a_file_that_moves_after_it_was_looked_at_loses_its_handoff_before_it_is_read(folder, monkeypatch):
    run(folder, one("set/b"))
    os.utime(folder / "set/b", (1e9, 1e9))
    settle()
    run(folder, one("set/b"))
    handoff = folder / ".runtime/engines/llamacpp.json"
    assert handoff.exists()
    seen = []

    def writing(files, engine, real=examine.read_checked):
        if not seen:
            (folder / "set/b").write_bytes(b"moved")
        return real(files, engine)

    def looking(path, real=memo.open_model):
        seen.append(handoff.exists())
        return real(path)

    monkeypatch.setattr(examine, "read_checked", writing)
    monkeypatch.setattr(memo, "open_model", looking)
    run(folder, one("set/b"))
    assert seen
    assert not any(seen)

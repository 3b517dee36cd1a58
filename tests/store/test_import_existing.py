"""What other programs have already: found by digest or size, cloned or copied, hashed, never linked to."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from model_provisioner.store.import_existing import Found, adopt, find
from model_provisioner.store.store import Store
from model_provisioner.errors import StorageError

DATA = b"weights" * 300_000
SHA = hashlib.sha256(DATA).hexdigest()
NAME = "sub/c.gguf"
"""What the file is called where it comes from."""


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def write(path, data=DATA):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def found(home, size=len(DATA), **environ):
    return [
        each
        for each in find(SHA, size, NAME, {"HOME": str(home), **environ})
        if not each.path.startswith("/usr/share/")
    ]


@pytest.mark.parametrize(
    ("environ", "hub"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "HOME/xdg"}, "xdg/huggingface/hub"),
        ({"HF_HOME": "~/hf"}, "hf/hub"),
        ({"HF_HOME": "HOME/hf", "HF_HUB_CACHE": "HOME/hub"}, "hub"),
    ],
)
def test_the_hugging_face_cache(tmp_path, environ, hub):
    path = write(tmp_path / hub / "models--org--repo" / "blobs" / SHA)
    write(tmp_path / hub / "models--org--cut" / "blobs" / SHA, b"short")
    write(tmp_path / hub / "models--org--repo" / "blobs" / f"{SHA}.incomplete")
    environ = {name: value.replace("HOME", str(tmp_path)) for name, value in environ.items()}
    assert found(tmp_path, **environ) == [Found(path, "the Hugging Face cache")]


@pytest.mark.parametrize(
    ("environ", "place", "whose"),
    [
        ({}, ".docker/models", "Docker Model Runner"),
        ({"MODELS_PATH": "HOME/models"}, "models", "Docker Model Runner"),
        ({}, ".local/share/containers/storage/artifacts", "Podman"),
        ({"XDG_DATA_HOME": "HOME/data"}, "data/containers/storage/artifacts", "Podman"),
    ],
)
def test_artifacts_of_programs_for_containers(tmp_path, environ, place, whose):
    path = write(tmp_path / place / "blobs" / "sha256" / SHA)
    write(tmp_path / place / "blobs" / "sha256" / f"{SHA}.incomplete")
    environ = {name: value.replace("HOME", str(tmp_path)) for name, value in environ.items()}
    assert found(tmp_path, **environ) == [Found(path, whose)]


def test_a_blob_that_repositories_share(store, tmp_path):
    """Of what came by Xet the blob is a link to one place for all repositories, named by another hash."""
    hub = tmp_path / ".cache/huggingface/hub"
    shared = write(hub / "blobs" / "ab" / "ab12")
    blob = hub / "models--org--repo" / "blobs" / SHA
    blob.parent.mkdir(parents=True)
    blob.symlink_to("../../blobs/ab/ab12")
    (candidate,) = found(tmp_path)
    assert candidate == Found(str(blob), "the Hugging Face cache")
    assert adopt(store, candidate, SHA)
    assert store.has(SHA, len(DATA))
    assert not os.path.samefile(store.blob_path(SHA), shared)


@pytest.mark.parametrize(("environ", "models"), [({}, ".ollama/models"), ({"OLLAMA_MODELS": "HOME/o"}, "o")])
def test_ollama(tmp_path, environ, models):
    path = write(tmp_path / models / "blobs" / f"sha256-{SHA}")
    environ = {name: value.replace("HOME", str(tmp_path)) for name, value in environ.items()}
    assert found(tmp_path, **environ) == [Found(path, "Ollama")]
    assert found(tmp_path, size=None, **environ) == [Found(path, "Ollama")]


def test_lm_studio_by_its_size_or_where_that_is_not_known_by_its_name(tmp_path):
    paths = [
        write(tmp_path / ".lmstudio/models/org/repo/a.gguf"),
        write(tmp_path / ".lmstudio/models/org/repo/b.gguf", bytes(len(DATA))),
        write(tmp_path / ".cache/lm-studio/models/org/repo/c.gguf"),
    ]
    write(tmp_path / ".lmstudio/models/org/repo/short.gguf", b"")
    assert found(tmp_path) == [Found(path, "LM Studio") for path in paths]
    assert found(tmp_path, size=None) == [Found(paths[2], "LM Studio")]


def test_whatever_lies_there_is_no_error(tmp_path):
    write(tmp_path / ".cache/huggingface/hub/models--a--b/blobs", b"a file")
    write(tmp_path / ".cache/huggingface/hub/version.txt", b"1")
    (tmp_path / ".ollama/models/blobs" / f"sha256-{SHA}").mkdir(parents=True)
    (tmp_path / ".lmstudio/models").mkdir(parents=True)
    os.mkfifo(tmp_path / ".lmstudio/models/fifo")
    os.symlink("loop", tmp_path / ".lmstudio/models/loop")
    os.symlink("..", tmp_path / ".lmstudio/models/up")
    assert found(tmp_path) == []
    assert found(tmp_path / "nowhere") == []


def test_a_file_is_taken_in_and_left_as_it_was(store, tmp_path):
    path = write(tmp_path / "theirs")
    before = os.stat(path)
    counts = []
    assert adopt(store, Found(path, "Ollama"), SHA, counts.append)
    assert sum(counts) == len(DATA)
    blob = store.blob_path(SHA)
    assert store.has(SHA, len(DATA))
    assert os.stat(blob).st_ino != before.st_ino
    assert os.stat(path).st_nlink == 1
    assert (os.stat(path).st_mtime_ns, os.stat(path).st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    with open(path, "r+b") as file:
        file.write(b"changed by its owner")
    with open(blob, "rb") as file:
        assert file.read() == DATA
    assert os.listdir(f"{store.root}/partial") == []


def test_it_is_the_result_that_is_hashed(store, tmp_path):
    path = write(tmp_path / f"sha256-{SHA}", bytes(len(DATA)))
    assert not adopt(store, Found(path, "Ollama"), SHA)
    assert not store.has(SHA)
    assert os.listdir(f"{store.root}/partial") == []


def test_a_file_that_grows_is_copied_to_where_it_ended_when_it_was_opened(store, tmp_path):
    path = write(tmp_path / "theirs")

    def grow(_):
        assert os.path.getsize(path) < 100 * len(DATA)
        with open(path, "ab") as file:
            file.write(DATA)

    assert adopt(store, Found(path, "Ollama"), SHA, grow)
    with open(store.blob_path(SHA), "rb") as file:
        assert file.read() == DATA


def test_what_does_not_fit_on_the_disk_is_not_copied(store, tmp_path):
    """Of a file whose size nobody knew, another user may have made up one of any size."""
    with open(tmp_path / "theirs", "wb") as file:
        file.truncate(1 << 42)
    assert not adopt(store, Found(str(tmp_path / "theirs"), "Ollama"), SHA, pytest.fail)
    assert os.listdir(f"{store.root}/partial") == []


def test_what_can_not_be_read_is_not_adopted(store, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("folder", "fifo", "nothing"):
        assert not adopt(store, Found(str(tmp_path / name), "Ollama"), SHA)
    assert not adopt(store, Found("/dev/zero", "Ollama"), SHA)


def test_half_a_download_waits_while_another_file_is_adopted(store, tmp_path):
    """A run that was killed while it adopted leaves one file at most, which the next one uses."""
    path = write(tmp_path / "theirs")
    stop = "progress = lambda _: os.kill(os.getpid(), 9)"
    program = (
        "import os, sys\n"
        "from model_provisioner.store import import_existing as adopt\n"
        "from model_provisioner.store.store import Store\n"
        f"{stop}\n"
        "adopt.adopt(Store(sys.argv[1]), adopt.Found(sys.argv[2], ''), sys.argv[3], progress)"
    )
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", program, store.root, path, SHA], check=False).returncode == -9
        assert len(os.listdir(f"{store.root}/partial")) == 2
    assert adopt(store, Found(path, "Ollama"), SHA)
    assert os.listdir(f"{store.root}/partial") == []


def test_a_store_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError):
        adopt(Store(str(tmp_path / "cache")), Found(write(tmp_path / "theirs"), "Ollama"), SHA)


@pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="no mkfs.btrfs")
def test_a_clone_takes_no_place(tmp_path):
    """On btrfs 40 MiB more fit on a disk that has not 40 MiB left."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(160 << 20)
    subprocess.run(["mkfs.btrfs", "-q", "-M", image], check=True)
    program = f"""
import hashlib, os
from model_provisioner.store.import_existing import Found, adopt
from model_provisioner.store.store import Store
data = os.urandom(1 << 20) * 90
with open("{tmp_path}/m/theirs", "wb") as file:
    file.write(data)
print(adopt(Store("{tmp_path}/m/cache"), Found("{tmp_path}/m/theirs", ""), hashlib.sha256(data).hexdigest()))
"""
    (tmp_path / "m").mkdir()
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -o loop "$1" "$2" && exec "$3" -c "$4"', "sh"]
        + [str(image), str(tmp_path / "m"), sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount:" in run.stderr or "unshare:" in run.stderr:
        pytest.skip("no loop mounts here")
    assert run.stdout == "True\n", run.stderr

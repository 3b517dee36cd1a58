"""What is advised for files and folders that can't be read or written lets the next run pass."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.support.advice import advised
from tests.support.project import read_only
from tests.support.remote import TINY_BYTES

GOOD = "models/tiny.gguf"


def missing(root):
    return "elsewhere/tiny.gguf"


def misspelt(root):
    return "models/tinny.gguf"


def below_a_file(root):
    return "models/tiny.gguf/x.gguf"


def a_dangling_link(root):
    (root / "link.gguf").symlink_to("gone.gguf")
    return "link.gguf"


def a_circle(root):
    (root / "link.gguf").symlink_to("link.gguf")
    return "link.gguf"


def a_long_name(root):
    return "x" * 300 + ".gguf"


def a_fifo(root):
    os.mkfifo(root / "fifo.gguf")
    return "fifo.gguf"


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("check the path; a relative one starts at the folder of models.yaml", missing),
        ("did you mean {}?", misspelt),
        ("check the path", below_a_file),
        ("mend the link, or name the file itself", a_dangling_link),
        ("name the file itself", a_circle),
        ("use a shorter path", a_long_name),
        ("name a file that holds a model", a_fifo),
    ],
)
def test_the_file_that_is_meant_is_named(local, sentence, fault):
    local.models(f"models: {{t: {{model_ref: {fault(local.root)}}}}}")
    advised(local.provision(code=1), sentence)
    local.models(f"models: {{t: {{model_ref: {GOOD}}}}}")
    local.provision()


def test_a_link_is_mended(local):
    local.models(f"models: {{t: {{model_ref: {a_dangling_link(local.root)}}}}}")
    advised(local.provision(code=1), "mend the link, or name the file itself")
    local.write("gone.gguf", TINY_BYTES)
    local.provision()


def test_a_name_that_was_mistyped_is_told_as_it_is(local):
    local.models("models: {t: {model_ref: models/tinny.gguf}}")
    (meant,) = advised(local.provision(code=1), "did you mean {}?")
    local.models(f"models: {{t: {{model_ref: models/{meant}}}}}")
    local.provision()


# ---- folders of models


def empty(folder, aside):
    (folder / "weights.bin").rename(folder / ".DS_Store")


def an_odd_name(folder, aside):
    (folder / "a\nb").write_bytes(b"x")


def a_link_to_a_folder(folder, aside):
    aside.mkdir()
    (aside / "more.bin").write_bytes(b"x")
    (folder / "sub").symlink_to(aside)


def a_link_out(folder, aside):
    aside.write_bytes(b"x")
    (folder / "more.bin").symlink_to(aside)


def name_the_folder(folder, aside):
    (folder / ".DS_Store").rename(folder / "weights.bin")


def rename(folder, aside):
    (folder / "a\nb").rename(folder / "a b")


def move(folder, aside):
    (folder / "a\nb").rename(aside)


def put_there(folder, aside):
    (link,) = (each for each in folder.iterdir() if each.is_symlink())
    link.unlink()
    aside.rename(link)


@pytest.mark.parametrize(
    ("sentence", "fault", "mend"),
    [
        (
            "name the folder that holds them; .git, .cache/huggingface and .DS_Store don't count",
            empty,
            name_the_folder,
        ),
        ("rename it, or move it out of the folder", an_odd_name, rename),
        ("rename it, or move it out of the folder", an_odd_name, move),
        ("put the folder itself in the place of the link", a_link_to_a_folder, put_there),
        ("put the file itself in the place of the link", a_link_out, put_there),
    ],
)
def test_a_folder_of_a_model_is_put_in_order(local, tmp_path, sentence, fault, mend):
    local.write("m/weights.bin", b"weights")
    local.models("models: {t: {model_ref: m, engine: vllm}}")
    fault(local.root / "m", tmp_path / "aside")
    advised(local.provision(code=1), sentence)
    mend(local.root / "m", tmp_path / "aside")
    local.provision()


# ---- files of ours


def a_file_as_runtime_dir(root):
    (root / ".runtime").write_text("")
    return root / ".runtime"


def a_file_as_folder(root):
    (root / ".runtime").mkdir(exist_ok=True)
    (root / ".runtime/engines").write_text("")
    return root / ".runtime/engines"


def a_folder_as_log(root):
    path = root / ".runtime/provenance/models.jsonl"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("a file has the name of a folder in this path: rename it", a_file_as_runtime_dir),
        ("a file has the name of a folder in this path: rename it", a_file_as_folder),
        ("a folder has the name of this file: rename it", a_folder_as_log),
    ],
)
def test_what_has_the_name_of_a_file_of_ours_is_renamed(local, sentence, fault):
    path = fault(local.root)
    advised(local.provision(code=2), sentence)
    path.rename(local.root / "renamed")
    local.provision()


def test_a_link_in_the_place_of_a_folder_of_ours_is_removed_or_the_real_folder_is_named(local, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = local.root / ".runtime"
    link.symlink_to(elsewhere)
    sentence = "remove it, or name the real folder in {}"
    (setting,) = advised(local.provision(code=2), sentence)
    assert "MODEL_PROVISIONER_RUNTIME_DIR" in setting
    local.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = str(elsewhere)
    local.provision()
    del local.environ["MODEL_PROVISIONER_RUNTIME_DIR"]
    link.unlink()
    local.provision()


def test_a_disk_that_is_full_is_told_as_that(local):
    (local.root / ".runtime").mkdir()
    code, said = local.mounted("mount -t tmpfs -o size=4k,nr_inodes=4 tmpfs .runtime", "provision")
    assert code == 2
    assert "free some space on that disk and run again; what was finished is kept" in said
    local.provision()


def test_a_project_that_can_not_be_written_is_served_from_a_folder_that_can(local, tmp_path):
    code, said = local.mounted(read_only(local.root), "provision")
    assert code == 2
    assert (
        "the disk is read-only: set {} to a folder that you can write; a handoff goes there if its path begins with "
        "{runtime_dir}"
    ).replace("{}", "MODEL_PROVISIONER_RUNTIME_DIR") in said
    folder = tmp_path / "served"
    folder.mkdir()
    code, said = local.mounted(
        f"export MODEL_PROVISIONER_RUNTIME_DIR={shlex.quote(str(folder))} && {read_only(local.root)}", "provision"
    )
    assert code == 0, said
    assert (folder / "engines/llamacpp.json").exists()


def test_a_lock_that_can_not_be_written_is_brought_from_another_checkout(local, tmp_path):
    code, text = local.mounted(read_only(local.root), "model-lock")
    assert code == 2
    assert (
        "make this a place that you can write, or run `doit model-lock` in another checkout and bring its lock" in text
    )
    shutil.copytree(local.root, tmp_path / "other")
    local.doit("model-lock", cwd=tmp_path / "other")
    shutil.copy(tmp_path / "other/models.lock", local.root)
    assert "pass  t" in local.provision("--locked").out


def test_a_file_that_is_being_written_is_read_when_that_has_ended(local):
    program = (
        "import itertools, os\n"
        "for n in itertools.count(): os.utime('models/tiny.gguf', ns=(n, n)); n or print(flush=True)"
    )
    local.write("models/tiny.gguf", TINY_BYTES + bytes(32 << 20))
    with subprocess.Popen([sys.executable, "-c", program], cwd=local.root, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        answer = local.provision(code=1)
        writer.kill()
    advised(answer, "wait until what writes it has ended, then run again")
    local.provision()

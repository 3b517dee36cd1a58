"""What is said of a path that can't be reached."""

import os
import subprocess
import sys

import pytest

from model_provisioner.fs.fileset import discover
from model_provisioner.fs.unreachable import LISTED, explain, near_names
from model_provisioner.errors import ModelNotFoundError, UnreadableModelError

EXPECTED = "  expected  a file or folder that you may read\n"
NO_FIX = "check the path; a relative one starts at the folder of models.yaml"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def refused(path, kind):
    with pytest.raises(kind) as caught:
        discover(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("there", "path", "said"),
    [
        ([], "x.gguf", f"  found     nothing\n  fix       {NO_FIX}"),
        (
            ["tiny-llama.gguf", "readme.md"],
            "tiny-lama.gguf",
            "  found     nothing\n  fix       did you mean tiny-llama.gguf?",
        ),
        (["tiny-llama.gguf"], "tiny-llama", "  found     nothing\n  fix       did you mean tiny-llama.gguf?"),
        (["TINY.GGUF"], "tiny.gguf", "  found     nothing\n  fix       did you mean TINY.GGUF?"),
        (["x1.gguf", "x2.gguf"], "x3.gguf", "  found     nothing\n  fix       did you mean x2.gguf or x1.gguf?"),
        (["models/x.gguf"], "model/x.gguf", "  found     no folder {0}/model\n  fix       did you mean models?"),
        ([], "a/b/x.gguf", f"  found     no folder {{0}}/a\n  fix       {NO_FIX}"),
    ],
)
def test_what_is_not_there(tmp_path, there, path, said):
    touch(tmp_path, *there)
    where = f"{tmp_path}/{path}"
    assert refused(where, ModelNotFoundError) == (
        f"there is no such file or folder\n  where     {where}\n{EXPECTED}{said.format(tmp_path)}"
    )


@pytest.mark.parametrize("below", ["", "/x.gguf"])
def test_a_link_that_leads_nowhere(tmp_path, below):
    (tmp_path / "link").symlink_to("gone")
    assert refused(f"{tmp_path}/link{below}", ModelNotFoundError) == (
        "a link that leads nowhere\n"
        f"  where     {tmp_path}/link{below}\n"
        f"{EXPECTED}"
        f"  found     {tmp_path}/link links to gone, which is not there\n"
        "  fix       mend the link, or name the file itself"
    )


@pytest.mark.parametrize("below", ["", "/x.gguf"])
def test_a_link_that_leads_in_a_circle(tmp_path, below):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert refused(f"{tmp_path}/a{below}", UnreadableModelError) == (
        "a link that leads in a circle\n"
        f"  where     {tmp_path}/a{below}\n"
        f"{EXPECTED}"
        f"  found     {tmp_path}/a\n"
        "  fix       name the file itself"
    )


@pytest.mark.parametrize("below", ["/", "/y", "/y/z"])
def test_a_file_where_a_folder_belongs(tmp_path, below):
    touch(tmp_path, "x.gguf")
    assert refused(f"{tmp_path}/x.gguf{below}", UnreadableModelError) == (
        "a file where a folder belongs\n"
        f"  where     {tmp_path}/x.gguf{below}\n"
        f"{EXPECTED}"
        f"  found     {tmp_path}/x.gguf is a file\n"
        "  fix       check the path"
    )


@pytest.mark.parametrize("path", ["/" + "x" * 256, "/" + "x/" * 3000])
def test_a_name_that_is_too_long(path):
    assert refused(path, UnreadableModelError) == (
        "a name longer than the file system takes\n"
        f"  where     {path}\n"
        f"{EXPECTED}"
        f"  found     {len(path)} bytes\n"
        "  fix       use a shorter path"
    )


@pytest.mark.parametrize(
    ("closed", "path", "found"),
    [
        ("locked", "locked/x.gguf", "locked"),
        ("locked", "locked/sub/x.gguf", "locked"),
        ("locked", "locked", "locked"),
        ("model/sub", "model", "model/sub"),
        ("locked", "link.gguf", "link.gguf links to locked/x.gguf"),
    ],
)
def test_no_permission(tmp_path, closed, path, found):
    touch(tmp_path, "locked/x.gguf", "model/sub/x")
    (tmp_path / "link.gguf").symlink_to("locked/x.gguf")
    (tmp_path / closed).chmod(0)
    script = (
        "import sys; from model_provisioner.fs.fileset import discover\n"
        "try: discover(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error, sep='\\n')"
    )
    # File modes bind root too once it has lost these two capabilities.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-c", script, f"{tmp_path}/{path}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (tmp_path / closed).chmod(0o700)
    where = f"{tmp_path}/{closed if path == 'model' else path}"
    assert answer == (
        "UnreadableModelError\n"
        "no permission to look into a folder\n"
        f"  where     {where}\n"
        f"{EXPECTED}"
        f"  found     {tmp_path}/{found}\n"
        "  fix       give yourself read and search permission (r-x) for that folder\n"
    )


def test_any_other_refusal_is_told_in_the_system_s_words(tmp_path):
    told = explain(str(tmp_path), OSError(5, "Input/output error"))
    assert str(told) == (
        "the path can't be reached\n"
        f"  where     {tmp_path}\n"
        f"{EXPECTED}"
        "  found     Input/output error\n"
        "  fix       check that its disk is there and sound"
    )


def test_what_came_back_meanwhile_is_told_as_it_was(tmp_path):
    told = explain(str(tmp_path), FileNotFoundError(2, "No such file or directory"))
    assert told.what == "there is no such file or folder"


def test_a_huge_folder_is_not_compared_whole(tmp_path):
    touch(tmp_path, *(f"{number:05d}" for number in range(LISTED + 500)))
    seen = []
    near_names(f"{tmp_path}/x", lambda name: seen.append(name) or False)
    assert len(seen) == LISTED

"""What is advised for the state folder, and for the databases in it, lets the next run pass."""

import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from model_provisioner.fs import sqlite
from tests.support.advice import advised
from tests.support.project import DODO, Project, read_only
from tests.support.users import User, as_root, commons

OWN = "set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own"
OTHER = 1001


# ---- the folder


def test_a_state_folder_that_others_can_write_is_closed_by_the_command_that_is_told(local):
    local.provision()
    local.state.chmod(0o777)
    assert advised(local.provision(code=2), "chmod 700 {}") == (str(local.state),)
    local.state.chmod(0o700)
    local.provision()
    assert stat.S_IMODE(local.state.stat().st_mode) == 0o700


def relative(local, tmp_path):
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = "state"


def a_file(local, tmp_path):
    local.state.write_text("")


def through_a_file(local, tmp_path):
    (tmp_path / "file").write_text("")
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(tmp_path / "file/state")


def of_a_home_that_is_not_known(local, tmp_path):
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = "~nobody-of-this-name/state"


def inside(local, tmp_path):
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(local.root / "state")


@as_root
def of_another(local, tmp_path):
    local.state.mkdir(mode=0o700)
    os.chown(local.state, OTHER, OTHER)


def behind_a_link_of_another(local, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(link / "state")


def where_nothing_can_be_made(local, tmp_path):
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = "/proc/state"


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own", relative),
        ("set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own", of_a_home_that_is_not_known),
        ("set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own", a_file),
        ("set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own", through_a_file),
        ("set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own, outside the project", inside),
        (
            "run it as that user, or by `sudo -H`; else set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of "
            "your own",
            of_another,
        ),
        ("set MODEL_PROVISIONER_STATE_DIR to a path without that link", behind_a_link_of_another),
        ("set MODEL_PROVISIONER_STATE_DIR to a folder of your own on a local disk", where_nothing_can_be_made),
    ],
)  # fmt: skip
def test_another_state_folder_is_named_as_it_is_advised(local, tmp_path, sentence, fault):
    if fault in {of_another, behind_a_link_of_another} and os.geteuid() != 0:
        pytest.skip("only root can give files to other users")
    fault(local, tmp_path)
    advised(local.provision(code=2), sentence)
    own = tmp_path / "my own"
    own.mkdir(mode=0o700)
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(own)
    local.provision()
    assert (own / "catalog.db").exists()


@pytest.mark.parametrize("way", ["chmod", "elsewhere"])
def test_a_folder_above_that_everybody_may_write_is_closed_or_left(local, tmp_path, way):
    above = tmp_path / "everybodys"
    above.mkdir()
    above.chmod(0o777)
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(above / "state")
    (folder,) = advised(
        local.provision(code=2),
        "chmod +t {}, or set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own elsewhere",
    )
    if way == "chmod":
        os.chmod(folder, 0o1777)
    else:
        local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(tmp_path / "elsewhere")
    local.provision()


@as_root
def test_a_state_folder_of_root_is_run_as_root_or_named_anew():
    """The advice for who is not root, and for files and folders that this user may not read or write."""
    with commons() as folder:
        user = User.at(folder / "home", OTHER)
        project = Project(folder / "project", folder / "state")
        project.add_tiny()
        project.write("dodo.py", DODO)
        project.models("models: {t: {model_ref: models/tiny.gguf}}")
        user.owns(project.root, *project.root.rglob("*"))
        project.state.mkdir(mode=0o700)
        named = partial(user.doit, "provision", cwd=project.root)
        advised(
            named(environ={"MODEL_PROVISIONER_STATE_DIR": str(project.state)}),
            "set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own",
        )
        assert named().code == 0
        # a model that may not be read, in a folder that may not be looked into
        model = project.root / "models/tiny.gguf"
        model.write_bytes(model.read_bytes())
        model.chmod(0)
        advised(named(), "check that it is still there, that you may read it, and that its disk is sound")
        model.parent.chmod(0)
        advised(named(), "give yourself read and search permission (r-x) for that folder")
        model.parent.chmod(0o755)
        model.chmod(0o644)
        assert named().code == 0
        # a file that may not be looked at, in the place of a report
        secret = project.write("report.html", "mine")
        user.owns(secret)
        secret.chmod(0o200)
        report = partial(user.doit, "model-report", "-o", cwd=project.root)
        advised(report("report.html"), "name another file after {}")
        assert report("other.html").code == 0
        # folders of what is written
        shutil.rmtree(project.root / ".runtime")
        project.root.chmod(0o555)
        os.chown(project.root, 0, 0)
        answer = named()
        advised(
            answer,
            "give yourself write permission to that folder, or set {} to one that you can write; a handoff goes there if "
            "its path begins with {runtime_dir}",
        )
        assert named(environ={"MODEL_PROVISIONER_RUNTIME_DIR": str(user.home / "served")}).code == 0
        os.chown(project.root, OTHER, OTHER)
        project.root.chmod(0o755)
        assert named().code == 0


# ---- the databases


def databases(state: Path) -> dict[str, Path]:
    found = {"catalog": state / "catalog.db"}
    (found["build record"],) = state.glob("projects/*/build.db")
    return found


def garbage(path):
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)


def pragma(text, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {text}")


@pytest.mark.parametrize("way", ["moved", "elsewhere", "restored"])
@pytest.mark.parametrize(
    ("sentence", "harm"),
    [
        (
            "it was left as it is: move it away, or restore it from a backup; models and handoffs do not need it",
            garbage,
        ),
        (
            "it was left as it is: move it away, or set MODEL_PROVISIONER_STATE_DIR to another folder",
            partial(pragma, "application_id=5"),
        ),
        (
            "it was left as it is: use that version, move it away or set MODEL_PROVISIONER_STATE_DIR to another folder",
            partial(pragma, "user_version=99"),
        ),
    ],
    ids=["damaged", "foreign", "of another version"],
)  # fmt: skip
@pytest.mark.parametrize("title", ["catalog", "build record"])
def test_a_database_that_is_none_of_ours_is_moved_away(local, tmp_path, title, sentence, harm, way):
    local.provision()
    path = databases(local.state)[title]
    shutil.copy(path, tmp_path / "backup")
    harm(path)
    local.write("models/tiny.gguf", (local.root / "models/tiny.gguf").read_bytes() + bytes(32))
    answer = local.provision(code=2)
    assert f"the {title} " in answer.all
    advised(answer, sentence)
    if way == "moved":
        path.rename(tmp_path / "away")
    elif way == "restored":
        shutil.copy(tmp_path / "backup", path)
    else:
        local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(tmp_path / "another")
    local.provision()
    assert local.handoff() is not None


@pytest.mark.parametrize("table", ["model", "verification"])
def test_a_catalog_with_a_row_that_is_damaged_is_moved_away(local, tmp_path, table):
    local.provision()
    with closing(sqlite3.connect(local.state / "catalog.db")) as connection, connection:
        connection.execute(
            "UPDATE model SET metadata = '{'" if table == "model" else "UPDATE verification SET record = '{'"
        )
    command = ["model-list"] if table == "model" else ["model-attest", "t"]
    advised(
        local.doit(*command, code=2),
        "it was left as it is: move the catalog away, and the next run makes its rows again",
    )
    (local.state / "catalog.db").rename(tmp_path / "away")
    local.provision()
    local.doit(*command)


def test_a_database_that_another_program_holds_is_free_again_when_that_has_ended(local, monkeypatch):
    local.provision()
    monkeypatch.setitem(sqlite.Database.__init__.__kwdefaults__, "busy_seconds", 0.1)  # and not half a minute
    program = "import sqlite3; sqlite3.connect('catalog.db').execute('BEGIN IMMEDIATE'); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], cwd=local.state, **pipes) as holder:
        holder.stdout.readline()
        advised(
            local.doit("model-retire", "t", code=2),
            "check that its disk is not full or read-only and that no other program holds it; then run again",
        )
        holder.communicate(b"\n")
    local.doit("model-retire", "t")


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_database_on_a_disk_that_is_full_or_read_only_is_told_as_that(local, how):
    state = shlex.quote(str(local.state))
    if how == "full":
        mount = f"mkdir {state} && mount -t tmpfs -o size=16k,mode=700 tmpfs {state}"
    else:
        local.provision()
        local.write("models/tiny.gguf", (local.root / "models/tiny.gguf").read_bytes() + bytes(32))
        mount = read_only(local.state)
    code, said = local.mounted(mount, "provision")
    assert code == 2
    assert "set MODEL_PROVISIONER_STATE_DIR to a folder that you can write, on a local disk" in said or (
        "check that its disk is not full or read-only and that no other program holds it; then run again" in said
    ), said
    local.provision()


def test_a_database_behind_a_link_is_not_ours(local, tmp_path):
    local.provision()
    catalog = local.state / "catalog.db"
    catalog.rename(tmp_path / "catalog.db")
    catalog.symlink_to(tmp_path / "catalog.db")
    local.write("models/tiny.gguf", (local.root / "models/tiny.gguf").read_bytes() + bytes(32))
    advised(
        local.provision(code=2),
        "set MODEL_PROVISIONER_STATE_DIR to a folder that you can write, on a local disk",
    )
    local.environ["MODEL_PROVISIONER_STATE_DIR"] = str(tmp_path / "another")
    local.provision()

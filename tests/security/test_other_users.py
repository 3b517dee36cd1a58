"""Another user of this machine: neither a state folder nor a project that could be theirs is believed."""

import os
import sys
from pathlib import Path

import pytest

from model_provisioner import ModelProvisioner, provision_from_config_to_default_handoff
from model_provisioner.errors import StorageError
from tests.support.project import DODO, TINY, Project, settle
from tests.support.users import User, as_root, commons

OTHER = 1001
MODELS = "models:\n  tiny:\n    model_ref: models/tiny.gguf\n    engine: llamacpp\n"
MARK = "open('ran', 'w').close()\n"
"""What shows that a file was run: there is a new one beside it."""


@pytest.fixture
def tiny(project):
    """A project of one model that is handed off."""
    project.add_tiny()
    project.models(MODELS)
    settle()
    project.provision()
    return project


# ---- the state folder


def of_another_owner(project):
    os.chown(project.state, OTHER, OTHER)
    return "the state folder belongs to somebody else"


def behind_the_link_of_another(project):
    link = project.state.with_name("link")
    link.symlink_to(project.state)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    project.environ["MODEL_PROVISIONER_STATE_DIR"] = str(link)
    return "the path of the state folder has a link of another user"


def below_the_link_of_another(project):
    link = project.state.with_name("way")
    link.symlink_to(project.state.parent)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    project.environ["MODEL_PROVISIONER_STATE_DIR"] = str(link / "state")
    return "the path of the state folder has a link of another user"


def that_a_group_may_write(project):
    project.state.chmod(0o770)
    return "the state folder can be written by others"


def that_everybody_may_write(project):
    project.state.chmod(0o1777)
    return "the state folder can be written by others"


def in_a_folder_that_everybody_may_write(project):
    project.state.parent.chmod(0o777)
    return "anybody may put another folder in the place of the state folder"


def in_the_project(project):
    project.environ["MODEL_PROVISIONER_STATE_DIR"] = str(project.state.rename(project.root / "state"))
    return "the state folder lies in the project, where any commit may fill it"


def in_the_project_through_a_link(project):
    project.state.rename(project.root / "state")
    project.state.symlink_to(project.root / "state")
    return "the state folder lies in the project, where any commit may fill it"


def relative(project):
    project.environ["MODEL_PROVISIONER_STATE_DIR"] = f"../{project.state.name}"
    return "the state folder has no absolute path"


def of_a_home_that_is_not_known(project):
    project.environ["MODEL_PROVISIONER_STATE_DIR"] = "~nobody-at-all/state"
    return "the state folder has no absolute path"


STATES = [
    pytest.param(of_another_owner, marks=as_root),
    pytest.param(behind_the_link_of_another, marks=as_root),
    pytest.param(below_the_link_of_another, marks=as_root),
    that_a_group_may_write,
    that_everybody_may_write,
    in_a_folder_that_everybody_may_write,
    in_the_project,
    in_the_project_through_a_link,
    relative,
    of_a_home_that_is_not_known,
]
COMMANDS = {
    "model-add": ["new.gguf"],
    "model-attest": ["tiny", "-o", "out"],
    "model-check": [],
    "model-list": [],
    "model-list --all": [],
    "model-lock": [],
    "model-lock --check": [],
    "model-path": ["tiny"],
    "model-prune": ["--older-than", "1d"],
    "model-report": ["-o", "out"],
    "model-retire": ["tiny"],
    "model-show": ["tiny"],
    "model-show --provenance": ["tiny"],
    "model-verify": [],
    "model-why": [],
}


@pytest.mark.parametrize("made", STATES)
def test_a_state_folder_is_not_believed_by_any_command(tiny, made):
    what = made(tiny)
    for command, arguments in COMMANDS.items():
        answer = tiny.doit(*command.split(), *arguments, code=2)
        assert (answer.out, answer.err.splitlines()[0]) == ("", f"ERROR: {what}"), command
    assert tiny.handoff()
    assert not any((tiny.root / name).exists() for name in ("out", "models.lock"))


@pytest.mark.parametrize("made", STATES)
def test_a_run_withdraws_what_nothing_confirms_then(tiny, made):
    what = made(tiny)
    answer = tiny.provision(code=2)
    assert answer.err.startswith(f"ERROR: {what}; so nothing confirms the handoffs of tiny: they were withdrawn\n")
    assert tiny.handoff() is None
    assert tiny.provision(code=2).err.startswith(f"ERROR: {what}\n")


@pytest.mark.parametrize("made", STATES)
def test_the_tasks_of_plain_doit_do_not_begin_then(tiny, made):
    what = made(tiny)
    tiny.write("dodo.py", DODO)
    for command in ("run", "list"):
        answer = tiny.doit(command, code=3)
        assert (answer.out, answer.err.splitlines()[0]) == ("", f"ERROR: {what}")


@pytest.mark.parametrize("made", STATES)
def test_programs_do_not_believe_it_either(tiny, made, monkeypatch):
    what = made(tiny)
    monkeypatch.chdir(tiny.root)
    monkeypatch.setenv("MODEL_PROVISIONER_STATE_DIR", tiny.surroundings()["MODEL_PROVISIONER_STATE_DIR"])
    if "in the project" not in what:  # it asks for no project
        with pytest.raises(StorageError, match=what):
            ModelProvisioner()
    with pytest.raises(StorageError, match=what):
        provision_from_config_to_default_handoff("models.yaml")
    assert tiny.handoff() is None


def test_what_is_no_handoff_stays_where_nothing_is_believed(tiny):
    place = tiny.write(".runtime/engines/llamacpp.json", "mine\n")
    that_a_group_may_write(tiny)
    answer = tiny.provision(code=2)
    assert answer.err.startswith("ERROR: the state folder can be written by others\n")
    assert place.read_text() == "mine\n"


def test_the_list_of_the_whole_machine_needs_no_project_but_a_state_folder(tiny, tmp_path):
    assert "tiny" in tiny.doit("model-list", "--all", cwd=tmp_path).out
    that_a_group_may_write(tiny)
    assert tiny.doit("model-list", "--all", cwd=tmp_path, code=2).out == ""


@as_root
@pytest.mark.parametrize("trust", [{"MODEL_PROVISIONER_TRUST_OWNER": "1"}, {"SUDO_UID": str(OTHER)}])
def test_nobody_else_is_trusted_for_state(tiny, trust):
    of_another_owner(tiny)
    tiny.environ.update(trust)
    assert tiny.doit("model-list", code=2).err == (
        "ERROR: the state folder belongs to somebody else\n"
        f"  where     {tiny.state}\n"
        "  expected  owner root (uid 0)\n"
        f"  found     owner uid {OTHER}\n"
        "  fix       run it as that user, or by `sudo -H`; else set MODEL_PROVISIONER_STATE_DIR to the absolute path of a"
        " folder of your own\n"
    )


@as_root
def test_the_ways_out_for_root_with_the_home_of_a_user():
    with commons() as folder:
        user = User.at(folder / "home", OTHER)
        project = shared(folder / "project", user)
        assert user.doit("provision", cwd=project).code == 0
        root = Project(project, user.state, {"HOME": str(user.home), "SUDO_UID": str(OTHER)})
        assert root.doit("model-list", code=2).err.startswith("ERROR: the state folder belongs to somebody else\n")
        assert user.doit("model-list", cwd=project).out.startswith("NAME")
        (folder / "root").mkdir()  # the home that `sudo -H` gives
        of_root = Project(project, folder / "root" / ".local" / "state" / "model-provisioner")
        assert "1 model: 1 done" in of_root.provision().out


@as_root
def test_without_a_home_there_is_no_state_folder():
    """Not one in the working directory, which a commit could fill."""
    with commons() as folder:
        user = User.at(folder / "home", 4242)  # whom no passwd file knows
        project = shared(folder / "project", user)
        planted = project / "~" / ".local" / "state" / "model-provisioner"
        planted.mkdir(parents=True)
        planted.chmod(0o700)
        user.owns(planted)
        homeless = ["env", "-u", "HOME"]
        doit = [sys.executable, "-m", "doit"]
        for command in ("provision", "model-list", "model-why", "model-check"):
            answer = user.run(*homeless, *doit, command, cwd=project)
            assert (answer.code, answer.out) == (2, "")
            assert answer.err == (
                "ERROR: the state folder has no absolute path\n"
                "  where     ~/.local/state/model-provisioner\n"
                "  expected  an absolute path, or one below a home that is known\n"
                "  found     a path that means another folder in every working directory\n"
                "  fix       set MODEL_PROVISIONER_STATE_DIR to the absolute path of a folder of your own\n"
            )
        assert list(planted.iterdir()) == []
        answer = user.run(*homeless, f"MODEL_PROVISIONER_STATE_DIR={user.home}/state", *doit, "provision", cwd=project)
        assert answer.code == 0, answer


def test_the_default_one_may_lie_in_a_project_that_is_the_home(tmp_path):
    """And in one above it: only there can no commit put it."""
    for root in (tmp_path / "home", tmp_path):
        project = Project(root, tmp_path / "home" / ".local" / "state" / "model-provisioner")
        project.environ.update(HOME=str(tmp_path / "home"), MODEL_PROVISIONER_STATE_DIR="")
        project.add_tiny()
        project.models(MODELS)
        assert "1 model: 1 done" in project.provision().out
    elsewhere = Project(tmp_path, tmp_path / "state")
    assert elsewhere.provision(code=2).err.startswith("ERROR: the state folder lies in the project")


def test_a_folder_above_that_a_group_may_write_is_as_homes_are(tiny):
    tiny.state.parent.chmod(0o2775)
    assert "1 model: 1 current" in tiny.provision().out
    tiny.state.parent.chmod(0o1777)
    assert "1 model: 1 current" in tiny.provision().out


# ---- what is found above


def shared(folder: Path, owner: User) -> Path:
    """Make a project of one model that belongs to a user."""
    project = Project(folder, folder)
    (folder / "models").mkdir(parents=True)
    project.add_tiny()
    project.models(MODELS)
    for path in (folder, *folder.rglob("*")):
        owner.owns(path)
    return folder


@pytest.fixture
def below(project):
    """A folder of the user's in which a command is given, below a project that is the user's as well."""
    project.add_tiny()
    project.models(MODELS)
    project.write("dodo.py", MARK + DODO)
    project.write("doit.cfg", "[GLOBAL]\n")
    project.write("pyproject.toml", "[tool.doit]\n")
    project.write("models.lock", '{"version": 1, "models": {}}')
    work = project.root / "work" / "deep"
    work.mkdir(parents=True)
    return work


def give(path):
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


def the_folder(root):
    give(root)
    return root


def a_file(name):
    def made(root):
        give(root / name)
        return root / name

    made.__name__ = name
    return made


def a_link(root):
    (root / "models.yaml").rename(root / "real.yaml")
    (root / "models.yaml").symlink_to("real.yaml")
    give(root / "models.yaml")
    return root / "models.yaml"


def what_a_link_leads_to(root):
    (root / "models.yaml").rename(root / "real.yaml")
    (root / "models.yaml").symlink_to("real.yaml")
    give(root / "real.yaml")
    return root / "models.yaml"


FOREIGN = [
    the_folder,
    a_link,
    what_a_link_leads_to,
    *map(a_file, ("models.yaml", "models.lock", "dodo.py", "doit.cfg", "pyproject.toml")),
]


@as_root
@pytest.mark.parametrize("made", FOREIGN)
def test_a_project_of_another_user_above_is_not_used(project, below, made):
    where = made(project.root)
    for command in ("provision", *(f"{command} {' '.join(more)}" for command, more in COMMANDS.items())):
        if command.startswith("model-list --all"):
            continue  # it asks for no project
        answer = project.doit(*command.split(), cwd=below, code=3)
        assert answer.out == ""
        assert answer.err == (
            "ERROR: the project in a folder above belongs to another user\n"
            f"  where     {where}\n"
            "  expected  root (uid 0) or root as its owner\n"
            f"  found     owner uid {OTHER}\n"
            f"  fix       if you trust that user: cd '{project.root}', or set MODEL_PROVISIONER_TRUST_OWNER=1\n"
        )
    below.joinpath("dodo.py").write_text(DODO)  # the user's own, of which plain doit asks nobody
    for command in ("run", "list"):
        answer = project.doit(command, cwd=below, code=3)
        assert answer.err.startswith("ERROR: the project in a folder above belongs to another user\n")
    assert not (project.root / "ran").exists()
    assert not (project.root / ".runtime").exists()
    assert not project.state.exists()


@as_root
@pytest.mark.parametrize("made", FOREIGN)
@pytest.mark.parametrize(
    "trust",
    [{"MODEL_PROVISIONER_TRUST_OWNER": "1"}, {"SUDO_UID": str(OTHER)}, "cd"],
    ids=["told", "sudo", "went there"],
)
def test_it_is_used_where_the_user_says_so(project, below, made, trust):
    made(project.root)
    if trust == "cd":
        below = project.root
    else:
        project.environ.update(trust)
    assert "1 model: 1 done" in project.provision(cwd=below).out
    assert (project.root / "ran").exists()


@as_root
@pytest.mark.parametrize("trust", [{"MODEL_PROVISIONER_TRUST_OWNER": "0"}, {"SUDO_UID": "1002"}, {"SUDO_UID": "-1"}])
def test_nothing_else_says_so(project, below, trust):
    give(project.root / "models.yaml")
    project.environ.update(trust)
    assert "belongs to another user" in project.provision(cwd=below, code=3).err


@as_root
@pytest.mark.parametrize("asked", [["-k", "-f", "tasks.py"], ["-f", "tasks.py"]])
def test_a_file_that_doit_seeks_above_is_not_run(project, below, asked):
    """`doit provision -k`: the user's own models.yaml is here, a file of tasks of another user's above."""
    (below / "models.yaml").write_text(MODELS.replace("models/tiny", f"{project.root}/models/tiny"))
    project.write("tasks.py", MARK)
    give(project.root / "tasks.py")
    project.environ["DOIT_SEEK_FILE"] = "1"
    answer = project.provision(*asked, cwd=below, code=3)
    assert answer.err.startswith(
        f"ERROR: the project in a folder above belongs to another user\n  where     {project.root / 'tasks.py'}\n"
    )
    assert not (below / "ran").exists()
    assert not (project.root / "ran").exists()


@as_root
def test_a_folder_that_the_user_names_is_asked_for_itself(project, below, tmp_path):
    """Whatever lies above the working directory then."""
    give(project.root / "models.yaml")
    mine = Project(tmp_path / "mine", project.state)
    mine.write("models.yaml", MODELS)
    mine.add_tiny()
    assert "1 model: 1 done" in project.provision("-d", str(mine.root), cwd=below).out


@as_root
def test_users_of_one_machine():
    """One may write a folder above the other's: what they put there is not run, what root put there is."""
    with commons() as folder:
        attacker, user = User.at(folder / "attacker", OTHER), User.at(folder / "user", 1002)
        everybodys = folder / "tmp"
        everybodys.mkdir()
        everybodys.chmod(0o1777)
        work = everybodys / "work"
        work.mkdir()
        user.owns(work)
        attacker.run(
            "sh",
            "-c",
            f"cat > models.yaml <<'END'\n{MODELS}END\nmkdir models; cp {TINY} models/tiny.gguf",
            cwd=everybodys,
        )
        attacker.run("sh", "-c", f"printf '%s' \"{MARK}\" > dodo.py", cwd=everybodys)
        for command in ("provision", "model-list", "model-lock", "model-check", "model-report -o x"):
            answer = user.doit(*command.split(), cwd=work, environ={"SUDO_UID": str(OTHER)})
            assert (answer.code, answer.out) == (3, ""), answer
            assert answer.err == (
                "ERROR: the project in a folder above belongs to another user\n"
                f"  where     {everybodys / 'models.yaml'}\n"
                "  expected  uid 1002 or root as its owner\n"
                f"  found     owner uid {OTHER}\n"
                f"  fix       if you trust that user: cd {everybodys}, or set MODEL_PROVISIONER_TRUST_OWNER=1\n"
            )
        assert not any((place / "ran").exists() for place in (everybodys, work))
        # A file of the user's own beside it is no reason to believe the other.
        (everybodys / "models.yaml").unlink()
        user.run("sh", "-c", f"cat > models.yaml <<'END'\n{MODELS}END", cwd=everybodys)
        answer = user.doit("provision", cwd=work)
        assert (answer.code, answer.err.splitlines()[1]) == (3, f"  where     {everybodys / 'dodo.py'}")
        (everybodys / "dodo.py").unlink()
        assert user.doit("provision", cwd=work).code == 0
        os.chown(everybodys / "models.yaml", 0, 0)
        assert user.doit("provision", cwd=work).code == 0

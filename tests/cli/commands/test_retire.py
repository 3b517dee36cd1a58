"""`model-retire`: the handoff goes and stays away, every kind of run says so, and what waits for it is told."""

import json
import shutil
import signal

import pytest

from model_provisioner.records.catalog.catalog import Catalog
from tests.plugin.test_shortcut import took_the_short_way
from tests.support.project import DODO, settle
from tests.support.remote import wait_until
from tests.support.slow_disk import SlowDisk

HANDOFF = '"{runtime_dir}/engines/{name}.json"'
SKIP = "skip  old  retired: no handoff; `doit model-retire --undo old` undoes it\n"
SERVE = "def task_serve():\n    return {'file_dep': ['.runtime/engines/old.json'], 'actions': ['touch started']}\n"


@pytest.fixture
def current(project):
    """A project of two models, after a run."""
    text = f"defaults: {{handoff: {HANDOFF}}}\nmodels:\n"
    for name in ("new", "old"):
        project.add_tiny(f"{name}.gguf")
        text += f"  {name}: {{model_ref: {name}.gguf}}\n"
    project.models(text)
    settle()
    project.provision()
    return project


@pytest.fixture
def retired(current):
    assert current.doit("model-retire", "old").out == "old  retired: no handoff, and provision skips it\n"
    return current


def artifacts(project):
    return sorted(path.name for kind in ("engines", "digests") for path in project.root.glob(f".runtime/{kind}/*"))


def test_handoff_and_target_go_and_the_others_stay(retired):
    assert artifacts(retired) == ["new.json", "new.sha256"]
    assert {name: row["state"] for name, row in retired.rows().items()} == {"new": "Active", "old": "Retired"}


@pytest.mark.parametrize(
    "way",
    [[], ["--full"], ["-r", "zero"], ["-a"], ["new", "old"], ["-n", "1"]],
    ids=lambda way: " ".join(way) or "plain",
)
def test_no_way_of_a_run_brings_it_back(retired, way):
    out = retired.provision(*way).out
    assert artifacts(retired) == ["new.json", "new.sha256"]
    if way != ["-r", "zero"]:
        assert SKIP in out
        assert "2 models: 1 " in out
        assert ", 1 retired (" in out


def test_a_run_with_nothing_else_to_do_is_short_and_says_it_too(retired):
    settle()  # the folder that the handoff was removed from
    retired.provision()
    assert took_the_short_way(retired)
    assert retired.provision().out.startswith(SKIP + "2 models: 1 current, 1 retired (")


def test_a_model_that_is_named_is_told_of_and_nothing_else_is_done(retired):
    (retired.root / ".runtime/engines/new.json").unlink()
    assert retired.provision("old").out.startswith(SKIP + "1 model: 1 retired (")
    assert artifacts(retired) == ["new.sha256"]
    assert "retired" not in retired.provision("new").out


def test_what_is_put_in_the_place_of_its_handoff_is_withdrawn(retired):
    """As a backup that is played back may do."""
    retired.provision()
    engines = retired.root / ".runtime/engines"
    for _ in range(2):
        shutil.copy(engines / "new.json", engines / "old.json")
        retired.provision()
        assert artifacts(retired) == ["new.json", "new.sha256"]


def test_it_is_not_forgotten_with_the_memo_and_the_state_of_builds(retired):
    for path in [*retired.state.glob("memo.db*"), *retired.state.glob("projects")]:
        (shutil.rmtree if path.is_dir() else type(path).unlink)(path)
    assert SKIP in retired.provision().out
    assert artifacts(retired) == ["new.json", "new.sha256"]


def test_it_need_not_be_there_any_more(retired):
    (retired.root / "old.gguf").unlink()
    assert SKIP in retired.provision().out


def test_many_are_told_in_one_line(project):
    names = [f"m{number}" for number in range(8)]
    project.models(
        json.dumps(
            {"defaults": {"handoff": "{runtime_dir}/{name}.json"}, "models": {n: {"model_ref": n} for n in names}}
        )
    )
    project.doit("model-retire", *names)  # none of them was ever provisioned
    assert project.provision().out.startswith(
        "skip  m0, m1, m2, m3, m4 and 3 more  retired: no handoff; `doit model-retire --undo NAME` undoes it\n"
        "8 models: 8 retired ("
    )


def test_undone_it_is_verified_and_handed_off_by_the_next_run(retired):
    answer = retired.doit("model-retire", "--undo", "old")
    assert answer.out == "old  back in service: `doit provision` hands it off\n"
    assert artifacts(retired) == ["new.json", "new.sha256"]
    assert "verify    its retirement was undone\n" in retired.doit("model-why", "old").out
    assert "warn  old  confirmed by stat 105.2 KB (its retirement was undone" in retired.provision().out
    assert "old.json" in artifacts(retired)
    assert "2 models: 2 current" in retired.provision().out


def test_twice_is_as_once(retired):
    assert retired.doit("model-retire", "old").out == "old  was retired already\n"
    assert retired.doit("model-retire", "new", "--undo").out == "new  was not retired\n"
    found = retired.json("model-retire", "old", "new")
    assert found["result"] == {"changed": ["new"]}
    assert [(model["name"], model["state"]) for model in found["models"]] == [("old", "Retired"), ("new", "Retired")]


def test_a_kill_before_the_withdrawal_leaves_that_to_the_next_run(retired):
    engines = retired.root / ".runtime/engines"
    shutil.copy(engines / "new.json", engines / "old.json")
    retired.doit("model-retire", "old")
    assert artifacts(retired) == ["new.json", "new.sha256"]


def test_what_is_no_handoff_of_ours_stays(retired):
    path = retired.write(".runtime/engines/old.json", "notes")
    retired.provision()
    retired.doit("model-retire", "old")
    assert path.read_text() == "notes"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "ERROR: model-retire takes a NAME, or several\n"),
        (["old", "nwe"], "ERROR: there is no model 'nwe'\n"),
    ],
)
def test_one_wrong_name_and_nothing_is_done(current, names, said):
    assert current.doit("model-retire", *names, code=3).err.startswith(said)
    assert current.rows()["old"]["state"] == "Active"


def test_why_and_show_tell_it(retired):
    assert retired.doit("model-why", "old").out == "old is retired: nothing would be done\n"
    found = retired.json("model-why", "old")
    (why,) = found["models"]
    assert (why["state"], why["reasons"], found["result"]) == ("Retired", [], {"current": []})
    (row,) = retired.json("model-show", "old")["result"]["catalog"]
    assert [moved["state"] for moved in row["history"]] == ["Pending", "Active", "Retired"]
    assert retired.doit("model-show", "old").out.splitlines()[-1].split() == [row["history"][-1]["time"], "Retired"]


# ---- an engine that waits for the handoff


@pytest.mark.parametrize("imports", [True, False])
def test_a_task_that_needs_the_handoff_is_told_by_provision(retired, imports):
    retired.write("dodo.py", (DODO if imports else "") + SERVE)
    answer = retired.provision("serve", code=1)
    assert (
        "FAIL  old  old is retired: it has no handoff, and what needs one can't run\n"
        f"        where     {retired.root}/.runtime/engines/old.json\n"
        "        expected  a model in service\n"
        "        found     one that was retired by hand\n"
        "        fix       doit model-retire --undo old, then doit provision; or leave out what needs it\n"
    ) in answer.out
    assert not (retired.root / "started").exists()
    assert SKIP in retired.provision().out  # which asks for no engine


def test_a_task_that_needs_the_handoff_is_told_by_doit_itself(retired):
    retired.write("dodo.py", DODO + SERVE)
    answer = retired.doit(code=2)
    assert "old is retired: it has no handoff, and what needs one can't run\n" in answer.err
    assert "Dependent file '.runtime/engines/old.json' does not exist." in answer.all
    assert "old is retired" in retired.doit("run", "models").err  # and nothing fails where no task needs it
    assert artifacts(retired) == ["new.json", "new.sha256"]


def test_a_program_that_asks_for_it_gets_an_error(project, run_python):
    project.add_tiny("old.gguf")
    project.models("model_ref: old.gguf\n")
    project.doit("model-retire", "llamacpp")
    found = run_python(
        "import os\n"
        "from model_provisioner import provision_from_config_to_default_handoff as provision\n"
        "from model_provisioner.errors import RetiredModelError\n"
        f"os.chdir({str(project.root)!r})\n"
        f"os.environ['MODEL_PROVISIONER_STATE_DIR'] = {str(project.state)!r}\n"
        "try:\n"
        "    provision('models.yaml')\n"
        "except RetiredModelError as error:\n"
        "    print(error.what)\n"
    )
    assert found == "llamacpp is retired: it has no handoff, and what needs one can't run\n"


@pytest.mark.slow
@pytest.mark.parametrize("way", [["provision"], ["provision", "-r", "zero"], ["provision", "--full"]])
def test_a_model_that_is_retired_while_it_is_read_is_not_handed_off(project, way):
    with open(project.root / "large.bin", "wb") as file:
        file.truncate(64 << 20)
    project.models("models: {large: {model_ref: large.bin}}\n")
    disk = SlowDisk(project, 1)
    process = project.start(*way)
    wait_until(
        lambda: project.state.exists() and Catalog.reader(str(project.state)).all() or process.poll() is not None
    )
    project.doit("model-retire", "large")  # it reads for a minute
    assert process.poll() is None
    disk.be_fast()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert b"Traceback" not in out + err
    if "-r" not in way:
        assert b"FAIL  large  large is retired" in out
    assert artifacts(project) == []
    assert project.rows()["large"]["state"] == "Retired"
    assert "1 model: 1 retired" in project.provision().out

"""The action of this repository, and the workflow that uses it: its steps, run by bash as a runner runs them."""

import re
import shutil
import xml.etree.ElementTree as ET

import pytest
import yaml

from tests.examples.conftest import EXAMPLES, ROOT
from tests.support.github_runner import Runner

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
DEFAULTS = {name: each["default"] for name, each in ACTION["inputs"].items()}


@pytest.fixture
def runner(checkout, offline, tmp_path):
    return Runner(checkout.root, tmp_path / "runner", offline, action_path=ROOT)


def outputs(job):
    """Return what the action hands back: paths of reports."""
    return {name: job.text(each["value"]) for name, each in ACTION["outputs"].items()}


def report(job, name):
    """Return the test cases of a report, by name, with what became of each."""
    cases = ET.parse(outputs(job)[f"{name}-report"]).getroot().iter("testcase")
    return {case.get("name"): next((part.tag for part in case), "passed") for case in cases}


@pytest.mark.slow
def test_a_job_provisions_and_checks_and_the_next_one_does_not_hash_again(runner):
    first = runner.run(STEPS, **DEFAULTS)
    assert not first.failed, first.log
    assert "hashed 105.2 KB (not verified before)" in first.log
    assert report(first, "provision") == report(first, "check") == {"tiny": "passed"}

    shutil.rmtree(runner.workspace / ".runtime")
    (runner.workspace / "models/tiny.gguf").touch()  # a checkout of its own
    second = runner.run(STEPS, **DEFAULTS)
    assert not second.failed, second.log
    assert "confirmed by xxh3 105.2 KB" in second.log


@pytest.mark.slow
def test_a_model_that_fails_is_annotated_and_both_reports_are_written(runner):
    path = runner.workspace / "models/tiny.gguf"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    job = runner.run(STEPS, **DEFAULTS)
    assert job.failed
    assert re.search(r"^::error file=models\.yaml,line=1,title=", job.log, re.MULTILINE), job.log
    assert report(job, "provision") == report(job, "check") == {"tiny": "failure"}
    assert runner.caches == {}, "what a failed job leaves is not kept"


@pytest.mark.slow
def test_a_project_below_the_checkout_an_extra_and_every_byte(runner, checkout):
    below = checkout.root / "deep down"
    below.mkdir()
    for name in ("models", "models.yaml", "models.lock"):
        (checkout.root / name).rename(below / name)
    job = runner.run(STEPS, **{"working-directory": "deep down", "extras": "hf", "full": "true"})
    assert not job.failed, job.log
    assert "hashed 105.2 KB" in job.log
    assert (below / ".runtime/engines/llamacpp.json").exists()
    (key,) = runner.caches
    assert len(key.removeprefix("models-Linux-")) == 64, "the lock of the project is the key"


@pytest.mark.slow
def test_what_can_not_be_installed_is_not_checked(runner, offline, tmp_path):
    runner.action_path = tmp_path / "nothing"
    job = runner.run(STEPS, **DEFAULTS)
    assert job.failed
    assert "model-provisioner: command not found" not in job.log
    assert job.values["steps.check.outcome"] == "skipped"


def test_no_input_becomes_a_part_of_a_script():
    """Whoever may choose an input must not choose what is run."""
    assert [step["run"] for step in STEPS if "${{" in step.get("run", "")] == []


def test_the_workflow_uses_inputs_and_outputs_that_the_action_has():
    workflow = yaml.safe_load((EXAMPLES / "github/models.yml").read_text())
    (job,) = workflow["jobs"].values()
    (use,) = [step for step in job["steps"] if "/model-provisioner@" in step["uses"]]
    assert set(use["with"]) <= set(ACTION["inputs"])
    (upload,) = [step for step in job["steps"] if step["uses"].startswith("actions/upload-artifact@")]
    used = re.findall(rf"steps\.{use['id']}\.outputs\.([\w-]+)", upload["with"]["path"])
    assert used == list(ACTION["outputs"])
    assert upload["if"] == "always()"

"""The numbers of a host: which models, projects and stores count, and what each number says."""

import os
import shutil
import time
from datetime import UTC, datetime

import pytest

from model_provisioner.fs.state_folder import project_folder
from model_provisioner.operations import metrics
from model_provisioner.operations.metrics import NEVER, host_metrics
from model_provisioner.records.catalog.catalog import Catalog, Model
from tests.support.fixtures import hub, remote, tiny  # noqa: F401
from tests.support.project import TINY, Project, settle
from tests.support.remote import ONE

SIZE = TINY.stat().st_size
ENTRIES = "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\nmodels:\n"


def numbers(project: Project):
    return host_metrics(str(project.state))


def named(found):
    return {model.name: model for model in found.models}


@pytest.fixture
def two(project):
    """A project with a model that is in order and one that is missing, after one run."""
    project.add_tiny("good.gguf")
    project.models(f"{ENTRIES}  good: {{model_ref: 'file:good.gguf'}}\n  gone: {{model_ref: 'file:gone.gguf'}}\n")
    settle()
    project.program("provision", code=1)
    return project


def test_of_a_user_who_never_ran_anything(project):
    found = numbers(project)
    assert (dict(found.states), found.models, found.projects, found.stores) == ({}, [], [], [])
    assert (found.oldest_audit, found.unlisted, found.unreadable, found.fetched_bytes) == (None, 0, 0, 0)
    assert not project.state.exists()


def test_models_by_state_those_that_failed_first(two):
    found = numbers(two)
    assert found.states == {"Active": 1, "Failed": 1}
    assert [(model.project, model.name, model.failed, model.size) for model in found.models] == [
        (str(two.root), "gone", True, None),
        (str(two.root), "good", False, SIZE),
    ]
    assert found.verifications == {"warn": 1, "error": 1}
    (project,) = found.projects
    assert (project.root, project.without_handoff) == (str(two.root), 1)


def test_a_verification_that_fails_again_counts_again(two):
    (two.root / ".runtime/engines/good.json").unlink()
    two.program("provision", code=1)
    two.program("verify", "--full", code=1)
    assert numbers(two).verifications == {"warn": 3, "error": 3}


def test_an_audit_has_its_time_and_what_was_never_read_has_none(two):
    began = int(time.time())
    two.program("verify", "--full", "good")
    found = numbers(two)
    assert began <= found.oldest_audit == named(found)["good"].audited <= time.time()
    assert named(found)["gone"].audited is None, "there is nothing yet that an audit could compare with"


@pytest.mark.parametrize(
    ("audited_at", "seconds"),
    [(None, NEVER), ("2026-01-01T00:00:00Z", int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())), ("yesterday", NEVER)],
)
def test_the_oldest_audit_is_that_of_a_model_in_service(project, audited_at, seconds):
    rows = [
        Model(project="", name="local:/x", id="local:/x", lifecycle="Active", digest="d", audited_at=audited_at),
        Model(
            project="",
            name="local:/y",
            id="local:/y",
            lifecycle="Active",
            digest="d",
            audited_at="2026-11-01T00:00:00Z",
        ),
        Model(
            project="",
            name="local:/z",
            id="local:/z",
            lifecycle="Retired",
            digest="d",
            audited_at="2001-01-01T00:00:00Z",
        ),
    ]
    catalog = Catalog(str(project.state))
    catalog.put(*rows[:2])
    catalog.put(rows[2], by="hand")
    catalog.close()
    found = numbers(project)
    assert found.oldest_audit == seconds
    assert found.states == {"Active": 2, "Retired": 1}


def test_a_retired_model_lacks_no_handoff(two):
    two.program("retire", "good")
    (project,) = numbers(two).projects
    assert project.without_handoff == 1, "only the one that is missing"


def test_every_run_of_provision_moves_the_time_of_the_last(two):
    path = os.path.join(project_folder(str(two.state), str(two.root)), "ended")
    two.models(f"{ENTRIES}  good: {{model_ref: 'file:good.gguf'}}\n")
    two.provision()
    for face in (two.program, two.doit):
        os.utime(path, (1e9, 1e9))
        assert numbers(two).projects[0].last_run == 1_000_000_000
        assert "1 model: 1 current" in face("provision").out
        assert numbers(two).projects[0].last_run > 1_000_000_000
    os.utime(path, (1e9, 1e9))
    for command in (("verify",), ("list",), ("report", "--metrics")):
        two.program(*command)
    assert numbers(two).projects[0].last_run == 1_000_000_000


def test_a_project_that_is_gone_is_no_longer_counted(two):
    verified = numbers(two).verifications
    shutil.rmtree(two.root)
    found = numbers(two)
    assert (dict(found.states), found.models, found.projects, found.unreadable) == ({}, [], [], 0)
    assert found.verifications == verified, "a counter does not go down"


def test_a_configuration_with_faults_is_told_and_hides_no_model(two):
    two.models("models: [")
    found = numbers(two)
    assert found.unreadable == 1
    assert found.projects[0].without_handoff is None
    assert found.states == {"Active": 1, "Failed": 1}


def test_so_many_have_numbers_of_their_own_and_no_more(two, monkeypatch):
    monkeypatch.setattr(metrics, "LISTED", 1)
    found = numbers(two)
    assert [model.name for model in found.models] == ["gone"]
    assert found.unlisted == 1
    assert found.states == {"Active": 1, "Failed": 1}


def test_what_came_from_a_source_is_counted_once(tiny):  # noqa: F811
    tiny.project.program("provision")
    tiny.project.program("provision")
    found = numbers(tiny.project)
    assert found.fetched_bytes == SIZE
    (store,) = found.stores
    assert (store.path, store.size, store.limit) == (str(tiny.cache), SIZE, None)


def test_the_limit_of_a_store_is_the_lowest(tiny):  # noqa: F811
    tiny.project.program("provision")
    other = tiny.root.parent / "other"
    other.mkdir()
    for root, limit in ((other, "2GB"), (tiny.root, "3GB")):
        tiny.models({"tiny": ONE}, cache={"max_size": limit})
        if root == other:
            shutil.move(tiny.root / "models.yaml", other)
        Project(root, tiny.project.state, tiny.environ).program("provision")
    (store,) = numbers(tiny.project).stores
    assert store.limit == 2_000_000_000

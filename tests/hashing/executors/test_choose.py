"""What --scheduler and the environment ask for, and how it is refused where it can't be understood."""

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest

from model_provisioner.errors import InputError, MissingExtraError, SettingError
from model_provisioner.hashing.executors import choose, window_for
from model_provisioner.hashing.executors.choose import chosen


@pytest.mark.parametrize("text", ["local:1", "local:16", "dask:tcp://10.0.0.1:8786", "ray:auto", " local:2 "])
def test_what_is_asked_for(text):
    assert chosen(text, {}).name == text.strip()
    assert chosen(None, {"MODEL_PROVISIONER_SCHEDULER": text}).name == text.strip()


def test_the_option_counts_before_the_environment_and_may_take_it_back():
    environ = {"MODEL_PROVISIONER_SCHEDULER": "ray:auto"}
    assert chosen("local:2", environ).name == "local:2"
    assert chosen("", environ) is None
    assert chosen(None, {}) is None


def test_who_asks_for_none_gets_none(monkeypatch):
    monkeypatch.delenv("MODEL_PROVISIONER_SCHEDULER", raising=False)
    assert window_for(None) is None
    assert window_for("") is None


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        ("spark:there", "'spark' is no kind of executor that is known here", "spark:there"),
        ("local", "no kind of executor is named", "local"),
        (":2", "'' is no kind of executor that is known here", ":2"),
        ("x:https://me:secret@host", "'x' is no kind of executor that is known here", "x:https://host"),
        ("x:https://me:s@cr/t@host/a", "'x' is no kind of executor that is known here", "x:https://host/a"),
    ],
)
def test_a_kind_that_is_not_known(text, what, found):
    with pytest.raises(InputError) as caught:
        chosen(text, {})
    assert str(caught.value) == (
        f"{what}\n"
        "  where     the command line\n"
        "  expected  local:N, dask:ADDRESS, ray:ADDRESS\n"
        f"  found     {found}\n"
        "  fix       write it as in   --scheduler local:4"
    )
    with pytest.raises(SettingError) as caught:
        chosen(None, {"MODEL_PROVISIONER_SCHEDULER": text})
    assert caught.value.where == "the environment"
    assert caught.value.fix == "write it as in   export MODEL_PROVISIONER_SCHEDULER=local:4"


@pytest.mark.parametrize(
    "text", ["local:", "local:0", "local:two", "local:-1", "local:99999", "local:٣", "dask:", "ray:"]
)
def test_an_executor_that_is_not_named(text):
    with pytest.raises(InputError) as caught:
        chosen(text, {})
    assert (caught.value.what, caught.value.exit_code) == (f"{text} names no executor", 3)


@pytest.mark.parametrize(("kind", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_extra_that_is_missing_is_named(kind, package, monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        chosen(f"{kind}:x", {})
    assert caught.value.what == f"the executor {kind}: needs the package {package}, which is not installed"
    assert (caught.value.expected, caught.value.found) == (f"the extra {kind}", f"no module {package}")
    assert f"model-provisioner[{kind}]" in caught.value.fix


@pytest.mark.parametrize(("text", "seconds"), [("", 600), ("45s", 45), ("2h", 7200)])
def test_how_long_a_worker_may_be_silent(text, seconds):
    assert chosen("local:1", {"MODEL_PROVISIONER_SCHEDULER_TIMEOUT": text}).patience == seconds


@pytest.mark.parametrize("text", ["10", "0s", "soon"])
def test_a_time_that_can_not_be_understood(text):
    with pytest.raises(SettingError) as caught:
        chosen("local:1", {"MODEL_PROVISIONER_SCHEDULER_TIMEOUT": text})
    assert str(caught.value) == (
        "MODEL_PROVISIONER_SCHEDULER_TIMEOUT can't be understood\n"
        "  where     the environment\n"
        "  expected  a whole number and s, m, h, d or w, as 10m\n"
        f"  found     {text}\n"
        "  fix       export MODEL_PROVISIONER_SCHEDULER_TIMEOUT=10m, or take it out of the environment"
    )


def test_another_package_brings_a_kind_by_an_entry_point(monkeypatch):
    point = metadata.EntryPoint("mine", "tests.hashing.executors.test_choose:opened", choose.GROUP)
    points = metadata.EntryPoints([point])
    monkeypatch.setattr(choose, "entry_points", lambda **asked: points.select(**asked))
    with pytest.raises(InputError) as caught:
        chosen("other:x", {})
    assert caught.value.expected == "local:N, dask:ADDRESS, ray:ADDRESS, mine:…"
    with chosen("mine:3", {}).opens() as executor:
        assert executor._max_workers == 3


def opened(text):
    return ThreadPoolExecutor(int(text))

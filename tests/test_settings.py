"""Settings of the environment that can't be understood: told as what they are, with exit code 3, and nobody guesses."""

import pytest

from model_provisioner.errors import SettingError
from model_provisioner.settings import folder, is_on, is_true
from tests.support.fixtures import hub, remote, tiny  # noqa: F401

# ---- switches


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1", True),
        ("on", True),
        ("Yes", True),
        (" true ", True),
        ("", False),
        ("0", False),
        ("off", False),
        ("NO", False),
    ],
)
def test_a_switch_is_on_or_off(value, meant):
    assert is_on("SWITCH", {"SWITCH": value}) is meant
    assert is_on("ANOTHER", {"SWITCH": value}) is False


def test_a_switch_that_is_neither():
    with pytest.raises(SettingError) as caught:
        is_on("SWITCH", {"SWITCH": "ture"})
    assert str(caught.value) == (
        "SWITCH is neither on nor off\n"
        "  where     the environment\n"
        "  expected  1, on, yes or true; or 0, off, no or false\n"
        "  found     ture\n"
        "  fix       export SWITCH=1, or take it out of the environment"
    )
    assert caught.value.exit_code == 3


def test_a_switch_of_another_program_is_read_as_that_reads_it():
    assert [value for value in ("1", "on", "TRUE", "2", "ture", "") if is_true(value)] == ["1", "on", "TRUE"]


# ---- folders


@pytest.mark.parametrize("path", ["/abs", "rel", "~", "~/x", "~root/x", "./~nobody"])
def test_a_folder_is_named_as_it_is_written(path):
    assert folder("FOLDER", {"FOLDER": path}) == path
    assert folder("ANOTHER", {"FOLDER": path}) is folder("FOLDER", {"FOLDER": ""}) is None


def test_a_folder_of_nobody():
    with pytest.raises(SettingError) as caught:
        folder("FOLDER", {"FOLDER": "~no-such-user/models"})
    assert str(caught.value) == (
        "FOLDER names the home folder of no user\n"
        "  where     the environment\n"
        "  expected  a path; ~/… for your own home, ~USER/… for a user of this machine\n"
        "  found     ~no-such-user/models\n"
        "  fix       correct FOLDER; if that is the name of a folder here, write ./ before it"
    )


# ---- as a user meets them


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("MODEL_PROVISIONER_OFFLINE", "ture", "MODEL_PROVISIONER_OFFLINE is neither on nor off"),
        ("MODEL_PROVISIONER_LOCKED", "y", "MODEL_PROVISIONER_LOCKED is neither on nor off"),
        ("MODEL_PROVISIONER_NETWORK", "https://x", "MODEL_PROVISIONER_NETWORK can't be understood"),
        (
            "MODEL_PROVISIONER_CACHE_DIR",
            "~no-such-user/x",
            "MODEL_PROVISIONER_CACHE_DIR names the home folder of no user",
        ),
        (
            "MODEL_PROVISIONER_RUNTIME_DIR",
            "~no-such-user",
            "MODEL_PROVISIONER_RUNTIME_DIR names the home folder of no user",
        ),
    ],
)
def test_a_setting_of_ours_ends_the_run_before_anything_is_done(tiny, hub, name, value, what):  # noqa: F811
    tiny.environ[name] = value
    answer = tiny.provision(code=3)
    assert tiny.project.program("provision", code=3) == answer
    assert answer.err.startswith(f"ERROR: {what}\n")
    assert answer.err.count(name) == 2 + (name in answer.err.partition("found")[2].partition("fix")[0])
    assert hub.requests == []
    assert sorted(path.name for path in tiny.root.iterdir()) == ["models.yaml"]
    del tiny.environ[name]
    assert "1 model: 1 done" in tiny.provision().out


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("HF_ENDPOINT", "hub.example", "HF_ENDPOINT is not the address of a Hub"),
        ("HF_TOKEN", "“hf_good”", "the token for the Hub is none: it has a character that no token has"),
        ("SSL_CERT_FILE", "/dev/null", "the certificates of SSL_CERT_FILE can't be read"),
    ],
)
@pytest.mark.parametrize("face", ["doit", "program"])
@pytest.mark.parametrize("command", ["provision", "lock"])
def test_a_setting_of_others_fails_what_needs_it(tiny, hub, name, value, what, command, face):  # noqa: F811
    tiny.environ[name] = value
    if name == "SSL_CERT_FILE":
        tiny.environ["HF_ENDPOINT"] = "https://127.0.0.1:1"
    run = getattr(tiny.project, face)
    command = f"model-{command}" if (face, command) == ("doit", "lock") else command
    answer = run(command, code=3)
    assert what in answer.all
    assert tiny.project.handoff("tiny") is None
    tiny.project.add_tiny()
    tiny.models({"here": "models/tiny.gguf"})
    run(command)
    assert hub.requests == []


def test_what_is_here_needs_no_hub(tiny, hub):  # noqa: F811
    tiny.doit("model-lock")
    tiny.environ["HF_ENDPOINT"] = "hub.example"
    hub.forget()
    assert "1 model: 1 done" in tiny.provision().out
    assert hub.requests == []

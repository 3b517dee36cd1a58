"""Completion: the real shells complete commands, options and names of models."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import settle

TYPED = {
    "": {"provision", "list", "help", "completion", "--version"},
    "pro": {"provision"},
    "help ver": {"verify"},
    "lock --upg": {"--upgrade"},
    "lock --upgrade my": {"my.model", "my-other"},
    "provision my-": {"my-other"},
    "why ": {"my.model", "my-other"},
    "completion ": {"bash", "fish", "zsh"},
    "list --state ": {"Pending", "Active", "Failed", "Retired"},
    "list --fleet --state=F": {"--state=Failed"},
    "verify --scheduler ": {"local:", "dask:", "ray:"},
    "publish --t": {"--timeout", "--take-over"},
    "mirror my-": {"my-other"},
    "mirror --to ": {"oci:registry.example.org/models", "s3://site/cache/"},
    "mirror --to s": {"s3://site/cache/"},
    "nonsense ": set(),
}


@pytest.fixture
def two(project):
    project.models(
        "mirrors: ['s3://site/cache', 'https://site.example.org/', 'oci:registry.example.org/models']\n"
        "models: {my.model: {model_ref: a.gguf, handoff: a.json}, my-other: {model_ref: b.gguf, handoff: b.json}}\n"
    )
    settle()
    return project


@pytest.mark.parametrize("typed", TYPED)
def test_what_may_come_next(two, typed):
    found = two.program("completion", "candidates", "--", *typed.split(" ")).out.splitlines()
    assert found == sorted(found)
    assert TYPED[typed] == set(found) if typed.strip() else TYPED[typed] <= set(found)


def test_the_mirrors_that_the_user_names_come_in_the_place_of_the_projects(two):
    two.environ["MODEL_PROVISIONER_MIRRORS"] = "s3://mine/ https://mine.example.org"
    assert two.program("completion", "candidates", "--", "mirror", "--to", "").out == "s3://mine/\n"


def test_outside_of_a_project_no_models_come_next(project):
    assert project.program("completion", "candidates", "--", "provision", "").out == ""


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell(project, arguments):
    err = project.program("completion", *arguments, code=3).err
    assert err.startswith("ERROR: completion takes the name of a shell\n")
    assert "  expected  bash or zsh or fish\n" in err


ASKED = {
    "bash": 'COMP_WORDS=(model-provisioner {line}); COMP_CWORD={last}; _model_provisioner; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": 'compadd() {{ print -rl -- "${{(@P)@[-1]}}" }}; words=(model-provisioner {line}); CURRENT={last}+1; _model_provisioner',
    "fish": 'complete -C "model-provisioner {line}"',
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASKED)
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("prov", ["provision"]),
        ("why my-", ["my-other"]),
        ("lock --up", ["--upgrade"]),
        ("mirror --to s3", ["s3://site/cache/"]),
        ("verify --scheduler d", ["dask:"]),
    ],
)
def test_the_shell_completes_a_line(two, shell, line, found):
    script = two.program("completion", shell).out
    last = len(line.split(" "))
    ask = ASKED[shell].format(line=line, last=last)
    environ = {**two.surroundings(), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    run = subprocess.run(
        [shell, "-c", f"{script}\n{ask}"], cwd=two.root, env=environ, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == found, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("mirror --to s3 : //si", ["//site/cache/"]),
        ("mirror --to oci :", ["registry.example.org/models"]),
        ("list --fleet --state = F", ["Failed"]),
        ("mirror --to oci : registry.example.org/models my-", ["my-other"]),
    ],
)
def test_bash_which_splits_words_at_colons_gets_what_follows_the_last(two, line, found):
    test_the_shell_completes_a_line(two, "bash", line, found)

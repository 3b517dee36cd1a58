"""Where templates lead: the short way for a folder that entries share comes to what the whole path would."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.config.paths import HandoffPaths, unknown_placeholder
from model_provisioner.references.path_environment import PathEnvironment

TEMPLATES = st.lists(
    st.sampled_from(
        ["{runtime_dir}", "{name}", "{engine}", "/", "/", "..", ".", "~", "x", "link", "%s", "%", "{", "}"]
    ),
    max_size=8,
).map("".join)
NAMES = st.sampled_from(["a", "a.b", "engine", "name", "runtime_dir"])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "a").mkdir()
    os.symlink("a", root / "link")
    return str(root)


@given(TEMPLATES, st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4))
def test_a_handoff_lies_where_its_whole_path_leads(root, template, entries):
    handoffs = HandoffPaths(root, f"{root}/link/{{name}}", PathEnvironment())
    if unknown_placeholder(template) is not None:
        return
    for name, engine in entries:
        folder, last = os.path.split(handoffs.written(template, name, engine))
        assert handoffs.place(template, name, engine) == (os.path.realpath(folder), last)


@pytest.mark.parametrize(
    ("template", "unknown"),
    [("{name}{x}{y}", "{x}"), ("{}", "{}"), ("{{name}}", None), ("{na/me}", "{na/me}"), ("{", None), ("x", None)],
)
def test_placeholders_that_stand_for_nothing(template, unknown):
    assert unknown_placeholder(template) == unknown

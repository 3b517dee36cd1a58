"""Where templates lead: the short way for a folder that entries share comes to what the whole path would.

A project may have several names; no link below it is followed.
"""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.config.paths import HandoffPaths, is_below, path_in, unknown_placeholder
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
        assert handoffs.place(template, name, engine) == (folder, last)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/p", "/p"),
        ("/p/x", "/p/x"),
        ("/p/link/x", "/p/link/x"),
        ("/other", "/p"),
        ("/other/link/x", "/p/link/x"),
        ("/other/link", "/p/link"),
        ("/other/here/x", "/p/here/x"),
        ("/p2", None),
        ("/out/x", None),
        ("/", None),
    ],
)
def test_a_path_in_a_folder_that_has_several_names(tmp_path, path, inside):
    for folder in ("p", "p2"):
        (tmp_path / folder).mkdir()
    for link, target in {"other": "p", "out": "p2", "p/link": "../p2", "p/here": "."}.items():
        (tmp_path / link).symlink_to(target)
    found = path_in(f"{tmp_path}/p", f"{tmp_path}{path}", PathEnvironment())
    assert found == (None if inside is None else f"{tmp_path}{inside}")


@pytest.mark.parametrize("top", ["/", "/x"])
def test_what_lies_below_the_top_of_the_disk(top):
    assert path_in("/", top, PathEnvironment()) == top
    assert is_below("/x", top)


@pytest.mark.parametrize(
    ("template", "unknown"),
    [("{name}{x}{y}", "{x}"), ("{}", "{}"), ("{{name}}", None), ("{na/me}", "{na/me}"), ("{", None), ("x", None)],
)
def test_placeholders_that_stand_for_nothing(template, unknown):
    assert unknown_placeholder(template) == unknown

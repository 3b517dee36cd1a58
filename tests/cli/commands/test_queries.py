"""`model-list`, `model-show`, `model-why`, `model-schema`."""

import fcntl
import json
import os
import re
import struct
import termios

import pytest

from tests.support.project import document, read_only, settle


@pytest.fixture
def two(project):
    project.add_tiny("good.gguf")
    project.write("bad.gguf", b"GGUF")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
        "models:\n"
        "  good: {model_ref: 'file:good.gguf'}\n"
        "  bad: {model_ref: 'file:bad.gguf'}\n"
    )
    settle()
    project.provision(code=1)
    return project


def test_list_is_a_table(two):
    out = two.doit("model-list").out
    assert out.splitlines() == [
        "NAME  STATE   CHECK      SIZE  TYPE        DIGEST",
        "bad   Failed  error         -",
        "good  Active  warn   105.2 KB  llama Q8_0  " + two.rows()["good"]["digest"][7:19],
    ]


LONG = "a-model-with-quite-a-long-name-of-its-own-that-goes-on-and-on-Q4_K_M"


@pytest.mark.parametrize(
    ("width", "name"),
    [(None, LONG), (200, LONG), (80, "a-model-with…"), (20, "a-model-…")],
)
def test_the_table_is_as_wide_as_the_terminal_and_names_lose_their_middle(project, width, name):
    project.add_tiny("m.gguf")
    project.models(f"models: {{{LONG}: {{model_ref: m.gguf, handoff: h.json}}}}\n")
    project.provision()
    if width is None:
        lines = project.program("list").out.splitlines()
    else:
        lines = on_a_terminal(project, width, "list")
        assert max(map(len, lines)) <= max(width, 71)  # names keep twenty columns
    assert lines[1].startswith(name.partition("…")[0])
    assert lines[1].split()[0].endswith("Q4_K_M")
    assert (lines[1].split()[0] == LONG) == ("…" not in name)
    assert lines[1].endswith(project.rows()[LONG]["digest"][7:19])


def on_a_terminal(project, width, *arguments):
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    project.environ["COLUMNS"] = ""  # which workers of pytest-xdist have
    run = project.start_program(*arguments, stdout=end)
    os.close(end)
    run.communicate(timeout=60)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    return shown.splitlines()


def test_list_all_shows_every_project(two, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    out = two.doit("model-list", "--all", cwd=other).out
    assert f"{two.root}:\n" in out
    answer = two.doit("model-list", cwd=other, code=3)
    assert answer.err.startswith("ERROR: no models.yaml here or in a folder above\n")


def test_before_the_first_run_the_list_says_what_to_do(project):
    project.models("models: {}\n")
    assert project.doit("model-list").out == "no models are registered yet: run `doit provision`\n"
    assert not project.state.exists()
    assert project.json("model-list")["models"] == []


def test_show_by_name_and_id(two):
    by_name = two.doit("model-show", "good").out
    model_id = f"local:{two.root}/good.gguf"
    assert by_name == two.doit("model-show", model_id).out
    assert re.search(rf"^id(\s+|\n    ){re.escape(model_id)}$", by_name, re.MULTILINE)
    assert "chat_template_sha256\n    5875dc31" in by_name
    assert not [line for line in by_name.splitlines() if len(line) > 80 and str(two.root) not in line]
    assert "metadata.context_length      256\n" in by_name
    found = two.json("model-show", "good")
    assert found["result"]["catalog"][0]["metadata"]["vocabulary_size"] == 259
    assert found["models"][0]["state"] == "Active"
    assert (
        f"reason\n    the file ends inside the version\n      where     {two.root}/bad.gguf\n"
        in two.doit("model-show", "bad").out
    )


def test_show_of_an_unknown_model(two):
    answer = two.doit("model-show", "none", code=3)
    assert answer.err == (
        "ERROR: no model has the name or id 'none'\n"
        f"  where     {two.state}/catalog.db\n"
        "  expected  a name of this project's, or an id of any\n"
        "  found     no row of it\n"
        "  fix       see `doit model-list`, or `doit model-list --all`\n"
    )
    assert two.doit("model-show", code=3).err.startswith("ERROR: model-show takes one NAME or ID\n")


def test_why_in_words(two):
    assert two.doit("model-why", "good").out == "good is current: nothing would be done\n"
    os.utime(two.root / "good.gguf", (1e9, 1e9))
    assert two.doit("model-why", "good").out == (
        "good would be provisioned again:\n  verify    mtime changed, content same (xxh3)\n"
    )
    assert two.doit("model-why", "good").out.endswith("content same (xxh3)\n")  # asking changed nothing
    data = bytearray((two.root / "good.gguf").read_bytes())
    data[-1] ^= 1
    two.write("good.gguf", bytes(data))
    assert two.why("good") == ["mtime changed, content differs (xxh3)"]
    two.write("good.gguf", bytes(data) + b"x")
    assert two.why("good") == ["size 105,249 bytes, was 105,248 bytes"]
    (two.root / "good.gguf").unlink()
    assert two.why("good") == ["there is no such file or folder"]


def test_the_catalog_is_read_where_nothing_can_be_written(two):
    """A copy is read where SQLite could not make its index."""
    before = sorted(os.listdir(two.state))
    code, said = two.mounted(f"{read_only(two.state)}", "model-list")
    assert (code, "good  Active" in said) == (0, True), said
    assert sorted(os.listdir(two.state)) == before


def test_a_foreign_catalog_is_refused_and_left_alone(two):
    path = two.state / "catalog.db"
    path.write_bytes(b"precious" * 1000)
    answer = two.doit("model-list", code=2)
    assert "the catalog is damaged or not a database" in answer.err
    answer = two.provision(code=2)
    assert "the catalog is damaged or not a database" in answer.all
    assert path.read_bytes() == b"precious" * 1000


def test_the_schema_is_json(project):
    schema = json.loads(project.doit("model-schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("command", [["model-list"], ["model-list", "--json"], ["model-show", "good"]])
@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("models.yaml", "models: {", "this is not YAML\n"),
        ("models.yaml", "", "the file is empty\n"),
        ("models.lock", "{", "makes it anew of what is there now\n"),
    ],
)
def test_what_keeps_the_project_from_being_read_is_said_and_the_catalog_is_shown(two, command, name, text, fault):
    shown = two.doit(*command)
    assert shown.err == ""
    two.write(name, text)
    answer = two.doit(*command)
    assert answer.err.startswith("WARNING: the project can't be read, and only the catalog is shown\n")
    assert fault in answer.err
    if "--json" not in command:
        assert answer.out == shown.out
        return
    found = document(answer)
    (error,) = found["errors"]
    assert any(f"{error[part]}\n".endswith(fault) for part in ("what", "fix"))
    assert found | {"errors": []} == document(shown)


def test_of_the_whole_machine_no_project_is_read(two):
    two.write("models.yaml", "models: {")
    assert two.doit("model-list", "--all").err == ""

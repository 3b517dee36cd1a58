"""Messages name our commands as the user called the program."""

import ast
from pathlib import Path

import pytest

from model_provisioner import invocation
from model_provisioner.cli.declarations import COMMANDS

SOURCE = Path(invocation.__file__).parent
OF_DOIT = {
    "a task of dodo.py makes it: run `doit provision`",  # which only doit can do
    "the tasks of the run of `doit provision`",  # which no user sees
}


def docstrings(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        for each in getattr(node, "body", []) if isinstance(node, kinds) else ():
            if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
                yield each.value


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_message_names_a_command_of_ours_by_itself(path):
    """`invocation.command` does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = set(docstrings(tree))
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told
    ]
    wrong = [
        text
        for text in texts
        if any(f"doit {name}" in text for name in ("model-", "provision", "help ")) and text not in OF_DOIT
    ]
    assert wrong == [] or (path.name, wrong) == ("invocation.py", ["doit help "])


HERE = "defaults: {handoff: '{runtime_dir}/{name}.json'}\nmodels:\n  tiny: {model_ref: models/tiny.gguf}\n  far: {model_ref: 'hf:org/far/far.gguf'}\n"


def ask(run, project):
    """Yield what is said in situations whose fix is a command."""
    project.models(HERE)
    yield run("list").out
    yield run("show", "nobody", code=3).err
    yield run("show", code=3).err
    yield run("retire", code=3).err
    yield run("attest", "tiny", code=1).err
    yield run("verify", "tiny", code=3).err
    yield run("verify", "--older-than", "x", code=3).err
    yield run("report", code=3).err
    yield run("check", "x", code=3).err
    yield run("lock", "--check", code=1).out
    yield run("check", code=1).out
    project.write("models.lock", "{")
    yield run("why", code=3).err
    (project.root / "models.lock").unlink()
    run("retire", "tiny")
    yield run("retire", "--undo", "tiny").out


@pytest.mark.parametrize("face", ["doit", "model-provisioner"])
def test_each_face_names_its_own_commands(project, face):
    def by_doit(command, *arguments, code=0):
        return project.doit(f"model-{command}", *arguments, code=code)

    project.add_tiny()
    said = "".join(ask(by_doit if face == "doit" else project.program, project))
    other = "model-provisioner " if face == "doit" else "doit "
    assert other not in said
    for by_program, of_doit in (
        ("list", "model-list"),
        ("lock", "model-lock"),
        ("help check", "help model-check"),
        ("provision tiny", "provision tiny"),
        ("report -o report.html", "model-report -o report.html"),
    ):
        assert (f"doit {of_doit}" if face == "doit" else f"model-provisioner {by_program}") in said, by_program


@pytest.mark.parametrize(
    ("by_doit", "by_program"),
    [
        (f"`doit model-{name}`" if name not in {"provision"} else "`doit provision`", f"`model-provisioner {name}`")
        for name in COMMANDS
    ]
    + [
        (
            "fix  doit model-retire --undo a, then doit provision; or",
            "fix  model-provisioner retire --undo a, then model-provisioner provision; or",
        ),
        ("see `doit help model-lock`", "see `model-provisioner help lock`"),
        ("`doit list --all`, doit locks /doit provision", "`doit list --all`, doit locks /doit provision"),
        ("of model-provisioner and the rest", "of model-provisioner and the rest"),
    ],
)
def test_what_one_face_kept_is_told_in_the_words_of_the_other(by_doit, by_program):
    try:
        for face, told in ((True, by_doit), (False, by_program)):
            invocation.called_by_doit(face)
            assert [invocation.as_called(each) for each in (by_doit, by_program)] == [told, told]
    finally:
        invocation.called_by_doit(False)


@pytest.mark.parametrize("face", ["doit", "program"])
def test_what_the_other_face_failed_with_is_shown_with_the_commands_of_this_one(project, face):
    """In the page, in `show`, in every document."""
    project.add_tiny()
    project.models(HERE)
    other = {"doit": project.program, "program": project.doit}[face]
    other("provision", "--locked", code=1)
    ask = {"doit": lambda name, *more: project.doit(f"model-{name}", *more), "program": project.program}[face]
    ask("report", "-o", "page.html")
    page = (project.root / "page.html").read_text()
    said = [page, ask("show", "tiny").out, ask("show", "tiny", "--json").out, ask("report", "--json").out]
    said.append(ask("list", "--json").out)
    ours, theirs = "`doit model-lock`", "`model-provisioner lock`"
    if face == "program":
        ours, theirs = theirs, ours
    assert [(ours in text, theirs in text) for text in said] == [(True, False)] * len(said)


def test_plain_doit_is_doit(project):
    project.add_tiny()
    project.models(HERE)
    project.write("models.lock", "{")
    project.write("dodo.py", "from model_provisioner.plugin import DOIT_CONFIG, task_models\n")
    assert "and `doit model-lock` makes it anew" in project.doit(code=3).err

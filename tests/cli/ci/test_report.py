"""What `provision` tells CI: a JUnit report and annotations, under both names. Those of a check: `commands/test_check.py`."""

from xml.etree import ElementTree

import pytest

from tests.support.project import DODO, TINY, document, read_only, settle

MODELS = """\
defaults: {handoff: "{runtime_dir}/engines/{name}.json"}
models:
  good: {model_ref: good.gguf, expected_digest: "sha256:%s"}
  loose: {model_ref: good.gguf}
  gone: {model_ref: gone.gguf}
  old: {model_ref: good.gguf}
"""


@pytest.fixture(params=["doit", "model-provisioner"])
def face(request, project):
    """Return what runs a command under one of its names."""
    project.add_tiny("good.gguf")
    project.models(MODELS % "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897")
    project.doit("model-retire", "old")
    settle()
    return project.doit if request.param == "doit" else project.program


def cases(project, file="report.xml"):
    """Return the test cases of a report by name."""
    (suite,) = ElementTree.parse(project.root / file).getroot()
    assert suite.get("name") == "provision"
    assert int(suite.get("tests")) == len(suite)
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
    return {case.get("name"): case for case in suite}


def tags(project):
    return {name: [part.tag for part in case] for name, case in cases(project).items()}


def test_a_report_is_there_also_where_a_model_fails(project, face):
    face("provision", "--junit", "report.xml", code=1)
    assert tags(project) == {"good": [], "loose": ["system-err"], "gone": ["failure"], "old": ["skipped"]}
    found = cases(project)
    place = {"file": "models.yaml", "line": "5", "classname": "provision", "name": "gone"}
    assert found["gone"].attrib == place
    (failure,) = found["gone"]
    assert failure.items() == [("message", "there is no such file or folder"), ("type", "ModelNotFoundError")]
    assert failure.text.startswith("there is no such file or folder\n  where     ")
    assert found["loose"][0].text.startswith("no digest is expected\n  found     sha256:a28bb84f")
    assert found["old"][0].get("message") == "retired"


def test_of_a_run_with_nothing_to_do_all_pass(project, face):
    project.write("gone.gguf", TINY.read_bytes())
    settle()
    face("provision")
    face("provision", "--junit", "report.xml")
    assert tags(project) == {"good": [], "loose": [], "gone": [], "old": ["skipped"]}


def test_bad_input_is_an_error_in_it(project, face):
    project.models("models: {a: {model_reff: x}}\n")
    face("provision", "--junit", "report.xml", code=3)
    assert tags(project) == {"models.yaml": ["error"]}


def test_a_run_that_breaks_has_what_it_did_and_the_error(project, face):
    face("provision", code=1)
    (project.state / "catalog.db").write_bytes(b"precious" * 1000)
    face("provision", "--junit", "report.xml", code=2)
    found = tags(project)
    assert found.pop("models.yaml") == ["error"]
    assert found.keys() == {"good", "loose", "gone", "old", "left over"}


def test_it_replaces_only_its_own(project, face):
    face("provision", "--junit", "report.xml", code=1)
    face("provision", "--junit", "report.xml", code=1)
    other = project.root / "check.xml"
    project.doit("model-check", "--junit", "check.xml", code=1)
    before = other.read_bytes()
    answer = face("provision", "--junit", "check.xml", code=3)
    assert "expected  no file, an empty one, or one that provision wrote\n" in answer.err
    assert other.read_bytes() == before
    face("provision", "--junit", "check.xml", "--force", code=1)
    assert len(cases(project, "check.xml")) == 4


def test_annotations_stand_beside_the_entries(project, face):
    project.environ["GITHUB_ACTIONS"] = "true"
    answer = face("provision", code=1)
    lines = [line for line in answer.out.splitlines() if line.startswith("::")]
    assert [line.partition("::")[2].partition("::")[0] for line in lines] == [
        "warning file=models.yaml,line=4,title=loose%3A digest",
        "error file=models.yaml,line=5,title=gone%3A ModelNotFoundError",
    ]
    answer = face("provision", "--json", code=1)
    assert document(answer)["exit_code"] == 1
    assert "::error file=models.yaml,line=5,title=gone%3A ModelNotFoundError::" in answer.err


def test_faults_are_annotated_where_they_stand(project, face):
    project.environ["GITHUB_ACTIONS"] = "true"
    project.models("models:\n  a: {model_reff: x}\n")
    assert face("provision", code=3).out.startswith("::error file=models.yaml,line=2,title=provision::")


def test_a_report_that_can_not_be_written_is_exit_code_2(project):
    project.add_tiny("good.gguf")
    project.models("models: {good: {model_ref: good.gguf}}\n")
    project.provision()
    code, said = project.mounted(read_only(project.root), "provision", "--junit", "new/report.xml")
    assert code == 2
    assert f"ERROR: the JUnit report can't be written\n  where     {project.root}/new/report.xml\n" in said


def test_a_task_that_fails_is_a_case_and_its_model_fails(project):
    project.add_tiny("good.gguf")
    project.models("models: {good: {model_ref: made.gguf}}\n")
    project.write("dodo.py", f"{DODO}def task_make():\n    return {{'actions': ['false'], 'targets': ['made.gguf']}}\n")
    project.provision("--junit", "report.xml", code=1)
    assert tags(project) == {"good": ["failure"], "make": ["failure"]}

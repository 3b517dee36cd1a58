"""Folders and whole repositories for an engine that opens one file."""

import shutil

from tests.support.project import TINY, settle
from tests.support.remote import REPO, TINY_BYTES


def test_a_folder_with_one_gguf_is_handed_to_llama_cpp_as_that_file(project):
    project.add_tiny("m/tiny.gguf")
    project.write("m/README.md", "text")
    project.models("models:\n  m: {model_ref: m}\n")
    project.provision()
    assert project.handoff()["model"]["path"] == str(project.root / "m" / "tiny.gguf")
    assert {file["path"] for file in project.handoff()["metadata"]["files"]} == {
        str(project.root / "m" / name) for name in ("tiny.gguf", "README.md")
    }
    settle()
    project.provision()
    assert "1 current" in project.provision().out


def test_a_change_of_any_of_its_files_is_one_of_the_model(project):
    project.add_tiny("m/tiny.gguf")
    project.write("m/README.md", "text")
    project.models("models:\n  m: {model_ref: m}\n")
    project.provision()
    before = project.rows()["m"]["digest"]
    project.write("m/README.md", "other")
    project.provision()
    assert project.rows()["m"]["digest"] != before


def test_a_folder_of_several_ggufs_is_nothing_for_llama_cpp(project):
    project.add_tiny("m/tiny-Q8_0.gguf")
    shutil.copy(TINY, project.root / "m" / "tiny-F16.gguf")
    project.models("models:\n  m: {model_ref: m}\n")
    answer = project.provision(code=1)
    assert answer.out.startswith(
        "FAIL  m  llama.cpp opens one GGUF and no folder\n"
        f"        where     {project.root}/m\n"
        "        expected  a reference that names one GGUF\n"
        "        found     tiny-F16.gguf (F16), tiny-Q8_0.gguf (Q8_0)\n"
        f"        fix       name the one to load: {project.root}/m/tiny-F16.gguf\n"
    )
    project.models(f"models:\n  m: {{model_ref: '{project.root}/m/tiny-F16.gguf'}}\n")
    project.provision()


def test_a_whole_repository_is_not_fetched_for_llama_cpp(remote, hub):
    hub.add("org/tiny", {**REPO, "tiny-Q8_0.gguf": TINY_BYTES})
    remote.models({"tiny": "hf:org/tiny"})
    answer = remote.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  llama.cpp opens one GGUF and no folder\n"
        "        where     hf:org/tiny\n"
        "        expected  a reference that names one GGUF\n"
        "        found     tiny-Q8_0.gguf (Q8_0), tiny.gguf\n"
        "        fix       name the one to load: hf:org/tiny/tiny-Q8_0.gguf\n"
    )
    assert not remote.blobs()
    remote.models({"tiny": "hf:org/tiny/tiny-Q8_0.gguf"})
    remote.provision()


def test_patterns_that_leave_one_gguf_are_enough(remote, hub):
    hub.add("org/tiny", {**REPO, "tiny-Q8_0.gguf": TINY_BYTES})
    remote.models({"tiny": {"model_ref": "hf:org/tiny", "include": ["*-Q8_0.gguf", "*.md"]}})
    remote.provision()
    assert remote.path("tiny").name == "tiny-Q8_0.gguf"


def test_a_pointer_and_a_page_are_called_what_they_are(project):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4000000\n"
    project.write("a.gguf", pointer)
    project.write("b/model.safetensors", pointer)
    project.add_tiny("c/tiny.gguf")
    project.write("c/tokenizer.json", pointer)
    project.write("d.bin", b"  <!DOCTYPE html>\n<html><title>Log in</title></html>")
    project.models(
        "models:\n"
        + "".join(f"  {name[0]}: {{model_ref: {name}, engine: e{name[0]}}}\n" for name in ("a.gguf", "b", "c", "d.bin"))
    )
    answer = project.provision(code=1)
    for name in ("a", "b", "c"):
        assert f"FAIL  {name}  a Git LFS pointer stands in the place of the file\n" in answer.out
    assert "        expected  the file itself, 4,000,000 bytes\n" in answer.out
    assert "FAIL  d  a web page stands in the place of the model\n" in answer.out
    assert "        found     <!DOCTYPE html>\n" in answer.out

"""What is advised to who adds models, asks what a repository offers, or has an engine load them."""

import os
import shlex

import pytest

from tests.support.advice import advised
from tests.support.remote import TINY_BYTES

OTHER = TINY_BYTES + bytes(32)


@pytest.fixture
def files(project):
    """Two models that no project has yet."""
    project.write("a.gguf", TINY_BYTES)
    project.write("b.gguf", OTHER)
    return project


def told(advice):
    """Return the arguments of a command that an advice tells."""
    return shlex.split(advice)[1:]


def test_a_model_is_named(files):
    (line,) = advised(files.program("add", code=3), "name the model: {}")
    files.program(*told(line)[:-1], "a.gguf")


def test_one_name_is_for_one_model(files):
    sentence = "add them one by one, or leave the name out: then each is named after its file"
    advised(files.program("add", "--name", "x", "a.gguf", "b.gguf", code=3), sentence)
    files.program("add", "--name", "x", "a.gguf")
    files.program("add", "a.gguf", "b.gguf")


def test_a_name_of_other_characters_is_chosen(files):
    (name,) = advised(
        files.program("add", "--name", "my model", "a.gguf", code=3), "choose a name of these characters: --name {}"
    )
    files.program("add", "--name", name, "a.gguf")


def test_another_name_is_chosen(files):
    files.program("add", "a.gguf")
    (name,) = advised(files.program("add", "--name", "a", "b.gguf", code=3), "choose another: --name {}")
    files.program("add", "--name", name, "b.gguf")


def test_an_engine_is_named_as_handoffs_have_it(files):
    advised(
        files.program("add", "a.gguf", "--engine", "vLLM", code=3), "write the name as handoffs have it: llamacpp, vllm"
    )
    files.program("add", "a.gguf", "--engine", "vllm")


def test_a_folder_is_for_an_engine_that_opens_one(files):
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    files.write("My Set/model.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))
    files.write("My Set/config.json", '{"model_type": "llama"}')
    answer = files.doit("model-add", "My Set", code=1)
    (folder,) = advised(answer, "name the engine that loads it: doit model-add {} --engine vllm")
    assert not (files.root / "models.yaml").exists()
    files.doit("model-add", *shlex.split(folder), "--engine", "vllm")
    files.program("provision")


def test_of_the_project_itself_the_files_are_named(files):
    (line,) = advised(files.program("add", ".", code=3), "name the files: {}")
    assert line == "model-provisioner add ./*.gguf"
    files.program("add", *map(str, files.root.glob("*.gguf")))


def test_one_model_alone_becomes_several(files):
    files.models("model_ref: a.gguf\n")
    sentence = "put   models:   and a name above the fields of the one model, and indent them below it"
    advised(files.program("add", "b.gguf", code=3), sentence)
    files.models("models:\n  a:\n    model_ref: a.gguf\n")
    files.program("add", "b.gguf")


def test_what_has_no_place_is_added_by_hand(files):
    files.models("x: &x {a: {model_ref: a.gguf}}\nmodels: *x\n")
    files.program("add", "b.gguf", code=3)  # x is no field
    files.models("defaults: &x {}\nmodels: *x\n")
    (line,) = advised(files.program("add", "b.gguf", code=3), "add this to it by hand:   {}")
    files.models(f"{line}\n")
    files.program("provision")


def test_a_link_is_replaced_by_a_copy(files, tmp_path):
    (tmp_path / "real.yaml").write_text("models: {}\n")
    (files.root / "models.yaml").symlink_to(tmp_path / "real.yaml")
    sentence = "put a copy of the file in the place of the link, or edit the file that it leads to"
    advised(files.program("add", "a.gguf", code=3), sentence)
    (files.root / "models.yaml").unlink()
    files.models("models: {}\n")
    files.program("add", "a.gguf")


def test_a_read_only_file_is_made_writable(files):
    files.models("models: {}\n").chmod(0o444)
    advised(files.program("add", "a.gguf", code=2), "make it writable, if it is yours to change: chmod u+w")
    (files.root / "models.yaml").chmod(0o644)
    files.program("add", "a.gguf")


def test_a_folder_is_made_one_that_can_be_written(files):
    os.mkdir(files.root / ".models.yaml.tmp")
    (files.root / ".models.yaml.tmp").chmod(0o555)
    files.program("add", "a.gguf", code=2)
    os.rmdir(files.root / ".models.yaml.tmp")
    os.symlink("/dev/full", files.root / ".models.yaml.tmp")
    advised(files.program("add", "a.gguf", code=2), "make this a place that you can write; nothing was added")
    assert not (files.root / "models.yaml").exists()
    os.unlink(files.root / ".models.yaml.tmp")
    files.program("add", "a.gguf")


# ---- the Hub


@pytest.fixture
def several(remote, hub):
    hub.add(
        "org/tiny", {"m-Q4_K_M.gguf": TINY_BYTES, "m-Q8_0.gguf": OTHER, "a-F16.gguf": OTHER, "b-F16.gguf": TINY_BYTES}
    )
    hub.add("org/other", {"config.json": b"{}", "model.safetensors": OTHER})
    hub.add("org/unnamed", {"m.gguf": TINY_BYTES})
    remote.models({})
    return remote


def test_a_quantization_or_a_file_is_named(several):
    (line,) = advised(several.project.program("add", "hf:org/tiny", code=3), "name one of them: {}")
    several.project.program(*told(line))


def test_a_host_is_allowed_on_the_command_line(several):
    several.models({}, allow=[])
    for command in ("list", "add"):
        advised(several.project.program(command, "hf:org/tiny", code=1), "add --allow, if you trust {}")
    several.project.program("list", "hf:org/tiny", "--allow")
    several.project.program("add", "hf:org/tiny:Q8_0", "--allow")


def test_a_repository_with_ggufs_or_another_engine_is_named(several, hub):
    sentence = "name a repository with GGUFs, or an engine that loads this one: {}"
    (line,) = advised(several.project.program("add", "hf:org/other", code=3), sentence)
    hub.add("org/other", {"config.json": b"{}", "m.gguf": OTHER})
    several.project.program(*told(line))
    several.project.program("add", "hf:org/other", code=None)


def test_a_quantization_that_there_is_is_named(several):
    several.models({"t": "hf:org/tiny:Q4_K_S"})
    found = advised(several.provision(code=1), "name one of these: hf:{}:{}")
    assert found == ("org/tiny", "Q4_K_M")
    several.models({"t": "hf:{}:{}".format(*found)})
    several.provision()


@pytest.mark.parametrize("asked", ["hf:org/tiny:F16", "hf:org/unnamed:F16"])
def test_a_file_is_named_where_a_quantization_names_several_or_none(several, asked):
    several.models({"t": asked})
    found = advised(several.provision(code=1), "name the file: hf:{}/{}")
    several.models({"t": "hf:{}/{}".format(*found)})
    several.provision()


def test_a_repository_with_ggufs_is_named(several):
    several.models({"t": "hf:org/other:F16"})
    advised(several.provision(code=1), "name a repository with GGUFs: its name often ends in -GGUF")
    several.models({"t": "hf:org/tiny:Q8_0"})
    several.provision()


def test_what_is_no_quantization_is_looked_up(several):
    several.models({"t": "hf:org/tiny:latest"})
    (line,) = advised(several.provision(code=3), "`{}` shows which there are")
    several.models({})
    assert "Q4_K_M" in several.doit(*told(line)).out


# ---- path


def test_a_model_that_is_not_handed_off_is_provisioned(files):
    files.program("add", "a.gguf")
    (line,) = advised(files.program("path", "a", code=1), "run {}, which says what is wrong, or hands it off")
    files.program(*told(line))
    files.program("path", "a")


def test_a_retired_model_is_taken_back(files):
    files.program("add", "a.gguf")
    files.program("provision")
    files.program("retire", "a")
    for line in advised(files.program("path", "a", code=1), "{}, then {}; or leave out what needs it"):
        files.program(*told(line))
    files.program("path", "a")


# ---- presets


def test_a_page_and_presets_are_two_runs(files):
    files.program("add", "a.gguf")
    sentence = "run it twice, once with each"
    advised(files.program("report", "--presets", "p.ini", "-o", "r.html", code=3), sentence)
    files.program("report", "--presets", "p.ini")
    files.program("report", "-o", "r.html")


def test_a_file_that_no_preset_can_name_is_renamed(files):
    files.write("a#b.gguf", TINY_BYTES + bytes(64))
    files.program("add", "odd", "a#b.gguf")
    files.program("provision")
    advised(files.program("report", "--presets", "p.ini"), "rename the file or its folder")
    (files.root / "a#b.gguf").rename(files.root / "ab.gguf")
    files.models((files.root / "models.yaml").read_text().replace("a#b", "ab"))
    files.program("provision")
    assert files.program("report", "--presets", "p.ini").out == "p.ini: 1 model\n"

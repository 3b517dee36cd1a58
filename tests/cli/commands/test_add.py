"""`add`: entries are written into `models.yaml`, which `provision` then passes without a warning."""

import hashlib
import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys

import pytest
import yaml

from model_provisioner.operations.adding import add as adding
from tests.support.hub import Hub
from tests.support.project import document
from tests.support.remote import TINY_BYTES, TINY_SHA, resolved

OTHER = TINY_BYTES + bytes(32)
OTHER_SHA = hashlib.sha256(OTHER).hexdigest()


def entries(project):
    return yaml.safe_load((project.root / "models.yaml").read_text())["models"]


def passes(project, count):
    """All models pass, without a word of warning."""
    answer = project.program("provision")
    assert "warn" not in answer.all
    assert answer.out.count("pass  ") == count
    assert f"{count} model{'s' if count > 1 else ''}: {count} done" in answer.out


# ---- files


def test_from_nothing_to_a_model_that_is_handed_off(project):
    project.add_tiny("models/tiny.gguf")
    answer = project.program("add", "models/tiny.gguf")
    assert answer.out == (
        f"added  tiny  file:models/tiny.gguf  105.2 KB sha256:{TINY_SHA}\n"
        "models.yaml written: 1 model added; `model-provisioner provision` hands it off\n"
    )
    assert answer.err == ""
    assert (project.root / "models.yaml").read_text() == (
        f'models:\n  tiny:\n    model_ref: "file:models/tiny.gguf"\n    expected_digest: "sha256:{TINY_SHA}"\n'
    )
    passes(project, 1)
    assert project.program("path", "tiny").out == f"{project.root}/models/tiny.gguf\n"


def test_it_is_doits_model_add_too(project):
    project.add_tiny("tiny.gguf")
    assert "`doit provision` hands it off" in project.doit("model-add", "qwen", "tiny.gguf").out
    assert list(entries(project)) == ["qwen"]


def test_what_is_there_stays_and_a_second_entry_gets_a_handoff_of_its_own(project):
    before = (
        "# ours\nmodels:   # all of them\r\n"
        "  first: {model_ref: 'file:a.gguf'}   # the first\r\n\r\n# the end\r\nrecheck: sha256\r\n"
    ).encode()
    project.write("models.yaml", before)
    for name in ("a", "b"):
        project.write(f"{name}.gguf", OTHER if name == "b" else TINY_BYTES)
    project.program("add", "b.gguf")
    lines = (
        "  b:\r\n"
        '    model_ref: "file:b.gguf"\r\n'
        f'    expected_digest: "sha256:{OTHER_SHA}"\r\n'
        '    handoff: "{runtime_dir}/engines/{name}.json"\r\n'
    ).encode()
    head, first, tail = before.partition(b"# the first\r\n")
    assert (project.root / "models.yaml").read_bytes() == head + first + lines + tail
    assert "2 models: 2 done" in project.program("provision").out


def test_where_the_defaults_give_each_its_own_no_line_is_needed(project):
    project.models('defaults: {handoff: "{runtime_dir}/engines/{name}.json"}\nmodels: {}\n')
    for name in "ab":
        project.add_tiny(f"{name}.gguf")
    project.program("add", "a.gguf", "b.gguf")
    assert all(set(entry) == {"model_ref", "expected_digest"} for entry in entries(project).values())
    passes(project, 2)


def test_several_files_take_their_names_from_the_files(project, tiny_models):
    for path in tiny_models.glob("*-of-00003.gguf"):
        project.write(f"m/{path.name.replace('tiny-llama', 'split')}", path.read_bytes())
    project.write("m/Qwen3 8B (Q4).gguf", TINY_BYTES)
    project.write("m/müller.gguf", OTHER)
    project.write("m/Größe.gguf", OTHER + bytes(96))
    project.write("m/模型.gguf", OTHER + bytes(32))
    project.write("m/---.gguf", OTHER + bytes(64))
    project.program("add", *sorted(str(path) for path in (project.root / "m").iterdir()))
    shard = next(path for path in (project.root / "m").glob("*-00001-of-00003.gguf")).name
    assert {name: entry["model_ref"] for name, entry in entries(project).items()} == {
        "Qwen3-8B-Q4": "file:m/Qwen3 8B (Q4).gguf",
        shard.partition("-00001")[0]: f"file:m/{shard}",
        "muller": "file:m/müller.gguf",
        "Grosse": "file:m/Größe.gguf",
        "model": "file:m/---.gguf",
        "model-2": "file:m/模型.gguf",
    }
    passes(project, 6)


def test_a_folder_is_pinned_by_the_digest_of_all_its_files(project):
    project.write("set/model.gguf", TINY_BYTES)
    project.write("set/README.md", b"# hello\n")
    project.program("add", "set", "--engine", "vllm")
    entry = entries(project)["set"]
    assert entry["expected_digest"].startswith("dirhash:")
    assert entry["engine"] == "vllm"
    passes(project, 1)


def test_a_folder_that_the_engine_can_not_open_is_no_model_of_its(project):
    """One of a single GGUF is that."""
    project.write("My Set/config.json", '{"model_type": "llama"}')
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    project.write("My Set/model.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))
    answer = project.program("add", "My Set", code=1)
    assert answer.out == (
        f"FAIL  file:My Set  llama.cpp opens one GGUF and no folder\n        where     {project.root}/My Set\n"
        "        expected  a reference that names one GGUF\n        found     no GGUF\n"
        f"        fix       name the engine that loads it: model-provisioner add '{project.root}/My Set' --engine vllm\n"
    )
    assert not (project.root / "models.yaml").exists()
    project.program("add", f"{project.root}/My Set", "--engine", "vllm")
    project.write("one/model.gguf", TINY_BYTES)
    project.program("add", "one")
    passes(project, 2)


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        (".", "the folder of models.yaml"),
        ("..", "a folder that holds the project"),
        ("../a project/", "the folder of models.yaml"),
    ],
)
def test_the_project_itself_is_no_model(project, ref, found):
    answer = project.program("add", ref, code=3)
    assert answer.err == (
        f"ERROR: the project itself is no model\n  where     {ref}\n  expected  a file, or a folder of one model\n"
        f"  found     {found}\n  fix       name the files: model-provisioner add {shlex.quote(ref)}/*.gguf\n"
    )


def test_a_file_of_the_home_folder_is_named_from_there(project, tmp_path):
    project.environ["HOME"] = str(tmp_path / "home")
    (tmp_path / "home/models").mkdir(parents=True)
    (tmp_path / "home/models/tiny.gguf").write_bytes(TINY_BYTES)
    (tmp_path / "elsewhere.gguf").write_bytes(OTHER)
    project.program("add", str(tmp_path / "home/models/tiny.gguf"), "../elsewhere.gguf")
    assert [entry["model_ref"] for entry in entries(project).values()] == [
        "file:~/models/tiny.gguf",
        f"file:{tmp_path}/elsewhere.gguf",
    ]
    passes(project, 2)


def test_in_a_folder_below_the_project_s_file_is_meant(project):
    project.models("models: {}\n")
    path = project.add_tiny("deep/er/tiny.gguf")
    answer = project.program("add", "tiny.gguf", cwd=path.parent)
    assert entries(project)["tiny"]["model_ref"] == "file:deep/er/tiny.gguf"
    assert f"{project.root}/models.yaml written" in answer.out


@pytest.mark.parametrize(
    "name",
    [
        "a b.gguf",
        "x:y.gguf",
        "#1.gguf",
        'say "a".gguf',
        "back\\slash.gguf",
        "~tilde.gguf",
        "%20.gguf",
        "\x07bell.gguf",
        "🦙.gguf",
        os.fsdecode(b"\xff.gguf"),
    ],
)
def test_any_name_of_a_file_can_be_added(project, name):
    project.add_tiny(name)
    project.program("add", name)
    passes(project, 1)
    assert os.fsencode(project.handoff()["model"]["path"]) == os.fsencode(f"{project.root}/{name}")


# ---- names


def test_the_first_of_several_is_a_name_where_nothing_here_is_called_so(project):
    for name in ("a.gguf", "b.gguf", "qwen"):
        project.add_tiny(name)
    project.write("b.gguf", OTHER)
    project.program("add", "mine", "a.gguf")
    assert list(entries(project)) == ["mine"]
    answer = project.program("add", "qwen", "b.gguf")  # a file is called qwen: both are models
    assert "added  qwen" in answer.out
    assert "added  b " in answer.out
    project.write("c.gguf", OTHER + bytes(32))
    project.program("add", "c.gguf", "--name", "qwen-c")
    assert list(entries(project)) == ["mine", "qwen", "b", "qwen-c"]


def test_a_missing_file_is_no_name(project):
    project.add_tiny("b.gguf")
    answer = project.program("add", "a.gguf", "b.gguf", code=1)
    assert "FAIL  file:a.gguf  there is no such file or folder" in answer.out
    assert "fix       did you mean b.gguf?" in answer.out
    assert list(entries(project)) == ["b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            [],
            "ERROR: add takes a REF, or several\n  where     the command line\n  expected  a file, a folder or a reference\n"
            "  found     none\n  fix       name the model: model-provisioner add ~/models/FILE.gguf\n",
        ),
        (
            ["--name", "x"],
            "ERROR: add takes a REF, or several\n  where     the command line\n  expected  a file, a folder or a reference\n"
            "  found     --name x alone\n  fix       name the model: model-provisioner add ~/models/FILE.gguf\n",
        ),
        (
            ["--name", "x", "a.gguf", "b.gguf"],
            "ERROR: one name is for one model\n  where     the command line\n  expected  one REF after the name 'x'\n"
            "  found     2 of them\n"
            "  fix       add them one by one, or leave the name out: then each is named after its file\n",
        ),
        (
            ["--name", "my model", "a.gguf"],
            "ERROR: not a name for a model\n  where     the command line\n"
            "  expected  a letter or digit, then letters, digits, dots, underscores and hyphens\n  found     my model\n"
            "  fix       choose a name of these characters: --name my-model\n",
        ),
        (
            ["a.gguf", "--engine", "vLLM"],
            "ERROR: not a name for an engine\n  where     --engine\n"
            "  expected  a small letter, then small letters, digits, underscores and hyphens\n  found     vLLM\n"
            "  fix       write the name as handoffs have it: llamacpp, vllm\n",
        ),
        (
            ["--name", "taken", "b.gguf"],
            "ERROR: the name 'taken' is taken\n  where     models.yaml:1\n  expected  a name that no other model has\n"
            "  found     local:ROOT/a.gguf\n  fix       choose another: --name b\n",
        ),
        (
            ["http://host/x.gguf"],
            "ERROR: models are not fetched over http:\n  expected  https://HOST/FILE\n  found     http://host/x.gguf\n"
            "  fix       write https://host/x.gguf\n",
        ),
    ],
)
def test_what_is_typed_wrong_has_a_sentence_and_changes_nothing(project, arguments, told):
    project.add_tiny("a.gguf")
    project.write("b.gguf", OTHER)
    path = project.models("models: {taken: {model_ref: 'file:a.gguf'}}\n")
    before = path.read_bytes()
    assert project.program("add", *arguments, code=3).err == told.replace("ROOT", str(project.root))
    assert path.read_bytes() == before
    if found := re.search(r"choose .*: (--name \S+)", told):  # the fix, tried
        project.program("add", *found[1].split(), arguments[-1])


# ---- what is there already


def test_what_is_there_is_told_and_not_doubled(project):
    project.add_tiny("a.gguf")
    project.program("add", "a.gguf")
    before = (project.root / "models.yaml").read_bytes()
    (project.root / "link.gguf").symlink_to("a.gguf")
    os.link(project.root / "a.gguf", project.root / "hard.gguf")
    for name in ("a.gguf", str(project.root / "a.gguf"), "./a.gguf", "link.gguf", "hard.gguf"):
        assert (
            project.program("add", name).out == f"there  a  file:{os.path.basename(name)} is in models.yaml already\n"
        )
        assert project.program("add", "other", name).out.startswith("there  a  ")
    assert (project.root / "models.yaml").read_bytes() == before


def test_a_file_that_is_given_twice_is_added_once(project):
    project.add_tiny("a.gguf")
    (project.root / "link.gguf").symlink_to("a.gguf")
    answer = project.program("add", "a.gguf", "./a.gguf", "link.gguf")
    assert answer.out.startswith("there  a  file:link.gguf is in models.yaml already\nadded  a  file:a.gguf")
    assert list(entries(project)) == ["a"]


def test_a_reference_of_the_hub_is_the_same_with_its_branch_and_as_a_url(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    remote.models({"t": "hf:org/tiny/tiny.gguf"})
    url = f"{remote.environ['HF_ENDPOINT']}/org/tiny/blob/main/tiny.gguf"
    for text in ("hf:org/tiny@main/tiny.gguf", "hf://org/tiny/tiny.gguf", url):
        assert remote.project.program("add", text).out.startswith("there  t  ")


def test_a_url_of_the_hub_is_added_as_it_was_pasted(remote, tmp_path):
    """So it needs no huggingface_hub, where it is one of a file."""
    with Hub({"org/tiny": {"c" * 40: {"tiny.gguf": TINY_BYTES}}}, tls=True) as hub:
        remote.environ.update(hub.environ(tmp_path / "another"))
        remote.models({})
        url = f"{hub.url}/org/tiny/blob/main/tiny.gguf"
        answer = remote.project.program("add", url.replace("//", "//user:hunter2@"), "--dry-run")
        assert "would add  tiny  hf:org/tiny@main/tiny.gguf" in answer.out
        assert "hunter2" not in answer.all
        remote.project.program("add", url)
        assert entries(remote.project) == {"tiny": {"model_ref": url}}
        passes(remote.project, 1)
        assert remote.project.handoff("tiny")["model"]["id"] == "hf:org/tiny/tiny.gguf"


def test_where_the_file_is_nearly_called_so_no_second_one_is_made(project):
    project.write("models.yml", "models: {}\n")
    project.add_tiny("a.gguf")
    assert project.program("add", "a.gguf", code=3).err.endswith("  fix       mv models.yml models.yaml\n")
    (project.root / "models.yml").rename(project.root / "models.yaml")
    project.program("add", "a.gguf")


# ---- what can't be added


def test_a_model_that_can_not_be_read_is_left_out_and_the_others_are_added(project, tiny_models):
    project.add_tiny("good.gguf")
    project.write("broken.gguf", b"GGUF but broken")
    (adapter,) = tiny_models.glob("*lora*.gguf")
    project.write("style.gguf", adapter.read_bytes())
    answer = project.program("add", "broken.gguf", "good.gguf", "style.gguf", code=1)
    assert "FAIL  file:broken.gguf  " in answer.out
    assert "FAIL  file:style.gguf  the model is an adapter\n" in answer.out
    assert "fix       name it under lora: of the model that it was made for" in answer.out
    assert list(entries(project)) == ["good"]
    assert "handoff" not in entries(project)["good"]
    passes(project, 1)


def test_where_all_fail_nothing_is_written(project):
    project.program("add", "nothing.gguf", code=1)
    assert os.listdir(project.root) == []


BROKEN = {
    "not YAML": "models: {a: [}\n",
    "an unknown field": "models: {}\nmodel: x\n",
    "a fault in an entry": "models: {a: {model_ref: 'http://x/y'}}\n",
    "a name that stands twice": "models: {}\nmodels: {}\n",
    "two documents": "models: {}\n---\nmodels: {}\n",
    "no mapping": "- a\n",
    "one model alone": "model_ref: 'file:a.gguf'\n",
    "null": "models: null\n",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_can_not_be_parsed_is_left_as_it_is(project, fault):
    path = project.models(BROKEN[fault])
    project.add_tiny("a.gguf")
    project.write("b.gguf", OTHER)
    answer = project.program("add", "b.gguf", code=3)
    assert answer.err.startswith("ERROR: ")
    assert "  fix       " in answer.err
    assert path.read_text() == BROKEN[fault]
    assert sorted(os.listdir(project.root)) == ["a.gguf", "b.gguf", "models.yaml"]


def test_one_model_alone_is_told_how_to_become_several(project):
    project.models("model_ref: 'file:a.gguf'\n")
    project.add_tiny("a.gguf")
    project.write("b.gguf", OTHER)
    assert project.program("add", "b.gguf", code=3).err == (
        "ERROR: the file is the document of one model, which has no place for more\n  where     models.yaml\n"
        "  expected  models:, and the entries by name\n  found     model_ref: at the top level\n"
        "  fix       put   models:   and a name above the fields of the one model, and indent them below it\n"
    )
    project.models("models:\n  a:\n    model_ref: 'file:a.gguf'\n")  # the fix, tried
    project.program("add", "b.gguf")


def test_a_link_is_told_and_nothing_is_written_through_it(project, tmp_path):
    target = tmp_path / "real.yaml"
    target.write_text("models: {}\n")
    (project.root / "models.yaml").symlink_to(target)
    project.add_tiny("a.gguf")
    assert project.program("add", "a.gguf", code=3).err == (
        "ERROR: models.yaml is a link, and nothing is added through a link\n"
        f"  where     {project.root}/models.yaml\n  expected  a file\n  found     a link to {target}\n"
        "  fix       put a copy of the file in the place of the link, or edit the file that it leads to\n"
    )
    assert (project.root / "models.yaml").is_symlink()
    assert target.read_text() == "models: {}\n"
    (project.root / "models.yaml").unlink()  # the fix, tried
    project.write("models.yaml", target.read_bytes())
    project.program("add", "a.gguf")


@pytest.mark.parametrize("name", ["models.yaml", "models.lock"])
def test_a_read_only_file_is_told_and_left(project, name):
    project.models("models: {}\n")
    project.add_tiny("a.gguf")
    project.program("lock")
    before = (project.root / name).read_bytes()
    (project.root / name).chmod(0o444)
    assert project.program("add", "a.gguf", code=2).err == (
        f"ERROR: {name} is read-only\n  where     {project.root}/{name}\n  expected  a file that you may write\n"
        "  found     -r--r--r--\n  fix       make it writable, if it is yours to change: chmod u+w\n"
    )
    assert (project.root / name).read_bytes() == before
    (project.root / name).chmod(0o644)  # the fix, tried
    project.program("add", "a.gguf")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_rights_of_the_file_stay(project, mode):
    path = project.models("models: {}\n")
    path.chmod(mode)
    project.add_tiny("a.gguf")
    project.program("add", "a.gguf")
    assert stat.S_IMODE(path.stat().st_mode) == mode


# ---- others who write at the same moment


def test_what_another_program_writes_meanwhile_is_kept(project, monkeypatch):
    project.models("models: {}\n")
    project.add_tiny("a.gguf")
    read, seen = adding._read, []

    def read_and_be_overtaken(path):
        found = read(path)
        seen.append(found)
        if len(seen) == 1:
            project.models("# another's\nmodels: {}\n")
        return found

    monkeypatch.setattr(adding, "_read", read_and_be_overtaken)
    project.program("add", "a.gguf")
    assert (project.root / "models.yaml").read_text().startswith("# another's\nmodels: {a: {model_ref: ")


def test_a_file_that_never_rests_is_told_and_left(project, monkeypatch):
    project.models("models: {}\n")
    project.add_tiny("a.gguf")
    read, count = adding._read, 0

    def read_and_be_overtaken(path):
        nonlocal count
        count += 1
        found = read(path)
        project.models(f"# {count}\nmodels: {{}}\n")
        return found

    monkeypatch.setattr(adding, "_read", read_and_be_overtaken)
    assert project.program("add", "a.gguf", code=2).err == (
        "ERROR: another program writes the file again and again\n"
        f"  where     {project.root}/models.yaml\n  expected  a moment of rest in 10 tries\n"
        "  found     other bytes each time\n"
        "  fix       end that program, or wait for it, and run this again; nothing was added\n"
    )
    assert (project.root / "models.yaml").read_text() == f"# {count}\nmodels: {{}}\n"


@pytest.mark.slow
def test_many_at_once_lose_nothing(project):
    names = [f"m{number}" for number in range(6)]
    for number, name in enumerate(names):
        project.write(f"{name}.gguf", TINY_BYTES + bytes(32 * number))
    project.models("models: {}  # none\n")
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "model_provisioner", "add", f"{name}.gguf"],
            cwd=project.root,
            env=project.surroundings(),
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for run in runs:
        assert run.wait(60) == 0, run.stderr.read()
        run.stderr.close()
    assert sorted(entries(project)) == names
    passes(project, 6)


# ---- references


def test_a_file_of_the_hub_is_locked_by_what_the_hub_says(remote, hub):
    commit = hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    project = remote.project
    answer = project.program("add", "hf:org/tiny/tiny.gguf", "--allow")
    assert answer.out == (
        f"added  tiny  hf:org/tiny/tiny.gguf  105.2 KB sha256:{TINY_SHA}\nallowed  127.0.0.1\n"
        "models.yaml and models.lock written: 1 model added; `model-provisioner provision` hands it off\n"
    )
    assert resolved(hub) == []
    assert yaml.safe_load((project.root / "models.yaml").read_text()) == {
        "network": {"allow": ["127.0.0.1"]},
        "models": {"tiny": {"model_ref": "hf:org/tiny/tiny.gguf"}},
    }
    assert json.loads(remote.lock.read_text())["models"]["tiny"] == {
        "ref": "hf:org/tiny/tiny.gguf",
        "kind": "file",
        "revision": commit,
        "files": [{"path": "tiny.gguf", "size": len(TINY_BYTES), "sha256": TINY_SHA}],
    }
    hub.add("org/tiny", {"tiny.gguf": OTHER})  # what was added is what is fetched
    project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(remote.cache)
    passes(project, 1)
    assert project.program("lock", "--check").out == "models.lock agrees: 1 model\n"


def test_a_host_that_is_not_allowed_is_not_asked(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    project = remote.project
    answer = project.program("add", "hf:org/tiny/tiny.gguf", code=1)
    assert answer.out == (
        "FAIL  hf:org/tiny/tiny.gguf  hf:org/tiny/tiny.gguf would have to be fetched, and the network is not allowed\n"
        "        where     hf:org/tiny/tiny.gguf\n"
        "        expected  127.0.0.1 among the hosts of network.allow\n"
        "        found     allow: []\n"
        "        fix       add --allow, if you trust 127.0.0.1\n"
    )
    assert hub.requests == []
    assert os.listdir(project.root) == []
    project.environ["MODEL_PROVISIONER_OFFLINE"] = "1"
    answer = project.program("add", "hf:org/tiny/tiny.gguf", "--allow", code=1)
    assert "this run is offline (MODEL_PROVISIONER_OFFLINE=1)" in answer.out
    assert "--allow" not in answer.out
    assert hub.requests == []


def test_a_host_that_is_allowed_is_not_written_again(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    remote.models({})
    before = (remote.root / "models.yaml").read_text()
    remote.project.program("add", "hf:org/tiny/tiny.gguf", "--allow")
    after = (remote.root / "models.yaml").read_text()
    assert after.replace('"tiny": {"model_ref": "hf:org/tiny/tiny.gguf"}', "") == before
    passes(remote.project, 1)


def test_what_a_source_keeps_no_digest_of_is_fetched(remote, web):
    web.files["/m/tiny.gguf"] = TINY_BYTES
    remote.models({}, allow=[])
    url = web.url("/m/tiny.gguf")
    answer = remote.project.program("add", url, "--allow")
    assert f"sha256:{TINY_SHA}" in answer.out
    assert remote.blobs() == {TINY_SHA}
    passes(remote.project, 1)


def test_of_an_object_of_s3_storage_its_host_is_allowed(project, s3, moto):
    client = moto.client()
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="m/tiny.gguf", Body=TINY_BYTES, ChecksumAlgorithm="SHA256")
    project.environ.update(
        s3.environ(
            HOME=str(project.root.parent / "home"), MODEL_PROVISIONER_CACHE_DIR=str(project.root.parent / "cache")
        )
    )
    assert "would have to be fetched" in project.program("add", "s3://models/m/tiny.gguf", code=1).out
    answer = project.program("add", "s3://models/m/tiny.gguf", "--allow")
    assert "allowed  127.0.0.1\n" in answer.out
    assert json.loads((project.root / "models.lock").read_text())["models"]["tiny"]["files"][0]["sha256"] == TINY_SHA
    passes(project, 1)


def test_a_url_may_be_longer_than_any_name_of_a_file(remote, web):
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.models({}, allow=["localhost"])
    url = web.url("/tiny.gguf?signature=" + "a" * 5000)
    remote.project.program("add", url)
    assert entries(remote.project) == {"tiny": {"model_ref": url}}
    passes(remote.project, 1)


def test_no_credential_of_a_url_is_shown(remote, web):
    web.files["/m/tiny.gguf"] = TINY_BYTES
    url = web.url("/m/tiny.gguf").replace("//", "//user:hunter2@") + "?token=hunter3"
    old = "https://user:hunter4@example.org/old.gguf?token=hunter5"
    remote.models({"old": {"model_ref": old, "expected_digest": f"sha256:{TINY_SHA}"}}, allow=["localhost"])
    for more in (["--dry-run"], ["--dry-run", "--json"], [], []):
        answer = remote.project.program("add", url, *more)
        assert "tiny" in answer.out
        assert "hunter" not in answer.all
    assert entries(remote.project)["tiny"]["model_ref"] == url
    assert "hunter" not in remote.lock.read_text()
    answer = remote.project.program("add", url.replace("m/", "n/"), code=1)
    assert "FAIL" in answer.out
    assert "hunter" not in answer.all


def test_in_a_project_with_a_lock_local_models_are_locked_too(project):
    project.models("models: {}\n")
    project.program("lock")
    project.add_tiny("a.gguf")
    project.program("add", "a.gguf")
    assert project.program("lock", "--check").out == "models.lock agrees: 1 model\n"
    assert "1 done" in project.program("provision", "--locked").out


@pytest.mark.parametrize(
    ("place", "program"),
    [
        (f".ollama/models/blobs/sha256-{TINY_SHA}", "Ollama"),
        (f".cache/huggingface/hub/models--org--tiny/blobs/{TINY_SHA}", "the Hugging Face cache"),
        (".lmstudio/models/org/tiny/tiny.gguf", "LM Studio"),
    ],
)
def test_what_another_program_has_is_named(remote, hub, place, program):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    remote.models({})
    remote.environ["HF_HOME"] = str(remote.home / ".cache/huggingface")
    (remote.home / place).parent.mkdir(parents=True)
    (remote.home / place).write_bytes(TINY_BYTES)
    out = remote.project.program("add", "hf:org/tiny/tiny.gguf").out
    assert f"      note: {program} seems to have it: it is copied from there if it is the same\n" in out
    passes(remote.project, 1)
    assert resolved(hub) == []


# ---- a repository of several


SEVERAL = {"m-Q4_K_M.gguf": TINY_BYTES, "m-Q8_0.gguf": OTHER, "mmproj-F16.gguf": OTHER, "README.md": b"#"}


@pytest.fixture
def several(remote, hub):
    hub.add("org/Tiny-GGUF", SEVERAL)
    remote.models({})
    return remote.project


def test_without_a_terminal_the_list_is_told(several, hub):
    before = (several.root / "models.yaml").read_bytes()
    answer = several.program("add", "hf:org/Tiny-GGUF", code=3)
    assert answer.err == (
        "ERROR: the repository offers 2 GGUFs, and one has to be named\n"
        "  where     hf:org/Tiny-GGUF\n"
        "  expected  a quantization or a file\n"
        "  found     hf:org/Tiny-GGUF:Q4_K_M (105.2 KB), hf:org/Tiny-GGUF:Q8_0 (105.3 KB)\n"
        "  fix       name one of them: model-provisioner add hf:org/Tiny-GGUF:Q4_K_M\n"
    ).replace("105.3 KB", f"{len(OTHER) / 1e3:.1f} KB")
    assert (several.root / "models.yaml").read_bytes() == before
    assert resolved(hub) == []
    several.program("add", "hf:org/Tiny-GGUF:Q4_K_M")  # the fix, tried
    assert entries(several) == {"Tiny-Q4_K_M": {"model_ref": "hf:org/Tiny-GGUF:Q4_K_M"}}
    passes(several, 1)


def at_a_terminal(project, answer, *arguments):
    """Run the program at a terminal, type an answer where it asks; return what was shown, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "model_provisioner", *arguments],
        cwd=project.root,
        env=project.surroundings(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, asked = b"", False
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
        if b"which one?" in shown and not asked:
            asked = True
            os.write(ours, answer)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "chosen"), [(b"2\n", "Q8_0"), (b"q4_k_m\n", "Q4_K_M")])
def test_at_a_terminal_one_is_chosen(several, answer, chosen):
    shown, code = at_a_terminal(several, answer, "add", "hf:org/Tiny-GGUF")
    assert code == 0, shown
    assert "hf:org/Tiny-GGUF offers\n   1  Q4_K_M   105.2 KB  hf:org/Tiny-GGUF:Q4_K_M\n" in shown
    assert entries(several) == {f"Tiny-{chosen}": {"model_ref": f"hf:org/Tiny-GGUF:{chosen}"}}


@pytest.mark.slow
def test_at_a_terminal_another_answer_changes_nothing(several):
    before = (several.root / "models.yaml").read_bytes()
    shown, code = at_a_terminal(several, b"9\n", "add", "hf:org/Tiny-GGUF")
    assert code == 3
    assert "ERROR: nothing was chosen\n" in shown
    assert (several.root / "models.yaml").read_bytes() == before


def test_the_only_gguf_is_taken(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES, "mmproj.gguf": OTHER})
    remote.models({})
    remote.project.program("add", "hf:org/tiny")
    assert entries(remote.project) == {"tiny": {"model_ref": "hf:org/tiny/tiny.gguf"}}


def test_a_repository_without_a_gguf_is_told(remote, hub):
    hub.add("org/tiny", {"config.json": b"{}", "mmproj.gguf": OTHER})
    remote.models({})
    before = (remote.root / "models.yaml").read_bytes()
    assert remote.project.program("add", "hf:org/tiny", code=3).err == (
        "ERROR: the repository has no GGUF that is a model\n  where     hf:org/tiny\n"
        "  expected  at least one .gguf beside projectors and importance matrices\n  found     2 other files\n"
        "  fix       name a repository with GGUFs, or an engine that loads this one: "
        "model-provisioner add hf:org/tiny --engine vllm\n"
    )
    assert (remote.root / "models.yaml").read_bytes() == before
    remote.project.program("add", "hf:org/tiny", "--engine", "vllm", code=None)  # the fix, tried


def test_a_repository_for_another_engine_is_added_whole(remote, hub):
    files = {"config.json": b'{"model_type": "llama"}', "model.safetensors": (2).to_bytes(8, "little") + b"{}"}
    hub.add("org/whole", files)
    remote.models({})
    remote.project.program("add", "hf:org/whole", "--engine", "vllm")
    assert entries(remote.project) == {"whole": {"model_ref": "hf:org/whole", "engine": "vllm"}}
    passes(remote.project, 1)
    assert remote.bytes_of("whole") == files


# ---- to look before


def test_a_dry_run_prints_the_difference_and_writes_nothing(project):
    before = project.models("models:\n  x: {model_ref: 'file:x.gguf'}").read_bytes()
    project.add_tiny("a.gguf")
    assert project.program("add", "a.gguf", "--dry-run").out == (
        "--- models.yaml\n+++ models.yaml\n@@ -1,2 +1,6 @@\n models:\n-  x: {model_ref: 'file:x.gguf'}\n"
        "\\ No newline at end of file\n+  x: {model_ref: 'file:x.gguf'}\n+  a:\n"
        f'+    model_ref: "file:a.gguf"\n+    expected_digest: "sha256:{TINY_SHA}"\n'
        '+    handoff: "{runtime_dir}/engines/{name}.json"\n\\ No newline at end of file\n'
        f"would add  a  file:a.gguf  105.2 KB sha256:{TINY_SHA}\n"
    )
    assert (project.root / "models.yaml").read_bytes() == before
    assert sorted(os.listdir(project.root)) == ["a.gguf", "models.yaml"]


def test_a_dry_run_of_a_remote_model_shows_its_lock_and_fetches_nothing(remote, hub, web):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    web.files["/x.gguf"] = OTHER
    out = remote.project.program("add", "hf:org/tiny/tiny.gguf", web.url("/x.gguf"), "--allow", "--dry-run").out
    assert f'"sha256": "{TINY_SHA}"' in out
    assert f"would add  x  {web.url('/x.gguf')}\n" in out
    assert "would allow  127.0.0.1\n" in out
    assert resolved(hub) == []
    assert os.listdir(remote.root) == []


def test_the_answer_as_json(project):
    project.add_tiny("a.gguf")
    found = document(project.program("add", "a.gguf", "missing.gguf", "--json", code=1))
    answer = found["result"]
    assert [error["code"] for error in found["errors"]] == ["ModelNotFoundError"]
    assert answer["added"] == [
        {"name": "a", "model_ref": "file:a.gguf", "digest": f"sha256:{TINY_SHA}", "size_bytes": len(TINY_BYTES)}
    ]
    assert list(answer["failed"]) == ["file:missing.gguf"]
    assert answer["there"] == []
    assert answer["config"] == str(project.root / "models.yaml")

"""The advice of a message is followed to the letter, as a user does it, and then the next run passes."""

import json
import os
import re
import shlex
import shutil
import stat

import pytest
import yaml

from tests.support.fixtures import hub, remote, tiny, trusted, web  # noqa: F401
from tests.support.project import DODO, TINY, Project, read_only, settle
from tests.support.remote import FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, sha256

WRONG = "0" * 64
OTHER = TINY_BYTES + bytes(32)
"""A sound model of other bytes: what follows the last tensor is padding."""
PARTS = ("where", "expected", "found", "fix")


def fixes(answer):
    """Return the advice of every error in an answer."""
    return re.findall(r"^ *fix       (.*)$", answer.all, re.MULTILINE)


def fix(answer):
    (found,) = fixes(answer)
    return found


def commands(text):
    """Return the doit commands of an advice, in their order, each as its words."""
    return [shlex.split(found)[1:] for found in re.findall(r"`(doit [^`]+)`", text)]


def put(project: Project, name: str, text: str) -> None:
    """Put the line of YAML that an advice shows into the entry, with its own reference for the dots."""
    path = project.root / "models.yaml"
    document = yaml.safe_load(path.read_bytes())
    entry = document["models"][name]
    (line,) = re.findall(r"put   (.*?)   into models\.yaml", text)
    for field, value in yaml.safe_load(line.replace("…", '"…"')).items():
        if isinstance(value, dict):
            there = entry[field] if isinstance(entry[field], str) else entry[field]["model_ref"]
            value = {**value, "model_ref": there}
        entry[field] = value
    path.write_text(json.dumps(document))


def follow(project: Project, name: str, text: str) -> None:
    """Do what an advice says: each line that it has, then each command."""
    if "put   " in text:
        put(project, name, text)
    for words in commands(text):
        project.doit(*words)


@pytest.fixture
def local(project):
    """A project of one model with a projector, neither of which anybody pins."""
    project.write("dodo.py", DODO)
    project.add_tiny()
    project.write("models/see.gguf", PROJECTOR)
    project.models("models: {t: {model_ref: models/tiny.gguf, mmproj: models/see.gguf}}")
    settle()
    return project


def _projector() -> bytes:
    from tests.support.gguf_bytes import gguf, text

    return gguf({"general.architecture": text("clip"), "general.type": text("mmproj")}, [])


PROJECTOR = _projector()


def pinned(project, **fields):
    entry = {"model_ref": "models/tiny.gguf", **fields}
    project.models(json.dumps({"models": {"t": entry}}))


# ---- bytes that are not the expected ones, and right


@pytest.mark.parametrize("how", ["written", "locked", "both"])
def test_new_bytes_of_a_model_are_accepted_as_the_message_says(local, how):
    pinned(local, **({} if how == "locked" else {"expected_digest": f"sha256:{TINY_SHA}"}))
    local.provision()
    if how != "written":
        local.doit("model-lock")
    local.write("models/tiny.gguf", OTHER)
    answer = local.provision(code=1)
    assert "the digest differs from what is expected" in answer.out
    follow(local, "t", fix(answer))
    assert "pass  t" in local.provision().out
    assert local.rows()["t"]["digest"] == "sha256:" + sha256(OTHER)


@pytest.mark.parametrize("locked", [False, True], ids=["not locked", "locked"])
def test_new_bytes_of_a_companion_are_accepted_as_the_message_says(local, locked):
    digest = f"sha256:{sha256(PROJECTOR)}"
    pinned(
        local,
        expected_digest=f"sha256:{TINY_SHA}",
        mmproj="models/see.gguf" if locked else {"model_ref": "models/see.gguf", "expected_digest": digest},
    )
    if locked:
        local.doit("model-lock")
    local.provision()
    local.write("models/see.gguf", PROJECTOR + bytes(32))
    answer = local.provision(code=1)
    assert "the digest of mmproj see.gguf differs from what is expected" in answer.out
    follow(local, "t", fix(answer))
    assert "pass  t" in local.provision().out


@pytest.mark.parametrize("which", ["models.yaml", "the lock file"])
def test_a_digest_that_the_lock_contradicts_is_set_right_on_either_side(local, which):
    pinned(local)
    local.doit("model-lock")
    if which == "models.yaml":
        local.write("models/tiny.gguf", OTHER)
    pinned(local, expected_digest=f"sha256:{sha256(OTHER)}")
    answer = local.provision(code=3)
    if which == "models.yaml":
        assert f"if {which} is right, run `doit model-lock --upgrade t`" in fix(answer)
        follow(local, "t", fix(answer))
    else:
        assert f"if {which} is, take expected_digest out of models.yaml" in fix(answer)
        pinned(local)
    assert "pass  t" in local.provision().out


@pytest.mark.parametrize("companion", [False, True], ids=["alone", "beside a companion"])
@pytest.mark.parametrize("locked", [False, True], ids=["not locked", "locked"])
def test_bytes_that_changed_silently_are_accepted_as_the_message_says(local, companion, locked):
    if not companion:
        pinned(local)
    if locked:
        local.doit("model-lock")
    local.provision()
    path = local.root / "models/tiny.gguf"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(FLIPPED)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    answer = local.provision("--full", code=1)
    assert "the bytes changed, though size and modification time did not" in answer.out
    follow(local, "t", fix(answer))
    local.provision()
    local.provision("--full")
    assert local.rows()["t"]["digest"] == "sha256:" + sha256(FLIPPED)


def test_a_run_that_requires_digests_names_the_lines_that_it_wants(local):
    for _ in range(2):  # the model, then its projector
        follow(local, "t", fix(local.provision("--require-digest", code=1)))
    assert "pass  t" in local.provision("--require-digest").out


def test_the_lines_that_a_run_offers_pin_the_model_and_its_companions(local):
    lines = re.findall(r"to pin these bytes add   (.*)$", local.provision().out, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        put(local, "t", f"put   {line}   into models.yaml")
    assert "pass  t" in local.provision().out


def test_a_digest_of_another_kind_is_left_out_once(local):
    pinned(local, expected_digest=f"dirhash:{WRONG}")
    assert "leave expected_digest out once: the run prints the digest to put there" in fix(local.provision(code=1))
    pinned(local)
    (line,) = re.findall(r"add   (expected_digest: .*)$", local.provision().out, re.MULTILINE)
    put(local, "t", f"put   {line}   into models.yaml")
    assert "pass  t" in local.provision().out


@pytest.mark.parametrize("how", ["written", "locked", "both"])
def test_new_bytes_of_a_source_are_accepted_as_the_message_says(remote, web, how):  # noqa: F811
    web.files["/x.gguf"] = TINY_BYTES
    pin = {} if how == "locked" else {"expected_digest": f"sha256:{TINY_SHA}"}
    remote.models({"x": {"model_ref": web.url("/x.gguf"), **pin}})
    if how != "written":
        remote.doit("model-lock")
    web.files["/x.gguf"] = OTHER
    remote.empty_cache() if remote.cache.exists() else None
    answer = remote.provision(code=1)
    text = fix(answer)
    if "take expected_digest out of models.yaml" in text:
        remote.models({"x": web.url("/x.gguf")})
    follow(remote.project, "x", text)
    remote.provision()
    assert remote.bytes_of("x") == OTHER


def test_a_file_of_which_nobody_says_how_long_it_is_is_fetched_with_its_digest(remote, web):  # noqa: F811
    web.files["/x.gguf"] = TINY_BYTES
    web.manners.no_length = True
    remote.models({"x": web.url("/x.gguf")})
    answer = remote.provision(code=1)
    assert fix(answer).startswith("give its expected_digest")
    remote.models({"x": {"model_ref": web.url("/x.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "pass  x" in remote.provision().out


# ---- what is gone


def test_a_blob_that_was_deleted_is_fetched_again(tiny, hub):  # noqa: F811
    tiny.provision()
    os.unlink(os.path.realpath(tiny.path("tiny")))
    assert tiny.project.why("tiny") == ["a fetched file is gone from the store"]
    (found,) = [each for each in fixes(tiny.doit("model-check", code=1)) if "fetches what is missing" in each]
    follow(tiny.project, "tiny", found)
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_name_that_was_mistyped_is_told_as_it_is(local):
    local.models("models: {t: {model_ref: models/tinny.gguf}}")
    (meant,) = re.findall(r"did you mean (.*)\?", fix(local.provision(code=1)))
    local.models(f"models: {{t: {{model_ref: models/{meant}}}}}")
    local.provision()


# ---- folders that can't be written


def test_a_project_that_can_not_be_written_is_served_from_a_folder_that_can(local, tmp_path):
    code, said = local.mounted(read_only(local.root), "provision")
    assert code == 2
    assert "set MODEL_PROVISIONER_RUNTIME_DIR to a folder that you can write" in said
    folder = tmp_path / "served"
    folder.mkdir()
    code, said = local.mounted(
        f"export MODEL_PROVISIONER_RUNTIME_DIR={shlex.quote(str(folder))} && {read_only(local.root)}", "provision"
    )
    assert code == 0, said
    assert (folder / "engines/llamacpp.json").exists()


def test_a_lock_that_can_not_be_written_is_brought_from_another_checkout(local, tmp_path):
    code, text = local.mounted(read_only(local.root), "model-lock")
    assert code == 2
    assert "run `doit model-lock` in another checkout and bring its lock" in text
    shutil.copytree(local.root, tmp_path / "other")
    local.doit("model-lock", cwd=tmp_path / "other")
    shutil.copy(tmp_path / "other/models.lock", local.root)
    assert "pass  t" in local.provision("--locked").out


def test_a_runtime_dir_outside_the_project_is_for_the_environment_to_name(local, tmp_path):
    local.models(f"runtime_dir: {tmp_path}/served\nmodels: {{t: {{model_ref: models/tiny.gguf}}}}\n")
    assert "MODEL_PROVISIONER_RUNTIME_DIR" in fix(local.provision(code=3))
    local.models("models: {t: {model_ref: models/tiny.gguf}}\n")
    local.environ["MODEL_PROVISIONER_RUNTIME_DIR"] = f"{tmp_path}/served"
    local.provision()
    assert (tmp_path / "served/engines/llamacpp.json").exists()


def test_a_state_folder_that_others_can_write_is_closed_by_the_command_that_is_told(local):
    local.provision()
    local.state.chmod(0o777)
    words = shlex.split(fix(local.provision(code=2)))
    assert words == ["chmod", "700", str(local.state)]
    os.chmod(words[2], int(words[1], 8))
    local.provision()
    assert stat.S_IMODE(local.state.stat().st_mode) == 0o700


# ---- commands


def test_a_model_that_was_retired_comes_back_by_the_command_that_is_told(local):
    local.provision()
    local.doit("model-retire", "t")
    answer = local.provision("t", code=None)
    (command,) = set(re.findall(r"doit model-retire --undo t", answer.all))
    local.doit(*shlex.split(command)[1:])
    local.provision()
    assert local.handoff() is not None


def test_a_model_that_was_never_provisioned_is_verified_after_the_command_that_is_told(local):
    answer = local.doit("model-verify", "t", code=3)
    local.doit(*shlex.split(fix(answer))[1:])
    local.doit("model-verify", "t")


# ---- references


def test_an_endpoint_without_its_scheme_is_set_by_the_command_that_is_told(tiny):  # noqa: F811
    url = tiny.environ["HF_ENDPOINT"]
    tiny.environ["HF_ENDPOINT"] = url.removeprefix("http://")
    answer = tiny.provision(code=3)
    text = fix(answer)
    assert text == f"export HF_ENDPOINT=https://{url.removeprefix('http://')}"
    tiny.environ["HF_ENDPOINT"] = url  # the Hub of this test is one of http:
    tiny.provision()


def test_a_folder_of_a_repository_is_written_as_it_is_told(tiny):  # noqa: F811
    tiny.models({"tiny": {"model_ref": f"{tiny.environ['HF_ENDPOINT']}/org/tiny/tree/main/sub", "engine": "vllm"}})
    told = yaml.safe_load(fix(tiny.provision(code=3)).partition(":   ")[2])
    tiny.models({"tiny": {**told, "include": [*told["include"], "*.gguf"], "engine": "vllm"}})
    tiny.provision()
    assert sorted(tiny.bytes_of("tiny")) == ["sub/more.json", "tiny.gguf"]


def test_a_switch_is_set_by_the_command_that_is_told(tiny):  # noqa: F811
    tiny.environ["MODEL_PROVISIONER_OFFLINE"] = "ture"
    name, _, value = fix(tiny.provision(code=3)).partition(",")[0].removeprefix("export ").partition("=")
    tiny.environ[name] = value
    assert f"this run is offline ({name}={value})" in tiny.provision(code=1).out


def test_a_revision_with_a_slash_is_written_as_it_is_told(tiny, hub):  # noqa: F811
    hub.add("org/tiny", REPO, branch="refs/pr/1")
    tiny.models({"tiny": "hf:org/tiny@refs/pr/1/tiny.gguf"})
    text = fix(tiny.provision(code=3))
    tiny.models({"tiny": text.removeprefix("write ")})
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_branch_with_a_slash_is_written_with_its_percents(tiny, hub):  # noqa: F811
    hub.add("org/tiny", REPO, branch="new/x")
    tiny.models({"tiny": "hf:org/tiny@new/x/tiny.gguf"})
    assert "with %2F for each slash" in fix(tiny.provision(code=1))
    tiny.models({"tiny": "hf:org/tiny@new%2Fx/tiny.gguf"})
    tiny.provision()


def test_a_token_in_typographic_quotes_is_copied_without_them(tiny):  # noqa: F811
    tiny.environ["HF_TOKEN"] = "“hf_good”"
    answer = tiny.provision(code=3)
    assert "without quotes around it" in fix(answer)
    assert "hf_good" not in answer.all
    assert b"hf_good" not in tiny.everything()
    tiny.environ["HF_TOKEN"] = "hf_good"
    tiny.provision()


@pytest.mark.parametrize("text", ["//user:s3cret@localhost/x.gguf", "user:s3cret@localhost/x.gguf"])
@pytest.mark.parametrize("place", ["model_ref", "mmproj", "network", "twice"])
def test_the_secret_of_a_url_without_its_scheme_reaches_nothing(remote, text, place):  # noqa: F811
    entry = {
        "model_ref": text if place in {"model_ref", "twice"} else ONE,
        **({"mmproj": text} if place != "model_ref" else {}),
    }
    remote.models({"x": entry}, allow=[text] if place == "network" else [])
    answer = remote.provision(code=3)
    for command in (["model-list"], ["model-check"], ["model-why", "x"]):
        answer = remote.doit(*command, code=None)
        assert "s3cret" not in answer.all
    assert b"s3cret" not in remote.everything()


# ---- lines and words of models.yaml


def said(text):
    """Return the line or word of YAML that an advice shows."""
    return re.search(r".*(?:write|add|to defaults:|in quotes:) +(.*)$", text)[1]


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("", "", "{}"),
        ("{models: {t: {model_ref: x}}, cache: {max_size: much}}", "cache: {max_size: much}", "{}"),
        ("{models: {t: {engine: llamacpp}}}", "engine: llamacpp", "{}"),
        ("{models: {t: {model_reff: models/tiny.gguf}}}", "model_reff", "{}"),
        ("{model: {t: {model_ref: models/tiny.gguf}}}", "model:", "models:"),
        ("{models: {t: {model_ref: 'name:x.gguf'}}}", "name:x.gguf", "{}"),
        ("{models: {t: {model_ref: models/tiny.gguf, expected_digest: '" + TINY_SHA + "'}}}", TINY_SHA, "{}"),
        ("{models: {7: {model_ref: models/tiny.gguf}}}", "7:", "{}:"),
        (
            "{models: {t: {model_ref: models/tiny.gguf}, u: {model_ref: models/tiny.gguf}}}",
            "u: {",
            "u: {{{}, ",
        ),
        (
            "{models: {t: {model_ref: models/tiny.gguf}}, network: {allow: ['https://hub.example/x']}}",
            "'https://hub.example/x'",
            "hub.example",
        ),
    ],
)  # fmt: skip
def test_a_line_that_a_fault_shows_mends_it(local, text, old, new):
    local.add_tiny()
    for name in ("name:x.gguf", "x"):
        local.write(name, TINY_BYTES)
    local.models(text)
    (advice, *_) = fixes(local.provision(code=3))
    local.models(text.replace(old, new.format(said(advice) if "{" in new else ""), 1) if old else said(advice))
    local.provision()


# ---- the five parts of an error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models: {t: {model_ref: ''}}",
        "models: {t: {}}",
        "models: {t: {model_ref: a, model_ref: b}}",
        "models: {t: {model_ref: a}\n",
        "models: {t: {model_ref: a}}\n---\nmodels: {}\n",
        "models:\n\tt: {model_ref: a}\n",
        "models: {t: *gone}",
        "models: &a {t: *a}",
        "a: &a [" + "x, " * 900 + "]\nb: &b [" + "*a, " * 900 + "]\nc: [" + "*b, " * 900 + "]\n",
        "[" * 200 + "]" * 200,
        "models: {t: !!python/object:os.system {}}",
        "models: {1: {model_ref: a}}",
        "models: {[a]: {model_ref: a}}",
        "models: {t: {<<: a, model_ref: a}}",
        'models: {t: {model_ref: "\\0"}}',
        "models: {t: {model_ref: a\0}}",
        "models: {t: {model_ref: !!int x}}",
        "models: {t: {model_ref: 7}}",
        "models: {t: {model_ref: a, modle: b}}",
        "models: {t: {model_ref: a, expected_digest: x}}",
        "models: {'a b': {model_ref: a}}",
        "model_ref: a\nmodels: {t: {model_ref: a}}\n",
        "cache: {max_size: much}\nmodels: {t: {model_ref: a}}\n",
        "models: {t: {model_ref: a, handoff: '{x}.json'}}",
    ],
)  # fmt: skip
def test_a_fault_of_models_yaml_has_its_five_parts(project, text):
    project.models(text)
    (error, *_) = project.provision(code=3).err.partition("\n\n")[2].split("\n\n")
    assert [line.split()[0] for line in error.splitlines()[1:]] == list(PARTS), error


def test_a_file_that_is_missing_has_its_five_parts(project):
    project.models("models: {t: {model_ref: gone.gguf}}")
    said = project.provision(code=1).out
    assert [line.split()[0] for line in said.splitlines()[1:5]] == list(PARTS), said


@pytest.mark.parametrize("ref", ["hf:org/none/x.gguf", "hf:org/tiny@none/x.gguf", "hf:org/tiny/none.gguf", "web"])
def test_what_a_source_does_not_have_has_its_five_parts(tiny, web, ref):  # noqa: F811
    tiny.models({"x": web.url("/x.gguf") if ref == "web" else ref})
    said = tiny.provision(code=1).out
    assert [line.split()[0] for line in said.splitlines()[1:5]] == list(PARTS), said


# ---- reasons


def test_a_second_entry_that_shares_a_blob_is_told_so(remote, hub):  # noqa: F811
    hub.add("org/tiny", REPO)
    hub.add("org/copy", REPO)
    remote.models({"a": ONE})
    remote.provision()
    remote.models({"a": ONE, "b": {"model_ref": "hf:org/copy/tiny.gguf", "expected_digest": f"sha256:{TINY_SHA}"}})
    assert remote.project.why("b")[0] == "the bytes of the model are here, and not yet under its name"
    assert "(found in the store)" in remote.provision("b").out


def test_what_a_lock_changed_is_told_as_that(local):
    pinned(local)
    local.doit("model-lock")
    local.provision()
    local.write("models/tiny.gguf", OTHER)
    settle()
    local.doit("model-lock", "--upgrade", "t")
    reasons = local.why("t")
    assert "the lock file has another digest" in reasons
    assert "digest target of other files" in reasons
    assert not any("edited" in reason for reason in reasons)


def test_a_model_that_a_task_made_is_told_as_made(local):
    local.write(
        "dodo.py",
        DODO + "def task_make():\n"
        "    return {'actions': ['cp models/tiny.gguf made.gguf'], 'targets': ['made.gguf'],\n"
        "            'file_dep': ['models/tiny.gguf']}\n",
    )
    local.models("models: {m: {model_ref: made.gguf}}")
    out = local.provision().out
    assert "no such file" not in out
    assert TINY.stat().st_size == (local.root / "made.gguf").stat().st_size

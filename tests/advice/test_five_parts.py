"""The five parts of an error as they are printed, the words of a reason, and what no message says."""

import pytest

from tests.support.advice import PARTS
from tests.support.project import DODO, TINY, settle
from tests.support.remote import ONE, REPO, TINY_BYTES, TINY_SHA
from tests.advice.test_digests import OTHER, pinned


@pytest.mark.parametrize("text", ["//user:s3cret@localhost/x.gguf", "user:s3cret@localhost/x.gguf"])
@pytest.mark.parametrize("place", ["model_ref", "mmproj", "network", "twice"])
def test_the_secret_of_a_url_without_its_scheme_reaches_nothing(remote, text, place):
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
    assert [line.split()[0] for line in error.splitlines()[1:]] == PARTS, error


def test_a_file_that_is_missing_has_its_five_parts(project):
    project.models("models: {t: {model_ref: gone.gguf}}")
    said = project.provision(code=1).out
    assert [line.split()[0] for line in said.splitlines()[1:5]] == PARTS, said


@pytest.mark.parametrize("ref", ["hf:org/none/x.gguf", "hf:org/tiny@none/x.gguf", "hf:org/tiny/none.gguf", "web"])
def test_what_a_source_does_not_have_has_its_five_parts(tiny, web, ref):
    tiny.models({"x": web.url("/x.gguf") if ref == "web" else ref})
    said = tiny.provision(code=1).out
    assert [line.split()[0] for line in said.splitlines()[1:5]] == PARTS, said


# ---- reasons


def test_a_second_entry_that_shares_a_blob_is_told_so(remote, hub):
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
    assert "checksum file of other files" in reasons
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

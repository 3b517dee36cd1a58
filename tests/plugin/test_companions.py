"""Projectors and adapters: part of what an entry stands for, from the fetch to the handoff, through doit's command line."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest

from tests.support.gguf_bytes import gguf, text, u32
from tests.support.project import TINY, settle
from tests.support.remote import TINY_BYTES, TINY_SHA, resolved

PROJECTOR = gguf(
    {
        "general.architecture": text("clip"),
        "general.type": text("mmproj"),
        "clip.vision.projection_dim": u32(64),
    }
)
PROJECTOR_SHA = hashlib.sha256(PROJECTOR).hexdigest()
WRONG = "0" * 64


@pytest.fixture
def lora(tiny_models) -> bytes:
    return (tiny_models / "tiny-llama-lora.gguf").read_bytes()


@pytest.fixture
def tiny(project, lora):
    """A project of one model with a projector and an adapter, all at rest."""
    project.add_tiny("tiny.gguf")
    project.write("see.gguf", PROJECTOR)
    project.write("my styles/style.gguf", lora)
    project.models(ENTRY)
    settle()
    return project


ENTRY = "models: {tiny: {model_ref: tiny.gguf, mmproj: see.gguf, lora: ['my styles/style.gguf']}}\n"


def entry(**fields):
    beside = {"mmproj": "see.gguf", "lora": ["my styles/style.gguf"]}
    return json.dumps({"models": {"tiny": {"model_ref": "tiny.gguf", **beside, **fields}}})


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ---- what an engine gets


def test_what_is_handed_off(tiny, lora):
    tiny.provision()
    root = tiny.root
    handoff = tiny.handoff()
    assert handoff["model"] == {
        "id": f"local:{root}/tiny.gguf",
        "path": f"{root}/tiny.gguf",
        "companions": [
            {"role": "mmproj", "id": f"local:{root}/see.gguf", "path": f"{root}/see.gguf"},
            {"role": "lora", "id": f"local:{root}/my styles/style.gguf", "path": f"{root}/my styles/style.gguf"},
        ],
    }
    files = [
        ("model", f"{root}/tiny.gguf", TINY_BYTES),
        ("mmproj", f"{root}/see.gguf", PROJECTOR),
        ("lora", f"{root}/my styles/style.gguf", lora),
    ]
    assert handoff["metadata"]["files"] == [
        {"role": role, "path": path, "sha256": sha(data), "size_bytes": len(data)} for role, path, data in files
    ]
    assert handoff["metadata"]["size_bytes"] == sum(len(data) for _, _, data in files)
    assert handoff["metadata"]["digest"] == {"algo": "sha256", "value": TINY_SHA}
    target = root / ".runtime/digests/tiny.sha256"
    assert target.read_text() == "".join(f"{sha(data)}  {path}\n" for _, path, data in files)
    subprocess.run(["sha256sum", "-c", "--quiet", target], check=True)


def test_without_companions_the_handoff_says_nothing_of_them(tiny):
    tiny.models("models: {tiny: {model_ref: tiny.gguf}}")
    tiny.provision()
    assert set(tiny.handoff()["model"]) == {"id", "path"}
    assert "companions" not in tiny.provenance()[0]


def test_the_log_tells_what_each_of_them_was(tiny, lora):
    tiny.models(entry(expected_digest=f"sha256:{TINY_SHA}", lora=[]))
    tiny.provision()
    (line,) = tiny.provenance()
    assert (line["digest"], line["outcome"]) == (f"sha256:{TINY_SHA}", "warn")
    assert line["companions"] == [
        {
            "role": "mmproj",
            "id": f"local:{tiny.root}/see.gguf",
            "path": f"{tiny.root}/see.gguf",
            "digest": f"sha256:{PROJECTOR_SHA}",
            "outcome": "warn",
        }
    ]


# ---- contract 4, for a companion as for the model


def test_what_has_no_digest_is_told_each_by_itself(tiny, lora):
    tiny.models(entry(expected_digest=f"sha256:{TINY_SHA}"))
    lines = tiny.provision().out.splitlines()
    assert lines[0].startswith("warn  tiny  hashed 116.4 KB (")
    assert lines[1:3] == [
        "      no digest is expected of mmproj see.gguf; `doit model-lock` pins all models; to pin these bytes add   mmproj: {model_ref: …, "
        f'expected_digest: "sha256:{PROJECTOR_SHA}"}}',
        "      no digest is expected of lora style.gguf; `doit model-lock` pins all models; to pin these bytes add   lora: {model_ref: …, "
        f'expected_digest: "sha256:{sha(lora)}"}}',
    ]
    assert tiny.handoff()["metadata"]["verification"] == "warn"


def pinned(style, **digests):
    told = {"model": TINY_SHA, "mmproj": PROJECTOR_SHA, "lora": sha(style), **digests}
    return {
        "expected_digest": f"sha256:{told['model']}",
        "mmproj": {"model_ref": "see.gguf", "expected_digest": f"sha256:{told['mmproj']}"},
        "lora": {"model_ref": "my styles/style.gguf", "expected_digest": f"sha256:{told['lora']}"},
    }


def test_all_as_expected_is_pass(tiny, lora):
    tiny.models(entry(**pinned(lora)))
    assert tiny.provision("--require-digest").out.startswith("pass  tiny  hashed 116.4 KB (")
    assert tiny.rows()["tiny"]["outcome"] == "pass"


@pytest.mark.parametrize("which", ["mmproj", "lora"])
def test_a_strict_mismatch_of_a_companion_fails_and_withdraws(tiny, lora, which):
    tiny.provision()
    tiny.models(entry(**pinned(lora, **{which: WRONG})))
    answer = tiny.provision(code=1)
    path, found = {
        "mmproj": (f"{tiny.root}/see.gguf", PROJECTOR_SHA),
        "lora": (f"{tiny.root}/my styles/style.gguf", sha(lora)),
    }[which]
    assert answer.out.startswith(
        f"FAIL  tiny  the digest of {which} {os.path.basename(path)} differs from what is expected\n"
        f"        where     {path}\n"
        f"        expected  sha256:{WRONG}\n"
        f"        found     sha256:{found}\n"
        "        fix       get the file again from its source; if these bytes are right, "
        f'put   {which}: {{model_ref: …, expected_digest: "sha256:{found}"}}   into models.yaml\n'
        "      its handoff was withdrawn\n"
    )
    assert tiny.handoff() is None
    assert not (tiny.root / ".runtime/digests/tiny.sha256").exists()
    row = tiny.rows()["tiny"]
    assert (row["state"], row["outcome"], row["digest"]) == ("Failed", "fail", f"sha256:{TINY_SHA}")


def test_a_tolerated_mismatch_of_a_companion_is_told_on_every_run(tiny, lora):
    tiny.models(entry(**pinned(lora, lora=WRONG), strict_verification=False))
    for _ in range(2):
        out = tiny.provision().out
        assert out.startswith(
            "FAIL! tiny  THE DIGEST DIFFERS, and strict_verification is false: it was handed off all the same\n"
            f"        lora style.gguf\n        expected  sha256:{WRONG}\n        found     sha256:{sha(lora)}\n"
        )
    assert tiny.handoff()["metadata"]["verification"] == "fail"
    assert tiny.rows()["tiny"]["reason"] == f"the digest of lora style.gguf differs from the expected sha256:{WRONG}"


def test_a_digest_that_a_run_requires_of_a_companion(tiny, lora):
    tiny.models(entry(**{**pinned(lora), "mmproj": "see.gguf"}))
    answer = tiny.provision("--require-digest", code=1)
    assert "expected  an expected_digest for mmproj see.gguf of tiny\n" in answer.out
    assert (
        f'fix       if these bytes are right, put   mmproj: {{model_ref: …, expected_digest: "sha256:{PROJECTOR_SHA}"}}   into models.yaml'
        in answer.out
    )
    assert tiny.handoff() is None


def test_a_digest_of_the_wrong_kind_is_told_under_its_name(tiny):
    tiny.models(entry(lora={"model_ref": "my styles/style.gguf", "expected_digest": f"dirhash:{WRONG}"}))
    assert "FAIL  tiny  lora style.gguf: the expected digest is of another kind" in tiny.provision(code=1).out


def test_a_companion_that_is_not_there_is_told_under_its_name(tiny):
    (tiny.root / "see.gguf").unlink()
    answer = tiny.provision(code=1)
    assert answer.out.startswith(
        f"FAIL  tiny  mmproj see.gguf: there is no such file or folder\n        where     {tiny.root}/see.gguf\n"
    )
    assert tiny.handoff() is None


def test_a_file_in_the_wrong_field_is_told_before_a_byte_is_hashed(tiny):
    tiny.models("models: {tiny: {model_ref: my styles/style.gguf, mmproj: see.gguf}}")
    answer = tiny.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the model is an adapter\n"
        f"        where     {tiny.root}/my styles/style.gguf\n"
        "        expected  a model\n"
        "        found     an adapter, made for architecture llama\n"
        "        fix       name it under lora: of the model that it was made for\n"
    )
    assert tiny.provenance() == []


# ---- current, as the model is


@pytest.fixture
def current(tiny):
    tiny.provision()
    assert "1 model: 1 current" in tiny.provision().out
    return tiny


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda p: os.utime(p.root / "see.gguf"), ["mmproj see.gguf: mtime changed, content same (xxh3)"]),
        (
            lambda p: p.write("my styles/style.gguf", b"GGUF"),
            ["lora style.gguf: size 4 bytes, was 11.0 KB"],
        ),
        (
            lambda p: (p.root / "see.gguf").unlink(),
            ["mmproj see.gguf: there is no such file or folder"],
        ),
        (
            lambda p: p.models(entry(lora=[])),
            [
                "checksum file of other files",
                "catalog row has another size",
                "handoff differs from what would be written",
            ],
        ),
        (
            lambda p: p.models(entry(mmproj={"model_ref": "see.gguf", "expected_digest": f"sha256:{WRONG}"})),
            ["the digest of mmproj see.gguf differs from what is expected"],
        ),
    ],
)
def test_a_change_of_a_companion_is_seen_and_told(current, edit, why):
    edit(current)
    assert current.why("tiny")[: len(why)] == why
    assert current.provision(code=None).out.splitlines()[0].startswith(("warn", "FAIL"))


def test_full_reads_every_companion_again(current):
    path = current.root / "my styles/style.gguf"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    current.provision("--full")
    assert current.handoff()["metadata"]["files"][2]["sha256"] == sha(data)
    assert current.provenance()[-1]["how"] == "hashed"


def test_a_task_may_make_a_companion(tiny):
    shutil.move(tiny.root / "see.gguf", tiny.root / "source")
    tiny.write(
        "dodo.py",
        "def task_project():\n    return {'file_dep': ['source'], 'targets': ['see.gguf'], 'actions': ['cp source see.gguf']}\n",
    )
    tiny.provision()
    assert [each["role"] for each in tiny.handoff()["model"]["companions"]] == ["mmproj", "lora"]
    changed = gguf({"general.architecture": text("clip")})
    tiny.write("source", changed)
    tiny.provision()
    assert tiny.handoff()["metadata"]["files"][1]["sha256"] == sha(changed)


# ---- a whole folder: an adapter as PEFT leaves it


def test_a_peft_folder_beside_a_folder(project):
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

    def safetensors(name):
        header = json.dumps({name: tensor}).encode()
        return len(header).to_bytes(8, "little") + header + bytes(4)

    project.write("whole/config.json", '{"model_type": "llama"}')
    project.write("whole/model.safetensors", safetensors("w"))
    project.write("style/adapter_config.json", '{"peft_type": "LORA"}')
    project.write("style/adapter_model.safetensors", safetensors("base.q_proj.lora_A.weight"))
    project.models("models: {whole: {model_ref: whole, engine: vllm, lora: style}}")
    project.provision()
    handoff = project.handoff("vllm")
    assert handoff["model"]["companions"] == [
        {"role": "lora", "id": f"local:{project.root}/style", "path": f"{project.root}/style"}
    ]
    assert [(each["role"], os.path.relpath(each["path"], project.root)) for each in handoff["metadata"]["files"]] == [
        ("model", "whole/config.json"),
        ("model", "whole/model.safetensors"),
        ("lora", "style/adapter_config.json"),
        ("lora", "style/adapter_model.safetensors"),
    ]
    settle()
    project.provision()
    project.write("style/more.json", "{}")
    assert project.why("whole") == ["lora more.json: not verified before"]


# ---- remote ones, and the lock


@pytest.fixture
def fetched(remote, hub, lora):
    """A model of a Hub's repository, with the projector beside it and an adapter of another."""
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES, "mmproj.gguf": PROJECTOR})
    hub.add("org/style", {"style.gguf": lora})
    remote.models({"tiny": REMOTE})
    return remote


REMOTE = {
    "model_ref": "hf:org/tiny/tiny.gguf",
    "mmproj": "hf:org/tiny/mmproj.gguf",
    "lora": ["hf:org/style/style.gguf"],
}


def test_companions_are_fetched_once_and_locked(fetched, hub, lora):
    fetched.provision()
    assert sorted(resolved(hub)) == ["mmproj.gguf", "style.gguf", "tiny.gguf"]
    assert fetched.blobs() == {TINY_SHA, PROJECTOR_SHA, sha(lora)}
    companions = fetched.project.handoff("tiny")["model"]["companions"]
    assert [(each["role"], each["id"]) for each in companions] == [
        ("mmproj", "hf:org/tiny/mmproj.gguf"),
        ("lora", "hf:org/style/style.gguf"),
    ]
    fetched.doit("model-lock")
    locked = json.loads(fetched.lock.read_bytes())["models"]["tiny"]["companions"]
    assert locked == [
        {
            "role": role,
            "ref": ref,
            "kind": "file",
            "revision": hub.references[repo]["main"],
            "files": [{"path": name, "size": len(data), "sha256": sha(data)}],
        }
        for role, ref, repo, name, data in [
            ("mmproj", "hf:org/tiny/mmproj.gguf", "org/tiny", "mmproj.gguf", PROJECTOR),
            ("lora", "hf:org/style/style.gguf", "org/style", "style.gguf", lora),
        ]
    ]
    hub.forget()
    assert fetched.provision("--locked", "--offline").out.startswith("pass  tiny  ")
    assert fetched.doit("model-lock", "--check").out == "models.lock agrees: 1 model\n"
    assert hub.requests == []
    fetched.empty_cache()
    hub.add("org/style", {"style.gguf": lora + b"!"})  # `main` moves on
    fetched.provision("--locked")
    assert fetched.blobs() == {TINY_SHA, PROJECTOR_SHA, sha(lora)}
    fetched.doit("model-lock", "--upgrade", "tiny")
    locked = json.loads(fetched.lock.read_bytes())["models"]["tiny"]["companions"]
    assert [each["files"][0]["sha256"] for each in locked] == [PROJECTOR_SHA, sha(lora + b"!")]
    fetched.provision("--locked")


def test_a_companion_that_comes_with_other_bytes_is_no_model(fetched, hub):
    fetched.models(
        {"tiny": {**REMOTE, "lora": {"model_ref": "hf:org/style/style.gguf", "expected_digest": f"sha256:{WRONG}"}}}
    )
    answer = fetched.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the digest of lora style.gguf differs from what is expected\n"
        "        where     hf:org/style/style.gguf\n"
    )
    assert fetched.project.rows()["tiny"]["outcome"] == "fail"
    assert fetched.project.handoff("tiny") is None


def test_a_remote_companion_of_a_local_model(fetched, hub):
    fetched.project.add_tiny("own.gguf")
    fetched.models({"own": {"model_ref": "file:own.gguf", "mmproj": "hf:org/tiny/mmproj.gguf"}})
    assert "fetched from 127.0.0.1" in fetched.provision().out
    assert resolved(hub) == ["mmproj.gguf"]
    fetched.models({"own": {"model_ref": "file:own.gguf", "mmproj": "hf:org/tiny/mmproj.gguf"}}, allow=[])
    hub.forget()
    fetched.provision()
    assert hub.requests == []


def test_what_a_handoff_or_the_lock_names_is_not_evicted(fetched, lora):
    fetched.provision()
    whole = {TINY_SHA, PROJECTOR_SHA, sha(lora)}
    fetched.doit("model-prune", "--older-than", "0d")
    assert fetched.blobs() == whole
    fetched.doit("model-lock")
    (fetched.root / ".runtime/engines/tiny.json").unlink()
    fetched.doit("model-prune", "--older-than", "0d")
    assert fetched.blobs() == whole


def test_a_host_that_is_not_allowed_is_told_for_a_companion(fetched):
    fetched.models({"tiny": REMOTE}, allow=[])
    assert "FAIL  tiny  " in fetched.provision(code=1).out


# ---- drift


@pytest.fixture
def locked(tiny):
    tiny.doit("model-lock")
    return tiny


def test_each_companion_is_held_to_the_lock_for_itself(locked, lora):
    assert locked.provision("--locked").out.startswith("pass  tiny  ")
    locked.models(entry(lora=["my styles/style.gguf", "new.gguf"]))
    locked.write("new.gguf", lora)
    answer = locked.provision("--locked", code=1)
    assert answer.out.startswith(
        "FAIL  tiny  lora new.gguf of tiny is not in the lock file as models.yaml has it, and this run takes no other model\n"
    )
    assert locked.handoff() is None
    assert (
        "no digest is expected of lora new.gguf; `doit model-lock` pins all models; to pin these bytes add   lora: {model_ref: …, "
        f'expected_digest: "sha256:{sha(lora)}"}}\n' in (locked.provision().out)
    )
    assert locked.doit("model-lock", "--check", code=1).out == "tiny: lora new.gguf is not in the lock file\n"
    before = locked.root.joinpath("models.lock").read_text()
    locked.doit("model-lock")
    assert before.splitlines()[:9] == locked.root.joinpath("models.lock").read_text().splitlines()[:9]
    locked.provision("--locked")


def test_what_the_lock_has_and_the_configuration_has_not(locked):
    locked.models(entry(lora=[]))
    assert locked.doit("model-lock", "--check", code=1).out == (
        "tiny: lora style.gguf is in the lock file and not in models.yaml\n"
    )
    locked.provision("--locked")


def test_a_companion_that_changed_since_it_was_locked(locked):
    changed = gguf({"general.architecture": text("clip")})
    locked.write("see.gguf", changed)
    assert locked.doit("model-lock", "--check", code=1).out == (
        f"tiny: mmproj see.gguf: see.gguf has sha256:{sha(changed)}, locked is sha256:{PROJECTOR_SHA}\n"
    )
    assert "the digest of mmproj see.gguf differs from what is expected" in locked.provision(code=1).out
    locked.doit("model-lock", "--upgrade", "tiny")
    locked.provision("--locked")


def test_a_digest_that_is_not_the_locks(locked):
    locked.models(entry(mmproj={"model_ref": "see.gguf", "expected_digest": f"sha256:{WRONG}"}))
    answer = locked.provision(code=3)
    assert "the expected digest of mmproj see.gguf of tiny is not the one in the lock file\n" in answer.all


# ---- the model alone


def test_the_shipped_model_alone_is_as_it_was(project):
    project.add_tiny("tiny.gguf")
    project.models("models: {tiny: {model_ref: tiny.gguf}}")
    project.provision()
    text = (project.root / ".runtime/engines/llamacpp.json").read_text()
    assert json.loads(text)["metadata"]["files"] == [
        {"path": f"{project.root}/tiny.gguf", "role": "model", "sha256": TINY_SHA, "size_bytes": TINY.stat().st_size}
    ]

"""Bytes that are not the expected ones, and right, are accepted as the message says."""

import json
import os
import re

import pytest

from tests.advice.conftest import PROJECTOR
from tests.support.advice import advised, fix, follow, put
from tests.support.remote import FLIPPED, TINY_BYTES, TINY_SHA, sha256

WRONG = "0" * 64
OTHER = TINY_BYTES + bytes(32)
"""A sound model of other bytes: what follows the last tensor is padding."""
EITHER = "{}; if these bytes are right, {}"


def pinned(project, **fields):
    entry = {"model_ref": "models/tiny.gguf", **fields}
    project.models(json.dumps({"models": {"t": entry}}))


@pytest.mark.parametrize("how", ["written", "locked", "both"])
def test_new_bytes_of_a_model_are_accepted_as_the_message_says(local, how):
    pinned(local, **({} if how == "locked" else {"expected_digest": f"sha256:{TINY_SHA}"}))
    local.provision()
    if how != "written":
        local.doit("model-lock")
    local.write("models/tiny.gguf", OTHER)
    answer = local.provision(code=1)
    assert "the digest differs from what is expected" in answer.out
    assert advised(answer, EITHER)[0] == "get the file again from its source"
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
    assert advised(answer, "{}; if these bytes are right, {}")[0] == "get the file again, and look at the disk"
    follow(local, "t", fix(answer))
    local.provision()
    local.provision("--full")
    assert local.rows()["t"]["digest"] == "sha256:" + sha256(FLIPPED)


def test_the_lines_that_a_run_offers_pin_the_model_and_its_companions(local):
    lines = re.findall(r"to pin these bytes add   (.*)$", local.provision().out, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        put(local, "t", f"put   {line}   into models.yaml")
    assert "pass  t" in local.provision().out


def test_a_digest_of_another_kind_is_left_out_once(local):
    pinned(local, expected_digest=f"dirhash:{WRONG}")
    advised(local.provision(code=1), "leave expected_digest out once: the run prints the digest to put there")
    pinned(local)
    (line,) = re.findall(r"add   (expected_digest: .*)$", local.provision().out, re.MULTILINE)
    put(local, "t", f"put   {line}   into models.yaml")
    assert "pass  t" in local.provision().out


@pytest.mark.parametrize("how", ["written", "locked", "both"])
def test_new_bytes_of_a_source_are_accepted_as_the_message_says(remote, web, how):
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

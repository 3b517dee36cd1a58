"""`list REF`: what a repository offers, by policy, without a byte of it fetched."""

import json
import os

import pytest

from tests.support.project import document
from tests.support.remote import TINY_BYTES, resolved

SMALL, LARGE = TINY_BYTES, TINY_BYTES + bytes(1_000_000)


@pytest.fixture
def offering(remote, hub):
    hub.add(
        "org/tiny",
        {
            "m-Q4_K_M.gguf": SMALL,
            "UD/m-UD-Q4_K_XL.gguf": LARGE,
            "BF16/m-BF16-00001-of-00002.gguf": LARGE,
            "BF16/m-BF16-00002-of-00002.gguf": LARGE,
            "one-F16.gguf": LARGE + bytes(1),
            "two-f16.gguf": LARGE + bytes(2),
            "plain.gguf": SMALL + bytes(1),
            "mmproj-F16.gguf": SMALL,
            "m.imatrix.gguf": SMALL,
            "config.json": b"{}",
        },
    )
    remote.models({})
    return remote


def test_it_is_a_table_of_what_can_be_named(offering, hub):
    for face in (offering.project.program("list", "hf:org/tiny"), offering.doit("model-list", "hf:org/tiny")):
        assert face.out.splitlines() == [
            "Q4_K_M       105.2 KB  hf:org/tiny:Q4_K_M",
            "-            105.2 KB  hf:org/tiny/plain.gguf",
            "UD-Q4_K_XL     1.1 MB  hf:org/tiny:UD-Q4_K_XL",
            "F16            1.1 MB  hf:org/tiny/one-F16.gguf",
            "F16            1.1 MB  hf:org/tiny/two-f16.gguf",
            "BF16           2.2 MB  hf:org/tiny:BF16",
        ]
        assert face.err == ""
    assert resolved(hub) == []


def test_each_can_be_added(offering):
    for line in offering.project.program("list", "hf:org/tiny").out.splitlines():
        offering.project.program("add", line.split()[-1])
    answer = offering.project.program("provision", code=1)  # the split is none: its shards are one file twice
    assert answer.out.count("pass  ") == 5


def test_as_json(offering):
    first, *_, last = document(offering.project.program("list", "hf:org/tiny@main", "--json"))["result"]["offers"]
    assert first == {
        "model_ref": "hf:org/tiny@main:Q4_K_M",
        "quantization": "Q4_K_M",
        "size_bytes": len(SMALL),
        "files": ["m-Q4_K_M.gguf"],
    }
    assert last["files"] == ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"]


def test_the_policy_of_the_project_holds(offering, hub):
    offering.models({}, allow=[])
    hub.forget()
    answer = offering.project.program("list", "hf:org/tiny", code=1)
    assert answer.err == (
        "ERROR: hf:org/tiny would have to be fetched, and the network is not allowed\n"
        "  where     hf:org/tiny\n  expected  127.0.0.1 among the hosts of network.allow\n"
        "  found     allow: []\n  fix       add --allow, if you trust 127.0.0.1\n"
    )
    assert hub.requests == []
    assert offering.project.program("list", "hf:org/tiny", "--allow").out
    offering.environ["MODEL_PROVISIONER_NETWORK"] = "off"
    hub.forget()
    assert (
        "MODEL_PROVISIONER_NETWORK does not allow"
        in offering.project.program("list", "hf:org/tiny", "--allow", code=1).err
    )
    assert hub.requests == []


def test_outside_of_a_project_nobody_is_asked_but_on_the_command_line(remote, hub):
    hub.add("org/tiny", {"m-Q4_K_M.gguf": SMALL})
    assert "--allow" in remote.project.program("list", "hf:org/tiny", code=1).err
    assert hub.requests == []
    assert remote.project.program("list", "hf:org/tiny", "--allow").out == "Q4_K_M   105.2 KB  hf:org/tiny:Q4_K_M\n"
    assert os.listdir(remote.root) == []


def test_a_repository_without_a_gguf_is_told(remote, hub):
    hub.add("org/tiny", {"mmproj.gguf": SMALL, "config.json": b"{}"})
    remote.models({})
    assert remote.project.program("list", "hf:org/tiny", code=3).err.startswith(
        "ERROR: the repository has no GGUF that is a model\n  where     hf:org/tiny\n"
    )


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        (["tiny"], "`model-provisioner show NAME` shows a model of the project"),
        (["hf:org/tiny/x.gguf"], "write model-provisioner list hf:org/tiny"),
        (["hf:org/tiny:Q4_0"], "write model-provisioner list hf:org/tiny"),
        (["s3://bucket/x"], "name a repository of the Hub, or an artifact of a registry"),
        (["hf:a/b", "hf:c/d"], "`model-provisioner show NAME` shows a model of the project"),
    ],
)
def test_what_is_no_repository_is_told(project, names, fix):
    answer = project.program("list", *names, code=3)
    assert answer.err == (
        "ERROR: list takes one repository or artifact, or no name\n  where     the command line\n"
        "  expected  hf:ORG/REPO, oci:REGISTRY/REPO:TAG or ollama:NAME:TAG\n"
        f"  found     {' '.join(names)}\n  fix       {fix}\n"
    )

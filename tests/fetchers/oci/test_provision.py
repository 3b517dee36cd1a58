"""Models of a real registry, from the reference to the handoff, as a user meets them."""

import json
import os
import socket
from pathlib import Path

import pytest

from tests.support.artifacts import TITLE, docker_model, kit, layer, modelpack, ollama, oras, push
from tests.support.files_server import FilesServer
from tests.support.fixtures import hub, registry, remote  # noqa: F401
from tests.support.project import document
from tests.support.registry import OCI_INDEX, PASSWORD, USER, Registry, TokenServer, basic, digest_of
from tests.support.remote import CONFIG, FLIPPED, README, TINY_BYTES, TINY_SHA, sha256

TENSORS = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
SAFETENSORS = len(TENSORS).to_bytes(8, "little") + TENSORS + bytes(4)


@pytest.fixture
def site(remote, registry, request):  # noqa: F811
    """A project, and a repository of its own: `site.ref` is its reference with a tag."""
    remote.models({})
    repository = f"t{abs(hash(request.node.nodeid))}/model"
    return Site(remote, registry, repository)


class Site:
    def __init__(self, remote, registry, repository):  # noqa: F811
        self.remote, self.registry, self.repository = remote, registry, repository

    def ref(self, tag="q4"):
        return f"oci:{self.registry.place}/{self.repository}:{tag}"

    def program(self, *args, code=0):
        return self.remote.project.program(*args, code=code)

    def error(self, *args):
        """Return what a run says that fails, its lines without what they are indented by."""
        return lines_of(self.program(*args, code=1))

    def entry(self, name="tiny"):
        return json.loads(self.remote.lock.read_text())["models"][name]


def lines_of(answer):
    return "\n".join(line.strip() for line in answer.all.splitlines())


# ---- the way of a user


def test_an_artifact_is_added_locked_provisioned_and_handed_off(site):
    digest = oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES, "README.md": README})
    added = site.program("add", "tiny", site.ref())
    assert f"added  tiny  {site.ref()}  105.2 KB sha256:{TINY_SHA}" in added.out
    assert site.entry() == {
        "ref": site.ref(),
        "kind": "file",
        "revision": digest,
        "files": [{"path": "tiny.gguf", "size": len(TINY_BYTES), "sha256": TINY_SHA}],
    }
    assert site.remote.blobs() == set()  # the digests are the manifest's: nothing had to be fetched
    assert "(fetched from 127.0.0.1)" in site.program("provision").out
    assert site.remote.project.handoff("tiny")["model"]["id"] == site.ref()
    assert site.remote.bytes_of("tiny") == TINY_BYTES
    assert site.remote.blobs() == {TINY_SHA}
    assert "1 current" in site.program("provision").out


def test_what_a_manifest_offers_is_listed(site):
    files = {"m-Q4_K_M.gguf": TINY_BYTES, "mmproj-F16.gguf": b"p" * 1000, "README.md": README}
    oras(site.registry, site.repository, "q4", files)
    assert site.program("list", site.ref()).out.splitlines() == [
        f"Q4_K_M   105.2 KB  {site.ref()}",
        f"-         7 bytes  {site.ref()}#README.md",
        f"F16        1.0 KB  {site.ref()}#mmproj-F16.gguf",
    ]
    first = document(site.program("list", site.ref(), "--json"))["result"]["offers"][0]
    assert first == {
        "model_ref": site.ref(),
        "quantization": "Q4_K_M",
        "size_bytes": len(TINY_BYTES),
        "files": ["m-Q4_K_M.gguf"],
    }
    assert site.remote.blobs() == set()


def test_a_digest_names_one_manifest_for_good(site):
    digest = oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    oras(site.registry, site.repository, "q4", {"tiny.gguf": FLIPPED})
    ref = f"oci:{site.registry.place}/{site.repository}@{digest}"
    site.remote.models({"tiny": ref})
    site.program("provision")
    assert site.remote.bytes_of("tiny") == TINY_BYTES
    assert site.remote.project.handoff("tiny")["model"]["id"] == ref.partition("@")[0]


def test_a_tag_that_moved_counts_from_the_next_upgrade_on(site):
    first = oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    site.program("add", "tiny", site.ref())
    second = oras(site.registry, site.repository, "q4", {"tiny.gguf": FLIPPED})
    site.program("provision")
    assert site.remote.bytes_of("tiny") == TINY_BYTES
    assert site.entry()["revision"] == first
    site.program("lock", "--upgrade", "tiny")
    assert site.entry()["revision"] == second
    site.program("provision", code=None)
    assert site.remote.blobs() == {TINY_SHA, sha256(FLIPPED)}


def test_a_tag_that_moved_is_told_where_the_registry_dropped_what_it_was(site):
    first = oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    site.program("add", "tiny", site.ref())
    second = oras(site.registry, site.repository, "q4", {"tiny.gguf": FLIPPED})
    site.registry.delete_manifest(site.repository, first)
    told = site.error("provision")
    assert (
        "the registry does not have the manifest any more that was locked or first fetched\n"
        f"where     {site.ref()} at 127.0.0.1\nexpected  {first}\n"
        f"found     q4 is {second} now\n"
        "fix       if the new one is right, `model-provisioner lock --upgrade NAME` takes it"
    ) in told


def test_the_records_name_the_registry_and_the_manifest(site):
    digest = oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    site.program("add", "tiny", site.ref())
    site.program("provision")
    assert site.remote.project.provenance()[-1]["origin"] == "fetched from 127.0.0.1"
    assert site.remote.project.rows()["tiny"]["revision"] == digest


# ---- as each tool writes it


@pytest.mark.parametrize("prefix", ["cncf", "cnai"])
def test_modelpack_a_gguf_beside_its_papers_is_that_file(site, prefix):
    files = {
        "tiny.gguf": ("weight", TINY_BYTES),
        "config.json": ("weight.config", CONFIG),
        "README.md": ("doc", README),
        "data.csv": ("dataset", b"1,2"),
    }
    modelpack(site.registry, site.repository, "q4", files, prefix)
    site.program("add", "tiny", site.ref())
    site.program("provision")
    assert site.remote.bytes_of("tiny") == TINY_BYTES
    assert site.entry()["files"][0]["sha256"] == TINY_SHA
    assert site.remote.blobs() == {TINY_SHA}


def test_modelpack_safetensors_are_a_folder_as_of_a_repository(site):
    files = {
        "model.safetensors": ("weight", SAFETENSORS),
        "config.json": ("weight.config", CONFIG),
        "sub/README.md": ("doc", README),
        "data.csv": ("dataset", b"1,2"),
    }
    modelpack(site.registry, site.repository, "v1", files)
    site.program("add", "tiny", site.ref("v1"), "--engine", "vllm")
    assert site.entry()["kind"] == "folder"
    site.program("provision")
    found = {"model.safetensors": SAFETENSORS, "config.json": CONFIG, "sub/README.md": README}
    assert site.remote.bytes_of("tiny") == found


def test_docker_model_runner_has_no_names_and_gets_some(site):
    docker_model(site.registry, site.repository, "q4", [("gguf.v3", TINY_BYTES), ("license", b"MIT"), ("mmproj", b"p")])
    site.program("add", "tiny", site.ref())
    site.program("provision")
    assert site.remote.path("tiny").name == "model-q4.gguf"
    assert site.remote.bytes_of("tiny") == TINY_BYTES
    assert f"{site.ref()}#mmproj.gguf" in site.program("list", site.ref()).out


def test_docker_model_runner_by_files_of_a_folder(site):
    layers = [("safetensors", SAFETENSORS, "model.safetensors"), ("model.file", CONFIG, "config.json")]
    docker_model(site.registry, site.repository, "v2", layers)
    site.program("add", "tiny", site.ref("v2"), "--engine", "vllm")
    site.program("provision")
    assert site.remote.bytes_of("tiny") == {"model.safetensors": SAFETENSORS, "config.json": CONFIG}


def test_the_shards_of_a_split_are_handed_off_by_the_first(site, tiny_models):
    shards = {path.name: path.read_bytes() for path in sorted(tiny_models.glob("*-of-*.gguf"))}
    assert len(shards) > 1
    oras(site.registry, site.repository, "q4", shards | {"README.md": README})
    site.program("add", "tiny", site.ref())
    assert site.entry()["kind"] == "split"
    site.program("provision")
    assert site.remote.path("tiny").name == min(shards)


def test_shards_without_names_are_numbered(site, tiny_models):
    shards = [path.read_bytes() for path in sorted(tiny_models.glob("*-of-*.gguf"))]
    docker_model(site.registry, site.repository, "latest", [("gguf.v3", data) for data in shards])
    site.program("add", "tiny", f"oci:{site.registry.place}/{site.repository}")
    site.program("provision")
    assert site.remote.path("tiny").name == f"model-00001-of-{len(shards):05d}.gguf"


def test_ollama_the_model_is_the_weights_and_the_rest_can_be_named(site):
    adapter = b"adapter"
    layers = [("model", TINY_BYTES), ("projector", b"p"), ("adapter", adapter), ("template", b"t"), ("license", b"a")]
    ollama(site.registry, "library/llava", "7b", [*layers, ("license", b"b"), ("params", b"{}")])
    site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"] = f"http://{site.registry.place}"
    site.program("add", "ollama:llava:7b")
    site.program("provision")
    assert site.remote.bytes_of("llava-7b") == TINY_BYTES
    assert site.entry("llava-7b")["ref"] == "ollama:llava:7b"
    listed = [line.split()[-1] for line in site.program("list", "ollama:library/llava:7b").out.splitlines()]
    names = ["LICENSE-1", "LICENSE-2", "adapter.gguf", "mmproj.gguf", "params.json", "template"]
    assert listed == ["ollama:llava:7b", *(f"ollama:llava:7b#{name}" for name in names)]


def test_ollama_an_adapter_is_a_companion_by_its_name(site, tiny_models):
    adapter = next(path for path in tiny_models.glob("*.gguf") if "lora" in path.name or "adapter" in path.name)
    ollama(site.registry, "me/tuned", "latest", [("model", TINY_BYTES), ("adapter", adapter.read_bytes())])
    site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"] = f"http://{site.registry.place}"
    site.remote.models({"tuned": {"model_ref": "ollama:me/tuned", "lora": "ollama:me/tuned#adapter.gguf"}})
    site.program("lock")
    site.program("provision")
    (beside,) = site.remote.project.handoff("tuned")["model"]["companions"]
    assert (beside["role"], beside["id"]) == ("lora", "ollama:me/tuned:latest#adapter.gguf")
    assert Path(beside["path"]).read_bytes() == adapter.read_bytes()


def test_one_of_several_ggufs_is_named(site):
    oras(site.registry, site.repository, "all", {"m-Q4_0.gguf": TINY_BYTES, "m-Q8_0.gguf": FLIPPED})
    told = lines_of(site.program("add", site.ref("all"), code=1))
    assert (
        "llama.cpp opens one GGUF and no folder\n"
        f"where     {site.ref('all')}\nexpected  a reference that names one GGUF\n"
        "found     m-Q4_0.gguf (Q4_0), m-Q8_0.gguf (Q8_0)\n"
        f"fix       name the one to load: {site.ref('all')}#m-Q4_0.gguf"
    ) in told
    site.program("add", f"{site.ref('all')}#m-Q4_0.gguf")
    site.program("provision")
    assert site.remote.bytes_of("m-Q4_0") == TINY_BYTES


# ---- what can't be taken


def test_tar_layers_are_refused_by_name(site):
    kit(site.registry, site.repository, "v1", b"a tar file")
    site.remote.models({"tiny": site.ref("v1")})
    told = site.error("provision")
    assert (
        "a layer of the artifact is packed as a tar file, whose digest is not that of its files\n"
        f"where     {site.ref('v1')} at 127.0.0.1\nexpected  layers that are the files themselves\n"
        "found     application/vnd.kitops.modelkit.model.v1.tar\n"
        "fix       push the files as they are, each as a layer, as `oras push REF FILE…` does; "
        "or unpack it and name the folder"
    ) in told


def test_an_index_of_platforms_is_told(site):
    digest = oras(site.registry, site.repository, "one", {"tiny.gguf": TINY_BYTES})
    found = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [found | {"platform": {"os": "linux", "architecture": "arm64"}}],
    }
    site.registry.push_manifest(site.repository, "v1", index)
    site.remote.models({"tiny": site.ref("v1")})
    assert (
        "the reference names an index of several manifests, and no model by itself\n"
        f"where     {site.ref('v1')} at 127.0.0.1\nexpected  the manifest of one artifact\n"
        f"found     {digest} (linux/arm64)\n"
        f"fix       name the one that is meant by its digest: oci:{site.registry.place}/{site.repository}@{digest}"
    ) in site.error("provision")
    site.remote.models({"tiny": f"{site.ref('v1')}@{digest}"})
    site.program("provision")


def test_an_image_is_told(site):
    made = [layer(site.registry, site.repository, "application/vnd.oci.image.layer.v1.tar+gzip", b"gz")]
    push(site.registry, site.repository, "v1", made, config=("application/vnd.oci.image.config.v1+json", b"{}"))
    site.remote.models({"tiny": site.ref("v1")})
    assert "the reference names a container image, and no artifact whose layers are the files of a model" in site.error(
        "provision"
    )


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["../tiny.gguf"], "a path that leads out of the model: ../tiny.gguf"),
        (["/tiny.gguf"], "an absolute path: /tiny.gguf"),
        (["a/../../tiny.gguf"], "a path that leads out of the model: a/../../tiny.gguf"),
        (["tiny\n.gguf"], "a NUL, newline or backslash"),
        (["Tiny.gguf", "tiny.gguf"], "two files of the artifact would have one name"),
        (["tiny.gguf", "tiny.gguf"], "two files of the artifact would have one name"),
        (["a.gguf", "a.gguf/b.gguf"], "a folder with the name of a file"),
    ],
)
def test_names_that_lead_elsewhere_are_refused_before_anything_is_fetched(site, names, what):
    made = [
        layer(site.registry, site.repository, "application/x", TINY_BYTES + bytes(number), title=name)
        for number, name in enumerate(names)
    ]
    push(site.registry, site.repository, "v1", made)
    site.remote.models({"tiny": {"model_ref": site.ref("v1"), "engine": "vllm"}})
    assert what in site.error("provision")
    assert site.remote.blobs() == set()


def test_a_tag_that_is_not_there(site):
    oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    site.remote.models({"tiny": site.ref("q5")})
    assert (
        f"{site.registry.place} has no such artifact\nwhere     {site.ref('q5')} at 127.0.0.1\nexpected  q5\n"
        "found     no manifest of this tag or digest, or no such repository\n"
        "fix       copy the reference from the registry's page"
    ) in site.error("provision")


# ---- who is asked


def test_nobody_is_asked_whom_the_policy_does_not_name(site):
    site.remote.models({"tiny": "oci:ghcr.io/org/model:q4", "other": "ollama:qwen"}, allow=[])
    told = site.error("provision")
    assert "expected  ghcr.io among the hosts of network.allow" in told
    assert 'fix       add "ghcr.io" to network.allow (or "ghcr", which has the hosts of its files too)' in told
    assert "expected  registry.ollama.ai among the hosts of network.allow" in told


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A registry that wants tokens, and who gives them out to `USER` alone, on another name of this machine."""
    with (
        TokenServer(anonymous=False) as tokens,
        Registry(tmp_path_factory.mktemp("private"), tokens=tokens) as registry,
    ):  # noqa: F811
        oras(registry, "org/model", "q4", {"tiny.gguf": TINY_BYTES})
        registry.tokens = tokens
        yield registry


def log_in(remote, place, password=PASSWORD):  # noqa: F811
    folder = remote.home / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {place: {"auth": basic(USER, password)}}}))


def test_a_private_artifact_comes_with_the_login_of_docker(remote, private):  # noqa: F811
    remote.models({"tiny": f"oci:{private.place}/org/model:q4"})
    log_in(remote, private.place)
    remote.project.program("provision")
    assert remote.bytes_of("tiny") == TINY_BYTES
    asked, headers = private.tokens.asked[-1]
    assert asked == "/token?scope=repository%3Aorg%2Fmodel%3Apull&service=test-registry"
    assert headers["authorization"] == f"Basic {basic(USER, PASSWORD)}"
    assert PASSWORD.encode() not in remote.everything()
    assert b"Bearer" not in remote.everything()


def test_without_a_login_it_is_said_how_to_log_in(remote, private):  # noqa: F811
    remote.models({"tiny": f"oci:{private.place}/org/model:q4"})
    told = lines_of(remote.project.program("provision", code=1))
    assert (
        f"{private.place} shows this only to who is logged in, or does not have it\n"
        f"where     oci:{private.place}/org/model:q4 at 127.0.0.1\n"
        "expected  an answer of the registry's API, version 2\nfound     401 Unauthorized (UNAUTHORIZED)\n"
        f"fix       check the spelling; for a private one, `docker login {private.place}` "
        f"or `podman login {private.place}`"
    ) in told


def test_a_login_that_does_not_hold_is_told_and_not_shown(remote, private):  # noqa: F811
    remote.models({"tiny": f"oci:{private.place}/org/model:q4"})
    log_in(remote, private.place, "wr0ng")
    told = lines_of(remote.project.program("provision", code=1))
    assert f"{private.place} does not take our login, or has nothing here that it may read" in told
    assert "wr0ng" not in told


def test_the_login_of_another_registry_is_not_sent(remote, private):  # noqa: F811
    remote.models({"tiny": f"oci:{private.place}/org/model:q4"})
    log_in(remote, "127.0.0.1:1")
    before = len(private.tokens.asked)
    remote.project.program("provision", code=1)
    assert all("authorization" not in headers for _, headers in private.tokens.asked[before:])


def test_who_gives_out_tokens_is_under_the_policy(remote, private):  # noqa: F811
    other = f"localhost:{private.port}"
    remote.models({"tiny": f"oci:{other}/org/model:q4"}, allow=["localhost"])
    log_in(remote, other)
    told = lines_of(remote.project.program("provision", code=1))
    assert "expected  127.0.0.1 among the hosts of network.allow" in told
    assert f"found     allow: [localhost]; {other} has its tokens given out by 127.0.0.1" in told


# ---- the bytes


@pytest.fixture
def lying(remote):  # noqa: F811
    """A server that is a registry as far as it says so: `put` gives it a manifest of these files by name."""
    with FilesServer({}) as server:

        def put(layers):
            manifest = {
                "schemaVersion": 2,
                "layers": [
                    {"mediaType": "application/x", "digest": digest, "size": size, "annotations": {TITLE: name}}
                    for name, (digest, size) in layers.items()
                ],
            }
            data = json.dumps(manifest).encode()
            server.files["/v2/m/manifests/latest"] = server.files[f"/v2/m/manifests/{digest_of(data)}"] = data
            remote.models({"tiny": f"oci:127.0.0.1:{server.port}/m"})

        server.put, server.blob = put, f"/v2/m/blobs/sha256:{TINY_SHA}"
        server.put({"tiny.gguf": (f"sha256:{TINY_SHA}", len(TINY_BYTES))})
        yield server


def test_a_broken_download_is_resumed_by_range(remote, lying):  # noqa: F811
    lying.files[lying.blob] = TINY_BYTES
    lying.manners.drop_at, lying.manners.drop_times = 60_000, 1
    remote.project.program("provision")
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert [each.headers.get("range") for each in lying.asked if each.path == lying.blob] == [None, "bytes=59999-"]


@pytest.mark.parametrize("data", [FLIPPED, TINY_BYTES[:-1], TINY_BYTES + b"x"], ids=["flipped", "shorter", "longer"])
def test_bytes_of_another_digest_or_size_are_not_taken(remote, lying, data):  # noqa: F811
    lying.files[lying.blob] = data
    remote.project.program("provision", code=1)
    assert remote.blobs() == set()


def test_a_layer_without_end_stops_at_the_size_that_was_listed(remote, lying):  # noqa: F811
    lying.files[lying.blob] = TINY_BYTES
    lying.manners.chunked, lying.manners.extra = True, bytes(1 << 20)
    remote.project.program("provision", code=1)
    assert remote.blobs() == set()
    assert sum(os.path.getsize(path) for path in (remote.cache / "partial").glob("*")) <= len(TINY_BYTES) + (8 << 20)


def test_a_manifest_without_end_is_not_read_to_it(remote, lying):  # noqa: F811
    lying.files["/v2/m/manifests/latest"] = bytes(16 << 20)
    told = lines_of(remote.project.program("provision", code=1))
    assert "127.0.0.1 answers without an end" in told
    assert lying.sent < 12 << 20


def test_a_manifest_of_another_digest_is_not_taken(remote, lying):  # noqa: F811
    wrong = "sha256:" + "0" * 64
    lying.files[f"/v2/m/manifests/{wrong}"] = lying.files["/v2/m/manifests/latest"]
    remote.models({"tiny": f"oci:127.0.0.1:{lying.port}/m@{wrong}"})
    told = lines_of(remote.project.program("provision", code=1))
    assert "127.0.0.1 sends another manifest than it says" in told
    assert f"expected  {wrong}" in told


def test_storage_behind_a_redirect_gets_no_token_and_is_under_the_policy(remote, private, tmp_path):  # noqa: F811
    with FilesServer({"/blob": TINY_BYTES}) as storage, FilesServer({}) as front:
        # A registry that hands out its manifest, and leads to a storage for the layer.
        manifest = {
            "schemaVersion": 2,
            "layers": [
                {
                    "mediaType": "application/x",
                    "digest": f"sha256:{TINY_SHA}",
                    "size": len(TINY_BYTES),
                    "annotations": {TITLE: "tiny.gguf"},
                }
            ],
        }
        front.files["/v2/m/manifests/latest"] = json.dumps(manifest).encode()
        front.manners.redirects[f"/v2/m/blobs/sha256:{TINY_SHA}"] = (307, storage.url("/blob?X-Amz-Signature=s3cret"))
        remote.models({"tiny": f"oci:127.0.0.1:{front.port}/m"}, allow=["127.0.0.1"])
        (remote.home / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        told = lines_of(remote.project.program("provision", code=1))
        assert "127.0.0.1 redirects to localhost" in told
        assert storage.asked == []
        remote.models({"tiny": f"oci:127.0.0.1:{front.port}/m"}, allow=["127.0.0.1", "localhost"])
        remote.project.program("provision")
        assert all("authorization" not in each.headers for each in storage.asked)
        assert "authorization" in front.asked[-1].headers
        assert b"s3cret" not in remote.everything()


def test_a_manifest_of_other_bytes_than_were_expected_is_told_before_they_come(remote, lying):  # noqa: F811
    lying.files[lying.blob] = TINY_BYTES
    ref = f"oci:127.0.0.1:{lying.port}/m"
    remote.models({"tiny": {"model_ref": ref, "expected_digest": f"sha256:{sha256(FLIPPED)}"}})
    told = lines_of(remote.project.program("provision", code=1))
    assert f"expected  sha256:{sha256(FLIPPED)}\nfound     sha256:{TINY_SHA}" in told
    assert [each.path for each in lying.asked] == ["/v2/m/manifests/latest"]
    remote.models({"tiny": {"model_ref": ref, "expected_digest": f"sha256:{TINY_SHA}"}})
    remote.project.program("provision")


# ---- what is on this disk already


@pytest.mark.parametrize(
    ("place", "whose"),
    [
        (".docker/models/blobs/sha256/{}", "Docker Model Runner"),
        (".local/share/containers/storage/artifacts/blobs/sha256/{}", "Podman"),
        (".ollama/models/blobs/sha256-{}", "Ollama"),
    ],
)
def test_a_layer_that_another_program_has_is_taken_from_it(site, place, whose):
    oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    path = site.remote.home / place.format(TINY_SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(TINY_BYTES)
    site.remote.models({"tiny": site.ref()})
    assert f"(taken from {whose})" in site.program("provision").out


def test_a_locked_model_that_is_in_the_store_needs_no_registry(site):
    oras(site.registry, site.repository, "q4", {"tiny.gguf": TINY_BYTES})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site.program("add", "tiny", site.ref())
    site.program("provision")
    text = (site.remote.root / "models.yaml").read_text() + site.remote.lock.read_text()
    assert site.registry.place in text
    for path in (site.remote.root / "models.yaml", site.remote.lock):
        path.write_text(path.read_text().replace(site.registry.place, f"127.0.0.1:{port}"))
    site.program("provision", "--offline")
    assert site.remote.bytes_of("tiny") == TINY_BYTES

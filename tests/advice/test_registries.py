"""What is advised for registries brings the model; the registry is a real one, or a server that says what that never does."""

import json

import pytest

from tests.support.artifacts import TITLE, docker_model, kit, layer, ollama, oras, push
from tests.support.advice import advised
from tests.support.files_server import FilesServer
from tests.support.fixtures import registry  # noqa: F401
from tests.support.registry import OCI_INDEX, PASSWORD, USER, Registry, TokenServer, basic, digest_of
from tests.support.remote import FLIPPED, README, TINY_BYTES, TINY_SHA

IMAGE = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def site(remote, registry, request):  # noqa: F811
    """A project, and a repository of its own in the registry, which has the model as `good`."""
    return Site(remote, registry, f"t{abs(hash(request.node.nodeid))}/model")


class Site:
    def __init__(self, remote, registry, repository):  # noqa: F811
        self.remote, self.registry, self.repository = remote, registry, repository
        self.digest = oras(registry, repository, "good", {"tiny.gguf": TINY_BYTES})
        remote.project.write("models/tiny.gguf", TINY_BYTES)
        remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"] = f"http://{registry.place}"

    def text(self, ref):
        return ref.replace("PLACE", f"{self.registry.place}/{self.repository}").replace("HOST", self.registry.place)

    def advised(self, ref, sentence, code=1, **fields):
        """Provision a model that can't be; return the values of what is advised."""
        self.named(ref, **fields)
        return advised(self.remote.provision(code=code), sentence)

    def brings(self, ref):
        """Provision a model, which comes."""
        self.named(ref)
        self.remote.provision()
        assert self.remote.bytes_of("x") == TINY_BYTES

    def named(self, ref, **fields):
        self.remote.models({"x": {"model_ref": self.text(ref), **fields}})

    def pushed(self, layers, **more):
        made = [layer(self.registry, self.repository, *each[:2], **each[2]) for each in layers]
        return push(self.registry, self.repository, "bad", made, **more)


GOOD = "oci:PLACE:good"


@pytest.mark.parametrize(
    ("sentence", "fault", "mended"),
    [
        ("write the registry's host and then the repository, as in oci:ghcr.io/org/model:q4", "oci:HOST", GOOD),
        ("write it as `docker pull` takes it, as in oci:ghcr.io/org/model:q4", "oci:me:pw@PLACE:good", GOOD),
        ("copy the name from the registry's page, without the version", "oci:PLACE--:good", GOOD),
        ("copy the name from the registry's page, without the version", "oci:HOST/a//b", GOOD),
        (
            "copy the tag from the registry's page, or leave it out with its colon: then it is latest",
            "oci:PLACE:",
            GOOD,
        ),
        ("copy it from the registry's page; a version is written with a colon: :TAG", "oci:PLACE@good", GOOD),
        (
            "write the file's name as `list` shows it after #, or neither name nor #",
            "oci:PLACE:good#",
            "oci:PLACE:good#tiny.gguf",
        ),
        ("write the file's name as `list` shows it after #, or neither name nor #", "oci:PLACE:good#/x", GOOD),
        (
            "copy the name from its page at ollama.com; a model of another registry is written oci:REGISTRY/REPO:TAG",
            "ollama:host/org/model",
            GOOD,
        ),
        (
            "copy the tag from the model's page at ollama.com, or leave it out with its colon: then it is latest",
            "ollama:advised:",
            "ollama:advised",
        ),
        ("write the tag alone: the lock file pins the digest", f"ollama:advised@sha256:{'0' * 64}", "ollama:advised"),
    ],
)
def test_what_is_advised_makes_a_reference(site, sentence, fault, mended):
    ollama(site.registry, "library/advised", "latest", [("model", TINY_BYTES)])
    site.advised(fault, sentence, code=3)
    site.brings(mended)


def test_a_name_in_small_letters_is_written_as_it_is_told(site):
    host, repository = site.advised(site.text(GOOD).replace("model", "Model"), "write oci:{}/{}", code=3)
    site.brings(f"oci:{host}/{repository}:good")


@pytest.mark.parametrize(("ref", "parts"), [("ollama:hf.co/org/tiny", 1), ("ollama:hf.co/org/tiny:Q8_0", 2)])
def test_a_repository_of_the_hub_is_written_as_it_is_told(site, hub, ref, parts):
    hub.add("org/tiny", {"tiny-Q8_0.gguf": TINY_BYTES})
    sentence = "write hf:{}" if parts == 1 else "write hf:{}:{}"
    words = advised_of_a_reference(site, ref, sentence)
    site.named("hf:" + ":".join(words), engine="vllm" if parts == 1 else "llamacpp")
    site.remote.provision()
    assert TINY_SHA in site.remote.blobs()


def test_an_artifact_of_docker_hub_is_written_as_it_is_told(site):
    (ref,) = site.advised("oci:ai/smollm2:360M", "if it lies at Docker Hub, write {}", code=3)
    assert ref == "oci:docker.io/ai/smollm2:360M"
    site.named(ref)
    assert "registry-1.docker.io among the hosts of network.allow" in site.remote.provision(code=1).all


def advised_of_a_reference(site, ref, sentence):
    return site.advised(ref, sentence, code=3)


def test_a_setting_that_names_no_registry(site):
    ollama(site.registry, "library/advised", "latest", [("model", TINY_BYTES)])
    good = site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"]
    site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"] = good.removeprefix("http://")
    sentence = "correct it, or take it out of the environment: then https://registry.ollama.ai is asked"
    site.advised("ollama:advised", sentence, code=3)
    site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"] = good
    site.brings("ollama:advised")
    del site.remote.environ["MODEL_PROVISIONER_OLLAMA_REGISTRY"]
    site.named("ollama:other")
    assert "registry.ollama.ai among the hosts of network.allow" in site.remote.provision(code=1).all


# ---- artifacts that can't be taken as they are


@pytest.mark.parametrize(
    ("sentence", "layers", "more"),
    [
        ("name the artifact that holds the model", [], {}),
        ("name the artifact that holds the model", [(LAYER, README, {"title": "README.md"})], {}),
        (
            "push it anew with a tool that names its files, as `oras push REF model.gguf`",
            [("application/x", b"x", {})],
            {},
        ),
        (
            "push it anew with one name for each file",
            [(LAYER, TINY_BYTES, {"title": "m.gguf"}), (LAYER, FLIPPED, {"title": "M.gguf"})],
            {},
        ),
        (
            "take the model out of the image with its own tool and name the file; or name the model's artifact",
            [(f"{LAYER}+gzip", b"x", {})],
            {"config": (IMAGE, b"{}")},
        ),
        (
            "name a tag of the model that is a GGUF: its page at ollama.com lists them",
            [("application/vnd.ollama.image.tensor", b"x", {})],
            {},
        ),
    ],
)
def test_what_is_advised_names_another_artifact(site, sentence, layers, more):
    site.pushed(layers, **more)
    site.advised("oci:PLACE:bad", sentence)
    site.brings(GOOD)


def test_what_is_packed_is_pushed_anew_or_named_as_a_folder(site):
    kit(site.registry, site.repository, "v1", b"a tar file")
    sentence = (
        "push the files as they are, each as a layer, as `oras push REF FILE…` does; or unpack it and name the folder"
    )
    site.advised("oci:PLACE:v1", sentence)
    oras(site.registry, site.repository, "v1", {"tiny.gguf": TINY_BYTES})
    site.brings("oci:PLACE:v1")
    site.brings("models")


def test_layers_that_lie_elsewhere_are_pushed(site):
    found = layer(site.registry, site.repository, "application/x", TINY_BYTES, title="tiny.gguf")
    push(site.registry, site.repository, "bad", [found | {"urls": ["https://elsewhere.example.org/x"]}])
    site.advised("oci:PLACE:bad", "push the artifact anew with all its layers")
    push(site.registry, site.repository, "bad", [found])
    site.brings("oci:PLACE:bad")


def test_one_manifest_of_an_index_is_named(site):
    manifest = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": site.digest, "size": 1}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest]}
    site.registry.push_manifest(site.repository, "bad", index)
    words = site.advised("oci:PLACE:bad", "name the one that is meant by its digest: oci:{}/{}@{}")
    place, digest = "/".join(words[:2]), words[2]
    site.brings(f"oci:{place}@{digest}")


def test_a_file_of_an_artifact_is_named(site):
    layers = [("gguf.v3", TINY_BYTES), ("mmproj", b"p")]
    docker_model(site.registry, site.repository, "bad", layers)
    (name,) = site.advised("oci:PLACE:bad#x.gguf", "write #{} or another of them")
    site.brings(f"oci:PLACE:bad#{name}")
    ollama(site.registry, site.repository, "bad", [("adapter", TINY_BYTES), ("projector", b"p")])
    ref, name = site.advised("oci:PLACE:bad", "name the file that is meant: {}#{}")
    site.brings(f"{ref}#{name}")


def test_one_of_several_ggufs_is_named_as_it_is_told(site):
    oras(site.registry, site.repository, "bad", {"m-Q4_0.gguf": TINY_BYTES, "m-Q8_0.gguf": FLIPPED})
    ref = "".join(site.advised("oci:PLACE:bad", "name the one to load: {}{}"))
    site.brings(ref)
    oras(
        site.registry,
        site.repository,
        "worse",
        {"m-Q4_0.gguf": TINY_BYTES, "m-Q8_0.gguf": FLIPPED, "mmproj.gguf": b"p"},
    )
    site.brings("".join(site.advised("oci:PLACE:worse", "name the one to load: {}{}")))


def test_a_reference_is_copied_or_its_file_listed(site):
    site.advised("oci:PLACE:no", "copy the reference from the registry's page")
    answer = site.remote.project.doit("model-list", "https://example.org/x", code=3)
    advised(answer, "name a repository of the Hub, or an artifact of a registry")
    assert site.text(GOOD) in site.remote.project.doit("model-list", site.text(GOOD)).out
    site.brings(GOOD)


def test_a_manifest_that_is_gone(site):
    site.named(GOOD)
    site.remote.doit("model-lock")
    site.remote.empty_cache()
    site.registry.delete_manifest(site.repository, site.digest)
    sentence = "ask who runs the registry for it, or name another artifact"
    advised(site.remote.provision(code=1), sentence)
    oras(site.registry, site.repository, "good", {"tiny.gguf": TINY_BYTES, "README.md": README})
    advised(site.remote.provision(code=1), "if the new one is right, `doit model-lock --upgrade NAME` takes it")
    site.remote.doit("model-lock", "--upgrade", "x")
    site.remote.provision()
    assert site.remote.bytes_of("x") == TINY_BYTES


# ---- registries that a real one never is


@pytest.fixture
def odd(remote, hurried):
    """A server that is a registry of one model, as far as it says so."""
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
    with FilesServer({}) as server:
        server.manifest, server.blob = "/v2/m/manifests/latest", f"/v2/m/blobs/sha256:{TINY_SHA}"
        server.files[server.manifest] = json.dumps(manifest).encode()
        server.files[server.blob] = TINY_BYTES
        remote.models({"x": f"oci:127.0.0.1:{server.port}/m"})
        yield server


def mended(remote):
    remote.provision()
    assert remote.bytes_of("x") == TINY_BYTES


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("check that the reference names a model; else tell who runs the registry", b"<html>"),
        ("check that the reference names the host that was meant", bytes(5 << 20)),
    ],
)
def test_what_is_no_manifest_may_be_another_hosts(remote, odd, sentence, answer):
    good, odd.files[odd.manifest] = odd.files[odd.manifest], answer
    advised(remote.provision(code=1), sentence)
    odd.files[odd.manifest] = good
    mended(remote)


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("check the registry that the reference names, and the repository there", 418),
        ("check the spelling; for a private one, {}", 403),
        ("try again later", 503),
    ],
)
def test_what_does_not_answer_may_answer_later(remote, odd, sentence, status):
    odd.manners.statuses.extend([(status, {})] * (5 if status == 503 else 1))
    advised(remote.provision(code=1), sentence)
    mended(remote)


def test_a_layer_that_is_not_handed_out(remote, odd):
    del odd.files[odd.blob]
    advised(remote.provision(code=1), "ask who runs the registry for it, or have the artifact pushed anew")
    odd.files[odd.blob] = TINY_BYTES
    odd.manners.users[odd.blob] = "Basic x"
    advised(remote.provision(code=1), "run again; for a private one, {}")
    odd.manners.users.clear()
    mended(remote)


def test_a_manifest_of_another_digest(remote, odd):
    good = odd.files[odd.manifest]
    digest = digest_of(good)
    odd.files[f"/v2/m/manifests/{digest}"] = b"{}"
    remote.models({"x": f"oci:127.0.0.1:{odd.port}/m@{digest}"})
    advised(remote.provision(code=1), "run again; if it is wrong again, tell who runs the registry")
    odd.files[f"/v2/m/manifests/{digest}"] = good
    mended(remote)


def test_storage_that_refuses(remote, odd):
    good = odd.files.pop(odd.manifest)
    with FilesServer({}) as storage:
        odd.manners.redirects[odd.manifest] = (307, storage.url("/x"))
        storage.manners.statuses.append((403, {}))
        sentence = "run again, which asks the registry for a new way to them; else tell who runs it"
        advised(remote.provision(code=1), sentence)
    odd.manners.redirects.clear()
    odd.files[odd.manifest] = good
    mended(remote)


def test_a_realm_that_is_asked_over_http(remote, odd):
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example.org/token"'}
    odd.manners.statuses.append((401, challenge))
    advised(remote.provision(code=1), "ask who runs the registry to name an https: realm")
    mended(remote)


# ---- logins


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    with (
        TokenServer(anonymous=False) as tokens,
        Registry(tmp_path_factory.mktemp("private"), tokens=tokens) as registry,
    ):  # noqa: F811
        oras(registry, "org/model", "q4", {"tiny.gguf": TINY_BYTES})
        registry.tokens = tokens
        yield registry


def log_in(remote, place, password=PASSWORD):
    folder = remote.home / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {place: {"auth": basic(USER, password)}}}))


def test_who_is_not_logged_in_logs_in(remote, private):
    """As `docker login` does it: without the program."""
    remote.models({"x": f"oci:{private.place}/org/model:q4"})
    sentence = "check the spelling; for a private one, {}"
    assert advised(remote.provision(code=1), sentence) == (
        f"`docker login {private.place}` or `podman login {private.place}`",
    )
    log_in(remote, private.place, "wrong")
    advised(remote.provision(code=1), "check the spelling; ask for the right to pull it; or log in anew: {}")
    log_in(remote, private.place)
    mended(remote)


def test_a_helper_is_done_without(remote, private):
    remote.models({"x": f"oci:{private.place}/org/model:q4"})
    (remote.home / ".docker").mkdir()
    (remote.home / ".docker" / "config.json").write_text('{"credsStore": "desktop"}')
    advised(remote.provision(code=1), "{}: check the spelling; for a private one, {}")
    (remote.home / ".docker" / "config.json").unlink()
    log_in(remote, private.place)
    mended(remote)


def test_a_token_that_is_none(remote, private):
    remote.models({"x": f"oci:{private.place}/org/model:q4"})
    log_in(remote, private.place)
    private.tokens.answer = lambda path: b"{}"
    try:
        advised(remote.provision(code=1), "try again later; else tell who runs the registry")
    finally:
        private.tokens.answer = lambda path: None
    mended(remote)

"""Who we are to a registry, by what `docker login` and `podman login` left."""

import json
import os

import pytest

from model_provisioner.fetchers.oci.logins import LIMIT, Login, login_for
from model_provisioner.fetchers.oci.place import registry_place
from tests.support.registry import basic

GHCR = registry_place("ghcr.io", "org/model")


@pytest.fixture
def home(tmp_path):
    return tmp_path


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def docker(home, auths, **more):
    write(home / ".docker" / "config.json", {"auths": auths, **more})


def found(home, place=GHCR, **environ):
    return login_for(place, {"HOME": str(home), **environ})


def auth(user="me", password="pw"):
    return {"auth": basic(user, password)}


def test_nobody_is_logged_in_where_no_file_says_so(home):
    assert found(home).login is None
    assert found(home).why_not == ""


@pytest.mark.parametrize("key", ["ghcr.io", "GHCR.io", "https://ghcr.io", "https://ghcr.io/v1/", "https://ghcr.io/v2/"])
def test_a_registry_is_known_by_every_form_of_its_name(home, key):
    docker(home, {key: auth()})
    assert found(home).login == Login("me", "pw")
    assert found(home, registry_place("ghcr.io.evil", "m")).login is None
    assert found(home, registry_place("ghcr.io:444", "m")).login is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_several_names(home, key):
    docker(home, {key: auth()})
    assert found(home, registry_place("docker.io", "ai/smollm2")).login == Login("me", "pw")


def test_podman_knows_parts_of_a_registry_and_the_narrowest_counts(home):
    path = home / ".config" / "containers" / "auth.json"
    write(path, {"auths": {"ghcr.io": auth("all"), "ghcr.io/org": auth("org"), "ghcr.io/other": auth("other")}})
    assert found(home).login == Login("org", "pw")
    assert found(home, registry_place("ghcr.io", "third/model")).login == Login("all", "pw")


def test_the_first_file_that_has_the_registry_counts(home):
    docker(home, {"ghcr.io": auth("docker"), "r.io": auth("docker")})
    write(home / "run" / "containers" / "auth.json", {"auths": {"ghcr.io": auth("podman")}})
    assert found(home, XDG_RUNTIME_DIR=str(home / "run")).login == Login("podman", "pw")
    assert found(home, registry_place("r.io", "m"), XDG_RUNTIME_DIR=str(home / "run")).login == Login("docker", "pw")
    write(home / "named.json", {"auths": {"ghcr.io": auth("named")}})
    assert found(home, REGISTRY_AUTH_FILE=str(home / "named.json")).login == Login("named", "pw")
    write(home / "elsewhere" / "config.json", {"auths": {"ghcr.io": auth("other")}})
    assert found(home, DOCKER_CONFIG=str(home / "elsewhere")).login == Login("other", "pw")


@pytest.mark.parametrize(
    ("value", "login"),
    [
        ({"auth": basic("me", "p:w")}, Login("me", "p:w")),
        ({"username": "me", "password": "pw"}, Login("me", "pw")),
        ({"auth": basic("me", ""), "identitytoken": "t0ken"}, Login("me", "", "t0ken")),
        ({}, None),
        (None, None),
        ({"auth": "%%%"}, None),
        ({"auth": 1}, None),
        ({"auth": "bm9jb2xvbg=="}, None),
        ({"auth": basic("", "pw")}, None),
        ({"auth": basic("me", "")}, None),
        ({"username": 1, "password": []}, None),
    ],
)
def test_what_a_login_is(home, value, login):
    docker(home, {"ghcr.io": value})
    assert found(home).login == login


def test_nothing_of_a_login_is_shown():
    assert "s3cret" not in repr(Login("me", "s3cret", "s3cret"))


@pytest.mark.parametrize("more", [{"credsStore": "desktop"}, {"credHelpers": {"ghcr.io": "desktop"}}])
def test_a_credential_helper_is_named_and_not_started(home, more):
    docker(home, {"ghcr.io": {}}, **more)
    assert found(home).login is None
    assert found(home).why_not == (
        f"{home}/.docker/config.json leaves it to the credential helper desktop, which is not started here"
    )


def test_a_helper_of_another_registry_is_no_word_about_this_one(home):
    docker(home, {}, credHelpers={"gcr.io": "gcloud"})
    assert found(home).why_not == ""


def test_a_file_without_logins_is_none(home):
    docker(home, [])
    assert found(home).login is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": {"ghcr.io": {}}', "x" * (LIMIT + 1)])
def test_a_file_that_can_t_be_read_is_told_and_hides_no_other(home, text):
    podman = home / ".config" / "containers" / "auth.json"
    podman.parent.mkdir(parents=True)
    podman.write_text(text)
    assert found(home).why_not == f"{podman} can't be read"
    docker(home, {"ghcr.io": auth()})
    assert found(home).login == Login("me", "pw")


def test_a_fifo_is_not_waited_for(home):
    (home / ".docker").mkdir()
    os.mkfifo(home / ".docker" / "config.json")
    assert found(home).login is None

"""What is advised about mirrors lets them be named, and filled."""

import json

import pytest

from tests.support.advice import advised
from tests.support.files_server import FilesServer
from tests.support.registry import PASSWORD, USER, Registry, basic
from tests.support.remote import ONE, TINY_SHA


@pytest.fixture
def here(tiny, s3, moto):
    """A model that is fetched and handed off, and a bucket."""
    moto.client().create_bucket(Bucket="models")
    tiny.environ.update(s3.environ())
    tiny.doit("model-lock")
    tiny.provision()
    return tiny


def mirror(project, *args, code=0):
    return project.doit("model-mirror", *args, code=code)


def test_where_to(here):
    advised(mirror(here, code=3), "write it as in   doit model-mirror --to s3://models/cache/")
    mirror(here, "--to", "s3://models/cache/")


def test_a_web_server(here):
    advised(
        mirror(here, "--to", "https://mirror.example.org/", code=3),
        "name the bucket or registry behind it; or copy the files there as sha256/<first two digits>/<64 digits>",
    )
    mirror(here, "--to", "s3://models/")


def test_no_mirror(here):
    here.models({"tiny": ONE}, mirrors=["http://mirror.example.org/"])
    advised(
        here.provision(code=3),
        "name the place that holds files by their SHA-256; credentials are where those for its host are",
    )
    here.models({"tiny": ONE}, mirrors=["https://mirror.example.org/"])
    here.provision()


def test_too_many(here):
    here.models({"tiny": ONE}, mirrors=[f"s3://mirror-{number}/" for number in range(9)])
    advised(here.provision(code=3), "name those that are near")
    here.models({"tiny": ONE}, mirrors=[f"s3://mirror-{number}/" for number in range(8)])
    here.provision()


def test_the_variable(here):
    here.environ["MODEL_PROVISIONER_MIRRORS"] = "s3"
    advised(
        here.provision(code=3),
        'correct it, as in   export MODEL_PROVISIONER_MIRRORS="s3://models/cache/ https://mirror.example.org/"',
    )
    here.environ["MODEL_PROVISIONER_MIRRORS"] = "s3://models/cache/ https://mirror.example.org/"
    here.provision()


def test_rights(here, moto):
    here.environ.update(moto.verify(["s3:GetObject", "s3:ListBucket"]))
    advised(
        mirror(here, "--to", "s3://models/", code=1),
        "ask for s3:PutObject, s3:GetObject and s3:AbortMultipartUpload under the prefix, and for s3:ListBucket on the bucket",
    )
    moto.reset()
    moto.client().create_bucket(Bucket="models")
    here.environ.update(
        moto.verify(["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListBucket"]),
    )
    mirror(here, "--to", "s3://models/")


def test_a_local_model_without_a_digest(here):
    here.project.add_tiny()
    here.models({"local": "file:models/tiny.gguf"})
    here.provision()
    advised(mirror(here, "local", "--to", "s3://models/", code=1), "run `doit model-lock`, then `doit provision`")
    here.doit("model-lock")
    here.provision()
    assert f"sent  local  sha256:{TINY_SHA}" in mirror(here, "local", "--to", "s3://models/").out


def test_a_registry_that_lets_us_send_nothing(tiny, tmp_path):
    tiny.doit("model-lock")
    tiny.provision()
    (tiny.home / ".docker").mkdir()
    with Registry(tmp_path / "registry", passwords=True) as registry:

        def log_in(password):
            auths = {registry.place: {"auth": basic(USER, password)}}
            (tiny.home / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))

        log_in("wrong")
        to = "--to", f"oci:{registry.place}/site/models"
        advised(mirror(tiny, *to, code=1), "ask for the right to push to it; or log in anew: {}")
        log_in(PASSWORD)
        with FilesServer({}) as cache:
            cache.manners.statuses.extend([(404, {}), (404, {}), (405, {})])
            place = f"oci:127.0.0.1:{cache.port}/site/models"
            advised(mirror(tiny, "--to", place, code=1), "name a registry that files can be pushed to")
        mirror(tiny, *to)

"""Mirrors: what names one, where it holds a file, and what names none."""

import pytest

from model_provisioner.errors import InputError, SettingError
from model_provisioner.references.mirror import Mirror, users_mirrors

SHA256 = "a28bb84f488aaa63c7da76db6b44714eec01ada657b222fb3b9be04badf46897"


@pytest.mark.parametrize(
    ("text", "written", "key"),
    [
        ("s3://models/cache/", "s3://models/cache/", f"cache/sha256/a2/{SHA256}"),
        ("s3://models/deep/cache", "s3://models/deep/cache/", f"deep/cache/sha256/a2/{SHA256}"),
        ("s3://models", "s3://models/", f"sha256/a2/{SHA256}"),
        ("S3://models/", "s3://models/", f"sha256/a2/{SHA256}"),
    ],
)
def test_a_bucket(text, written, key):
    mirror = Mirror.parse(text)
    assert (str(mirror), mirror.key(SHA256)) == (written, key)
    assert Mirror.parse(written) == mirror


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Mirror.Example.org", f"https://mirror.example.org/sha256/a2/{SHA256}"),
        ("https://mirror.example.org:8443/a%20b/", f"https://mirror.example.org:8443/a%20b/sha256/a2/{SHA256}"),
        ("https://[::1]/models", f"https://[::1]/models/sha256/a2/{SHA256}"),
    ],
)
def test_a_web_server(text, url):
    assert Mirror.parse(text).url(SHA256) == url


def test_a_registry():
    mirror = Mirror.parse("oci:registry.example.org:5000/site/models")
    assert (mirror.kind, mirror.place, mirror.path) == ("oci", "registry.example.org:5000", "site/models")
    assert str(mirror) == "oci:registry.example.org:5000/site/models"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mirror",
        "http://mirror.example.org/",
        "https://",
        "https://mirror.example.org/?token=s3cret",
        "https://mirror.example.org/#s3cret",
        "https://me:s3cret@mirror.example.org/",
        "https://me@mirror.example.org/?signature=s3cret",
        "https://mirror.example.org/?mail=me@example.org&token=s3cret",
        "https://me:s3cret?@mirror.example.org/",
        "https://mirror.example.org/a/../b/",
        "https://mirror.example.org/a/%2e%2e/b/",
        "s3://",
        "s3://x",
        "s3://me:s3cret@models/",
        "s3://models/../x/",
        "s3:models",
        "oci:registry.example.org/models:tag",
        f"oci:registry.example.org/models@sha256:{SHA256}",
        "oci:me:s3cret@registry.example.org/models",
        "hf:org/repo",
        "file:models",
    ],
)
def test_what_is_no_mirror_is_refused_without_its_secret(text):
    with pytest.raises(InputError) as caught:
        Mirror.parse(text)
    assert caught.value.what == "not a mirror"
    assert "s3cret" not in str(caught.value)


def test_the_variable():
    assert users_mirrors({}) is users_mirrors({"MODEL_PROVISIONER_MIRRORS": " "}) is None
    assert users_mirrors({"MODEL_PROVISIONER_MIRRORS": "Off"}) == ()
    found = users_mirrors({"MODEL_PROVISIONER_MIRRORS": " s3://models/  https://host/ s3://models "})
    assert [str(each) for each in found] == ["s3://models/", "https://host/"]
    with pytest.raises(SettingError, match="MODEL_PROVISIONER_MIRRORS can't be understood"):
        users_mirrors({"MODEL_PROVISIONER_MIRRORS": "off s3://models/"})
    with pytest.raises(SettingError):
        users_mirrors({"MODEL_PROVISIONER_MIRRORS": " ".join(f"s3://models-{number}/" for number in range(9))})

"""References: what is accepted, what it is called, and where a path leads."""

import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import InvalidReferenceError
from model_provisioner.references.reference import HubRef, LocalRef, ModelRef, ObjectRef, UrlRef

ACCEPTED = (
    "a path, file:PATH, hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION], https://HOST/FILE, s3://BUCKET/KEY, "
    "oci:REGISTRY/REPO[:TAG] or ollama:NAME[:TAG]"
)


# ---- what is accepted


@pytest.mark.parametrize(
    ("text", "value", "id"),
    [
        ("file:/abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("file:///abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("file://localhost/abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("local:/abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("/abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("//abs///x.gguf", LocalRef("//abs///x.gguf"), "local:/abs/x.gguf"),
        ("local://abs/x.gguf", LocalRef("//abs/x.gguf"), "local:/abs/x.gguf"),
        ("FILE:/abs/x.gguf", LocalRef("/abs/x.gguf"), "local:/abs/x.gguf"),
        ("/abs/with:colon", LocalRef("/abs/with:colon"), "local:/abs/with:colon"),
        ("file:/a%20b#c?d", LocalRef("/a%20b#c?d"), "local:/a%20b#c?d"),
        ("file:///a%20b%23c%C3%A9", LocalRef("/a b#cé"), "local:/a b#cé"),
        ("file:///a%ff#b?c", LocalRef("/a\udcff#b?c"), "local:/a\udcff#b?c"),
        ("file:///100%.gguf", LocalRef("/100%.gguf"), "local:/100%.gguf"),
        ("file:///~/x", LocalRef("/~/x"), "local:/~/x"),
        ("/", LocalRef("/"), "local:/"),
        ("hf:org/repo", HubRef("org/repo"), "hf:org/repo"),
        ("hf:org/repo@main", HubRef("org/repo", "main"), "hf:org/repo"),
        ("hf://org/repo", HubRef("org/repo"), "hf:org/repo"),
        ("hf://org/repo@v1/a/x.gguf", HubRef("org/repo", "v1", "a/x.gguf"), "hf:org/repo/a/x.gguf"),
        ("hf:org/repo/x.gguf", HubRef("org/repo", None, "x.gguf"), "hf:org/repo/x.gguf"),
        ("hf:org/repo@v1/a/x.gguf", HubRef("org/repo", "v1", "a/x.gguf"), "hf:org/repo/a/x.gguf"),
        ("hf:org/repo@refs%2fpr%2F1/x", HubRef("org/repo", "refs/pr/1", "x"), "hf:org/repo/x"),
        ("hf:org/repo/a@b/c %2F#?.gguf", HubRef("org/repo", None, "a@b/c %2F#?.gguf"), "hf:org/repo/a@b/c %2F#?.gguf"),
        ("hf:org/repo:Q4_K_M", HubRef("org/repo", quantization="Q4_K_M"), "hf:org/repo:Q4_K_M"),
        ("hf:org/repo@v1:ud-q4_k_xl", HubRef("org/repo", "v1", quantization="UD-Q4_K_XL"), "hf:org/repo:UD-Q4_K_XL"),
        ("hf:org/repo:fp16", HubRef("org/repo", quantization="F16"), "hf:org/repo:F16"),
        ("hf:org/repo/a:q8_0", HubRef("org/repo", None, "a:q8_0"), "hf:org/repo/a:q8_0"),
        ("hf:Qwen_1/Qwen2.5-0.5B_x", HubRef("Qwen_1/Qwen2.5-0.5B_x"), "hf:Qwen_1/Qwen2.5-0.5B_x"),
        ("https://host/x.gguf", UrlRef("https://host/x.gguf"), "https://host/x.gguf"),
        ("HTTPS://Host:8443/X.gguf", UrlRef("https://Host:8443/X.gguf"), "https://host:8443/X.gguf"),
        ("https://[::1]/x", UrlRef("https://[::1]/x"), "https://[::1]/x"),
        ("https://u:p%40@host/x#f", UrlRef("https://u:p%40@host/x#f"), "https://host/x"),
        ("https://host/x?", UrlRef("https://host/x?"), "https://host/x"),
        ("https://host/x?a=b", UrlRef("https://host/x?a=b"), "https://host/x#query-42144f3939c3"),
        ("https://host/x?a=b#f", UrlRef("https://host/x?a=b#f"), "https://host/x#query-42144f3939c3"),
        ("https://host/x?a=c", UrlRef("https://host/x?a=c"), "https://host/x#query-5d428c324800"),
        ("s3://bucket/key", ObjectRef("bucket", "key"), "s3://bucket/key"),
        ("s3://bucket/a/b/", ObjectRef("bucket", "a/b/"), "s3://bucket/a/b/"),
        ("s3://bucket/a//b ?#%20", ObjectRef("bucket", "a//b ?#%20"), "s3://bucket/a//b ?#%20"),
    ],
)
def test_forms_and_ids(text, value, id):
    ref = ModelRef.parse(text)
    assert ref == value
    assert ref.id == id
    assert ModelRef.parse(id).id == id
    assert ModelRef.parse(str(ref)) == ref
    assert ref.is_local == isinstance(value, LocalRef)


@pytest.mark.parametrize(
    "text", ["file:models/x.gguf", "models/x.gguf", "./models//x.gguf", "local:models/y/../x.gguf"]
)
def test_the_id_of_a_relative_path_is_taken_from_the_working_directory(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse(text).id == f"local:{tmp_path}/models/x.gguf"


# ---- what is refused, and how it is said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            f"the reference is empty\n  expected  {ACCEPTED}\n  found     an empty text\n  fix       write the path of the model",
        ),
        (
            "llama3:8b",
            f"no reference starts with llama3:\n  expected  {ACCEPTED}\n  found     llama3:8b\n"
            "  fix       if that is the name of a local file, write ./llama3:8b",
        ),
        (
            "ftp://user:secret@host/x",
            f"no reference starts with ftp:\n  expected  {ACCEPTED}\n  found     ftp://…\n"
            "  fix       download the model and name the file",
        ),
        (
            "http://host/x.gguf?token=secret",
            "models are not fetched over http:\n  expected  https://HOST/FILE\n  found     http://host/x.gguf\n"
            "  fix       write https://host/x.gguf",
        ),
        (
            "file://server/share/x.gguf",
            "a file: URL of another machine\n  expected  file:///PATH or file:PATH\n  found     file://server/share/x.gguf\n"
            "  fix       three slashes start an absolute path; a relative one is written file:PATH",
        ),
        (
            "a\0b",
            "no file can have this name\n  expected  a path without NUL and without lone surrogates\n  found     a\\x00b\n"
            "  fix       take the bad character out; bytes that are not UTF-8 can be written as %XX after file://",
        ),
        (
            "hf:gpt2",
            "a Hugging Face repository is named by its organisation or user and its name\n"
            "  expected  hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]\n  found     hf:gpt2\n"
            "  fix       copy ORG/REPO from the top of its page: hf:gpt2 is hf:openai-community/gpt2",
        ),
        (
            "hf:org/repo@a:b/x",
            "not a quantization of a Hugging Face repository\n  where     hf:org/repo\n"
            "  expected  one name after the colon, as Q4_K_M, UD-Q4_K_XL or BF16, and nothing behind it\n  found     b/x\n"
            "  fix       `model-provisioner list hf:org/repo` shows which there are",
        ),
        (
            "hf:org/repo:latest",
            "not a quantization of a Hugging Face repository\n  where     hf:org/repo\n"
            "  expected  one name after the colon, as Q4_K_M, UD-Q4_K_XL or BF16, and nothing behind it\n"
            "  found     latest\n  fix       `model-provisioner list hf:org/repo` shows which there are",
        ),
        (
            "hf:org/repo/../x",
            "not a file of a Hugging Face repository\n  where     hf:org/repo\n"
            "  expected  hf:ORG/REPO[@REVISION][/FILE or :QUANTIZATION]\n  found     ../x\n"
            "  fix       write the file's path as the repository lists it, or none for the whole repository",
        ),
        (
            "https://host/a b",
            "not an https: URL of a file\n  expected  https://HOST/FILE, in ASCII, with %20 for a space\n"
            "  found     https://host/a b\n  fix       copy the link of the file from its page",
        ),
        (
            "s3:bucket/key",
            "not an object of S3 storage\n  expected  s3://BUCKET/KEY, or s3://BUCKET/PREFIX/ for all under it\n"
            "  found     s3:bucket/key\n"
            "  fix       write bucket and key as your storage lists them; credentials come from the environment",
        ),
        (
            "s3://My_Models/key",
            "no bucket can have this name\n"
            "  expected  3 to 63 of a-z, 0-9, - and . (none beside another), a letter or digit at both ends, no IP address\n"
            "  found     s3://My_Models/key\n"
            "  fix       copy the name as your storage lists it: s3://BUCKET/KEY, without host and credentials",
        ),
    ],
)
def test_what_is_refused_and_how_it_is_said(text, message):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert str(caught.value) == message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "text",
    [
        "file:",
        "file://",
        "local:",
        "file:///a%00b",
        "file://user:secret@localhost/x",
        "a\ud800b",
        "file:///a\ud800b",
        "C:\\models\\x.gguf",
        " file:x",
        "hf:",
        "hf:/x",
        "hf:org/",
        "hf:org/repo/",
        "hf:org/repo//x",
        "hf:org/repo/a/./b",
        "hf:org/repo/a\0",
        "hf:org/repo/a\udcff",
        "hf:org/repo@",
        "hf:org/repo@/x",
        "hf:org/repo@a..b",
        "hf:org/repo@a b",
        "hf:org/repo@a\n",
        "hf:org/repo@50%",
        "hf:org/repo@%2Fa",
        "hf:or--g/repo",
        "hf:org/re..po",
        "hf:-org/repo",
        "hf:org/repo.",
        "hf:org/repo.git",
        "hf:org/repo\n",
        "hf:org/modèle",
        f"hf:org/{'a' * 97}",
        "https:host/x",
        "https:///x",
        "https://host",
        "https://host/",
        "https://host/?x=y",
        "https://host:port/x",
        "https://host/x\n",
        "https://host/é",
        "https://evil\\@host/x",
        "https://host\\@evil/x",
        "https://a@b@host/x",
        "s3://bucket",
        "s3://bucket/",
        "s3://Bucket/key",
        "s3://a..b/key",
        "s3://127.0.0.1/key",
        "s3://me:secret@models/key",
        "s3://bucket/../key",
        "s3://bucket/a\0",
    ],
)
def test_what_else_is_refused(text):
    with pytest.raises(InvalidReferenceError):
        ModelRef.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://u:secret@host/x",
        "http:u:secret@host/x",
        "https:u:secret@host/x",
        "https://u:secret@host/a b",
        "https://u:sec?ret@host/a b",
        "https://u:se/cret@host/x y",
        "https://host/a b?token=secret",
        "https://host/a b#secret",
        "ftp://u:secret@host/x",
        "s3://AKIA:secret@bucket/key",
        "file://u:secret@host/x",
    ],
)
def test_no_message_tells_a_secret(text):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert "secret" not in str(caught.value)
    assert "cret@" not in str(caught.value)


def test_neither_repr_nor_id_tells_a_secret():
    ref = ModelRef.parse("https://user:secret@host/x?token=secret#secret")
    assert "secret" not in repr(ref)
    assert "secret" not in ref.id
    assert "secret" in str(ref)


def test_a_page_of_text_is_not_printed_back():
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse("x:" + "y" * 1_000_000)
    assert len(str(caught.value)) < 1000


# ---- printing and parsing are inverse

FILE_NAMES = st.one_of(
    st.text(min_size=1),
    st.binary(min_size=1).map(os.fsdecode),
    st.text("a~/.:#?%@- \n\\é\udcff", min_size=1),
    st.sampled_from(["file:x", "local:x", "hf:a/b", "https://h/x", "s3://b/k", "//x", "~", "-", "%41", "file:///%41"]),
)
HUB_NAMES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
KEYS = st.one_of(st.none(), st.text(min_size=1), st.text("a/.:#?%@- \n\\é", min_size=1))
REVISIONS = st.one_of(st.none(), st.text(min_size=1), st.text("a/.@2F%-", min_size=1))


def check_inverse(ref):
    again = ModelRef.parse(str(ref))
    assert again == ref
    assert type(again) is type(ref)
    assert ModelRef.parse(ref.id).id == ref.id


@given(FILE_NAMES.filter(lambda name: "\0" not in name))
def test_every_path_is_printed_and_read_back(path):
    ref = LocalRef(path)
    assert ModelRef.parse(str(ref)) == ref
    assert ModelRef.parse(f"file:./{path}") == LocalRef(f"./{path}")
    check_inverse(LocalRef(f"/{path}"))


@given(HUB_NAMES, HUB_NAMES, REVISIONS, KEYS)
def test_every_hub_reference_is_printed_and_read_back(org, name, revision, path):
    try:
        ref = HubRef(f"{org}/{name}", revision, path)
    except InvalidReferenceError:
        return
    check_inverse(ref)
    assert ref.id == HubRef(ref.repo, None, path).id


@given(HUB_NAMES, HUB_NAMES, REVISIONS, st.sampled_from(["Q4_K_M", "iq2_xxs", "UD-Q8_K_XL", "fp16", "bF16"]))
def test_every_hub_reference_of_a_quantization_is_printed_and_read_back(org, name, revision, quantization):
    try:
        ref = HubRef(f"{org}/{name}", revision, quantization=quantization)
    except InvalidReferenceError:
        return
    check_inverse(ref)
    assert ref.id == HubRef(ref.repo, quantization=quantization.upper()).id


@given(st.text("aA0.:@/?#[]%-é \n\\=", max_size=30))
def test_every_url_is_printed_and_read_back(rest):
    try:
        ref = UrlRef(f"https://h{rest}")
    except InvalidReferenceError:
        return
    check_inverse(ref)
    assert "?" not in ref.id
    assert "@" not in ref.id.removeprefix("https://").partition("/")[0]


@given(st.text("ab0.-", min_size=3, max_size=8), KEYS)
def test_every_object_is_printed_and_read_back(bucket, key):
    try:
        ref = ObjectRef(bucket, key or "")
    except InvalidReferenceError:
        return
    check_inverse(ref)


@given(st.one_of(st.text(), st.text("hfilettps3:/@?#%.~a\0\ud800"), FILE_NAMES))
def test_any_text_is_a_reference_or_refused(text):
    try:
        ref = ModelRef.parse(text)
    except InvalidReferenceError:
        return
    assert ModelRef.parse(str(ref)) == ref


# ---- where a path leads


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("x.gguf", "/base/x.gguf"),
        ("./a//b/", "/base/a/b"),
        ("../x", "/x"),
        ("..", "/"),
        (".", "/base"),
        ("a/..", "/base"),
        ("/", "/"),
        ("//a/../b", "/b"),
        ("-x", "/base/-x"),
        ("a b\n", "/base/a b\n"),
        ("./~nobody", "/base/~nobody"),
        ("\udcff", "/base/\udcff"),
    ],
)
def test_a_path_that_is_not_there_is_made_absolute(path, absolute):
    assert LocalRef(path).absolute("/base") == LocalRef(absolute)


def test_an_absolute_reference_stays_as_it_is(tmp_path, monkeypatch):
    ref = LocalRef("x.gguf").absolute(str(tmp_path))
    monkeypatch.chdir("/")
    assert ref.absolute("/other") == ref == ModelRef.parse(str(ref))
    assert ref.id == f"local:{tmp_path}/x.gguf"


def test_the_last_link_is_kept_and_those_above_are_followed(tmp_path):
    (tmp_path / "disk" / "sub").mkdir(parents=True)
    (tmp_path / "disk" / "blob").touch()
    (tmp_path / "models").symlink_to("disk/sub")
    (tmp_path / "disk" / "sub" / "x.gguf").symlink_to("../blob")
    base = str(tmp_path)
    assert LocalRef("models/x.gguf").absolute(base).path == f"{base}/disk/sub/x.gguf"
    assert LocalRef("models").absolute(base).path == f"{base}/models"
    assert LocalRef("models/").absolute(base).path == f"{base}/models"
    assert LocalRef("models/../blob").absolute(base).path == f"{base}/disk/blob"
    assert LocalRef("models/.").absolute(base).path == f"{base}/disk/sub"
    assert LocalRef("models/..").absolute(base).path == f"{base}/disk"


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of me")
    me = pwd.getpwuid(os.getuid())
    assert LocalRef("~").absolute("/base").path == "/home/of me"
    assert LocalRef("~/x").id == "local:/home/of me/x"
    assert ModelRef.parse("file:~/x").id == "local:/home/of me/x"
    assert LocalRef(f"~{me.pw_name}/no such/x").absolute("/base").path == os.path.realpath(me.pw_dir) + "/no such/x"


def test_a_home_of_nobody_is_refused_when_it_is_looked_up():
    ref = ModelRef.parse("~no-such-user/x.gguf")
    with pytest.raises(InvalidReferenceError) as caught:
        ref.absolute("/base")
    assert str(caught.value) == (
        "no such user\n"
        "  expected  ~/… for your own home, ~USER/… for a user of this machine\n"
        "  found     ~no-such-user/x.gguf\n"
        "  fix       if that is the name of a local file, write ./~no-such-user/x.gguf"
    )
    with pytest.raises(InvalidReferenceError):
        _ = ref.id


@pytest.mark.parametrize(
    "text",
    [
        "//user:s3cret@host/x.gguf",
        "//s3cret@host/x.gguf",
        "https//user:s3cret@host/x.gguf",
        "htps//user:s3cret@host/x.gguf",
        "htps:/user:s3cret@host/x.gguf",
        "htps:user:s3cret@host/x.gguf",
        "user:s3cret@host/x.gguf",
        "://user:s3cret@host/x.gguf",
        "hf:user:s3cret@host/x.gguf",
        "s3:user:s3cret@bucket/x.gguf",
    ],
)
def test_a_url_without_its_scheme_is_no_local_path_and_its_secret_is_not_shown(text):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.fix


@pytest.mark.parametrize("text", ["//abs/x@v1.gguf", "models//x@v1.gguf", "a/b:c@d.gguf", "local://a:b@c/x"])
def test_an_at_sign_in_a_local_path_is_itself(text):
    assert ModelRef.parse(text).path == text.removeprefix("local:")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf:org/repo@refs/pr/1/x.gguf", "hf:org/repo@refs%2Fpr%2F1/x.gguf"),
        ("hf:org/repo@refs/pr/1", "hf:org/repo@refs%2Fpr%2F1"),
    ],
)
def test_a_revision_with_a_slash_is_said_with_its_percents(text, meant):
    with pytest.raises(InvalidReferenceError) as caught:
        ModelRef.parse(text)
    assert caught.value.fix == f"write {meant}"
    assert ModelRef.parse(meant).revision == "refs/pr/1"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("hf:org/repo/q8/m-00002-of-00003.gguf", "hf:org/repo/q8/m-00002-of-00003.gguf"),
        ("hf:org/repo@v1/m-00003-of-00003.gguf", "hf:org/repo@v1/m-00003-of-00003.gguf"),
        ("https://host/m-00002-of-00003.gguf?token=secret", "https://host/m-00002-of-00003.gguf#query-"),
        ("s3://bucket/m-00002-of-00003.gguf", "s3://bucket/m-00002-of-00003.gguf"),
    ],
)
def test_a_split_is_named_by_its_first_shard_wherever_it_is(text, where):
    with pytest.raises(InvalidReferenceError, match="a split is referenced by its first shard") as caught:
        ModelRef.parse(text)
    assert caught.value.expected == "m-00001-of-00003.gguf"
    assert caught.value.fix == "name m-00001-of-00003.gguf in its place: all shards come with it"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["datasets", "spaces"])
def test_what_is_no_model_on_the_hub_is_told(kind):
    with pytest.raises(InvalidReferenceError, match=f"a repository of {kind}, which holds no models"):
        ModelRef.parse(f"hf://{kind}/org/repo/x.gguf")

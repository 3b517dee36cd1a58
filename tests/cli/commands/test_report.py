"""`model-report`: what it says of models, where it writes, and that it changes nothing else."""

import hashlib
import json
import os
import re
import shlex
import sqlite3

import pytest
from model_signing import signing

from tests.support.gguf_bytes import gguf, text
from tests.support.html import Page
from tests.support.keys import make_keys
from tests.support.project import forget_verifications, read_only, settle

HANDOFFS = "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\n"
ZEROS = "sha256:" + "0" * 64


@pytest.fixture
def models(project):
    """One model for each way to stand but the ones that only time brings."""
    project.add_tiny("good.gguf")
    project.write("other.gguf", gguf({"general.architecture": text("llama")}) + b"x")
    project.write("broken.gguf", b"GGUF")
    project.models(
        HANDOFFS + "models:\n"
        "  good: {model_ref: 'file:good.gguf'}\n"
        "  twin: {model_ref: 'file:good.gguf', engine: vllm}\n"
        "  touched: {model_ref: 'file:other.gguf'}\n"
        f"  strict: {{model_ref: 'file:good.gguf', expected_digest: '{ZEROS}'}}\n"
        f"  tolerated: {{model_ref: 'file:good.gguf', expected_digest: '{ZEROS}', strict_verification: false}}\n"
        "  broken: {model_ref: 'file:broken.gguf'}\n"
        "  remote: {model_ref: 'hf:org/repo/x.gguf'}\n"
    )
    settle()
    project.provision(code=1)
    return project


def data(project, *args):
    found = project.json("model-report", *args)["result"]
    return found, {model["name"]: model for model in found["models"]}


def page(project, name="report.html"):
    project.doit("model-report", "-o", name)
    html = (project.root / name).read_text(encoding="utf-8")
    return Page(html)


def look(folder):
    """Return how all files below a folder look."""
    return {
        path: (os.lstat(path).st_mtime_ns, os.lstat(path).st_size)
        for top, _, names in os.walk(folder)
        for path in (os.path.join(top, name) for name in names)
    }


def test_how_each_model_stands(models):
    os.utime(models.root / "other.gguf", (1e9, 1e9))
    with (models.root / "models.yaml").open("a") as file:
        file.write("  fresh: {model_ref: 'file:good.gguf'}\n  gone: {model_ref: 'file:gone.gguf'}\n")
    found, named = data(models)
    assert {name: model["stands"] for name, model in named.items()} == {
        "broken": "failed",
        "fresh": "new",
        "gone": "failed",
        "good": "current",
        "remote": "failed",
        "strict": "failed",
        "tolerated": "tolerated",
        "touched": "stale",
        "twin": "current",
    }
    assert list(named) == sorted(named)
    assert found["counts"] == {
        **{"current": 2, "failed": 4, "new": 1, "stale": 1, "tolerated": 1},
        **{"pending": 0, "retired": 0},
    }
    assert named["good"]["current"] and not named["touched"]["current"]
    assert [reason["text"] for reason in named["touched"]["reasons"]] == ["mtime changed"]
    states = {name: model["handoff_state"] for name, model in named.items()}
    assert states["good"] == states["tolerated"] == "confirmed"
    assert states["touched"] == "unconfirmed"
    assert states["strict"] == states["fresh"] == "none"


@pytest.mark.parametrize(
    ("lifecycle", "stands", "said"),
    [("Pending", "pending", "Not finished"), ("Retired", "retired", "Retired"), ("Active", "current", "Verified")],
)
def test_the_state_is_the_catalogs(models, lifecycle, stands, said):
    with sqlite3.connect(models.state / "catalog.db") as catalog:
        catalog.execute("UPDATE model SET lifecycle = ? WHERE name = 'good'", (lifecycle,))
    catalog.close()
    assert data(models)[1]["good"]["stands"] == stands
    assert said in page(models).words


def test_what_fails_is_told_whole_with_its_fix(models):
    (models.root / "other.gguf").unlink()
    errors = {name: model["error"] for name, model in data(models)[1].items()}
    assert errors["good"] is None
    assert errors["broken"] == (
        "the file ends inside the version\n"
        f"  where     {models.root}/broken.gguf\n"
        "  expected  4 bytes at offset 4\n"
        "  found     0 bytes to the end of the file\n"
        "  fix       get the file again from its source: it was cut off, or its header is damaged"
    )
    assert errors["remote"].startswith("remote would have to be fetched, and the network is not allowed\n")
    assert errors["touched"].startswith("there is no such file or folder\n")
    # What stopped nothing is told in the same words as what did.
    assert errors["tolerated"] == errors["strict"]
    words = page(models).words
    for error in filter(None, errors.values()):
        for line in error.splitlines():
            assert " ".join(re.sub("^  (where|expected|found|fix) +", "", line).split()) in words, line


def test_the_page_holds_what_it_is_for(models):
    found = page(models)
    words = found.words
    digest = models.rows()["good"]["digest"].removeprefix("sha256:")
    # The touched one is current as long as nobody touches it.
    assert (
        "4 of 7 models need attention: 3 failed, 1 failed but handed off. "
        "The others are in order: 3 verified but not pinned." in words
    )
    assert "3 Failed 1 Failed, handed off 0 To be done 3 Verified, not pinned 0 Verified" in words
    for part in (
        "file:good.gguf",
        "hf:org/repo/x.gguf",
        digest,
        "llama Q8_0",
        "105.2 KB",
        "for vllm",
        "SHA-256 of every byte",
    ):
        assert part in words, part
    assert ".runtime/engines/good.json" in words
    assert (
        "good, strict, tolerated and 1 more: 105.2 KB, failed" in words
    )  # one file on the disk, so one box of the picture
    assert [section["id"] for section in found.all("section")] == ["models", "disk"]


def test_the_page_is_sound_and_needs_nothing_else(models):
    found = page(models)
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    links = found.values("href")
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
    assert all(link.startswith(("#", "data:image/svg+xml,")) for link in links)
    assert not found.values("src") and not found.values("style")
    assert found.all("script") == [{}]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    (policy,) = [meta["content"] for meta in found.all("meta") if meta.get("http-equiv")]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'; img-src data:; base-uri 'none'; "
        r"form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        policy,
    )
    for landmark in ("header", "nav", "main", "footer"):
        assert len(found.all(landmark)) == 1, landmark
    assert [head["scope"] for head in found.all("th")].count("col") == 8
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("h1")) == 1
    for picture in found.all("svg"):
        whole = {"disk-t", "disk-d"} <= set((picture.get("aria-labelledby") or "").split())
        assert whole or picture.get("aria-hidden") == "true" or "x" in picture  # a box of the whole


def test_when_and_how_it_was_verified(project):
    project.add_tiny("tiny.gguf")
    project.models("models:\n  tiny: {model_ref: 'file:tiny.gguf'}\n")
    settle()
    project.provision()
    os.utime(project.root / "tiny.gguf", (1e9, 1e9))
    settle()
    project.provision()
    first, confirmed = project.provenance()
    hashed = first["files"][0]["hashed"]  # the record itself may be of the second after
    (model,) = data(project)[1].values()
    assert model["last_read"] == {"time": confirmed["time"], "how": "xxh3"}
    assert model["last_hashed"] == hashed
    assert (
        f"every byte read (xxh3), {confirmed['time'].replace('T', ' ')} ; SHA-256 {hashed.replace('T', ' ')}"
        in page(project).words
    )
    forget_verifications(project)
    (model,) = data(project)[1].values()
    assert (model["last_read"], model["last_hashed"]) == (None, hashed)
    assert f"known by stat; SHA-256 {hashed.replace('T', ' ')}" in page(project).words
    os.utime(project.root / "tiny.gguf", (2e9, 2e9))
    assert "no reading of its bytes is on record" in page(project).words


def test_an_entry_that_is_gone_is_told(models):
    text = (models.root / "models.yaml").read_text()
    models.models("".join(line for line in text.splitlines(keepends=True) if "twin" not in line))
    assert data(models)[0]["left_over"] == ["twin"]
    assert "No longer in models.yaml, and cleared up by the next full run: twin ." in page(models).words


def test_an_entry_that_names_another_model_is_new(models):
    text = (models.root / "models.yaml").read_text()
    models.models(text.replace("good: {model_ref: 'file:good.gguf'", "good: {model_ref: 'file:other.gguf'"))
    good = data(models)[1]["good"]
    assert (good["stands"], good["catalog"]) == ("new", None)


def test_the_same_inputs_give_the_same_bytes_but_for_one_time(models):
    models.doit("model-report", "-o", "one.html")
    models.doit("model-report", "-o", "two.html")
    one, two = ((models.root / name).read_bytes() for name in ("one.html", "two.html"))
    made = rb'<time id="made-at" datetime="[^"]*">[^<]*</time>'
    assert len(re.findall(made, one)) == 1
    assert re.sub(made, b"", one) == re.sub(made, b"", two)
    fixed = type(models)(models.root, models.state, {"SOURCE_DATE_EPOCH": "1700000000"})
    assert fixed.doit("model-report", "-o", "-").out == fixed.doit("model-report", "-o", "-").out
    assert data(fixed)[0]["made_at"] == "2023-11-14T22:13:20Z"
    broken = type(models)(models.root, models.state, {"SOURCE_DATE_EPOCH": "soon"})
    assert broken.doit("model-report", "-o", "-", code=3).err == (
        "ERROR: SOURCE_DATE_EPOCH is no time\n"
        "  where     the environment\n"
        "  expected  the seconds since 1970, as a whole number\n"
        "  found     soon\n"
        "  fix       set it to such a number, or unset it: then the report has the time of now\n"
    )


def test_nothing_but_the_file_is_written(models, tmp_path):
    os.utime(models.root / "other.gguf", (1e9, 1e9))
    before = look(models.root), look(models.state)
    answer = models.doit("model-report", "-o", str(tmp_path / "out.html"))
    assert answer.out == f"{tmp_path}/out.html: 7 models, 3 failed, 1 failed but handed off\n"
    models.doit("model-report", "--json")
    assert (look(models.root), look(models.state)) == before


def test_it_is_made_where_nothing_can_be_written(models):
    mount = f"{read_only(models.root)} && {read_only(models.state)}"
    code, said = models.mounted(mount, "model-report", "-o", "-")
    assert (code, said.startswith("<!doctype html>"), said.endswith("</html>\n")) == (0, True, True), said


def test_before_the_first_run_all_is_new_and_no_state_is_made(project):
    project.add_tiny("tiny.gguf")
    project.models("models:\n  tiny: {model_ref: 'file:tiny.gguf'}\n")
    assert data(project)[1]["tiny"]["stands"] == "new"
    assert "1 of 1 model needs attention: 1 to be done." in page(project).words
    assert not project.state.exists()


def test_a_project_without_models(project):
    project.models("models: {}\n")
    found = page(project)
    assert "models.yaml names no model yet." in found.words
    assert not found.all("section")


def test_from_a_folder_below_paths_are_taken_from_there(models):
    below = models.root / "a folder"
    below.mkdir()
    assert (
        models.doit("model-report", "-o", "r.html", cwd=below).out
        == "r.html: 7 models, 3 failed, 1 failed but handed off\n"
    )
    assert (below / "r.html").exists()
    models.doit("model-report", "--json", "-o", "new/folder/r.json", cwd=below)
    assert len(json.loads((below / "new/folder/r.json").read_bytes())["models"]) == 7


def test_a_page_that_is_there_is_replaced_and_a_link_stays_one(models):
    page(models, "real.html")
    models.write(
        "real.html", (models.root / "real.html").read_bytes().replace(b"model-provisioner ", b"model-provisioner 0.0 ")
    )
    (models.root / "link.html").symlink_to("real.html")
    page(models, "link.html")
    assert (models.root / "link.html").is_symlink()
    assert (models.root / "real.html").read_bytes().startswith(b"<!doctype html>")
    assert not [path for path in models.root.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("folder", "a folder"),
        ("folder/", "a folder"),
        ("new/", "a folder"),
        (".", "a folder"),
        ("fifo", "something that is no file, and was left as it is"),
        ("/dev/null", "something that is no file, and was left as it is"),
    ],
)
def test_what_is_no_file_is_not_overwritten(models, name, found):
    (models.root / "folder").mkdir()
    os.mkfifo(models.root / "fifo")
    assert models.doit("model-report", "-o", name, code=3).err == (
        "ERROR: model-report can't write what -o names\n"
        f"  where     {os.path.realpath(models.root / name)}\n"
        "  expected  no file, an empty one, or one that model-report wrote\n"
        f"  found     {found}\n"
        "  fix       name a file after -o\n"
    )
    assert (models.root / "folder").is_dir()
    assert not (models.root / "new").exists()


def test_it_has_to_be_told_where_to_write(models):
    assert models.doit("model-report", code=3).err == (
        "ERROR: model-report has to be told where its page goes\n"
        "  where     the command line\n"
        "  expected  -o FILE, or -o - for standard output\n"
        "  found     no -o\n"
        "  fix       doit model-report -o report.html\n"
    )
    assert models.doit("model-report", "good", "-o", "-", code=3).err.startswith("ERROR: model-report takes no names\n")


def test_a_disk_that_takes_nothing_leaves_the_page_that_was_there(models, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("")
    code, said = models.mounted(read_only(out), "model-report", "-o", str(out / "report.html"))
    assert (code, said) == (
        2,
        "ERROR: the report could not be written\n"
        f"  where     {out}/report.html\n"
        "  expected  a file or folder that we can write\n"
        "  found     Read-only file system\n"
        "  fix       fix that, or name another file after -o; a report that was there is as it was\n",
    )
    mount = f"mount -t tmpfs -o size=16k none {shlex.quote(str(out))}"
    code, said = models.mounted(mount, "model-report", "-o", str(out / "report.html"))
    assert (code, "No space left on device" in said) == (2, True), said
    assert (out / "report.html").read_text() == ""


@pytest.mark.parametrize("options", [["-o", "-"], ["--json"], ["-o", "report.html"]])
def test_a_faulty_configuration_is_told_as_ever(models, options):
    models.models("models:\n  tiny: {model_ref: 'file:tiny.gguf', strict: yes}\n")
    answer = models.doit("model-report", *options, code=3)
    assert answer.err == models.doit("model-why", code=3).err
    assert not (models.root / "report.html").exists()


def test_a_foreign_catalog_is_refused_and_left_alone(models):
    (models.state / "catalog.db").write_bytes(b"precious" * 1000)
    assert "the catalog is damaged or not a database" in models.doit("model-report", "-o", "-", code=2).err
    assert (models.state / "catalog.db").read_bytes() == b"precious" * 1000


def test_no_credential_is_on_the_page(project):
    project.models("models:\n  secret: {model_ref: 'https://me:s3cret@models.example.org/x.gguf?token=hush'}\n")
    project.provision(code=1)
    for options in (["-o", "-"], ["--json"]):
        out = project.doit("model-report", *options).out
        assert "models.example.org/x.gguf" in out
        assert "s3cret" not in out and "hush" not in out


def test_its_history_is_told_in_the_order_in_which_it_happened(models):
    models.doit("model-retire", "good")
    models.doit("model-retire", "good", "--undo")
    models.provision(code=1)
    (shown,) = models.json("model-show", "good")["result"]["catalog"]
    good = data(models)[1]["good"]
    assert good["history"] == shown["history"]
    assert [moved["state"] for moved in good["history"]] == ["Pending", "Active", "Retired", "Pending", "Active"]
    retired = good["history"][2]
    assert f"{retired['time'].replace('T', ' ')} Retired" in page(models).words
    models.doit("model-retire", "good")
    words = page(models).words
    assert "1 move before" in words
    assert f"{good['history'][0]['time'].replace('T', ' ')} Pending {good['history'][1]['time']}" not in words
    assert len(data(models)[1]["good"]["history"]) == 6


def test_companions_are_told_with_what_they_were_verified_to_be(project):
    project.add_tiny("tiny.gguf")
    beside = gguf({"general.architecture": text("clip"), "general.type": text("mmproj")})
    project.write("see.gguf", beside)
    digests = {
        name: f"sha256:{hashlib.sha256((project.root / name).read_bytes()).hexdigest()}"
        for name in ("tiny.gguf", "see.gguf")
    }
    entry = f"models:\n  tiny: {{model_ref: 'file:tiny.gguf', expected_digest: '{digests['tiny.gguf']}', mmproj: "
    project.models(f"{entry}'see.gguf'}}\n")
    settle()
    asked = {"role": "mmproj", "reference": f"local:{project.root}/see.gguf", "expected": None}
    assert data(project)[1]["tiny"]["companions"] == [{**asked, "path": None, "digest": None, "outcome": None}]
    assert "mmproj file:see.gguf not verified yet" in page(project).words
    project.provision()
    found = {"path": f"{project.root}/see.gguf", "digest": digests["see.gguf"]}
    assert data(project)[1]["tiny"]["companions"] == [{**asked, **found, "outcome": "warn"}]
    words = page(project).words
    assert f"Digest {digests['tiny.gguf']} , as expected" in words
    assert f"mmproj file:see.gguf {digests['see.gguf']} , none is expected" in words
    # The model is pinned; what it is loaded with is not.
    assert "The one model is in order: 1 verified but not pinned." in words
    project.models(f"{entry}{{model_ref: 'file:see.gguf', expected_digest: '{digests['see.gguf']}'}}}}\n")
    project.provision()
    assert data(project)[1]["tiny"]["companions"] == [
        {**asked, **found, "expected": digests["see.gguf"], "outcome": "pass"}
    ]
    words = page(project).words
    assert f"{digests['see.gguf']} , as expected" in words
    assert "The one model is verified and handed off." in words
    # What is handed off in spite of its companion is told in the words of what is not.
    wrong = entry.replace("{model_ref", "{strict_verification: false, model_ref")
    project.models(f"{wrong}{{model_ref: 'file:see.gguf', expected_digest: '{ZEROS}'}}}}\n")
    project.provision()
    tolerated = data(project)[1]["tiny"]
    project.models(f"{entry}{{model_ref: 'file:see.gguf', expected_digest: '{ZEROS}'}}}}\n")
    project.provision(code=1)
    strict = data(project)[1]["tiny"]
    assert (tolerated["stands"], strict["stands"]) == ("tolerated", "failed")
    assert tolerated["error"] == strict["error"]
    assert tolerated["error"].startswith("the digest of mmproj see.gguf differs from what is expected\n")


def test_a_publishers_signature_is_told_with_whether_it_holds(project, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = make_keys(tmp_path, "p256", "publisher")
    project.add_tiny("tiny.gguf")
    project.write("publisher.pub", keys.public.read_bytes())
    signer = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.sign(project.root / "tiny.gguf", project.root / "model.sig")
    project.models(
        "models:\n  tiny: {model_ref: 'file:tiny.gguf', signature: {bundle: model.sig, public_key: publisher.pub}}\n"
    )
    settle()
    claim = {"identity": None, "issuer": None, "public_key": f"{project.root}/publisher.pub"}
    unknown = {"outcome": None, "bundle_sha256": None, "public_key_sha256": None}
    assert data(project)[1]["tiny"]["signature"] == {**claim, **unknown}
    assert "Signature by the key publisher.pub : not confirmed" in page(project).words
    project.provision()
    told = project.handoff()["metadata"]["signature"]
    assert told["outcome"] == "pass"
    assert data(project)[1]["tiny"]["signature"] == {**claim, **told}
    assert "Signature by the key publisher.pub : it holds" in page(project).words
    project.write("publisher.pub", make_keys(tmp_path, "p256", "other").public.read_bytes())
    settle()
    assert data(project)[1]["tiny"]["signature"] == {**claim, **unknown}  # what was checked is not of this key
    project.provision(code=1)
    tiny = data(project)[1]["tiny"]
    assert (tiny["stands"], tiny["signature"]) == ("failed", {**claim, **unknown})  # the error tells of it
    text = (project.root / "models.yaml").read_text()
    project.models(text.replace("signature:", "strict_verification: false, signature:"))
    project.provision()
    tolerated = data(project)[1]["tiny"]
    assert (tolerated["stands"], tolerated["signature"]["outcome"]) == ("tolerated", "fail")
    assert tolerated["error"] == tiny["error"]
    words = page(project).words
    assert "1 of 1 model needs attention: 1 failed but handed off." in words
    why = tiny["error"].splitlines()[0]
    assert f"Signature by the key publisher.pub : it does not hold, {why}" in words

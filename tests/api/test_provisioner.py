"""`ModelProvisioner` and `ensure_present`: single models, without a project."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_provisioner import (
    BytesRead,
    Catalog,
    ChangingModelError,
    DamagedError,
    Digest,
    DigestMismatchError,
    FetchBegins,
    FetchEnded,
    FetchReached,
    InputError,
    InvalidDigestError,
    InvalidReferenceError,
    MirrorFails,
    ModelNotFoundError,
    ModelProvisioner,
    ModelRef,
    NotAllowedError,
    ProvisionError,
    ReadingBegins,
    ResolvedModel,
    SetDigest,
    UnsoundModelError,
    ensure_present,
    provision,
)
from model_provisioner.hashing import memo
from tests.support.files_server import FilesServer
from tests.support.hub import slow
from tests.support.project import TINY, settle
from tests.support.remote import FLIPPED, ONE, README, TINY_BYTES, resolved

TINY_SHA = hashlib.sha256(TINY.read_bytes()).hexdigest()
WRONG = Digest("sha256", "0" * 64)


def rows(state: Path) -> dict[str, tuple[str, str | None]]:
    return {row.name: (row.lifecycle, row.outcome) for row in Catalog.reader(str(state)).all()}


@pytest.mark.parametrize("as_reference", [str, ModelRef.parse], ids=["text", "reference"])
def test_a_model_that_is_there_is_verified_registered_and_resolved(model, state, as_reference):
    resolved = ModelProvisioner().ensure_present(as_reference(f"file:{model}"))
    assert resolved == ResolvedModel(f"local:{model}", model, Digest("sha256", TINY_SHA), model.stat().st_size, "warn")
    (row,) = Catalog.reader(str(state)).all()
    assert (row.project, row.name, row.id) == ("", f"local:{model}", f"local:{model}")
    assert (row.lifecycle, row.outcome, row.digest) == ("Active", "warn", f"sha256:{TINY_SHA}")
    assert row.metadata.architecture == "llama"
    assert not (model.parent / ".runtime").exists()


def test_a_relative_path_is_taken_from_the_working_directory(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert ModelProvisioner().ensure_present(model.name).local_path == model


def test_the_expected_digest_is_held(model, state):
    provisioner = ModelProvisioner()
    assert provisioner.ensure_present_with_digest(str(model), Digest("sha256", TINY_SHA)).local_path == model
    assert rows(state) == {f"local:{model}": ("Active", "pass")}
    with pytest.raises(DigestMismatchError) as caught:
        provisioner.ensure_present_with_digest(str(model), WRONG)
    assert str(caught.value) == (
        "the digest differs from what is expected\n"
        f"  where     {model}\n"
        f"  expected  sha256:{'0' * 64}\n"
        f"  found     sha256:{TINY_SHA}\n"
        "  fix       get the file again from its source; if these bytes are right, ask with that digest"
    )
    assert (caught.value.wanted, caught.value.actual, caught.value.path) == (
        str(WRONG),
        f"sha256:{TINY_SHA}",
        str(model),
    )
    assert rows(state) == {f"local:{model}": ("Failed", "fail")}


def test_a_set_may_be_expected_file_by_file(tmp_path, state):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a").write_bytes(b"a")
    expected = SetDigest((("a", Digest("sha256", hashlib.sha256(b"a").hexdigest())),))
    provisioner = ModelProvisioner()
    assert provisioner.ensure_present_with_digest(str(tmp_path / "set"), expected).local_path == tmp_path / "set"
    (tmp_path / "set/b").write_bytes(b"b")
    with pytest.raises(DigestMismatchError, match=r"b was not expected"):
        provisioner.ensure_present_with_digest(str(tmp_path / "set"), expected)


def test_what_failed_is_failed_in_the_catalog_and_what_was_never_there_is_not(model, state):
    provisioner = ModelProvisioner()
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present(f"{model}.no")
    assert rows(state) == {}
    provisioner.ensure_present(str(model))
    model.write_bytes(b"GGUF")
    with pytest.raises(UnsoundModelError):
        provisioner.ensure_present(str(model))
    assert rows(state) == {f"local:{model}": ("Failed", "error")}
    (row,) = Catalog.reader(str(state)).all()
    assert (row.config, row.handoff, row.engine) == (None, None, None)
    model.unlink()
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present(str(model))
    assert rows(state) == {f"local:{model}": ("Failed", "error")}


def test_a_model_is_pending_while_it_is_read(model, state, monkeypatch):
    seen = []

    def looking(path, real=memo.open_model):
        seen.append(rows(state))
        return real(path)

    monkeypatch.setattr(memo, "open_model", looking)
    ModelProvisioner().ensure_present(str(model))
    assert seen == [{f"local:{model}": ("Pending", None)}]


def test_nothing_is_hashed_twice(model, opened):
    settle()
    provisioner = ModelProvisioner()
    provisioner.ensure_present(str(model))
    provisioner.ensure_present(str(model))
    ModelProvisioner().ensure_present_with_digest(str(model), Digest("sha256", TINY_SHA))
    assert opened == [model.name]


@pytest.mark.parametrize("shared", [True, False], ids=["one provisioner", "one each"])
def test_threads_that_ask_for_one_model_hash_it_once(model, opened, shared):
    settle()
    one = ModelProvisioner()
    start = threading.Barrier(8)

    def ask(_):
        provisioner = one if shared else ModelProvisioner()
        start.wait()
        return provisioner.ensure_present(str(model))

    with ThreadPoolExecutor(8) as pool:
        assert {found.local_path for found in pool.map(ask, range(8))} == {model}
    assert opened == [model.name]


def test_threads_with_models_of_their_own(tmp_path, state):
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(b"%d" % number)
    provisioner = ModelProvisioner()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: provisioner.ensure_present(str(tmp_path / f"{number}.bin")), range(20)))
    assert set(rows(state).values()) == {("Active", "warn")}
    assert len(rows(state)) == 20


def test_looking_writes_nothing(model, state):
    provisioner = ModelProvisioner()
    for asked in (str(model), f"file:{model}", f"local:{model}", ModelRef.parse(str(model))):
        assert provisioner.exists(asked)
        assert provisioner.locate(asked) == model
    assert not provisioner.exists(f"{model}.no")
    assert provisioner.locate("hf:org/repo/x.gguf") is None
    assert not state.exists()


def test_a_registered_model_is_found_by_its_id(model, state):
    provisioner = ModelProvisioner()
    resolved = provisioner.register_model("hf:org/repo/x.gguf", model, Digest("sha256", TINY_SHA))
    assert (resolved.id, resolved.local_path, resolved.outcome) == ("hf:org/repo/x.gguf", model, "pass")
    assert provisioner.locate("hf:org/repo/x.gguf") == model
    assert provisioner.ensure_present("hf:org/repo/x.gguf", digest=resolved.digest) == resolved
    with pytest.raises(DigestMismatchError):
        provisioner.register_model("hf:org/repo/x.gguf", model, WRONG)
    assert provisioner.locate("hf:org/repo/x.gguf") is None  # what failed is not offered
    with pytest.raises(InvalidReferenceError):
        provisioner.register_model("hf:nonsense", model, None)


def test_a_remote_model_that_is_not_here_is_told(state):
    with pytest.raises(ModelNotFoundError, match="the model is not on this machine"):
        ModelProvisioner().ensure_present("hf:org/repo/x.gguf")


def test_a_catalog_of_ones_own(model, tmp_path, state):
    own = tmp_path / "own"
    ModelProvisioner(Catalog(str(own))).ensure_present(str(model))
    assert list(rows(own)) == [f"local:{model}"]
    assert not state.exists()


def test_a_file_that_never_rests_is_told(model, monkeypatch):
    def touching(path, real=memo.open_model):
        fd = real(path)
        with open(path, "ab") as file:
            file.write(b"x")
        return fd

    monkeypatch.setattr(memo, "open_model", touching)
    with pytest.raises(ChangingModelError, match="the model keeps changing while it is read"):
        ModelProvisioner().ensure_present(str(model))


def test_no_credential_reaches_the_catalog(model, state):
    provisioner = ModelProvisioner()
    secret = "https://user:SECRET@host/x.gguf?token=SECRET2"
    resolved = provisioner.register_model(secret, model, None)
    assert "SECRET" not in resolved.id
    assert provisioner.exists(secret)
    assert provisioner.locate(resolved.id) == model
    assert b"SECRET" not in b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_a_model_registered_under_a_local_id_is_found(model, tmp_path):
    provisioner = ModelProvisioner()
    resolved = provisioner.register_model(f"local:{tmp_path}/other-name", model, None)
    assert provisioner.exists(resolved.id)
    assert provisioner.locate(resolved.id) == model


def test_a_revision_is_that_revision(model):
    provisioner = ModelProvisioner()
    provisioner.register_model("hf:org/repo@v1/x.gguf", model, None)
    assert provisioner.locate("hf:org/repo@v1/x.gguf") == model
    assert provisioner.locate("hf:org/repo/x.gguf") == model
    assert provisioner.locate("hf:org/repo@v2/x.gguf") is None
    with pytest.raises(ModelNotFoundError):
        provisioner.ensure_present("hf:org/repo@v2/x.gguf")


# ---- what is fetched

LOOPBACK = ["127.0.0.1"]


def test_a_model_is_fetched_from_a_host_that_is_allowed_and_only_once(store, hub, state, opened):
    found = ensure_present(ONE, allow=LOOPBACK)
    assert (found.id, found.digest, found.size, found.outcome) == (
        "hf:org/tiny/tiny.gguf",
        Digest("sha256", TINY_SHA),
        len(TINY_BYTES),
        "warn",
    )
    assert found.local_path.is_relative_to(store)
    assert found.local_path.read_bytes() == TINY_BYTES
    (row,) = Catalog.reader(str(state)).all()
    assert (row.project, row.name, row.id, row.source) == ("", ONE, ONE, ONE)
    assert (row.config, row.handoff, row.engine) == (None, None, None)
    asked = len(hub.asked())
    assert ensure_present(ONE, digest=f"sha256:{TINY_SHA}").local_path == found.local_path
    assert len(hub.asked()) == asked, "a model that is here was asked for again"
    assert opened == [], "what was hashed while it came was read again"


def test_a_whole_repository_is_a_folder(store, hub):
    found = ensure_present(ModelRef.hugging_face("org", "tiny"), allow=LOOPBACK)
    assert found.digest.algo == "dirhash"
    assert (found.local_path / "README.md").read_bytes() == README


def test_without_a_host_nothing_is_contacted(store, hub, state):
    with pytest.raises(ModelNotFoundError) as caught:
        ensure_present(ONE)
    assert str(caught.value) == (
        "the model is not on this machine\n"
        f"  where     {ONE}\n"
        "  expected  a model that was fetched, or hosts that may be asked for it\n"
        "  found     no record that it was fetched, and allow names no host\n"
        '  fix       add "127.0.0.1" to allow, or download the model and ask for the file'
    )
    assert hub.asked() == []
    assert rows(state) == {}
    assert ensure_present(ONE, allow=["127.0.0.1"]).local_path.read_bytes() == TINY_BYTES


def test_another_host_is_not_allowed(store, hub):
    with pytest.raises(NotAllowedError) as caught:
        ensure_present(ONE, allow=["huggingface", "*.example.org"])
    assert str(caught.value) == (
        f"{ONE} would have to be fetched, and the network is not allowed\n"
        f"  where     {ONE}\n"
        "  expected  127.0.0.1 among the hosts of allow\n"
        "  found     allow: [huggingface, *.example.org]\n"
        '  fix       add "127.0.0.1" to allow, or download the model and ask for the file'
    )
    assert hub.asked() == []


@pytest.mark.parametrize(
    "variable", ["HF_HUB_OFFLINE=1", "MODEL_PROVISIONER_OFFLINE=1", "MODEL_PROVISIONER_NETWORK=off"]
)
def test_the_user_of_the_program_may_forbid_what_it_allows(store, hub, monkeypatch, variable):
    monkeypatch.setenv(*variable.split("="))
    with pytest.raises(NotAllowedError):
        ensure_present(ONE, allow=LOOPBACK)
    assert hub.asked() == []


def test_a_file_by_https_whose_credentials_are_told_nobody(store, trusted, state, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    told = []
    with FilesServer({"/m.gguf": TINY_BYTES}, context=trusted.context) as server:
        url = f"https://user:SECRET@localhost:{server.port}/m.gguf?token=SECRET2"
        with pytest.raises(ModelNotFoundError) as caught:
            ensure_present(url)
        found = ensure_present(url, allow=["localhost"], progress=told.append)
    assert found.local_path.read_bytes() == TINY_BYTES
    written = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert "SECRET" not in f"{caught.value}{caught.value!r}{found}{told}{written}"


def test_other_bytes_than_asked_for_are_not_fetched(store, hub, state):
    with pytest.raises(DigestMismatchError):
        ensure_present(ONE, digest=WRONG, allow=LOOPBACK)
    assert resolved(hub) == [], "the Hub says beforehand that the bytes are others"
    assert rows(state) == {}


def test_a_new_digest_brings_what_the_source_has_now(store, hub):
    """Where the reference names a branch, and what was fetched is what the branch had before."""
    old, new = f"sha256:{TINY_SHA}", f"sha256:{hashlib.sha256(FLIPPED).hexdigest()}"
    ensure_present(ONE, digest=old, allow=LOOPBACK)
    hub.add("org/tiny", {"tiny.gguf": FLIPPED})
    for hosts in ([], ["example.org"]):
        with pytest.raises(DigestMismatchError) as caught:
            ensure_present(ONE, digest=new, allow=hosts)
        assert (caught.value.wanted, caught.value.actual) == (new, old)
    assert ensure_present(ONE, digest=new, allow=LOOPBACK).local_path.read_bytes() == FLIPPED
    assert ensure_present(ONE, digest=new).outcome == "pass"
    assert resolved(hub) == ["tiny.gguf", "tiny.gguf"]


def test_bytes_that_are_here_already_need_no_host(store, hub, tmp_path, state):
    """By their digest, where another program has them: here huggingface_hub's cache."""
    blobs = tmp_path / "hf/hub/models--org--tiny/blobs"
    blobs.mkdir(parents=True)
    (blobs / TINY_SHA).write_bytes(TINY_BYTES)
    assert ensure_present(ONE, digest=f"sha256:{TINY_SHA}").local_path.read_bytes() == TINY_BYTES
    assert hub.asked() == []


def test_a_damaged_file_of_the_store_is_fetched_again(store, hub):
    found = ensure_present(ONE, allow=LOOPBACK)
    blob = found.local_path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(FLIPPED)
    with pytest.raises(DamagedError):
        ensure_present(ONE)
    assert ensure_present(ONE, allow=LOOPBACK).local_path.read_bytes() == TINY_BYTES


def test_threads_that_ask_for_one_model_fetch_it_once(store, hub):
    hub.fault(slow(400_000), on="*/resolve/*", method="GET")
    one, start = ModelProvisioner(), threading.Barrier(4)

    def ask(_):
        start.wait()
        return one.ensure_present(ONE, allow=LOOPBACK)

    with one, ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert resolved(hub) == ["tiny.gguf"]


def test_calls_with_different_hosts_do_not_lend_them_to_each_other(store, hub):
    """One provisioner, and in the midst of a fetch another thread asks without a host."""
    provisioner, reached, refused = ModelProvisioner(), threading.Event(), []

    def while_it_comes(event):
        if isinstance(event, FetchReached) and not reached.is_set():
            reached.set()
            with pytest.raises(ModelNotFoundError):
                provisioner.ensure_present("hf:org/tiny/config.json")
            refused.append(event)

    provisioner.ensure_present(ONE, allow=LOOPBACK, progress=while_it_comes)
    assert refused


@pytest.mark.parametrize("ref", ["tiny", ONE, "hf:org/tiny/nothing.gguf"])
def test_nothing_is_left_in_the_working_directory_and_no_lease_in_the_store(
    store, hub, model, tmp_path, monkeypatch, ref
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for digest in (None, WRONG):
        try:
            ensure_present(str(model) if ref == "tiny" else ref, digest=digest, allow=LOOPBACK)
        except ProvisionError as error:
            assert digest or "nothing" in error.what
    assert os.listdir(here) == []
    assert not (store / "leases").exists() or os.listdir(store / "leases") == []


# ---- progress


def test_progress_hears_of_a_fetch_and_of_a_reading(store, hub, model):
    told = []
    ensure_present(ONE, allow=LOOPBACK, progress=told.append)
    assert told[0] == FetchBegins(ONE, len(TINY_BYTES), "127.0.0.1")
    assert FetchReached(ONE, len(TINY_BYTES), len(TINY_BYTES)) in told
    assert told[-1] == FetchEnded(ONE)
    del told[:]
    ensure_present(model, progress=told.append)
    assert told[0] == ReadingBegins(f"local:{model}", len(TINY_BYTES))
    assert sum(event.count for event in told[1:] if isinstance(event, BytesRead)) == len(TINY_BYTES)


class Cancelled(Exception):
    pass


def cancelling(kind):
    def progress(event):
        if isinstance(event, kind):
            raise Cancelled

    return progress


@pytest.mark.parametrize("kind", [FetchBegins, FetchReached, FetchEnded])
def test_what_progress_raises_ends_a_fetch_which_is_resumed_by_the_next_call(store, hub, kind):
    with pytest.raises(Cancelled):
        ensure_present(ONE, allow=LOOPBACK, progress=cancelling(kind))
    assert ensure_present(ONE, allow=LOOPBACK).local_path.read_bytes() == TINY_BYTES


@pytest.mark.parametrize("kind", [ReadingBegins, BytesRead])
def test_what_progress_raises_ends_a_reading(model, state, kind):
    with pytest.raises(Cancelled):
        ensure_present(model, progress=cancelling(kind))
    assert rows(state) == {f"local:{model}": ("Pending", None)}
    assert ensure_present(model).local_path == model


def test_after_ctrl_c_the_next_call_goes_on_where_it_ended(store, hub, tmp_path):
    hub.fault(slow(40_000), on="*/resolve/*", method="GET", times=1)
    program = (
        "from model_provisioner import *\n"
        "try:\n"
        f"    ensure_present({ONE!r}, allow={LOOPBACK}, progress=lambda event: print(event, flush=True))\n"
        "except KeyboardInterrupt:\n"
        f"    print(ensure_present({ONE!r}, allow={LOOPBACK}).outcome)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        while "done=0" in (line := process.stdout.readline()) or "FetchReached" not in line:
            assert line, "it ended before any byte came"
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout.read().splitlines()
    assert (process.returncode, last) == (0, "warn")
    ranges = [request.headers.get("range") for request in hub.asked("GET", "*/resolve/*")]
    assert ranges[0] is None or ranges[0] == "bytes=0-"
    assert ranges[1] not in (None, "bytes=0-"), "what had come was fetched again"


# ---- what is registered


def test_registered_bytes_that_are_others_now_are_not_returned_under_their_id(model, state):
    provisioner = ModelProvisioner()
    before = provisioner.register_model("hf:org/repo/x.gguf", model, None)
    model.write_bytes(FLIPPED)
    with pytest.raises(DigestMismatchError) as caught:
        provisioner.ensure_present("hf:org/repo/x.gguf")
    assert caught.value.wanted == str(before.digest)
    assert caught.value.fix == (
        "get the file again from its source; if these bytes are right, register them again as hf:org/repo/x.gguf"
    )
    assert provisioner.locate("hf:org/repo/x.gguf") is None
    after = provisioner.register_model("hf:org/repo/x.gguf", model, None)
    assert provisioner.ensure_present("hf:org/repo/x.gguf").digest == after.digest != before.digest


def test_where_other_bytes_are_registered_those_of_the_digest_are_fetched(store, hub, model):
    model.write_bytes(FLIPPED)
    provisioner = ModelProvisioner()
    provisioner.register_model(ONE, model, None)
    with pytest.raises(DigestMismatchError):
        provisioner.ensure_present(ONE, digest=f"sha256:{TINY_SHA}")
    provisioner.register_model(ONE, model, None)
    assert provisioner.ensure_present(ONE, digest=f"sha256:{TINY_SHA}", allow=LOOPBACK).local_path.is_relative_to(store)


def test_the_part_that_a_project_has_of_a_repository_is_not_the_repository(store, hub, tmp_path):
    config = tmp_path / "project" / "models.yaml"
    config.parent.mkdir()
    config.write_text(
        f"cache_dir: {tmp_path}/another\nnetwork: {{allow: [127.0.0.1]}}\n"
        "models: {part: {model_ref: 'hf:org/tiny', engine: vllm, include: ['*.md', '*.gguf']}}\n"
    )
    provision(config).raise_for_failures()
    with pytest.raises(ModelNotFoundError):
        ensure_present("hf:org/tiny")
    found = ensure_present("hf:org/tiny", allow=LOOPBACK)
    assert sorted(os.listdir(found.local_path)) == ["README.md", "config.json", "sub", "tiny.gguf"]


def test_what_a_project_fetched_into_a_store_of_its_own_is_found_and_verified(store, hub, tmp_path):
    config = tmp_path / "project" / "models.yaml"
    config.parent.mkdir()
    config.write_text(
        f"cache_dir: {tmp_path}/another\nnetwork: {{allow: [127.0.0.1]}}\nmodels: {{one: {{model_ref: '{ONE}'}}}}\n"
    )
    (fetched,) = provision(config)
    found = ensure_present(ONE, digest=fetched.digest)
    assert (found.local_path, found.digest) == (fetched.path, Digest("sha256", TINY_SHA))
    blob = found.local_path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(FLIPPED)
    with pytest.raises(DigestMismatchError):
        ensure_present(ONE)


# ---- arguments


@pytest.mark.parametrize("ref", [str, Path, ModelRef.local], ids=["text", "path", "reference"])
def test_what_a_model_may_be_asked_for_by(model, ref):
    assert ensure_present(ref(str(model))).local_path == model


def test_a_path_is_a_path_whatever_its_name_looks_like(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    shutil.copy(model, "hf:org")
    assert ensure_present(Path("hf:org")).local_path == model.parent / "hf:org"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ensure_present(5), "ref must be a string, a path or a ModelRef, not int"),
        (lambda: ensure_present(b"x"), "ref must be a string, a path or a ModelRef, not bytes"),
        (lambda: ensure_present("x", digest=5), "digest must be a Digest, its string or None, not int"),
        (
            lambda: ensure_present("x", allow="huggingface"),
            "allow must be a list of hosts, not one string: put it into a list",
        ),
        (lambda: ensure_present("x", allow=True), "allow must be a list of hosts, not bool"),
        (lambda: ensure_present("x", allow=[5]), "each of allow must be a string, not int"),
        (lambda: ensure_present("x", progress=5), "progress must be a function of one event, not int"),
        (lambda: ModelProvisioner("x"), "catalog must be a Catalog or None, not str"),
        (lambda: ModelProvisioner().register_model(5, "x", None), "id must be a string, not int"),
        (lambda: ModelProvisioner().register_model("x", 5, None), "path must be a string or a path, not int"),
        (lambda: ModelProvisioner().locate(None), "ref_or_id must be a string, a path or a ModelRef, not NoneType"),
        (lambda: ModelRef.parse(5), "text must be a string, not int"),
        (lambda: ModelRef.local(5), "path must be a string or a path, not int"),
        (lambda: ModelRef.hugging_face("org", 5), "repo must be a string, not int"),
        (lambda: ModelRef.hugging_face("org", "repo", revision=5), "revision must be a string or None, not int"),
        (lambda: Digest.parse(5), "text must be a string, not int"),
        (lambda: Digest("sha256", 5), "value must be a string, not int"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_type_error_at_once(state, call, said):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == said
    assert not state.exists()


def test_a_value_that_can_not_be_is_told_before_anything_is_done(model, state):
    with pytest.raises(InvalidDigestError):
        ensure_present(model, digest="sha256:12")
    with pytest.raises(InputError) as caught:
        ensure_present(model, allow=["https://huggingface.co/org"])
    assert str(caught.value) == (
        "a host that is allowed can't be understood\n"
        "  where     allow\n"
        "  expected  names, addresses or *.NAME, written as in network.allow; huggingface for all hosts of the Hub\n"
        '  found     https://huggingface.co/org: it is more than a host; write "huggingface.co"\n'
        '  fix       correct it, as in   allow=["huggingface", "models.example.org"]'
    )
    assert not state.exists()


def test_references_by_their_parts():
    assert str(ModelRef.hugging_face("org", "repo")) == "hf:org/repo"
    assert str(ModelRef.hugging_face("org", "repo", "a/b.gguf", "refs/pr/1")) == "hf:org/repo@refs%2Fpr%2F1/a/b.gguf"
    assert str(ModelRef.local(Path("a b"))) == "local:a b"
    with pytest.raises(InvalidReferenceError):
        ModelRef.hugging_face("org/repo", "x")
    with pytest.raises(InvalidReferenceError):
        ModelRef.local("")


def test_the_mirrors_of_the_user_are_asked_before_the_source(store, hub, trusted, monkeypatch):
    """As everywhere: what `allow` does not have is not asked, and that is no error."""
    with FilesServer({f"/sha256/{TINY_SHA[:2]}/{TINY_SHA}": TINY_BYTES}, context=trusted.context) as mirror:
        monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
        monkeypatch.setenv("MODEL_PROVISIONER_MIRRORS", mirror.url("/"))
        told = []
        ensure_present(ONE, digest=f"sha256:{TINY_SHA}", allow=["127.0.0.1"], progress=told.append)
        assert mirror.asked == []
        (failed,) = (event for event in told if isinstance(event, MirrorFails))
        assert failed.why == "it may not be asked: expected localhost among the hosts of allow"
        shutil.rmtree(store)
        hub.forget()
        found = ensure_present(ONE, digest=f"sha256:{TINY_SHA}", allow=["localhost", "127.0.0.1"])
        assert found.local_path.read_bytes() == TINY_BYTES
        assert len(mirror.asked) == 1

"""Mirrors: asked by SHA-256 before the source; whatever one does wrong costs a note, and not the run."""

import json
import os
import random
import socket
import ssl
import time
from types import SimpleNamespace

import pytest
import trustme

from model_provisioner.engine.fetching import download
from tests.support import hub as faults
from tests.support.files_server import FilesServer
from tests.support.gguf_bytes import gguf, text
from tests.support.nginx import Nginx
from tests.support.remote import FLIPPED, ONE, TINY_BYTES, TINY_SHA, resolved, sha256, wait_until

BIG = gguf([("general.architecture", text("llama"))]) + random.Random(3).randbytes(2_000_000)


def place(data):
    digest = sha256(data)
    return f"/site/sha256/{digest[:2]}/{digest}"


def fill(web, *files):
    web.files.update({place(data): data for data in files})


def mirror(web):
    return web.url("/site/")


@pytest.fixture
def locked(tiny, hub):
    """A project of one locked model, on another machine: neither store nor records, and its source forgot what was asked."""
    tiny.doit("model-lock")
    tiny.another_machine()
    hub.forget()
    return tiny


def noted(answer):
    return [line for line in answer.err.splitlines() if line.startswith("note: ")]


# ---- a mirror that has all


def test_a_mirror_has_a_locked_model_and_its_source_is_not_asked(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    before = locked.lock.read_bytes()
    answer = locked.provision("--locked")
    assert answer.out.startswith(f"pass  tiny  hashed 105.2 KB (fetched from the mirror {mirror(web)}) → ")
    assert hub.asked() == []
    assert [(each.method, each.path) for each in web.asked] == [("GET", place(TINY_BYTES))]
    assert locked.bytes_of("tiny") == TINY_BYTES
    assert noted(answer) == []
    assert f"fetching tiny, 105.2 KB from {mirror(web)}" in answer.err
    locked.doit("model-lock")
    assert locked.lock.read_bytes() == before


def test_eight_models_come_from_the_mirror_though_their_source_is_gone(remote, hub, web):
    models = {f"m{number}": gguf([("general.architecture", text(f"llama{number}"))]) for number in range(8)}
    hub.add("org/many", {f"{name}.gguf": data for name, data in models.items()})
    entries = {name: f"hf:org/many/{name}.gguf" for name in models}
    remote.models(entries)
    remote.doit("model-lock")
    remote.another_machine()
    fill(web, *models.values())
    hub.fault(faults.no_repo())
    hub.forget()
    remote.models(entries, mirrors=[mirror(web)])
    remote.provision()
    assert {name: remote.bytes_of(name) for name in models} == models
    assert hub.asked() == []
    assert len(web.asked) == 8


def test_what_the_source_lists_is_asked_of_the_mirror_and_the_lock_is_the_same(tiny, hub, web):
    tiny.doit("model-lock")
    without = tiny.lock.read_bytes()
    tiny.another_machine()
    tiny.lock.unlink()
    hub.forget()
    fill(web, TINY_BYTES)
    tiny.models({"tiny": ONE}, mirrors=[mirror(web)])
    tiny.doit("model-lock")
    assert tiny.lock.read_bytes() == without
    assert resolved(hub) == []
    assert len(web.asked) == 1


def test_an_expected_digest_is_asked_of_the_mirror_where_the_source_is_gone(remote, hub, web):
    fill(web, TINY_BYTES)
    fields = {"model_ref": ONE, "expected_digest": f"sha256:{TINY_SHA}"}
    remote.models({"tiny": fields}, mirrors=[mirror(web)])
    hub.fault(faults.no_repo())
    assert "fetched from the mirror" in remote.provision().out


def test_of_a_url_with_a_digest_the_mirror_is_asked_first(remote, web):
    web.files["/tiny.gguf"] = TINY_BYTES
    fill(web, TINY_BYTES)
    fields = {"model_ref": web.url("/tiny.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}
    remote.models({"tiny": fields}, mirrors=[mirror(web)])
    remote.provision()
    assert [each.path for each in web.asked] == [place(TINY_BYTES)]


def test_members_of_a_folder_and_companions_come_from_the_mirror(remote, hub, web):
    files = {"model.gguf": TINY_BYTES, "config.json": b"{}"}
    adapter = gguf([("general.architecture", text("llama")), ("general.type", text("adapter"))])
    hub.add("org/folder", files)
    hub.add("org/lora", {"style.gguf": adapter})
    entries = {"m": {"model_ref": "hf:org/folder", "engine": "vllm"}}
    remote.models(entries)
    remote.doit("model-lock")
    remote.another_machine()
    hub.forget()
    fill(web, *files.values(), adapter)
    remote.models(entries, mirrors=[mirror(web)])
    remote.provision()
    assert remote.bytes_of("m") == files
    assert hub.asked() == []


def test_the_users_mirrors_take_the_place_of_the_projects(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=["https://nowhere.invalid/"])
    locked.environ["MODEL_PROVISIONER_MIRRORS"] = mirror(web)
    answer = locked.provision()
    assert noted(answer) == []
    assert hub.asked() == []


def test_off_asks_no_mirror(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    locked.environ["MODEL_PROVISIONER_MIRRORS"] = "off"
    locked.provision()
    assert web.asked == []
    assert resolved(hub) == ["tiny.gguf"]


def test_a_setting_that_names_no_mirror_is_refused(locked):
    locked.environ["MODEL_PROVISIONER_MIRRORS"] = "https://me:s3cret@mirror.site/"
    answer = locked.provision(code=3)
    assert answer.err == (
        "ERROR: MODEL_PROVISIONER_MIRRORS can't be understood\n"
        "  where     the environment\n"
        "  expected  off, or with blanks between them: s3://BUCKET/PREFIX/, https://HOST/PREFIX/ or oci:REGISTRY/REPOSITORY, without "
        "credentials and query\n"
        "  found     https://…\n"
        '  fix       correct it, as in   export MODEL_PROVISIONER_MIRRORS="s3://models/cache/ https://mirror.example.org/"\n'
    )


# ---- a mirror that does not help: a note, and the source


def test_a_mirror_that_lacks_files_is_told_once(remote, hub, web):
    names = [f"m{number}" for number in range(4)]
    models = {name: gguf([("general.architecture", text(name))]) for name in names}
    hub.add("org/many", {f"{name}.gguf": data for name, data in models.items()})
    fill(web, models["m3"])
    remote.models({name: f"hf:org/many/{name}.gguf" for name in names}, mirrors=[mirror(web)])
    answer = remote.provision()
    (note,) = noted(answer)
    assert note.startswith(
        f"note: the mirror {mirror(web)} was passed over: it does not have every file; the first that it lacks is https://"
    )
    assert len(web.asked) == 4
    assert sorted(resolved(hub)) == ["m0.gguf", "m1.gguf", "m2.gguf"]


def test_a_mirror_that_lies_is_left_out_and_nothing_of_it_is_kept(locked, hub, web):
    web.files[place(TINY_BYTES)] = FLIPPED
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    answer = locked.provision()
    assert noted(answer) == [
        f"note: the mirror {mirror(web)} was passed over: it sent other bytes than it was asked for, of which nothing was kept "
        f"(sha256:{sha256(FLIPPED)}, for sha256:{TINY_SHA})"
    ]
    assert locked.blobs() == {TINY_SHA}
    assert locked.bytes_of("tiny") == TINY_BYTES


def test_a_mirror_that_lies_is_not_asked_again(remote, hub, web):
    models = {f"m{number:02}": gguf([("general.architecture", text(f"llama{number}"))]) for number in range(24)}
    hub.add("org/many", {f"{name}.gguf": data for name, data in models.items()})
    web.files.update({place(data): data[:-1] + b"x" for data in models.values()})
    remote.models({name: f"hf:org/many/{name}.gguf" for name in models}, mirrors=[mirror(web)])
    remote.provision()
    assert {name: remote.bytes_of(name) for name in models} == models
    assert len(web.asked) <= 1 + 8  # those that were under way


def test_a_mirror_without_an_end_does_not_fill_the_disk(remote, web, trusted, monkeypatch):
    """Where only the digest is known, nobody but the mirror could say how many bytes there are."""
    monkeypatch.setattr(download, "AHEAD", 1 << 20)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=3 << 19, f_frsize=1))
    web.manners.chunked, web.manners.extra = True, bytes(8 << 20)
    fill(web, TINY_BYTES)
    with FilesServer({"/tiny.gguf": TINY_BYTES}, context=trusted.context) as source:
        fields = {"model_ref": source.url("/tiny.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}
        remote.models({"tiny": fields}, mirrors=[mirror(web)])
        answer = remote.provision()
    assert [line.partition(": ")[2] for line in noted(answer)] == [
        f"the mirror {mirror(web)} was passed over: tiny does not fit on the disk (1,572,864 bytes)"
    ]
    assert remote.bytes_of("tiny") == TINY_BYTES


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_mirror_that_denies_or_is_broken(locked, hub, web, hurried, status):
    web.manners.statuses.extend([(status, {})] * 9)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    answer = locked.provision()
    (note,) = noted(answer)
    assert f"({status} " in note
    assert resolved(hub) == ["tiny.gguf"]


def test_a_mirror_that_is_down(locked, hub, trusted, hurried):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    locked.models({"tiny": ONE}, mirrors=[f"https://localhost:{port}/"])
    answer = locked.provision()
    (note,) = noted(answer)
    assert "could not be reached, 2 times in a row (Connection refused)" in note


@pytest.mark.slow
def test_a_mirror_that_stalls_costs_seconds(locked, hub, web, hurried):
    fill(web, TINY_BYTES)
    web.manners.stall_at = 1000
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    began = time.monotonic()
    answer = locked.provision()
    assert time.monotonic() - began < 10
    (note,) = noted(answer)
    assert "localhost sent nothing for too long" in note
    assert locked.bytes_of("tiny") == TINY_BYTES


def test_a_mirror_with_a_certificate_that_nobody_vouches_for(locked, hub, web):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with FilesServer({place(TINY_BYTES): TINY_BYTES}, context=context) as stranger:
        locked.models({"tiny": ONE}, mirrors=[mirror(stranger)])
        (note,) = noted(locked.provision())
    assert "the certificate of localhost is not trusted" in note


def test_a_mirror_fails_for_three_files_and_is_left_out(remote, hub, web, hurried):
    models = {f"m{number:02}": gguf([("general.architecture", text(f"llama{number}"))]) for number in range(24)}
    hub.add("org/many", {f"{name}.gguf": data for name, data in models.items()})
    web.manners.statuses.extend([(403, {})] * 99)
    remote.models({name: f"hf:org/many/{name}.gguf" for name in models}, mirrors=[mirror(web)])
    assert len(noted(remote.provision())) == 1
    assert 3 <= len(web.asked) <= 3 + 8  # those that were under way
    assert len(resolved(hub)) == 24


# ---- the policy


def test_a_mirror_that_the_policy_does_not_allow_is_not_asked(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)], allow=["127.0.0.1"])
    assert noted(locked.provision()) == [
        f"note: the mirror {mirror(web)} was passed over: it may not be asked: expected localhost among the hosts of "
        "network.allow"
    ]
    assert web.asked == []
    assert resolved(hub) == ["tiny.gguf"]


def test_a_project_may_allow_its_mirror_and_not_its_source(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)], allow=["localhost"])
    assert "fetched from the mirror" in locked.provision().out
    assert hub.asked() == []


def test_the_users_limit_holds_for_mirrors(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.environ["MODEL_PROVISIONER_NETWORK"] = "127.0.0.1"
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    assert "among the hosts of MODEL_PROVISIONER_NETWORK" in noted(locked.provision())[0]
    assert web.asked == []


def test_offline_asks_no_mirror(locked, hub, web):
    fill(web, TINY_BYTES)
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    answer = locked.provision("--offline", code=1)
    assert "this run is offline (--offline)" in answer.out
    assert noted(answer) == []
    assert web.asked == hub.asked() == []


def test_a_redirect_of_a_mirror_is_under_the_policy(locked, hub, web):
    web.manners.redirects[place(TINY_BYTES)] = (302, "https://elsewhere.example/x")
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    (note,) = noted(locked.provision())
    assert "elsewhere.example among the hosts of network.allow" in note


def test_credentials_go_to_their_own_host_alone(locked, hub, web):
    fill(web, TINY_BYTES)
    hub.fault(faults.unauthorized(), on="*/resolve/*")
    locked.environ["HF_TOKEN"] = "hf_s3cret"
    (locked.home / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    locked.provision()
    assert all("authorization" not in each.headers for each in web.asked)
    assert b"s3cret" not in locked.everything()


def test_credentials_of_netrc_for_the_mirror(locked, hub, web):
    fill(web, TINY_BYTES)
    web.manners.users[place(TINY_BYTES)] = "Basic bWU6czNjcmV0"
    (locked.home / ".netrc").write_text("machine localhost login me password s3cret\n")
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    answer = locked.provision()
    assert "fetched from the mirror" in answer.out
    assert "s3cret" not in answer.all


# ---- where both fail


def test_the_error_is_the_sources_and_mentions_the_mirrors(locked, hub, web):
    hub.fault(faults.error(410), on="*/resolve/*")
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    answer = locked.provision(code=1)
    assert "FAIL  tiny  127.0.0.1 has no such file\n" in answer.out
    assert (
        f"        found     410 Gone; before that, {mirror(web)}: it does not have every file; the first" in answer.out
    )


# ---- half of a file


@pytest.fixture
def halves(remote, hub, web):
    """A locked model of two megabytes that a mirror has as well; what came of it breaks off once after a million bytes."""
    hub.add("org/big", {"big.gguf": BIG})
    remote.models({"big": "hf:org/big/big.gguf"})
    remote.doit("model-lock")
    remote.another_machine()
    hub.forget()
    fill(web, BIG)
    return remote


def test_what_began_at_a_mirror_is_resumed_at_the_source(halves, hub, web, hurried):
    web.manners.drop_at = 1_000_000
    halves.models({"big": "hf:org/big/big.gguf"}, mirrors=[mirror(web)])
    answer = halves.provision()
    assert "fetched from 127.0.0.1" in answer.out
    assert halves.bytes_of("big") == BIG
    ranges = [each.headers.get("range") for each in hub.asked("GET", "*/resolve/*")]
    assert ranges == ["bytes=999999-"] * len(ranges)


def test_what_began_at_the_source_is_resumed_at_a_mirror(halves, hub, web, hurried):
    hub.fault(faults.error(410), on="*big.gguf*")
    hub.fault(faults.drop(after=1_000_000), on="*big.gguf*", times=1)
    halves.provision(code=1)
    assert len(halves.on_the_way()) == 2
    hub.forget()
    halves.models({"big": "hf:org/big/big.gguf"}, mirrors=[mirror(web)])
    assert "fetched from the mirror" in halves.provision().out
    assert halves.bytes_of("big") == BIG
    assert hub.asked() == []
    assert web.asked[-1].headers["range"].startswith("bytes=9")
    assert "if-range" not in web.asked[-1].headers  # which names the source's version


def test_half_of_a_lie_does_not_spoil_what_the_source_sends(halves, hub, web, hurried):
    web.files[place(BIG)] = b"\0" * len(BIG)
    web.manners.drop_at = 1_000_000
    halves.models({"big": "hf:org/big/big.gguf"}, mirrors=[mirror(web)])
    assert "pass  big" in halves.provision().out
    assert halves.bytes_of("big") == BIG


# ---- the note in a document


def test_the_document_is_whole_where_a_mirror_fails(locked, hub, web):
    locked.models({"tiny": ONE}, mirrors=[mirror(web)])
    found = locked.json("provision")
    assert found["exit_code"] == 0
    assert json.dumps(found).count("mirror") == 0


# ---- as sites have them


@pytest.fixture
def nginx(tmp_path, halves):
    """A real nginx, which the project's runs trust."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    for name, part in (
        ("ca", authority.cert_pem),
        ("chain", issued.cert_chain_pems[0]),
        ("key", issued.private_key_pem),
    ):
        part.write_to_path(str(tmp_path / f"{name}.pem"))
    halves.environ["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    with Nginx(tmp_path / "nginx", tmp_path / "chain.pem", tmp_path / "key.pem") as server:
        yield server


def test_nginx_serves_a_mirror_and_the_rest_of_a_file(halves, hub, nginx, hurried):
    path = nginx.folder / place(BIG).removeprefix("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(BIG)
    hub.fault(faults.error(410), on="*big.gguf*")
    hub.fault(faults.drop(after=1_000_000), on="*big.gguf*", times=1)
    halves.provision(code=1)
    hub.forget()
    halves.models({"big": "hf:org/big/big.gguf"}, mirrors=[f"https://localhost:{nginx.port}/site/"])
    assert "fetched from the mirror" in halves.provision().out
    assert halves.bytes_of("big") == BIG
    assert hub.asked() == []
    assert [line.split()[0] for line in nginx.log.read_text().splitlines()][-1] == "206"


# ---- killed


@pytest.mark.slow
def test_a_lie_that_a_kill_left_half_of_is_not_blamed_on_the_source(halves, hub, web):
    web.files[place(BIG)] = b"\0" * len(BIG)
    web.manners.stall_at = 1_500_000
    halves.models({"big": "hf:org/big/big.gguf"}, mirrors=[mirror(web)])
    process = halves.project.start("provision")
    try:
        wait_until(lambda: any((halves.cache / "partial" / name).stat().st_size > 0 for name in halves.on_the_way()))
    finally:
        process.kill()
        process.communicate(timeout=30)
    halves.models({"big": "hf:org/big/big.gguf"})
    halves.provision()
    assert halves.bytes_of("big") == BIG

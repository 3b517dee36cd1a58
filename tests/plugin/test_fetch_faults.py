"""What servers do wrong, and what is left of it."""

import re
import time

import pytest

from model_provisioner.engine.fetching import download
from tests.support import hub as faults
from tests.support.gguf_bytes import gguf, text
from tests.support.remote import CONFIG, FLIPPED, ONE, REPO, TINY_BYTES, TINY_SHA, WRONG, resolved, sha256


# ---- bytes that are not what they should be


def test_bytes_that_the_hub_did_not_list_are_not_kept(tiny, hub):
    hub.fault(faults.corrupt(at=5000), on="*/resolve/*")
    answer = tiny.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the bytes that came are not those that the source lists\n"
        "        where     hf:org/tiny/tiny.gguf (tiny.gguf)\n"
        f"        expected  {TINY_SHA} (SHA-256)\n"
        f"        found     {sha256(FLIPPED)}\n"
        "        fix       run again: nothing of them was kept; if they are wrong again, tell who runs the server\n"
    )
    assert tiny.blobs() == set()
    assert tiny.on_the_way() == []
    assert tiny.project.rows()["tiny"]["state"] == "Failed"
    hub.heal()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


def test_a_file_that_is_not_lfs_is_held_to_its_git_blob(remote, hub):
    hub.add("org/tiny", REPO)
    hub.fault(faults.corrupt(), on="*/config.json")
    remote.models({"tiny": {"model_ref": "hf:org/tiny", "engine": "vllm"}})
    answer = remote.provision(code=1)
    assert "        where     hf:org/tiny (config.json)\n" in answer.out
    assert f"        expected  {faults.git_blob_id(CONFIG)} (git blob)\n" in answer.out
    assert sha256(CONFIG) not in remote.blobs()
    hub.heal()
    remote.provision()
    assert remote.bytes_of("tiny") == REPO
    assert remote.on_the_way() == []


@pytest.mark.parametrize("source", ["hub", "web"])
def test_bytes_that_are_not_expected_are_not_kept(tiny, hub, web, source):
    web.files["/tiny.gguf"] = TINY_BYTES
    reference = ONE if source == "hub" else web.url("/tiny.gguf")
    tiny.models({"tiny": {"model_ref": reference, "expected_digest": f"sha256:{WRONG}"}})
    answer = tiny.provision(code=1)
    shown = reference if source == "hub" else web.url("/tiny.gguf")
    assert answer.out.startswith(
        "FAIL  tiny  the digest differs from what is expected\n"
        f"        where     {shown}\n"
        f"        expected  sha256:{WRONG}\n"
        f"        found     sha256:{TINY_SHA}\n"
    )
    assert tiny.project.handoff("tiny") is None
    assert tiny.blobs() == set()
    assert tiny.on_the_way() == []
    assert resolved(hub) == [], "the Hub said beforehand that its bytes are others"
    tiny.models({"tiny": {"model_ref": reference, "expected_digest": f"sha256:{TINY_SHA}"}})
    assert "pass  tiny" in tiny.provision().out


def test_a_corrupt_body_by_https_is_found_by_the_expected_digest(remote, web):
    web.files["/tiny.gguf"] = FLIPPED
    remote.models({"tiny": {"model_ref": web.url("/tiny.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}})
    answer = remote.provision(code=1)
    assert "FAIL  tiny  the digest differs from what is expected\n" in answer.out
    assert (remote.blobs(), remote.on_the_way()) == (set(), [])
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


@pytest.mark.parametrize("source", ["hub", "web"])
def test_a_mismatch_that_is_tolerated_is_handed_off_and_told(tiny, hub, web, source):
    web.files["/tiny.gguf"] = TINY_BYTES
    reference = ONE if source == "hub" else web.url("/tiny.gguf")
    entry = {"model_ref": reference, "expected_digest": f"sha256:{WRONG}", "strict_verification": False}
    tiny.models({"tiny": entry})
    for _ in range(2):
        answer = tiny.provision()
        assert "FAIL! tiny  THE DIGEST DIFFERS, and strict_verification is false" in answer.out
        assert f"        expected  sha256:{WRONG}\n        found     sha256:{TINY_SHA}\n" in answer.out
    assert tiny.project.handoff("tiny")["metadata"]["verification"] == "fail"
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert len(hub.asked(on="*/resolve/*")) + len(web.asked) == 1


def test_a_model_that_is_none_is_not_handed_off(remote, hub):
    hub.add("org/tiny", {"tiny.gguf": b"<html>log in</html>"})
    remote.models({"tiny": ONE})
    answer = remote.provision(code=1)
    assert "FAIL  tiny  a web page stands in the place of the model\n" in answer.out
    assert remote.project.handoff("tiny") is None


# ---- what servers refuse


def sentences(*lines):
    return "".join(f"        {label:<8}  {said}\n" for label, said in lines)


ACCESS = "ask for access on its page, then `hf auth login` or set HF_TOKEN to a token that may read it"
SPELLING = "check the spelling; for a private one, `hf auth login` or set HF_TOKEN to a token that may read it"
TOKEN = "`hf auth login`, or set HF_TOKEN to a token that may read it"
AT_HUB = ("where", "hf:org/tiny/tiny.gguf at 127.0.0.1")
ANSWER = ("expected", "an answer of the Hub")


@pytest.mark.parametrize(
    ("fault", "what", "said"),
    [
        (
            faults.gated("org/tiny"),
            "the repository is gated: its owner lets in who asked",
            sentences(
                AT_HUB, ("expected", "a repository that we may read"), ("found", "403 Forbidden"), ("fix", ACCESS)
            ),
        ),
        (
            faults.no_repo(),
            "the Hub has no such repository, or shows it to others only",
            sentences(
                AT_HUB,
                ("expected", "a repository of the Hub that we may see"),
                ("found", "404 Not Found"),
                ("fix", SPELLING),
            ),
        ),
        (
            faults.no_revision("main"),
            "the repository has no revision main",
            sentences(
                AT_HUB,
                ("expected", "a branch, a tag or a commit of the repository"),
                ("found", "404 Not Found"),
                ("fix", "copy the name of a branch, a tag or a commit from its page, with %2F for each slash in it"),
            ),
        ),
        (
            faults.forbidden(),
            "the Hub does not let us see the repository",
            sentences(AT_HUB, ANSWER, ("found", "403 Forbidden"), ("fix", ACCESS)),
        ),
        (
            faults.unauthorized(),
            "the Hub wants a token",
            sentences(AT_HUB, ANSWER, ("found", "401 Unauthorized"), ("fix", TOKEN)),
        ),
        (
            faults.busy(0),
            "the Hub can't answer now, 5 times in a row",
            sentences(AT_HUB, ANSWER, ("found", "429 Too Many Requests"), ("fix", "try again later")),
        ),
        (
            faults.unavailable(),
            "the Hub can't answer now, 5 times in a row",
            sentences(AT_HUB, ANSWER, ("found", "503 Service Unavailable"), ("fix", "try again later")),
        ),
    ],
)
@pytest.mark.slow
def test_what_the_hub_refuses_to_list(tiny, hub, hurried, fault, what, said):
    hub.fault(fault, on="/api/models/*")
    answer = tiny.provision(code=1)
    assert answer.out.startswith(f"FAIL  tiny  {what}\n{said}1 model: 1 failed"), answer.out
    assert resolved(hub) == []
    assert tiny.on_the_way() == []
    hub.heal()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


@pytest.mark.parametrize(
    ("fault", "what", "fix"),
    [
        (faults.unauthorized(), "127.0.0.1 wants credentials", ACCESS),
        (faults.gated("org/tiny"), "127.0.0.1 does not let us have the file", ACCESS),
        (
            faults.no_entry(),
            "127.0.0.1 has no such file",
            "copy the link of the file from its page, or ask who runs the server for it",
        ),
    ],
)
def test_what_the_hub_refuses_to_send(tiny, hub, fault, what, fix):
    hub.fault(fault, on="*/resolve/*")
    answer = tiny.provision(code=1)
    commit = hub.references["org/tiny"]["main"]
    told = sentences(
        ("where", f"{hub.url}/org/tiny/resolve/{commit}/tiny.gguf"),
        ("expected", "the file"),
        ("found", f"{fault.status} {({401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found'})[fault.status]}"),
        ("fix", fix),
    )
    assert answer.out.startswith(f"FAIL  tiny  {what}\n{told}1 model: 1 failed"), answer.out
    assert resolved(hub) == ["tiny.gguf"], "what will not pass was tried again"


def test_a_file_that_the_repository_has_not(tiny, hub):
    tiny.models({"tiny": "hf:org/tiny/tinny.gguf"})
    answer = tiny.provision(code=1)
    assert answer.out.startswith(
        "FAIL  tiny  the repository has no file tinny.gguf\n"
        "        where     hf:org/tiny\n"
        "        expected  a path as the repository lists it\n"
        "        found     4 other files\n"
        "        fix       did you mean tiny.gguf?\n"
    )


@pytest.mark.parametrize("fault", [faults.busy(1), faults.unavailable()])
@pytest.mark.slow
def test_a_server_that_is_busy_is_asked_again(tiny, hub, fault):
    hub.fault(fault, on="*/resolve/*", times=2)
    began = time.monotonic()
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert resolved(hub) == ["tiny.gguf"] * 3
    assert time.monotonic() - began > (2 if fault.status == 429 else 1)


@pytest.mark.parametrize("on", ["*/revision/*", "*/tree/*", "*/resolve/*"])
def test_a_wait_that_the_hub_asks_for_is_kept_to_and_shown(tiny, hub, on):
    hub.fault(faults.busy(2), on=on, times=1)
    began = time.monotonic()
    answer = tiny.provision()
    assert time.monotonic() - began >= 2
    said = "can't serve the file now" if "resolve" in on else "answers with 429 Too Many Requests"
    assert f"waiting 2 s to ask again for tiny: 127.0.0.1 {said}\n" in answer.err


def test_a_server_that_stays_busy_is_given_up(tiny, hub, hurried):
    hub.fault(faults.busy(0), on="*/resolve/*")
    answer = tiny.provision(code=1)
    assert (
        "FAIL  tiny  tiny.gguf could not be fetched: 127.0.0.1 can't serve the file now, 5 times in a row\n"
        in answer.out
    )
    assert "        found     429 Too Many Requests\n" in answer.out
    assert "        fix       try again later; what is here already is kept and resumed\n" in answer.out
    assert len(resolved(hub)) == 5


@pytest.mark.parametrize(
    ("status", "what", "found"),
    [
        (401, "localhost wants credentials", "401 Unauthorized"),
        (403, "localhost does not let us have the file", "403 Forbidden"),
        (404, "localhost has no such file", "404 Not Found"),
        (410, "localhost has no such file", "410 Gone"),
    ],
)
def test_what_a_server_of_files_refuses(remote, web, status, what, found):
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.statuses.append((status, {}))
    remote.models({"tiny": web.url("/tiny.gguf?signed=hidden")})
    answer = remote.provision(code=1)
    netrc = remote.home / ".netrc"
    fix = {
        401: f"give credentials for localhost in {netrc}",
        403: f"ask its owner for access; credentials are read from {netrc}",
    }.get(status, "copy the link of the file from its page, or ask who runs the server for it")
    told = sentences(("where", web.url("/tiny.gguf")), ("expected", "the file"), ("found", found), ("fix", fix))
    assert answer.out.startswith(f"FAIL  tiny  {what}\n{told}1 model: 1 failed"), answer.out
    assert len(web.asked) == 1
    assert "hidden" not in answer.all
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


def test_a_certificate_that_nobody_vouches_for(remote, web):
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
        remote.environ[name] = ""
    web.files["/tiny.gguf"] = TINY_BYTES
    remote.models({"tiny": web.url("/tiny.gguf")})
    answer = remote.provision(code=1)
    assert "FAIL  tiny  the certificate of localhost is not trusted by this machine\n" in answer.out
    assert web.asked == []


# ---- what breaks off is resumed


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.slow
def test_a_transfer_that_breaks_off_is_resumed(tiny, hub, reset):
    hub.fault(faults.drop(after=70_000, reset=reset), on="*/resolve/*", times=1)
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    first, second = hub.asked(on="*/resolve/*")
    assert "range" not in first.headers
    if not reset:  # of which the kernel may drop what was sent
        assert second.headers["range"] == "bytes=69999-"
        assert second.headers["if-range"] == f'"{TINY_SHA}"'


def test_the_next_run_resumes_where_the_last_gave_up(remote, web, hurried):
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.drop_at = 60_000  # now and whenever it is asked again
    remote.models({"tiny": web.url("/tiny.gguf")})
    answer = remote.provision(code=1)
    assert re.search(r"FAIL  tiny  tiny.gguf could not be fetched: localhost broke .*, 5 times in a row\n", answer.out)
    assert "found     60,000 of 105,248 bytes\n" in answer.out
    assert len(remote.on_the_way()) == 2  # the bytes, and which version they are of
    web.manners.drop_at = None
    web.asked.clear()
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert [asked.headers["range"] for asked in web.asked] == ["bytes=59999-"]
    assert remote.on_the_way() == []


def test_a_part_that_is_sent_as_200_is_not_handed_off_as_the_file(remote, web, hurried):
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.drop_at, web.manners.drop_times = 60_000, 1
    web.manners.part_as_200, web.manners.tell_part = True, False
    remote.models({"tiny": web.url("/tiny.gguf")})
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES
    assert remote.blobs() == {TINY_SHA}


def test_a_wrong_content_range_stops_no_later_run(remote, web, hurried):
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.drop_at = 60_000
    remote.models({"tiny": web.url("/tiny.gguf")})
    remote.provision(code=1)
    web.manners.drop_at, web.manners.content_range = None, "bytes 1-2/3"
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES


def test_half_of_another_version_is_not_resumed(remote, web, hurried):
    other = gguf({"general.architecture": text("llama")}, [])
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.drop_at = 60_000
    remote.models({"tiny": web.url("/tiny.gguf")})
    remote.provision(code=1)
    web.manners.drop_at = None
    web.files["/tiny.gguf"] = other + TINY_BYTES[len(other) :]
    remote.provision(code=None)
    assert remote.blobs() == {sha256(web.files["/tiny.gguf"])}


def test_a_server_that_goes_silent_is_asked_again(tiny, hub, hurried):
    hub.fault(faults.stall(after=90_000), on="*/resolve/*", times=1)
    began = time.monotonic()
    tiny.provision()
    assert 1 <= time.monotonic() - began < 25
    assert tiny.bytes_of("tiny") == TINY_BYTES
    assert hub.asked(on="*/resolve/*")[1].headers["range"] == "bytes=89999-"


@pytest.mark.parametrize("fault", [faults.ignore_range(), faults.no_length(), faults.wrong_length(-1000)])
def test_servers_that_are_odd(tiny, hub, fault):
    hub.fault(fault, on="*/resolve/*", times=1)
    tiny.provision(code=None)
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES


# ---- bodies of untold length


@pytest.mark.parametrize("manner", ["chunked", "no_length"])
@pytest.mark.parametrize("bound", [{}, {"cache": {"max_size": "1MB"}}])
def test_a_body_of_untold_length_is_fetched_where_its_digest_is_known(remote, web, manner, bound):
    web.files["/tiny.gguf"] = TINY_BYTES
    setattr(web.manners, manner, True)
    remote.models({"tiny": {"model_ref": web.url("/tiny.gguf"), "expected_digest": f"sha256:{TINY_SHA}"}}, **bound)
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES
    remote.doit("model-lock")
    remote.models({"tiny": web.url("/tiny.gguf")}, **bound)
    remote.empty_cache()
    remote.provision("--locked")
    assert remote.bytes_of("tiny") == TINY_BYTES


@pytest.mark.parametrize("known", [False, True])
def test_a_body_of_untold_length_has_a_bound_that_a_setting_raises(remote, web, monkeypatch, known):
    monkeypatch.setattr(download, "UNSIZED", 50_000)
    web.files["/tiny.gguf"] = TINY_BYTES
    web.manners.chunked = True
    entry = {"model_ref": web.url("/tiny.gguf"), **({"expected_digest": f"sha256:{TINY_SHA}"} if known else {})}
    remote.models({"tiny": entry})
    assert remote.provision(code=1).out.startswith(
        "FAIL  tiny  localhost does not say how long tiny.gguf is, and it is longer than is taken on trust\n"
        + sentences(
            ("where", web.url("/tiny.gguf")),
            ("expected", "at most 50,000 bytes, where cache.max_size says nothing else"),
            ("found", "more"),
            (
                "fix",
                "set cache.max_size in models.yaml, which is the bound then; or download the model and name its file",
            ),
        )
    )
    remote.models({"tiny": entry}, cache={"max_size": "1MB"})
    remote.provision()
    assert remote.bytes_of("tiny") == TINY_BYTES

"""What a Hub is asked, and by whose leave: the real `huggingface_hub`, held to the policy, against a Hub on loopback."""

import json
import logging
import socket
import threading
import time

import huggingface_hub
import pytest
from huggingface_hub.utils import _http

from model_provisioner.errors import FetchError, NotAllowedError, SettingError
from model_provisioner.fetchers import hub as ours
from model_provisioner.fetchers.listing import Patterns
from model_provisioner.fetchers.patience import pause
from model_provisioner.config.network_policy import NetworkPolicy
from model_provisioner.references.reference import HubRef
from tests.support import hub as faults
from tests.support.files_server import FilesServer
from tests.support.hub import Fault, Hub, git_blob_id
from tests.support.project import AT_ONCE

COMMIT = "c" * 40
MODEL = b"GGUF" + bytes(5000)
FILES = {"model.gguf": MODEL, "config.json": b"{}", "sub/notes.txt": b"notes", "a b#c.txt": b""}
PINNED = HubRef("org/tiny", COMMIT, None)  # only its files have to be asked for
NAMED = HubRef("org/tiny", "main", None)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch, tmp_path):
    """No token but the one that a test gives."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
    yield
    huggingface_hub.set_client_factory(_http.default_client_factory)


@pytest.fixture
def hub(monkeypatch):
    with Hub({"org/tiny": {COMMIT: FILES}}, page=2) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def other():
    with Hub({"org/tiny": {COMMIT: FILES}}, host="localhost") as other:
        yield other


class Waits(list):
    """Waits that are noted, with why, and not waited."""

    def __call__(self, seconds, why):
        self.append((seconds, why))


def asking(ref, *allow, wait=pause):
    policy = NetworkPolicy(allow or ("127.0.0.1", "localhost"), None, "/p/models.yaml")
    return ours.Hub(ref, lambda host: policy.check(host, "tiny", 3), Patterns(), wait)


def test_a_listing_has_every_page_and_what_the_hub_knows_of_each_file(hub):
    listing = asking(NAMED).listing()
    assert listing.revision == COMMIT
    assert [(file.name, file.size, file.sha256, file.git_blob) for file in listing.files] == [
        ("a b#c.txt", 0, None, git_blob_id(b"")),
        ("config.json", 2, None, git_blob_id(b"{}")),
        ("model.gguf", len(MODEL), hub.repositories["org/tiny"][COMMIT]["model.gguf"].sha256, None),
        ("sub/notes.txt", 5, None, git_blob_id(b"notes")),
    ]
    assert listing.files[0].url == f"{hub.url}/org/tiny/resolve/{COMMIT}/a%20b%23c.txt"
    assert len(hub.asked(on="*/tree/*")) == 3


def test_a_commit_is_not_asked_about(hub):
    asking(PINNED).listing()
    assert hub.asked(on="*/revision/*") == []


def test_the_token_is_sent_with_questions_and_for_bytes(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    hub.private.add("org/tiny")
    listing = asking(NAMED).listing()
    assert {request.headers["authorization"] for request in hub.requests} == {"Bearer hf_good"}
    assert listing.files[0].headers == {"authorization": "Bearer hf_good"}
    assert "hf_good" not in repr(listing)


# ---- who is asked


def next_page(url):
    """Answer with an empty page, and say that the next one is there."""
    return Fault(status=200, headers={"Link": f'<{url}>; rel="next"'})


def test_a_next_page_elsewhere_is_not_asked_for_without_leave(hub, other, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    hub.fault(next_page(f"{other.url}/api/models/org/tiny/tree/{COMMIT}"), on="*/tree/*")
    with pytest.raises(NotAllowedError, match="network is not allowed") as raised:
        asking(PINNED, "127.0.0.1").listing()
    assert raised.value.expected == "localhost among the hosts of network.allow"
    assert other.requests == []


@pytest.mark.parametrize("same_host", [False, True])
def test_a_next_page_elsewhere_gets_no_token(hub, monkeypatch, same_host):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    # Another port of the same host is another server.
    with Hub({"org/tiny": {COMMIT: FILES}}, host="127.0.0.1" if same_host else "localhost") as other:
        hub.fault(next_page(f"{other.url}/api/models/org/tiny/tree/{COMMIT}"), on="*/tree/*")
        asking(PINNED).listing()
        assert ["authorization" in request.headers for request in hub.requests] == [True]
        assert ["authorization" in request.headers for request in other.requests] == [False]


def test_a_redirect_elsewhere_needs_leave_and_gets_no_token(hub, other, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    hub.fault(faults.redirect(f"{other.url}/api/models/org/tiny/tree/{COMMIT}?recursive=true"), on="*/tree/*")
    with pytest.raises(NotAllowedError):
        asking(PINNED, "127.0.0.1").listing()
    assert other.requests == []
    assert len(asking(PINNED).listing().files) == len(FILES)
    assert "authorization" not in other.requests[0].headers


@pytest.mark.slow
def test_the_client_that_is_made_anew_is_held_too(monkeypatch, other):
    """huggingface_hub throws its client away when nobody listens, and asks again with another."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    late = []

    def begin():
        late.append(Hub({"org/tiny": {COMMIT: FILES}}, port=port).__enter__())
        late[0].fault(faults.redirect(f"{other.url}/x"), on="*/tree/*")

    timer = threading.Timer(0.5, begin)
    timer.start()
    try:
        with pytest.raises(NotAllowedError):
            asking(PINNED, "127.0.0.1").listing()
    finally:
        timer.join()
        late[0].__exit__(None, None, None)
    assert len(late[0].requests) == 1
    assert other.requests == []


def test_http_is_for_this_machine(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://192.0.2.1")
    with pytest.raises(FetchError) as raised:
        asking(PINNED, "192.0.2.1").listing()
    assert str(raised.value) == (
        "192.0.2.1 would have the model sent over http:, where anybody can read and change it\n"
        "  where     http://192.0.2.1\n"
        "  expected  https:\n"
        "  found     http:\n"
        "  fix       name a source that is reached over https:"
    )


def test_what_else_the_process_asks_is_not_held(hub):
    asking(PINNED).listing()
    with pytest.raises(NotAllowedError):
        asking(PINNED, "nobody.example").listing()
    assert huggingface_hub.HfApi(endpoint=hub.url).model_info("org/tiny").sha == COMMIT


def test_a_client_that_the_program_chose_is_kept(hub):
    made = []

    def make():
        made.append(_http.default_client_factory())
        made[-1].headers["x-of-the-program"] = "yes"
        return made[-1]

    huggingface_hub.set_client_factory(make)
    with pytest.raises(NotAllowedError):
        asking(PINNED, "nobody.example").listing()
    asking(PINNED).listing()
    assert {request.headers["x-of-the-program"] for request in hub.requests} == {"yes"}
    assert len(made) == 1


# ---- what goes wrong


@pytest.mark.parametrize("ref", [NAMED, PINNED])
def test_a_hub_that_goes_silent_is_given_up(hub, monkeypatch, ref):
    monkeypatch.setattr("model_provisioner.fetchers.http.connections.STALL", 0.3)
    hub.fault(faults.stall(0.5))
    began, waits = time.monotonic(), Waits()
    with pytest.raises(FetchError) as raised:
        asking(ref, wait=waits).listing()
    assert len(hub.requests) == 5
    assert {why for _, why in waits} == {"127.0.0.1 sent nothing for too long"}
    place = f"tree/{COMMIT}" if ref is PINNED else "revision/main"
    assert str(raised.value) == (
        "127.0.0.1 sent nothing for too long, 5 times in a row\n"
        f"  where     {hub.url}/api/models/org/tiny/{place}\n"
        "  expected  an answer\n"
        "  found     none\n"
        "  fix       try again later; if another Hub is meant, correct HF_ENDPOINT"
    )
    assert time.monotonic() - began < AT_ONCE


QUESTIONS = ["*/revision/*", "*/tree/*"]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "fault", [faults.unavailable(), faults.error(429), faults.error(502), faults.drop(0, reset=True), faults.drop(3)]
)
def test_every_question_is_asked_again_after_trouble_that_may_pass(hub, question, fault):
    hub.fault(fault, on=question, times=2)
    waits = Waits()
    assert len(asking(NAMED, wait=waits).listing().files) == len(FILES)
    assert [0.5 <= waits[0][0] <= 1, 1 <= waits[1][0] <= 2, len(waits)] == [True, True, 2]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_hub_says_how_long_we_wait(hub, question):
    hub.fault(faults.busy(2), on=question, times=1)
    hub.fault(Fault(status=429, headers={"RateLimit": '"api";r=0;t=250'}), on=question, times=1)
    waits = Waits()
    asking(NAMED, wait=waits).listing()
    assert sorted(waits) == [(each, "127.0.0.1 answers with 429 Too Many Requests") for each in (2, 250)]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"RateLimit": '"api";r=0;t=3600'}])
def test_a_hub_may_not_make_us_wait_for_an_hour(hub, question, headers):
    hub.fault(Fault(status=429, headers=headers), on=question)
    waits = Waits()
    with pytest.raises(FetchError) as raised:
        asking(NAMED, wait=waits).listing()
    assert str(raised.value) == (
        "the Hub can't answer now\n"
        "  where     hf:org/tiny at 127.0.0.1\n"
        "  expected  an answer of the Hub\n"
        "  found     429 Too Many Requests, and asks for a wait of 3,600 s, where at most 300 s are waited\n"
        "  fix       try again later"
    )
    assert waits == []
    assert len(hub.asked(on=question)) == 1


@pytest.mark.slow
def test_the_log_of_huggingface_hub_shows_no_url_of_ours(hub, caplog):
    logging.getLogger("huggingface_hub").addHandler(caplog.handler)
    hub.fault(faults.unavailable(), on="*/tree/*", times=1)
    hub.fault(Fault(status=200, headers={"X-HF-Warning": "buy!", "Link": f'<{hub.url}/x?signed>; rel="next"'}), times=1)
    try:
        with pytest.raises(FetchError):
            asking(PINNED).listing()
        assert caplog.records == []
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError):
            _http.http_backoff("GET", f"{hub.url}/x", max_retries=0, retry_on_status_codes=404)
        assert caplog.records != [], "what others ask is logged"
    finally:
        logging.getLogger("huggingface_hub").removeHandler(caplog.handler)


SOUND = {"id": "org/tiny", "_id": "0", "siblings": [], "tags": [], "private": False, "downloads": 0, "likes": 0}


@pytest.mark.parametrize(
    ("ref", "answer", "found"),
    [
        (NAMED, b"<html>log in to the network</html>", "JSONDecodeError"),
        (PINNED, b"<html>log in to the network</html>", "JSONDecodeError"),
        (PINNED, b'{"error": "none"}', "TypeError"),
        (PINNED, b'[{"type": "file", "path": "x"}]', "KeyError"),
        (PINNED, b"[1, 2]", "TypeError"),
        (PINNED, b"null", "TypeError"),
        (NAMED, json.dumps(SOUND).encode(), "a commit 'None'"),
        (NAMED, json.dumps({**SOUND, "sha": "../../other/repo"}).encode(), "a commit '../../other/repo'"),
    ],
)
def test_an_answer_that_is_none(hub, ref, answer, found):
    with FilesServer({"/x": answer}) as page:
        hub.fault(faults.redirect(page.url("/x")), on="/api/*")
        with pytest.raises(FetchError) as raised:
            asking(ref).listing()
    assert str(raised.value) == (
        "what the Hub answered can't be understood\n"
        "  where     hf:org/tiny at 127.0.0.1\n"
        "  expected  an answer of the Hub\n"
        f"  found     {found}\n"
        "  fix       check HF_ENDPOINT, and whether a page to log in to the network answers in its place"
    )


def test_redirects_without_end(hub):
    hub.fault(faults.redirect("/api/models/org/tiny/revision/main"), on="/api/*")
    with pytest.raises(FetchError, match="the Hub can't be reached") as raised:
        asking(NAMED).listing()
    assert raised.value.found == "TooManyRedirects"


def test_a_token_that_can_not_be_had_is_told(hub, monkeypatch):
    monkeypatch.setenv("HF_OIDC_RESOURCE", "org/tiny")
    with pytest.raises(FetchError) as raised:
        asking(NAMED)
    assert str(raised.value) == (
        "the token for the Hub can't be had\n"
        "  where     the environment, or what `hf auth login` keeps\n"
        "  expected  a token, or none\n"
        "  found     OIDCError\n"
        "  fix       if HF_OIDC_RESOURCE is set, take it out of the environment; then set HF_TOKEN to a token, or `hf auth login`"
    )
    assert hub.requests == []


def test_a_token_in_typographic_quotes_is_told_and_not_shown(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "“hf_good”")
    with pytest.raises(SettingError) as raised:
        asking(NAMED)
    assert str(raised.value) == (
        "the token for the Hub is none: it has a character that no token has\n"
        "  where     HF_TOKEN\n"
        "  expected  ASCII letters, digits and signs\n"
        "  found     U+201C, LEFT DOUBLE QUOTATION MARK\n"
        "  fix       copy the token again, without quotes around it: `hf auth login`, or set HF_TOKEN"
    )
    assert hub.requests == []


def test_an_endpoint_without_its_scheme_is_told_with_it(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example:8080")
    with pytest.raises(SettingError) as raised:
        ours.endpoint()
    assert str(raised.value) == (
        "HF_ENDPOINT is not the address of a Hub\n"
        "  where     the environment\n"
        "  expected  https://HOST\n"
        "  found     hub.example:8080\n"
        "  fix       export HF_ENDPOINT=https://hub.example:8080"
    )
    monkeypatch.setenv("HF_ENDPOINT", raised.value.fix.removeprefix("export HF_ENDPOINT="))
    assert ours.endpoint() == "https://hub.example:8080"


@pytest.mark.parametrize(
    "text", ["//user:s3cret@hub.example", "user:s3cret@hub.example", "ftp://s3cret@hub", "https://"]
)
def test_what_else_is_no_endpoint_is_not_shown(monkeypatch, text):
    monkeypatch.setenv("HF_ENDPOINT", text)
    with pytest.raises(SettingError, match="HF_ENDPOINT is not the address of a Hub") as raised:
        ours.endpoint()
    assert "s3cret" not in str(raised.value)

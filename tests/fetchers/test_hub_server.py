"""The Hub of our tests is true enough: the real `huggingface_hub` reads it, and stumbles over it as over the real one."""

import hashlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.hub import (
    Hub,
    busy,
    corrupt,
    drop,
    forbidden,
    gated,
    git_blob_id,
    ignore_range,
    no_length,
    redirect,
    slow,
    stall,
    unauthorized,
    unavailable,
    wrong_length,
)

REPO = "org/tiny"
COMMIT = "c" * 40
OLDER = "d" * 40
MODEL = bytes(range(256)) * 1200
CONFIG = b'{"model_type": "tiny"}'
FILES = {"config.json": CONFIG, "model.gguf": MODEL, "sub/deep/notes.txt": b"notes"}
SHA256 = hashlib.sha256(MODEL).hexdigest()
FETCH = f"huggingface_hub.hf_hub_download({REPO!r}, 'model.gguf')"

pytestmark = pytest.mark.slow  # huggingface_hub is imported anew for each of them


@pytest.fixture(params=[None, "localhost"], ids=["direct", "content host"])
def hub(request):
    with served(content_host=request.param) as running:
        yield running


@pytest.fixture
def redirecting():
    with served(content_host="localhost") as running:
        yield running


def served(**options) -> Hub:
    commits = {OLDER: {"config.json": b"{}"}, COMMIT: FILES}
    return Hub({REPO: commits}, references={REPO: {"v1": OLDER, "main": COMMIT}}, **options)


class Client:
    """Processes that import `huggingface_hub` anew, for it reads the environment only then."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cache = home / "hub" / "models--org--tiny"

    def run(self, hub: Hub, program: str, **environ: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        told = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM.format(program=program)],
            env={**kept, **hub.environ(self.home), **told, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def value(self, hub: Hub, program: str, **environ: str):
        """Evaluate an expression."""
        run = self.run(hub, program, **environ)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def error(self, hub: Hub, program: str, **environ: str) -> str:
        """Evaluate an expression that fails; return the names of its error and of what that stems from."""
        return self.run(hub, f"failure(lambda: {program})", **environ).stdout.strip().strip('"')

    def blobs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.cache.glob("blobs/*")}


PROGRAM = """
import json, huggingface_hub

def failure(call):
    try:
        return "no error: " + str(call())
    except Exception as error:
        names = []
        while error is not None:
            names.append(type(error).__name__)
            error = error.__cause__
        return " < ".join(names)

print(json.dumps({program}, default=str))
"""


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path / "home")


def paths(requests) -> list[str]:
    return [f"{request.method} {request.path.partition('?')[0]}" for request in requests]


def test_model_info_tells_commit_and_files(hub, client):
    program = f"[(i.sha, [s.rfilename for s in i.siblings]) for i in [huggingface_hub.model_info({REPO!r})]][0]"
    assert client.value(hub, program) == [COMMIT, sorted(FILES)]
    assert paths(hub.requests) == [f"GET /api/models/{REPO}"]


def test_model_info_of_a_tag_with_the_metadata_of_files(hub, client):
    call = f"huggingface_hub.model_info({REPO!r}, revision='main', files_metadata=True).siblings"
    told = client.value(hub, f"[[s.rfilename, s.size, s.blob_id, s.lfs and s.lfs.sha256] for s in {call}]")
    assert told[0] == ["config.json", len(CONFIG), git_blob_id(CONFIG), None]
    assert told[1][1:2] + told[1][3:] == [len(MODEL), SHA256]
    assert client.value(hub, f"huggingface_hub.model_info({REPO!r}, revision='v1').sha") == OLDER
    assert paths(hub.requests)[-1] == f"GET /api/models/{REPO}/revision/v1"


def test_the_tree_comes_in_pages(client):
    with served(page=2) as hub:
        call = f"huggingface_hub.list_repo_tree({REPO!r}, revision={COMMIT!r}, recursive=True)"
        told = client.value(hub, f"[[type(e).__name__, e.path, getattr(e, 'size', 0)] for e in {call}]")
        assert sorted(told, key=lambda row: row[1]) == [
            ["RepoFile", "config.json", len(CONFIG)],
            ["RepoFile", "model.gguf", len(MODEL)],
            ["RepoFolder", "sub", 0],
            ["RepoFolder", "sub/deep", 0],
            ["RepoFile", "sub/deep/notes.txt", 5],
        ]
        assert len(hub.asked("GET", "*/tree/*")) == 3


def test_the_tree_tells_the_digests_of_git_and_lfs(hub, client):
    call = f"huggingface_hub.list_repo_tree({REPO!r})"
    rows = client.value(
        hub,
        f"[[e.path, e.blob_id, e.lfs and [e.lfs.sha256, e.lfs.size]] for e in {call} if e.path > 'a' and hasattr(e, 'lfs')]",
    )
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(MODEL)}\n".encode()
    assert rows == [
        ["config.json", git_blob_id(CONFIG), None],
        ["model.gguf", git_blob_id(pointer), [SHA256, len(MODEL)]],
    ]


def test_git_itself_names_our_blobs_so(tmp_path):
    (tmp_path / "x").write_bytes(CONFIG)
    run = subprocess.run(["git", "hash-object", "x"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == git_blob_id(CONFIG)


def test_a_download_lies_under_its_digest(hub, client):
    path = Path(client.value(hub, FETCH))
    assert path == client.cache / "snapshots" / COMMIT / "model.gguf"
    assert path.read_bytes() == MODEL
    assert client.blobs() == {SHA256: MODEL}
    assert os.readlink(path) == f"../../blobs/{SHA256}"
    assert (client.cache / "refs" / "main").read_text() == COMMIT
    client.value(hub, f"huggingface_hub.hf_hub_download({REPO!r}, 'config.json', revision='v1')")
    assert client.blobs()[git_blob_id(b"{}")] == b"{}"


def test_a_large_file_comes_from_the_content_host_and_brings_no_token_there(redirecting, client):
    client.value(redirecting, FETCH, HF_TOKEN="hf_good")
    asked = redirecting.asked(host="content")
    assert [request.method for request in asked] == ["GET"]
    assert "authorization" not in asked[0].headers
    assert redirecting.asked("HEAD", "*/resolve/*")[0].headers["authorization"] == "Bearer hf_good"


def test_a_small_file_comes_by_a_redirect_on_the_hub(redirecting, client):
    client.value(redirecting, f"huggingface_hub.hf_hub_download({REPO!r}, 'sub/deep/notes.txt')")
    assert [(request.method, "resolve-cache" in request.path) for request in redirecting.requests] == [
        ("HEAD", False),
        ("HEAD", True),
        ("GET", True),
    ]


def test_a_second_download_of_a_commit_asks_nothing(hub, client):
    pinned = f"huggingface_hub.hf_hub_download({REPO!r}, 'model.gguf', revision={COMMIT!r})"
    client.value(hub, pinned)
    hub.forget()
    client.value(hub, pinned)
    assert hub.requests == []


def test_a_snapshot_has_all_files_or_the_chosen(hub, client):
    folder = Path(client.value(hub, f"huggingface_hub.snapshot_download({REPO!r}, ignore_patterns=['*.txt'])"))
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "model.gguf"]
    hub.forget()
    client.value(hub, f"huggingface_hub.snapshot_download({REPO!r})")
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert not hub.asked("GET", "*.gguf")


def test_offline_asks_nothing(hub, client):
    client.value(hub, f"huggingface_hub.snapshot_download({REPO!r})")
    hub.forget()
    assert client.value(hub, FETCH, HF_HUB_OFFLINE="1")
    assert client.value(hub, f"huggingface_hub.snapshot_download({REPO!r})", HF_HUB_OFFLINE="1")
    assert client.error(hub, FETCH.replace("model", "other"), HF_HUB_OFFLINE="1").startswith("LocalEntryNotFoundError")
    assert client.error(hub, f"huggingface_hub.model_info({REPO!r})", HF_HUB_OFFLINE="1") == "OfflineModeIsEnabled"
    assert hub.requests == []


def test_a_corrupt_body_of_the_right_size_is_believed(hub, client):
    hub.fault(corrupt(at=5000), on="*", method="GET", times=1)
    path = Path(client.value(hub, FETCH))
    assert path.read_bytes() != MODEL
    assert list(client.blobs()) == [SHA256]
    assert Path(client.value(hub, FETCH)).read_bytes() != MODEL


STEP = 10 << 20  # what huggingface_hub reads at once; of a connection that ends it keeps whole steps only
LARGE = bytes(range(256)) * (STEP // 256 + 5000)
FETCH_LARGE = "huggingface_hub.hf_hub_download('org/large', 'model.gguf')"


@pytest.mark.parametrize("fault", [drop(after=STEP + 1000), stall(after=STEP + 1000)], ids=["dropped", "stalled"])
def test_a_cut_body_is_resumed_within_the_process_from_its_last_whole_step(hub, client, fault):
    hub.add("org/large", {"model.gguf": LARGE})
    hub.fault(fault, method="GET", times=1)
    assert Path(client.value(hub, FETCH_LARGE)).read_bytes() == LARGE
    assert [request.headers.get("range") for request in hub.asked("GET")] == [None, f"bytes={STEP}-"]


def test_a_cut_body_whose_range_is_ignored_begins_anew(hub, client):
    hub.add("org/large", {"model.gguf": LARGE})
    hub.fault(ignore_range(), method="GET")
    hub.fault(drop(after=STEP + 1000), method="GET", times=1)
    assert Path(client.value(hub, FETCH_LARGE)).read_bytes() == LARGE


def test_a_connection_that_is_reset_fails_and_leaves_no_part(hub, client):
    hub.fault(drop(after=100_000, reset=True), method="GET", times=1)
    assert client.error(hub, FETCH).startswith("ReadError")
    assert client.blobs() == {}


def test_a_killed_download_is_not_resumed_by_the_next_process(hub, client):
    hub.fault(slow(200_000), method="GET", times=1)
    program = PROGRAM.format(program=FETCH)
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **hub.environ(client.home)})
    deadline = time.monotonic() + 20
    while not hub.asked("GET") and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.wait()
    (left,) = client.blobs()
    assert left.startswith(SHA256 + ".")
    assert left.endswith(".incomplete")
    hub.forget()
    assert Path(client.value(hub, FETCH)).read_bytes() == MODEL
    assert [request.headers.get("range") for request in hub.asked("GET")] == [None]
    assert sorted(client.blobs()) == [SHA256, left]


def test_a_body_that_is_shorter_than_the_hub_said_is_refused(hub, client):
    hub.fault(wrong_length(-1000), method="GET")
    assert client.error(hub, FETCH).startswith("OSError")
    assert client.blobs() == {}


def test_a_body_without_a_length_is_read(hub, client):
    hub.fault(no_length(), method="GET")
    assert Path(client.value(hub, FETCH)).read_bytes() == MODEL


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (unauthorized(), "HfHubHTTPError < HTTPStatusError"),
        (forbidden(), "LocalEntryNotFoundError < HfHubHTTPError < HTTPStatusError"),
        (gated(), "GatedRepoError < HTTPStatusError"),
        (gated(logged_in=False), "GatedRepoError < HTTPStatusError"),
        (unavailable(), "LocalEntryNotFoundError < HfHubHTTPError < HTTPStatusError"),
    ],
    ids=["401", "403", "gated", "gated, no token", "503"],
)
def test_refusals_have_their_errors(hub, client, fault, names):
    hub.fault(fault, on="*/resolve/*")
    if fault.status == 503:
        hub.heal()
        hub.fault(fault, on="*/resolve/*", times=1)
        assert client.value(hub, FETCH)  # asked again, in vain or not, for there is no copy
    else:
        assert client.error(hub, FETCH) == names


def test_what_is_not_there_has_its_error(hub, client):
    assert client.error(hub, FETCH.replace("model", "other")) == "RemoteEntryNotFoundError < HTTPStatusError"
    assert client.cache.joinpath(".no_exist", COMMIT, "other.gguf").exists()
    wrong = f"huggingface_hub.hf_hub_download({REPO!r}, 'model.gguf', revision='v9')"
    assert client.error(hub, wrong) == "RevisionNotFoundError < HTTPStatusError"
    wrong = "huggingface_hub.model_info('org/none')"
    assert client.error(hub, wrong, HF_TOKEN="hf_good") == "RepositoryNotFoundError < HTTPStatusError"
    assert client.error(hub, wrong) == "RepositoryNotFoundError < HTTPStatusError"
    assert client.error(hub, wrong, HF_TOKEN="hf_other") == "HfHubHTTPError < HTTPStatusError"


def test_private_and_gated_repositories_open_to_their_token(hub, client):
    hub.private.add(REPO)
    assert client.error(hub, FETCH) == "RepositoryNotFoundError < HTTPStatusError"
    assert client.value(hub, FETCH, HF_TOKEN="hf_good")
    hub.private.clear()
    hub.gated.add(REPO)
    assert client.value(hub, f"huggingface_hub.model_info({REPO!r}).gated") == "auto"
    other = FETCH.replace("model.gguf", "config.json")
    assert client.error(hub, other) == "GatedRepoError < HTTPStatusError"
    assert client.value(hub, other, HF_TOKEN="hf_good")


def test_a_busy_hub_is_asked_again_when_it_said(hub, client):
    hub.fault(busy(retry_after=1), method="GET", on="*gguf*", times=1)
    hub.fault(busy(retry_after=1), method="GET", host="content", times=1)
    begun = time.monotonic()
    client.value(hub, FETCH)
    assert time.monotonic() - begun > 2
    assert len(hub.asked("GET")) == 2


def test_a_redirect_to_another_host_loses_the_token(client):
    with served(host="localhost") as other, served() as hub:
        hub.fault(redirect(f"{other.url}/{REPO}/resolve/main/model.gguf"), on="*/resolve/*", method="GET")
        client.value(hub, FETCH, HF_TOKEN="hf_good")
        assert ["authorization" in request.headers for request in other.requests] == [False]


def test_an_offer_of_xet_is_not_taken_where_it_is_off(client):
    with served(content_host="localhost", xet=True) as hub:
        assert Path(client.value(hub, FETCH, HF_HUB_DISABLE_XET="1")).read_bytes() == MODEL
        assert not hub.asked(on="*xet*")


def test_certificates_are_checked(client):
    with served(tls=True, content_host="localhost") as hub:
        assert hub.url.startswith("https:")
        assert client.value(hub, FETCH)
        # (A download tries for 23 seconds before it gives up on a certificate.)
        assert (
            client.error(hub, f"huggingface_hub.model_info({REPO!r})", SSL_CERT_FILE="")
            == "ConnectError < ConnectError"
        )


# Plain files, by the standard library


@pytest.fixture
def files():
    with Hub() as running:
        running.files |= {"x.bin": MODEL, "private/x.bin": MODEL}
        yield running


def get(url, context=None, **headers):
    asked = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(asked, timeout=5, context=context) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, dict(answer.headers), answer.read()


def test_ranges_of_a_plain_file(files):
    url = f"{files.url}/files/x.bin"
    status, headers, body = get(url)
    assert (status, body, headers["Accept-Ranges"]) == (200, MODEL, "bytes")
    status, part, body = get(url, Range="bytes=1000-1999")
    assert (status, body, part["Content-Range"]) == (206, MODEL[1000:2000], f"bytes 1000-1999/{len(MODEL)}")
    assert get(url, Range="bytes=-10")[2] == MODEL[-10:]
    assert get(url, Range=f"bytes={len(MODEL) - 5}-")[2] == MODEL[-5:]
    status, past, _ = get(url, Range=f"bytes={len(MODEL)}-")
    assert (status, past["Content-Range"]) == (416, f"bytes */{len(MODEL)}")
    for condition in (headers["ETag"], headers["Last-Modified"]):
        assert get(url, Range="bytes=5-", If_Range=condition)[0] == 206
    for condition in ('"other"', "Mon, 01 Jan 2001 00:00:00 GMT"):
        assert get(url, Range="bytes=5-", If_Range=condition)[0] == 200
    assert get(url, If_None_Match=headers["ETag"])[0] == 304
    files.files["x.bin"] = b"changed"
    assert get(url, Range="bytes=5-", If_Range=headers["ETag"])[2] == b"changed"


def test_a_private_file_asks_for_a_login(files):
    url = f"{files.url}/files/private/x.bin"
    assert get(url)[0] == 401
    assert get(url, Authorization="Basic dXNlcjpzZWNyZXQ=")[0] == 200


def test_faults_are_counted_and_the_newest_wins(files):
    url = f"{files.url}/files/x.bin"
    files.fault(unavailable())
    files.fault(busy(7), on="*/x.bin", times=1)
    assert [get(url)[0], get(url)[0]] == [429, 503]
    files.heal()
    files.fault(corrupt(at=1200), times=1)
    assert get(url, Range="bytes=1200-1200")[2] == bytes([MODEL[1200] ^ 1])
    assert get(url)[2] == MODEL
    assert len(files.asked("GET", "/files/*")) == 4
    assert files.asked("HEAD") == []


def test_the_authority_of_a_hub_is_its_own():
    with Hub(tls=True) as hub:
        hub.files["x"] = b"x"
        trusting = ssl.create_default_context(cafile=hub.authority)
        assert get(f"{hub.url}/files/x", trusting)[2] == b"x"
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            get(f"{hub.url}/files/x")


def test_the_hub_can_be_served_to_a_shell():
    script = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.hub"]
    with subprocess.Popen(command, cwd=script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            url = process.stdout.readline().strip().removeprefix("export HF_ENDPOINT=")
            assert json.loads(get(f"{url}/api/models/test/tiny-llama")[2])["siblings"] == [
                {"rfilename": "tiny-llama.gguf"}
            ]
        finally:
            process.terminate()

"""A real registry is asked, with tokens and without, and sent blobs; and what is done where it lies."""

import io
import json
import threading
import time

import pytest

from model_provisioner.errors import FetchError, IncompleteError, NotAllowedError, SettingError
from model_provisioner.fetchers.http import connections
from model_provisioner.fetchers.http.client import HttpClient
from model_provisioner.fetchers.mirror_writers import writer_of
from model_provisioner.fetchers.oci import tokens as tokens_module
from model_provisioner.fetchers.oci.place import place_of, registry_place
from model_provisioner.fetchers.oci.registry import Registry as Client
from model_provisioner.references.mirror import Mirror
from model_provisioner.references.reference import ModelRef
from tests.support.artifacts import oras
from tests.support.files_server import FilesServer
from tests.support.fixtures import hurried, registry  # noqa: F401
from tests.support.registry import OCI_EMPTY, OCI_MANIFEST, PASSWORD, USER, Registry, TokenServer, basic, digest_of

DATA = b"weights " * 1000
SHA = digest_of(DATA).partition(":")[2]
WHERE = "oci:somewhere at 127.0.0.1"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user who is logged in nowhere."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def log_in(home, place, **login):
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(
        json.dumps({"auths": {place: login or {"auth": basic(USER, PASSWORD)}}})
    )


@pytest.fixture
def client():
    """Makes clients of a repository that are closed in the end; hosts that are asked of the policy are in `checked`."""
    made, checked = [], []

    def make(place, repository="org/model", *, actions="pull", allow=("127.0.0.1", "localhost")):
        def check(host):
            checked.append(host)
            if host not in allow:
                raise NotAllowedError("not allowed", found="allow: []")

        made.append(HttpClient(check))
        return Client(registry_place(place, repository), made[-1], lambda seconds, why: None, actions)

    make.checked = checked
    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    with (
        TokenServer(anonymous=False) as tokens,
        Registry(tmp_path_factory.mktemp("private"), tokens=tokens) as registry,
    ):  # noqa: F811
        registry.tokens = tokens
        registry.push_blob("org/model", DATA)
        yield registry


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("guarded"), passwords=True) as registry:  # noqa: F811
        registry.push_blob("org/model", DATA)
        yield registry


# ---- where a registry is


@pytest.mark.parametrize(
    ("text", "origin", "repository"),
    [
        ("oci:ghcr.io/org/m:q4", "https://ghcr.io", "org/m"),
        ("oci:ghcr.io:8443/org/m:q4", "https://ghcr.io:8443", "org/m"),
        ("oci:docker.io/ai/smollm2", "https://registry-1.docker.io", "ai/smollm2"),
        ("oci:docker.io/smollm2", "https://registry-1.docker.io", "library/smollm2"),
        ("oci:localhost:5000/m", "http://localhost:5000", "m"),
        ("oci:127.0.0.2/m", "http://127.0.0.2", "m"),
        ("oci:[::1]:5000/m", "http://[::1]:5000", "m"),
        ("oci:192.168.0.1:5000/m", "https://192.168.0.1:5000", "m"),
        ("oci:localhost.example.org/m", "https://localhost.example.org", "m"),
        ("ollama:qwen2.5:0.5b", "https://registry.ollama.ai", "library/qwen2.5"),
        ("ollama:me/tuned", "https://registry.ollama.ai", "me/tuned"),
    ],
)
def test_only_this_machine_is_spoken_to_by_http(text, origin, repository):
    place = place_of(ModelRef.parse(text))
    assert (place.origin, place.repository) == (origin, repository)


@pytest.mark.parametrize(
    "text", ["http://r.example.org", "https://me:pw@r.example.org", "r.example.org", "https://r/x", "x y"]
)
def test_a_setting_that_names_no_registry_is_told_and_not_shown(text, monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_OLLAMA_REGISTRY", text)
    with pytest.raises(SettingError) as caught:
        place_of(ModelRef.parse("ollama:qwen"))
    assert str(caught.value) == (
        "MODEL_PROVISIONER_OLLAMA_REGISTRY is not the address of a registry\n  where     the environment\n"
        "  expected  https://HOST or https://HOST:PORT, in small letters; http:// for a registry on this machine\n"
        "  found     something else\n"
        "  fix       correct it, or take it out of the environment: then https://registry.ollama.ai is asked"
    )


def test_another_registry_may_have_ollamas_models(monkeypatch):
    monkeypatch.setenv("MODEL_PROVISIONER_OLLAMA_REGISTRY", "https://ollama.example.org:8443/")
    place = place_of(ModelRef.parse("ollama:qwen"))
    assert place.url("manifests/latest") == "https://ollama.example.org:8443/v2/library/qwen/manifests/latest"


# ---- manifests and blobs


def test_a_manifest_is_found_by_tag_and_by_digest(client, registry):  # noqa: F811
    digest = oras(registry, "by/tag", "q4", {"m.gguf": DATA})
    asked = client(registry.place, "by/tag")
    data, found = asked.manifest("q4", WHERE)
    assert (found, digest_of(data)) == (digest, digest)
    assert asked.manifest(digest, WHERE) == (data, digest)
    assert asked.manifest("q5", WHERE) is None
    assert client(registry.place, "not/there").manifest("q4", WHERE) is None


def test_a_blob_is_looked_for_and_sent(client, registry):  # noqa: F811
    sender = client(registry.place, "sent/here", actions="pull,push")
    assert sender.size_of(SHA, WHERE) is None
    sender.push(SHA, len(DATA), io.BytesIO(DATA), WHERE)
    assert sender.size_of(SHA, WHERE) == len(DATA)
    assert registry.has_blob("sent/here", f"sha256:{SHA}")
    sender.push(SHA, len(DATA), io.BytesIO(DATA), WHERE)  # what is there already does no harm


def test_a_registry_takes_no_blob_of_another_digest(client, registry):  # noqa: F811
    sender = client(registry.place, "sent/wrong", actions="pull,push")
    with pytest.raises(FetchError) as caught:
        sender.push("0" * 64, len(DATA), io.BytesIO(DATA), WHERE)
    assert caught.value.found == "400 Bad Request (DIGEST_INVALID)"
    assert sender.size_of("0" * 64, WHERE) is None


# ---- tokens


def test_a_token_is_asked_for_once_and_for_this_repository_alone(client, private, home):
    log_in(home, private.place)
    before = len(private.tokens.asked)
    asked = client(private.place)
    assert [asked.size_of(SHA, WHERE) for _ in range(3)] == [len(DATA)] * 3
    ((path, headers),) = private.tokens.asked[before:]
    assert path == "/token?scope=repository%3Aorg%2Fmodel%3Apull&service=test-registry"
    assert headers["authorization"] == f"Basic {basic(USER, PASSWORD)}"
    assert asked.file(SHA, "m", None).all_headers["authorization"].startswith("Bearer ")


def test_who_sends_asks_for_the_right_to(client, private, home):
    log_in(home, private.place)
    data = b"more " * 1000
    sha256 = digest_of(data).partition(":")[2]
    client(private.place, actions="pull,push").push(sha256, len(data), io.BytesIO(data), WHERE)
    assert "pull%2Cpush" in private.tokens.asked[-1][0]
    assert private.has_blob("org/model", f"sha256:{sha256}")


def test_a_token_is_renewed_before_it_ends(client, private, home, monkeypatch):
    log_in(home, private.place)
    asked = client(private.place)
    asked.size_of(SHA, WHERE)
    before, now = len(private.tokens.asked), time.monotonic()
    first = asked.tokens.header()
    monkeypatch.setattr(tokens_module.time, "monotonic", lambda: now + 280)
    assert asked.tokens.header() == first
    monkeypatch.setattr(tokens_module.time, "monotonic", lambda: now + 295)
    assert asked.tokens.header() != first
    assert len(private.tokens.asked) == before + 1


def test_threads_that_want_a_token_at_the_same_time_ask_once(client, private, home):
    log_in(home, private.place)
    asked = client(private.place)
    asked.size_of(SHA, WHERE)
    asked.tokens._until = 0.0
    before = len(private.tokens.asked)
    threads = [threading.Thread(target=asked.tokens.header) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(private.tokens.asked) == before + 1


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_threads_that_are_refused_at_the_same_time_all_go_on(client, home, scheme):
    """Though the second finds the header that the first just got: a password is the same each time, and so are some tokens."""
    both = threading.Barrier(2, timeout=10)
    with FilesServer({f"/v2/org/model/blobs/sha256:{SHA}": DATA, "/token": b'{"token": "same"}'}) as server:
        place = f"127.0.0.1:{server.port}"
        log_in(home, place)
        challenge = {"WWW-Authenticate": f'{scheme} realm="http://{place}/token"'}
        server.manners.statuses.extend([(401, challenge)] * 2)
        server.before_each = lambda: both.wait() if len(server.asked) < 2 else None
        one, found = client(place), []
        threads = [threading.Thread(target=lambda: found.append(one.size_of(SHA, WHERE))) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert found == [len(DATA)] * 2


def test_an_identity_token_is_exchanged(client, private, home):
    """As Azure's registries have it: Docker keeps no password then."""
    log_in(home, private.place, auth=basic("00000000", ""), identitytoken="id-t0ken")
    private.tokens.identity = "id-t0ken"
    before = len(private.tokens.asked)
    assert client(private.place).size_of(SHA, WHERE) == len(DATA)
    ((path, headers),) = private.tokens.asked[before:]
    assert (path, "authorization" in headers) == ("/token", False)


def test_a_registry_that_wants_a_password_gets_it(client, guarded, home):
    with pytest.raises(FetchError) as caught:
        client(guarded.place).size_of(SHA, WHERE)
    assert caught.value.what == f"{guarded.place} shows this only to who is logged in, or does not have it"
    log_in(home, guarded.place)
    assert client(guarded.place).size_of(SHA, WHERE) == len(DATA)


def test_a_credential_helper_is_told_where_a_login_is_missed(client, guarded, home):
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "desktop"}')
    with pytest.raises(FetchError) as caught:
        client(guarded.place).size_of(SHA, WHERE)
    assert caught.value.fix == (
        f"{home}/.docker/config.json leaves it to the credential helper desktop, which is not started here: "
        f"check the spelling; for a private one, `docker login {guarded.place}` or `podman login {guarded.place}`"
    )


def challenged(server, realm, more=""):
    """Let a server of files ask for a token of `realm`, whatever it is asked for."""
    server.manners.statuses.extend([(401, {"WWW-Authenticate": f'Bearer realm="{realm}"{more}'})] * 8)


def test_a_login_goes_to_no_realm_over_http_elsewhere(client, home):
    with FilesServer({}) as server:
        place = f"127.0.0.1:{server.port}"
        log_in(home, place)
        challenged(server, "http://tokens.example.org/token")
        with pytest.raises(FetchError) as caught:
            client(place).size_of(SHA, WHERE)
    assert caught.value.what == "127.0.0.1 has its tokens given out over http:, where anybody can read them"
    assert "tokens.example.org" not in client.checked


def test_a_realm_is_under_the_policy(client, home):
    with FilesServer({}) as server:
        log_in(home, f"127.0.0.1:{server.port}")
        challenged(server, "https://tokens.example.org/token")
        with pytest.raises(NotAllowedError) as caught:
            client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE)
    assert caught.value.found == f"allow: []; 127.0.0.1:{server.port} has its tokens given out by tokens.example.org"


def test_a_realm_elsewhere_gets_nothing_out_of_netrc(client, home):
    """The registry names it, and not the user: as with a redirect."""
    (home / ".netrc").write_text(f"machine localhost login {USER} password {PASSWORD}\n")
    with FilesServer({}) as server, FilesServer({}) as other:
        challenged(server, other.url("/token"))
        with pytest.raises(FetchError):
            client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE)
        assert [each.path.partition("?")[0] for each in other.asked] == ["/token"]
        assert "authorization" not in other.asked[0].headers


def test_a_registry_can_t_have_a_token_for_another_repository(client, private, home):
    """It may name any scope: what is asked for is the repository of the reference."""
    with FilesServer({}) as server:
        log_in(home, f"127.0.0.1:{server.port}")
        challenged(server, f"{private.tokens.url}/token", ',scope="repository:somebody/else:pull,push"')
        before = len(private.tokens.asked)
        with pytest.raises(FetchError):
            client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE)
        assert {path for path, _ in private.tokens.asked[before:]} == {"/token?scope=repository%3Aorg%2Fmodel%3Apull"}


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a b"}', b'{"token": "a\\r\\nx: y"}', b'{"token": ""}']
)
def test_what_is_no_token_is_told(client, private, home, answer):
    log_in(home, private.place)
    private.tokens.answer = lambda path: answer
    try:
        with pytest.raises(FetchError) as caught:
            client(private.place).size_of(SHA, WHERE)
    finally:
        private.tokens.answer = lambda path: None
    assert caught.value.what == f"127.0.0.1 gives out no token for {private.place}"


@pytest.mark.parametrize(
    "header", ["", "Negotiate", "Bearer", 'Bearer realm=""', "Digest realm=x", "Bearer " + "x=" * 9000]
)
def test_what_asks_for_nothing_that_is_spoken_ends_the_question(client, header):
    with FilesServer({}) as server:
        server.manners.statuses.append((401, {"WWW-Authenticate": header}))
        with pytest.raises(FetchError) as caught:
            client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE)
        assert caught.value.status == 401
        assert len(server.asked) == 1


# ---- trouble


def test_a_manifest_is_sent_with_a_token_though_nothing_was_asked_before(client, private, home):
    """As where everybody may read: the first that is refused is what is sent."""
    log_in(home, private.place)
    empty = {"mediaType": OCI_EMPTY, "digest": private.push_blob("org/model", b"{}"), "size": 2}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": []}).encode()
    client(private.place, actions="pull,push").put_manifest("sent", manifest, OCI_MANIFEST, WHERE)
    assert client(private.place).manifest("sent", WHERE) == (manifest, digest_of(manifest))


class Stopped(BaseException):
    pass


class Broken(io.BytesIO):
    """Bytes that are read up to a place."""

    def read(self, size=-1):
        if self.tell() > 1 << 20:
            raise Stopped
        return super().read(size)


def test_nobody_gets_half_of_a_blob_that_is_not_sent_to_its_end(client, registry):  # noqa: F811
    zeros = bytes(4 << 20)
    sha256 = digest_of(zeros).partition(":")[2]
    with pytest.raises(Stopped):
        client(registry.place, actions="pull,push").push(sha256, len(zeros), Broken(zeros), WHERE)
    assert client(registry.place).size_of(sha256, WHERE) is None


def test_a_registry_may_take_its_time_to_put_away_what_it_was_sent(client, monkeypatch):
    """One that keeps its blobs in a bucket copies them there before it answers."""
    monkeypatch.setattr(connections, "STALL", 0.2)
    with FilesServer({}) as server:
        server.manners.statuses.extend([(202, {"Location": "/put"}), (201, {})])
        server.before_each = lambda: time.sleep(0.4 * len(server.asked))
        client(f"127.0.0.1:{server.port}", actions="pull,push").push(SHA, len(DATA), io.BytesIO(DATA), WHERE)
        assert [each.method for each in server.asked] == ["POST", "PUT"]


def test_a_blob_whose_answer_was_lost_is_not_sent_again(tmp_path):
    (tmp_path / "file").write_bytes(b"what")
    said = [200, 404, (202, {"Location": "/put"}), 503, 200, 201, 200, 200]
    with FilesServer({}) as server, HttpClient(lambda host: None) as http:
        server.manners.statuses.extend(each if isinstance(each, tuple) else (each, {}) for each in said)
        to = Mirror.parse(f"oci:127.0.0.1:{server.port}/m")
        writer = writer_of(to, http, lambda host: None, lambda seconds, why: None)
        writer.send(str(tmp_path / "file"), SHA, 4, lambda count: None)
        assert [each.method for each in server.asked] == ["HEAD", "HEAD", "POST", "PUT", "HEAD", "PUT", "HEAD", "GET"]


def test_where_an_upload_is_sent_on_to_nothing_of_ours_goes_but_the_bytes(client, home):
    log_in(home, "127.0.0.1")
    (home / ".netrc").write_text(f"machine localhost login {USER} password {PASSWORD}\n")
    with FilesServer({}) as server, FilesServer({}) as other:
        server.manners.statuses.append((202, {"Location": other.url("/upload")}))
        with pytest.raises(FetchError):
            client(f"127.0.0.1:{server.port}", actions="pull,push").push(SHA, len(DATA), io.BytesIO(DATA), WHERE)
        assert {each.method for each in other.asked} == {"PUT"}
        assert all("authorization" not in each.headers for each in other.asked)


@pytest.mark.parametrize(
    ("login", "status", "what", "fix"),
    [
        (False, 401, "does not let us send files to org/model", "{login}"),
        (
            True,
            401,
            "does not let us send files to org/model",
            "ask for the right to push to it; or log in anew: {login}",
        ),
        (
            True,
            403,
            "does not let us send files to org/model",
            "ask for the right to push to it; or log in anew: {login}",
        ),
        (
            True,
            405,
            "is only read, as a registry is that keeps copies of another's",
            "name a registry that files can be pushed to",
        ),
    ],
)
def test_who_may_not_send_is_told_so(client, home, login, status, what, fix):
    with FilesServer({}) as server:
        place = f"127.0.0.1:{server.port}"
        if login:
            log_in(home, place)
        server.manners.statuses.append((status, {}))
        with pytest.raises(FetchError) as caught:
            client(place, actions="pull,push").push(SHA, len(DATA), io.BytesIO(DATA), WHERE)
    assert caught.value.what == f"{place} {what}"
    assert caught.value.fix == fix.format(login=f"`docker login {place}` or `podman login {place}`")


def test_a_busy_registry_is_asked_again(client, registry, hurried):  # noqa: F811
    with FilesServer({f"/v2/org/model/blobs/sha256:{SHA}": DATA}) as server:
        server.manners.statuses.extend([(503, {}), (429, {"Retry-After": "1"})])
        assert client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE) == len(DATA)
        assert len(server.asked) == 3


def test_a_registry_that_stays_busy_is_told(client):
    with FilesServer({}) as server:
        server.manners.statuses.extend([(503, {})] * 9)
        with pytest.raises(IncompleteError) as caught:
            client(f"127.0.0.1:{server.port}").size_of(SHA, WHERE)
    assert caught.value.what.endswith("can't answer now")


def test_what_is_sent_is_sent_to_no_other_host(client):
    """A redirect in answer to an upload is no place to send the bytes to."""
    with FilesServer({}) as server, FilesServer({}) as other:
        server.manners.statuses.append((307, {"Location": other.url("/v2/org/model/blobs/uploads/x")}))
        with pytest.raises(FetchError):
            client(f"127.0.0.1:{server.port}", actions="pull,push").push(SHA, len(DATA), io.BytesIO(DATA), WHERE)
        assert other.asked == []

"""`list --fleet`: which hosts hold a digest, what is Failed, who was silent for a day, who differs from the lock."""

import json
import re

import pytest

from model_provisioner.operations.fleet import listing, queries
from model_provisioner.operations.fleet.database import connected
from model_provisioner.records.catalog.publications import as_text
from model_provisioner.version import __version__
from tests.support.postgres import PASSWORD, Host, Silence
from tests.support.project import document

URL = "MODEL_PROVISIONER_FLEET_URL"
A, B = (f"sha256:{digit * 64}" for digit in "ab")
LOCK = """{"version": 1, "models": {
  "one": {"ref": "hf:org/repo/one", "kind": "file", "files": [{"path": "one", "size": 1, "sha256": "%s"}]}}}
"""


@pytest.fixture(scope="module")
def shared(postgres, tmp_path_factory):
    """A fleet of three hosts: one of them failed with a model, one was silent for three days."""
    with postgres.database() as fleet:
        fleet.make()
        for name, role in (("alpha", "host_a"), ("beta", "host_b"), ("gamma", "admin")):
            host = Host(fleet, str(tmp_path_factory.mktemp("state")), role=role)
            host.put("one", project="/srv/p", digest=B if name == "beta" else A, size=1000)
            if name == "beta":
                host.put(
                    "two", lifecycle="Failed", outcome="fail", digest=None, size=None, reason="it\x1b[31m rots\n more"
                )
            uuid = host.publish()["catalog"]
            fleet.query(f"UPDATE fleet.catalog SET host = '{name}', login = 'me' WHERE catalog = '{uuid}'")
        fleet.query("UPDATE fleet.catalog SET published_at = now() - interval '3 days' WHERE host = 'gamma'")
        yield fleet


@pytest.fixture
def asked(shared, project):
    """A project whose user may read the fleet."""
    project.environ[URL] = shared.url("grafana")
    return project


def table(answer):
    """Return the cells of each line but the last one, which tells how long ago that was."""
    return [re.split("  +", line)[:-1] for line in answer.out.splitlines()]


def of_models(found):
    """Return the host and the name of each model of a document."""
    return [
        (rest["host"], model["name"]) for model, rest in zip(found["models"], found["result"]["fleet"], strict=True)
    ]


def test_the_hosts_are_listed_with_what_they_have(asked):
    answer = asked.program("list", "--fleet")
    assert table(answer) == [
        ["HOST", "USER", "MODELS", "FAILED", "SIZE", "VERSION"],
        ["alpha", "me", "1", "0", "1.0 KB", __version__],
        ["beta", "me", "2", "1", "1.0 KB", __version__],
        ["gamma", "me", "1", "0", "1.0 KB", __version__],
    ]
    assert answer.out.endswith("  3 d ago\n")


def test_which_hosts_hold_a_digest(asked):
    assert table(asked.program("list", "--fleet", "--digest", A.upper().replace("SHA256", "sha256"))) == [
        ["HOST", "PROJECT", "NAME", "STATE", "CHECK", "SIZE", "DIGEST"],
        ["alpha", "/srv/p", "one", "Active", "pass", "1.0 KB", "a" * 12],
        ["gamma", "/srv/p", "one", "Active", "pass", "1.0 KB", "a" * 12],
    ]


def test_what_is_failed_and_why(asked):
    found = document(asked.program("list", "--fleet", "--state", "failed", "--json"))
    (model,), (rest,) = found["models"], found["result"]["fleet"]
    assert (model["name"], model["state"], model["outcome"], model["digest"], model["path"]) == (
        "two", "Failed", "fail", None, None,
    )  # fmt: skip
    assert (rest["host"], rest["project"], rest["reason"]) == ("beta", "/p", "it\x1b[31m rots")
    answer = asked.program("list", "--fleet", "--state", "Failed")
    assert "\x1b" not in answer.out
    assert table(answer)[1] == ["beta", "/p", "two", "Failed", "fail", "-", "-"]


def test_who_was_silent_for_a_day(asked):
    found = document(asked.program("list", "--fleet", "--silent", "1d", "--json"))
    (host,) = found["result"]["hosts"]
    assert (host["host"], host["models"], host["silent_seconds"] // 86400, found["models"]) == ("gamma", 1, 3, [])
    assert asked.program("list", "--fleet", "--silent", "4d").out == "no host of the fleet matches\n"


def test_which_hosts_differ_from_the_lock(asked):
    asked.models("models: {one: {model_ref: hf:org/repo/one, engine: llamacpp}}\n")
    asked.write("models.lock", LOCK % ("a" * 64))
    found = document(asked.program("list", "--fleet", "--differs", "--json"))
    assert of_models(found) == [("beta", "one")]
    assert (found["models"][0]["digest"]["value"], found["result"]["fleet"][0]["expected"]) == ("b" * 64, A)
    asked.write("models.lock", LOCK % ("b" * 64))
    assert of_models(document(asked.doit("model-list", "--fleet", "--differs", "--json"))) == [
        ("alpha", "one"),
        ("gamma", "one"),
    ]


def test_two_revisions_of_one_model_may_both_be_there(asked):
    asked.models(
        "models:\n  one: {model_ref: hf:org/repo/one, engine: llamacpp, handoff: one.json}\n"
        "  old: {model_ref: 'hf:org/repo@old/one', engine: llamacpp, handoff: old.json}\n"
    )
    lock = json.loads(LOCK % ("a" * 64))
    lock["models"]["old"] = json.loads((LOCK % ("b" * 64)).replace("hf:org/repo/one", "hf:org/repo@old/one"))["models"][
        "one"
    ]
    asked.write("models.lock", json.dumps(lock))
    assert of_models(document(asked.program("list", "--fleet", "--differs", "--json"))) == []


def test_times_are_those_of_every_document(asked, shared):
    shared.query(
        f"ALTER DATABASE {shared.name} SET datestyle = 'German'",
        f"ALTER DATABASE {shared.name} SET timezone = 'Asia/Kolkata'",
    )
    try:
        (host, *_) = document(asked.program("list", "--fleet", "--json"))["result"]["hosts"]
        (model, *_) = document(asked.program("list", "--fleet", "--digest", A, "--json"))["result"]["fleet"]
    finally:
        shared.query(f"ALTER DATABASE {shared.name} RESET datestyle", f"ALTER DATABASE {shared.name} RESET timezone")
    expected = "SELECT to_char(published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM fleet.hosts WHERE host = 'alpha'"
    assert host["published_at"] == model["published_at"] == shared.query(expected)[0][0]
    assert (model["verified_at"], model["host"]) == (None, "alpha")


def test_names_of_the_lock_are_looked_for_as_they_are_published(monkeypatch):
    asked = []
    monkeypatch.setenv(URL, "postgresql://db.example/fleet")
    monkeypatch.setattr(listing, "ask", lambda _, question, __: asked.append(question) or {"rows": [], "more": False})
    listing.fleet_rows(listing.Filter(locked=[("local:/p\udcff/x", A)]))
    assert asked[0].values["ids"] == [as_text("local:/p\udcff/x")]


def test_sizes_that_no_number_holds_end_no_question(asked, shared):
    sizes = shared.query("SELECT catalog, name, size_bytes FROM fleet.models WHERE host = 'beta'")
    shared.query(
        "UPDATE fleet.model SET size_bytes = 9223372036854775807 WHERE catalog IN (SELECT catalog FROM fleet.hosts WHERE host = 'beta')"
    )
    try:
        hosts = document(asked.program("list", "--fleet", "--json"))["result"]["hosts"]
    finally:
        for catalog, name, size in sizes:
            shared.query(
                f"UPDATE fleet.model SET size_bytes = {size or 'NULL'} WHERE (catalog, name) = ('{catalog}', '{name}')"
            )
    assert [host["size_bytes"] for host in hosts] == [1000, 9223372036854775807, 1000]


def test_several_questions_at_once_narrow_each_other(asked):
    found = document(asked.program("list", "--fleet", "--digest", A, "--state", "Active", "--silent", "1d", "--json"))
    assert of_models(found) == [("gamma", "one")]
    assert asked.program("list", "--fleet", "--digest", A, "--state", "Failed").out == "no model of the fleet matches\n"


def test_more_than_can_be_read_is_cut_and_said(asked, shared):
    with connected(shared.url("grafana"), shared.place, 20) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "MOST", 2)
        asked = {"job": "hosts", "shown": shared.place, "seconds": 20, "silent": None}
        found = queries.answer(connection, asked)
    assert (len(found["rows"]), found["more"]) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--digest", A], "--digest, --state, --differs and --silent ask the fleet"),
        (["--fleet", "hf:org/repo"], "list --fleet takes no names"),
        (["--fleet", "--all"], "list --fleet takes no names"),
        (["--fleet", "--digest", "a" * 64], "a digest names its algorithm"),
        (["--fleet", "--state", "Broken"], "--state is not the state of a model"),
        (["--fleet", "--silent", "long"], "--silent can't be read"),
        (["--fleet", "--silent", "9" * 30 + "d"], "--silent can't be read"),
        (["--fleet", "--differs"], "no models.yaml here or in a folder above"),
    ],
)
def test_what_is_typed_wrong(project, arguments, what):
    assert project.program("list", *arguments, code=3).err.startswith(f"ERROR: {what}\n")


def test_a_lock_that_names_nothing_is_compared_with_nothing(asked):
    asked.models("models: {one: {model_ref: hf:org/repo/one, engine: llamacpp}}\n")
    answer = asked.program("list", "--fleet", "--differs", code=3)
    assert answer.err.startswith("ERROR: --differs compares with models.lock, which names no model\n")


def test_who_may_not_read_is_told(asked, shared):
    asked.environ[URL] = shared.url("host_a")
    answer = asked.program("list", "--fleet", code=2)
    assert answer.err.startswith("ERROR: the fleet's database does not let this role do that\n")
    assert "permission denied for view hosts (42501)" in answer.err


def test_before_the_first_publication_it_is_said(asked, fleet):
    asked.environ[URL] = fleet.url("grafana")
    answer = asked.program("list", "--fleet", code=2)
    assert answer.err.startswith("ERROR: nobody has published to the fleet's database yet\n")
    assert PASSWORD not in answer.all


@pytest.mark.slow
def test_a_peer_that_says_nothing_is_not_waited_for(asked, monkeypatch):
    monkeypatch.setattr(listing, "SECONDS", 1.0)
    with Silence() as peer:
        asked.environ[URL] = f"postgresql://me:{PASSWORD}@127.0.0.1:{peer.port}/fleet"
        answer = asked.program("list", "--fleet", code=2)
    assert answer.err.startswith("ERROR: the fleet's database did not answer in time\n")
    assert answer.err.endswith("  fix       look whether it is up and in reach, and ask again\n")

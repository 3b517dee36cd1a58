"""A publication sends what moved and removes what is gone; nothing that another copy of the catalog published is lost."""

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from model_provisioner.errors import FleetError
from model_provisioner.operations.fleet import database, known, sending
from tests.support.disks import ext4, need_mounts
from tests.support.postgres import Host, Postgres

ROWS = "SELECT project, name, state, outcome, digest, size_bytes FROM fleet.models ORDER BY project, name"


@pytest.fixture
def host(fleet, tmp_path):
    """A host whose catalog nobody published yet, in a fleet whose owner made the schema."""
    fleet.make()
    return Host(fleet, str(tmp_path / "state"))


def names(fleet):
    return [name for _, name, *_ in fleet.query(ROWS)]


# ---- what is sent


def test_the_first_publication_sends_all(host, fleet):
    host.put("a", "b")
    host.put(
        "c",
        project="/q",
        lifecycle="Failed",
        outcome="fail",
        reason="it is wrong\n  where  /home",
        digest=None,
        size=None,
    )
    host.put("hf:org/repo/api", project="")
    found = host.publish()
    assert sorted(found.pop("projects")) == ["", "/p", "/q"]
    assert (found["written"], found["removed"], found["is_copy"], found["clock_skew_seconds"]) == (4, 0, False, 0)
    zeros = f"sha256:{'0' * 64}"
    assert fleet.query(ROWS) == [
        ("/p", "a", "Active", "pass", zeros, 1),
        ("/p", "b", "Active", "pass", zeros, 1),
        ("/q", "c", "Failed", "fail", None, None),
        (None, "hf:org/repo/api", "Active", "pass", zeros, 1),
    ]
    assert fleet.query("SELECT reason FROM fleet.models WHERE name = 'c'") == [("it is wrong",)]


def test_a_second_one_sends_what_moved_and_writes_no_row_that_is_the_same(host, fleet):
    host.put("a", "b")
    host.put("c", project="/q")
    host.publish()
    before = fleet.query("SELECT name, xmin::text FROM fleet.model ORDER BY name")
    host.put("a", "b", lifecycle="Pending")
    host.put("a")
    found = host.publish()
    assert (found["projects"], found["written"], found["removed"]) == (["/p"], 1, 0)
    after = fleet.query("SELECT name, xmin::text FROM fleet.model ORDER BY name")
    assert [name for (name, one), (_, two) in zip(before, after, strict=True) if one != two] == ["b"]


def test_where_nothing_moved_only_the_host_says_that_it_is_alive(host, fleet):
    host.put("a")
    host.publish()
    fleet.query("UPDATE fleet.catalog SET published_at = now() - interval '2 days'")
    before = fleet.query("SELECT xmin::text FROM fleet.model")
    assert host.publish()["projects"] == []
    assert fleet.query("SELECT now() - published_at < interval '1 minute' FROM fleet.hosts") == [(True,)]
    assert fleet.query("SELECT xmin::text FROM fleet.model") == before


def test_removed_entries_and_projects_go(host, fleet):
    host.put("a", "b")
    host.put("c", project="/q")
    host.publish()
    host.remove("a")
    host.remove("c", project="/q")
    found = host.publish()
    assert (found["written"], found["removed"]) == (0, 2)
    assert names(fleet) == ["b"]


def test_an_empty_catalog_is_a_host_without_models(host, fleet):
    assert host.publish()["projects"] == []
    assert (names(fleet), len(fleet.query("SELECT 1 FROM fleet.hosts"))) == ([], 1)


def test_a_host_that_was_renamed_is_the_same_one(host, fleet, monkeypatch):
    host.put("a")
    host.publish()
    monkeypatch.setattr(sending.socket, "gethostname", lambda: "another-name")
    host.publish()
    assert fleet.query("SELECT host FROM fleet.models") == [("another-name",)]


def test_names_are_names_and_never_a_part_of_a_statement(host, fleet):
    odd = ("\\.", "\\N", "a\tb\nc", "'; DROP SCHEMA fleet CASCADE; --", "%s %(name)s {}", '"', "\\'", "$$", "")
    host.put(*odd, project="/p\\'; DROP SCHEMA fleet CASCADE; --%(x)s")
    assert host.publish()["written"] == len(odd)
    assert sorted(names(fleet)) == sorted(odd)
    assert fleet.query("SELECT DISTINCT project FROM fleet.models") == [("/p\\'; DROP SCHEMA fleet CASCADE; --%(x)s",)]
    host.put("new", project="/p\\'; DROP SCHEMA fleet CASCADE; --%(x)s")
    assert host.publish()["written"] == 1


def test_names_that_are_no_text_are_published_as_what_they_can_be(host, fleet):
    host.put("x", project="/p\udcff", reason="🦙" * 300)
    host.put("x", project="/" + "ü" * 3000)
    host.put("x", project="/" + "ü" * 2999 + "x")
    assert len(host.publish()["projects"]) == 3
    assert len(fleet.query("SELECT DISTINCT project FROM fleet.models")) == 3
    assert host.publish()["projects"] == []


def test_the_clock_of_the_host_is_compared_with_that_of_the_database(host, fleet, monkeypatch):
    now = known.time.time
    monkeypatch.setattr(known.time, "time", lambda: now() - 7200)
    assert host.publish()["clock_skew_seconds"] == -7200
    assert fleet.query("SELECT clock_skew_seconds, now() - published_at < interval '1 minute' FROM fleet.hosts") == [
        (-7200, True)
    ]


def test_what_is_sent_holds_no_path_of_a_model(host, fleet):
    host.put("a", path="/secret/place/a.gguf", handoff="/secret/handoff.json", config="/secret/models.yaml")
    host.publish()
    dump = [fleet.query(f"SELECT {table}::text FROM fleet.{table}") for table in ("catalog", "project", "model")]
    assert "secret" not in str(dump)


# ---- copies of a catalog, and restored ones


def test_a_copy_overwrites_nothing_and_can_be_published_beside_it(host, fleet, tmp_path):
    host.put("a")
    host.publish()
    copy = host.copy(tmp_path / "copy")
    host.put("b")
    host.publish()
    copy.put("c")
    with pytest.raises(FleetError) as caught:
        copy.publish()
    (uuid,) = fleet.query("SELECT catalog::text FROM fleet.hosts")[0]
    assert str(caught.value) == (
        "a copy of this catalog published to the fleet's database, and nothing was overwritten\n"
        f"  where     {fleet.place}\n"
        f"  expected  what this catalog, {uuid}, published last\n"
        "  found     what it does not remember: it was restored from a backup, or another host or state folder has a copy of "
        "it\n"
        "  fix       if it was restored, `model-provisioner publish --take-over` replaces what is there; if it is a copy, "
        "`model-provisioner publish --as-new` publishes it beside the other"
    )
    assert names(fleet) == ["a", "b"]
    copy.publish(as_new=True)
    assert names(fleet) == ["a", "a", "b", "c"]
    assert host.publish()["projects"] == copy.publish()["projects"] == []


def test_a_catalog_on_another_machine_is_published_as_another_host(host, fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "machine_id", lambda: "here")
    host.put("a")
    host.publish()
    copy = host.copy(tmp_path / "copy")
    monkeypatch.setattr(sending, "machine_id", lambda: "there")
    copy.put("b")
    found = copy.publish()
    assert (found["is_copy"], found["written"]) == (True, 2)
    assert copy.publish()["is_copy"] is False
    monkeypatch.setattr(sending, "machine_id", lambda: "here")
    assert host.publish()["is_copy"] is False
    assert names(fleet) == ["a", "a", "b"]


@pytest.fixture
def restored(host, tmp_path):
    """A host whose catalog was restored from a backup, with a change number that its newer state had too."""
    host.put("a", "old")
    host.put("gone", project="/gone")
    host.publish()
    backup = host.copy(tmp_path / "backup")
    host.put("new", project="/new")
    host.remove("old")
    host.publish()
    backup.put("other")
    return backup


def test_a_restored_catalog_replaces_what_is_there_once_it_is_told_so(restored, fleet):
    with pytest.raises(FleetError, match="a copy of this catalog"):
        restored.publish()
    found = restored.publish(take_over=True)
    assert sorted(found["projects"]) == ["/gone", "/p"]
    assert names(fleet) == ["gone", "a", "old", "other"]
    assert restored.publish()["projects"] == []


def test_a_take_over_that_was_killed_half_way_is_finished_by_the_next_publication(restored, fleet, monkeypatch):
    def killed(sender, project, known):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(sending.Sender, "send", killed)
        with pytest.raises(SystemExit):
            restored.publish(take_over=True)
    restored.publish()
    assert names(fleet) == ["gone", "a", "old", "other"]


def test_a_catalog_that_was_restored_on_another_machine_takes_over_as_well(restored, fleet, monkeypatch):
    monkeypatch.setattr(sending, "machine_id", lambda: "new hardware")
    found = restored.publish(take_over=True)
    assert (found["is_copy"], names(fleet)) == (False, ["gone", "a", "old", "other"])
    assert restored.publish()["is_copy"] is False
    assert len(fleet.query("SELECT 1 FROM fleet.hosts")) == 1


def test_who_was_taken_over_from_removes_nothing(restored, host, fleet, monkeypatch):
    """Two copies take over from each other; the first is about to end when the second has only begun."""
    finish = sending.Sender.finish

    def killed(*_):
        raise SystemExit

    def late(sender, known, *, moved):
        monkeypatch.setattr(sending.Sender, "send", killed)
        with pytest.raises(SystemExit):
            host.publish(take_over=True)
        finish(sender, known, moved=moved)

    monkeypatch.setattr(sending.Sender, "finish", late)
    restored.publish(take_over=True)
    assert names(fleet) == ["gone", "new", "a", "old", "other"], "the second has still to say what goes"


def test_where_there_is_nothing_to_take_over_it_is_a_plain_publication(host, fleet):
    host.put("a")
    host.publish(take_over=True)
    assert host.publish(take_over=True)["projects"] == []


def test_a_database_that_was_restored_or_emptied_gets_what_it_lacks(host, fleet):
    host.put("a")
    host.publish()
    older = fleet.query("SELECT publication, change FROM fleet.catalog JOIN fleet.project USING (catalog)")[0]
    host.put("b")
    host.publish()
    fleet.query(
        "DELETE FROM fleet.model WHERE name = 'b'",
        f"UPDATE fleet.catalog SET publication = '{older[0]}'",
        f"UPDATE fleet.project SET change = {older[1]}",
    )
    assert host.publish()["written"] == 1
    assert names(fleet) == ["a", "b"]
    fleet.query("DELETE FROM fleet.catalog")
    assert names(fleet) == []
    assert host.publish()["written"] == 2


# ---- at the same time, and killed


def test_a_publication_that_was_killed_before_it_knew_that_it_arrived_is_known_again(host, fleet, monkeypatch):
    host.put("a")

    def killed(self, known, moved):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(sending.Sender, "finish", killed)
        with pytest.raises(SystemExit):
            host.publish()
    assert host.publish()["projects"] == []
    assert names(fleet) == ["a"]


def test_an_older_state_that_comes_late_does_not_replace_a_newer_one(host, fleet, monkeypatch):
    """Two publications of one host: the first read its rows, and the second is through before it sends them."""
    host.put("a", lifecycle="Pending")
    host.publish()
    host.put("a", lifecycle="Failed")
    sent = sending.Sender._sent

    def late(sender, values):
        monkeypatch.setattr(sending.Sender, "_sent", sent)
        host.put("a", lifecycle="Active")
        assert host.publish()["written"] == 1
        return sent(sender, values)

    monkeypatch.setattr(sending.Sender, "_sent", late)
    assert host.publish()["written"] == 0
    assert fleet.query("SELECT state FROM fleet.models") == [("Active",)]


def test_many_publications_of_one_host_at_once_end_with_what_is_there(host, fleet):
    host.put("a", "b")
    host.put("c", project="/q")
    failures = []

    def work():
        try:
            for _ in range(3):
                host.put("a")
                host.publish()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert names(fleet) == ["a", "b", "c"]
    assert len(fleet.query("SELECT 1 FROM fleet.hosts")) == 1
    host.remove("a")
    host.publish()
    assert names(fleet) == ["b", "c"]


def test_no_transaction_of_the_catalog_is_open_while_the_network_is_waited_for(host, fleet, monkeypatch):
    host.put("a")
    sent = sending.Sender._sent

    def busy(sender, values):
        host.put("b")  # would wait, and fail, if the publication held the catalog
        return sent(sender, values)

    monkeypatch.setattr(sending.Sender, "_sent", busy)
    host.publish()
    assert names(fleet) == ["a"]


def test_a_host_that_vanishes_in_the_middle_leaves_nothing_of_that_project(host, fleet):
    host.put("a")
    host.publish()
    host.put("b")
    with host.connected() as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM fleet.model")
        fleet.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {connection.info.backend_pid}")
    assert names(fleet) == ["a"]
    assert host.publish()["written"] == 1


# ---- roles


def test_a_writer_sees_and_changes_its_own_rows_alone(host, fleet, tmp_path):
    other = Host(fleet, str(tmp_path / "other"), role="host_b")
    for each in (host, other):
        each.put("a")
        each.publish()
    for table in ("catalog", "project", "model"):
        assert len(fleet.query(f"SELECT 1 FROM fleet.{table}")) == 2
        assert len(fleet.query_as("host_a", f"SELECT 1 FROM fleet.{table}")) == 1
    for statement in ("UPDATE fleet.model SET state = 'Failed'", "DELETE FROM fleet.model"):
        fleet.query_as("host_a", statement)
    assert fleet.query("SELECT role::text, state FROM fleet.models JOIN fleet.hosts USING (catalog)") == [
        ("host_b", "Active")
    ]
    (uuid,) = fleet.query("SELECT catalog FROM fleet.hosts WHERE role = 'host_b'")[0]
    for statement in (
        f"INSERT INTO fleet.project VALUES ('{uuid}', '/x', 1)",
        f"INSERT INTO fleet.model (catalog, project, name, id, state) VALUES ('{uuid}', '/p', 'x', 'x', 'Active')",
        "UPDATE fleet.catalog SET role = 'host_b'",
        "SELECT 1 FROM fleet.hosts",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            fleet.query_as("host_a", statement)


def test_a_writer_needs_to_connect_and_nothing_else_of_the_database(host, fleet):
    fleet.query(
        f"REVOKE ALL ON DATABASE {fleet.name} FROM PUBLIC", f"GRANT CONNECT ON DATABASE {fleet.name} TO fleet_writer"
    )
    host.put("a")
    assert [host.publish()["written"] for _ in range(2)] == [1, 0]


def test_a_writer_can_not_write_what_nobody_could_read(host, fleet):
    host.put("a")
    host.publish()
    for change in (
        "catalog SET published_at = 'infinity'",
        "catalog SET first_published_at = '20000-01-01'",
        "model SET verified_at = '-infinity'",
        "model SET audited_at = '4000-01-01 BC'",
        "model SET state = 'Great'",
        "model SET outcome = 'perfect'",
        "model SET digest = 'sha256:x'",
        "model SET size_bytes = -1",
        "model SET reason = repeat('ü', 900)",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            fleet.query_as("host_a", f"UPDATE fleet.{change}")


def test_a_reader_sees_all_and_changes_nothing(host, fleet):
    host.put("a")
    host.publish()
    assert fleet.query_as("grafana", "SELECT name FROM fleet.models") == [("a",)]
    assert len(fleet.query_as("grafana", "SELECT host FROM fleet.hosts")) == 1
    for statement in ("DELETE FROM fleet.models", "UPDATE fleet.hosts SET host = 'x'", "SELECT 1 FROM fleet.model"):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            fleet.query_as("grafana", statement)


def test_a_catalog_that_another_role_published_is_told_as_that(host, fleet, tmp_path):
    host.put("a")
    host.publish()
    copy = host.copy(tmp_path / "copy", role="host_b")
    for change in (lambda: None, lambda: copy.put("b")):
        change()
        with pytest.raises(FleetError) as caught:
            copy.publish()
        assert caught.value.what == "another role published this catalog to the fleet's database"
        assert caught.value.found == "host_b, which may not change what others published"
    assert copy.publish(as_new=True)["written"] == 2


# ---- trouble of the database


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("53100", "the fleet's database has no room"),
        ("25006", "the fleet's database can only be read"),
        ("57P01", "the fleet's database broke off"),
        ("XX000", "the fleet's database does not take a statement of ours"),
    ],
)
def test_what_the_database_says_is_told(host, fleet, code, what):
    host.put("a")
    host.publish()
    host.put("b")
    fleet.query(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON fleet.model FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    with pytest.raises(FleetError) as caught:
        host.publish()
    assert caught.value.what == what
    assert caught.value.found.startswith("could not extend file")
    assert f"({code})" in caught.value.found
    fleet.query("DROP TRIGGER fail ON fleet.model")
    assert names(fleet) == ["a"]
    assert host.publish()["written"] == 1


def test_a_standby_takes_no_publication(host, fleet):
    host.publish()
    fleet.query(f"ALTER DATABASE {fleet.name} SET default_transaction_read_only = on")
    for change in (lambda: None, lambda: host.put("a")):
        change()
        with pytest.raises(FleetError) as caught:
            host.publish()
        assert caught.value.what == "the fleet's database can only be read"


def test_a_role_in_neither_group_is_told_what_it_lacks(host, fleet):
    host.role = "nobody_s"
    with pytest.raises(FleetError) as caught:
        host.publish()
    assert str(caught.value) == (
        "the fleet's database does not let this role do that\n"
        f"  where     {fleet.place}\n"
        "  expected  a member of fleet_writer for publish, of fleet_reader for list --fleet\n"
        "  found     permission denied for schema fleet (42501)\n"
        '  fix       have its superuser say   GRANT fleet_writer TO "nobody_s";   or   GRANT fleet_reader TO '
        '"nobody_s";'
    )


def test_a_wrong_password_is_told_and_not_shown(host, fleet, monkeypatch):
    monkeypatch.setattr(
        fleet, "url", lambda role: f"postgresql://host_a:wr0ngword@127.0.0.1:{fleet.server.port}/{fleet.name}"
    )
    with pytest.raises(FleetError) as caught:
        host.publish()
    assert caught.value.what == "the fleet's database refuses the connection"
    assert "password authentication failed" in caught.value.found
    assert "wr0ngword" not in str(caught.value)


def test_a_database_that_takes_no_more_connections_is_told_as_that(host, fleet):
    fleet.query(f"ALTER DATABASE {fleet.name} CONNECTION LIMIT 0")
    with pytest.raises(FleetError) as caught:
        host.publish()
    assert caught.value.what == "the fleet's database takes no connection now"
    assert f'too many connections for database "{fleet.name}"' in caught.value.found


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("FATAL:  sorry, too many clients already", "takes no connection now"),
        ("FATAL:  remaining connection slots are reserved for superuser connections", "takes no connection now"),
        ("FATAL:  the database system is starting up", "takes no connection now"),
        ("FATAL:  the database system is not yet accepting connections", "takes no connection now"),
        ("FATAL:  the database system is in recovery mode", "takes no connection now"),
        ("FATAL:  the database system is shutting down", "takes no connection now"),
        ('FATAL:  password authentication failed for user "host_a"', "refuses the connection"),
        ("connection to server failed: Connection refused", "is out of reach"),
    ],
)
def test_why_there_is_no_connection(said, what):
    assert database._no_connection(said)[0] == f"the fleet's database {what}"


def test_the_settings_of_a_database_change_nothing(host, fleet):
    """Times and names arrive as they are, whatever a server has for its own users."""
    fleet.query(
        f"ALTER DATABASE {fleet.name} SET datestyle = 'German'",
        f"ALTER DATABASE {fleet.name} SET timezone = 'Asia/Kolkata'",
        f"ALTER DATABASE {fleet.name} SET client_encoding = 'LATIN1'",
    )
    host.put("模型", verified_at="2026-01-02T03:04:05Z")
    host.publish()
    assert fleet.query(
        "SET client_encoding = 'UTF8'", "SELECT name, extract(epoch FROM verified_at) FROM fleet.models"
    ) == [("模型", 1767323045)]


def test_a_pooler_may_give_each_transaction_another_server(host, fleet, monkeypatch):
    """Nothing of a session is left when a transaction has ended: no prepared statement, no temp table, no setting."""
    host.put("a")
    host.put("b", project="/q")
    left = []

    def finish(sender, known, *, moved):
        connection = sender._connection
        for query in (
            "SELECT count(*) FROM pg_prepared_statements",
            "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'incoming'",
            "SELECT count(*) FROM pg_settings WHERE name = 'statement_timeout' AND setting <> '0'",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        ):
            left.append(connection.execute(query).fetchone()[0])

    monkeypatch.setattr(sending.Sender, "finish", finish)
    host.publish()
    assert left == [0, 0, 0, 0]


@pytest.mark.slow
def test_a_full_disk_of_the_database_is_told_and_made_up_for(tmp_path):
    """On a file system of its own, which is filled."""
    need_mounts("mkfs.ext4")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ext4(Path(folder), "disk", 160 << 20) as disk:
        os.chmod(folder, 0o755)  # the server is not root
        server = Postgres(str(disk.at))
        try:
            with server.database() as fleet:
                fleet.make()
                host = Host(fleet, str(tmp_path / "state"))
                host.put("a")
                host.publish()
                host.put(*(f"model-{number}" for number in range(3000)))
                fill(disk.at)
                with pytest.raises(FleetError) as caught:
                    host.publish()
                assert caught.value.what in {"the fleet's database has no room", "the fleet's database broke off"}
                assert caught.value.fix.endswith("the next publish sends what is missing")
                (disk.at / "filled").unlink()
                server.start_again()
                assert names(fleet) == ["a"]
                assert host.publish()["written"] == 3000
        finally:
            server.close()


def fill(folder):
    """Write a file until nothing more fits."""
    with suppress(OSError), open(folder / "filled", "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))

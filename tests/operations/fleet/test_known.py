"""Where nothing moved, one question is the whole publication; where something did, it tells nothing yet."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from model_provisioner.errors import FleetError
from model_provisioner.operations.fleet import sending
from tests.support.postgres import Host

OLD = "UPDATE fleet.catalog SET published_at = now() - interval '2 days'"
IS_NEW = "SELECT now() - published_at < interval '1 minute' FROM fleet.hosts"


@pytest.fixture
def host(fleet, tmp_path):
    """A host whose catalog of two projects was published."""
    fleet.make()
    host = Host(fleet, str(tmp_path / "state"))
    host.put("a")
    host.put("b", project="/q")
    host.publish()
    fleet.query(OLD)
    return host


@pytest.fixture
def trips(monkeypatch):
    """What goes to a database."""
    trips, execute = [], psycopg.Connection.execute

    def counted(connection, *arguments, **options):
        trips.append(arguments)
        return execute(connection, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    return trips


def test_a_catalog_that_did_not_move_costs_one_trip(host, fleet, trips):
    assert host.publish()["projects"] == []
    assert len(trips) == 1
    assert fleet.query(IS_NEW) == [(True,)]


def test_a_catalog_that_did_not_move_is_only_read(host):
    file = Path(host.state) / "catalog.db"
    before = file.stat().st_mtime_ns
    host.publish()
    assert file.stat().st_mtime_ns == before


def test_each_project_that_moved_costs_one_trip_more(host, trips):
    host.put("a")
    assert host.publish()["projects"] == ["/p"]
    assert len(trips) == 2
    host.put("a", "b")
    host.put("c", project="/q")
    assert len(host.publish()["projects"]) == 2
    assert len(trips) == 5


def test_what_was_published_before_the_catalog_noted_it_is_asked_for(host, trips):
    with closing(sqlite3.connect(f"{host.state}/catalog.db")) as connection, connection:
        connection.execute("UPDATE publication SET changes = NULL")
    assert [host.publish()["projects"] for _ in range(2)] == [[], []]
    assert len(trips) == 2 + 1


def test_a_publication_that_another_one_came_between_does_not_say_that_all_is_there(host, fleet, trips, monkeypatch):
    """The other one might have been told to take over: then projects that were there before are not current any more."""
    sent = sending.Sender._sent

    def late(sender, values):
        monkeypatch.setattr(sending.Sender, "_sent", sent)
        host.put("x", project="/x")
        host.publish()
        return sent(sender, values)

    monkeypatch.setattr(sending.Sender, "_sent", late)
    host.put("a")
    host.put("b", project="/q")
    host.publish()
    del trips[:]
    assert [host.publish()["projects"] for _ in range(2)] == [[], []]
    assert len(trips) == 3 + 1


def test_a_publication_that_was_killed_between_two_projects_is_resumed_by_the_next(host, monkeypatch):
    send = sending.Sender.send

    def once(sender, project, known):
        if project != known.moved[0]:
            raise SystemExit
        return send(sender, project, known)

    host.put("a")
    host.put("b", project="/q")
    with monkeypatch.context() as patch:
        patch.setattr(sending.Sender, "send", once)
        with pytest.raises(SystemExit):
            host.publish()
    assert len(host.publish()["projects"]) == 1
    assert host.publish()["projects"] == []


def test_a_catalog_that_moved_is_not_told_to_be_alive_before_it_arrived(host, fleet, monkeypatch):
    host.put("c")

    def killed(*_):
        raise SystemExit

    monkeypatch.setattr(sending.Sender, "send", killed)
    with pytest.raises(SystemExit):
        host.publish()
    assert fleet.query(IS_NEW) == [(False,)]


def test_a_copy_that_did_not_move_tells_nothing_once_the_other_did(host, fleet, tmp_path):
    copy = host.copy(tmp_path / "copy")
    host.put("c")
    host.publish()
    fleet.query(OLD)
    with pytest.raises(FleetError, match="a copy of this catalog"):
        copy.publish()
    assert fleet.query(IS_NEW) == [(False,)]


def test_a_program_that_is_too_old_for_the_schema_writes_nothing(host, fleet):
    fleet.query("UPDATE fleet.version SET number = 7, writable_from = 7")
    with pytest.raises(FleetError, match="made by a newer version"):
        host.publish()
    assert fleet.query(IS_NEW) == [(False,)]

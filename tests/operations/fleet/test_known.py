"""Where nothing moved, one question is the whole publication; where something did, it tells nothing yet."""

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


def test_a_catalog_that_did_not_move_costs_one_trip(host, fleet, monkeypatch):
    trips, execute = [], psycopg.Connection.execute

    def counted(connection, *arguments, **options):
        trips.append(arguments)
        return execute(connection, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    assert host.publish()["projects"] == []
    assert len(trips) == 1
    assert fleet.query(IS_NEW) == [(True,)]


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

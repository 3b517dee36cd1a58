"""The guide's SQL, run as it stands: by who is to run it, in a database that hosts published to."""

import re
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import Host

GUIDE = (Path(__file__).parents[3] / "docs/guides/fleet.md").read_text()
SETUP, ROLES, GRANTS, QUESTIONS, GONE = re.findall(r"^```sql\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def statements(text):
    return [each.strip() for each in re.sub("--.*", "", text).split(";") if each.strip()]


@pytest.fixture
def guided(postgres, tmp_path):
    """A database as the guide has it made. Roles are of the whole cluster, and some are there already."""
    for statement in statements(SETUP + ROLES):
        with suppress(psycopg.errors.DuplicateObject):
            postgres.execute(statement.replace("'its own'", "'fleet-s3cret'").replace("'another'", "'fleet-s3cret'"))
    with postgres.database() as fleet:
        postgres.execute("DROP DATABASE fleet")
        yield fleet
        postgres.execute("DROP ROLE fleet_admin")


def test_it_is_what_hosts_and_readers_need(guided, tmp_path):
    admin = Host(guided, str(tmp_path / "admin"), role="fleet_admin")
    admin.publish()
    guided.query_as("fleet_admin", "SET ROLE fleet_owner")
    host = Host(guided, str(tmp_path / "host"))
    host.put("good")
    host.put("bad", lifecycle="Failed", outcome="fail", reason="it is wrong")
    host.publish()
    answers = [guided.query_as("grafana", statement) for statement in statements(QUESTIONS)]
    assert [row[1:3] for row in answers[1]] == [("bad", "it is wrong")]
    assert len(answers) == 6
    guided.query_as(
        "fleet_admin", "UPDATE fleet.catalog SET published_at = now() - interval '91 days' WHERE role = 'host_a'"
    )
    for statement in statements(GONE):
        guided.query_as("fleet_admin", statement)
    assert guided.query("SELECT role::text FROM fleet.hosts") == [("fleet_admin",)]
    assert guided.query("SELECT name FROM fleet.models") == []
    assert host.publish()["written"] == 2


def test_groups_that_are_made_later_get_their_rights(guided, tmp_path):
    guided.make()
    for group in ("fleet_writer", "fleet_reader"):
        guided.query(f"DROP OWNED BY {group}")
    host = Host(guided, str(tmp_path / "host"))
    for statement in statements(GRANTS):
        guided.query_as("admin", statement)
    host.put("good")
    assert host.publish()["written"] == 1
    assert guided.query_as("grafana", "SELECT name FROM fleet.models") == [("good",)]

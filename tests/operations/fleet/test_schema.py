"""The schema is made and migrated by the first that may; others are told who may, and no version is guessed."""

import threading
from contextlib import contextmanager, suppress

import pytest
from psycopg.errors import CheckViolation

from model_provisioner.errors import FleetError
from model_provisioner.operations.fleet import schema
from model_provisioner.operations.fleet.database import connected
from model_provisioner.operations.fleet.schema import MIGRATIONS, Migration

NEXT = Migration("ALTER TABLE fleet.model ADD COLUMN more text", writable_from=1)
BREAKING = Migration("ALTER TABLE fleet.model DROP COLUMN reason CASCADE", writable_from=3)


def ensure(fleet, role="admin", migrations=MIGRATIONS):
    with connected(fleet.url(role), fleet.place, 20) as connection:
        schema.ensure(connection, fleet.place, migrations)


def version(fleet):
    return fleet.query("SELECT number, writable_from FROM fleet.version")


def test_it_is_made_once_and_belongs_to_the_owner_of_the_database(fleet):
    ensure(fleet)
    ensure(fleet)
    assert version(fleet) == [(2, 1)]
    assert fleet.query("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'fleet'") == [
        ("fleet_owner",)
    ]


def test_many_that_may_make_it_at_once_make_one(fleet):
    failures = []

    def work():
        try:
            ensure(fleet)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (failures, version(fleet)) == ([], [(2, 1)])


def test_who_may_not_make_it_is_told_who_may(fleet):
    with pytest.raises(FleetError) as caught:
        ensure(fleet, "host_a")
    assert str(caught.value) == (
        "the fleet's database has to be prepared by its owner\n"
        f"  where     {fleet.place}\n"
        "  expected  a schema fleet of version 2\n"
        "  found     none, and host_a may not make it\n"
        "  fix       run `model-provisioner publish` once as fleet_owner, or as a member of it"
    )


def test_a_schema_that_was_made_for_a_role_is_filled_by_it(fleet):
    fleet.query("CREATE SCHEMA fleet AUTHORIZATION host_a")
    with pytest.raises(FleetError, match="does not let this role do that"):
        ensure(fleet, "host_b")
    ensure(fleet, "host_a")
    assert version(fleet) == [(2, 1)]


def test_an_older_one_is_migrated_by_its_owner_and_nobody_else(fleet):
    ensure(fleet)
    newer = (*MIGRATIONS, NEXT)
    with pytest.raises(FleetError) as caught:
        ensure(fleet, "host_a", newer)
    assert (caught.value.expected, caught.value.found, caught.value.fix) == (
        "a schema fleet of version 3",
        "version 2, which host_a may not change",
        "run `model-provisioner publish` once as fleet_owner, or as a member of it",
    )
    ensure(fleet, "admin", newer)
    assert version(fleet) == [(3, 1)]
    fleet.query("SELECT more FROM fleet.model")


def test_a_newer_one_that_older_programs_may_use_is_used(fleet):
    ensure(fleet, migrations=(*MIGRATIONS, NEXT))
    ensure(fleet, "host_a")


def test_a_newer_one_that_older_programs_may_not_use_is_refused(fleet):
    ensure(fleet, migrations=(*MIGRATIONS, BREAKING))
    with pytest.raises(FleetError) as caught:
        ensure(fleet, "host_a")
    assert str(caught.value) == (
        "the fleet's database was made by a newer version of model-provisioner\n"
        f"  where     {fleet.place}\n"
        "  expected  a schema fleet that programs of version 2 of it may use\n"
        "  found     version 3, for those from version 3 on\n"
        "  fix       install the newer version of model-provisioner here"
    )


def test_a_migration_that_fails_leaves_what_was_there(fleet):
    ensure(fleet)
    with pytest.raises(FleetError):
        ensure(fleet, "admin", (*MIGRATIONS, NEXT, Migration("SELECT 1 / 0", writable_from=1)))
    assert version(fleet) == [(2, 1)]
    ensure(fleet, "admin", (*MIGRATIONS, NEXT))
    assert version(fleet) == [(3, 1)]


def test_a_connection_that_is_lost_in_a_migration_is_told_as_that(fleet):
    with pytest.raises(FleetError) as caught:
        ensure(
            fleet, migrations=(Migration("RESET ROLE; SELECT pg_terminate_backend(pg_backend_pid())", writable_from=1),)
        )
    assert "(57P01)" in caught.value.found
    assert caught.value.what == "the fleet's database broke off"


def test_no_lock_outlives_the_transaction_that_made_the_schema(fleet, monkeypatch):
    """A pooler may give what comes next another server, where nobody could let go of it."""
    locks = "SELECT objid, mode FROM pg_locks WHERE locktype = 'advisory'"
    kept = []
    with connected(fleet.url(), fleet.place, 20) as connection:
        transaction = connection.transaction

        @contextmanager
        def watched():
            with transaction():
                yield
            kept.append(fleet.query(locks))

        monkeypatch.setattr(connection, "transaction", watched)
        schema.ensure(connection, fleet.place)
    assert kept == [[]]


def test_a_schema_of_another_program_is_left_alone(fleet):
    fleet.query("CREATE SCHEMA fleet AUTHORIZATION fleet_owner", "CREATE TABLE fleet.model (cars text)")
    fleet.query("ALTER TABLE fleet.model OWNER TO fleet_owner")
    with pytest.raises(FleetError) as caught:
        ensure(fleet)
    assert (caught.value.what, caught.value.found) == (
        "the fleet's database has a schema fleet of another program",
        'relation "model" already exists',
    )
    assert fleet.query("SELECT cars FROM fleet.model") == []


def test_nobody_has_published_yet(fleet):
    with connected(fleet.url("grafana"), fleet.place, 20) as connection, pytest.raises(FleetError) as caught:
        schema.check_readable(connection, fleet.place)
    assert caught.value.what == "nobody has published to the fleet's database yet"


def test_a_cluster_without_the_two_groups_has_a_schema_of_its_owner_alone(fleet):
    """The groups are of the whole cluster: here the schema is made as if they were called otherwise."""
    text = MIGRATIONS[0].sql.replace("fleet_writer", "fleet_wr1ter").replace("fleet_reader", "fleet_r3ader")
    ensure(fleet, migrations=(Migration(text, writable_from=1),))
    with pytest.raises(FleetError, match="does not let this role"):
        ensure(fleet, "host_a")


@pytest.mark.parametrize(
    "digest",
    [
        f"sha256:{'0f' * 32}", f"dirhash:{'a' * 64}", f"sha256:{'a' * 63}", f"sha256:{'a' * 65}", f"sha256:{'A' * 64}",
        f"sha256:{'a' * 64}\n", f"\nsha256:{'a' * 64}", f"sha256:{'a' * 64}:a", f"sha1:{'a' * 64}", f":{'a' * 64}", "sha256:", "",
    ],
)  # fmt: skip
def test_the_digests_that_the_first_version_took_are_those_that_the_second_takes(fleet, digest):
    zeros = "00000000-0000-0000-0000-000000000000"
    ensure(fleet, migrations=MIGRATIONS[:1])
    fleet.query(
        f"INSERT INTO fleet.catalog VALUES ('{zeros}', 'host_a', '{zeros}', 'h', 'l', '1', 0)",
        f"INSERT INTO fleet.project VALUES ('{zeros}', '/p', 1)",
    )
    taken = []
    for name in "ab":
        with suppress(CheckViolation):
            fleet.query(
                "INSERT INTO fleet.model (catalog, project, name, id, state, digest)"
                f" VALUES ('{zeros}', '/p', '{name}', 'x', 'Active', '{digest}')"
            )
            taken.append(name)
        ensure(fleet)
    assert "".join(taken) == ("ab" if digest in {f"sha256:{'0f' * 32}", f"dirhash:{'a' * 64}"} else "")
    assert fleet.query("SELECT name FROM fleet.model ORDER BY name") == [(name,) for name in taken]

"""The address of the fleet's database is the user's alone, and no part of it that may be a secret is ever shown."""

import pytest

from model_provisioner.errors import SettingError
from model_provisioner.operations.fleet.address import fleet_address

SECRET = "s3cretword"


def address(url, **environ):
    return fleet_address({"MODEL_PROVISIONER_FLEET_URL": url, **environ})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://me:{SECRET}@db.example:5433/fleet?sslmode=verify-full", "postgresql://db.example:5433/fleet"),
        (f"postgres://me:{SECRET}@db.example/fleet", "postgres://db.example/fleet"),
        (f"postgresql://db.example/fleet?password={SECRET}", "postgresql://db.example/fleet"),
        (f"postgresql://{SECRET}@[::1]:5433,db-2:5434/fleet", "postgresql://[::1]:5433,db-2:5434/fleet"),
        (f"postgresql:///fleet?host=/run/postgresql&password={SECRET}", "postgresql:///fleet"),
        (f"postgresql://me:{SECRET}@%2Frun%2Fpostgresql/fleet", "postgresql://%2Frun%2Fpostgresql/fleet"),
        ("postgresql://", "postgresql://"),
    ],
)
def test_hosts_and_database_are_shown_and_nothing_else(url, shown):
    found = address(url)
    assert (found.url, found.shown) == (url, shown)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET[:3]}/{SECRET}@db.example/fleet",
        f"postgresql://me:{SECRET}?x@db.example/fleet",
        f"postgresql://me:{SECRET}/fleet",
        f"postgresql://me:{SECRET}@db.example@evil/fleet",
        f"postgresql://db.example/fleet?password={SECRET}@x",
        f"host=db.example password={SECRET}",
        f"https://me:{SECRET}@db.example/fleet",
        f"postgresql://me:{SECRET} @db.example/fleet",
        f"postgresql://me:{SECRET}@db.example/fleet\n",
    ],
)
def test_what_is_written_wrong_is_refused_and_not_shown(url):
    with pytest.raises(SettingError) as caught:
        address(url)
    assert str(caught.value) == (
        "MODEL_PROVISIONER_FLEET_URL is not the address of a PostgreSQL\n"
        "  where     the environment\n"
        "  expected  postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, of which only the beginning has to be there\n"
        "  found     something else, which is not shown: it may hold a password\n"
        "  fix       write %XX for each character of a name, password or value that is not a letter or digit, as %40 for @"
    )


def test_nothing_says_where_it_is():
    with pytest.raises(SettingError) as caught:
        address("")
    assert caught.value.what == "nothing says where the fleet's database is"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["MODEL_PROVISIONER_OFFLINE", "HF_HUB_OFFLINE"])
def test_nobody_may_be_contacted(name):
    with pytest.raises(SettingError) as caught:
        address(f"postgresql://me:{SECRET}@db.example/fleet", **{name: "1"})
    assert str(caught.value) == (
        "the fleet's database is on the network, and nobody may be contacted\n"
        "  where     postgresql://db.example/fleet\n"
        "  expected  a run that may contact hosts\n"
        f"  found     {name}=1\n"
        f"  fix       unset {name} for this command"
    )


def test_the_network_policy_of_models_says_nothing_about_it():
    assert (
        address("postgresql://db.example/fleet", MODEL_PROVISIONER_NETWORK="off").shown
        == "postgresql://db.example/fleet"
    )

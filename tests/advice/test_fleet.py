"""What is advised for a fleet's database lets the next publication, or the next question, pass."""

import stat

import pytest

from model_provisioner.operations.fleet import listing
from tests.support.advice import advised
from tests.support.postgres import PASSWORD, Host, Silence

URL = "MODEL_PROVISIONER_FLEET_URL"
NOW = "published to "
AS_IT_IS = "nothing moved: "


@pytest.fixture
def host(project, fleet):
    """A user whose catalog has one row, and a fleet that has its schema."""
    fleet.make()
    Host(fleet, str(project.state)).put("tiny")
    project.environ[URL] = fleet.url("host_a")
    return project


def publish(project, *arguments, code=0):
    return project.doit("model-publish", *arguments, code=code)


@pytest.mark.slow
def test_an_address_is_exported_and_its_password_kept_apart(host, fleet, tmp_path):
    del host.environ[URL]
    sentence = "export MODEL_PROVISIONER_FLEET_URL=postgresql://ROLE@HOST/DATABASE, with its password in ~/.pgpass"
    advised(publish(host, code=3), sentence)
    host.environ.update({URL: fleet.url("host_a").replace(f":{PASSWORD}", ""), "HOME": str(tmp_path)})
    (tmp_path / ".pgpass").write_text(f"127.0.0.1:*:*:host_a:{PASSWORD}\n")
    (tmp_path / ".pgpass").chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert NOW in publish(host).out


@pytest.mark.slow
def test_a_password_with_other_characters_is_written_with_their_codes(host, fleet):
    fleet.query("CREATE ROLE odd LOGIN PASSWORD 'p@ss/w' IN ROLE fleet_writer")
    try:
        host.environ[URL] = fleet.url("odd", password="p@ss/w")
        sentence = (
            "write %XX for each character of a name, password or value that is not a letter or digit, as %40 for @"
        )
        advised(publish(host, code=3), sentence)
        host.environ[URL] = fleet.url("odd", password="p%40ss%2Fw")
        assert NOW in publish(host).out
    finally:
        fleet.query("DROP OWNED BY odd", "DROP ROLE odd")


def test_an_option_is_corrected(host, fleet):
    host.environ[URL] = fleet.url("host_a", sslmod="disable")
    advised(publish(host, code=3), "compare it with https://www.postgresql.org/docs/current/libpq-connect.html")
    host.environ[URL] = fleet.url("host_a", sslmode="disable")
    assert NOW in publish(host).out


def test_the_network_is_let_be_used_for_one_command(host):
    host.environ["MODEL_PROVISIONER_OFFLINE"] = "1"
    (name,) = advised(publish(host, code=3), "unset {} for this command")
    del host.environ[name]
    assert NOW in publish(host).out


@pytest.mark.slow
def test_role_and_password_are_corrected(host, fleet):
    host.environ[URL] = fleet.url("host_a", password="wr0ng")
    sentence = (
        "correct role, password or database in MODEL_PROVISIONER_FLEET_URL or ~/.pgpass, or have its pg_hba.conf let this "
        "host in"
    )
    advised(publish(host, code=2), sentence)
    host.environ[URL] = fleet.url("host_a")
    assert NOW in publish(host).out


@pytest.mark.slow
def test_a_database_that_takes_no_connection_is_asked_again_later(host, fleet):
    fleet.query(f"ALTER DATABASE {fleet.name} CONNECTION LIMIT 0")
    sentence = (
        "run it again in a while; if many hosts come at one moment, spread them by --jitter; the next publish sends what is "
        "missing"
    )
    advised(publish(host, code=2), sentence)
    fleet.query(f"ALTER DATABASE {fleet.name} CONNECTION LIMIT -1")
    assert NOW in publish(host, "--jitter", "1s").out


@pytest.mark.slow
def test_the_port_and_the_sslmode_are_corrected(host, fleet):
    sentence = "look whether it is up, and whether MODEL_PROVISIONER_FLEET_URL has its host and port, and an sslmode that it speaks"
    fleet.port = 1
    host.environ[URL] = fleet.url("host_a", sslmode="require")
    advised(publish(host, code=2), sentence)
    fleet.port = 0
    host.environ[URL] = fleet.url("host_a", sslmode="require")
    advised(publish(host, code=2), sentence)
    host.environ[URL] = fleet.url("host_a", sslmode="prefer")
    assert NOW in publish(host).out


@pytest.mark.slow
def test_a_role_becomes_a_member_of_the_group_that_is_told(host, fleet):
    host.environ[URL] = fleet.url("nobody_s")
    sentence = 'have its superuser say   GRANT fleet_writer TO "{}";   or   GRANT fleet_reader TO "{}";'
    role, _ = advised(publish(host, code=2), sentence)
    fleet.query(f'GRANT fleet_writer TO "{role}"')
    try:
        assert NOW in publish(host).out
    finally:
        fleet.query(f'REVOKE fleet_writer FROM "{role}"')


@pytest.mark.slow
def test_the_owner_prepares_the_database(project, fleet):
    project.environ[URL] = fleet.url("host_a")
    (owner,) = advised(publish(project, code=2), "run `doit model-publish` once as {}, or as a member of it")
    assert owner == "fleet_owner"
    project.environ[URL] = fleet.url("grafana")
    sentence = "run `doit model-publish` as a role that may make it; docs/guides/fleet.md says which"
    advised(project.doit("model-list", "--fleet", code=2), sentence)
    project.environ[URL] = fleet.url("admin")
    publish(project)
    project.environ[URL] = fleet.url("grafana")
    assert "HOST" in project.doit("model-list", "--fleet").out


@pytest.mark.slow
def test_another_database_is_named_where_the_schema_is_another_program_s(host, fleet, postgres):
    with postgres.database() as other:
        other.query("CREATE SCHEMA fleet AUTHORIZATION fleet_owner", "CREATE TABLE fleet.model ()")
        host.environ[URL] = other.url("admin")
        advised(publish(host, code=2), "name another database: CREATE DATABASE makes one on the same server")
    host.environ[URL] = fleet.url("admin")
    assert NOW in publish(host).out


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--take-over", "--as-new"])
def test_a_copy_is_published_as_what_it_is(host, fleet, tmp_path, option):
    here = Host(fleet, str(host.state))
    here.publish()
    copy = here.copy(tmp_path / "copy")
    here.put("more")
    here.publish()
    host.environ["MODEL_PROVISIONER_STATE_DIR"] = copy.state
    sentence = (
        "if it was restored, `doit model-publish --take-over` replaces what is there; if it is a copy, `doit model-publish "
        "--as-new` publishes it beside the other"
    )
    advised(publish(host, code=2), sentence)
    assert NOW in publish(host, option).out
    assert AS_IT_IS in publish(host).out


@pytest.mark.slow
def test_a_copy_with_another_role_is_published_beside_the_other(host, fleet, tmp_path):
    here = Host(fleet, str(host.state))
    here.publish()
    host.environ.update({"MODEL_PROVISIONER_STATE_DIR": here.copy(tmp_path / "copy").state, URL: fleet.url("host_b")})
    sentence = "publish as that role; if it is a copy, `doit model-publish --as-new` publishes it beside the other"
    advised(publish(host, code=2), sentence)
    assert NOW in publish(host, "--as-new").out


def test_a_copy_is_not_restored_as_well(host):
    sentence = "--as-new leaves what is there and adds another; --take-over replaces it: take one away"
    advised(publish(host, "--as-new", "--take-over", code=3), sentence)
    assert NOW in publish(host, "--as-new").out


@pytest.mark.slow
def test_a_silent_database_is_waited_for_again(host, fleet, monkeypatch):
    sentence = (
        "look whether it is up and in reach, or give it longer: --timeout 5m; what arrived stays, and the rest comes with the "
        "next publish"
    )
    with Silence() as peer:
        fleet.port = peer.port
        host.environ[URL] = fleet.url("host_a")
        advised(publish(host, "--timeout", "1s", code=2), sentence)
        host.environ[URL] = fleet.url("grafana")
        monkeypatch.setattr(listing, "SECONDS", 1.0)
        advised(host.doit("model-list", "--fleet", code=2), "look whether it is up and in reach, and ask again")
    fleet.port = 0
    host.environ[URL] = fleet.url("host_a")
    assert NOW in publish(host, "--timeout", "5m").out
    host.environ[URL] = fleet.url("grafana")
    monkeypatch.setattr(listing, "SECONDS", 30.0)
    assert "HOST" in host.doit("model-list", "--fleet").out


@pytest.mark.slow
def test_options_are_written_as_they_are_shown(host, fleet):
    (option,) = advised(publish(host, "--timeout", "long", code=3), "write it as --{} 30s")
    publish(host, f"--{option}", "30s")
    host.environ[URL] = fleet.url("grafana")
    for wrong, sentence, right in (
        (("--fleet", "--state", "Broken"), "write it as --state Failed", ("--fleet", "--state", "Failed")),
        (("--fleet", "--silent", "long"), "write it as --silent 1d", ("--fleet", "--silent", "1d")),
        (
            ("--silent", "1d"),
            "write doit model-list --fleet, and the options that narrow it",
            ("--fleet", "--silent", "1d"),
        ),
    ):
        advised(host.doit("model-list", *wrong, code=3), sentence)
        host.doit("model-list", *right)


@pytest.mark.slow
def test_a_lock_is_written_to_compare_with(host, fleet):
    host.add_tiny("tiny.gguf")
    host.models("models: {tiny: {model_ref: tiny.gguf}}\n")
    publish(host)
    host.environ[URL] = fleet.url("grafana")
    advised(host.doit("model-list", "--fleet", "--differs", code=3), "run `doit model-lock`")
    host.doit("model-lock")
    assert host.doit("model-list", "--fleet", "--differs").out == "no model of the fleet matches\n"

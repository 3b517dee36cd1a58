"""Who we are to AWS: variables, files, profiles and roles, and that nobody is asked for credentials who may not be."""

import logging

import pytest

from model_provisioner.errors import FetchError, NotAllowedError, SettingError
from model_provisioner.fetchers.s3.session import AwsSession
from model_provisioner.config.network_policy import NetworkPolicy
from tests.support.proxy import Proxy
from tests.support.s3 import KEYS, SECRETS, Front


@pytest.fixture
def aws(s3, tmp_path, monkeypatch):
    """Set variables and the file ~/.aws/config; return the session."""

    def make(config="", check=lambda host: None, **environ):
        (tmp_path / "home/.aws/config").write_text(config)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return AwsSession(check)

    return make


def only(*allow):
    policy = NetworkPolicy(allow, None, "models.yaml")
    return lambda host: policy.check(host, "m", 1)


def refused(call, *arguments, error=FetchError, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert not any(secret in f"{caught.value!s}{caught.value!r}" for secret in SECRETS)
    return caught.value


def sign(session):
    return session.sign("GET", "https://a.example/b/k", {"x-amz-checksum-mode": "ENABLED"}, "eu-west-1")


# ---- settings


PROFILES = """
[default]
region = eu-west-1
[profile other]
region = eu-west-2
endpoint_url = https://global.example
services = mine
[services mine]
s3 =
  endpoint_url = https://mine.example
[profile plain]
endpoint_url = https://global.example
"""


@pytest.mark.parametrize(
    ("environ", "region", "endpoint"),
    [
        ({}, "eu-west-1", None),
        ({"AWS_DEFAULT_REGION": "r-1"}, "r-1", None),
        ({"AWS_DEFAULT_REGION": "r-1", "AWS_REGION": "r-2"}, "r-2", None),
        ({"AWS_PROFILE": "other"}, "eu-west-2", "https://mine.example"),
        ({"AWS_PROFILE": "plain"}, "us-east-1", "https://global.example"),
        ({"AWS_PROFILE": "other", "AWS_ENDPOINT_URL": "https://e.example"}, "eu-west-2", "https://e.example"),
        ({"AWS_ENDPOINT_URL": "https://e.example", "AWS_ENDPOINT_URL_S3": "https://s.example"}, "eu-west-1", "https://s.example"),
        ({"AWS_ENDPOINT_URL": "https://e.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "eu-west-1", None),
        ({"AWS_ENDPOINT_URL": "http://localhost:9000"}, "eu-west-1", "http://localhost:9000"),
    ],
)  # fmt: skip
def test_settings(aws, environ, region, endpoint):
    session = aws(PROFILES, **environ)
    assert session.region == region
    assert (session.endpoint and str(session.endpoint).rstrip("/")) == endpoint


@pytest.mark.parametrize(
    "url", ["minio:9000", "ftp://a", "https://me:s3cret@a.example", "https://a.example?t0ken", "https://"]
)
def test_an_address_that_is_none(aws, url):
    error = refused(aws, error=SettingError, AWS_ENDPOINT_URL=url)
    assert error.what == "the address of the S3 storage can't be used"
    assert error.expected == "https://HOST or https://HOST:PORT, without credentials"


def test_a_storage_of_another_machine_over_http(aws):
    error = refused(aws, error=SettingError, AWS_ENDPOINT_URL="http://minio.example:9000")
    assert str(error) == (
        "minio.example would be asked over http:, where anybody can read and change what is sent\n"
        "  where     http://minio.example:9000\n"
        "  expected  https:, or a storage on this machine\n"
        "  found     http:\n"
        "  fix       let AWS_ENDPOINT_URL name the storage with https:"
    )


def test_a_profile_that_is_not_there(aws):
    error = refused(aws, error=SettingError, AWS_PROFILE="nobody")
    assert (error.what, error.found) == ("there is no AWS profile of this name", "nobody")


def test_a_file_that_can_not_be_read(aws, tmp_path):
    error = refused(aws, "[default\nregion = s3cret", error=SettingError)
    assert error.what == "a file of AWS settings can't be read"
    assert error.where == str(tmp_path / "home/.aws/config")


# ---- credentials


def test_a_signature(aws):
    headers = sign(aws(**KEYS, AWS_SESSION_TOKEN="t0ken"))
    assert headers["x-amz-checksum-mode"] == "ENABLED"
    assert headers["X-Amz-Security-Token"] == "t0ken"
    assert "SignedHeaders=host;x-amz-checksum-mode;" in headers["Authorization"]
    assert "/eu-west-1/s3/aws4_request" in headers["Authorization"]


def test_no_log_tells_it(aws, run_python):
    aws()
    found = run_python(
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\n"
        "from model_provisioner.fetchers.s3.session import AwsSession\n"
        "import os; os.environ.update(AWS_ACCESS_KEY_ID='AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY='s3cret')\n"
        "assert AwsSession(print).sign('GET', 'https://a.example/k', {}, 'r-1')['Authorization']"
    )
    assert "Found credentials in environment variables." in found
    assert not any(secret in found for secret in (*SECRETS, "Signature"))


def test_nobody_in_particular(aws):
    session = aws(check=only())
    assert session.is_anonymous
    assert sign(session) == {"x-amz-checksum-mode": "ENABLED"}


@pytest.mark.parametrize("given", sorted(KEYS))
def test_half_of_the_credentials_in_the_environment(aws, given):
    (missing,) = KEYS.keys() - {given}
    error = refused(sign, aws(**{given: KEYS[given]}), error=SettingError)
    assert str(error) == (
        "only half of the AWS credentials is set\n"
        "  where     the environment\n"
        "  expected  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n"
        f"  found     {given}, and no {missing}\n"
        f"  fix       set {missing} too; or take {given} away, and the files in ~/.aws are read"
    )


def test_half_of_the_credentials_in_a_file(aws, tmp_path):
    session = aws()
    (tmp_path / "home/.aws/credentials").write_text("[default]\naws_access_key_id = s3cret\n")
    error = refused(sign, session, error=SettingError)
    assert error.what == "only half of the AWS credentials is set"
    assert error.found == "no aws_secret_access_key, where shared-credentials-file is read"


# ---- who is asked for credentials


@pytest.fixture
def giver(moto):
    """Somebody on loopback who gives credentials to whoever asks, under the name "localhost"."""
    front = Front(moto, host="localhost")
    given = b'{"Code": "Success", "AccessKeyId": "AKIAROLE", "SecretAccessKey": "s3cret", "Token": "t0ken", "Expiration": "2099-01-01T00:00:00Z"}'

    def answer(asked):
        if asked.path.endswith("/api/token"):
            return 200, {}, b"t0ken"
        if asked.path.endswith("/security-credentials/"):
            return 200, {}, b"role"
        return (200, {}, given) if "credentials" in asked.path else None

    front.answer = answer
    yield front
    front.close()


def test_the_role_of_this_machine_is_asked_for_where_that_is_allowed(aws, giver):
    session = aws(check=only("localhost"), AWS_EC2_METADATA_SERVICE_ENDPOINT=giver.url)
    assert "Credential=AKIAROLE/" in sign(session)["Authorization"]
    assert session.role_hint == ""


def test_and_not_where_it_is_not(aws, giver):
    session = aws(check=only("127.0.0.1"), AWS_EC2_METADATA_SERVICE_ENDPOINT=giver.url)
    assert session.is_anonymous
    assert session.role_hint == "; the role of this machine is asked for where network.allow has localhost"
    assert giver.asked == []


def test_whose_role_it_would_be_without_another_setting(aws):
    hosts = []

    def check(host):
        hosts.append(host)
        only()(host)

    assert aws(check=check).is_anonymous
    assert hosts == ["169.254.169.254"]


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, "169.254.170.2"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:1/x"}, "localhost"),
    ],
)
def test_a_container_is_asked_only_where_that_is_allowed(aws, environ, host):
    session = aws(check=only("elsewhere.example"), **environ)
    with pytest.raises(NotAllowedError) as caught:
        sign(session)
    assert caught.value.expected == f"{host} among the hosts of network.allow"


def test_a_container(aws, giver):
    session = aws(check=only("localhost"), AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{giver.url}/credentials")
    assert "Credential=AKIAROLE/" in sign(session)["Authorization"]


ROLE = """
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = me
[profile me]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = s3cret
"""


def test_a_role_is_taken_on_where_its_giver_may_be_asked(aws, giver):
    session = aws(ROLE, only("localhost"), AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=giver.url)
    assert "Credential=AKIAEXAMPLE/" not in sign(session)["Authorization"]
    assert [each.method for each in giver.asked] == ["POST"]


def test_and_is_not_where_it_may_not(aws, giver, caplog, capfd):
    session = aws(ROLE, only("127.0.0.1"), AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=giver.url)
    with caplog.at_level(logging.WARNING), pytest.raises(NotAllowedError) as caught:
        sign(session)
    assert caught.value.expected == "localhost among the hosts of network.allow"
    assert giver.asked == []
    assert capfd.readouterr() == ("", "")


def test_a_giver_over_http_on_another_machine(aws):
    session = aws(ROLE, AWS_PROFILE="role", AWS_ENDPOINT_URL_STS="http://sts.example")
    assert refused(sign, session).what == (
        "sts.example would be asked for credentials over http:, where anybody can read them"
    )


def test_a_giver_that_gives_none(aws, giver):
    giver.answer = lambda asked: (403, {}, b"<Error><Code>AccessDenied</Code><Message>s3cret</Message></Error>")
    error = refused(sign, aws(ROLE, AWS_PROFILE="role", AWS_ENDPOINT_URL_STS=giver.url))
    assert (error.what, error.found) == ("the AWS settings or credentials can't be used", "ClientError")


def test_a_role_that_rests_on_that_of_this_machine(aws):
    config = "[default]\nrole_arn = arn:aws:iam::123456789012:role/reader\ncredential_source = Ec2InstanceMetadata\n"
    error = refused(sign, aws(config, only("127.0.0.1")))
    assert (error.what, error.found) == ("the AWS settings or credentials can't be used", "CredentialRetrievalError")
    assert error.fix.endswith("; the role of this machine is asked for where network.allow has 169.254.169.254")


def test_a_role_that_wants_a_code_where_nobody_can_type_one(aws, run_python):
    aws(ROLE.replace("source_profile", "mfa_serial = arn:aws:iam::1:mfa/me\nsource_profile"), AWS_PROFILE="role")
    found = run_python(
        "import os, sys; os.setsid(); sys.stdin = open(os.devnull)\n"
        "from model_provisioner.errors import FetchError\n"
        "from model_provisioner.fetchers.s3.session import AwsSession\n"
        "try: AwsSession(print).sign('GET', 'https://a.example/k', {}, 'r-1')\n"
        "except FetchError as error: print(error)"
    )
    assert found.startswith("the AWS profile wants a code to be typed, and there is no terminal\n")


# ---- the way to those who give credentials


def test_who_gives_credentials_is_reached_as_every_other_host(aws, serve, authority, monkeypatch):
    sts = serve({})
    for name in (
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "HTTPS_PROXY",
        "https_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    told = {"AWS_PROFILE": "role", "AWS_ENDPOINT_URL_STS": sts.url(""), "AWS_MAX_ATTEMPTS": "1"}
    error = refused(sign, aws(ROLE, **told))
    assert error.what == "the certificate of a host that gives AWS credentials is not trusted by this machine"
    with Proxy(user="me:s3cret") as proxy:
        error = refused(sign, aws(ROLE, **told, HTTPS_PROXY=proxy.url()))
        assert error.what == "the proxy does not let a host be reached that gives AWS credentials"
        refused(sign, aws(ROLE, **told, HTTPS_PROXY=proxy.url("me:s3cret"), SSL_CERT_FILE=authority.file))
    assert len(sts.asked) == 1

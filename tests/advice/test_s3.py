"""What is advised for S3 brings the object; the storage is a real one, and a front before it says what that never does."""

import json
import os

import pytest

from model_provisioner.installation import with_extra
from model_provisioner.fetchers.s3 import bucket
from tests.support.advice import advised
from tests.support.proxy import Proxy
from tests.support.remote import TINY_BYTES
from tests.support.s3 import KEYS, Front

KEEP = "; the role of this machine is asked for where network.allow has 169.254.169.254"


@pytest.fixture
def client(s3, moto):
    client = moto.client()
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES)
    return client


@pytest.fixture
def stored(project, s3, client, hurried):
    """A project of one object."""
    project.environ.update(
        s3.environ(HOME=str(project.root.parent / "home"), MODEL_PROVISIONER_CACHE_DIR=str(project.root / "cache"))
    )
    project.write("models/x.gguf", TINY_BYTES)
    named(project)
    return project


def named(project, ref="s3://models/x.gguf", allow=("127.0.0.1",), **fields):
    entry = {"model_ref": ref, **fields}
    project.models(json.dumps({"network": {"allow": list(allow)}, "models": {"m": entry}}))


def anew(project):
    """Have nothing of what was fetched, as another machine."""
    project.environ["MODEL_PROVISIONER_CACHE_DIR"] = str(project.root / "another cache")


def says(s3, status, code, method="HEAD"):
    """Let the storage say what a real one says of its clock, of sessions and of trouble, and moto never does."""
    body = f"<Error><Code>{code}</Code></Error>".encode()
    headers = {"Content-Type": "application/xml"}

    def answer(asked):
        return (status, headers, body) if asked.method in {"GET", method} else None

    s3.answer = answer


def aws_files(project, credentials="", config=""):
    for name in KEYS:
        project.environ.pop(name, None)
    folder = project.root.parent / "home/.aws"
    (folder / "credentials").write_text(credentials)
    (folder / "config").write_text(config)


# ---- what is named


@pytest.mark.parametrize(
    ("sentence", "ref", "mended"),
    [
        (
            "check the spelling; the buckets of a storage of your own are found where AWS_ENDPOINT_URL names it",
            "s3://modles/x.gguf",
            "s3://models/x.gguf",
        ),
        (
            "copy the key as `aws s3 ls` lists it; all objects under a prefix are named by the prefix with / at its end",
            "s3://models/y.gguf",
            "s3://models/x.gguf",
        ),
        (
            "copy the key as `aws s3 ls` lists it; all objects under a prefix are named by the prefix with / at its end",
            "s3://models/tree",
            "s3://models/tree/",
        ),
        (
            "check the spelling, small and capital letters too; one object is named without / at its end",
            "s3://models/Tree/",
            "s3://models/tree/",
        ),
        (
            "check the spelling, small and capital letters too; one object is named without / at its end",
            "s3://models/x.gguf/",
            "s3://models/x.gguf",
        ),
        (
            "copy the name as your storage lists it: s3://BUCKET/KEY, without host and credentials",
            "s3://127.0.0.1/models/x.gguf",
            "s3://models/x.gguf",
        ),
        (
            "write bucket and key as your storage lists them; credentials come from the environment",
            "s3:models/x.gguf",
            "s3://models/x.gguf",
        ),
    ],
)  # fmt: skip
def test_an_object_is_named_as_the_storage_lists_it(stored, client, sentence, ref, mended):
    client.put_object(Bucket="models", Key="tree/weights.bin", Body=b"x")
    named(stored, ref, engine="vllm")
    advised(stored.provision(code=None), sentence)
    named(stored, mended, engine="vllm")
    stored.provision()


def test_of_a_prefix_over_many_models_that_of_one_is_named(stored, s3, client, monkeypatch):
    monkeypatch.setattr(bucket, "FILES", 2)
    for name in ("a/1.bin", "a/2.bin", "b/1.bin"):
        client.put_object(Bucket="models", Key=f"tree/{name}", Body=b"x")
    named(stored, "s3://models/tree/", engine="vllm")
    advised(stored.provision(code=1), "name the folder of one model: a longer prefix")
    named(stored, "s3://models/tree/a/", engine="vllm")
    stored.provision()


def test_patterns_are_of_what_follows_the_prefix(stored, client):
    client.put_object(Bucket="models", Key="tree/weights.bin", Body=b"x")
    named(stored, "s3://models/tree/", engine="vllm", include=["tree/*"])
    advised(stored.provision(code=1), "compare the patterns with the keys; they are of what follows the prefix")
    named(stored, "s3://models/tree/", engine="vllm", include=["*.bin"])
    stored.provision()


def test_a_name_that_the_storage_takes_for_none_is_copied(stored, s3):
    says(s3, 400, "InvalidBucketName")
    named(stored, "s3://models-/x.gguf".replace("-/", "/"))
    advised(stored.provision(code=1), "copy the name as `aws s3 ls` lists it")
    s3.answer = lambda asked: None
    stored.provision()


# ---- what became of an object


def test_an_archived_object_is_restored_or_moved(stored, client):
    sentence = (
        "restore it (`aws s3api restore-object`), which may take hours, and run again; or move it to a storage class that "
        "is read at once"
    )
    client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES, StorageClass="GLACIER")
    advised(stored.provision(code=1), sentence)
    client.restore_object(Bucket="models", Key="x.gguf", RestoreRequest={"Days": 1})
    stored.provision()
    client.put_object(Bucket="models", Key="y.gguf", Body=TINY_BYTES + b"\0" * 32, StorageClass="GLACIER")
    named(stored, "s3://models/y.gguf")
    advised(stored.provision(code=1), sentence)
    client.put_object(Bucket="models", Key="y.gguf", Body=TINY_BYTES + b"\0" * 32)
    stored.provision()


def test_an_object_that_was_just_changed_is_asked_for_again(stored, s3, client):
    etag = client.head_object(Bucket="models", Key="x.gguf")["ETag"]
    longer = 200, {"ETag": etag}, TINY_BYTES + b"\0"
    s3.answer = lambda asked: longer if asked.method == "GET" else None
    sentence = "it may have just been changed there: try again; else tell who runs the server"
    advised(stored.provision(code=1), sentence)
    s3.answer = lambda asked: None
    stored.provision()


@pytest.mark.parametrize("way", ["taken", "put back"])
def test_an_object_that_was_replaced_is_taken_or_put_back(stored, client, way):
    stored.doit("model-lock")
    client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES + bytes(32))
    anew(stored)
    sentence = "if the new one is right, `doit model-lock --upgrade NAME` takes it; else put the old one back"
    advised(stored.provision(code=1), sentence)
    if way == "taken":
        stored.doit("model-lock", "--upgrade", "m")
    else:
        client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES)
    assert "pass  m" in stored.provision().out


def test_a_version_that_is_gone_is_given_up_for_what_is_there(stored, client):
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    old = client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES)["VersionId"]
    stored.doit("model-lock")
    client.put_object(Bucket="models", Key="x.gguf", Body=TINY_BYTES + bytes(32))
    client.delete_object(Bucket="models", Key="x.gguf", VersionId=old)
    anew(stored)
    advised(stored.provision(code=1), "`doit model-lock --upgrade NAME` takes what is there now")
    stored.doit("model-lock", "--upgrade", "m")
    assert "pass  m" in stored.provision().out


@pytest.mark.parametrize("way", ["put back", "given up"])
def test_a_file_of_a_locked_prefix_is_put_back_or_given_up(stored, client, way):
    for name in "ab":
        client.put_object(Bucket="models", Key=f"tree/{name}.bin", Body=name.encode())
    named(stored, "s3://models/tree/", engine="vllm")
    stored.doit("model-lock")
    client.delete_object(Bucket="models", Key="tree/b.bin")
    anew(stored)
    sentence = "put it back; or, if it is not wanted any more, `doit model-lock --upgrade NAME` takes what is there now"
    advised(stored.provision(code=1), sentence)
    if way == "put back":
        client.put_object(Bucket="models", Key="tree/b.bin", Body=b"b")
    else:
        stored.doit("model-lock", "--upgrade", "m")
    assert "pass  m" in stored.provision().out


# ---- who asks


def test_who_is_not_known_sets_credentials(stored, s3, moto):
    keys = moto.verify()
    for name in KEYS:
        del stored.environ[name]
    assert advised(stored.provision(code=1), "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{}") == (
        KEEP,
    )
    aws_files(stored, "[work]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in keys.items()))
    stored.environ["AWS_PROFILE"] = "work"
    stored.provision()


def test_credentials_that_are_not_taken_are_corrected(stored, moto):
    keys = moto.verify()
    stored.environ.update(keys, AWS_SECRET_ACCESS_KEY="wrong")
    sentence = (
        "correct them or get new ones: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in again "
        "(`aws sso login`)"
    )
    advised(stored.provision(code=1), sentence)
    stored.environ.update(keys)
    stored.provision()


def test_rights_are_asked_for(stored, moto, client):
    stored.environ.update(moto.verify(["s3:PutObject"]))
    sentence = (
        "ask for s3:GetObject on it (s3:GetObjectVersion where it was replaced), and for s3:ListBucket on the bucket; "
        "without the latter, a missing key looks the same"
    )
    advised(stored.provision(code=1), sentence)
    policy = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    moto._post("reset-auth", b"inf")
    moto.client("iam").put_user_policy(
        UserName="me", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    )
    moto._post("reset-auth", b"0")
    stored.provision()


def test_rights_to_the_bytes_are_asked_for(stored, s3):
    says(s3, 403, "AccessDenied", method="GET")
    sentence = "ask for s3:GetObject on it, and for kms:Decrypt where it is encrypted with a key of your own"
    advised(stored.provision(code=1), sentence)
    s3.answer = lambda asked: None
    stored.provision()


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_half_of_the_credentials_is_completed_or_taken_away(stored, missing):
    secret = stored.environ.pop(missing)
    name, other = advised(stored.provision(code=3), "set {} too; or take {} away, and the files in ~/.aws are read")
    assert (name, {name, other}) == (missing, KEYS.keys())
    stored.environ[name] = secret
    stored.provision()
    anew(stored)
    aws_files(stored, "[default]\n" + "".join(f"{each.lower()} = {KEYS[each]}\n" for each in KEYS))
    stored.provision()


@pytest.mark.parametrize(
    ("code", "sentence", "credentials", "config"),
    [
        (
            3,
            "complete the profile in ~/.aws/credentials; `aws s3 ls` reads the same ones",
            "[default]\naws_access_key_id = a\n",
            "",
        ),
        (3, "correct it; `aws s3 ls` reads the same ones", "", "nonsense\n"),
        (
            1,
            "log in again (`aws sso login`); `aws s3 ls` reads the same ones",
            "",
            "[default]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
            "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://x.example\n",
        ),
        (
            1,
            "correct the AWS_… variables or the files in ~/.aws, or log in again (`aws sso login`); `aws s3 ls` reads the "
            "same ones",
            "",
            "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = gone\n",
        ),
    ],
)  # fmt: skip
def test_files_of_settings_are_corrected_or_variables_set(stored, code, sentence, credentials, config):
    aws_files(stored, credentials, config)
    answer = stored.provision(code=code)
    advised(answer, sentence + KEEP if KEEP in answer.all else sentence)
    aws_files(stored, "[default]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in KEYS.items()))
    stored.provision()


def test_a_code_is_typed_on_a_terminal_or_not_asked_for(stored):
    keys = "[base]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in KEYS.items())
    role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n"
    aws_files(stored, keys, role)
    stored.environ["PYTHONWARNINGS"] = "default"  # getpass warns that there is no terminal
    advised(
        stored.process("provision", code=1),
        "run once on a terminal, or log in by `aws sso login` or `aws sts` and set the AWS_… variables",
    )
    stored.environ.update(KEYS)
    stored.process("provision")


def test_a_profile_is_one_that_is_there(stored):
    aws_files(stored, "[work]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in KEYS.items()))
    stored.environ["AWS_PROFILE"] = "wrok"
    advised(stored.provision(code=3), "correct AWS_PROFILE; `aws configure list-profiles` lists them")
    stored.environ["AWS_PROFILE"] = "work"
    stored.provision()


@pytest.fixture
def role(stored, s3, moto, trusted, monkeypatch):
    """The project, asked for by a role that a giver of credentials on loopback gives."""
    said = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE")
    for name in [name for name in os.environ if name.upper().endswith(said)]:
        monkeypatch.delenv(name)
    keys = "".join(f"{name.lower()} = {value}\n" for name, value in KEYS.items())
    aws_files(
        stored, f"[base]\n{keys}", "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
    )
    named(stored, allow=("127.0.0.1", "localhost", "sts.example"))
    giver = Front(moto, host="127.0.0.1", context=trusted.context)
    stored.environ.update(AWS_ENDPOINT_URL_STS=f"https://localhost:{giver.port}", AWS_MAX_ATTEMPTS="1")
    yield stored
    giver.close()


def test_the_authority_of_who_gives_credentials_is_named(role, trusted):
    advised(
        role.provision(code=1), "if your network has an authority of its own, name its certificates in SSL_CERT_FILE"
    )
    role.environ["SSL_CERT_FILE"] = trusted.file
    role.provision()


def test_the_proxy_before_who_gives_credentials_is_checked_or_passed_by(role, trusted):
    role.environ["SSL_CERT_FILE"] = trusted.file
    with Proxy(answer=b"403 Forbidden") as proxy:
        role.environ["HTTPS_PROXY"] = proxy.url()
        advised(
            role.provision(code=1),
            "check HTTPS_PROXY, and name the host in NO_PROXY if it is to be reached without it",
        )
        role.environ["NO_PROXY"] = "localhost"
        role.provision()


def test_the_address_of_who_gives_credentials_is_corrected(role, trusted):
    role.environ["SSL_CERT_FILE"] = trusted.file
    good = role.environ["AWS_ENDPOINT_URL_STS"]
    role.environ["AWS_ENDPOINT_URL_STS"] = "http://sts.example"
    advised(role.provision(code=1), "correct the AWS_ENDPOINT_URL… variables or endpoint_url in ~/.aws/config")
    role.environ["AWS_ENDPOINT_URL_STS"] = good
    role.provision()


def test_a_session_that_has_expired_is_begun_again(stored, s3):
    sentence = (
        "log in again (`aws sso login`), or get new ones: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN"
    )
    stored.environ["AWS_SESSION_TOKEN"] = "old"
    body = b"<Error><Code>ExpiredToken</Code></Error>"
    s3.answer = lambda asked: (
        (400, {"Content-Type": "application/xml"}, body) if asked.headers.get("x-amz-security-token") == "old" else None
    )
    answer = stored.provision(code=1)
    advised(answer, sentence)
    stored.environ["AWS_SESSION_TOKEN"] = "new"
    stored.provision()


# ---- which storage


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "RequestTimeTooSkewed", "set the clock of this machine"),
        (503, "SlowDown", "try again later"),
        (409, "", "check AWS_REGION and AWS_ENDPOINT_URL"),
    ],
)
def test_what_the_storage_says_passes(stored, s3, status, code, sentence):
    says(s3, status, code)
    advised(stored.provision(code=1), sentence)
    s3.answer = lambda asked: None
    stored.provision()


@pytest.mark.parametrize(
    ("sentence", "endpoint", "allow"),
    [
        (
            "correct AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config, whichever is set",
            "http://a:b@127.0.0.1",
            "127.0.0.1",
        ),
        ("let AWS_ENDPOINT_URL name the storage with https:", "http://minio.example", "minio.example"),
    ],
)
def test_the_address_of_the_storage_is_corrected(stored, s3, sentence, endpoint, allow):
    stored.environ["AWS_ENDPOINT_URL"] = endpoint
    named(stored, allow=(allow, "127.0.0.1"))
    advised(stored.provision(code=3), sentence)
    stored.environ["AWS_ENDPOINT_URL"] = s3.url
    stored.provision()


def test_what_answers_as_no_storage_is_another(stored, s3, client):
    client.put_object(Bucket="models", Key="tree/weights.bin", Body=b"x")
    named(stored, "s3://models/tree/", engine="vllm")
    s3.answer = lambda asked: (200, {}, b"<html>Welcome</html>")
    sentence = "check that AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, names an S3 storage"
    advised(stored.provision(code=1), sentence)
    s3.answer = lambda asked: None
    stored.provision()


def test_the_extra_is_installed_or_the_file_downloaded(stored):
    folder = stored.write("without/botocore/__init__.py", "raise ImportError").parent.parent
    stored.environ["PYTHONPATH"] = str(folder)
    sentence = "{}; or download the model and name it as file:PATH, which needs nothing"
    assert advised(stored.process("provision", code=1), sentence) == (with_extra("s3"),)
    named(stored, "file:models/x.gguf")
    stored.process("provision")
    named(stored)
    del stored.environ["PYTHONPATH"]  # as it is with the extra
    stored.provision()

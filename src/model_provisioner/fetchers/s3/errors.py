"""Errors of an S3 storage and of AWS settings, in sentences that say what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, SettingError
from model_provisioner.fetchers.http.client import status_text
from model_provisioner.fetchers.http.environment import Environment
from model_provisioner.invocation import command as called

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN_US = {
    "AuthorizationHeaderMalformed",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_SETTINGS = "the environment (AWS_…), or the files in ~/.aws"
_SAME = "`aws s3 ls` reads the same ones"
CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def storage_error(status: int, code: str, *, where: str, anonymous: bool, hint: str) -> FetchError:
    """Return the error for an HTTP status and the storage's own code for it, which may be empty.

    `anonymous` is whether the request was unsigned, `hint` where else credentials could be had, as the end of a sentence.
    """
    if code == "NoSuchBucket":
        what = "the storage has no such bucket"
        fix = "check the spelling; the buckets of a storage of your own are found where AWS_ENDPOINT_URL names it"
    elif code == "InvalidBucketName":
        what, fix = "this is no name that a bucket of the storage can have", "copy the name as `aws s3 ls` lists it"
    elif code == "InvalidObjectState":
        what = "the object is archived: it can't be read before it is restored"
        fix = (
            "restore it (`aws s3api restore-object`), which may take hours, and run again; or move it to a storage class that "
            "is read at once"
        )
    elif code in _EXPIRED:
        what = "the session of our AWS credentials has expired"
        fix = f"log in again (`aws sso login`), or get new ones: {CREDENTIALS}, with AWS_SESSION_TOKEN"
    elif code == "NoSuchVersion":
        what = "the version of the object that was locked or first fetched is gone"
        fix = f"`{called('lock --upgrade NAME')}` takes what is there now"
    elif status == 404:
        what = "the bucket has no such object"
        fix = (
            "copy the key as `aws s3 ls` lists it; all objects under a prefix are named by the prefix with / at its end"
        )
    elif code == "RequestTimeTooSkewed":
        what, fix = "the storage's clock and ours are too far apart for a signature", "set the clock of this machine"
    elif code in _UNKNOWN_US or (status == 401 and not anonymous):
        what = "the storage does not take our credentials"
        fix = f"correct them or get new ones: {CREDENTIALS}, or log in again (`aws sso login`)"
    elif status in {401, 403} and anonymous:
        what, fix = "the storage does not show this to everybody, and no AWS credentials were found", CREDENTIALS + hint
    elif status == 403:
        what = "our credentials may not read this"
        fix = (
            "ask for s3:GetObject on it (s3:GetObjectVersion where it was replaced), and for s3:ListBucket on the bucket; "
            "without the latter, a missing key looks the same"
        )
    elif status >= 500 or status == 429:
        what, fix = "the storage can't answer now", "try again later"
    else:
        what, fix = "the storage does not answer the question", "check AWS_REGION and AWS_ENDPOINT_URL"
    return FetchError(
        what,
        status=status,
        where=where,
        expected="a bucket and a key that we may read",
        found=f"{status_text(status)}{f' ({code})' if code else ''}",
        fix=fix,
    )


@contextmanager
def aws_errors() -> Iterator[None]:
    """Raise `FetchError` for what botocore raises in the block, and `SettingError` where a setting is to be corrected.

    Its own texts are not used: they may hold secrets.
    """
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    try:
        yield
    except exceptions.ProfileNotFound as error:
        raise SettingError(
            "there is no AWS profile of this name",
            where=_SETTINGS,
            expected="a profile of ~/.aws/config or ~/.aws/credentials",
            found=str(error.kwargs.get("profile", "")),
            fix="correct AWS_PROFILE; `aws configure list-profiles` lists them",
        ) from None
    except (
        exceptions.UnauthorizedSSOTokenError,
        exceptions.SSOTokenLoadError,
        exceptions.TokenRetrievalError,
    ) as error:
        raise FetchError(
            "the AWS session of this profile has expired, or was never begun",
            where=_SETTINGS,
            expected="a session that holds",
            found=type(error).__name__,
            fix=f"log in again (`aws sso login`); {_SAME}",
        ) from None
    except exceptions.SSLError:
        raise FetchError(
            f"the certificate of a host that gives AWS credentials is not trusted by {Environment.read().trust}",
            where=_SETTINGS,
            expected="a certificate by an authority that is trusted",
            found="one by another",
            fix="if your network has an authority of its own, name its certificates in SSL_CERT_FILE",
        ) from None
    except exceptions.ProxyConnectionError:
        raise FetchError(
            "the proxy does not let a host be reached that gives AWS credentials",
            where=_SETTINGS,
            expected="a way to who gives the credentials",
            found="a proxy that was not reached, or refuses",
            fix="check HTTPS_PROXY, and name the host in NO_PROXY if it is to be reached without it",
        ) from None
    except exceptions.PartialCredentialsError as error:
        raise SettingError(
            "only half of the AWS credentials is set",
            where=_SETTINGS,
            expected="aws_access_key_id and aws_secret_access_key, both of them",
            found=f"no {error.kwargs.get('cred_var', '')}, where {error.kwargs.get('provider', '')} is read",
            fix=f"complete the profile in ~/.aws/credentials; {_SAME}",
        ) from None
    except exceptions.ConfigParseError as error:
        raise SettingError(
            "a file of AWS settings can't be read",
            where=str(error.kwargs.get("path", "")),
            expected="sections and lines of NAME = VALUE",
            found="something else",
            fix=f"correct it; {_SAME}",
        ) from None
    except EOFError:
        raise FetchError(
            "the AWS profile wants a code to be typed, and there is no terminal",
            where=_SETTINGS,
            expected="a profile without mfa_serial, or credentials that were got before",
            found="mfa_serial in the profile",
            fix="run once on a terminal, or log in by `aws sso login` or `aws sts` and set the AWS_… variables",
        ) from None
    except (exceptions.BotoCoreError, exceptions.ClientError, ResponseParserError, OSError, ValueError) as error:
        raise FetchError(
            "the AWS settings or credentials can't be used",
            where=_SETTINGS,
            expected="settings and credentials as the AWS tools read them",
            found=type(error).__name__,
            fix=f"correct the AWS_… variables or the files in ~/.aws, or log in again (`aws sso login`); {_SAME}",
        ) from None

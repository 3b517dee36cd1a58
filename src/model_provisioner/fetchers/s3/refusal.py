"""What it means when an S3 storage says no."""

from __future__ import annotations

from http import HTTPStatus

from model_provisioner.errors import FetchError

_UNKNOWN_US = {
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def refusal(status: int, code: str, *, where: str, anonymous: bool, hint: str) -> FetchError:
    """Return the error for an answer that is none: its HTTP status, and the storage's own word for it, if it had one.

    `anonymous` is whether nobody in particular asked, `hint` where else credentials could be had, as the end of a sentence.
    """
    if code == "NoSuchBucket":
        what = "the storage has no such bucket"
        fix = "check the spelling; the buckets of a storage of your own are found where AWS_ENDPOINT_URL names it"
    elif code == "NoSuchVersion":
        what = "the version of the object that was locked or first fetched is gone"
        fix = "`doit model-lock --upgrade NAME` takes what is there now"
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
        what, status=status, where=where, found=f"{_phrase(status)}{f' ({code})' if code else ''}", fix=fix
    )


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)

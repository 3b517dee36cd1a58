"""Why a storage says no, in sentences."""

import pytest

from model_provisioner.fetchers.s3.errors import CREDENTIALS, storage_error

GRANTS = (
    "ask for s3:GetObject on it (s3:GetObjectVersion where it was replaced), and for s3:ListBucket on the bucket; "
    "without the latter, a missing key looks the same"
)
UNKNOWN = f"correct them or get new ones: {CREDENTIALS}, or log in again (`aws sso login`)"
EXPIRED = f"log in again (`aws sso login`), or get new ones: {CREDENTIALS}, with AWS_SESSION_TOKEN"
RESTORE = (
    "restore it (`aws s3api restore-object`), which may take hours, and run again; or move it to a storage class that "
    "is read at once"
)
KEY = "copy the key as `aws s3 ls` lists it; all objects under a prefix are named by the prefix with / at its end"
BUCKET = "check the spelling; the buckets of a storage of your own are found where AWS_ENDPOINT_URL names it"


@pytest.mark.parametrize(
    ("status", "code", "options", "what", "found", "fix"),
    [
        (404, "NoSuchBucket", {}, "the storage has no such bucket", "404 Not Found (NoSuchBucket)", BUCKET),
        (404, "NoSuchKey", {}, "the bucket has no such object", "404 Not Found (NoSuchKey)", KEY),
        (404, "", {}, "the bucket has no such object", "404 Not Found", KEY),
        (404, "NoSuchVersion", {}, "the version of the object that was locked or first fetched is gone",
         "404 Not Found (NoSuchVersion)", "`model-provisioner lock --upgrade NAME` takes what is there now"),
        (403, "AccessDenied", {}, "our credentials may not read this", "403 Forbidden (AccessDenied)", GRANTS),
        (403, "AccessDenied", {"anonymous": True},
         "the storage does not show this to everybody, and no AWS credentials were found", "403 Forbidden (AccessDenied)", CREDENTIALS),
        (403, "", {"anonymous": True, "hint": "; or so"},
         "the storage does not show this to everybody, and no AWS credentials were found", "403 Forbidden",
         f"{CREDENTIALS}; or so"),
        (403, "InvalidAccessKeyId", {}, "the storage does not take our credentials", "403 Forbidden (InvalidAccessKeyId)", UNKNOWN),
        (400, "ExpiredToken", {}, "the session of our AWS credentials has expired", "400 Bad Request (ExpiredToken)", EXPIRED),
        (403, "InvalidObjectState", {}, "the object is archived: it can't be read before it is restored",
         "403 Forbidden (InvalidObjectState)", RESTORE),
        (400, "InvalidBucketName", {}, "this is no name that a bucket of the storage can have",
         "400 Bad Request (InvalidBucketName)", "copy the name as `aws s3 ls` lists it"),
        (401, "", {}, "the storage does not take our credentials", "401 Unauthorized", UNKNOWN),
        (403, "RequestTimeTooSkewed", {}, "the storage's clock and ours are too far apart for a signature",
         "403 Forbidden (RequestTimeTooSkewed)", "set the clock of this machine"),
        (503, "SlowDown", {}, "the storage can't answer now", "503 Service Unavailable (SlowDown)", "try again later"),
        (301, "", {}, "the storage does not answer the question", "301 Moved Permanently", "check AWS_REGION and AWS_ENDPOINT_URL"),
        (799, "", {}, "the storage can't answer now", "799", "try again later"),
    ],
)  # fmt: skip
def test_errors(status, code, options, what, found, fix):
    error = storage_error(status, code, where="s3://b/k at h", **{"anonymous": False, "hint": "", **options})
    assert (
        str(error)
        == f"{what}\n  where     s3://b/k at h\n  expected  a bucket and a key that we may read\n  found     {found}\n  fix       {fix}"
    )
    assert error.status == status

"""The AWS settings of this user: where the storage is, who we are to it, and signatures of requests.

botocore knows what takes years to know: the variables, files, profiles and roles of AWS, and how a request is signed. It
sends none of our requests; those by which some profiles get their credentials are held to the policy.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from model_provisioner.errors import FetchError, MissingExtraError, NotAllowedError, SettingError
from model_provisioner.fetchers.http.environment import Environment
from model_provisioner.fetchers.http.url import Url
from model_provisioner.fetchers.s3.errors import aws_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOTH = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_CONTAINER = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_CONTAINER_HOST = "169.254.170.2"
_ROLE_HOSTS = {"ipv4": "169.254.169.254", "ipv6": "fd00:ec2::254"}


@dataclass(frozen=True)
class Payload:
    """What a request sends."""

    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal. The storage takes no bytes of another."""
    begin: Callable[[], bytes | IO[bytes]]
    """Gives them from their beginning, anew for each try."""


class AwsSession:
    """The settings that the variables `AWS_…` and the files in `~/.aws` hold.

    `check` is given each host before it is contacted, and raises where it may not be. Nobody is contacted by making one.
    Raises `FetchError` where botocore is not installed, and `SettingError` for settings that can't be used.
    """

    endpoint: Url | None
    """The storage that the settings name; None: Amazon's."""
    region: str
    path_style: bool | None
    """Whether the bucket goes into the path, true, or into the name of the host; None where nothing is said."""
    role_hint: str
    """The end of a sentence: how the role of this machine is asked for, where it may not be and was not; else empty."""

    def __init__(self, check: Callable[[str], None]) -> None:
        try:
            import botocore.session
        except ImportError:
            from model_provisioner.installation import with_extra

            raise MissingExtraError(
                "s3: references need the package botocore, which is not installed",
                where="the Python that runs this",
                expected="the extra s3",
                found="no module botocore",
                fix=f"{with_extra('s3')}; or download the model and name it as file:PATH, which needs nothing",
            ) from None
        self.role_hint = ""
        self._check, self._lock = check, Lock()
        self._found: tuple[Any] | None = None
        """The credentials, None in it for nobody in particular; None itself before they were looked for."""
        logger = logging.getLogger("botocore")
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)  # below that it tells signatures, and credentials that it was given
        with aws_errors():
            self._session = botocore.session.Session()
            self._session.register("before-send", self._check_request)
            self._scoped: Mapping[str, Any] = self._session.get_scoped_config()
            region = os.environ.get("AWS_REGION") or self._session.get_config_variable("region") or "us-east-1"
            self.region = str(region)
            self._session.set_config_variable("region", self.region)  # for those who give credentials
            if trusted := Environment.read().trust.place:
                self._session.set_config_variable("ca_bundle", trusted)
            self.endpoint = _endpoint(self._configured())
            style = dict(self._session.get_config_variable("s3") or {}).get("addressing_style")
        self.path_style = {"path": True, "virtual": False}.get(str(style))

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], region: str, payload: Payload | None = None
    ) -> dict[str, str]:
        """Return `headers` with those that say who asks, good for some minutes; alone where nobody in particular does.

        `payload` is what is sent, None where nothing is: the signature is of that, too.
        Raises `FetchError` and `NotAllowedError` where the credentials can't be had.
        """
        if payload is not None:
            headers = {**headers, "content-length": str(payload.size)}
        found = self._credentials()
        if found is None:
            return dict(headers)
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, url, headers=dict(headers))
        auth: Any = S3SigV4Auth(found, "s3", region)
        if payload is not None:
            auth.payload = lambda _: payload.sha256  # it is known: botocore would read all to find it out
        with aws_errors():
            auth.add_auth(request)
        return dict(request.headers.items())

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing says who we are. Raises as `sign` does."""
        return self._credentials() is None

    def _configured(self) -> str:
        """Return the address of the storage as the settings have it, the first that says so; empty where none does."""
        if self._session.get_config_variable("ignore_configured_endpoint_urls"):
            return ""
        from botocore.configprovider import ConfiguredEndpointProvider

        found = ConfiguredEndpointProvider(self._session.full_config, self._scoped, "s3", os.environ).provide()
        return str(found or "")

    def _credentials(self) -> Any:
        given = [name for name in _BOTH if os.environ.get(name)]
        if len(given) == 1:
            (missing,) = {*_BOTH} - {*given}
            raise SettingError(
                "only half of the AWS credentials is set",
                where="the environment",
                expected=" and ".join(_BOTH),
                found=f"{given[0]}, and no {missing}",
                fix=f"set {missing} too; or take {given[0]} away, and the files in ~/.aws are read",
            )
        try:
            with self._lock, aws_errors():
                if self._found is None:
                    self._hold()
                    self._found = (self._session.get_credentials(),)
                (found,) = self._found
                return None if found is None else found.get_frozen_credentials()  # new ones, where they ran out
        except FetchError as error:
            error.fix += self.role_hint
            raise

    def _hold(self) -> None:
        """Put the policy before those ways to credentials that send requests of which `_check_request` is not told."""
        for provider in self._session.get_component("credential_provider").providers:
            if provider.METHOD == "container-role":
                provider.load = partial(self._of_container, provider.load)
            elif provider.METHOD == "iam-role":
                provider.load = partial(self._of_machine, provider.load)

    def _of_container(self, load: Callable[[], Any]) -> Any:
        if any(name in os.environ for name in _CONTAINER):
            relative, full = (os.environ.get(name) for name in _CONTAINER)
            self._check(_CONTAINER_HOST if relative else urlsplit(full or "").hostname or "")
        return load()

    def _of_machine(self, load: Callable[[], Any]) -> Any:
        """Ask for the role of this machine, if that may be. Nobody said that there is one, so else there is none."""
        setting = self._session.get_config_variable
        mode = str(setting("ec2_metadata_service_endpoint_mode") or "ipv4").lower()
        host = urlsplit(str(setting("ec2_metadata_service_endpoint") or "")).hostname or _ROLE_HOSTS.get(mode, "")
        try:
            self._check(host)
        except NotAllowedError:
            self.role_hint = f"; the role of this machine is asked for where network.allow has {host}"
            return None
        return load()

    def _check_request(self, request: Any, **_: object) -> None:
        """Hold a request of botocore's own to the policy."""
        url = Url.parse(request.url)
        self._check(url.host)
        if url.scheme == "http" and not url.is_loopback:
            raise FetchError(
                f"{url.host} would be asked for credentials over http:, where anybody can read them",
                where=url.origin,
                expected="https:",
                found="http:",
                fix="correct the AWS_ENDPOINT_URL… variables or endpoint_url in ~/.aws/config",
            )


def _endpoint(text: str) -> Url | None:
    """Return the storage that the settings name. Raises `SettingError` for what can't be one, without showing it."""
    if not text:
        return None
    try:
        url = Url.parse(text)
        unsound = url.user is not None or bool(url.query)
    except FetchError:
        unsound = True
    if unsound:
        raise SettingError(
            "the address of the S3 storage can't be used",
            where="the environment, or ~/.aws/config",
            expected="https://HOST or https://HOST:PORT, without credentials",
            found="something else, which may hold a secret",
            fix="correct AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config, whichever is set",
        )
    if url.scheme == "http" and not url.is_loopback:
        raise SettingError(
            f"{url.host} would be asked over http:, where anybody can read and change what is sent",
            where=url.origin,
            expected="https:, or a storage on this machine",
            found="http:",
            fix="let AWS_ENDPOINT_URL name the storage with https:",
        )
    return url

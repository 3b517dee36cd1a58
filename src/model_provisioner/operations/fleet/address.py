"""Where the fleet's database is: as the user's environment says, and nothing else does."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_provisioner.config.network_policy import offline_reason
from model_provisioner.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "MODEL_PROVISIONER_FLEET_URL"

_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.%-]*)(?::[0-9]+)?"
_URL = re.compile(
    rf"(postgres(?:ql)?://)(?:[^@/?#\s]*@)?({_HOST}(?:,{_HOST})*(?:/[^@/?#\s]*)?)(?:\?[^@#\s]*)?", re.ASCII
)


@dataclass(frozen=True)
class FleetAddress:
    """The address of a fleet's database."""

    url: str = field(repr=False)
    """As libpq takes it. It may hold a password."""
    shown: str
    """The hosts and the database, without role, password and options."""


def fleet_address(environ: Mapping[str, str] = os.environ) -> FleetAddress:
    """Return where the fleet's database is. Raises `SettingError` where nothing says so, or no host may be contacted."""
    if not (url := environ.get(VARIABLE, "")):
        raise SettingError(
            "nothing says where the fleet's database is",
            where="the environment",
            expected=f"{VARIABLE}=postgresql://ROLE@HOST/DATABASE",
            found=f"no {VARIABLE}",
            fix=f"export {VARIABLE}=postgresql://ROLE@HOST/DATABASE, with its password in ~/.pgpass",
        )
    if (match := _URL.fullmatch(url)) is None:
        raise SettingError(
            f"{VARIABLE} is not the address of a PostgreSQL",
            where="the environment",
            expected="postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, of which only the beginning has to be there",
            found="something else, which is not shown: it may hold a password",
            fix="write %XX for each character of a name, password or value that is not a letter or digit, as %40 for @",
        )
    if (reason := offline_reason(environ)) is not None:
        raise SettingError(
            "the fleet's database is on the network, and nobody may be contacted",
            where=match[1] + match[2],
            expected="a run that may contact hosts",
            found=reason,
            fix=f"unset {reason.partition('=')[0]} for this command",
        )
    return FleetAddress(url, match[1] + match[2])

"""`publish`: send what moved of this user's catalog to the fleet's database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from model_provisioner.cli.project import state_folder_here
from model_provisioner.errors import InputError
from model_provisioner.operations.fleet.publish import SKEWED, Published, publish
from model_provisioner.units import AGES, parse_age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply

_TIMEOUT = "30s"
_LONGEST = 86_400


def run(
    reply: Reply, names: Sequence[str], *, timeout: str | None, jitter: str | None, as_new: bool, take_over: bool
) -> int:
    """Publish, and say what moved."""
    if as_new and take_over:
        raise InputError(
            "a catalog is a copy of another or was restored, not both",
            where="the command line",
            expected="--as-new or --take-over",
            found="both",
            fix="--as-new leaves what is there and adds another; --take-over replaces it: take one away",
        )
    found = publish(
        state_folder_here(),
        seconds=_seconds("timeout", timeout or _TIMEOUT, least=1),
        jitter=_seconds("jitter", jitter or "0s", least=0),
        as_new=as_new,
        take_over=take_over,
    )
    reply.result = vars(found) | {}
    if found.is_copy:
        reply.say(f"this catalog came from another machine: it is published as a host of its own, {found.catalog}")
    reply.say(_said(found))
    if abs(found.clock_skew_seconds) > SKEWED:
        way = "ahead of" if found.clock_skew_seconds > 0 else "behind"
        sys.stderr.write(
            f"WARNING: the clock here is {abs(found.clock_skew_seconds):,} s {way} that of the fleet's database: so are "
            "the times of verifications that others see\n"
        )
    return 0


def _said(found: Published) -> str:
    if not found.projects:
        return f"nothing moved: {found.database} is up to date"
    models = f"{found.written} model{'s' if found.written != 1 else ''} new or changed, {found.removed} removed"
    return f"published to {found.database}: {models}"


def _seconds(option: str, text: str, *, least: int) -> int:
    seconds = parse_age(text)
    if seconds is None or not least <= seconds <= _LONGEST:
        raise InputError(
            f"--{option} can't be read",
            where="the command line",
            expected=f"{AGES.replace('30d', '30s')}, between {least}s and 1d",
            found=text,
            fix=f"write it as --{option} 30s",
        )
    return seconds

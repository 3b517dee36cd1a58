"""`prune`: evict from the store what was not used for longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.project import view_project
from model_provisioner.cli.store_view import fill_level, item_fields
from model_provisioner.engine.retention.eviction import day, describe_held, plan_prune, prune
from model_provisioner.errors import InputError, printable
from model_provisioner.units import AGES, human, parse_age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_provisioner.cli.reply.reply import Reply


def run(reply: Reply, names: Sequence[str], *, dry_run: bool, older_than: str | None) -> int:
    """Prune, and print what went."""
    age = parse_age(older_than) if older_than else None
    if older_than and age is None:
        raise InputError(
            "--older-than takes an age",
            where="the command line",
            expected=AGES,
            found=older_than,
            fix="write --older-than 30d",
        )
    with view_project() as work:
        if age is None and work.config.max_size is None:
            raise InputError(
                "nothing says what is to go",
                where=work.config.path,
                expected="cache: {max_size: 200GB} in the file, or --older-than 30d",
                found="neither",
                fix="add one of them",
            )
        found = (plan_prune if dry_run else prune)(work, age)
    reply.result = {
        "dry_run": dry_run,
        "gone": [item_fields(each) | {"freed_bytes": each.frees} for each in found.gone],
        "left": [item_fields(each) for each in found.kept],
        "size_bytes": found.size,
        "max_size_bytes": found.limit,
    }
    gone, freed = ("would go", "would be freed") if dry_run else ("gone", "freed")
    for each in found.gone:
        reply.say(f"{gone}  {printable(each.name)}  {human(each.frees)}  last used {day(each.used)}")
    size = sum(each.frees for each in found.gone)
    reply.say(f"{human(size)} {freed} in the store, {fill_level(found.size, found.limit)}")
    if found.is_over:
        reply.say("what is left can't go:")
        reply.say(*(f"  {printable(line)}" for line in describe_held(found.kept)))
    return int(found.is_over)

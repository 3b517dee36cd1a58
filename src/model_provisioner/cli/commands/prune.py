"""`prune`: evict from the store what was not used for longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.cli.output import print_json
from model_provisioner.cli.project import view_project
from model_provisioner.cli.store_view import as_json, fill_level
from model_provisioner.engine.retention.eviction import day, describe_held, plan_prune, prune
from model_provisioner.errors import InputError, printable
from model_provisioner.units import AGES, human, parse_age

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(names: Sequence[str], *, json: bool, dry_run: bool, older_than: str | None) -> int:
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
    if json:
        print_json(
            {
                "dry_run": dry_run,
                "gone": [as_json(each) | {"freed": each.frees} for each in found.gone],
                "left": [as_json(each) for each in found.kept],
                "size": found.size,
                "max_size": found.limit,
            }
        )
        return int(found.is_over)
    gone, freed = ("would go", "would be freed") if dry_run else ("gone", "freed")
    for each in found.gone:
        print(f"{gone}  {printable(each.name)}  {human(each.frees)}  last used {day(each.used)}")
    size = sum(each.frees for each in found.gone)
    print(f"{human(size)} {freed} in the store, {fill_level(found.size, found.limit)}")
    if found.is_over:
        print("what is left can't go:")
        for line in describe_held(found.kept):
            print(f"  {printable(line)}")
    return int(found.is_over)

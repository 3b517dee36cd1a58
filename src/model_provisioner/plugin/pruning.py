"""The command `doit model-prune`."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, expect_no_names, print_json, project_root


class ModelPrune(Query):
    """`doit model-prune`."""

    name = "model-prune"
    doc_purpose = "let go what was not used for longest, until the store keeps cache.max_size"
    doc_usage = "[--dry-run] [--older-than 30d] [--json]"
    doc_description = (
        "Nothing goes that a handoff names, that a project of yours keeps (`keep: true`) or has locked, or that a run uses "
        "or fetches. Local files are never touched.\n\n"
        "Exit codes: 0 done, 1 the store still holds more than cache.max_size, 2 something broke, 3 bad input."
    )
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "dry_run",
            "long": "dry-run",
            "type": bool,
            "default": False,
            "help": "say what would go, and let nothing go",
        },
        {
            "name": "older_than",
            "long": "older-than",
            "type": str,
            "default": "",
            "help": "let all go that was not used for so long: 30d (s, m, h, d, w)",
        },
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Prune, and print what went."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.engine.eviction import day, holders, prune, would_prune
        from model_provisioner.engine.workspace import look_at_workspace
        from model_provisioner.errors import InputError, printable
        from model_provisioner.fs.state_folder import state_folder
        from model_provisioner.plugin.names import CONFIG_NAME
        from model_provisioner.plugin.shelf import filling, told
        from model_provisioner.units import human

        age = _age(opt_values["older_than"])
        root = project_root()
        os.chdir(root)
        work = look_at_workspace(os.path.join(root, CONFIG_NAME), state_folder())
        if age is None and work.config.max_size is None:
            raise InputError(
                "nothing says what is to go",
                where=work.config.path,
                expected="cache: {max_size: 200GB} in the file, or --older-than 30d",
                found="neither",
                fix="add one of them",
            )
        dry = opt_values["dry_run"]
        found = would_prune(work, age) if dry else prune(work, age)
        if opt_values["json"]:
            return print_json(
                {
                    "dry_run": dry,
                    "gone": [told(each) | {"freed": each.frees} for each in found.gone],
                    "left": [told(each) for each in found.stay],
                    "size": found.size,
                    "max_size": found.limit,
                }
            ) or int(found.is_over)
        for each in found.gone:
            print(
                f"{'would go' if dry else 'gone'}  {printable(each.name)}  {human(each.frees)}  last used {day(each.used)}"
            )
        freed = sum(each.frees for each in found.gone)
        print(f"{human(freed)} {'would be freed' if dry else 'freed'} in the store, {filling(found.size, found.limit)}")
        if found.is_over:
            print("what is left can't go:")
            for line in holders(found.stay):
                print(f"  {printable(line)}")
        return int(found.is_over)


def _age(text: str) -> int | None:
    from model_provisioner.errors import InputError
    from model_provisioner.units import AGES, parse_age

    if not text:
        return None
    if (age := parse_age(text)) is None:
        raise InputError("--older-than takes an age", expected=AGES, found=text, fix="write --older-than 30d")
    return age

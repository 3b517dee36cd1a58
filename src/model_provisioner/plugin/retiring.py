"""The command `doit model-retire`."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, print_json, project_root


class ModelRetire(Query):
    """`doit model-retire`."""

    name = "model-retire"
    doc_purpose = "take models out of service: their handoffs are withdrawn, and provision skips them"
    doc_usage = "NAME... [--undo] [--json]"
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "undo",
            "long": "undo",
            "type": bool,
            "default": False,
            "help": "take them back into service: the next `doit provision` verifies them and hands them off",
        },
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Move each model, or none of them where one is not known."""
        from model_provisioner.engine.workspace import open_workspace
        from model_provisioner.errors import InputError
        from model_provisioner.operations.retire import retire, undo
        from model_provisioner.plugin.commands import unknown_name
        from model_provisioner.plugin.names import CONFIG_NAME

        if not pos_args:
            raise InputError("model-retire takes a NAME, or several", fix="see `doit model-list`")
        root = project_root()
        os.chdir(root)  # as `provision` does: a document of one model has paths from there
        work = open_workspace(os.path.join(root, CONFIG_NAME))
        names = list(dict.fromkeys(pos_args))
        for name in names:
            if name not in work.config.entries:
                raise unknown_name(name, work.config)
        back = opt_values["undo"]
        moved = (undo if back else retire)(work, [work.config.entries[name] for name in names])
        if opt_values["json"]:
            return print_json([{"name": name, "retired": not back, "changed": name in moved} for name in names])
        for name in names:
            if back:
                how = "back in service: `doit provision` hands it off" if name in moved else "was not retired"
            else:
                how = "retired: no handoff, and provision skips it" if name in moved else "was retired already"
            print(f"{name}  {how}")
        return 0

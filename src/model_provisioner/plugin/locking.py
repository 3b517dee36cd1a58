"""The command `doit model-lock`."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from model_provisioner.plugin.queries import OPT_JSON, Query, expect_no_names, print_json, project_root


class ModelLock(Query):
    """`doit model-lock`."""

    name = "model-lock"
    doc_purpose = "write models.lock: what each model of models.yaml is, file by file"
    doc_usage = "[--check] [--upgrade NAME]... [--json]"
    cmd_options: ClassVar[tuple[Any, ...]] = (
        OPT_JSON,
        {
            "name": "check",
            "long": "check",
            "type": bool,
            "default": False,
            "help": "write nothing; end with 1 where lock, models.yaml and the files that are here do not agree",
        },
        {
            "name": "upgrade",
            "long": "upgrade",
            "type": list,
            "default": [],
            "help": "lock NAME anew, to what its source has now; may be given several times",
        },
    )

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Write the file, or compare."""
        expect_no_names(self.name, pos_args)
        from model_provisioner.cli.progress import progress_for_stderr
        from model_provisioner.engine.usage import note_usage
        from model_provisioner.engine.workspace import open_workspace
        from model_provisioner.operations.lock import drift, lock, write_lock
        from model_provisioner.plugin.commands import unknown_name
        from model_provisioner.plugin.names import CONFIG_NAME

        root = project_root()
        os.chdir(root)
        progress = progress_for_stderr()
        work = open_workspace(os.path.join(root, CONFIG_NAME), progress=progress)
        for name in opt_values["upgrade"]:
            if name not in work.config.entries:
                raise unknown_name(name, work.config)
        try:
            if opt_values["check"]:
                found = drift(work)
                written = False
            else:
                found = []
                written = write_lock(work, lock(work, opt_values["upgrade"]))
                note_usage(work, {})
        finally:
            progress.close()
        if opt_values["json"]:
            return print_json({"drift": found, "written": written}) or int(bool(found))
        for each in found:
            print(each)
        if not found:
            count = len(work.config.entries)
            state = "agrees" if opt_values["check"] else "written" if written else "is as it was"
            print(f"models.lock {state}: {count} model{'' if count == 1 else 's'}")
        return 1 if found else 0

"""doit's commands are what `cli/declarations.py` says."""

import importlib
import inspect
from importlib.metadata import entry_points

import pytest

from model_provisioner.cli import declarations
from model_provisioner.cli.command import Command

DECLARED = {
    f"model-{value.name}": value
    for value in vars(declarations).values()
    if isinstance(value, Command) and value not in {declarations.PROVISION, declarations.COMPLETION}
}
DOITS = {"dumpdb", "forget"}
"""doit's own, in the place of which ours stand: see test_doits.py."""
POINTS = {point.name: point for point in entry_points(group="doit.COMMAND") if point.module.startswith("model_")}


def test_every_declaration_is_a_command_of_doit():
    assert POINTS.keys() == {"provision", *DECLARED, *DOITS}


@pytest.mark.parametrize("name", DECLARED)
def test_a_declaration_is_a_function_that_takes_its_options(name):
    declared = DECLARED[name]
    run = importlib.import_module(declared.module).run
    options = [each.name for each in inspect.signature(run).parameters.values() if each.kind == each.KEYWORD_ONLY]
    assert sorted(options) == sorted(
        option.name for option in declared.options if option.name != "json"
    )  # the reply knows
    assert POINTS[name].load().declared is declared


def test_help_is_made_of_the_declaration():
    assert POINTS["model-verify"].load()(bin_name="doit").help() == (
        """\
PURPOSE
    verify again what was verified, the longest unread first; --full
    finds silent corruption

USAGE
    doit model-verify [NAME...] [--full] [--store] [--older-than AGE]
    [--max-bytes SIZE] [--scheduler EXECUTOR] [-q] [--json]

OPTIONS

    model-verify
      --full
            ignore cached digests and hash every byte with SHA-256
            [default: False]  (config: full)
      --store
            audit the store instead: read every blob, whichever models
            have it, past the page cache [default: False]  (config:
            store)
      --older-than=AGE
            skip what was audited less than AGE ago: 30d, 12h or 45m
            (config: older_than)
      --max-bytes=SIZE
            stop before SIZE is exceeded: 50GB; audits one model or
            blob in any case  (config: max_bytes)
      --scheduler=EXECUTOR
            let files be hashed by local:N (processes), dask:ADDRESS
            or ray:ADDRESS; MODEL_PROVISIONER_SCHEDULER does the same
            (config: scheduler)
      -q, --quiet
            print nothing but warnings and failures [default: False]
            (config: quiet)
      --json
            print one JSON document, on errors too [default: False]
            (config: json)


DESCRIPTION
    A model loses its handoff while it is read, and gets it back if it
    passes. With --store nothing is withdrawn but what has a blob that
    differs. What was audited is kept, however the command ends: the
    next one continues after it.

    Exit codes: 0 all passed, 1 a model failed, now or in an earlier
    run that nothing has mended since, 2 something broke, 3 bad input,
    130 interrupted.

    Example:
    doit model-verify --full --older-than 30d --max-bytes 50GB"""
    )

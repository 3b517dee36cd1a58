"""No fault without its five parts, and none whose advice nobody followed."""

import ast
from pathlib import Path

import pytest

from tests.advice.faults import HOLE, kinds, modules, sentences

PARTS = {"where", "expected", "found", "fix"}
OF_A_FIELD = (
    "it is the value of a field: whoever reads the file says where, and shows the value where nothing else was found"
)
MAY_LACK = {
    "config.fields._handoff": ({"where", "found"}, OF_A_FIELD),
    "config.fields._host": ({"where"}, OF_A_FIELD),
    "config.fields._max_size": ({"where", "found"}, OF_A_FIELD),
    "config.fields._file_digest": ({"where", "found"}, OF_A_FIELD),
    "config.fields._inner_path": ({"where", "found"}, OF_A_FIELD),
    "config.fields._expected": ({"where", "found"}, OF_A_FIELD),
    "config.schema._companion": ({"where", "found"}, OF_A_FIELD),
    "config.schema._names_one_signer": ({"where"}, OF_A_FIELD),
    "config.schema._fault": ({"where"}, OF_A_FIELD),
    "references.digest.__post_init__": ({"where"}, OF_A_FIELD),
    "references.digest.parse": ({"where"}, OF_A_FIELD),
    **{
        f"references.reference.{name}": ({"where"}, OF_A_FIELD)
        for name in ("parse", "__post_init__", "absolute", "_decode_file_url", "_parse_hub", "_not_an_object")
    },
}
"""Which parts the errors of a function lack where they are made, and why that may be."""
MADE_OF_ONE_VALUE = {"ConfigError", "DigestMismatchError", "CorruptModelError", "DamagedError"}
"""Errors that make their parts of what they are about."""

NOT_FOLLOWED: dict[str, str] = {}
"""The sentences that no test follows, and why."""


def test_every_fault_has_its_five_parts():
    lacking = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in kinds() - MADE_OF_ONE_VALUE:
                continue
            words = {each.arg for each in node.keywords}
            if None in words:
                continue  # what is passed on was checked where it was made
            place = module.place(node)
            if missing := PARTS - words - MAY_LACK.get(place, (set(), ""))[0]:
                lacking[f"{place}:{node.lineno}"] = sorted(missing)
    assert lacking == {}


def followed() -> set[str]:
    """Return every text of the tests beside this one: a test that follows an advice has its sentence."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            tree = ast.parse(path.read_text())
            found |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return found


def test_every_sentence_of_advice_is_followed_or_there_is_a_reason_why_not():
    missing = sentences().keys() - followed() - NOT_FOLLOWED.keys()
    assert missing == set(), "\n".join(f"{each}\n    {sorted(sentences()[each])}" for each in sorted(missing))


def test_no_reason_is_left_of_a_sentence_that_is_gone_or_followed():
    assert NOT_FOLLOWED.keys() - sentences().keys() == set()
    assert NOT_FOLLOWED.keys() & followed() == set()

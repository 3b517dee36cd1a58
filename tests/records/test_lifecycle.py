"""The life of a model: every move there is, who may make it, and what is said of the others."""

from itertools import product

import pytest

from model_provisioner.records.catalog.catalog import Catalog, Model
from model_provisioner.records.lifecycle import MOVES, refusal
from model_provisioner.errors import InvalidMoveError, RetiredModelError

STATES = ("Pending", "Active", "Failed", "Retired")


def test_the_table_is_this_one():
    """A run goes anywhere but into retirement and out of it, which are a person's."""
    by_run = {(old, new) for old, new in product((None, *STATES[:3]), STATES[:3])}
    by_hand = {(old, "Retired") for old in (None, *STATES)} | {("Retired", "Pending")}
    assert {move for move, by in MOVES.items() if by == "run"} == by_run
    assert {move for move, by in MOVES.items() if by == "hand"} == by_hand


@pytest.mark.parametrize("by", ["run", "hand"])
@pytest.mark.parametrize("old", [None, *STATES])
@pytest.mark.parametrize("new", STATES)
def test_the_catalog_makes_the_moves_of_the_table_and_no_other(tmp_path, old, new, by):
    catalog = Catalog(str(tmp_path))

    def state(lifecycle):
        return Model(project="/p", name="tiny", id="local:/p/tiny", lifecycle=lifecycle)

    if old is not None:
        assert not catalog.put(state(old), by=MOVES[None, old])
    refused = catalog.put(state(new), by=by)
    row = catalog.get("/p", "tiny")
    if MOVES.get((old, new)) == by:
        assert (refused, row.lifecycle) == ({}, new)
    else:
        assert isinstance(refused["tiny"], RetiredModelError if old == "Retired" else InvalidMoveError)
        assert (row and row.lifecycle) == old


def test_a_move_that_is_refused_says_which_there_are():
    assert str(refusal("tiny", ("Active", "Pending"), "hand", "/s/catalog.db")) == (
        "tiny can't become Pending\n"
        "  where     /s/catalog.db\n"
        "  expected  Retired\n"
        "  found     tiny is Active\n"
        "  fix       see `model-provisioner show`"
    )
    assert "found     tiny is not in the catalog" in str(refusal("tiny", (None, "Pending"), "hand", "/s/catalog.db"))

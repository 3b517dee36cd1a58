"""What a reader does with the page: the script sorts and finds, states are filtered without it, and without it all is there."""

from dataclasses import replace

import pytest

from model_provisioner.cli.report_page.document import page
from tests.support.chromium import PROGRAM
from tests.support.reports import a_failed_model, a_model, a_report, a_row
from tests.support.remote import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium (apt-get install chromium)"),
]

ROWS = "[...document.querySelectorAll('tbody tr')]"
SHOWN = f"{ROWS}.filter(row => getComputedStyle(row).display !== 'none').map(row => row.cells[0].textContent)"
STATUS = "document.querySelector('output').textContent"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Models of every state but one, whose sizes, names and times are each in another order."""
    found = tmp_path_factory.mktemp("page") / "page.html"
    big = a_model("big-2", 1, files={(1, 1): 9_500_000_000})
    late = a_row("late-10", verified_at="2026-03-01T00:00:00Z")
    models = (
        big,
        a_model("late-10", 2, files={(1, 2): 12_000_000}, row=late),
        a_model("small-1", 3, files={(1, 3): 999}, expected=None),
        a_failed_model("broken-3", 4),
        a_model("new-7", 5, row=None, files={}, handoff_state="none"),
        replace(big, name="retired-5", row=a_row("retired-5", lifecycle="Retired"), files={(1, 6): 40_000}),
    )
    found.write_text(page(a_report(*models)))
    return found


WRITTEN = ["broken-3", "new-7", "small-1", "big-2", "late-10", "retired-5"]
"""As the page comes: those that need attention first."""


@pytest.fixture
def opened(chromium, path):
    chromium.look(1440)
    chromium.open("about:blank")
    chromium.open(path)
    return chromium


def click(browser, selector):
    """Press the mouse where something is."""
    at = browser.evaluate(
        f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
        f" return [r.x + Math.min(r.width / 2, 60), r.y + Math.min(r.height / 2, 12)] }})(document.querySelector(`{selector}`))"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)


def press(browser, head):
    names = browser.evaluate("[...document.querySelectorAll('thead button')].map(button => button.textContent)")
    click(browser, f"thead th:nth-child({names.index(head) + 1}) button")
    return browser.evaluate(f"{ROWS}.map(row => row.cells[0].textContent)")


def sorted_by(browser):
    heads = browser.evaluate(
        "[...document.querySelectorAll('thead th')].map(head => [head.textContent, head.ariaSort])"
    )
    return [(name, way) for name, way in heads if way]


def test_it_comes_with_what_needs_attention_first(opened):
    assert opened.evaluate(f"{ROWS}.map(row => row.cells[0].textContent)") == WRITTEN
    assert sorted_by(opened) == [("State", "ascending")]


@pytest.mark.parametrize(
    ("head", "ways", "first", "second"),
    [
        (
            "Model",
            ("ascending", "descending"),
            ["big-2", "broken-3", "late-10", "new-7", "retired-5", "small-1"],
            ["small-1", "retired-5", "new-7", "late-10", "broken-3", "big-2"],
        ),
        (  # by bytes, the most first; what has none is last both ways
            "Size",
            ("descending", "ascending"),
            ["big-2", "late-10", "retired-5", "broken-3", "small-1", "new-7"],
            ["small-1", "broken-3", "retired-5", "late-10", "big-2", "new-7"],
        ),
        (  # the latest first; what is equal stays in its order
            "Verified",
            ("descending", "ascending"),
            ["late-10", "small-1", "big-2", "retired-5", "broken-3", "new-7"],
            ["small-1", "big-2", "retired-5", "late-10", "broken-3", "new-7"],
        ),
    ],
)
def test_a_head_sorts_and_sorts_the_other_way(opened, head, ways, first, second):
    assert (press(opened, head), sorted_by(opened)) == (first, [(head, ways[0])])
    assert (press(opened, head), sorted_by(opened)) == (second, [(head, ways[1])])
    assert (press(opened, "State"), sorted_by(opened)) == (WRITTEN, [("State", "ascending")])


def test_numbers_in_names_count_as_numbers(chromium, tmp_path):
    (tmp_path / "page.html").write_text(page(a_report(*(a_model(f"m-{n}", n) for n in (10, 9, 100)))))
    chromium.open(tmp_path / "page.html")
    assert press(chromium, "Model") == ["m-9", "m-10", "m-100"]


def test_what_is_typed_is_found_in_all_that_is_said_of_a_model(opened):
    assert opened.evaluate(STATUS) == ""
    for typed, found in (
        ("broken", ["broken-3"]),
        ("DIGEST differs", ["broken-3"]),
        ("engines/late-10.json", ["late-10"]),
        ("not provisioned", ["new-7"]),
        ("nothing of the kind", []),
        ("", WRITTEN),
    ):
        opened.evaluate("document.querySelector('#find').select()")
        opened.call("Input.insertText", text=typed) if typed else opened.evaluate("document.execCommand('delete')")
        assert opened.evaluate(SHOWN) == found, typed
        assert opened.evaluate(STATUS) == ("" if found == WRITTEN else f"{len(found)} of 6 shown")


def test_a_tile_and_what_is_typed_hold_together(opened):
    click(opened, "#verified")
    assert opened.evaluate(SHOWN) == ["big-2", "late-10"]
    wait_until(
        lambda: opened.evaluate(STATUS) == "2 of 6 shown"
    )  # a page is told of its new address when it has been drawn
    opened.evaluate("document.querySelector('#find').focus()")
    opened.call("Input.insertText", text="late")
    assert (opened.evaluate(SHOWN), opened.evaluate(STATUS)) == (["late-10"], "1 of 6 shown")


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("failed", ["broken-3"]),
        ("todo", ["new-7"]),
        ("unpinned", ["small-1"]),
        ("verified", ["big-2", "late-10"]),
        ("retired", ["retired-5"]),
    ],
)
def test_a_tile_shows_the_models_of_its_state_without_a_script_too(chromium, path, scripts, key, found):
    chromium.look(1440)
    chromium.open("about:blank")
    chromium.open(path, scripts=scripts)
    click(chromium, f"#{key}")
    assert chromium.evaluate(SHOWN) == found
    click(chromium, "a.all")
    assert chromium.evaluate(SHOWN) == WRITTEN


@pytest.mark.parametrize("scripts", [True, False])
def test_a_click_on_a_line_opens_its_details(chromium, path, scripts):
    chromium.look(1440)
    chromium.open("about:blank")
    chromium.open(path, scripts=scripts)
    opened = f"{ROWS}.filter(row => row.querySelector('details').open).map(row => row.cells[0].textContent)"
    assert chromium.evaluate(opened) == ["broken-3"]  # what failed is open
    click(chromium, "#m-late-10 th")
    assert chromium.evaluate(opened) == ["broken-3", "late-10"]
    click(chromium, "#m-late-10 th")
    assert chromium.evaluate(opened) == ["broken-3"]


def test_without_a_script_there_is_nothing_that_does_nothing(chromium, path):
    chromium.look(1440)
    chromium.open("about:blank")
    chromium.open(path, scripts=False)
    assert chromium.evaluate(SHOWN) == WRITTEN
    assert chromium.evaluate("document.querySelectorAll('button').length") == 0
    assert chromium.evaluate("document.querySelector('.find').checkVisibility()") is False


def test_the_phone_sorts_and_finds_as_well(chromium, path):
    chromium.look(390)
    chromium.open("about:blank")
    chromium.open(path)
    assert press(chromium, "Model")[0] == "big-2"
    assert chromium.evaluate("document.querySelector('#find').checkVisibility()") is True

"""The page in a real browser: nothing in it runs, it fits a phone, and it can be read in the light, in the dark and in print."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_provisioner.records.catalog import Model
from model_provisioner.cli.report_page.document import page
from model_provisioner.operations.report import ModelReport, Report
from tests.support.chromium import PROGRAM, Chromium
from tests.support.gguf_bytes import gguf, text, u32
from tests.support.project import Project, settle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium (apt-get install chromium)"),
]

# What it takes to run a script from text, in an element, an attribute, a style, an SVG; and what turns or hides text.
SCRIPT = "document.title='owned'"
HOSTILE = [
    f"<script>{SCRIPT};alert(1)</script>",
    f"</style></title></svg><script>{SCRIPT}</script>",
    f'<img src=x onerror="{SCRIPT}">',
    f"'\"><svg onload={SCRIPT}>",
    f'" onmouseover="{SCRIPT}" autofocus onfocus="{SCRIPT}',
    "<iframe src=http://127.0.0.1:9/></iframe><link rel=stylesheet href=http://127.0.0.1:9/>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'><base href=http://127.0.0.1:9/>",
    "<style>*{background:url(http://127.0.0.1:9/)}</style>",
    "&lt;script&gt;{name}{0.__class__}%s\\u003cscript\\u003e",
    "\u202etxt.exe\u2066 \u200b\x1b[2J\x00\x07\r\n\t--><!--]]>",
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page of a project that is called, holds and says what would run if it could."""
    top = tmp_path_factory.mktemp("hostile")
    root = top / f"<img src=x onerror={SCRIPT}>\u202e\"'&amp;"
    root.mkdir()
    project = Project(root, top / "state")
    entries = []
    for number, each in enumerate(HOSTILE):
        keys = (
            "general.name",
            "general.architecture",
            "general.type",
            "tokenizer.chat_template",
            "tokenizer.ggml.model",
        )
        metadata = {**{key: text(each) for key in keys}, "general.file_type": u32(7)}
        name = re.sub(r"[\0/\n\r\t\x07\x1b]", "_", each)[:180] + f"{number}.gguf"
        project.write(name, gguf(metadata))
        project.write("sub/" + name, b"GGUF")
        for kind, folder in (("held", ""), ("broken", "sub/"), ("gone", "gone/")):
            entries.append(f"  {kind}-{number}: {{model_ref: {json.dumps(f'file:{folder}{name}')}}}\n")
    project.models("defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\nmodels:\n" + "".join(entries))
    settle()
    project.provision(code=1)
    project.doit("model-report", "-o", str(top / "report.html"))
    return top / "report.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with every state, and with names as long as they come."""
    top = tmp_path_factory.mktemp("report")
    (top / "a project").mkdir()
    project = Project(top / "a project", top / "state")
    project.add_tiny("good.gguf")
    project.add_tiny("x" * 200 + ".gguf")
    project.write("broken.gguf", b"GGUF")
    project.models(
        "defaults: {handoff: '{runtime_dir}/engines/{name}.json'}\nmodels:\n"
        "  good: {model_ref: 'file:good.gguf'}\n"
        f"  pinned: {{model_ref: 'file:good.gguf', expected_digest: 'sha256:{'0' * 64}'}}\n"
        f"  tolerated: {{model_ref: 'file:good.gguf', expected_digest: 'sha256:{'1' * 64}', strict_verification: false}}\n"
        f"  {'a-very-long-name-' * 8}: {{model_ref: 'file:{'x' * 200}.gguf'}}\n"
        "  broken: {model_ref: 'file:broken.gguf'}\n"
        "  remote: {model_ref: 'hf:org/repo/x.gguf'}\n"
    )
    settle()
    project.provision(code=1)
    with (project.root / "models.yaml").open("a") as file:
        file.write("  fresh: {model_ref: 'file:good.gguf'}\n")
    (project.root / ("x" * 200 + ".gguf")).touch()
    project.doit("model-report", "-o", str(top / "report.html"))
    return top / "report.html"


def test_nothing_that_models_say_of_themselves_runs(chromium, hostile):
    chromium.look()
    chromium.open(hostile)
    chromium.evaluate("new Promise(done => setTimeout(done, 300))")
    assert chromium.evaluate("document.title").startswith("Models of <img src=x onerror=document.title='owned'>")
    assert chromium.evaluate("document.querySelectorAll('script, iframe, img, base, object, embed, form').length") == 0
    assert chromium.evaluate("document.querySelectorAll('style').length") == 1
    handlers = "[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => a.name.startsWith('on')))"
    assert chromium.evaluate(handlers) is False
    assert (chromium.requests(), chromium.dialogs()) == ([], [])
    # It is there all the same, as text.
    shown = chromium.evaluate("document.body.textContent")
    for each in (
        "<script>document.title='owned'",
        "onerror=",
        "<meta http-equiv=refresh",
        "{0.__class__}",
        "\\u202e",
        "\\x1b[2J",
    ):
        assert each in shown, each
    assert not re.search("[\0-\x08\x0b-\x1f\u200b\u202a-\u202e\u2066-\u2069]", shown)


@contextmanager
def listener():
    """A server of nothing, and what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_markup_that_got_in_would_not_run_either(chromium, report, tmp_path):
    html = report.read_text(encoding="utf-8")
    found = {}
    with listener() as (url, asked):
        attack = (
            f'<script>{SCRIPT}</script><img src={url}/a onerror="{SCRIPT}"><iframe src={url}/b></iframe>'
            f"<style>h1 {{ color: rgb(1, 2, 3) }} body {{ background: url({url}/c) }}</style><link rel=stylesheet href={url}/d>"
        )
        (tmp_path / "with.html").write_text(held := html.replace("<main", attack + "<main"))
        (tmp_path / "without.html").write_text(re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", held))
        for name in ("with", "without"):
            asked.clear()
            chromium.look()
            chromium.open(tmp_path / f"{name}.html")
            for _ in range(1 if name == "with" else 50):
                chromium.evaluate("new Promise(done => setTimeout(done, 300))")
                if len(asked) == 4:
                    break
            colour = chromium.evaluate("getComputedStyle(document.querySelector('h1')).color")
            found[name] = (chromium.evaluate("document.title"), colour == "rgb(1, 2, 3)", sorted(asked))
    assert found["with"] == ("Models of a project", False, [])
    # Without the policy all of it runs: so that is what keeps it from running.
    assert found["without"] == ("owned", True, ["/a", "/b", "/c", "/d"])


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_it_fits_the_screen(chromium, report, hostile, width):
    for path in (report, hostile):
        chromium.look(width)
        chromium.open(path, scripts=False)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        beyond = "[...document.querySelectorAll('main *, header *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        assert chromium.evaluate(f"{beyond}.map(e => e.outerHTML.slice(0, 200))") == []


CONTRAST = """
(() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const channels = colour => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const back = channels(getComputedStyle(e).backgroundColor);
      if (back[3] === 255) return back;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || ["title", "desc"].includes(element.tagName)) continue;
    const svg = element.tagName === "text";
    let tile = element;
    while (svg && tile.tagName !== "rect") tile = tile.previousElementSibling;
    const front = channels(svg ? style.fill : style.color);
    const back = svg ? channels(getComputedStyle(tile).fill) : behind(element);
    found.push([ratio(front, back), node.data.slice(0, 30), front.join(), back.join()]);
  }
  return found;
})()
"""


@pytest.mark.parametrize(
    ("dark", "media"), [(False, "screen"), (True, "screen"), (False, "print"), (True, "print")], ids=str
)
def test_every_text_stands_out_from_what_is_behind_it(chromium, report, dark, media):
    for width in (360, 1280):
        chromium.look(width, dark=dark, media=media)
        chromium.open(report)
        found = chromium.evaluate(CONTRAST)
        assert len(found) > 100
        assert [each for each in found if each[0] < 4.5] == []
    back = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    is_dark = sum(map(int, re.findall(r"\d+", back)[:3])) < 150
    assert is_dark == (dark and media == "screen")  # paper is white


def test_print_has_everything(chromium, report):
    chromium.look(media="print")
    chromium.open(report, scripts=False)
    pdf = chromium.pdf()
    assert pdf.startswith(b"%PDF-")
    hidden = "[...document.querySelectorAll('main *')].filter(e => getComputedStyle(e).contentVisibility !== 'visible').length"
    assert chromium.evaluate(hidden) == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_who_does_not_see_it_is_told(chromium, report, width):
    chromium.look(width)
    chromium.open(report, scripts=False)
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    told = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    roles = [role for role, _ in told]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    assert {("region", name) for name in ("What fails, and why", "Disk use", "All models")} <= set(told)
    assert ("table", "All models") in told
    heads = [name for role, name in told if role == "columnheader"]
    assert heads == ["Model", "State", "Size", "Digest", "Verified", "Handoff"]
    assert roles.count("rowheader") == 7
    assert roles.count("row") == 8
    assert roles.count("cell") == 7 * 5
    (picture,) = [n for n in nodes if not n["ignored"] and n["role"]["value"] in {"img", "image"}]
    assert picture["name"]["value"].startswith("Disk use by model A rectangle for each model")
    levels = [
        next(p["value"]["value"] for p in n["properties"] if p["name"] == "level")
        for n in nodes
        if not n["ignored"] and n["role"]["value"] == "heading"
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_ten_thousand_models_are_a_page_that_opens(chromium, tmp_path):
    row = Model(
        **{
            "project": "/srv/p",
            "name": "",
            "id": "",
            "lifecycle": "Active",
            "outcome": "warn",
            "path": "/srv/p/x.gguf",
        },
        **{"digest": "sha256:" + "a" * 64, "size": 4096, "engine": "llamacpp", "verified_at": "2026-01-01T00:00:00Z"},
    )
    one = ModelReport(
        **{
            "entry": None,
            "name": "",
            "reference": "",
            "path": None,
            "engine": "llamacpp",
            "handoff": "",
            "handoff_state": "confirmed",
        },
        **{"expected": None, "row": row, "files": {}, "trouble": None, "reasons": (), "fetched": False},
        **{"last": None, "hashed": None},
    )
    models = [
        replace(
            one,
            name=(name := f"model-{number:05}"),
            reference=f"local:/srv/p/models/{name}.gguf",
            handoff=f"/srv/p/.runtime/engines/{name}.json",
            files={(1, number): 1000 + number},
        )
        for number in range(10_000)
    ]
    html = page(Report("/srv/p/models.yaml", "/srv/p", "2026-01-01T00:00:00Z", tuple(models), ()))
    assert len(html) < 7_500_000
    path = tmp_path / "many.html"
    path.write_text(html)
    chromium.look()
    chromium.open(path)
    assert chromium.evaluate("document.querySelectorAll('tbody tr').length") == 10_000
    assert chromium.evaluate("document.querySelectorAll('.chain').length") == 60
    assert chromium.evaluate("document.querySelectorAll('.uses li').length") == 30
    assert "9,970 more take 59.7 MB." in html
    # What is far below is not laid out before somebody goes there; who does finds it.
    assert (
        chromium.evaluate(
            "document.querySelector('tbody:last-child tr').checkVisibility({contentVisibilityAuto: true})"
        )
        is False
    )
    chromium.evaluate("document.querySelector('tbody:last-child tr:last-child').scrollIntoView({behavior: 'instant'})")
    chromium.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert (
        chromium.evaluate("document.querySelector('tbody:last-child tr:last-child').getBoundingClientRect().height")
        > 20
    )

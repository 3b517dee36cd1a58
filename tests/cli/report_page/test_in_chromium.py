"""The page in a real browser: nothing runs but its own script, and it can be read wide, on a phone, in the dark and in print."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model_provisioner.cli.report_page import document
from model_provisioner.cli.report_page.document import page
from tests.support.chromium import PROGRAM
from tests.support.gguf_bytes import gguf, text, u32
from tests.support.project import Project, settle
from tests.support.reports import a_failed_model, a_model, a_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium (apt-get install chromium)"),
]

# What it takes to run a script from text, in an element, an attribute, a style, an SVG; and what turns or hides text.
SCRIPT = "document.title='owned'"
OWN_SCRIPT = (Path(document.__file__).parent / "page.js").read_text()
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
        entries.append(
            f"  beside-{number}: {{model_ref: {json.dumps(f'file:{name}')}, lora: [{json.dumps(f'file:sub/{name}')}]}}\n"
        )
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
    assert chromium.evaluate("document.querySelectorAll('iframe, img, base, object, embed, form').length") == 0
    assert chromium.evaluate("document.querySelectorAll('style').length") == 1
    assert chromium.evaluate("[...document.scripts].map(script => script.textContent)") == [OWN_SCRIPT]
    handlers = "[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => a.name.startsWith('on')))"
    assert chromium.evaluate(handlers) is False
    # Nor does what the page's own script does with it: it looks at every text, and moves every row.
    for each in HOSTILE:
        field = "document.querySelector('#find')"
        chromium.evaluate(f"{field}.value = {json.dumps(each)}; {field}.dispatchEvent(new Event('input'))")
    chromium.evaluate("document.querySelectorAll('thead button').forEach(button => button.click())")
    chromium.evaluate("new Promise(done => setTimeout(done, 300))")
    assert chromium.evaluate("document.title").startswith("Models of <img")
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


def test_the_script_can_not_make_markup_of_text(chromium, report):
    chromium.open(report)
    for made in (
        "document.body.innerHTML = 'x'",
        "document.write('x')",
        "document.body.insertAdjacentHTML('beforeend', 'x')",
    ):
        refused = f"(() => {{ try {{ {made}; return 'done' }} catch (error) {{ return error.name }} }})()"
        assert chromium.evaluate(refused) == "TypeError", made


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


@pytest.mark.parametrize("width", [320, 360, 768, 1000, 1440])
def test_it_fits_the_screen(chromium, report, hostile, width):
    for path in (report, hostile):
        chromium.look(width)
        chromium.open(path, scripts=False)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        # A name in the picture is cut off at the edge of its box.
        seen = "[...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.map svg'))"
        beyond = f"{seen}.filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
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
    closed = "[...document.querySelectorAll('details:not([open]) dd')]"
    assert chromium.evaluate(f"{closed}.length") > 20
    seen = f"{closed}.filter(e => e.checkVisibility({{contentVisibilityAuto: true}}) && e.getBoundingClientRect().height).length"
    assert chromium.evaluate(seen) == chromium.evaluate(f"{closed}.length")
    chromium.look()
    assert chromium.evaluate(seen) == 0  # on the screen they are closed


@pytest.mark.parametrize("width", [360, 1280])
def test_who_does_not_see_it_is_told(chromium, report, width):
    chromium.look(width)
    chromium.open(report, scripts=False)
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    told = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    roles = [role for role, _ in told]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    assert {("region", name) for name in ("Disk use", "All models")} <= set(told)
    assert ("link", "3 Failed") in told
    assert ("table", "All models") in told
    heads = [name for role, name in told if role == "columnheader"]
    assert heads == ["Model", "State", "Type", "Size", "Digest", "Verified", "Handoff", "Details"]
    assert roles.count("rowheader") == 7
    assert roles.count("row") == 8
    assert roles.count("cell") == 7 * 7
    for name in ("Details of good", "Details of broken the file ends inside the version"):
        assert [told_name for _, told_name in told if told_name == name], name
    (picture,) = [n for n in nodes if not n["ignored"] and n["role"]["value"] in {"img", "image"}]
    assert picture["name"]["value"].startswith("Disk use by model A box for each model")
    levels = [
        next(p["value"]["value"] for p in n["properties"] if p["name"] == "level")
        for n in nodes
        if not n["ignored"] and n["role"]["value"] == "heading"
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_what_is_not_pinned_is_not_green(chromium, tmp_path):
    write(tmp_path / "page.html", a_model("pinned"), a_model("free", 1, expected=None))
    chromium.look()
    chromium.open(tmp_path / "page.html")
    for where in ("tbody .{} td b", ".tiles .{} a", ".map .{} rect", "figcaption .{} rect"):
        colours = [
            chromium.evaluate(
                f"(s => [s.color, s.backgroundColor, s.fill])(getComputedStyle(document.querySelector('{where.format(key)}')))"
            )
            for key in ("verified", "unpinned")
        ]
        assert colours[0] != colours[1], where
    assert chromium.evaluate("document.querySelector('.unpinned td b').textContent") == "Verified, not pinned"


@pytest.mark.parametrize("failed", [0, 6, 60])
def test_sixty_models_are_five_screens(chromium, tmp_path, failed):
    found = [a_failed_model(f"model-{n:02}-Q4_K_M", n) for n in range(failed)]
    found += [a_model(f"model-{n:02}-Q4_K_M", n) for n in range(failed, 60)]
    write(tmp_path / "page.html", *found)
    chromium.look(1440)
    chromium.open(tmp_path / "page.html")
    assert chromium.evaluate("document.documentElement.scrollHeight") <= 5 * 900
    first = "document.querySelector('tbody tr').getBoundingClientRect()"
    assert chromium.evaluate(f"{first}.bottom") < 900
    assert chromium.evaluate("document.querySelectorAll('.chain').length") == failed  # none of what is in order


def test_ten_thousand_models_are_a_page_that_opens(chromium, tmp_path):
    path = tmp_path / "many.html"
    size = write(path, *(a_model(f"model-{number:05}", number) for number in range(10_000)))
    assert size < 9_000_000
    chromium.look()
    chromium.open(path)
    assert chromium.evaluate("document.querySelectorAll('tbody tr').length") == 10_000
    assert chromium.evaluate("document.querySelectorAll('.map svg').length") == 31
    assert chromium.evaluate("document.querySelectorAll('.uses li').length") == 30
    assert "<title>9,970 others: 59.7 MB</title>" in path.read_text()
    # What is far below is not laid out before somebody goes there; who does finds it.
    last = "document.querySelector('tbody tr:last-child')"
    assert chromium.evaluate(f"{last}.firstChild.checkVisibility({{contentVisibilityAuto: true}})") is False
    chromium.evaluate(f"{last}.scrollIntoView({{behavior: 'instant'}})")
    chromium.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert chromium.evaluate(f"{last}.firstChild.checkVisibility({{contentVisibilityAuto: true}})") is True
    assert chromium.evaluate(f"{last}.getBoundingClientRect().height") > 20


def write(path, *models):
    """Write the page of these models; return its size in bytes."""
    return path.write_bytes(page(a_report(*models)).encode())

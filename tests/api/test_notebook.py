"""The cell of the guide in a real kernel of Jupyter: one line that moves while a model comes, and no line for each event."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.hub import slow
from tests.support.remote import TINY_BYTES

PAGE = Path(__file__).parents[2] / "docs/guides/python.md"


def cell():
    """Return the guide's cell, for the Hub on this machine."""
    page = PAGE.read_text(encoding="utf-8").partition("## A notebook cell with progress\n")[2]
    text = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    text = re.sub(r'"hf:[^"]+"', '"hf:org/tiny/tiny.gguf"', text)
    return nbformat.v4.new_code_cell(text.replace('"huggingface"', '"127.0.0.1"'))


@pytest.mark.slow
def test_a_cell_shows_one_line_that_moves_then_the_path_and_the_next_time_the_path_alone(project, hub, tmp_path):
    hub.add("org/tiny", {"tiny.gguf": TINY_BYTES})
    hub.fault(slow(60_000), on="*/resolve/*")
    notebook = nbformat.v4.new_notebook(cells=[cell(), cell()])
    environ = {
        **project.surroundings(),
        **hub.environ(tmp_path / "hf"),
        "MODEL_PROVISIONER_CACHE_DIR": str(tmp_path / "cache"),
    }
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(project.root)}})
    client.execute(env=environ)
    first, second = ([output for output in each.outputs] for each in notebook.cells)
    shown = "".join(output.text for output in first if output.output_type == "stream")
    assert re.search(r"fetching: +\d\d%\|", shown), shown
    assert shown.count("\n") <= 1, shown
    for outputs in (first, second):
        (path,) = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
        assert "tiny.gguf" in path
    assert len(second) == 1

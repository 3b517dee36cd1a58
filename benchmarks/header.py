"""The header of a GGUF file with the vocabulary of a large model."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from limits import inside
from measure import Comparison
from peers import GGUF

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEW = 10
WRITE = """
import sys
from gguf import GGUFWriter
path, count = sys.argv[1], int(sys.argv[2])
writer = GGUFWriter(path, "qwen2")
writer.add_context_length(32768)
writer.add_tokenizer_model("gpt2")
writer.add_token_list([f"token{number}" for number in range(count)])
writer.add_token_types([1] * count)
writer.add_token_merges([f"t{number} oken{number}" for number in range(count)])
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.close()
"""
"""Done by another process: the package and its lists take much memory, see `measure.run`."""


def header(folder: Path, tokens: int) -> Iterator[Comparison]:
    """Compare with the reader of the package that also writes the file."""
    large, small = folder / "large.gguf", folder / "small.gguf"

    def prepare() -> None:
        folder.mkdir()
        for path, count in ((large, tokens), (small, FEW)):
            subprocess.run([sys.executable, "-c", WRITE, path, str(count)], check=True)

    def more_memory() -> str:
        more = inside("header", large) - inside("header", small)
        return f"{more.memory / 1e6:.1f} MB more than for {FEW} tokens"

    yield Comparison(
        what=f"header of a GGUF file of {tokens:,} tokens",
        against="`gguf.GGUFReader`",
        reach="≤ 0.01, < 10 MB more",
        prepare=(prepare,),
        ours=lambda: inside("header", large),
        theirs=lambda: inside("gguf", large),
        notes=lambda _: more_memory(),
        needs=(GGUF,),
    )

"""Fetch a model from a Hugging Face Hub that runs on this machine, lock it, and see what the Hub was asked.

python scripts/try_hub.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.hub import Hub  # noqa: E402  the Hub of the tests

CONFIG = """\
cache_dir: ../cache
network:
  allow: ["127.0.0.1"]
models:
  tiny:
    model_ref: "hf:test/tiny-llama/tiny-llama.gguf"
"""


def main() -> None:
    """Run the commands that a user would, and print what they print."""
    with tempfile.TemporaryDirectory() as name, Hub() as hub:
        folder = Path(name)
        hub.add("test/tiny-llama", {"tiny-llama.gguf": (ROOT / "models/tiny-llama.gguf").read_bytes()})
        project = folder / "project"
        project.mkdir()
        (project / "models.yaml").write_text(CONFIG)
        environ = {**os.environ, **hub.environ(folder), "MODEL_PROVISIONER_STATE_DIR": str(folder / "state")}
        for command in ("provision", "provision", "model-lock", "provision --locked --offline"):
            print(f"$ doit {command}", flush=True)
            subprocess.run([sys.executable, "-m", "doit", *command.split()], cwd=project, env=environ, check=True)
            print(f"  (requests to the Hub so far: {len(hub.requests)})", flush=True)


if __name__ == "__main__":
    main()

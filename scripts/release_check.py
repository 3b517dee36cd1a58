"""What a release has to be: it builds, and installs as users install it, on each Python that is here.

    python scripts/release_check.py [FOLDER]

builds wheel and source archive into FOLDER (`dist`), has twine check them, and then, away from this checkout and without an
extra, installs both into an environment of each Python that is found (on PATH, and pyenv's), and the wheel with pipx,
`uv tool install` and `uvx`. Each installation provisions the shipped model twice, by both names of the program, and is asked
for an `hf:` model; what its message says is done, word for word, and brings the extra. Exit code 1 where anything is not so.

It gets build, twine, pipx, uv and all that the package needs from the index that pip is set to.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OPTIONAL = ("botocore", "huggingface_hub", "model_signing", "securesystemslib", "sigstore")
NEEDS_HF = "network: {allow: ['127.0.0.1']}\nmodels: {m: {model_ref: 'hf:org/repo/m.gguf', handoff: h.json}}\n"


class Check:
    """A folder of its own for all that is installed, with nothing of this user's environment."""

    def __init__(self, folder: Path, dist: Path) -> None:
        self.folder, self.dist = folder, dist
        kept = {"PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
        of_index = ("PIP_", "UV_", "HTTP", "http", "NO_PROXY", "no_proxy")
        self.environ = {name: text for name, text in os.environ.items() if name in kept or name.startswith(of_index)}
        self.environ |= {"HOME": str(folder / "home"), "PIPX_HOME": str(folder / "pipx"), "NO_COLOR": "1"}
        self.environ |= {"UV_PYTHON_DOWNLOADS": "never", "MODEL_PROVISIONER_STATE_DIR": str(folder / "state")}
        self.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is asked: the extra is missed before
        tools = folder / "tools"
        self.run(sys.executable, "-m", "venv", tools)
        self.run(tools / "bin/pip", "install", "-q", "build", "twine", "pipx", "uv")
        self.environ["PATH"] = f"{tools / 'bin'}:{folder / 'home/.local/bin'}:{self.environ['PATH']}"

    def run(self, *words: object, code: int | None = 0, cwd: Path | None = None) -> str:
        """Run a command; return what it prints. Ends the check where it does not end as it should."""
        command = list(map(str, words))
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        if code is not None and done.returncode != code:
            sys.exit(f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}exit code {done.returncode}, not {code}")
        return done.stdout + done.stderr

    def build(self) -> tuple[Path, Path]:
        """Build both and have them checked; return wheel and source archive."""
        for old in self.dist.glob("model_provisioner-*"):
            old.unlink()
        self.run("pyproject-build", "--outdir", self.dist, ROOT)
        (wheel,), (archive,) = self.dist.glob("*.whl"), self.dist.glob("*.tar.gz")
        self.run("twine", "check", "--strict", wheel, archive)
        return wheel, archive

    def works(self, title: str, program: tuple[object, ...], python: Path | None) -> None:
        """Provision the shipped model in a new project with an installation; then add an extra as it says."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for name in ("models", "models.yaml", "dodo.py"):
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
        os.utime(folder / "models/tiny-llama.gguf", (1e9, 1e9))
        version = self.run(*program, "--version").split()[-1]
        self.expect(version in self.dist_version, title, version)
        first = self.run(*program, "provision", cwd=folder)
        self.expect("1 model: 1 done" in first, title, first)
        self.expect((folder / ".runtime/engines/llamacpp.json").exists(), title, "no handoff")
        again = self.run(*program, "provision", cwd=folder)
        self.expect("1 model: 1 current" in again or "confirmed by xxh3" in again, title, again)
        self.run(*program, "report", "-o", "report.html", cwd=folder)  # which reads files of the package
        if python is not None:
            by_doit = self.run(python, "-m", "doit", "provision", cwd=folder)
            self.expect("FAIL" not in by_doit and "1 model: 1 " in by_doit, title, by_doit)
            found = self.run(
                python, "-c", f"import importlib.util as u; print([n for n in {OPTIONAL} if u.find_spec(n)])"
            )
            self.expect(found == "[]\n", title, f"installed without an extra: {found}")
        self._extra(title, program, python, folder)
        print(f"ok  {title}", flush=True)

    def _extra(self, title: str, program: tuple[object, ...], python: Path | None, folder: Path) -> None:
        (folder / "models.yaml").write_text(NEEDS_HF)
        told = self.run(*program, "provision", code=1, cwd=folder)
        advice = re.search(r"^ *fix +(.+?); or download", told, re.MULTILINE)
        self.expect(advice is not None, title, told)
        command = advice[1] if advice else ""
        if command.endswith(" …"):
            self.run("sh", "-c", command.replace("model-provisioner …", "python -c 'import huggingface_hub'"))
        else:
            self.run("sh", "-c", command)
            self.run(python, "-c", "import huggingface_hub")
        print(f"    {command}")

    @property
    def dist_version(self) -> str:
        return next(self.dist.glob("*.whl")).name.split("-")[1]

    @staticmethod
    def expect(right: bool, title: str, found: str) -> None:
        if not right:
            sys.exit(f"{title}: {found}")


def pythons() -> dict[str, Path]:
    """Return each Python that is here, by its version of two numbers."""
    found = {}
    for version in PYTHONS:
        places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        for place in filter(None, places):
            asked = [place, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
            answer = subprocess.run(asked, capture_output=True, text=True, check=False)
            if answer.stdout.strip() == version:
                found[version] = Path(place)
    return found


def main() -> None:
    """Check it all."""
    dist = Path(sys.argv[1] if sys.argv[1:] else ROOT / "dist").resolve()
    here = pythons()
    with tempfile.TemporaryDirectory() as name:
        check = Check(Path(name), dist)
        wheel, archive = check.build()
        print(f"ok  {wheel.name} and {archive.name} build, and twine finds no fault", flush=True)
        for version, python in here.items():
            for number, each in enumerate((wheel, archive)):
                place = check.folder / f"{version}-{number}"
                check.run(python, "-m", "venv", place)
                check.run(place / "bin/pip", "install", "-q", each)
                check.works(
                    f"{each.name} by pip, Python {version}", (place / "bin/model-provisioner",), place / "bin/python"
                )
            place = check.folder / f"{version}-uv"
            check.run("uv", "venv", "-q", "--python", python, place)
            check.run("uv", "pip", "install", "-q", "--python", place, wheel)
            check.works(
                f"by uv pip, Python {version}", (place / "bin/python", "-m", "model_provisioner"), place / "bin/python"
            )
        check.run("pipx", "install", wheel)
        check.works("by pipx", ("model-provisioner",), check.folder / "pipx/venvs/model-provisioner/bin/python")
        check.run("pipx", "uninstall", "model-provisioner")
        check.run("uv", "tool", "install", wheel)
        tool = check.folder / "home/.local/share/uv/tools/model-provisioner/bin/python"
        check.works("by uv tool install", ("model-provisioner",), tool)
        check.run("uv", "tool", "uninstall", "model-provisioner")
        check.works("by uvx", ("uvx", "-q", "--from", wheel, "model-provisioner"), None)
    for version in PYTHONS:
        if version not in here:
            print(f"--  Python {version} is not here: not tried")


if __name__ == "__main__":
    main()

"""The types of the API, as the checker of somebody's own program sees the installed package."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio
from pathlib import Path
from typing import assert_never, assert_type

import model_provisioner as m
from model_provisioner import Digest, DigestMismatchError, ModelProvisioner, ModelRef, ProvisionError


def show(event: m.Event) -> None:
    match event:
        case m.ReadingBegins(model, size):
            assert_type(size, int)
        case m.WorkBegins(models, size):
            assert_type(models, int)
        case m.ModelEnded(model):
            assert_type(model, str)
        case m.BytesRead(count, model):
            assert_type(count, int)
        case m.FetchBegins(model, expected, source):
            assert_type(expected, int | None)
            assert_type(source, str)
        case m.FetchReached(model, done, whole, by_another_run):
            assert_type(by_another_run, bool)
        case m.FetchWaits(model, seconds, why):
            assert_type(seconds, float)
        case m.LockWaits(path, holder):
            assert_type(None if holder is None else holder.pid, int | None)
        case m.MirrorFails(mirror, why):
            assert_type(mirror, str)
            assert_type(why, str)
        case m.FetchEnded(model):
            assert_type(model, str)
        case _:
            assert_never(event)


def one() -> m.ResolvedModel:
    refs: list[ModelRef] = [
        ModelRef.parse("hf:org/repo"),
        ModelRef.local(Path("model.gguf")),
        ModelRef.hugging_face("org", "repo", path="model.gguf", revision="main"),
    ]
    with ModelProvisioner() as provisioner:
        provisioner.ensure_present("model.gguf")
        provisioner.ensure_present(Path("model.gguf"), digest="sha256:" + "0" * 64)
        provisioner.ensure_present(refs[0], digest=Digest.parse("sha256:" + "0" * 64), allow=("huggingface",), progress=show)
        provisioner.ensure_present(refs[1], digest=m.SetDigest(()), allow={"huggingface"}, progress=print)
        provisioner.ensure_present_with_digest("model.gguf", Digest("sha256", "0" * 64))
        provisioner.register_model("hf:org/repo", Path("model.gguf"), None)
        assert_type(provisioner.exists("hf:org/repo"), bool)
        assert_type(provisioner.locate(refs[2]), Path | None)
    found = m.ensure_present("model.gguf", allow=["huggingface"], progress=show)
    assert_type(found.id, str)
    assert_type(found.local_path, Path)
    assert_type(found.digest.value, str)
    assert_type(found.size, int)
    print(found.outcome.upper())
    return found


async def in_a_thread() -> m.ResolvedModel:
    return await asyncio.to_thread(m.ensure_present, "model.gguf", allow=["huggingface"])


def many() -> None:
    result = m.provision(Path("models.yaml"), ["a"], cache_dir="cache", offline=True, locked=True, progress=show)
    result = m.provision("models.yaml", require_digest=True, full=True)
    for model in result:
        assert_type(model, m.ModelResult)
        assert_type(model.path, Path | None)
        assert_type(model.handoff, Path | None)
        assert_type(model.error, ProvisionError | None)
        if model.digest is not None and model.state == "Active" and model.outcome != "fail" and model.how == "hashed":
            print(model.name, model.id, model.digest.value, model.size)
    assert_type(result, m.ProvisionResult)
    assert_type(result["a"].ok, bool)
    assert_type(result.ok, bool)
    assert_type(result.removed, tuple[Path, ...])
    assert_type(len(result), int)
    try:
        result.raise_for_failures()
    except m.FailedModelsError as failed:
        assert_type(failed.failures, dict[str, ProvisionError])
    m.provision_from_config_to_default_handoff("model.yaml")
    assert_type(m.provision_from_config_to_handoff(Path("model.yaml"), "handoff.json", Path("cache")), m.ResolvedModel)


def errors() -> None:
    try:
        one()
    except DigestMismatchError as error:
        assert_type((error.wanted, error.actual, error.path), tuple[str, str, str])
    except m.FetchError as error:
        assert_type(error.status, int | None)
    except m.ConfigError as error:
        assert_type(error.faults, tuple[m.InputError, ...])
    except ProvisionError as error:
        assert_type((error.what, error.where, error.expected, error.found, error.fix), tuple[str, str, str, str, str])
        raise SystemExit(error.exit_code) from error


print(m.__version__.split("."))
"""


@pytest.fixture
def mypy(tmp_path):
    def check(text: str) -> tuple[int, str]:
        (tmp_path / "program.py").write_text(text)
        command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "program.py"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return run.returncode, run.stdout + run.stderr

    return check


@pytest.mark.slow
def test_a_program_that_uses_all_of_it_passes_mypy_strict(mypy):
    assert mypy(SCRIPT) == (0, "Success: no issues found in 1 source file\n")
    unused = [name for name in public_names() if f"m.{name}" not in SCRIPT and f" {name}" not in SCRIPT]
    assert unused == ["Catalog", "Progress"]


def public_names() -> list[str]:
    import model_provisioner

    return [name for name in model_provisioner.__all__ if not name.endswith("Error")]


WRONG = {
    "m.ensure_present(5)": '"ensure_present" has incompatible type "int"',
    "m.ensure_present('x', digest=b'')": 'incompatible type "bytes"',
    "m.ensure_present('x').local_pth": '"ResolvedModel" has no attribute "local_pth"',
    "m.provision('x', offline='yes')": 'incompatible type "str"; expected "bool"',
    "m.provision('x')['a'].path.name": 'Item "None" of "Path | None" has no attribute "name"',
}


@pytest.mark.slow
def test_a_program_that_uses_it_wrongly_does_not(mypy):
    code, said = mypy("import model_provisioner as m\n" + "\n".join(WRONG))
    assert code == 1
    for number, (call, expected) in enumerate(WRONG.items(), start=2):
        assert any(line.startswith(f"program.py:{number}:") and expected in line for line in said.splitlines()), (
            call,
            said,
        )


def test_the_package_says_that_it_has_types():
    import model_provisioner

    assert (Path(model_provisioner.__file__).parent / "py.typed").exists()

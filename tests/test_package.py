"""The package: its names, what it costs to import, its errors."""

import inspect
import pickle
from typing import get_args

import pytest

import model_provisioner
from model_provisioner import DigestMismatchError, FailedModelsError, ModelNotFoundError, ProvisionError, errors
from model_provisioner.version import __version__


def test_importing_the_package_imports_next_to_nothing(run_python):
    found = run_python(
        "import sys; before = set(sys.modules); import model_provisioner; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert [name for name in found if name.startswith("model_provisioner")] == ["model_provisioner"]
    assert not {"doit", "pydantic", "yaml", "sqlite3", "xxhash", "hashlib", "json", "tqdm"} & set(found)


def test_public_names():
    for name in model_provisioner.__all__:
        value = getattr(model_provisioner, name)
        assert name in ("Event", "Progress", "__version__") or value.__name__ == name
    assert model_provisioner.__version__ == __version__
    assert set(model_provisioner.__all__) <= set(dir(model_provisioner))
    with pytest.raises(AttributeError, match="module 'model_provisioner' has no attribute 'Nonsense'"):
        _ = model_provisioner.Nonsense


def test_errors_cross_processes():
    error = DigestMismatchError("/x", "sha256:0", "sha256:1", detail="a differs")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path, again.exit_code) == (DigestMismatchError, str(error), "/x", 1)


def test_every_error_that_can_be_met_is_a_public_name():
    kinds = {name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, ProvisionError)}
    assert kinds - set(model_provisioner.__all__) == set()


def test_every_event_that_may_be_told_is_a_public_name():
    assert {kind.__name__ for kind in get_args(model_provisioner.Event)} <= set(model_provisioner.__all__)


def test_the_error_of_several_models_shows_each():
    lost = ModelNotFoundError("there is no such file or folder", where="/a")
    error = FailedModelsError({"a": lost}, [], 2)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "1 of 2 models failed\n\na: there is no such file or folder\n  where     /a"
    assert isinstance(again.failures["a"], ModelNotFoundError)

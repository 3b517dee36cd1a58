import pytest

from tests.support.fixtures import hub, hurried, remote, tiny, trusted, web  # noqa: F401
from tests.support.gguf_bytes import gguf, text
from tests.support.project import DODO, settle

PROJECTOR = gguf({"general.architecture": text("clip"), "general.type": text("mmproj")}, [])


@pytest.fixture
def local(project):
    """A project of one model with a projector, neither of which anybody pins."""
    project.write("dodo.py", DODO)
    project.add_tiny()
    project.write("models/see.gguf", PROJECTOR)
    project.models("models: {t: {model_ref: models/tiny.gguf, mmproj: models/see.gguf}}")
    settle()
    return project

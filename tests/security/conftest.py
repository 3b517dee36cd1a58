import pytest

from tests.support.fixtures import hub, trusted  # noqa: F401
from tests.support.victim import Victim


@pytest.fixture
def victim(tmp_path):
    """A user who cloned a stranger's project."""
    return Victim.at(tmp_path / "home")

from tests.support.fixtures import hub, hurried, remote  # noqa: F401

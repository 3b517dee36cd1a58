from tests.support.fixtures import hub, remote, tiny, trusted, web  # noqa: F401

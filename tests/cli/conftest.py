from tests.support.fixtures import hub, hurried, remote, tiny, trusted, web  # noqa: F401

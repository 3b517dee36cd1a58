"""How many examples Hypothesis looks at: more at night than in CI, in the same proportion everywhere."""

from hypothesis import settings

DEFAULT = 100
"""What a test without settings of its own looks at, under the profiles of every day."""


def examples(count: int) -> int:
    """Return how many examples stand for `count` of every day under the profile of this run."""
    return max(1, count * settings.default.max_examples // DEFAULT)

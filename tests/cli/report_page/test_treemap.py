"""The treemap: every size has its area, and no tile lies on another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.cli.report_page.treemap import squarify


@given(st.lists(st.integers(1, 10**14), min_size=1, max_size=31).map(lambda sizes: sorted(sizes, reverse=True)))
def test_the_tiles_fill_the_area_each_as_large_as_its_size(sizes):
    tiles = squarify(sizes, 1000, 320)
    assert len(tiles) == len(sizes)
    for size, tile in zip(sizes, tiles, strict=True):
        assert tile.width * tile.height == pytest.approx(320_000 * size / sum(sizes), rel=1e-3, abs=1e-2)
        assert -1e-6 <= tile.x <= tile.x + tile.width <= 1000 + 1e-2
        assert -1e-6 <= tile.y <= tile.y + tile.height <= 320 + 1e-2
    for number, one in enumerate(tiles):
        for other in tiles[number + 1 :]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(across, down) < 1e-3


def test_equal_sizes_become_near_squares():
    assert all(1 / 3 < tile.width / tile.height < 3 for tile in squarify([1] * 12, 1000, 320))


def test_of_nothing_there_is_nothing():
    assert squarify([], 1000, 320) == []

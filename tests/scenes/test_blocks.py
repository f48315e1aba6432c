import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.scenes import blocks
from unclouded.scenes.blocks import block_rows


def test_blocks_cover_the_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    grid = GeoBox((5, 9), Affine(10, 0, 100, 0, -10, 200), 32632)
    seen = [
        (top, left, tuple(part.shape), part.affine.c, part.affine.f)
        for top, row in block_rows(grid)
        for left, part in row
    ]
    assert seen == [
        (0, 0, (4, 4), 100, 200),
        (0, 4, (4, 4), 140, 200),
        (0, 8, (4, 1), 180, 200),
        (4, 0, (1, 4), 100, 160),
        (4, 4, (1, 4), 140, 160),
        (4, 8, (1, 1), 180, 160),
    ]

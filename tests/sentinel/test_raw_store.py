from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.sentinel import raw_store as blocks
from unclouded.sentinel.raw_store import RawBandCache, block_rows


def test_blocks_come_back_as_rows(tmp_path: Path) -> None:
    values = np.arange(2 * 5 * 7, dtype=np.float32).reshape(2, 5, 7)
    store = RawBandCache(tmp_path / "a.raw", values.shape, values.dtype)
    for band in (1, 0):
        store.write(band, 0, 0, values[band, :, :4])
        store.write(band, 3, 4, values[band, 3:, 4:])
        store.write(band, 0, 4, values[band, :3, 4:])
    np.testing.assert_array_equal(store.read(0, 0, 5), values[0])
    np.testing.assert_array_equal(store.read(1, 2, 4), values[1, 2:4])
    assert store.bytes == (tmp_path / "a.raw").stat().st_size == 280
    store.close()
    store.close()


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = RawBandCache(tmp_path / "a.raw", (1, 400, 50), np.dtype(np.uint16))
    rows = np.repeat(np.arange(400, dtype=np.uint16)[:, None], 50, axis=1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda top: store.write(0, top, 0, rows[top : top + 4]), range(0, 400, 4)))
        seen = list(pool.map(lambda top: store.read(0, top, top + 4), range(0, 400, 4)))
    np.testing.assert_array_equal(np.concatenate(seen), rows)
    store.close()


def test_rows_never_written_are_no_rows(tmp_path: Path) -> None:
    store = RawBandCache(tmp_path / "a.raw", (1, 4, 4), np.dtype(np.uint16))
    store.write(0, 0, 0, np.ones((2, 4), np.uint16))
    with pytest.raises(RuntimeError, match="ends before row 3 of band 0"):
        store.read(0, 0, 3)
    store.close()


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

import threading
from concurrent.futures import Future
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.io.rows import Layer, write_cog
from unclouded.prediction.sources import SceneRows, open_sources
from unclouded.prediction.tiling import Window
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.footprints import latitude_deg
from unclouded.sentinel.optical import OpticalSettings
from unclouded.sentinel.radiometry import Radiometry
from unclouded.tensors.observation import Season

GRID = GeoBox.from_bbox((0, 0, 60, 80), "EPSG:32632", resolution=10)  # 8 rows, 6 columns


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Band b holds 100 b + 10 row + column + 1, with an offset of -1 step in B02 alone; VV rises along the rows."""
    rows, columns = np.mgrid[0:8, 0:6]
    optical = np.stack([100 * b + 10 * rows + columns + 1 for b in range(13)]).astype(np.uint16)
    layer = Layer(SENTINEL2.bands, "uint16", 0, scale=1e-4, offsets=(0.0, -1e-4, *[0.0] * 11))
    write_cog(tmp_path / "s2.tif", [(0, optical)], layer, GRID)
    sar = np.stack([-10.0 - rows, np.full((8, 6), -15)]).astype(np.float32)
    write_geotiff(tmp_path / "s1.tif", sar, SENTINEL1.bands, GRID)
    return tmp_path / "s2.tif", tmp_path / "s1.tif"


def test_rows_have_the_requested_bands_each_with_its_own_offset(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_sources(*pair, tmp_path) as sources:
        assert (sources.geobox, sources.shape) == (GRID, (8, 6))
        rows = sources.rows(2, 5, ("B04", "B02")).result()
        every = sources.rows(0, 8, SENTINEL2.bands).result()
    assert (rows.window, rows.radiometry.offsets) == (Window(2, 0, 5, 6), (0, -1))
    assert rows.stored[:, 1, 2].tolist() == [300 + 30 + 2 + 1, 100 + 30 + 2 + 1]
    assert rows.sar[:, 1, 2].tolist() == [-13, -15]
    assert every.stored.shape == (13, 8, 6) and every.stored[12, 7, 5] == 1276


def test_a_window_has_physical_units_and_its_position(pair: tuple[Path, Path], tmp_path: Path) -> None:
    m = np.arange(18, dtype=np.float32).reshape(3, 6) / 18
    with open_sources(*pair, tmp_path) as sources:
        seen = sources.rows(2, 5, ("B04", "B02")).result().observation(Window(3, 1, 5, 4), m)
    assert (seen.bands, seen.origin_px, tuple(seen.cloudy.shape)) == (("B04", "B02"), (3, 1), (1, 2, 2, 3))
    assert seen.cloudy[0, :, 0, 1].tolist() == pytest.approx([0.0333, 0.0132])  # 333, and 133 - 1
    assert seen.sar[0, 0, :, 0].tolist() == [-13, -14]
    assert seen.cloud_map[0, 0].tolist() == m[1:, 1:4].tolist()


def test_a_window_has_the_season_and_the_latitude_of_its_scene(pair: tuple[Path, Path], tmp_path: Path) -> None:
    options = OpticalSettings(date=date(2021, 2, 1))
    with open_sources(*pair, tmp_path, optical=options) as sources:
        seen = sources.rows(2, 5, ("B04",)).result().observation(Window(3, 1, 5, 4), np.zeros((3, 6), np.float32))
        assert seen.seasons == (Season(32, latitude_deg(GRID)),)


def test_pixels_have_data_where_every_band_has() -> None:
    stored = np.full((2, 1, 5), 700, np.uint16)
    stored[0, 0, 1], stored[1, 0, 2], stored[1, 0, 3] = 0, 65_535, 9
    sar = np.full((2, 1, 5), -9, np.float32)
    sar[1, 0, 4] = np.nan
    rows = SceneRows(0, stored, sar, ("B04", "B03"), Radiometry((0, 0), "uint16", nodata=9))
    assert rows.optical.tolist() == [[True, False, False, False, True]]
    assert rows.radar.tolist() == [[True, True, True, True, False]]


def test_both_images_are_read_by_one_thread(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_sources(*pair, tmp_path) as sources:
        readers = {sources._reader.submit(threading.get_ident).result() for _ in range(3)}
        sources.stored(0, 8).result()
    assert len(readers) == 1 and threading.get_ident() not in readers


def test_rows_are_read_after_the_awaited_task_even_if_it_failed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_sources(*pair, tmp_path) as sources:
        writing: Future[None] = Future()
        rows = sources.rows(0, 8, ("B04",), after=writing)
        with pytest.raises(TimeoutError):
            rows.result(timeout=0.05)
        writing.set_exception(OSError("disk full"))
        assert rows.result().stored.shape == (1, 8, 6)


def test_opening_reports_progress_and_an_invalid_second_image_closes_the_first(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    progress: list[tuple[str, int, int]] = []
    with open_sources(*pair, tmp_path, on_progress=lambda *step: progress.append(step)):
        pass
    assert progress == [("opening images", done, 2) for done in range(3)]
    pair[1].write_bytes(b"")
    before = set(threading.enumerate())  # those of other tests may live on
    with pytest.raises(InputError, match=r"s1\.tif is empty"), open_sources(*pair, tmp_path):
        pass
    assert not set(threading.enumerate()) - before

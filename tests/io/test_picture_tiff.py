import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import MachineError
from unclouded.io.picture_tiff import write_picture

GRID = GeoBox((96, 96), Affine(10, 0, 500_000, 0, -10, 5_000_480), "EPSG:32632")


def test_the_first_view_of_a_picture_of_a_tile_is_below_two_megabytes(tmp_path: Path) -> None:
    """A viewer of 1000 px reads the overview of 1373 px of a tile; here as land with speckle of a tenth."""
    rows, columns = np.mgrid[0:1373, 0:1373]
    land = 110 + 60 * np.sin(rows / 23) * np.cos(columns / 31)
    noise = (land * np.random.default_rng(1).normal(1, 0.1, (4, 1373, 1373))).clip(0, 255).astype(np.uint8)
    noise[3] = 255
    write_picture(tmp_path / "a.tif", [(0, noise)], {}, GeoBox((1373, 1373), GRID.affine, GRID.crs))
    # the file, with its own overviews, is larger than what the viewer reads
    assert (tmp_path / "a.tif").stat().st_size < 2_000_000


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_noise_of_the_largest_contrast_is_no_damage(tmp_path: Path, share: float) -> None:
    noise = ((np.random.default_rng(1).random((4, 256, 256)) < share) * 255).astype(np.uint8)
    noise[3] = 255
    write_picture(tmp_path / "a.tif", [(0, noise)], {}, GeoBox((256, 256), GRID.affine, GRID.crs))
    assert (tmp_path / "a.tif").exists()


def test_a_picture_that_does_not_resemble_its_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, white = GeoBox((64, 64), GRID.affine, GRID.crs), np.full((4, 64, 64), 255, np.uint8)
    black = white.copy()
    black[:3, :32] = 0
    write_picture(tmp_path / "black.tif", [(0, black)], {}, grid)
    monkeypatch.setattr("rasterio.shutil.copy", lambda _, target, **__: shutil.copy(tmp_path / "black.tif", target))
    with pytest.raises(MachineError, match="read-back differs"):
        write_picture(tmp_path / "a.tif", [(0, white)], {}, grid)
    assert [one.name for one in tmp_path.iterdir()] == ["black.tif"]

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.experiments.mosaics import choose_regions, figure_4
from unclouded.geotiff import write_geotiff
from unclouded.patches.identity import Roi
from unclouded.patches.mosaic import RegionFiles
from unclouded.sensors import SENTINEL2


def region(season: str, number: int, patches: int) -> RegionFiles:
    return RegionFiles(Roi("ROIs1158", season, number), tuple(Path(f"{i}.tif") for i in range(patches)))


def test_the_largest_region_of_each_season_is_shown() -> None:
    held = [region("spring", 1, 2), region("spring", 2, 5), region("winter", 3, 1)]
    assert [one.roi.number for one in choose_regions(held, None)] == [2, 3]
    assert [one.roi.number for one in choose_regions(held, ["ROIs1158_spring_1"])] == [1]


def test_a_region_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="ROIs1158_spring_106 is no region of this data set"):
        choose_regions([region("spring", 1, 2)], ["ROIs1158_spring_106"])


def test_a_region_is_drawn_with_what_there_is_of_it(tmp_path: Path) -> None:
    paths = []
    for index, (row, column) in enumerate(((0, 0), (1, 2))):
        grid = GeoBox((16, 16), Affine(10, 0, 5e5 + 160 * column, 0, -10, 5e6 - 160 * row), "EPSG:32632")
        paths.append(tmp_path / f"{index}.tif")
        write_geotiff(paths[-1], np.full((13, 16, 16), 600, np.uint16), SENTINEL2.bands, grid)
    held = RegionFiles(Roi("ROIs1158", "spring", 7), tuple(paths))
    figure_4(tmp_path / "4.png", [held, held])
    picture = matplotlib.image.imread(tmp_path / "4.png")[..., :3]
    assert picture.shape[1] == 1980  # two regions of 3.3 inch
    grey = np.abs(picture - 0.85).max(axis=2) < 0.01
    dark = np.abs(picture - 0.2).max(axis=2) < 0.01  # 0.06 of 0.3
    assert grey.sum() == pytest.approx(2 * dark.sum(), rel=0.05)  # 2 of 6 places have a patch

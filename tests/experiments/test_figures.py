from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.experiments.figures import figure_6, figure_7
from unclouded.geotiff import write_geotiff
from unclouded.patches.layouts import TripletFiles
from unclouded.sensors import SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)


@pytest.fixture
def files(tmp_path: Path) -> TripletFiles:
    for name, value in (("clear", 1000), ("cloudy", 5000)):
        write_geotiff(tmp_path / f"{name}.tif", np.full((13, 64, 64), value, np.uint16), SENTINEL2.bands, GRID)
    return TripletFiles("place", None, tmp_path / "no.tif", tmp_path / "cloudy.tif", tmp_path / "clear.tif")


def test_figure_6_has_six_rows_of_square_panels(files: TripletFiles, tmp_path: Path) -> None:
    figure_6(tmp_path / "6.png", [files, files], None)
    height, width = matplotlib.image.imread(tmp_path / "6.png").shape[:2]
    assert height / width > 2


def test_figure_6_needs_clear_images(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place has no clear image"):
        figure_6(tmp_path / "6.png", [TripletFiles("place", None, files.sar, files.cloudy, None)], None)


def test_figure_7_shows_images_above_their_maps(files: TripletFiles, tmp_path: Path) -> None:
    figure_7(tmp_path / "7.png", [files.cloudy] * 3, None, columns=2)
    height, width = matplotlib.image.imread(tmp_path / "7.png").shape[:2]
    assert height / width == pytest.approx(2 * 4.1 / (2 * 1.9), rel=0.01)  # three pairs in two columns are two rows

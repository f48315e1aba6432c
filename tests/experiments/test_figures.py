from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.experiments.figures import figure_1, figure_6, figure_7, figure_9
from unclouded.geotiff import write_geotiff
from unclouded.models.baselines import baseline
from unclouded.patches.layouts import TripletFiles
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)


@pytest.fixture
def files(tmp_path: Path) -> TripletFiles:
    for name, value in (("clear", 1000), ("cloudy", 5000)):
        write_geotiff(tmp_path / f"{name}.tif", np.full((13, 64, 64), value, np.uint16), SENTINEL2.bands, GRID)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 64, 64), -9, np.float32), SENTINEL1.bands, GRID)
    return TripletFiles("place", None, tmp_path / "s1.tif", tmp_path / "cloudy.tif", tmp_path / "clear.tif")


def shape(path: Path) -> tuple[int, ...]:
    return matplotlib.image.imread(path).shape[:2]


def test_figure_1_has_a_row_for_each_remover(files: TripletFiles, tmp_path: Path) -> None:
    one, two = {"nothing": baseline("cloudy")}, {"a": baseline("cloudy"), "b": baseline("clear-mean")}
    figure_1(tmp_path / "1.png", [files, files], one, None)
    figure_1(tmp_path / "2.png", [files, files], two, None)
    assert shape(tmp_path / "2.png")[0] - shape(tmp_path / "1.png")[0] == 510  # 1.7 inch at 300 dots


def test_figure_1_needs_a_prediction(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one or more --remover"):
        figure_1(tmp_path / "1.png", [files], {}, None)


def test_figure_6_has_six_rows_of_square_panels(files: TripletFiles, tmp_path: Path) -> None:
    figure_6(tmp_path / "6.png", [files, files], None)
    height, width = shape(tmp_path / "6.png")
    assert height / width > 2


def test_figure_6_needs_clear_images(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place has no clear image"):
        figure_6(tmp_path / "6.png", [TripletFiles("place", None, files.sar, files.cloudy, None)], None)


def test_figure_7_shows_images_above_their_maps(files: TripletFiles, tmp_path: Path) -> None:
    figure_7(tmp_path / "7.png", [files.cloudy] * 3, None, columns=2)
    height, width = shape(tmp_path / "7.png")
    assert height / width == pytest.approx(2 * 4.1 / (2 * 1.9), rel=0.01)  # three pairs in two columns are two rows


def test_figure_9_shows_the_worst_only(files: TripletFiles, tmp_path: Path) -> None:
    write_geotiff(tmp_path / "bright.tif", np.full((13, 64, 64), 9900, np.uint16), SENTINEL2.bands, GRID)
    worse = TripletFiles("worse", None, files.sar, files.cloudy, tmp_path / "bright.tif")
    figure_9(tmp_path / "both.svg", [files, worse], baseline("cloudy"), None, count=2)
    figure_9(tmp_path / "9.svg", [files, worse], baseline("cloudy"), None, count=1)
    both, one = ((tmp_path / name).read_text() for name in ("both.svg", "9.svg"))
    assert "place" in both and "worse" in both
    assert "MAE 0.490" in one and "place" not in one  # 0.99 - 0.5, where the other one is 0.5 - 0.1

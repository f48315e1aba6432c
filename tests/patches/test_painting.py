from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import COPY, PERLIN
from unclouded.errors import InputError
from unclouded.geotiff import read_stored, write_geotiff
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.painting import paint_triplet
from unclouded.sensors import SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)


@pytest.fixture
def files(tmp_path: Path) -> TripletFiles:
    """Clear 0.1, cloudy 0.5, everywhere."""
    for name, value in (("clear", 1000), ("cloudy", 5000)):
        write_geotiff(tmp_path / f"{name}.tif", np.full((13, 64, 64), value, np.uint16), SENTINEL2.bands, GRID)
    return TripletFiles("place", None, tmp_path / "no.tif", tmp_path / "cloudy.tif", tmp_path / "clear.tif")


def test_perlin_is_a_mixture_of_clear_and_white_in_every_band(files: TripletFiles, tmp_path: Path) -> None:
    paint_triplet(files, tmp_path, PERLIN, CloudMapSettings(), None)
    stored = read_stored(tmp_path / "s2_cloudy" / "place.tif").values
    m = read_stored(tmp_path / "cloud_map" / "place.tif").values[0]
    assert np.abs(stored - np.rint((1 - m) * 1000 + m * 10_000)).max() <= 1
    assert np.array_equal(stored[0], stored[12])


def test_copy_with_a_map_of_ones_is_the_cloudy_image(files: TripletFiles, tmp_path: Path) -> None:
    paint_triplet(files, tmp_path, COPY, CloudMapSettings(mode="ones"), None)
    assert np.unique(read_stored(tmp_path / "s2_cloudy" / "place.tif").values).tolist() == [5000]


def test_a_place_without_clear_image_is_refused(files: TripletFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="place has no clear image to paint on"):
        paint_triplet(
            TripletFiles("place", None, files.sar, files.cloudy, None), tmp_path, PERLIN, CloudMapSettings(), None
        )

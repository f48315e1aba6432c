from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer

from products.radar_product import RadarGeometry, RadarProduct, write_radar_product

NUMBERS = {"VV": np.full((60, 80), 300, np.uint16), "VH": np.full((60, 80), 100, np.uint16)}


def test_names_are_those_of_copernicus(tmp_path: Path) -> None:
    folder = write_radar_product(tmp_path, NUMBERS, RadarProduct())
    stem = "20210907t170650-20210907t170650-039571-04ac9a"
    assert folder.name == "S1A_IW_GRDH_1SDV_20210907T170650_20210907T170650_039571_04AC9A_3768.SAFE"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for band, number in (("vv", "001"), ("vh", "002")):
        one = f"s1a-iw-grd-{band}-{stem}-{number}"
        names -= {f"annotation/{one}.xml", f"measurement/{one}.tiff"}
        names -= {f"annotation/calibration/{kind}-{one}.xml" for kind in ("calibration", "noise")}
    assert names == {"manifest.safe"}


def test_measurements_have_control_points(tmp_path: Path) -> None:
    folder = write_radar_product(tmp_path, NUMBERS, RadarProduct())
    (path,) = folder.glob("measurement/*-vv-*")
    with rasterio.open(path) as file:
        points, crs = file.gcps
        assert (file.read(1) == 300).all() and len(points) == 36 and crs.to_epsg() == 4326
        longitude, latitude = RadarProduct().geometry.place(np.array([points[7].row]), np.array([points[7].col]))
        assert (points[7].x, points[7].y) == (pytest.approx(longitude[0]), pytest.approx(latitude[0]))


def test_xarray_sentinel_reads_it(tmp_path: Path) -> None:
    """An independent reader finds the numbers where Copernicus' products have them."""
    xarray_sentinel = pytest.importorskip("xarray_sentinel.sentinel1")
    folder = write_radar_product(tmp_path, NUMBERS, RadarProduct())
    (calibration,) = folder.glob("annotation/calibration/calibration-*-vv-*")
    table = xarray_sentinel.open_calibration_dataset(calibration).sigmaNought
    assert table.sel(line=40, pixel=40).item() == pytest.approx(RadarProduct().sigma(40, 40))
    (annotation,) = folder.glob("annotation/*-vv-*")
    grid = xarray_sentinel.open_gcp_dataset(annotation)
    assert grid.latitude.shape == (6, 6) and float(grid.height.max()) == 0


TO_ECEF = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


@pytest.mark.parametrize("height_m", [0.0, 500.0])
def test_a_place_has_its_distance_and_no_doppler_shift(height_m: float) -> None:
    geometry = RadarGeometry()
    line, pixel = np.array([0.0, 100.0, 199.0]), np.array([0.0, 239.0, 17.0])
    ground = np.stack(TO_ECEF.transform(*geometry.place(line, pixel, height_m), np.full(3, height_m)), axis=1)
    position, velocity = geometry.satellite(line * geometry.line_s)
    np.testing.assert_allclose(np.linalg.norm(ground - position, axis=1), 850_000 + 5.9 * pixel, atol=0.05)
    np.testing.assert_allclose(((ground - position) * velocity).sum(1) / 7_500, 0, atol=0.05)


def test_lines_go_north_and_pixels_east_by_ten_metres() -> None:
    longitude, latitude = RadarGeometry().place(np.array([0.0, 100.0, 0.0]), np.array([0.0, 0.0, 100.0]))
    assert latitude[1] > latitude[0] and longitude[2] > longitude[0]
    distance = [Geod(ellps="WGS84").inv(longitude[0], latitude[0], longitude[n], latitude[n])[2] for n in (1, 2)]
    assert distance == pytest.approx([1_000, 1_000], rel=0.06)


def test_the_satellite_flies_a_circle() -> None:
    position, velocity = RadarGeometry().satellite(np.array([-50.0, 0.0, 50.0]))
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 7_078_137)
    np.testing.assert_allclose((position * velocity).sum(axis=1), 0, atol=1e-3)

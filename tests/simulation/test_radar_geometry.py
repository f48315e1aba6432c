import numpy as np
import pytest
from pyproj import Geod, Transformer

from unclouded.simulation.radar_geometry import RadarGeometry

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

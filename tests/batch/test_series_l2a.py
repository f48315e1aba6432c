"""Time series of Level-2A products, with radar of one polarisation."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from products.fixtures import RADAR_GRID, RADAR_SHAPE
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from products.radar_product import RadarProduct, write_radar_product

from unclouded.batch.series import predict_series, read_stack
from unclouded.prediction.products import Provenance
from unclouded.sensors import SENTINEL2_L2A
from unclouded.sentinel.radar_delivery import SINGLE
from unclouded.strict_json import read_json_object

SIDE = 120
DAYS = (8, 13, 18)


def bands(cloud: tuple[slice, slice], offset: int) -> dict[str, NDArray[np.generic]]:
    """Stored integers of ground that every date shares, with one cloud, and its classes."""
    found: dict[str, NDArray[np.generic]] = {}
    for number, band in enumerate(SENTINEL2_L2A.bands):
        step = PIXEL_M[band] // 10
        rows, columns = np.mgrid[:SIDE, :SIDE] // 12
        image = 600.0 + 150 * number + 40 * ((rows + 2 * columns + number) % 5)
        image[cloud] = 7000
        means = image.reshape(SIDE // step, step, SIDE // step, step).mean((1, 3))
        found[band] = (means - offset).astype(np.uint16)
    classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    classes[cloud[0].start // 2 : cloud[0].stop // 2, cloud[1].start // 2 : cloud[1].stop // 2] = 9
    return found | {"SCL": classes}


def test_dates_of_level_2a_help_each_other(tmp_path: Path) -> None:
    stack = tmp_path / "stack"
    left, top = int(RADAR_GRID.affine.c), int(RADAR_GRID.affine.f)
    for number, day in enumerate(DAYS):
        cloud = slice(12 + 36 * number, 24 + 36 * number), slice(48, 72)
        product = OpticalProduct(
            level="L2A", acquired=datetime(2021, 9, day, 10, 27, tzinfo=UTC), corner=(left, top), epsg=32632,
            offset=-1000, baseline="05.09",
        )  # fmt: skip
        write_optical_product(stack, bands(cloud, -1000), product)
    line, pixel = np.mgrid[: RADAR_SHAPE[0], : RADAR_SHAPE[1]]
    write_radar_product(stack, {"VV": (150 + line + pixel).astype(np.uint16)}, RadarProduct(mission="S1C"))
    assert [one.is_radar for one in read_stack(stack)] == [True, False, False, False]
    series = predict_series(stack, tmp_path / "out", "reference-copy", references=2)
    assert series.clear.shape == (3, 3, SIDE, SIDE)
    provenance = series.provenance.values
    for number in range(3):
        cloudy = provenance[number, 12 + 36 * number : 24 + 36 * number, 48:72]
        assert (cloudy > Provenance.BLENDED).all()
        assert (provenance[number, :, 100:] == Provenance.OBSERVED).all()
        summary = read_json_object(tmp_path / "out" / f"2021-09-{DAYS[number]:02}" / "summary.json")
        assert summary["scene"]["level"] == "L2A"
        assert summary["settings"]["clouds"]["mode"] == "scl"
        assert summary["radar"]["orbit"] == "ascending"
        assert SINGLE in summary["remarks"]
    first, second = series.clear.values[:2, 2]  # B02; both dates show the same ground
    assert np.abs(first - second)[12:24, 48:72].max() < 0.002

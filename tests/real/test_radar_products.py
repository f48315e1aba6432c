"""Annotations of real Sentinel-1 products: every format of noise, and the tables that calibrate."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.sentinel.calibration import sigma0, to_db
from unclouded.sentinel.footprints import utm_crs
from unclouded.sentinel.geocoding import ElevationModel, GroundControlPositions, TerrainPositions
from unclouded.sentinel.safe import ProductFolder, open_product, require_product
from unclouded.sentinel.sentinel1 import Sentinel1Product, describe_radar_product
from unclouded.sentinel.xml import XmlElement

ZIPS = {
    "2015": "S1A_IW_GRDH_1SDV_20150222T170750_20150222T170815_004739_005DD8_3768.zip",
    "2021": "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255.zip",
    "2026": "S1A_IW_GRDH_1SDV_20260606T181903_20260606T181928_064852_082C02_1C0B.zip",
}


@pytest.fixture(scope="module", params=sorted(ZIPS))
def opened(
    request: pytest.FixtureRequest, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ProductFolder, Sentinel1Product]]:
    """A real product, of which only the measurements are missing."""
    with open_product(
        require_product(samples / "safe" / ZIPS[request.param]), tmp_path_factory.mktemp("work")
    ) as product:
        yield request.param, product, describe_radar_product(product)


def test_the_annotations_of_three_processors_are_read(opened: tuple[str, ProductFolder, Sentinel1Product]) -> None:
    year, _, seen = opened
    processor, shape, blocks = {
        "2015": (2.36, (16_685, 25_368), 0),
        "2021": (3.31, (16_854, 25_931), 3),
        "2026": (4.03, (16_200, 25_195), 10),
    }[year]
    assert (seen.processor, seen.acquired.year) == (processor, int(year))
    assert [channel.shape for channel in seen.channels] == [shape, shape]
    assert [len(channel.noise.blocks) for channel in seen.channels] == [blocks, blocks]
    assert [channel.noise.is_zero for channel in seen.channels] == [year == "2015"] * 2  # it says zero everywhere


def test_a_truth_put_through_the_real_tables_returns_within_a_twentieth_of_a_db(
    opened: tuple[str, ProductFolder, Sentinel1Product],
) -> None:
    """The tables are interpolated here by numpy on their own, from the text of the annotations."""
    _, product, seen = opened
    lines, pixels = slice(700, 760), slice(8_000, 12_000)
    truth_db = np.random.default_rng(1).uniform(-14, 0, (60, 4_000))
    for channel in seen.channels:
        sigma, noise = by_hand(product, channel.polarisation.lower(), lines, pixels)
        numbers = np.rint(np.sqrt(10 ** (truth_db / 10) * sigma**2 + noise)).astype(np.uint16)
        found = to_db(sigma0(channel, numbers, lines, pixels))
        assert np.abs(found - truth_db).max() < 0.05 and abs((found - truth_db).mean()) < 1e-3


def by_hand(
    product: ProductFolder, band: str, lines: slice, pixels: slice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return A and the noise power between the vectors before and after line 700, and around pixel 8,000 to 12,000."""
    folder = product.folder / "annotation" / "calibration"
    texts = {kind: next(folder.glob(f"{kind}-*-{band}-*")).read_text() for kind in ("calibration", "noise")}
    noise_name = "noiseRangeLut" if "noiseRangeLut" in texts["noise"] else "noiseLut"
    sigma = between(texts["calibration"], "sigmaNought", lines, pixels)
    noise = between(texts["noise"], noise_name, lines, pixels)
    pattern = r"<firstAzimuthLine>(.*?)<.*?<firstRangeSample>(.*?)<.*?<lastAzimuthLine>(.*?)<.*?<lastRangeSample>(.*?)<"
    pattern += r'.*?<line count="\d+">(.*?)<.*?<noiseAzimuthLut count="\d+">(.*?)<'
    for first, left, last, right, stations, factors in re.findall(pattern, texts["noise"], re.DOTALL):
        factor = np.interp(
            np.arange(lines.start, lines.stop), np.fromstring(stations, sep=" "), np.fromstring(factors, sep=" ")
        )
        row, column = np.mgrid[lines, pixels]
        inside = (row >= int(first)) & (row <= int(last)) & (column >= int(left)) & (column <= int(right))
        noise = np.where(inside, noise * factor[:, None], noise)
    return sigma, noise


def between(text: str, values: str, lines: slice, pixels: slice) -> NDArray[np.float64]:
    stations = [int(line) for line in re.findall(r"<line>(\d+)</line>", text)]
    places = [np.fromstring(found, sep=" ") for found in re.findall(r'<pixel count="\d+">(.*?)<', text)]
    known = [np.fromstring(found, sep=" ") for found in re.findall(rf'<{values} count="\d+">(.*?)<', text)]
    before = max(index for index, station in enumerate(stations[: len(known)]) if station <= lines.start)
    columns = np.arange(pixels.start, pixels.stop)
    rows = [np.interp(columns, places[index], known[index]) for index in (before, before + 1)]
    part = (np.arange(lines.start, lines.stop) - stations[before]) / (stations[before + 1] - stations[before])
    return rows[0] * (1 - part[:, None]) + rows[1] * part[:, None]


def test_calibration_is_that_of_xarray_sentinel(opened: tuple[str, ProductFolder, Sentinel1Product]) -> None:
    """An independent implementation, without noise: sigma0 of digital numbers 1 to 60,000."""
    xarray_sentinel = pytest.importorskip("xarray_sentinel.sentinel1")
    import xarray as xr

    _, product, seen = opened
    (path,) = product.folder.glob("annotation/calibration/calibration-*-vv-*")
    table = xarray_sentinel.open_calibration_dataset(path)
    lines, pixels = slice(5_000, 5_040), slice(0, 25_000)
    numbers = np.random.default_rng(1).integers(1, 60_000, (40, 25_000)).astype(np.uint16)
    axes = {"line": np.arange(5_000, 5_040), "pixel": np.arange(25_000)}
    image = xr.DataArray(numbers.astype(np.float64), coords=axes, dims=("line", "pixel"))
    expected = xarray_sentinel.calibrate_intensity(image, table.sigmaNought).values
    channel = seen.channels[0]
    ours = sigma0(
        type(channel)("VV", "", channel.shape, channel.sigma, type(channel.noise)(type(channel.sigma)(()))),
        numbers,
        lines,
        pixels,
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_both_ways_of_placing_agree_with_the_geolocation_grid(
    opened: tuple[str, ProductFolder, Sentinel1Product],
) -> None:
    """The grid is the processor's own; range-Doppler at its heights comes back to it, orbit and all."""
    _, _, seen = opened
    ground = seen.ground
    crs = utm_crs(float(ground.longitude.mean()), float(ground.latitude.mean()))
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(ground.longitude, ground.latitude)
    line, pixel = np.meshgrid(ground.lines, ground.pixels, indexing="ij")
    inner = np.s_[1:-1, 1:-1]
    grid = GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), crs)
    smooth = GroundControlPositions(ground, grid)._nodes(x[inner].ravel(), y[inner].ravel())
    np.testing.assert_allclose(smooth, [line[inner].ravel(), pixel[inner].ravel()], atol=1e-6)
    flat = ElevationModel(Path("none"), np.zeros((2, 2), np.float32), grid)
    found = TerrainPositions(seen, flat, grid).nodes(x.ravel(), y.ravel(), ground.height_m.ravel())
    assert np.abs(found[0] - line.ravel()).max() < 0.5  # restituted orbits and rounding of times
    assert np.abs(found[1] - pixel.ravel()).max() < 0.01


def test_polynomials_of_the_annotation_give_the_same_range_since_2018(
    opened: tuple[str, ProductFolder, Sentinel1Product],
) -> None:
    """The grid's distances against the annotation's own conversion from slant to ground range; before, 4 px off."""
    year, product, seen = opened
    (path,) = product.folder.glob("annotation/*-vv-*")
    conversions = list(XmlElement.read(path).one("coordinateConversionList").all("coordinateConversion"))
    middle = conversions[len(conversions) // 2]
    row = int(
        np.argmin(
            np.abs(
                seen.ground.lines * seen.acquisition.line_s
                - (middle.one("azimuthTime").time - seen.acquired).total_seconds()
            )
        )
    )
    away = seen.ground.slant_m[row] - middle.one("sr0").number
    ground_m = sum(factor * away**power for power, factor in enumerate(middle.one("srgrCoefficients").numbers))
    off = np.abs(ground_m / 10 - seen.ground.pixels).max()
    assert 3 < off < 6 if year == "2015" else off < 1

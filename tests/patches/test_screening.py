"""A plausible patch passes every check; each test damages it in one way and names what has to be found."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter, shift

from unclouded.io.raster import Raster
from unclouded.patches.layouts import find_triplets
from unclouded.patches.reading import images_of
from unclouded.patches.screening import (
    Finding,
    Screening,
    ScreeningReport,
    ScreeningSettings,
    cirrus,
    clipped,
    constant_bands,
    screen,
    screen_files,
    snow,
    stripes,
    water,
)
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox((128, 128), Affine(10, 0, 500_003.7, 0, -10, 4_900_008.2), "EPSG:32632")

SETTINGS = ScreeningSettings()

Images = dict[str, Raster]


def fields(size: int = 160) -> np.ndarray:
    """Fields with straight edges, from 0 to 1, larger than a patch."""
    rng = np.random.default_rng(7)
    blocks = np.kron(rng.random((size // 16, size // 16)), np.ones((16, 16)))
    turned = shift(blocks, (3.3, 1.7), order=1, mode="nearest")
    return gaussian_filter(turned, 0.7).astype(np.float32)


@pytest.fixture
def images() -> Images:
    rng = np.random.default_rng(8)
    land = fields()[16:144, 16:144]
    optical = 0.06 + 0.25 * land + rng.normal(0, 0.004, (13, 128, 128))
    optical[SENTINEL2.indices("B10")] = 0.0015 + rng.normal(0, 0.0001, (1, 128, 128))
    radar = -16 + 8 * land + rng.normal(0, 1, (2, 128, 128))
    cloudy = 1.5 * optical + rng.normal(0, 0.004, (13, 128, 128))
    return {
        "s1": Raster(radar.astype(np.float32), SENTINEL1.bands, GRID),
        "s2": Raster(optical.astype(np.float32), SENTINEL2.bands, GRID),
        "s2_cloudy": Raster(cloudy.astype(np.float32), SENTINEL2.bands, GRID),
    }


def found(images: Images, settings: ScreeningSettings = SETTINGS) -> list[tuple[str, str]]:
    return [(finding.check, finding.image) for finding in screen("p1", images, settings).findings]


def test_a_plausible_patch_passes_without_shift(images: Images) -> None:
    screening = screen("p1", images, SETTINGS)
    assert screening.findings == ()
    assert screening.shift and screening.shift.is_confident
    assert abs(screening.shift.right_px) < 0.5 and abs(screening.shift.down_px) < 0.5


def test_a_hole_is_found_with_its_share_and_location(images: Images) -> None:
    images["s1"].values[1, 10:20, 40:44] = np.nan
    (finding,) = screen("p1", images, SETTINGS).findings
    assert (finding.check, finding.image, finding.box) == ("no_data", "s1", (10, 40, 20, 44))
    assert finding.value == 40 / 128**2
    assert found(images, ScreeningSettings(no_data=0.01)) == []


def test_an_image_without_any_data_is_found_once(images: Images) -> None:
    images["s2_cloudy"].values[:] = np.nan
    assert found(images) == [("no_data", "s2_cloudy")]


def test_a_band_that_holds_one_value_is_named(images: Images) -> None:
    images["s2"].values[SENTINEL2.indices("B05")] = 0.1
    (finding,) = screen("p1", images, SETTINGS).findings
    assert finding.check == "constant" and finding.detail == "one and the same value in B05"


def test_saturation_is_found_in_optics_above_1_and_in_radar_from_0_db(images: Images) -> None:
    images["s2_cloudy"].values[0, :20, :20] = 1.2
    images["s1"].values[0, :64, :64] = 0
    assert found(images) == [("saturated", "s1"), ("saturated", "s2_cloudy")]


def test_a_dead_line_is_found(images: Images) -> None:
    images["s2"].values[SENTINEL2.indices("B03"), 77] += 0.1
    (finding,) = screen("p1", images, SETTINGS).findings
    assert (finding.check, finding.image, finding.box) == ("stripes", "s2", (77, 0, 78, 128))


def test_noise_at_the_border_of_a_swath_is_found(images: Images) -> None:
    images["s1"].values[:, :, :3] = -48
    assert ("border_noise", "s1") in found(images)
    finding = next(one for one in screen("p1", images, SETTINGS).findings if one.check == "border_noise")
    assert finding.box == (0, 0, 128, 3)


def test_cirrus_in_the_clear_image_rejects_and_in_the_cloudy_one_does_not(images: Images) -> None:
    for token in ("s2", "s2_cloudy"):
        images[token].values[SENTINEL2.indices("B10")] = np.linspace(0.03, 0.04, 128)[:, None]
    assert found(images) == [("haze", "s2")]


def test_snow_and_open_water_are_reported_but_reject_nothing(images: Images) -> None:
    clear = images["s2"].values
    clear[SENTINEL2.indices("B03", "B08")] += 0.6
    clear[SENTINEL2.indices("B11")] *= 0.2
    screening = screen("p1", images, SETTINGS)
    assert [finding.check for finding in screening.findings] == ["snow"]
    assert screening.rejecting(SETTINGS) == ()
    assert len(screening.rejecting(ScreeningSettings(remarks=()))) == 1


@pytest.mark.parametrize("moved", ((2.5, 0.0), (-2.0, 3.0), (0.0, -4.0)))
def test_a_shifted_radar_is_found(images: Images, moved: tuple[float, float]) -> None:
    rng = np.random.default_rng(9)
    land = shift(fields(), moved, order=1, mode="nearest")[16:144, 16:144]
    radar = (-16 + 8 * land + rng.normal(0, 1, (2, 128, 128))).astype(np.float32)
    images["s1"] = Raster(radar, SENTINEL1.bands, GRID)
    (finding,) = screen("p1", images, SETTINGS).findings
    assert finding.check == "shift" and finding.value == pytest.approx(np.hypot(*moved), abs=0.5)


def test_another_grid_is_found_and_nothing_is_compared_across_grids(images: Images) -> None:
    moved = GeoBox((128, 128), GRID.affine * Affine.translation(0.5, 0), GRID.crs)
    images["s1"] = Raster(images["s1"].values, SENTINEL1.bands, moved)
    screening = screen("p1", images, SETTINGS)
    assert [(one.check, one.image) for one in screening.findings] == [("grid", "s1")]
    assert screening.shift is None


def test_another_processing_of_the_clear_image_is_not_a_cloudy_one(images: Images) -> None:
    clear, rng = images["s2"], np.random.default_rng(5)
    again = np.round(1e4 * 1.005 * clear.values + 1000 + rng.normal(0, 0.5, clear.values.shape)) / 1e4
    twin = Raster(again.astype(np.float32), clear.bands, GRID)  # another gain, offset and rounding
    (finding,) = screen("p1", images | {"s2_cloudy": twin}, SETTINGS).findings
    assert (finding.check, finding.image) == ("same_scene", "s2_cloudy") and finding.value > 0.99


def test_a_field_border_along_a_column_is_no_stripe(images: Images) -> None:
    bordered = images["s2"].values.copy()
    bordered[:, :, 64:] += 0.1
    clear = Raster(bordered, SENTINEL2.bands, GRID)
    assert ("stripes", "s2") not in found(images | {"s2": clear})
    bordered[:, :, 64] += 0.1  # a line brighter than both sides
    assert ("stripes", "s2") in found(images | {"s2": clear})


def test_fault_36_date_gaps_count_in_both_directions_and_unknown_dates_pass(images: Images) -> None:
    dates = {"s1": datetime(2018, 12, 1, tzinfo=UTC), "s2": datetime(2018, 6, 1, tzinfo=UTC), "s2_cloudy": None}
    (finding,) = screen("p1", images, SETTINGS, dates).findings
    assert str(finding) == "date_gap in s1: 183.0 days from s2"
    back = screen("p1", images, SETTINGS, {"s1": dates["s2"], "s2_cloudy": dates["s1"]})
    assert [(one.check, one.value) for one in back.findings] == [("date_gap", 183.0)]


def test_fault_05_a_truncated_file_is_a_finding_and_the_rest_is_screened(
    official_root: Path, official_names: Callable[..., list[str]]
) -> None:
    (cut,) = official_names("ROIs1158_spring_106_p9", ("s1",))
    (official_root / cut).write_bytes((official_root / cut).read_bytes()[:-50])
    screening = screen_files(images_of(find_triplets(official_root))[0], SETTINGS)
    assert screening.name == "ROIs1158_spring_106_p9"
    assert [(one.check, one.image) for one in screening.findings] == [
        ("unreadable", "s1"),
        ("constant", "s2"),
        ("constant", "s2_cloudy"),
        ("haze", "s2"),
    ]
    assert "s1_106_p9.tif" in screening.findings[0].detail


def test_thresholds_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="haze"):
        ScreeningSettings(haze=1.5)


def test_a_screening_without_findings_rejects_nothing() -> None:
    assert Screening("p1", ()).rejecting(SETTINGS) == ()
    snow = Finding("snow", "s2", 1.0, 0.2, "100.0% snow")
    assert str(snow) == "snow in s2: 100.0% snow"


def optical(**reflectance: float) -> np.ndarray:
    values = np.full((13, 1, 1), 0.1, np.float32)
    for band, value in reflectance.items():
        values[SENTINEL2.indices(band)] = value
    return values


def test_a_band_of_one_value_is_constant_and_a_hole_in_it_changes_nothing() -> None:
    values = np.zeros((2, 2, 2), np.float32)
    values[0, 0, 0], values[1, 0, 0] = np.nan, 1
    assert constant_bands(values, ("VV", "VH")) == ("VV",)


def test_pixels_that_share_the_highest_value_are_clipped_if_that_is_bright() -> None:
    values = np.array([[[0.2, 1.5], [1.5, 0.1]], [[0.9, 0.9], [0.9, 0.9]]], np.float32)
    assert clipped(values, 1.0).tolist() == [[False, True], [True, False]]
    assert not clipped(values, 1.6).any()


@pytest.mark.parametrize("axis", (0, 1))
def test_one_brighter_line_is_found_and_its_neighbours_are_not(axis: int) -> None:
    band = np.random.default_rng(1).normal(0.1, 0.01, (32, 32)).astype(np.float32)
    band[10] += 0.05
    found = stripes(np.moveaxis(band, 0, axis), 0.95, 3.0)
    assert np.flatnonzero(np.moveaxis(found, axis, 0).all(axis=1)).tolist() == [10]
    assert found.sum() == 32


def test_an_edge_between_two_fields_and_noise_are_not_stripes() -> None:
    rng = np.random.default_rng(2)
    band = rng.normal(0.1, 0.01, (64, 64)).astype(np.float32)
    for row in range(64):  # an edge of 3 degrees against the grid
        band[row, 30 + row // 20 :] += 0.2
    assert not stripes(band, 0.95, 3.0).any()


def test_snow_water_and_cirrus_are_recognised_by_their_bands() -> None:
    assert snow(optical(B03=0.8, B08=0.7, B11=0.1)).all()  # NDSI 0.78
    assert not snow(optical(B03=0.8, B08=0.7, B11=0.4)).any()  # NDSI 0.33: cloud
    assert water(optical(B03=0.08, B08=0.02, B11=0.01)).all()
    assert not water(optical(B03=0.08, B08=0.3, B11=0.2)).any()
    assert cirrus(optical(B10=0.013), 0.012).all() and not cirrus(optical(B10=0.011), 0.012).any()


HAZE = Finding("haze", "s2", 0.5, 0.05, "50.0% cirrus", (0, 0, 8, 16))

SNOW = Finding("snow", "s2", 1.0, 0.2, "100.0% snow")


def test_patches_are_counted_once_per_check_and_remarks_reject_none() -> None:
    screenings = (Screening("a", (HAZE, HAZE, SNOW)), Screening("b", (SNOW,)), Screening("c", ()))
    report = ScreeningReport(screenings, ScreeningSettings())
    assert report.counts() == {"snow": 2, "haze": 1} and [one.name for one in report.rejected] == ["a"]
    text = report.to_text().splitlines()
    assert text[0] == "3 patches screened, 1 rejected" and text[-1] == "b: snow in s2: 100.0% snow"
    content = json.loads(json.dumps(report.to_json()))
    assert content["findings"][0]["box"] == [0, 0, 8, 16] and content["findings"][0]["rejects"] is True

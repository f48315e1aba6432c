import math

import numpy as np
import pytest

from unclouded.prediction.products import classify_provenance
from unclouded.prediction.report.overview import SceneReaders, read_overview, shrunk


def readers(before: np.ndarray, after: np.ndarray, m: np.ndarray, confidence: np.ndarray | None = None) -> SceneReaders:
    bands = ("B02", "B03", "B04", "B08")[: len(before)]
    sure = None if confidence is None else lambda top, bottom: confidence[None, top:bottom]
    return SceneReaders(
        m.shape,
        bands,
        lambda top, bottom: before[:, top:bottom],
        lambda top, bottom: after[:, top:bottom],
        lambda top, bottom: m[None, top:bottom],
        lambda top, bottom: classify_provenance(m, np.isfinite(after).all(axis=0), m == m, 0)[None, top:bottom],
        sure,
    )


def scene(height: int = 40, width: int = 30) -> SceneReaders:
    """Ground that rises by band, half of it under cloud, a quarter of that thin."""
    after = np.stack([np.full((height, width), 0.1 * band, np.float32) for band in (1, 2, 3, 4)])
    m = np.zeros((height, width), np.float32)
    m[: height // 2] = 0.9
    m[: height // 8] = 0.2
    after[:, -1, -1] = math.nan
    return readers(
        np.where(m > 0, np.float32(0.8), after), after, m, np.where(m > 0, np.float32(0.3), 1.0).astype("f4")
    )


def test_pixels_are_counted_by_where_they_come_from() -> None:
    seen = read_overview(scene())
    expected = {"observed": 20 * 30 - 1, "blended": 5 * 30, "synthesised": 15 * 30, "no_data": 1}
    assert seen.counts == {
        "near_gap": 0,
        "shadow": 0,
        "unknown_cloud": 0,
        "without_radar": 0,
        "reference": 0,
        **expected,
    }
    assert seen.cloudy_share == 0.5
    assert seen.guessed == 20 * 30
    assert math.isclose(seen.mean_coverage, (5 * 0.2 + 15 * 0.9) / 40, rel_tol=1e-6)


def test_the_overview_of_codes_takes_every_third_pixel_and_their_counts_every_pixel() -> None:
    m = np.zeros((2500, 700), np.float32)
    m[3:, 6:] = 0.9  # from the second row and the third column of the overview on
    image = np.full((3, *m.shape), 0.1, np.float32)
    seen = read_overview(readers(image, image, m))
    assert seen.provenance.shape == (834, 234)
    assert seen.provenance[:2, :3].tolist() == [[1, 1, 1], [1, 1, 3]]
    assert seen.counts["synthesised"] == 2497 * 694


def test_pictures_show_red_green_and_blue_in_this_order() -> None:
    seen = read_overview(scene())
    assert seen.shown == ("B04", "B03", "B02")
    np.testing.assert_allclose(seen.after[:, 0, 0], [0.3, 0.2, 0.1])
    assert (seen.step, seen.after.shape, seen.crops) == (1, (3, 40, 30), [])


def test_a_product_of_one_band_is_shown_grey() -> None:
    one = np.full((1, 8, 8), 0.2, np.float32)
    assert read_overview(readers(one, one, np.zeros((8, 8), np.float32))).shown == ("B02", "B02", "B02")


def test_spectra_are_those_of_clear_and_of_predicted_pixels() -> None:
    seen = read_overview(scene())
    np.testing.assert_allclose(seen.spectra["observed"].median, [0.1, 0.2, 0.3, 0.4])
    assert seen.spectra["synthesised"].pixels == 15 * 30


def test_a_kind_without_pixels_has_no_spectrum() -> None:
    image = np.full((3, 10, 10), 0.1, np.float32)
    assert list(read_overview(readers(image, image, np.zeros((10, 10), np.float32))).spectra) == ["observed"]


def test_averages_exclude_no_data() -> None:
    image = np.array([[[1.0, 3.0, 5.0], [math.nan, 2.0, 7.0], [4.0, 4.0, math.nan]]], np.float32)
    np.testing.assert_allclose(shrunk(image, 2), [[[2.0, 6.0], [4.0, math.nan]]])


def test_a_large_scene_is_averaged_and_its_spectra_sampled_evenly() -> None:
    height, width = 2500, 700
    rows = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None] / height, (height, width))
    image = np.stack([rows] * 3)
    seen = read_overview(readers(image, image, np.zeros((height, width), np.float32)))
    assert (seen.step, seen.before.shape) == (3, (3, 834, 234))
    np.testing.assert_allclose(seen.before[0, :2, 0], [1 / 2500, 4 / 2500], rtol=1e-5)
    found = seen.spectra["observed"]
    assert 50_000 < found.pixels < 90_000
    np.testing.assert_allclose([found.low[0], found.median[0], found.high[0]], [0.1, 0.5, 0.9], atol=0.01)


@pytest.mark.parametrize("cloudy", [True, False])
def test_crops_are_cut_at_full_resolution_where_it_is_partly_cloudy(cloudy: bool) -> None:
    image = np.zeros((3, 700, 1000), np.float32)
    image[:] = np.arange(1000, dtype=np.float32) / 1000
    m = np.zeros((700, 1000), np.float32)
    if cloudy:
        m[320:480, 640:960] = 1.0  # half of one square
    seen = read_overview(readers(image, image, m))
    assert len(seen.crops) == int(cloudy)
    for crop in seen.crops:
        assert (crop.top, crop.left, crop.after.shape) == (320, 640, (3, 320, 320))
        np.testing.assert_allclose(crop.after[0, 0, :3], [0.640, 0.641, 0.642])

"""Difference in time and position between radar and optical image, from two files to the remarks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from unclouded.clouds.map import CloudMapSettings
from unclouded.io.geotiff import write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.alignment import AlignmentQuality
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.coregistration import Shift
from unclouded.sentinel.radar import NO_TERRAIN

OFF = Shift(-1.5, 2.0, 0.2, 0.03, blocks=4, spread_px=0.3)
GRID = GeoBox((256, 260), Affine(10, 0, 500_000, 0, -10, 5_000_000), 32632)


def test_aligned_images_give_no_remark() -> None:
    assert not list(AlignmentQuality(12.0, replace(OFF, down_px=0.0)).remarks("as it came", ()))
    assert not list(AlignmentQuality(None, None).remarks("as it came", ()))
    assert not list(AlignmentQuality(0.0, OFF, side_px=255).remarks("as it came", ()))
    assert not list(AlignmentQuality(0.0, replace(OFF, spread_px=2.6)).remarks("as it came", ()))
    assert not list(AlignmentQuality(0.0, replace(OFF, gap=0.01)).remarks("as it came", ()))


@pytest.mark.parametrize(("days", "when"), [(13.0, "13 days after"), (-40.2, "40 days before")])
def test_a_large_time_difference_gives_a_remark_with_direction_and_remedy(days: float, when: str) -> None:
    (remark,) = AlignmentQuality(days, None).remarks("as it came", ())
    assert remark == (
        f"the radar was taken {when} the optical image: fields, water and snow may have changed; choose a radar image "
        "within 12 days"
    )


@pytest.mark.parametrize(
    ("processing", "remarks", "remedy"),
    [
        ("as it came", (), "pass it on its own grid with --align, or the GRDH product with --heights"),
        ("warped (a, not b)", (), "its georeference, which --align relies on, is inaccurate"),
        (
            "calibration to sigma0, geolocation grid, dB",
            (NO_TERRAIN,),
            "apply a terrain correction with --heights",
        ),
        ("calibration to sigma0, terrain correction, dB", (), "--heights-datum: heights must refer to the ellipsoid"),
    ],
)
def test_a_large_shift_gives_a_remark_with_distance_and_remedy(
    processing: str, remarks: tuple[str, ...], remedy: str
) -> None:
    (remark,) = AlignmentQuality(0.0, OFF).remarks(processing, remarks)
    assert remark.startswith("the radar lies 2.5 px off the optical image (-1.50 px right, +2.00 px down (gap 0.030))")
    assert remedy in remark


def test_an_unknown_date_gives_a_remark() -> None:
    (remark,) = AlignmentQuality(None, None, ("the radar",)).remarks("as it came", ())
    assert remark.startswith("the date of the radar is unknown, and so is the time between the two images; set the tag")
    (both,) = AlignmentQuality(None, None, ("the radar", "the optical image")).remarks("as it came", ())
    assert both.startswith("the date of the radar and of the optical image is unknown")


def test_unknown_numbers_are_none() -> None:
    nothing = Shift(float("nan"), float("nan"), float("nan"), 0.0, blocks=0)
    assert AlignmentQuality(None, nothing).as_json() == {
        "radar_after_optical_days": None,
        "shift_right_px": None,
        "shift_down_px": None,
        "shift_gap": 0.0,
        "shift_confident": False,
        "shift_blocks": 0,
        "shift_spread_px": None,
    }
    assert AlignmentQuality(None, nothing).in_words() == "not measured, no clear ground with edges"
    assert AlignmentQuality(None, None).in_words() == "not measured, the scene is smaller than 64 px"
    assert AlignmentQuality(1.0, OFF).as_json()["shift_down_px"] == 2.0


def test_expectation_24_a_shifted_radar_image_is_logged_as_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(1)
    level = np.digitize(gaussian_filter(rng.normal(size=(276, 280)), 6), [-0.03, 0, 0.03])
    there, here = level[7:263, 7:267], level[10:266, 10:270]  # the radar lies 3 px right and down
    db = np.array([-8, -14, -6, -11])[there] + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (2, *GRID.shape)))
    land = np.array([1500, 1200, 1100, 1000, 1300, 2000, 2300, 2200, 2500, 700, 12, 1800, 1000])
    stored = land[:, None, None] * (0.7 + 0.2 * here) + rng.integers(0, 30, (13, *GRID.shape))
    sar = tmp_path / "S1A_IW_GRDH_1SDV_20210917T053000_a.tif"
    cloudy = tmp_path / "S2A_MSIL1C_20210908T042701_b.tif"
    write_geotiff(sar, db.astype(np.float32), SENTINEL1.bands, GRID)
    write_geotiff(cloudy, stored.astype(np.uint16), SENTINEL2.bands, GRID, nodata=0)
    settings = SceneSettings(clouds=CloudMapSettings(mode="continuous"))
    scene = predict_scene(baseline("clear-mean"), cloudy, sar, tmp_path / "out", settings)
    fit = scene.summary["fit"]
    assert abs(fit["shift_right_px"] - 3) < 0.3 and abs(fit["shift_down_px"] - 3) < 0.3 and fit["shift_confident"]
    assert fit["radar_after_optical_days"] == pytest.approx(9 + 3779 / 86_400, abs=1e-4)
    (remark,) = scene.summary["remarks"]
    assert caplog.messages == [remark] and "px off the optical image" in remark
    page = scene.files["report"].read_text()
    assert "9.0 days" in page and 'class="note">The radar lies' in page

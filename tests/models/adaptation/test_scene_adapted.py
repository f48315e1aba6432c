import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from unclouded.io.raster import to_stored
from unclouded.models.adaptation.predicted_error import error_of
from unclouded.models.adaptation.prior_spectrum import LAND_SPECTRUM, PRIOR, WATER_SPECTRUM
from unclouded.models.adaptation.scene_adapted import (
    DARKEST,
    AdaptedToScene,
    SceneAdapted,
    SceneAdaptedSettings,
)
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.observation import Observation

Coast = Callable[..., tuple[Observation, Tensor]]

ALL = SENTINEL2.bands


def cut(seen: Observation, top: int, left: int, bottom: int, right: int) -> Observation:
    part = (..., slice(top, bottom), slice(left, right))
    return Observation(seen.sar[part], seen.cloudy[part], seen.cloud_map[part], seen.bands, (top, left))


def under_cloud(error: Tensor, seen: Observation) -> float:
    return error.abs()[seen.is_cloudy.expand_as(error)].mean().item()


def test_it_is_every_kind_of_remover() -> None:
    remover = SceneAdapted()
    assert isinstance(remover, CloudRemover)
    assert isinstance(remover, SceneRemover)
    assert isinstance(remover, ConfidentRemover)
    assert (remover.name, remover.bands, remover.margin_px, remover.align_px) == ("scene-adapted", RGB, 96, 1)


def test_it_finds_the_coast_under_the_cloud_better_than_one_colour_does(coast: Coast) -> None:
    seen, clear = coast()
    assert under_cloud(baseline("clear-mean", ALL)(seen) - clear, seen) > 0.08
    assert under_cloud(SceneAdapted(ALL)(seen) - clear, seen) < 0.012


def fields_and_lake() -> Observation:
    """Fields, whose soil is the brighter the weaker their radar; the right half, a lake, lies under cloud."""
    rng = torch.Generator().manual_seed(2)
    rough = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 64 + 32, 128 + 32, generator=rng), 33, 1)
    rough = 2 * rough / rough.std()
    sar = torch.cat([rough - 10, rough - 16], dim=1)
    cloudy = (0.12 - 0.02 * rough).expand(1, 3, 64, 128).clone()
    sar[..., 64:] = torch.tensor([-20.0, -26.0]).view(1, 2, 1, 1)
    cloudy[..., 64:] = 0.04
    m = torch.zeros(1, 1, 64, 128)
    m[..., 56:] = 1.0
    cloudy[m.expand_as(cloudy) > 0] = 0.7
    return Observation(sar, cloudy, m, RGB)


def test_a_lake_without_clear_water_has_the_spectrum_of_the_prior() -> None:
    lake = SceneAdapted()(fields_and_lake())[..., 84:].mean(dim=(0, 2, 3))
    assert_close(lake, torch.tensor([WATER_SPECTRUM[band] for band in RGB]), atol=0.006, rtol=0)


def snow_beside_cloud(snowy_rows: int) -> Observation:
    """Grey ground of 0.1, snow on the first rows; the right half lies under cloud."""
    sar = torch.tensor([-10.0, -16.0]).view(1, 2, 1, 1).expand(1, 2, 80, 80)
    cloudy = torch.full((1, 13, 80, 80), 0.1)
    snow = torch.full((13,), 0.6)
    snow[-2:] = 0.05  # B11 and B12
    cloudy[:, :, :snowy_rows] = snow.view(1, 13, 1, 1)
    m = torch.zeros(1, 1, 80, 80)
    m[..., 40:] = 1.0
    return Observation(sar, torch.where(m > 0, 0.8, cloudy), m, ALL)


def test_snow_on_a_quarter_of_the_clear_ground_brightens_no_ground_under_cloud() -> None:
    ground = SceneAdapted(ALL)(snow_beside_cloud(20))[..., 30:, 60:]
    assert_close(ground, SceneAdapted(ALL)(snow_beside_cloud(0))[..., 30:, 60:], atol=0.01, rtol=0)


def test_a_scene_of_snow_is_predicted_as_snow() -> None:
    green = SceneAdapted(ALL)(snow_beside_cloud(60))[:, ALL.index("B03"), :, 60:].mean().item()
    assert green == pytest.approx(0.1 + 0.5 * 60 / 80, abs=0.05)


def test_clear_pixels_keep_their_observed_value_bit_for_bit(coast: Coast) -> None:
    seen, _ = coast()
    answer = SceneAdapted(ALL)(seen)
    kept = (seen.cloud_map == 0).expand_as(answer)
    assert torch.equal(answer[kept], seen.cloudy[kept])


def test_red_green_and_blue_are_the_same_alone_and_among_thirteen(coast: Coast) -> None:
    seen, _ = coast()
    among = SceneAdapted(ALL)(seen)[:, SENTINEL2.indices(*RGB)]
    assert_close(SceneAdapted(RGB)(seen), among, rtol=0, atol=1e-6)


def test_fault_14_all_cloud_gives_the_spectra_of_land_and_water_and_little_confidence(coast: Coast) -> None:
    seen, _ = coast()
    seen.cloud_map[:] = 1.0
    seen.cloudy[:] = 0.9
    answer, sure = SceneAdapted(ALL).with_confidence(seen)
    for column, spectrum in ((10, WATER_SPECTRUM), (85, LAND_SPECTRUM)):
        expected = torch.tensor(list(spectrum.values()))
        assert_close(answer[0, :, 30, column], expected, rtol=0, atol=0.03)
    assert sure.max().item() < 0.6


def test_fault_14_all_clear_stays_as_it_is_and_is_sure(coast: Coast) -> None:
    seen, _ = coast()
    seen.cloud_map[:] = 0.0
    answer, sure = SceneAdapted(ALL).with_confidence(seen)
    assert torch.equal(answer, seen.cloudy)
    assert sure.min().item() == 1.0


def test_the_level_of_the_errors_scales_the_predicted_error_of_every_pixel(coast: Coast) -> None:
    seen, _ = coast()
    adapted = SceneAdapted(ALL).adapt([seen])
    assert isinstance(adapted, AdaptedToScene)
    once, twice = (error_of(replace(adapted, error_level=k).with_confidence(seen)[1]) for k in (1.0, 2.0))
    assert once[seen.is_cloudy].min() > 0
    assert_close(twice, 2 * once, rtol=1e-4, atol=1e-6)


def test_fault_13_no_data_stays_no_data_and_moves_no_other_pixel_much(coast: Coast) -> None:
    seen, _ = coast()
    remover = SceneAdapted(ALL)
    before = remover(seen)
    seen.cloudy[0, 3, 2, 2] = seen.cloudy[0, 3, 40, 50] = math.nan  # one clear, one cloudy
    after, sure = remover.with_confidence(seen)
    assert after.isnan().nonzero().tolist() == [[0, 3, 2, 2], [0, 3, 40, 50]]
    assert sure.isnan().nonzero().tolist() == [[0, 0, 2, 2], [0, 0, 40, 50]]
    assert_close(after.nan_to_num(), before.where(~after.isnan(), 0.0), rtol=0, atol=1e-3)


def test_fault_13_a_pixel_without_radar_is_predicted_from_clear_ground_and_the_others_as_before(coast: Coast) -> None:
    seen, clear = coast()
    complete = SceneAdapted(("B04",))(seen)
    seen.sar[0, :, 40, 40] = math.nan
    answer = SceneAdapted(("B04",))(seen)
    mean = clear[0, 3][seen.cloud_map[0, 0] == 0].mean()
    assert_close(answer[0, 0, 40, 40], mean, rtol=0, atol=0.02)
    changed = torch.zeros_like(answer, dtype=torch.bool)
    changed[..., 25:56, 25:56] = True  # means of haze and seam
    assert (answer - complete).abs()[~changed].max() < 2e-3


def test_without_radar_flat_ground_keeps_its_colour(coast: Coast) -> None:
    seen, _ = coast()
    seen.cloudy[:] = torch.where(seen.is_cloudy, 0.9, 0.25)
    seen.sar[:] = math.nan
    answer, sure = SceneAdapted(ALL).with_confidence(seen)
    assert_close(answer, torch.full_like(answer, 0.25), rtol=0, atol=0.03)
    assert sure.isfinite().all()


def test_overcast_without_radar_is_the_prior_of_land(coast: Coast) -> None:
    seen, _ = coast()
    seen.cloud_map[:], seen.cloudy[:], seen.sar[:] = 1.0, 0.9, math.nan
    answer, sure = SceneAdapted(ALL).with_confidence(seen)
    land = torch.tensor([*PRIOR.at(None).land.values()])
    assert_close(answer[0, :, 30, 10], land, rtol=0, atol=1e-6)
    # 0.2 of the reflectance of land, and 0.09 x 3 for cloud that is more than 0.6 brighter
    assert_close(error_of(sure)[0, 0, 30, 10], 0.2 * land.mean() * math.exp(0.27), rtol=1e-3, atol=0)


def test_a_valid_pixel_never_becomes_0(coast: Coast) -> None:
    seen, _ = coast()
    seen.cloudy[seen.cloud_map.expand_as(seen.cloudy) == 0] -= 0.03  # darker than anything: the fit would go below 0
    answer = SceneAdapted(ALL, SceneAdaptedSettings(prior_weight=0.0))(seen)
    synthesised = answer[seen.is_cloudy.expand_as(answer)]
    assert synthesised.min() == torch.tensor(DARKEST)
    assert to_stored(synthesised.numpy()[None, None], SENTINEL2).min() == 1


def test_images_of_a_batch_are_answered_each_for_itself(coast: Coast) -> None:
    (one, _), (two, _) = coast(1), coast(2)
    two.cloud_map[:, :, 20:90] = 0.1
    both = Observation(*(torch.cat([getattr(o, n) for o in (one, two)]) for n in ("sar", "cloudy", "cloud_map")), ALL)
    remover = SceneAdapted(RGB)
    assert_close(remover(both), torch.cat([remover(one), remover(two)]), rtol=0, atol=1e-6)


def test_a_window_with_its_margin_is_answered_as_the_whole_scene_is(coast: Coast) -> None:
    scene, _ = coast(side=280, bands=RGB)
    scene.cloud_map[..., 120:180, 40:260] = 0.6
    remover = SceneAdapted(RGB, SceneAdaptedSettings(node_px=128))
    adapted = remover.adapt([scene])
    whole, sure = adapted.with_confidence(scene)
    window = cut(scene, 20, 24, 280, 260)  # what lies 96 px inside, or at the scene's edge, must agree
    part, part_sure = adapted.with_confidence(window)
    assert_close(part[..., 96:, 96:140], whole[..., 116:, 120:164], rtol=0, atol=2e-6)
    assert_close(part_sure[..., 96:, 96:140], sure[..., 116:, 120:164], rtol=0, atol=2e-6)


def test_learning_from_windows_is_learning_from_the_scene(coast: Coast) -> None:
    scene, _ = coast(side=200, bands=RGB)
    remover = SceneAdapted(RGB, SceneAdaptedSettings(erosion_px=0, node_px=128))
    whole = remover.adapt([scene]).land
    parts = remover.adapt([cut(scene, 0, 0, 200, 100), cut(scene, 0, 100, 200, 200)]).land
    assert len(parts.local) == len(whole.local) > 1
    assert_close(parts.coefficients, whole.coefficients, rtol=0, atol=2e-2)


def test_pixels_near_clouds_are_not_learnt_from(coast: Coast) -> None:
    seen, _ = coast(bands=RGB)
    hazy = replace(seen, cloudy=seen.cloudy.clone())
    hazy.cloudy[:, :, 30:32] = hazy.cloudy[:, :, 48:50] = 0.6  # called clear, beside the cloud
    near, far = (
        SceneAdapted(RGB, SceneAdaptedSettings(erosion_px=px)).adapt([hazy]).land.coefficients[0] for px in (0, 2)
    )
    clean = SceneAdapted(RGB, SceneAdaptedSettings(erosion_px=2)).adapt([seen]).land.coefficients[0]
    assert_close(far, clean)
    assert (near - clean).min().item() > 0.01


def test_no_seam_shows_beside_clear_ground_that_the_regression_misses(coast: Coast) -> None:
    seen, _ = coast(bands=RGB)
    seen.cloudy[:, :, 24:60] += 0.05  # a brightness that radar does not know, on both sides of the cloud's edge
    step = {
        px: (answer := SceneAdapted(RGB, SceneAdaptedSettings(seam_px=px))(seen))[:, :, 31].sub(answer[:, :, 32]).mean()
        for px in (0.0, 4.0)
    }
    assert step[0.0].item() > 0.03
    assert abs(step[4.0].item()) < 0.01


def test_without_a_visible_band_no_detail_shows_through_haze(coast: Coast) -> None:
    seen, _ = coast(bands=("B11", "B12"))
    results = [SceneAdapted(seen.bands, SceneAdaptedSettings(detail=detail))(seen) for detail in (False, True)]
    assert torch.equal(*results)

import datetime
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.references.remover import (
    FALLBACK,
    OBSERVED,
    AdaptedToReferences,
    ReferencePrediction,
    ReferenceRemover,
    ReferenceSettings,
)
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Reference

TODAY = datetime.date(2020, 6, 15)
CLOUD = (slice(None), slice(None), slice(24, 48))
"""Rows under cloud."""


def smooth(channels: int, side: int, rng: torch.Generator) -> Tensor:
    coarse = torch.randn(1, channels, side // 4, side // 4, generator=rng)
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def scene(days: tuple[int, ...] = (-10,), side: int = 96, seed: int = 0) -> tuple[Observation, Tensor]:
    """Fields with fine structure that every date shows through another mixing of three bands, with little noise."""
    rng = torch.Generator().manual_seed(seed)
    ground = 0.05 * smooth(3, side, rng)

    def date() -> Tensor:
        mixing = torch.eye(3) + 0.3 * torch.randn(3, 3, generator=rng)
        noise = 0.001 * torch.randn(1, 3, side, side, generator=rng)
        return (0.25 + torch.einsum("bk,zkyx->zbyx", mixing, ground) + noise).clamp(0.01, 0.9)

    clear = date()
    m = torch.zeros(1, 1, side, side)
    m[CLOUD] = 1.0
    sar = torch.tensor([-11.0, -17.0]).view(1, 2, 1, 1) + torch.randn(1, 2, side, side, generator=rng)
    references = tuple(
        Reference(f"{gap} days", TODAY + datetime.timedelta(gap), date(), torch.zeros_like(m)) for gap in days
    )
    seen = Observation(sar, torch.where(m > 0, 0.8, clear), m, RGB, date=TODAY, references=references)
    return seen, clear


def hidden_error(answer: Tensor, clear: Tensor, seen: Observation) -> float:
    return (answer - clear).abs()[seen.is_cloudy.expand_as(clear)].mean().item()


def predict(seen: Observation, remover: ReferenceRemover | None = None) -> ReferencePrediction:
    adapted = (remover or ReferenceRemover()).adapt([seen])
    assert isinstance(adapted, AdaptedToReferences)
    return adapted.predict(seen)


def cut(seen: Observation, top: int, left: int, bottom: int, right: int) -> Observation:
    part = (..., slice(top, bottom), slice(left, right))
    return replace(seen.transformed(lambda image: image[part]), origin_px=(top, left))


def test_it_is_every_kind_of_remover() -> None:
    remover = ReferenceRemover()
    assert isinstance(remover, CloudRemover)
    assert isinstance(remover, SceneRemover)
    assert isinstance(remover, ConfidentRemover)
    assert (remover.name, remover.bands, remover.align_px) == ("reference-adapted", RGB, 1)


def test_fine_structure_under_the_cloud_comes_from_the_other_date_in_todays_colours() -> None:
    seen, clear = scene()
    assert hidden_error(seen.references[0].cloudy, clear, seen) > 0.01
    assert hidden_error(SceneAdapted()(seen), clear, seen) > 0.03
    assert hidden_error(ReferenceRemover()(seen), clear, seen) < 0.0025


def test_clear_pixels_keep_their_observed_value_bit_for_bit() -> None:
    seen, _ = scene()
    answer = predict(seen)
    kept = ~seen.is_cloudy
    assert torch.equal(answer.clear[kept.expand_as(answer.clear)], seen.cloudy[kept.expand_as(answer.clear)])
    assert answer.source[kept].unique().tolist() == [OBSERVED]
    assert answer.error[kept].max().item() == 0.0


def test_the_expected_error_is_near_the_true_one_and_confidence_is_high() -> None:
    seen, clear = scene()
    answer = predict(seen)
    claimed = answer.error[seen.is_cloudy].mean().item()
    assert claimed == pytest.approx(hidden_error(answer.clear, clear, seen), rel=0.4)
    assert answer.confidence[seen.is_cloudy].min().item() > 0.95


def test_without_references_or_radar_the_answer_is_the_mean_colour_and_a_guess() -> None:
    seen, _ = scene(days=())
    blind = replace(seen, sar=torch.full_like(seen.sar, math.nan))
    answer = predict(blind, ReferenceRemover(settings=ReferenceSettings(levels=0)))
    mean = seen.cloudy[0][:, ~seen.is_cloudy[0, 0]].mean(dim=1)
    assert_close(answer.clear[0, :, 36, 50], mean, rtol=0, atol=0.01)
    assert answer.source[seen.is_cloudy].unique().tolist() == [FALLBACK]
    assert answer.confidence[seen.is_cloudy].max().item() == 0.0


def test_references_work_without_radar() -> None:
    seen, clear = scene()
    blind = replace(seen, sar=torch.full_like(seen.sar, math.nan))
    assert hidden_error(ReferenceRemover()(blind), clear, seen) < 0.0025


def test_a_reference_of_another_place_is_named_and_does_no_harm() -> None:
    seen, clear = scene()
    other, _ = scene(seed=1)
    wrong = replace(seen, references=other.references)
    adapted = ReferenceRemover().adapt([wrong])
    assert adapted.dates[0].ratio > 0.95
    none = ReferenceRemover()(replace(seen, references=()))
    assert hidden_error(adapted(wrong), clear, seen) < 1.05 * hidden_error(none, clear, seen)


def test_a_cloud_that_was_missed_today_does_not_spoil_the_rest() -> None:
    seen, clear = scene(side=192)
    missed = replace(seen, cloud_map=torch.zeros_like(seen.cloud_map))  # an eighth of the scene, as bright as cloud
    missed.cloud_map[..., 100:140, 60:140] = 1.0
    assert hidden_error(ReferenceRemover()(missed), clear, missed) < 0.006


def test_gaps_of_one_reference_are_filled_by_the_other_and_known_in_the_sources() -> None:
    seen, clear = scene(days=(-10, 20))
    first = seen.references[0]
    m = first.cloud_map.clone()
    m[..., 40:60] = 1.0
    first = replace(first, cloud_map=m, cloudy=torch.where(m > 0, 0.7, first.cloudy))
    holed = replace(seen, references=(first, seen.references[1]))
    answer = predict(holed)
    assert hidden_error(answer.clear, clear, seen) < 0.004
    assert set(answer.source[..., 36, 45:55].flatten().tolist()) == {1}
    assert answer.error[..., 36, 50].item() > answer.error[..., 36, 80].item() > 0


def test_where_no_reference_sees_the_ground_the_fallback_answers() -> None:
    seen, _ = scene()
    m = torch.zeros_like(seen.cloud_map)
    m[..., :50] = 1.0
    holed = replace(seen, references=(replace(seen.references[0], cloud_map=m),))
    remover = ReferenceRemover(fallback=SceneAdapted())
    answer = predict(holed, remover)
    assert_close(answer.clear[..., 24:48, :48], SceneAdapted()(seen)[..., 24:48, :48], rtol=0, atol=1e-6)
    assert set(answer.source[..., 24:48, :48].flatten().tolist()) == {FALLBACK}
    assert set(answer.source[..., 24:48, 54:].flatten().tolist()) == {0}


def flooded(seen: Observation) -> Observation:
    """A field is under water today, below the cloud: radar falls by 10 dB; the reference has radar from before."""
    before = replace(seen.references[0], sar=seen.sar.clone())
    sar = seen.sar.clone()
    sar[..., 28:44, 30:60] -= 10.0
    return replace(seen, sar=sar, references=(before,))


def test_trust_falls_where_radar_shows_a_flood_since_the_reference() -> None:
    seen, _ = scene()
    answer = predict(flooded(seen))
    field, beside = (..., slice(31, 41), slice(34, 56)), (..., slice(28, 44), slice(70, 90))
    assert set(answer.source[field].flatten().tolist()) == {FALLBACK}
    assert set(answer.source[beside].flatten().tolist()) == {0}
    assert answer.confidence[field].max().item() < 0.3 < 0.9 < answer.confidence[beside].min().item()
    assert answer.error[field].min().item() > 3 * answer.error[beside].max().item()


def test_speckle_alone_is_no_change() -> None:
    seen, _ = scene()
    again = seen.sar + torch.randn(seen.sar.shape, generator=torch.Generator().manual_seed(9))
    answer = predict(replace(seen, references=(replace(seen.references[0], sar=again),)))
    assert set(answer.source[seen.is_cloudy].tolist()) == {0}


def test_under_full_cover_dates_before_and_after_are_interpolated_in_time() -> None:
    seen, _ = scene(days=(-10, 30, 60))
    values = (0.1, 0.3, 0.9)
    flat = tuple(
        replace(one, cloudy=torch.full_like(one.cloudy, value))
        for one, value in zip(seen.references, values, strict=True)
    )
    overcast = replace(seen, cloud_map=torch.ones_like(seen.cloud_map), references=flat)
    answer = predict(overcast)
    assert_close(answer.clear, torch.full_like(answer.clear, 0.15))  # a quarter of the way from 0.1 to 0.3
    assert_close(answer.error, torch.full_like(answer.error, 0.75 * 0.05 + 0.25 * 0.15))
    assert answer.confidence.max().item() == 0.0
    assert answer.source.unique().tolist() == [0]


def test_under_full_cover_the_error_of_one_date_is_unknown() -> None:
    seen, _ = scene()
    overcast = replace(seen, cloud_map=torch.ones_like(seen.cloud_map))
    answer = predict(overcast)
    assert_close(answer.clear, seen.references[0].cloudy)
    assert answer.error.isnan().all()


def test_fault_13_no_data_today_stays_no_data() -> None:
    seen, clear = scene()
    seen.cloudy[0, 1, 2, 2] = seen.cloudy[0, 1, 30, 30] = math.nan  # one clear, one cloudy
    answer = predict(seen)
    lost = answer.clear.isnan().nonzero().tolist()
    assert lost == [[0, 1, 2, 2], [0, 1, 30, 30]]
    assert answer.error.isnan().nonzero().tolist() == [[0, 0, 2, 2], [0, 0, 30, 30]]
    assert hidden_error(answer.clear.nan_to_num(0.25), clear, seen) < 0.0025


def test_images_of_a_batch_are_answered_each_for_itself() -> None:
    (one, _), (two, _) = scene(seed=1), scene(seed=2)
    pairs = zip(one.references, two.references, strict=True)
    joined = tuple(
        replace(a, cloudy=torch.cat([a.cloudy, b.cloudy]), cloud_map=torch.cat([a.cloud_map, b.cloud_map]))
        for a, b in pairs
    )
    sar, cloudy, cloud_map = (torch.cat([getattr(o, n) for o in (one, two)]) for n in ("sar", "cloudy", "cloud_map"))
    both = Observation(sar, cloudy, cloud_map, RGB, date=TODAY, references=joined)
    remover = ReferenceRemover()
    assert_close(remover(both), torch.cat([remover(one), remover(two)]), rtol=0, atol=1e-6)


def test_a_window_with_its_margin_is_answered_as_the_whole_scene_is() -> None:
    seen, _ = scene(days=(-10, 20), side=280)
    m = torch.zeros_like(seen.cloud_map)
    m[..., 120:180, 40:260] = 0.6
    first = replace(flooded(seen).references[0], cloud_map=m.roll((30, -20), (-2, -1)))
    seen = replace(flooded(seen), cloud_map=m, references=(first, seen.references[1]))
    remover = ReferenceRemover(settings=ReferenceSettings(node_px=128), fallback=SceneAdapted())
    adapted = remover.adapt([seen])
    assert adapted.gains is not None
    whole, part = adapted.predict(seen), adapted.predict(cut(seen, 20, 24, 280, 260))
    top, edge = remover.margin_px, 24 + remover.margin_px
    for name in ("clear", "error", "confidence"):
        inside = getattr(part, name)[..., top:, top : 236 - top]
        assert_close(inside, getattr(whole, name)[..., 20 + top :, edge : 260 - top], rtol=0, atol=2e-6)
    assert torch.equal(part.source[..., top:, top:140], whole.source[..., 20 + top :, edge:164])


def test_learning_from_windows_is_learning_from_the_scene() -> None:
    seen, clear = scene(side=192)
    seen.cloud_map[:] = 0.0
    seen.cloud_map[..., 60:100, 60:140] = 1.0
    seen = replace(seen, cloudy=torch.where(seen.is_cloudy, 0.8, clear))
    remover = ReferenceRemover(settings=ReferenceSettings(erosion_px=0))
    whole = remover.adapt([seen])
    parts = remover.adapt([cut(seen, 0, 0, 192, 96), cut(seen, 0, 96, 192, 192)])
    assert whole.regression is not None
    assert parts.regression is not None
    assert whole.regression.pixels == parts.regression.pixels
    assert hidden_error(parts(seen), clear, seen) < 1.2 * hidden_error(whole(seen), clear, seen) < 0.004

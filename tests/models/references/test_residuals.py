import math

import pytest
import torch
from torch.testing import assert_close

from unclouded.models.references.residuals import LocalGains, carried, carried_reach_px


def carry(residual: torch.Tensor, origin: tuple[int, int] = (0, 0), levels: int = 4) -> torch.Tensor:
    return carried(residual, origin, torch.full_like(residual[:1], 0.01), levels, 0.02, 4.0)


def test_a_constant_residual_is_continued_under_a_narrow_cloud_and_fades_under_a_wide_one() -> None:
    residual = torch.full((2, 160, 160), 0.01)
    residual[:, :, 80:84] = math.nan
    assert_close(carry(residual)[:, 40:120, 80:84], torch.full((2, 80, 4), 0.01), rtol=0.05, atol=0)
    residual[:, :, 20:] = math.nan
    assert carry(residual)[:, :, 20 + carried_reach_px(4) :].abs().max().item() == 0.0


def test_detail_at_the_rim_is_continued_more_closely_than_far_away() -> None:
    residual = torch.zeros(1, 64, 64)
    residual[:, :32] = 0.02  # two fields with different errors
    residual[:, :, 32:] = math.nan
    total = carry(residual)
    assert total[0, 10, 33].item() == pytest.approx(0.02, abs=0.004)
    assert total[0, 50, 33].item() == pytest.approx(0.0, abs=0.004)


def test_a_window_is_carried_as_the_whole_scene_is() -> None:
    rng = torch.Generator().manual_seed(0)
    residual = 0.01 * torch.randn(3, 200, 220, generator=rng)
    residual[torch.rand(200, 220, generator=rng).lt(0.5).expand_as(residual)] = math.nan
    whole, reach = carry(residual), carried_reach_px(4)
    part = carry(residual[:, 13:, 27:], (13, 27))
    assert_close(part[:, reach:, reach:], whole[:, 13 + reach :, 27 + reach :], rtol=0, atol=1e-7)


def test_a_pixel_changes_nothing_beyond_the_reach() -> None:
    residual = torch.zeros(1, 200, 200)
    changed = residual.clone()
    changed[:, 100, 100] = 0.01
    moved = (carry(changed) != carry(residual))[0].nonzero()
    assert (moved - 100).abs().max().item() in range(20, carried_reach_px(4) + 1)


def test_an_outlier_is_hardly_carried() -> None:
    residual = torch.full((1, 40, 40), math.nan)
    residual[:, :, :20] = 0.0
    residual[:, 20, 19] = 0.5  # a cloud that was missed
    assert carry(residual)[0, 20, 21].abs().item() < 0.002


def test_gain_and_offset_of_two_halves_of_a_scene_are_found() -> None:
    rng = torch.Generator().manual_seed(0)
    position = torch.stack(
        [torch.randint(0, 64, (4000,), generator=rng), torch.randint(0, 1024, (4000,), generator=rng)]
    )
    predicted = 0.2 + 0.05 * torch.randn(2, 4000, generator=rng, dtype=torch.float64)
    right = position[1] >= 512
    residual = torch.where(right, 0.02 + 0.1 * (predicted - 0.2), 0.0)
    gains = LocalGains.fit(predicted, residual, torch.ones(4000, dtype=torch.float64), position, 128, 1e-3)
    assert gains is not None
    image = torch.full((2, 1, 1024), 0.3)
    added = gains(image, (10, 0))
    assert_close(added[:, 0, 800], torch.full((2,), 0.02 + 0.1 * 0.1), rtol=0, atol=2e-3)
    assert added[:, 0, 200].abs().max().item() < 2e-3
    assert_close(gains(image[:, :, 700:], (10, 700)), added[:, :, 700:], rtol=0, atol=1e-6)


def test_a_small_scene_has_no_local_gains() -> None:
    position = torch.stack([torch.arange(100), torch.arange(100)])
    even = torch.ones(1, 100, dtype=torch.float64)
    assert LocalGains.fit(even, even, even[0], position, 128, 0.1) is None

import math
from dataclasses import dataclass

import torch
from torch.testing import assert_close

from unclouded.models.adaptation.haze import REACH_OF_OBSERVED_PX, find_haze


@dataclass
class Through:
    detail: torch.Tensor
    weight: torch.Tensor


def detail_through_haze(observed: torch.Tensor, predicted: torch.Tensor, valid: torch.Tensor) -> Through:
    """Detail of the three visible bands of one image, everywhere."""
    seen, ground, known = observed[0].numpy(), predicted[0].numpy(), valid[0, 0].numpy()
    haze = find_haze(seen.mean(axis=0), ground.mean(axis=0), known)
    bands = [haze.detail(*pair, known | ~known) for pair in zip(seen, ground, strict=True)]
    return Through(torch.stack([*map(torch.from_numpy, bands)])[None], torch.from_numpy(haze.weight)[None, None])


def hazy(opacity: torch.Tensor | float, side: int = 160) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fine stripes of ground under haze; observed, ground, and a prediction that knows the ground's mean only."""
    stripes = 0.1 + 0.02 * (torch.arange(side) // 2 % 2).float().expand(1, 3, side, side)
    return (1 - opacity) * stripes + 0.8 * opacity, stripes, torch.full((1, 3, side, side), 0.11)


def everywhere(side: int = 160) -> torch.Tensor:
    return torch.ones(1, 1, side, side, dtype=torch.bool)


def test_stripes_under_thin_haze_come_through_at_full_contrast() -> None:
    observed, ground, predicted = hazy(0.08)
    through = detail_through_haze(observed, predicted, everywhere())
    assert_close(through.weight, torch.ones(1, 1, 160, 160))
    inner = (..., slice(50, 110), slice(50, 110))
    assert_close((predicted + through.detail)[inner], ground[inner], atol=5e-4, rtol=0)


def test_nothing_comes_through_thick_haze() -> None:
    observed, _, predicted = hazy(0.25)
    assert detail_through_haze(observed, predicted, everywhere()).detail.abs().max().item() == 0.0


def test_the_rim_of_a_cloud_is_no_detail_of_the_ground() -> None:
    rim = torch.zeros(1, 1, 160, 160)
    rim[..., 80:] = 0.15
    observed, _, predicted = hazy(rim)
    through = detail_through_haze(observed, predicted, everywhere())
    assert through.detail[..., 70:90].abs().max().item() == 0.0
    assert through.weight[..., :10].min().item() > 0.99


def test_the_detail_that_was_predicted_gives_way() -> None:
    observed, ground, _ = hazy(0.0)
    predicted = ground.transpose(-1, -2)
    through = detail_through_haze(observed, predicted, everywhere())
    inner = (..., slice(50, 110), slice(50, 110))
    assert_close((predicted + through.detail)[inner], ground[inner], atol=5e-4, rtol=0)


def test_fault_13_a_hole_weighs_nothing_and_spoils_nothing() -> None:
    observed, _, predicted = hazy(0.08)
    before = detail_through_haze(observed, predicted, everywhere())
    valid = everywhere()
    valid[..., 80, 80] = False
    holed = torch.where(valid, observed, math.nan)
    after = detail_through_haze(holed, predicted, valid)
    assert after.weight[0, 0, 80, 80].item() == 0.0
    assert after.detail.isfinite().all()
    assert_close(after.detail[..., 81:], before.detail[..., 81:], atol=1e-3, rtol=0)


def test_a_pixel_changes_nothing_beyond_the_reach() -> None:
    observed, _, predicted = hazy(0.08)
    changed = observed.clone()
    changed[..., 10, 10] = 0.2
    one, other = (detail_through_haze(image, predicted, everywhere()).detail for image in (observed, changed))
    moved = (one != other).any(dim=1)[0].nonzero()
    assert (moved - 10).abs().max().item() in range(48, REACH_OF_OBSERVED_PX + 1)

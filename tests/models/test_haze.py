import math

import torch
from torch.testing import assert_close

from unclouded.models.haze import REACH_OF_OBSERVED_PX, shown_through
from unclouded.sensors import RGB


def hazy(opacity: torch.Tensor | float, side: int = 160) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fine stripes of ground under haze; observed, ground, and a prediction that knows the ground's mean only."""
    stripes = 0.1 + 0.02 * (torch.arange(side) // 2 % 2).float().expand(1, 3, side, side)
    return (1 - opacity) * stripes + 0.8 * opacity, stripes, torch.full((1, 3, side, side), 0.11)


def everywhere(side: int = 160) -> torch.Tensor:
    return torch.ones(1, 1, side, side, dtype=torch.bool)


def test_stripes_under_thin_haze_come_through_at_full_contrast() -> None:
    observed, ground, predicted = hazy(0.08)
    through = shown_through(observed, predicted, everywhere(), RGB)
    assert_close(through.weight, torch.ones(1, 1, 160, 160))
    inner = (..., slice(50, 110), slice(50, 110))
    assert_close((predicted + through.detail)[inner], ground[inner], atol=5e-4, rtol=0)


def test_nothing_comes_through_thick_haze() -> None:
    observed, _, predicted = hazy(0.25)
    assert shown_through(observed, predicted, everywhere(), RGB).detail.abs().max().item() == 0.0


def test_the_rim_of_a_cloud_is_no_detail_of_the_ground() -> None:
    rim = torch.zeros(1, 1, 160, 160)
    rim[..., 80:] = 0.15
    observed, _, predicted = hazy(rim)
    through = shown_through(observed, predicted, everywhere(), RGB)
    assert through.detail[..., 70:90].abs().max().item() == 0.0
    assert through.weight[..., :10].min().item() > 0.99


def test_the_detail_that_was_predicted_gives_way() -> None:
    observed, ground, _ = hazy(0.0)
    predicted = ground.transpose(-1, -2)
    through = shown_through(observed, predicted, everywhere(), RGB)
    inner = (..., slice(50, 110), slice(50, 110))
    assert_close((predicted + through.detail)[inner], ground[inner], atol=5e-4, rtol=0)


def test_without_a_visible_band_nothing_is_said() -> None:
    observed, _, predicted = hazy(0.0)
    through = shown_through(observed[:, :2], predicted[:, :2], everywhere(), ("B11", "B12"))
    assert through.weight.max().item() == through.detail.abs().max().item() == 0.0


def test_fault_13_a_hole_weighs_nothing_and_spoils_nothing() -> None:
    observed, _, predicted = hazy(0.08)
    before = shown_through(observed, predicted, everywhere(), RGB)
    valid = everywhere()
    valid[..., 80, 80] = False
    holed = torch.where(valid, observed, math.nan)
    after = shown_through(holed, predicted, valid, RGB)
    assert after.weight[0, 0, 80, 80].item() == 0.0
    assert after.detail.isfinite().all()
    assert_close(after.detail[..., 81:], before.detail[..., 81:], atol=1e-3, rtol=0)


def test_a_pixel_changes_nothing_beyond_the_reach() -> None:
    observed, _, predicted = hazy(0.08)
    changed = observed.clone()
    changed[..., 10, 10] = 0.2
    one, other = (shown_through(image, predicted, everywhere(), RGB).detail for image in (observed, changed))
    moved = (one != other).any(dim=1)[0].nonzero()
    assert (moved - 10).abs().max().item() in range(48, REACH_OF_OBSERVED_PX + 1)

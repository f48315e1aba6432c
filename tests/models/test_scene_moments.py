import math

import pytest
import torch
from torch.testing import assert_close

from unclouded.models.scene_moments import NodeGrid, SceneMoments


def test_one_node_weighs_every_pixel_1_wherever_it_lies() -> None:
    ((node, weight),) = NodeGrid(None).weights((5000, 70), (3, 4))
    assert node == (0, 0)
    assert weight.tolist() == [[1.0] * 4] * 3


def test_a_pixel_a_quarter_of_the_way_belongs_three_quarters_to_the_node_it_left() -> None:
    weights = dict(NodeGrid(64).weights((0, 16), (1, 1)))
    assert {node: weight.item() for node, weight in weights.items()} == {(0, 0): 0.75, (0, 1): 0.25}


@pytest.mark.parametrize("origin", [(0, 0), (64, 128), (37, 90)])
def test_the_weights_of_a_pixel_sum_to_1(origin: tuple[int, int]) -> None:
    total = torch.stack([weight for _, weight in NodeGrid(64).weights(origin, (80, 130))]).sum(dim=0)
    assert_close(total, torch.ones(80, 130, dtype=torch.float64))


def test_sums_of_windows_are_the_sums_of_the_scene() -> None:
    rng = torch.Generator().manual_seed(0)
    features, values = torch.rand(3, 100, 90, generator=rng).double(), torch.rand(2, 100, 90, generator=rng).double()
    clear = torch.rand(100, 90, generator=rng) > 0.5
    has_data = torch.ones(100, 90, dtype=torch.bool)
    whole, parts = SceneMoments(NodeGrid(64)), SceneMoments(NodeGrid(64))
    whole.add((0, 0), features, values, clear, has_data)
    for top, bottom in ((0, 30), (30, 100)):
        cut = slice(top, bottom)
        parts.add((top, 0), features[:, cut], values[:, cut], clear[cut], has_data[cut])
    assert whole.products.keys() == parts.products.keys()
    for node, sums in whole.products.items():
        assert_close(parts.products[node], sums)
        assert math.isclose(parts.area_px[node], whole.area_px[node])
    assert_close(parts.low, features[:, clear].amin(dim=1))
    assert_close(parts.high, features[:, clear].amax(dim=1))


def test_two_pixels_by_hand() -> None:
    moments = SceneMoments(NodeGrid(None))
    features, values = torch.tensor([[[2.0, 3.0, 9.0]]]).double(), torch.tensor([[[0.1, 0.2, 9.0]]]).double()
    clear, has_data = torch.tensor([[True, True, False]]), torch.tensor([[True, True, True]])
    moments.add((0, 0), features, values, clear, has_data)
    assert_close(
        moments.products[0, 0],
        torch.tensor([[2.0, 5.0, 0.3], [5.0, 13.0, 0.8], [0.3, 0.8, 0.05]], dtype=torch.float64),
    )
    assert moments.area_px == {(0, 0): 3.0}

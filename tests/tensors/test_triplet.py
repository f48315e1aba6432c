from dataclasses import replace

import pytest
import torch

from unclouded.errors import InputError
from unclouded.tensors.triplet import Observation, Triplet


@pytest.fixture
def triplet() -> Triplet:
    """One pixel; each band holds its own number."""
    cloudy = torch.tensor([4.0, 3.0, 2.0]).view(1, 3, 1, 1)
    seen = Observation(torch.zeros(1, 2, 1, 1), cloudy, torch.tensor([[[[1e-9]]]]), ("B04", "B03", "B02"))
    return Triplet("one", seen, cloudy + 10)


def test_bands_are_selected_by_name_in_the_order_wanted(triplet: Triplet) -> None:
    picked = triplet.select(("B02", "B04"))
    assert picked.observation.bands == ("B02", "B04")
    assert picked.observation.cloudy.flatten().tolist() == [2, 4]
    assert picked.clear.flatten().tolist() == [12, 14]


def test_a_band_that_is_not_there_is_named(triplet: Triplet) -> None:
    with pytest.raises(InputError, match="expected the bands B04 B08, found B04 B03 B02; B08 is missing"):
        triplet.select(("B04", "B08"))


def test_any_m_above_0_is_cloudy(triplet: Triplet) -> None:
    assert triplet.observation.is_cloudy.item()


def test_a_window_knows_where_it_lies_and_a_patch_lies_at_its_own_corner() -> None:
    window = Observation(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), ("B04", "B03"))
    assert window.origin_px == (0, 0)
    moved = replace(window, origin_px=(512, 88))
    assert moved.select(("B03",)).origin_px == moved.to("cpu").origin_px == (512, 88)


def test_the_images_of_a_batch_come_apart_with_everything_that_is_theirs() -> None:
    batch = Observation(torch.rand(2, 2, 3, 4), torch.rand(2, 1, 3, 4), torch.rand(2, 1, 3, 4), ("B02",), (8, 12))
    one, two = batch.images()
    assert torch.equal(torch.cat([one.sar, two.sar]), batch.sar)
    assert torch.equal(two.cloudy, batch.cloudy[1:])
    assert (two.cloud_map.shape, two.origin_px, two.bands) == ((1, 1, 3, 4), (8, 12), ("B02",))

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from unclouded.errors import InputError
from unclouded.tensors.observation import Observation, Season, Triplet, stack, stack_observations


@pytest.fixture
def triplet() -> Triplet:
    """One pixel; each band holds its own number."""
    cloudy = torch.tensor([4.0, 3.0, 2.0]).view(1, 3, 1, 1)
    seen = Observation(torch.zeros(1, 2, 1, 1), cloudy, torch.tensor([[[[1e-9]]]]), ("B04", "B03", "B02"))
    return Triplet("one", seen, cloudy + 10)


def test_bands_are_selected_by_name_in_the_given_order(triplet: Triplet) -> None:
    picked = triplet.select(("B02", "B04"))
    assert picked.observation.bands == ("B02", "B04")
    assert picked.observation.cloudy.flatten().tolist() == [2, 4]
    assert picked.clear.flatten().tolist() == [12, 14]


def test_the_error_names_a_missing_band(triplet: Triplet) -> None:
    with pytest.raises(InputError, match="expected the bands B04 B08, found B04 B03 B02; B08 is missing"):
        triplet.select(("B04", "B08"))


def test_any_m_above_0_is_cloudy(triplet: Triplet) -> None:
    assert triplet.observation.is_cloudy.item()


def test_a_window_has_its_origin_and_a_patch_the_origin_zero() -> None:
    window = Observation(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), ("B04", "B03"))
    assert window.origin_px == (0, 0)
    moved = replace(window, origin_px=(512, 88))
    assert moved.select(("B03",)).origin_px == moved.to("cpu").origin_px == (512, 88)


def test_a_batch_is_split_into_its_observations() -> None:
    batch = Observation(torch.rand(2, 2, 3, 4), torch.rand(2, 1, 3, 4), torch.rand(2, 1, 3, 4), ("B02",), (8, 12))
    one, two = batch.images()
    assert torch.equal(torch.cat([one.sar, two.sar]), batch.sar)
    assert torch.equal(two.cloudy, batch.cloudy[1:])
    assert (two.cloud_map.shape, two.origin_px, two.bands) == ((1, 1, 3, 4), (8, 12), ("B02",))


def test_a_data_loader_without_a_collate_function_joins_triplets_and_observations(triplet: Triplet) -> None:
    items = [triplet, replace(triplet, name="two", clear=triplet.clear + 1), triplet]
    batches = list(DataLoader(items, batch_size=2))  # type: ignore[arg-type]
    assert [batch.name for batch in batches] == ["one, two", "one"]
    assert batches[0].clear[:, 0, 0, 0].tolist() == [14, 15]
    assert batches[0].observation.bands == ("B04", "B03", "B02")
    assert batches[0].observation.cloud_map.shape == (2, 1, 1, 1)
    (seen,) = DataLoader([triplet.observation] * 3, batch_size=3)  # type: ignore[arg-type]
    assert seen.cloudy.shape == (3, 3, 1, 1)
    (both,) = DataLoader([(triplet, 1), (triplet, 2)], batch_size=2)  # type: ignore[arg-type]
    assert both[0].clear.shape[0] == 2 and both[1].tolist() == [1, 2]


def test_triplets_of_different_bands_or_sizes_are_not_stacked(triplet: Triplet) -> None:
    with pytest.raises(InputError, match="of the same size, 1 x 1 px of B04 B03 B02, found 1 x 1 px of B02"):
        stack([triplet, triplet.select(("B02",))])
    seen = triplet.observation
    wide = Observation(*(image.expand(-1, -1, 1, 2) for image in (seen.sar, seen.cloudy, seen.cloud_map)), seen.bands)
    with pytest.raises(InputError, match="found 1 x 2 px of B04 B03 B02; crop them"):
        stack([triplet, replace(triplet, observation=wide, clear=triplet.clear.expand(-1, -1, 1, 2))])


def test_each_image_of_a_batch_keeps_its_acquisition(triplet: Triplet) -> None:
    spring = Season(105, -33.0)
    dated = replace(triplet.observation, seasons=(spring,))
    batch = stack_observations([triplet.observation, dated])
    assert batch.each_season() == (None, spring)
    assert [one.each_season() for one in batch.select(("B04",)).to("cpu").images()] == [(None,), (spring,)]

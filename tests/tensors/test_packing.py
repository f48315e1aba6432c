"""Packing as a whole is tested beside the store that it makes, in ``test_store.py``."""

from pathlib import Path

import pytest
import torch

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.packing import pack
from unclouded.tensors.store import HEADER
from unclouded.tensors.triplet import Observation, Triplet


def image(reflectance: float) -> torch.Tensor:
    return torch.full((1, 1, 8, 8), reflectance)


def triplet(cloudy: float, clear: float, synthetic: SyntheticSettings | None = None) -> TripletDataset:
    """One triplet of 8 px with reflectances that no file needs to hold."""

    class OneTriplet(TripletDataset):
        names = ("one",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Triplet:
            seen = Observation(torch.zeros(1, 2, 8, 8), image(cloudy), torch.ones(1, 1, 8, 8), self.bands)
            return Triplet("one", seen, image(clear))

    return OneTriplet((), ("B04",), CloudMapSettings(mode="ones"), synthetic=synthetic)


@pytest.mark.parametrize("clear", [0.0, 0.0001, 0.1234, 1.7014, 6.5535])
def test_every_stored_number_comes_back(clear: float, tmp_path: Path) -> None:
    packed = pack(triplet(0.5, clear), {"one": "all"}, tmp_path)
    assert packed[0].clear.equal(image(clear))
    assert packed[0].observation.cloudy.equal(image(0.5))


@pytest.mark.parametrize("clear", [-0.0001, 0.12345, 6.5536, torch.nan])
def test_what_16_bits_cannot_give_back_is_refused_by_name(clear: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one has reflectances that are no whole numbers x 0.0001 from 0; train from"):
        pack(triplet(0.5, clear), {"one": "all"}, tmp_path)
    assert not (tmp_path / HEADER).exists()


def test_painted_clouds_may_have_any_reflectance(tmp_path: Path) -> None:
    packed = pack(triplet(0.12345, 0.5, SyntheticSettings(mode="perlin")), {"one": "all"}, tmp_path)
    assert packed[0].observation.cloudy.equal(image(0.12345))

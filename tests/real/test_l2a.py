"""Twins of real L1C triplets at the surface: the result is close to the same transform of the result of L1C."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unclouded.clouds.map import CloudMapSettings
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.adaptation.standard_atmosphere import ATMOSPHERE
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation

BANDS = tuple(ATMOSPHERE)
"""L2A without B09, which no linear atmosphere turns into surface reflectance."""


def to_surface(image: Tensor) -> Tensor:
    """A known linear atmosphere: 6SV's, without the light that is reflected twice."""
    gas, path, dim = (
        torch.tensor([getattr(ATMOSPHERE[band], name) for band in BANDS]).view(-1, 1, 1)
        for name in ("gas", "path", "scattering")
    )
    return (image / gas - path) / dim


@pytest.fixture(scope="module")
def observations(samples: Path) -> list[Observation]:
    found = TripletDataset(find_triplets(samples / "triplets").triplets, SENTINEL2.bands, CloudMapSettings())
    return [triplet.observation.select(BANDS) for triplet in found]


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda bands: baseline("clear-mean", bands), 1e-6),
        (lambda bands: baseline("sar-regression", bands), 1e-5),
        (SceneAdapted, 3e-3),  # its prior is converted with all reflections
    ],
)
def test_l2a_twins_of_l1c_have_the_same_result(
    observations: list[Observation], make: Callable[[tuple[str, ...]], CloudRemover], most: float
) -> None:
    remover, differences = make(BANDS), []
    for seen in observations:
        if (seen.cloud_map == 0).double().mean() < 0.05:
            continue
        twin = replace(seen, cloudy=to_surface(seen.cloudy), level="L2A")
        expected, found = to_surface(remover(seen)), remover(twin)
        cloudy = seen.is_cloudy.expand_as(found)
        assert torch.equal(found[~cloudy], twin.cloudy[~cloudy])
        differences.append((found - expected).abs()[cloudy].mean().item())
    assert len(differences) >= 6
    assert np.mean(differences) < most

from pathlib import Path
from typing import Literal

import pytest
import torch

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.models.baselines import baseline
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.cyclegan import initialise
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.roi import PatchId
from unclouded.prediction.evaluation_source import evaluate_remover, remover_source
from unclouded.tensors.observation import Observation, Triplet

BANDS = ("B04", "B03")


@pytest.fixture
def one() -> Triplet:
    """Two pixels, the left one clear, the right one cloudy."""
    cloudy = torch.tensor([[[[0.1, 0.9]], [[0.2, 0.8]]]])
    seen = Observation(torch.full((1, 2, 1, 2), -12.5), cloudy, torch.tensor([[[[0.0, 1.0]]]]), BANDS)
    return Triplet("one", seen, torch.zeros(1, 2, 1, 2))


@pytest.mark.parametrize(("keep", "left"), [(True, 0.1), (False, 0.5)])
def test_clear_pixels_are_kept_unless_the_plain_output_is_evaluated(keep: bool, left: float, one: Triplet) -> None:
    ((_, prediction),) = evaluate_remover(baseline("sar-vv", BANDS), [one], keep_clear=keep)
    assert prediction[0, 0, 0].tolist() == pytest.approx([left, 0.5])  # -12.5 dB is half way from -25 to 0


def test_the_remover_sees_its_own_bands_in_its_own_order(one: Triplet) -> None:
    ((triplet, _),) = evaluate_remover(baseline("cloudy", ("B03", "B04")), [one])
    assert triplet.observation.bands == ("B03", "B04")
    assert triplet.observation.cloudy[0, 0, 0].tolist() == pytest.approx([0.2, 0.8])


@pytest.mark.parametrize(("mode", "equal"), [("ones", True), ("continuous", False)])
def test_the_input_of_the_ablation_has_m_1_and_its_scores_the_map_of_the_triplets(
    mode: Literal["ones", "continuous"], equal: bool
) -> None:
    settings = NetworkSettings(bands=BANDS, width=1)
    generator = settings.build()
    initialise(generator, torch.Generator().manual_seed(0))
    network = NetworkRemover(generator, settings, trained_map=TrainedMap(CloudMapSettings(mode=mode)))
    rng, size = torch.Generator().manual_seed(1), (8, 8)
    sar, cloudy = -25 * torch.rand(1, 2, *size, generator=rng), torch.rand(1, 2, *size, generator=rng)
    maps = [torch.ones(1, 1, *size), torch.rand(1, 1, *size, generator=rng)]
    triplets = [Triplet("one", Observation(sar, cloudy, m, BANDS), cloudy) for m in maps]
    found = list(evaluate_remover(network, triplets, keep_clear=False))
    assert torch.equal(found[0][1], found[1][1]) == equal
    assert torch.equal(found[1][0].observation.cloud_map, maps[1])


def test_fault_18_l2a_weights_are_not_evaluated_on_l1c() -> None:
    settings = NetworkSettings(width=2, level="L2A")
    with pytest.raises(InputError, match="network was trained on L2A, expected L1C for these images; choose others"):
        remover_source(NetworkRemover(settings.build(), settings), ())


@pytest.mark.parametrize(
    ("training", "patches", "training_overlap"),
    [
        (
            {"regions": "ROIs1158_spring_1 ROIs1158_spring_106"},
            ("ROIs1158_spring_106_p3", "ROIs1158_spring_10_p3"),
            ("ROIs1158_spring_106",),
        ),
        ({"regions": "ROIs1158_spring_1"}, ("ROIs1158_spring_10_p1",), ()),  # a prefix is no region
        ({"regions": "ROIs1158_spring_1"}, ("ROIs1158_spring_1_p1", "holiday"), None),
        ({}, ("ROIs1158_spring_1_p1",), None),
    ],
    ids=["shared", "apart", "a patch without region", "weights without regions"],
)
def test_the_training_overlap_is_read_from_the_weights(
    training: dict[str, str], patches: tuple[str, ...], training_overlap: tuple[str, ...] | None
) -> None:
    settings = NetworkSettings(width=1)
    network = NetworkRemover(settings.build(), settings, training=training)
    assert remover_source(network, files(*patches)).training_overlap == training_overlap


def test_a_baseline_has_no_training_overlap() -> None:
    assert remover_source(baseline("clear-mean"), files("holiday")).training_overlap == ()


def files(*names: str) -> tuple[TripletFiles, ...]:
    where = (Path("s1"), Path("s2_cloudy"), Path("s2"))
    return tuple(TripletFiles(name, PatchId.parse(name) if name.startswith("ROIs") else None, *where) for name in names)

from pathlib import Path

import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.baselines import baseline
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

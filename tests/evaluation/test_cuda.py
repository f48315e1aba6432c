"""Evaluation on a graphics processor, without one; see :mod:`simulated_device`."""

import pytest
import torch
from simulated_device import CUDA, simulated_cuda
from torch import Tensor

from unclouded.evaluation.features import FeatureExtractor, FeatureSettings, Layer
from unclouded.models.remover import FunctionRemover
from unclouded.prediction import evaluation_source
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Triplet
from unclouded.vgg import Vgg16, VggSource

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch was built without CUDA")


def triplet() -> Triplet:
    sar, cloudy, clear, cloud_map = (torch.empty(1, channels, 16, 16) for channels in (2, 3, 3, 1))
    return Triplet("one", Observation(sar, cloudy, cloud_map, RGB), clear)


def test_a_batch_is_predicted_on_the_device_and_scored_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_source, "require_prediction", lambda prediction, *_: prediction)
    monkeypatch.setattr(evaluation_source, "RIM", 0.0)  # blending selects pixels by their values, which are not there
    seen: list[Tensor] = []

    def predicted(observation: Observation) -> Tensor:
        seen.append(observation.cloudy)
        return observation.cloudy * 2

    with simulated_cuda():
        remover = FunctionRemover("twice", RGB, predicted)
        pairs = list(evaluate_remover(remover, [triplet(), triplet(), triplet()], device="cuda:0", batch=2))
    assert [(one.device, len(one)) for one in seen] == [(CUDA, 2), (CUDA, 1)]
    assert {one.device.type for triple, prediction in pairs for one in (triple.clear, prediction)} == {"cpu"}


@pytest.mark.parametrize(("layer", "length"), [("pool5", 512), ("fc2", 4096)])
def test_features_are_computed_on_the_device_and_kept_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, layer: Layer, length: int
) -> None:
    from torchvision.models import vgg16

    monkeypatch.setattr("unclouded.evaluation.features._weights_hash", lambda *_: "0")
    monkeypatch.setattr("unclouded.evaluation.features._spelled", lambda *_: [0.0])
    with torch.device("meta"):
        shapes = {name: tuple(one.shape) for name, one in vgg16().state_dict().items()}
    with simulated_cuda():
        vgg = Vgg16({name: torch.empty(shape) for name, shape in shapes.items()}, VggSource("none", "0"))
        vgg.to("cuda:0")
        assert {one.device for one in (*vgg.parameters(), *vgg.buffers())} == {CUDA}
        feature = FeatureExtractor(vgg, FeatureSettings(layer=layer))._computed(torch.empty(1, 3, 16, 16))
    assert (feature.device.type, tuple(feature.shape)) == ("cpu", (length,))

"""A step on a graphics processor, without one; see :mod:`simulated_device`."""

from collections.abc import Iterator

import pytest
import torch
from lightning_fabric import Fabric
from simulated_device import CUDA, simulated_cuda

from unclouded.settings import settings_from
from unclouded.training import objectives, step
from unclouded.training.losses import PerceptualLoss
from unclouded.training.objectives import build_objective
from unclouded.training.settings import Precision, TrainSettings
from unclouded.training.step import Batch
from unclouded.vgg import Vgg16, VggSource

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch knows no CUDA")


class OnCuda(Fabric):
    """One rank on a device that need not be there."""

    device = CUDA  # type: ignore[assignment]

    def to_device(self, obj: torch.nn.Module) -> torch.nn.Module:  # type: ignore[override]
        return obj.to(CUDA)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A simulated device, and no random numbers."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_: True)
    for module in (objectives, step):
        monkeypatch.setattr(module, "initialise", lambda *_: None)
    monkeypatch.setattr(objectives, "perceptual_loss", lambda _, bands: PerceptualLoss(vgg16(), bands))
    with simulated_cuda():
        yield


def vgg16() -> Vgg16:
    from torchvision.models import vgg16

    state = {name: one for name, one in vgg16().state_dict().items() if name.startswith("features.")}
    return Vgg16(state, VggSource("none", "0"))


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("objective", "precision", "perceptual"),
    [("cycle", "bf16-mixed", 0.0), ("cycle", "16-mixed", 1.0), ("conditional", "32-true", 0.0)],
)
def test_all_terms_of_a_step_are_made_on_the_device_in_float32(
    objective: str, precision: Precision, perceptual: float
) -> None:
    content = {
        "patches": "x",
        "objective": objective,
        "paired_percent": 100,
        "pool": 0,
        "network": {"width": 1},
        "discriminator_width": 1,
        "loss": {"feature": perceptual, "style": perceptual},
        "device": {"precision": precision},
    }
    made = build_objective(settings_from(TrainSettings, content), OnCuda(accelerator="cpu"))
    tensors = [one for net in made.networks.values() for one in (*net.parameters(), *net.buffers())]
    assert {one.device for one in tensors} == {CUDA}
    images = [torch.empty(2, channels, 32, 32, device=CUDA) for channels in (3, 3, 3, 1)]
    seen = Batch(*images, paired=(True, objective != "cycle"), names="two")
    loss_of_generators, generated = made.generator_loss(seen)
    assert not generated.optical.requires_grad
    assert ("style" in loss_of_generators.terms) == bool(perceptual)
    for loss, terms in (loss_of_generators, made.discriminator_loss(seen, generated)):
        assert loss.requires_grad
        assert {(one.device, one.dtype) for one in (loss, *terms.values())} == {(CUDA, torch.float32)}

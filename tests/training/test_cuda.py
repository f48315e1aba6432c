"""A step on a graphics processor, without one: tensors that have shape, type and device, and no memory.

Two tensors of different devices in one operation are an error there, as they are on the real device.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Literal

import pytest
import torch
from lightning_fabric import Fabric
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from unclouded.settings import settings_from
from unclouded.training import objectives, step
from unclouded.training.objectives import build_objective
from unclouded.training.settings import TrainSettings
from unclouded.training.step import Batch

Precision = Literal["32-true", "bf16-mixed"]

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch knows no CUDA")


class OnCuda(Fabric):
    """One rank on a device that need not be there."""

    device = torch.device("cuda", 0)  # type: ignore[assignment]

    def __init__(self, precision: Precision) -> None:
        super().__init__(accelerator="cpu")
        self._mixed = precision == "bf16-mixed"

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast("cuda", torch.bfloat16) if self._mixed else nullcontext()

    def to_device(self, obj: torch.nn.Module) -> torch.nn.Module:  # type: ignore[override]
        return obj


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is made on the device, by nobody's random numbers."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_: True)
    monkeypatch.setattr("torch.nn.Module.to", lambda self, *_, **__: self)  # parameters without memory do not move
    for module in (objectives, step):
        monkeypatch.setattr(module, "initialise", lambda *_: None)
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(shape_env=ShapeEnv()))
        stack.enter_context(torch.device("cuda"))
        yield


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(("objective", "precision"), [("cycle", "bf16-mixed"), ("conditional", "32-true")])
def test_all_terms_of_a_step_are_made_on_the_device_in_float32(objective: str, precision: Precision) -> None:
    content = {
        "patches": "x",
        "objective": objective,
        "paired_percent": 100,
        "pool": 0,
        "network": {"width": 1},
        "discriminator_width": 1,
        "loss": {"feature": 0, "style": 0},
        "device": {"precision": precision},
    }
    made = build_objective(settings_from(TrainSettings, content), OnCuda(precision))
    images = [torch.empty(2, channels, 32, 32) for channels in (3, 3, 3, 1)]
    seen = Batch(*images, paired=(True, objective != "cycle"), names="two")
    loss_of_generators, generated = made.generator_loss(seen)
    assert not generated.optical.requires_grad
    for loss, terms in (loss_of_generators, made.discriminator_loss(seen, generated)):
        assert loss.requires_grad
        assert {(one.device.type, one.dtype) for one in (loss, *terms.values())} == {("cuda", torch.float32)}

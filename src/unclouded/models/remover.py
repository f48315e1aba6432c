"""Interfaces of cloud removers: networks, baselines and external models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.tensors.observation import Observation


@runtime_checkable
class CloudRemover(Protocol):
    """Anything that answers an observation with a clear image; prediction and evaluation know nothing else."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        ...

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where there is nothing to make it from."""
        ...


@runtime_checkable
class SceneRemover(Protocol):
    """A remover that can be told of a whole scene first, so that its answer does not depend on how a scene is cut.

    A network freezes the statistics of its instance norms, a regression its coefficients: whatever it would otherwise
    learn from each window. Between scenes nothing is kept.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        ...

    @property
    def margin_px(self) -> int:
        """How far away a pixel can change the adapted remover's answer; windows are given this much more."""
        ...

    @property
    def align_px(self) -> int:
        """Rows and columns in which windows start are multiples of this, counted from the scene's corner."""
        ...

    def adapt(self, sample: Sequence[Observation]) -> CloudRemover:
        """Return a remover for windows of the scene that a sample was taken from.

        The answer of the adapted remover at a pixel depends on nothing but the sample and the pixels within
        ``margin_px``; at its edges a window is continued as the whole scene would be. Windows may have pixels without
        data: there, and nowhere else, may the answer be NaN.

        Args:
            sample: Windows spread over the scene, each a batch of one with its ``origin_px``; at least one. Pixels
                without data do not count. Where the scene is small, the sample is the scene.
        """
        ...


@runtime_checkable
class ConfidentRemover(CloudRemover, Protocol):
    """A remover, adapted or not, that also says how far its answer can be trusted."""

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image, and the confidence in it: 0 a guess, 1 as good as observed; NaN without data."""
        ...


@dataclass(frozen=True, eq=False)
class FunctionRemover:
    """A :class:`CloudRemover` whose answer is a function, such as another remover that is shown something else.

    Attributes:
        name: What tables call it.
        bands: Optical bands it needs, and returns in this order.
        answer: From an observation to its clear image.
    """

    name: str
    bands: tuple[str, ...]
    answer: Callable[[Observation], Tensor]

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where there is nothing to make it from."""
        return self.answer(observation)


def adapt_per_image(
    remover: SceneRemover, observation: Observation
) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
    """Return answer and confidence for a batch whose images are scenes of their own.

    Args:
        remover: One whose adapted removers are confident.
        observation: Images, each of which the remover is adapted to before it answers.
    """
    answers = []
    for image in observation.images():
        adapted = remover.adapt([image])
        assert isinstance(adapted, ConfidentRemover)
        answers.append(adapted.with_confidence(image))
    return torch.cat([answer for answer, _ in answers]), torch.cat([sure for _, sure in answers])


def keep_clear_pixels(
    prediction: Float[Tensor, "batch band h w"], observation: Observation
) -> Float[Tensor, "batch band h w"]:
    """Put back the observed value where m = 0: what a user gets, beside what a network says.

    Args:
        prediction: TOA reflectance, of the bands of the observation.
        observation: What it was made from.
    """
    return torch.where(observation.is_cloudy, prediction, observation.cloudy)

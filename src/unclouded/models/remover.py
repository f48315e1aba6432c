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
    """A callable that predicts the clear image of an observation: all that prediction and evaluation require.

    Pixels without radar are passed to a remover only if it has an attribute ``needs_radar`` that is False, and images
    of Level-2A only if it has an attribute ``level`` that is ``L2A``, or None for both levels.
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of input and output, in this order."""
        ...

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where it cannot be predicted."""
        ...


@runtime_checkable
class SceneRemover(Protocol):
    """A remover that can be adapted to a whole scene, so that its result does not depend on how the scene is cut.

    Adapting fixes everything that would otherwise be estimated from each window, such as the statistics of the instance
    norms of a network, or the coefficients of a regression. The remover itself does not change.
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of input and output, in this order."""
        ...

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result of the adapted remover; windows have this margin."""
        ...

    @property
    def align_px(self) -> int:
        """First rows and columns of windows are multiples of this number, counted from the corner of the scene."""
        ...

    def adapt(self, sample: Sequence[Observation]) -> CloudRemover:
        """Return a remover for windows of the scene that a sample was taken from.

        The result of the adapted remover at a pixel depends only on the sample and on the pixels within ``margin_px``.
        At the edges of the scene a window is extrapolated as the whole scene would be. Windows may have pixels without
        data; the result may be NaN only there.

        Args:
            sample: Windows spread over the scene, at least one, each a batch of one with its ``origin_px``; the whole
                scene if it is small. Pixels without data do not count.
        """
        ...


@runtime_checkable
class ConfidentRemover(CloudRemover, Protocol):
    """A remover, adapted or not, that also returns a confidence."""

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and its confidence: 0 a guess, 1 as good as observed; NaN without data."""
        ...


@runtime_checkable
class UncertainRemover(CloudRemover, Protocol):
    """A remover, adapted or not, that also estimates the uncertainty of its result."""

    def with_uncertainty(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch band h w"] | None]:
        """Return the clear image and its standard deviation, TOA reflectance; None if there is no estimate."""
        ...


@runtime_checkable
class RemarkedRemover(CloudRemover, Protocol):
    """A remover, adapted or not, with a remark for the user about its images."""

    @property
    def remark(self) -> str:
        """Clause for warnings and for the summary of a scene; empty for none."""
        ...


def needs_radar(remover: "CloudRemover | SceneRemover") -> bool:
    """Return whether a remover needs radar at every pixel that it predicts.

    A remover that also predicts pixels whose radar is NaN has an attribute ``needs_radar`` that is False.
    """
    return bool(getattr(remover, "needs_radar", True))


def uses_references(remover: CloudRemover) -> bool:
    """Return whether the result of a remover depends on ``Observation.references``.

    A remover that uses other dates has an attribute ``uses_references`` that is True.
    """
    return bool(getattr(remover, "uses_references", False))


@dataclass(frozen=True, eq=False)
class FunctionRemover:
    """A :class:`CloudRemover` made of a function, such as another remover with a changed input.

    Attributes:
        name: Name in tables.
        bands: Optical bands of input and output, in this order.
        answer: Function from an observation to its clear image.
        needs_radar: Whether it needs radar, see :func:`needs_radar`.
    """

    name: str
    bands: tuple[str, ...]
    answer: Callable[[Observation], Tensor]
    needs_radar: bool = True

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where it cannot be predicted."""
        return self.answer(observation)


def adapt_per_image(
    remover: SceneRemover, observation: Observation
) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
    """Return the clear images of a batch and their confidence; every image is treated as a separate scene.

    Args:
        remover: Remover whose :meth:`SceneRemover.adapt` returns a :class:`ConfidentRemover`.
        observation: Images; the remover is adapted to each of them.
    """
    predictions, confidences = [], []
    for image in observation.images():
        adapted = remover.adapt([image])
        assert isinstance(adapted, ConfidentRemover)
        prediction, confidence = adapted.with_confidence(image)
        predictions.append(prediction)
        confidences.append(confidence)
    return torch.cat(predictions), torch.cat(confidences)


RIM = 0.001
"""Value of m up to which a product blends the observed image with the prediction.

At the rim of the map the ground is visible, and a sharp border would be, too. With the paper's map the blend is 2 px
wide; wider ones cost accuracy under real clouds, whose rim is hazy (``proofs/scene_adapted.py``).
"""


def keep_clear_pixels(
    prediction: Float[Tensor, "batch band h w"], observation: Observation, rim: float = 0.0
) -> Float[Tensor, "batch band h w"]:
    """Put back the observed value where m = 0, and blend it with the prediction at the rim of the map.

    The weight of the prediction is 3 t^2 - 2 t^3 with t = m / rim, a function of m alone, so that the result does not
    depend on how a scene is cut.

    Args:
        prediction: TOA reflectance, of the bands of the observation.
        observation: Input of the prediction.
        rim: Value of m from which the prediction is unchanged; :data:`RIM` in products, 0 for no blend.
    """
    kept = torch.where(observation.is_cloudy, prediction, observation.cloudy).contiguous()
    if rim <= 0:
        return kept
    t = (observation.cloud_map / rim).clamp(0.0, 1.0).to(prediction.dtype)
    if kept.device.type != "cpu":  # without waiting for the device to count the pixels
        blended = torch.lerp(observation.cloudy.to(prediction.dtype), prediction, t * t * (3 - 2 * t))
        return torch.where((t > 0) & (t < 1), blended.to(kept.dtype), kept)
    for image, observed, answer, weight in zip(kept, observation.cloudy, prediction, t, strict=True):
        where = ((weight > 0) & (weight < 1)).flatten().nonzero()[:, 0]
        if len(where):
            start, end, share = (one.flatten(1)[:, where] for one in (observed.to(prediction.dtype), answer, weight))
            image.flatten(1)[:, where] = torch.lerp(start, end, share * share * (3 - 2 * share)).to(image.dtype)
    return kept

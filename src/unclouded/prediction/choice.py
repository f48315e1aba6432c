"""The default remover of scenes: of those that need no training data, the one that errs least on this very scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover, each_by_itself
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.expected_error import ExpectedError, adapted, expected_error
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation

CLEARLY = 0.95
"""Another remover is used if it errs less than this times as much.

A little less is no reason: the covered ground has no shadow on it and is clean right up to the painted clouds, which
flatters removers that take what lies between real clouds at its word.
"""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A remover that was chosen for a scene, and why.

    Attributes:
        remover: Adapted to the scene.
        confident: Tells how much the scene says about a pixel, whichever remover is used.
        expected: What each candidate was worth; None where the scene has too little clear ground to tell, and the
            first candidate was taken.
    """

    remover: CloudRemover
    confident: ConfidentRemover
    expected: ExpectedError | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.remover.name

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.remover.bands

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance."""
        return self.remover(observation)

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image, and the confidence in it."""
        if self.remover is self.confident:
            return self.confident.with_confidence(observation)
        answer = self.remover(observation)
        _, sure = self.confident.with_confidence(observation)
        return answer, sure.masked_fill(answer.isnan().any(dim=1, keepdim=True), math.nan)


@dataclass(frozen=True)
class BestOfScene:
    """A :class:`~unclouded.models.remover.SceneRemover` that decides by the expected error of the scene.

    Attributes:
        preferred: Used unless another one errs clearly less.
        others: Of the same bands.
        seed: Of the clouds that the candidates are judged under.
    """

    preferred: SceneAdapted
    others: tuple[CloudRemover, ...]
    seed: int = 0
    name: str = "auto"

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.preferred.bands

    @property
    def margin_px(self) -> int:
        """The widest of the candidates'."""
        others = (one.margin_px for one in self.others if isinstance(one, SceneRemover))
        return max(self.preferred.margin_px, *others, 0)

    @property
    def align_px(self) -> int:
        """Windows may start anywhere: all candidates are rules of pixels and their surroundings."""
        return 1

    def adapted_to(self, sample: Sequence[Observation]) -> Chosen:
        """Compare the candidates on the clear ground of the sample, and adapt the best of them."""
        candidates = (self.preferred, *self.others)
        expected = expected_error(candidates, sample, np.random.default_rng(self.seed))
        first = self.preferred.adapted_to(sample)
        if expected is None or not _clearly_better(expected, self.preferred.name):
            return Chosen(first, first, expected)
        best = next(one for one in self.others if one.name == expected.best)
        return Chosen(adapted(best, sample), first, expected)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; every image of a batch is a scene of its own."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and the confidence in it; every image of a batch is a scene of its own."""
        return each_by_itself(self, observation)


def _clearly_better(expected: ExpectedError, than: str) -> bool:
    return expected.rows[expected.best].mae < CLEARLY * expected.rows[than].mae


def best_of_scene(bands: tuple[str, ...] = RGB) -> BestOfScene:
    """Return the default remover: ``scene-adapted``, unless ``clear-mean`` or ``sar-regression`` errs less."""
    return BestOfScene(SceneAdapted(bands), (baseline("clear-mean", bands), baseline("sar-regression", bands)))

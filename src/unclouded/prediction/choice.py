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
from unclouded.prediction.expected_error import (
    FEWEST_PX,
    LEAST_JUDGED_SHARE,
    ExpectedError,
    adapted,
    expected_error,
)
from unclouded.prediction.provenance import percent
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
        reason: Why this remover, in a sentence.
    """

    remover: CloudRemover
    confident: ConfidentRemover
    expected: ExpectedError | None
    reason: str

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
        name, reason = choose(expected, self.preferred.name)
        if name == self.preferred.name:
            return Chosen(first, first, expected, reason)
        best = next(one for one in self.others if one.name == name)
        return Chosen(adapted(best, sample), first, expected, reason)

    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image; every image of a batch is a scene of its own."""
        return self.with_confidence(observation)[0]

    def with_confidence(
        self, observation: Observation
    ) -> tuple[Float[Tensor, "batch band h w"], Float[Tensor, "batch 1 h w"]]:
        """Return the clear image and the confidence in it; every image of a batch is a scene of its own."""
        return each_by_itself(self, observation)


def choose(expected: ExpectedError | None, preferred: str) -> tuple[str, str]:
    """Return the name of the remover to use, and the reason in a sentence.

    Args:
        expected: Errors on covered clear ground; None where there is too little of it.
        preferred: Used unless another one errs clearly less, or it answered too few of the covered pixels.
    """
    if expected is None:
        return (
            preferred,
            f"{preferred} was used, for fewer than {FEWEST_PX} px of clear ground could be covered to compare",
        )
    left_out = "".join(
        f"; {name} was left out, for it answered {percent(expected.judged_share(name))} of them, and "
        f"{percent(LEAST_JUDGED_SHARE)} are needed"
        for name in expected.rows
        if expected.judged_share(name) < LEAST_JUDGED_SHARE
    )
    on = f"on {expected.pixels:,} covered px of clear ground"
    best, rows = expected.best, expected.rows
    if best is None:
        return preferred, f"{preferred} was used, for no remover could be judged {on}{left_out}"
    if expected.judged_share(preferred) < LEAST_JUDGED_SHARE:
        return best, f"{best} was used, with a mean error of {rows[best].mae:.4f} {on}{left_out}"
    if best == preferred:
        return best, f"{best} was used, for it erred least {on}{left_out}"
    less = f"erred {percent(1 - rows[best].mae / rows[preferred].mae)} less than"
    if rows[best].mae < CLEARLY * rows[preferred].mae:
        return best, f"{best} was used, for it {less} {preferred} {on}{left_out}"
    needed = f"and a change needs more than {percent(1 - CLEARLY)}"
    return preferred, f"{preferred} was used, for {best} {less} it {on}, {needed}{left_out}"


def best_of_scene(bands: tuple[str, ...] = RGB) -> BestOfScene:
    """Return the default remover: ``scene-adapted``, unless ``clear-mean`` or ``sar-regression`` errs less."""
    return BestOfScene(SceneAdapted(bands), (baseline("clear-mean", bands), baseline("sar-regression", bands)))

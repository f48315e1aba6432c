"""The default remover of scenes: of those that need no training data, the one that errs least on this very scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, ConfidentRemover, SceneRemover
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.expected_error import ExpectedError, adapted, expected_error
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation


@dataclass(frozen=True, eq=False)
class Chosen:
    """A remover that was chosen for a scene, and why.

    Attributes:
        remover: Adapted to the scene.
        expected: What each candidate was worth; None where the scene has too little clear ground to tell, and the
            first candidate was taken.
    """

    remover: CloudRemover
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
        """Return the clear image, and the confidence in it: 0 under cloud where the remover tells none."""
        if isinstance(self.remover, ConfidentRemover):
            return self.remover.with_confidence(observation)
        answer = self.remover(observation)
        sure = (~observation.is_cloudy).to(answer.dtype)
        return answer, sure.masked_fill(answer.isnan().any(dim=1, keepdim=True), float("nan"))


@dataclass(frozen=True)
class BestOfScene:
    """A :class:`~unclouded.models.remover.SceneRemover` that decides by the expected error of the scene.

    Attributes:
        candidates: Removers, the preferred one first.
        seed: Of the clouds that the candidates are judged under.
    """

    candidates: tuple[SceneAdapted | CloudRemover, ...]
    seed: int = 0
    name: str = "auto"

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands it needs, and returns in this order."""
        return self.candidates[0].bands

    @property
    def margin_px(self) -> int:
        """The widest of the candidates'."""
        return max(one.margin_px for one in self.candidates if isinstance(one, SceneRemover))

    @property
    def align_px(self) -> int:
        """Windows may start anywhere: all candidates are rules of pixels and their surroundings."""
        return 1

    def adapted_to(self, sample: Sequence[Observation]) -> Chosen:
        """Compare the candidates on the clear ground of the sample, and adapt the best of them."""
        expected = expected_error(self.candidates, sample, np.random.default_rng(self.seed))
        best = next(one for one in self.candidates if expected is None or one.name == expected.best)
        return Chosen(adapted(best, sample), expected)


def best_of_scene(bands: tuple[str, ...] = RGB) -> BestOfScene:
    """Return the default remover: ``scene-adapted``, unless ``clear-mean`` or ``sar-regression`` errs less."""
    return BestOfScene((SceneAdapted(bands), baseline("clear-mean", bands), baseline("sar-regression", bands)))

"""Validation during training, and a test of whether a setup can overfit a single batch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from torch import Tensor, device

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.evaluation.scores import Area, score_patches
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import RIM, keep_clear_pixels
from unclouded.patches.roi import region_of
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.observation import Triplet
from unclouded.tensors.packed import PackedDataset
from unclouded.tensors.predictions import require_prediction
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import PatchSelection, select_patches
from unclouded.training.settings import TrainSettings, Validation
from unclouded.training.unpaired import UnpairedImages

SELECTION_METRIC = "cloudy_mae"
"""Metric that selects the best weights: mean absolute error over cloudy pixels, reflectance; lower is better."""

AREAS: tuple[Area, ...] = ("all", "cloudy")

LOGGED_METRICS = ("mae", "psnr", "ssim", "sam")


def validation_triplets(settings: TrainSettings, trained: TripletSource, cache: ProbabilityCache) -> PatchSelection:
    """Select the validation patches, whole as in section III-B.2, not cropped like those of training.

    Raises:
        InputError: There are none, or the run is trained on one of them or of their regions.
    """
    if isinstance(trained, UnpairedImages):
        raise InputError(
            f"{settings.patches} holds no complete triplet, expected some to validate on; set validation.every = 0"
        )
    own = settings.validation
    selection = {"split": own.split, "subset": own.patches, "patch_list": own.patch_list}
    chosen, left_out = select_patches(settings.model_copy(update=selection), cache)
    require_disjoint(trained.names, chosen.names)
    assert isinstance(chosen, TripletDataset | PackedDataset)
    return PatchSelection(replace(chosen, crop_px=None), left_out)


def require_disjoint(trained: Sequence[str], validated: Sequence[str]) -> None:
    """Raise if training and validation share a patch or a region.

    Raises:
        InputError: Names the first shared patch.
    """
    known = {*trained, *(region for name in trained if (region := region_of(name)))}
    if shared := [name for name in validated if name in known or region_of(name) in known]:
        raise InputError(
            f"{len(shared):,} of {len(validated):,} patches of the validation, first {shared[0]}, or their regions are"
            f" used for training; choose another validation.split or validation.patch_list"
        )


def validate(remover: NetworkRemover, triplets: TripletSource, place: device) -> dict[str, float]:
    """Return the mean scores of a remover whose clear pixels are kept as observed, as in a product.

    Returns:
        Area and metric, such as ``cloudy_mae``, to the mean over the patches; see :mod:`unclouded.evaluation.metrics`.
    """
    scores = score_patches(_predictions(remover, triplets, place), "kept")
    means = {area: scores.mean(area) for area in AREAS}
    return {f"{area}_{name}": means[area][name] for area in AREAS for name in LOGGED_METRICS}


def is_best(scores: Mapping[str, float], run: RunFolder) -> bool:
    """Whether scores are better than all earlier ones of the run; never if they are not finite."""
    before = [entry[SELECTION_METRIC] for entry in run.read_validation() if entry[SELECTION_METRIC] is not None]
    return math.isfinite(scores[SELECTION_METRIC]) and all(scores[SELECTION_METRIC] < other for other in before)


def _predictions(remover: NetworkRemover, triplets: TripletSource, place: device) -> Iterator[tuple[Triplet, Tensor]]:
    for index in range(len(triplets)):
        triplet = triplets[index]
        seen = triplet.observation.to(place)
        prediction = require_prediction(remover(seen), seen, remover.name, triplet.name).cpu()
        yield triplet, keep_clear_pixels(prediction, triplet.observation, RIM)


# Overfitting test: whether a setup can learn the patches of one step.


STEPS = 200
"""Number of steps, unless schedule.max_steps is set."""

HALVED = 0.5
"""Share of its first value that the difference to the target has to reach."""

_LAST = 10


def overfit_settings(settings: TrainSettings) -> TrainSettings:
    """Return the settings restricted to the patches of one step, paired, at the full learning rate."""
    steps = settings.schedule.max_steps or STEPS
    schedule = {"epochs_constant": steps, "epochs_decay": 0, "max_steps": steps}
    return settings.model_copy(
        update={
            "subset": settings.patches_a_step,
            "paired_percent": 100.0,
            "schedule": settings.schedule.model_copy(update=schedule),
            "logging": settings.logging.model_copy(update={"log_every": 1}),
            "validation": Validation(),
        }
    )


@dataclass(frozen=True)
class OverfitResult:
    """Decrease of the mean |prediction - clear|, in network values.

    Attributes:
        first: Value at the first step.
        last: Median over the last steps.
        steps: Number of steps.
    """

    first: float
    last: float
    steps: int

    @property
    def has_learnt(self) -> bool:
        """Whether the difference was at least halved."""
        return self.last <= HALVED * self.first

    def __str__(self) -> str:
        fell = f"|prediction - clear| went from {self.first:.4f} to {self.last:.4f} in {self.steps} steps"
        if self.has_learnt:
            return f"{fell}: this setup can overfit a batch"
        return f"{fell}, expected at most half: more steps, another rate, or other loss weights; see docs/training.md"


def overfit_result(run: RunFolder) -> OverfitResult:
    """Return the result of a run with :func:`overfit_settings`.

    Raises:
        InputError: The log has no pixel term.
    """
    differences = [entry["pixel"] for entry in run.read_log() if entry.get("pixel") is not None]
    if not differences:
        raise InputError(f"{run.log} has no pixel term; run --overfit-one in a folder of its own")
    return OverfitResult(differences[0], median(differences[-_LAST:]), len(differences))

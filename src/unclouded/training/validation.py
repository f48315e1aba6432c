"""Judged on patches that it does not learn from while it learns: which weights of a run are worth keeping."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, device

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.evaluation.scores import Area, score_patches
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import keep_clear_pixels
from unclouded.patches.identity import region_of
from unclouded.tensors.answers import require_answer
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.store import PackedTriplets
from unclouded.tensors.triplet import Triplet
from unclouded.training.data import Choice, choose
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings
from unclouded.training.unpaired import UnpairedImages

JUDGED_BY = "cloudy_mae"
"""The smaller, the better the weights: mean absolute error over cloudy pixels, reflectance."""
AREAS: tuple[Area, ...] = ("all", "cloudy")
LOGGED = ("mae", "psnr", "ssim", "sam")


def validation_triplets(settings: TrainSettings, learnt: TripletSource, cache: ProbabilityCache) -> Choice:
    """Choose the patches to be judged on, whole as in section III-B.2, not cropped as those of training.

    Raises:
        InputError: There are none, or the run learns from one of them or of their regions.
    """
    if isinstance(learnt, UnpairedImages):
        raise InputError(
            f"{settings.patches} holds no complete triplet, expected some to validate on; set validation.every = 0"
        )
    wanted = settings.validation
    own = {"split": wanted.split, "subset": wanted.patches, "patch_list": wanted.patch_list}
    chosen, left_out = choose(settings.model_copy(update=own), cache)
    require_apart(learnt.names, chosen.names)
    assert isinstance(chosen, TripletDataset | PackedTriplets)
    return Choice(replace(chosen, crop_px=None), left_out)


def require_apart(learnt: Sequence[str], judged: Sequence[str]) -> None:
    """Refuse to judge on what is learnt: the same patch, or another one of its region.

    Raises:
        InputError: Names the first.
    """
    taught = {*learnt, *(region for name in learnt if (region := region_of(name)))}
    if known := [name for name in judged if name in taught or region_of(name) in taught]:
        raise InputError(
            f"{len(known):,} of {len(judged):,} patches of the validation, first {known[0]}, or their regions are"
            f" learnt from; choose another validation.split or validation.patch_list"
        )


def judge(remover: NetworkRemover, triplets: TripletSource, place: device) -> dict[str, float]:
    """Return the mean scores of what a user would get, whose clear pixels stay as observed.

    Returns:
        Area and metric, such as ``cloudy_mae``, to the mean over the patches; see :mod:`unclouded.evaluation.metrics`.
    """
    scores = score_patches(_judged(remover, triplets, place), "kept")
    means = {area: scores.mean(area) for area in AREAS}
    return {f"{area}_{name}": means[area][name] for area in AREAS for name in LOGGED}


def is_best(scores: Mapping[str, float], run: RunFolder) -> bool:
    """Say whether scores beat all that a run's validation has so far; what is no number beats nothing."""
    before = [entry[JUDGED_BY] for entry in run.read_validation() if entry[JUDGED_BY] is not None]
    return math.isfinite(scores[JUDGED_BY]) and all(scores[JUDGED_BY] < other for other in before)


def _judged(remover: NetworkRemover, triplets: TripletSource, place: device) -> Iterator[tuple[Triplet, Tensor]]:
    for index in range(len(triplets)):
        triplet = triplets[index]
        seen = triplet.observation.to(place)
        prediction = require_answer(remover(seen), seen, remover.name, triplet.name).cpu()
        yield triplet, keep_clear_pixels(prediction, triplet.observation)

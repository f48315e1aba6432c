"""Sources of predictions to evaluate on a data set: a remover, or files written by an external method."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation.external import ExternalPredictions
from unclouded.files import resolved
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import Baseline
from unclouded.models.network import NetworkRemover, require_level
from unclouded.models.remover import RIM, CloudRemover, keep_clear_pixels
from unclouded.patches.layouts import TripletFiles
from unclouded.tensors.observation import Triplet, positions, stack_observations
from unclouded.tensors.predictions import require_prediction

Predictions = Iterator[tuple[Triplet, Tensor]]
"""Triplets, each with its predicted clear image, in TOA reflectance and on the CPU."""


@dataclass(frozen=True)
class EvaluationSource:
    """A remover or a folder of predictions, together with the patches to evaluate it on.

    Attributes:
        name: Name in tables.
        bands: Optical bands to evaluate.
        files: Patches to evaluate, a subset of those requested.
        pairs: Function from triplets of these patches and bands to triplets with predictions.
        predictions: Folder and unit of the predictions of an external method; empty for a remover.
        missing: Names of patches without a prediction.
        training_overlap: Evaluated regions that the remover was trained on; None if unknown.
    """

    name: str
    bands: tuple[str, ...]
    files: tuple[TripletFiles, ...]
    pairs: Callable[[Iterable[Triplet]], Predictions]
    predictions: str = ""
    missing: tuple[str, ...] = ()
    training_overlap: tuple[str, ...] | None = None


def remover_source(
    remover: CloudRemover, files: tuple[TripletFiles, ...], *, keep_clear: bool = True, device: str = "cpu"
) -> EvaluationSource:
    """Return a network or a baseline as an evaluation source; see :func:`evaluate_remover`.

    Raises:
        InputError: The weights were trained on L2A; the triplets of SEN12MS-CR are L1C.
    """
    require_level(remover, "L1C")
    return EvaluationSource(
        remover.name,
        remover.bands,
        files,
        partial(evaluate_remover, remover, keep_clear=keep_clear, device=device),
        training_overlap=_training_overlap(remover, files),
    )


def _training_overlap(remover: CloudRemover, files: Sequence[TripletFiles]) -> tuple[str, ...] | None:
    """Return the regions of patches that a remover was trained on; None if weights or patches name no region."""
    if isinstance(remover, Baseline | SceneAdapted):
        return ()
    if not isinstance(remover, NetworkRemover) or "regions" not in remover.training:
        return None
    if any(one.roi is None for one in files):
        return None
    return tuple(sorted({str(one.roi) for one in files}.intersection(remover.training["regions"].split())))


def external_source(
    predictions: ExternalPredictions,
    files: tuple[TripletFiles, ...],
    bands: tuple[str, ...] | None = None,
    *,
    keep_clear: bool = True,
    allow_missing: bool = False,
) -> EvaluationSource:
    """Return the predictions of an external method as an evaluation source; see :func:`evaluate_predictions`.

    Args:
        predictions: Files of predictions.
        files: Requested patches.
        bands: Bands to evaluate; all bands of the files if omitted.
        keep_clear: As in :func:`evaluate_predictions`.
        allow_missing: Evaluate only the patches that have a prediction, instead of raising an error.

    Raises:
        InputError: A patch has no prediction and ``allow_missing`` is False, or a band is not predicted.
    """
    if predictions.missing and not allow_missing:
        raise InputError(
            f"{predictions.folder} lacks the predictions of {len(predictions.missing):,} of {len(files):,} patches,"
            f" first {predictions.missing[0]}; add them, or evaluate the others with --allow-missing"
        )
    evaluated = bands or predictions.bands
    positions(evaluated, predictions.bands)
    present = tuple(one for one in files if one.name in predictions.files)
    return EvaluationSource(
        resolved(predictions.folder).name,
        evaluated,
        present,
        partial(evaluate_predictions, predictions, present, keep_clear=keep_clear),
        f"{resolved(predictions.folder).name}, {predictions.units}",
        predictions.missing,
    )


def evaluate_remover(
    remover: CloudRemover, data: Iterable[Triplet], *, keep_clear: bool = True, device: str = "cpu", batch: int = 1
) -> Predictions:
    """Run a remover on triplets; yield every triplet with the predicted clear image.

    A network that was trained with m = 1 everywhere gets m = 1 as input. The cloud map of the triplets then only
    separates cloudy and clear pixels, so that scores of the ablation can be compared with those of other networks.

    Args:
        remover: Network or baseline.
        data: Triplets whose bands include those of the remover; they are yielded with the bands of the remover.
        keep_clear: Keep pixels with m = 0 as observed, as in a product; otherwise yield the remover's plain output.
        device: Device of the remover.
        batch: Largest number of triplets of one size that the remover gets together.

    Raises:
        InputError: The remover returned no valid image; see :func:`~unclouded.tensors.predictions.require_prediction`.
    """
    require_level(remover, "L1C")
    without_map = isinstance(remover, NetworkRemover) and remover.trained_without_map
    for group in _batches(data, batch):
        selected = [triplet.select(remover.bands) for triplet in group]
        seen = [triplet.observation for triplet in selected]
        observation = (stack_observations(seen) if len(seen) > 1 else seen[0]).to(device)
        if without_map:
            observation = replace(observation, cloud_map=torch.ones_like(observation.cloud_map))
        names = ", ".join(triplet.name for triplet in group)
        found = require_prediction(remover(observation), observation, remover.name, names).detach().float().cpu()
        for triplet, prediction in zip(selected, torch.split(found, 1), strict=True):
            yield triplet, keep_clear_pixels(prediction, triplet.observation, RIM) if keep_clear else prediction


def _batches(data: Iterable[Triplet], most: int) -> Iterator[list[Triplet]]:
    """Yield neighbouring triplets of one size together, at most so many."""
    group: list[Triplet] = []
    for triplet in data:
        if group and (len(group) == most or triplet.clear.shape != group[0].clear.shape):
            yield group
            group = []
        group.append(triplet)
    if group:
        yield group


def evaluate_predictions(
    predictions: ExternalPredictions,
    files: Sequence[TripletFiles],
    data: Iterable[Triplet],
    *,
    keep_clear: bool = True,
) -> Predictions:
    """Read the predictions of an external method; yield every triplet with its prediction in the bands of the data.

    Args:
        predictions: Files of predictions, one for every patch of the data.
        files: The patches of the data, and possibly others.
        data: Triplets whose bands are among those of the predictions.
        keep_clear: Keep pixels with m = 0 as observed, as in a product; otherwise yield the stored predictions.
    """
    by_name = {one.name: one for one in files}
    for triplet in data:
        picked = positions(triplet.observation.bands, predictions.bands)
        prediction = predictions.read(by_name[triplet.name])[:, picked]
        yield triplet, keep_clear_pixels(prediction, triplet.observation, RIM) if keep_clear else prediction

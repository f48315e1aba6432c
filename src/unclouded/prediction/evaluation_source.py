"""Somebody to be judged on every triplet of a data set: a remover, or the predictions of a foreign method."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation.external import ExternalPredictions
from unclouded.files import resolved
from unclouded.models.baselines import Baseline
from unclouded.models.network import NetworkRemover, require_level
from unclouded.models.remover import CloudRemover, keep_clear_pixels
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.patches.layouts import TripletFiles
from unclouded.tensors.answers import require_answer
from unclouded.tensors.observation import Triplet, positions

Pairs = Iterator[tuple[Triplet, Tensor]]
"""Triplets, each with the clear image that somebody predicted, in TOA reflectance and on the CPU."""


@dataclass(frozen=True)
class EvaluationSource:
    """Somebody to be judged.

    Attributes:
        name: What tables call it.
        bands: Optical bands to judge.
        files: The patches to judge, of those that were asked for.
        pairs: From triplets of these patches and bands to triplets with predictions.
        predictions: Folder and unit of a foreign method's predictions; empty for a remover.
        missing: Names of patches without a prediction.
        learnt_from: Regions to judge that it learnt from; None where nothing tells.
    """

    name: str
    bands: tuple[str, ...]
    files: tuple[TripletFiles, ...]
    pairs: Callable[[Iterable[Triplet]], Pairs]
    predictions: str = ""
    missing: tuple[str, ...] = ()
    learnt_from: tuple[str, ...] | None = None


def remover_source(
    remover: CloudRemover, files: tuple[TripletFiles, ...], *, keep_clear: bool = True, device: str = "cpu"
) -> EvaluationSource:
    """Judge a network or a baseline; see :func:`evaluate_remover`.

    Raises:
        InputError: The weights were trained on L2A; the triplets of SEN12MS-CR are L1C.
    """
    require_level(remover, "L1C")
    return EvaluationSource(
        remover.name,
        remover.bands,
        files,
        partial(evaluate_remover, remover, keep_clear=keep_clear, device=device),
        learnt_from=_learnt_from(remover, files),
    )


def _learnt_from(remover: CloudRemover, files: Sequence[TripletFiles]) -> tuple[str, ...] | None:
    """Regions of patches that a remover learnt from; None where its weights or the patches tell no region."""
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
    """Judge the predictions of a foreign method; see :func:`evaluate_predictions`.

    Args:
        predictions: Files of predictions.
        files: The patches that were asked for.
        bands: Bands to judge; all that the files have if omitted.
        keep_clear: As in :func:`evaluate_predictions`.
        allow_missing: Judge those patches that have a prediction.

    Raises:
        InputError: A patch has no prediction and none may be missing, or a band is not predicted.
    """
    if predictions.missing and not allow_missing:
        raise InputError(
            f"{predictions.folder} lacks the predictions of {len(predictions.missing):,} of {len(files):,} patches,"
            f" first {predictions.missing[0]}; add them, or judge the others with --allow-missing"
        )
    shown = bands or predictions.bands
    positions(shown, predictions.bands)
    judged_of = tuple(one for one in files if one.name in predictions.files)
    return EvaluationSource(
        resolved(predictions.folder).name,
        shown,
        judged_of,
        partial(evaluate_predictions, predictions, judged_of, keep_clear=keep_clear),
        f"{resolved(predictions.folder).name}, {predictions.units}",
        predictions.missing,
    )


def evaluate_remover(
    remover: CloudRemover, data: Iterable[Triplet], *, keep_clear: bool = True, device: str = "cpu"
) -> Pairs:
    """Yield every triplet with the remover's clear image.

    Args:
        remover: Network or baseline.
        data: Triplets whose bands include the remover's; they are yielded with the remover's.
        keep_clear: Judge what a user gets, whose pixels with m = 0 stay as observed; otherwise what the remover says.
        device: Where the remover runs.

    Raises:
        InputError: An answer is no clear image of the patch; see :func:`~unclouded.tensors.answers.require_answer`.
    """
    require_level(remover, "L1C")
    for triplet in data:
        shown = triplet.select(remover.bands)
        seen = shown.observation.to(device)
        prediction = require_answer(remover(seen), seen, remover.name, triplet.name).detach().float().cpu()
        yield shown, keep_clear_pixels(prediction, shown.observation) if keep_clear else prediction


def evaluate_predictions(
    predictions: ExternalPredictions,
    files: Sequence[TripletFiles],
    data: Iterable[Triplet],
    *,
    keep_clear: bool = True,
) -> Pairs:
    """Yield every triplet with the prediction of a foreign method in the bands of the data.

    Args:
        predictions: Files of predictions; every patch of the data has one.
        files: The patches of the data, and possibly others.
        data: Triplets whose bands are among the predictions'.
        keep_clear: Judge what a user would get if pixels with m = 0 stayed as observed; otherwise what the files say.
    """
    by_name = {one.name: one for one in files}
    for triplet in data:
        picked = positions(triplet.observation.bands, predictions.bands)
        prediction = predictions.read(by_name[triplet.name])[:, picked]
        yield triplet, keep_clear_pixels(prediction, triplet.observation) if keep_clear else prediction

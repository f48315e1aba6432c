"""Evaluation of a remover on a data set, from patches on disk to scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unclouded import __version__
from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.evaluation.scores import ClearPixels, Provenance, Scores, score_patches
from unclouded.files import sha256
from unclouded.models.known import weights_file
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import MapChoice, choose_map
from unclouded.patches.layouts import Inventory, find_triplets
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable, incomplete_as_skipped
from unclouded.patches.splits import SplitName, incomplete_of, triplets_of
from unclouded.patches.time_series import SeriesSplit, find_time_series
from unclouded.prediction.auto_remover import AutoRemover, RemoverSpec
from unclouded.prediction.evaluation_source import EvaluationSource, Predictions, remover_source
from unclouded.progress import ProgressCallback, counted, no_progress
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.time_series import TimeSeriesDataset


def evaluate(
    remover: CloudRemover | Path | str,
    root: Path | str,
    split: SplitName = "test",
    *,
    clear_pixels: ClearPixels = "kept",
    clouds: CloudMapSettings | None = None,
    damaged: Damaged = "refuse",
    device: str = "cpu",
    on_progress: ProgressCallback = no_progress,
) -> Scores:
    """Return the scores of a remover on the triplets of a data set, against their clear images.

    Metrics are those of section III-B.1 of the paper, over all, cloudy (m > 0) and clear (m = 0) pixels.

    Args:
        remover: Remover, weights file, or name of a remover without weights.
        root: Data set in the official or the flat layout of SEN12MS-CR.
        split: ``train``, ``val``, ``test`` or ``all``.
        clear_pixels: Image that is scored where m = 0: ``kept``, the observed one, as in a product; ``network``, the
            prediction.
        clouds: Settings of the cloud map; fields that are not set are taken from the training of the weights, or else
            from the paper.
        damaged: Handling of damaged patches; skipped ones are listed in the scores.
        device: Device of a network, such as ``cpu`` or ``cuda``.
        on_progress: Called with (stage, completed, total).

    Returns:
        Scores of every patch, with means, provenance and skipped patches.

    Raises:
        InputError: The data set, the remover or one of its predictions cannot be used.
    """
    chosen = RemoverSpec(str(remover), device=device).find() if isinstance(remover, Path | str) else remover
    weights = weights_file(str(remover)) if isinstance(remover, Path | str) else None
    inventory = find_triplets(Path(root))
    files = triplets_of(inventory, split)
    return score_source(
        remover_source(chosen, files, keep_clear=clear_pixels == "kept", device=device),
        inventory,
        split,
        choose_map([chosen], clouds),
        clear_pixels,
        damaged=damaged,
        weights_sha256=sha256(weights) if weights else "",
        on_progress=on_progress,
    )


def evaluate_time_series(
    remover: CloudRemover | Path | str,
    root: Path | str,
    split: SeriesSplit = "test",
    *,
    references: int = 3,
    bands: tuple[str, ...] | None = None,
    clear_pixels: ClearPixels = "kept",
    clouds: CloudMapSettings | None = None,
    device: str = "cpu",
    on_progress: ProgressCallback = no_progress,
) -> Scores:
    """Return the scores of a remover on SEN12MS-CR-TS, with other dates as references.

    Each patch gives one triplet; see :class:`~unclouded.tensors.time_series.TimeSeriesDataset`. The number of
    references stands in the provenance, beside the split.

    Args:
        remover: As in :func:`evaluate`.
        root: Data set in the official layout.
        split: ``train``, ``test`` or ``all``.
        references: Number of other dates that the remover may use.
        bands: Optical bands of a remover by name; red, green and blue if omitted.
        clear_pixels: As in :func:`evaluate`.
        clouds: As in :func:`evaluate`.
        device: Device of a network.
        on_progress: Called with (stage, completed, total).

    Raises:
        InputError: The data set, the remover or one of its predictions cannot be used.
    """
    named = isinstance(remover, Path | str)
    chosen = RemoverSpec(str(remover), bands, device).find() if isinstance(remover, Path | str) else remover
    if references and isinstance(chosen, AutoRemover):
        chosen = chosen.with_references()
    weights = weights_file(str(remover)) if named else None
    cloud_map = choose_map([chosen], clouds)
    data = TimeSeriesDataset(find_time_series(Path(root), split), chosen.bands, cloud_map.used, references)
    source = remover_source(chosen, (), keep_clear=clear_pixels == "kept", device=device)
    pairs = source.pairs(data[i] for i in range(len(data)))
    scored = score_patches(counted(pairs, "evaluating", len(data), on_progress), clear_pixels)
    provenance = Provenance(
        source.name,
        f"{split} of SEN12MS-CR-TS with {references} references",
        sha256(weights) if weights else "",
        software=f"unclouded {__version__}",
        trained_map=cloud_map.trained.to_json() if cloud_map.trained else None,
    )
    return replace(scored, clouds=cloud_map.used.model_dump(mode="json"), provenance=provenance)


def score_source(
    source: EvaluationSource,
    inventory: Inventory,
    split: SplitName,
    cloud_map: MapChoice,
    clear_pixels: ClearPixels,
    *,
    synthetic: SyntheticSettings | None = None,
    damaged: Damaged = "refuse",
    weights_sha256: str = "",
    watch: Callable[[Predictions], Predictions] = lambda pairs: pairs,
    on_progress: ProgressCallback = no_progress,
) -> Scores:
    """Return the scores of a remover, or of the predictions of an external method, with their provenance.

    Args:
        source: Predictions for the patches of the split.
        inventory: Triplets of the data set.
        split: Evaluated part.
        cloud_map: Cloud map m, an input of the remover and the definition of cloudy and clear pixels.
        clear_pixels: As in :func:`evaluate`, and as in the source.
        synthetic: Clouds painted on the clear images, instead of the observed ones.
        damaged: Handling of damaged patches; skipped ones are listed in the scores.
        weights_sha256: SHA-256 of the weights file.
        watch: Function that yields the pairs unchanged, for further metrics of the same predictions.
        on_progress: Called with (stage, completed, total).

    Raises:
        InputError: A patch is damaged, or a prediction has another shape or values that are not finite.
    """
    data = TripletDataset(source.files, source.bands, cloud_map.used, ProbabilityCache(), synthetic=synthetic)
    skipped: list[DamagedTriplet] = []
    triplets = each_readable(data.names, data.__getitem__, damaged, skipped)
    pairs = counted(source.pairs(triplets), "evaluating", len(data), on_progress)
    provenance = Provenance(
        source.name,
        split,
        weights_sha256,
        source.predictions,
        source.missing,
        f"unclouded {__version__}",
        source.training_overlap,
        trained_map=cloud_map.trained.to_json() if cloud_map.trained else None,
    )
    return replace(
        score_patches(watch(pairs), clear_pixels),
        clouds=cloud_map.used.model_dump(mode="json"),
        synthetic=synthetic.model_dump(mode="json") if synthetic else None,
        provenance=provenance,
        skipped=(*incomplete_as_skipped(incomplete_of(inventory, split)), *skipped),
    )

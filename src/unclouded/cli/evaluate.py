"""``unclouded evaluate`` and ``unclouded compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.options import (
    Bands,
    Clouds,
    Damaged,
    DamagedOption,
    DetectorName,
    Extra,
    Feature,
    Painted,
    Part,
    Units,
)
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.evaluation.external import Unit
    from unclouded.evaluation.features import Layer
    from unclouded.evaluation.scores import Scores
    from unclouded.patches.layouts import TripletFiles
    from unclouded.prediction.evaluation_source import EvaluationSource


def evaluate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[REMOVER] ROOT",
            help="Weights file, scene-adapted or baseline (cloudy, clear-mean, ...), then a data set in either layout "
            "of SEN12MS-CR; with --predictions the data set only.",
        ),
    ],
    predictions: Annotated[
        Path | None, typer.Option(help="Judge a foreign method by its folder of NAME.tif or NAME.npy.")
    ] = None,
    units: Annotated[Units | None, typer.Option(help="Unit of these; known from type and range if omitted.")] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="These are reflectance x 10000 divided by this: 2000 for DSen2-CR and UnCRtainTS."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Judge although predictions are missing; the scores name them.")
    ] = False,
    split: Annotated[Part, typer.Option(help="Part of the data set.")] = Part.TEST,
    bands: Annotated[Bands | None, typer.Option(help="Bands to judge; those of the network if omitted.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all scores; per patch as Parquet beside it.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Judge what the network says where m = 0, not the kept observation.")
    ] = False,
    clouds: Clouds = None,
    detector: DetectorName = None,
    synthetic: Annotated[
        Painted | None, typer.Option(help="Judge on clouds painted on the clear images, not on the cloudy ones.")
    ] = None,
    precision_recall: Annotated[
        Feature | None, typer.Option(help="Also compute improved precision and recall on this layer of VGG16.")
    ] = None,
    extra: Annotated[
        list[Extra] | None,
        typer.Option(help="Further score (repeatable); fid and kid use the layer of --precision-recall."),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, help="k of precision and recall.")] = 10,
    brightest: Annotated[float, typer.Option(min=0.01, help="Reflectance that VGG16 sees as white.")] = 1.0,
    vgg: Annotated[str, typer.Option(help="ImageNet weights of VGG16: a file, or auto.")] = "auto",
    damaged: DamagedOption = Damaged.REFUSE,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best there is if omitted.")] = None,
) -> None:
    """Score a network, a baseline or a foreign method against the clear images, over all, cloudy and clear pixels."""
    from unclouded.files import require_folder
    from unclouded.models.known import require_remover

    remover, root = _remover_and_root(words, predictions)  # before the imports below, which take seconds
    if predictions is None:
        require_remover(remover)
    require_folder(root)
    from dataclasses import replace
    from functools import partial

    import numpy as np

    from unclouded import __version__
    from unclouded.cli.options import chosen_clouds, chosen_device, note, tell_left_out, tell_skipped
    from unclouded.cli.progress import counted, progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.evaluation.perceptual import PerceptualMetrics
    from unclouded.evaluation.results_io import scores_files, write_scores
    from unclouded.evaluation.scores import Provenance, score_patches
    from unclouded.files import require_apart, require_new_file, sha256
    from unclouded.models.weights import choose_map, load_remover
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.reading import DamagedTriplet, each_readable, incomplete_as_skipped
    from unclouded.patches.splits import incomplete_of, triplets_of
    from unclouded.prediction.evaluation_source import remover_source
    from unclouded.tensors.dataset import TripletDataset

    if out is not None:
        for path in scores_files(out):
            if predictions is None:
                require_apart(path, Path(remover))
            require_new_file(path)
    place = chosen_device(device)
    shown = bands.names() if bands else None
    judged = []
    if predictions is None and (units or scale is not None):
        raise InputError("--units and --scale are for predictions of a foreign method; add --predictions FOLDER")
    if predictions is None:
        judged = [load_remover(remover, shown, place)]
        candidate = partial(remover_source, judged[0], device=place)
    else:
        candidate = partial(_foreign, predictions, units.value if units else None, scale, shown, allow_missing)
    inventory = find_triplets(root)
    files = triplets_of(inventory, split.value)
    incomplete = incomplete_of(inventory, split.value)
    tell_left_out(incomplete)
    one = candidate(files, keep_clear=not raw)
    if one.training_overlap:
        typer.echo(
            f"unclouded: {one.name} learnt from {len(one.training_overlap):,} of the regions it is judged on, first "
            f"{one.training_overlap[0]}; these scores tell nothing of unseen ground",
            err=True,
        )
    cloud_map = choose_map(judged, chosen_clouds(clouds, detector))
    if cloud_map.remark:
        note(cloud_map.remark)
    painted = SyntheticSettings(mode=synthetic.value) if synthetic else None
    layer: Layer | None = precision_recall.value if precision_recall else None
    perceptual = PerceptualMetrics(
        layer, extra or (), len(one.files), k=neighbours, brightest=brightest, weights=vgg, device=place
    )
    data = TripletDataset(one.files, one.bands, cloud_map.used, ProbabilityCache(), synthetic=painted)
    skipped: list[DamagedTriplet] = []
    with progress_bar() as on_progress:
        triplets = each_readable(data.names, data.__getitem__, damaged.value, skipped)
        pairs = counted(one.pairs(triplets), "judging", len(data), on_progress)
        scores = score_patches(perceptual.watch(pairs), "network" if raw else "kept")
    weights = sha256(Path(remover)) if Path(remover).is_file() else ""
    scores = replace(
        scores,
        clouds=cloud_map.used.model_dump(mode="json"),
        synthetic=painted.model_dump(mode="json") if painted else None,
        provenance=Provenance(
            one.name,
            split.value,
            weights,
            one.predictions,
            one.missing,
            f"unclouded {__version__}",
            one.training_overlap,
            trained_map=cloud_map.trained.to_json() if cloud_map.trained else None,
        ),
        precision_recall=perceptual.precision_recall(),
        extras=perceptual.extras(),
        skipped=(*incomplete_as_skipped(incomplete), *skipped),
    )
    if out is not None:
        write_scores(out, scores, np.random.default_rng(0))
    tell_skipped(skipped, out)
    _show(one.name, scores)


def _remover_and_root(words: list[str], predictions: Path | None) -> tuple[str, Path]:
    expected = ["ROOT"] if predictions else ["REMOVER", "ROOT"]
    if len(words) != len(expected):
        needs = "with --predictions needs ROOT alone" if predictions else "needs REMOVER and ROOT"
        found = f"got only {words[0]!r}" if len(words) == 1 else f"got {len(words)}: {' '.join(map(repr, words))}"
        raise InputError(
            f"evaluate {needs}; {found[:300]} (REMOVER is a weights file, scene-adapted or a baseline; ROOT a data set)"
        )
    return ("" if predictions else words[0]), Path(words[-1])


def _foreign(
    folder: Path,
    unit: "Unit | None",
    scale: float | None,
    bands: tuple[str, ...] | None,
    allow_missing: bool,
    files: "tuple[TripletFiles, ...]",
    *,
    keep_clear: bool,
) -> "EvaluationSource":
    from unclouded.cli.options import note
    from unclouded.evaluation.external import find_predictions
    from unclouded.prediction.evaluation_source import external_source

    found = find_predictions(folder, files, unit, scale)
    typer.echo(f"{folder}: {len(found.files):,} predictions of {len(files):,} patches in {found.units}", err=True)
    if found.unit_warning:
        note(f"{found.unit_warning}; are --units and --scale right?")
    for what, names in (("files of no patch", found.unexpected_files), ("patches without prediction", found.missing)):
        if names:
            typer.echo(f"{len(names):,} {what}, first {names[0]}", err=True)
    return external_source(found, files, bands, keep_clear=keep_clear, allow_missing=allow_missing)


def _show(name: str, scores: "Scores") -> None:
    from rich.console import Console

    from unclouded.evaluation.comparison import scores_table
    from unclouded.evaluation.scores import AREAS

    for area in AREAS:
        Console().print(scores_table({name: scores}, area))
    if found := scores.precision_recall:
        typer.echo(
            f"precision {found['precision']:.4f}, recall {found['recall']:.4f}, F1 {found['f1']:.4f} "
            f"({found['protocol']['layer']}, k = {found['k']}, {found['n_generated']:,} images)"
        )
    for extra, measured in (scores.extras or {}).items():
        value = measured["mean" if extra == "lpips" else "value"]
        typer.echo(f"{extra} {value:.4g} ({measured['n']:,} images)")


def compare(
    first: Annotated[Path, typer.Argument(help="Scores of one remover, from 'unclouded evaluate --out'.")],
    second: Annotated[Path, typer.Argument(help="Scores of another one on the same patches.")],
    out: Annotated[Path | None, typer.Option(help="JSON file for the differences.")] = None,
) -> None:
    """Compare two removers patch by patch: mean difference of each score, with an interval from drawing regions."""
    from unclouded.files import require_file

    for path in (first, second):
        require_file(path)  # before the imports below, which take seconds
    import numpy as np
    from rich.console import Console

    from unclouded.evaluation.comparison import compare_scores, comparison_json, comparison_table, why_none
    from unclouded.evaluation.results_io import load_scores
    from unclouded.files import require_apart, require_new_file, write_json

    if out is not None:
        for path in (first, second):
            require_apart(out, path)
        require_new_file(out)
    scores = [load_scores(path) for path in (first, second)]
    differences = compare_scores(scores[0], scores[1], np.random.default_rng(0))
    if out is not None:
        write_json(out, comparison_json(first.stem, second.stem, differences))
    Console().print(comparison_table(first.stem, second.stem, differences))
    if reason := why_none(scores[0].patches):
        typer.echo(reason)

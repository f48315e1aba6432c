"""``unclouded evaluate`` and ``unclouded compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.evaluation.scores import Scores
    from unclouded.patches.layouts import TripletFiles
    from unclouded.prediction.evaluation_source import EvaluationSource

_EXTERNAL, _SCORES = "External predictions", "Scores"

Unit = Literal["reflectance", "dn", "network", "uint8"]


def evaluate(
    remover: Annotated[
        str,
        typer.Argument(
            metavar="REMOVER",
            help=f"{options.REMOVER.removesuffix('.')}; omitted with --predictions.",
            show_default=False,
        ),
    ],
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="Data set in either SEN12MS-CR layout.", show_default=False)
    ] = None,
    split: Annotated[options.Part, typer.Option(help="Part of the data set.", rich_help_panel=options.INPUT)] = "test",
    damaged: options.Damaged = "refuse",
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of the scores; a Parquet file beside it holds the scores per patch.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    bands: Annotated[
        options.BandGroup | None,
        typer.Option(help="Bands to evaluate.", show_default="those of the remover", rich_help_panel=_SCORES),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Evaluate the network output everywhere; otherwise pixels with m = 0 keep the observation.",
            rich_help_panel=_SCORES,
        ),
    ] = False,
    precision_recall: Annotated[
        Literal["fc2", "pool5"] | None,
        typer.Option(
            help="Also compute improved precision and recall on this layer of VGG16.", rich_help_panel=_SCORES
        ),
    ] = None,
    extra: Annotated[
        list[options.Extra] | None,
        typer.Option(
            help="Also compute this score; fid and kid use the layer of --precision-recall. Repeatable.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option(min=1, help="Nearest neighbours (k) of precision and recall.", rich_help_panel=_SCORES)
    ] = 10,
    count_self: Annotated[
        bool,
        typer.Option(
            "--count-self",
            help="Count an image as its own first neighbour: k = 10 is then the image and nine others, the reading of "
            "the paper's appendix B in which it and its eight overlapping patches are passed over.",
            rich_help_panel=_SCORES,
        ),
    ] = False,
    brightest: Annotated[
        float, typer.Option(min=0.01, help="Reflectance that VGG16 sees as white.", rich_help_panel=_SCORES)
    ] = 1.0,
    clouds: options.Clouds = None,
    detector: options.DetectorName = None,
    synthetic: Annotated[
        options.SyntheticMode | None,
        typer.Option(
            help="Evaluate on clouds painted on the clear images in place of the cloudy images.",
            rich_help_panel=options.CLOUD_MAP,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate another method by its predictions: folder of NAME.tif or NAME.npy.",
            rich_help_panel=_EXTERNAL,
        ),
    ] = None,
    units: Annotated[
        Unit | None,
        typer.Option(
            help="Unit of the predictions.", show_default="derived from type and range", rich_help_panel=_EXTERNAL
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Divisor of the predictions: they hold reflectance x 10000 / SCALE, e.g. 2000 for DSen2-CR and "
            "UnCRtainTS.",
            rich_help_panel=_EXTERNAL,
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Evaluate although predictions are missing; the scores list them.",
            rich_help_panel=_EXTERNAL,
        ),
    ] = False,
    references: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Evaluate on SEN12MS-CR-TS with this number of other dates as references.",
            rich_help_panel=options.REFERENCES,
        ),
    ] = None,
    vgg: options.Vgg = "auto",
    device: options.Device = None,
    settings: options.OptionsFile = None,
) -> None:
    """Score a remover, or the predictions of another method, against the clear images of a data set.

    Scores are averaged over all, cloudy and clear pixels.
    """
    from unclouded.files import require_folder
    from unclouded.models.known import require_remover, weights_file

    name, root = _remover_and_root(remover, root, predictions)  # before the imports below, which take seconds
    if predictions is None:
        require_remover(name)
    require_folder(root)
    if references is not None:
        if predictions is not None or synthetic is not None or precision_recall is not None or extra:
            raise InputError(
                "--references evaluates a remover on observed clouds by the standard scores; leave out --predictions, "
                "--synthetic, --precision-recall and --extra"
            )
        _evaluate_time_series(name, root, split, references, bands, raw, clouds, detector, device, out)
        return
    from dataclasses import replace
    from functools import partial

    import numpy as np

    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.evaluation.perceptual import PerceptualMetrics
    from unclouded.evaluation.results_io import scores_files, write_scores
    from unclouded.files import require_apart, require_new_file, sha256
    from unclouded.models.weights import choose_map
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.splits import incomplete_of, triplets_of
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.prediction.evaluation_source import remover_source
    from unclouded.prediction.scoring import score_source

    if out is not None:
        for path in scores_files(out):
            if predictions is None:
                require_apart(path, weights_file(name) or Path(name))
            require_new_file(path)
    torch_device = options.resolve_device(device)
    selected = options.band_names(bands) if bands else None
    removers = []
    if predictions is None and (units or scale is not None):
        raise InputError("--units and --scale describe external predictions; add --predictions FOLDER")
    if predictions is None:
        removers = [RemoverSpec(name, selected, torch_device).find()]
        open_source = partial(remover_source, removers[0], device=torch_device)
    else:
        open_source = partial(_external_source, predictions, units, scale, selected, allow_missing)
    inventory = find_triplets(root)
    files = triplets_of(inventory, split)
    incomplete = incomplete_of(inventory, split)
    options.report_incomplete(incomplete)
    source = open_source(files, keep_clear=not raw)
    if source.training_overlap:
        logger.warning(
            f"{source.name} was trained on {len(source.training_overlap):,} of the regions it is evaluated on, first "
            f"{source.training_overlap[0]}; these scores do not measure generalisation"
        )
    cloud_map = choose_map(removers, options.cloud_map_settings(clouds, detector))
    if cloud_map.remark:
        logger.warning(cloud_map.remark)
    painted = SyntheticSettings(mode=synthetic) if synthetic else None
    perceptual = PerceptualMetrics(
        precision_recall,
        extra or (),
        len(source.files),
        k=neighbours,
        include_self=count_self,
        brightest=brightest,
        weights=vgg,
        device=torch_device,
    )
    with progress_bar() as on_progress:
        scores = score_source(
            source,
            inventory,
            split,
            cloud_map,
            "network" if raw else "kept",
            synthetic=painted,
            damaged=damaged,
            weights_sha256=sha256(weights) if (weights := weights_file(name)) else "",
            watch=perceptual.watch,
            on_progress=on_progress,
        )
    scores = replace(scores, precision_recall=perceptual.precision_recall(), extras=perceptual.extras())
    if out is not None:
        write_scores(out, scores, np.random.default_rng(0))
    options.report_skipped(scores.skipped[len(incomplete) :], out)
    _print_scores(source.name, scores)


def _evaluate_time_series(
    name: str,
    root: Path,
    split: options.Part,
    references: int,
    bands: options.BandGroup | None,
    raw: bool,
    clouds: options.Clouds,
    detector: options.DetectorName,
    device: options.Device,
    out: Path | None,
) -> None:
    """Score a remover on time series; see :func:`unclouded.prediction.scoring.evaluate_time_series`."""
    if split not in ("train", "test", "all"):
        raise InputError(f"SEN12MS-CR-TS has no {split} split; choose --split train, test or all")
    import numpy as np

    from unclouded.cli.progress import progress_bar
    from unclouded.evaluation.results_io import scores_files, write_scores
    from unclouded.files import require_apart, require_new_file
    from unclouded.prediction.scoring import evaluate_time_series

    for path in scores_files(out) if out is not None else ():
        require_apart(path, Path(name))
        require_new_file(path)
    with progress_bar() as on_progress:
        scores = evaluate_time_series(
            name,
            root,
            split,
            references=references,
            bands=options.band_names(bands) if bands else None,
            clear_pixels="network" if raw else "kept",
            clouds=options.cloud_map_settings(clouds, detector),
            device=options.resolve_device(device),
            on_progress=on_progress,
        )
    if out is not None:
        write_scores(out, scores, np.random.default_rng(0))
    _print_scores(name, scores)


def _remover_and_root(first: str, second: Path | None, predictions: Path | None) -> tuple[str, Path]:
    """Name of the remover, empty for external predictions, and the data set."""
    if predictions is None:
        if second is None:
            raise InputError(
                f"evaluate needs REMOVER and ROOT; got only {first[:300]!r}; see 'unclouded evaluate --help'"
            )
        return first, second
    if second is not None:
        raise InputError(f"evaluate --predictions needs ROOT alone, without a remover; leave {first[:300]!r} out")
    return "", Path(first)


def _external_source(
    folder: Path,
    unit: Unit | None,
    scale: float | None,
    bands: tuple[str, ...] | None,
    allow_missing: bool,
    files: "tuple[TripletFiles, ...]",
    *,
    keep_clear: bool,
) -> "EvaluationSource":
    """Evaluation source of the predictions in a folder, after a report of what the folder holds."""
    from unclouded.evaluation.external import find_predictions
    from unclouded.prediction.evaluation_source import external_source

    found = find_predictions(folder, files, unit, scale)
    logger.info(f"{folder}: {len(found.files):,} predictions of {len(files):,} patches in {found.units}")
    if found.unit_warning:
        logger.warning(f"{found.unit_warning}; are --units and --scale right?")
    for what, names in (("files of no patch", found.unexpected_files), ("patches without prediction", found.missing)):
        if names:
            logger.warning(f"{len(names):,} {what}, first {names[0]}")
    return external_source(found, files, bands, keep_clear=keep_clear, allow_missing=allow_missing)


def _print_scores(name: str, scores: "Scores") -> None:
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
    first: Annotated[
        Path,
        typer.Argument(metavar="FIRST.json", help="Scores written by 'unclouded evaluate --out'.", show_default=False),
    ],
    second: Annotated[
        Path,
        typer.Argument(
            metavar="SECOND.json", help="Scores of another remover on the same patches.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="JSON file of the differences.")] = None,
) -> None:
    """Compare the scores of two removers patch by patch.

    The output is the mean difference of each score with a 95 % interval, bootstrapped over regions.
    """
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

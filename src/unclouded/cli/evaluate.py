"""``unclouded evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from unclouded.cli.options import Bands, CloudMode, Painted, Part


def evaluate(
    remover: Annotated[
        str, typer.Argument(help="Weights file, or a baseline: cloudy, clear-mean, sar-regression, ...")
    ],
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    split: Annotated[Part, typer.Option(help="Part of the data set.")] = Part.TEST,
    bands: Annotated[Bands | None, typer.Option(help="Bands to judge; those of the network if omitted.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all scores, per patch, too.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Judge what the network says where m = 0, not the kept observation.")
    ] = False,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    detector: Annotated[str, typer.Option(help="Detector; s2cloudless+shadow mends shadow, too.")] = "s2cloudless",
    synthetic: Annotated[
        Painted | None, typer.Option(help="Judge on clouds painted on the clear images, not on the cloudy ones.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best there is if omitted.")] = None,
) -> None:
    """Score a network or a baseline against the clear images, over all, cloudy and clear pixels."""
    import numpy as np
    from rich.console import Console

    from unclouded.cli.options import chosen_device, tell_left_out
    from unclouded.cli.progress import counted, shown_progress
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.evaluation.record import write_scores
    from unclouded.evaluation.scores import AREAS, score_patches
    from unclouded.evaluation.table import scores_table
    from unclouded.models.catalogue import find_remover
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.splits import incomplete_of, triplets_of
    from unclouded.prediction.judging import judged
    from unclouded.settings import settings_from
    from unclouded.tensors.dataset import TripletDataset

    place = chosen_device(device)
    found = find_remover(remover, bands.names() if bands else None, place)
    inventory = find_triplets(root)
    files = triplets_of(inventory, split.value)
    tell_left_out(incomplete_of(inventory, split.value))
    data = TripletDataset(
        files,
        found.bands,
        settings_from(CloudMapSettings, {"mode": clouds.value, "detector": detector}, origin="these options"),
        ProbabilityCache(),
        synthetic=SyntheticSettings(mode=synthetic.value) if synthetic else None,
    )
    with shown_progress() as told:
        pairs = counted(judged(found, data, keep_clear=not raw, device=place), "judging", len(files), told)
        scores = score_patches(pairs, "network" if raw else "kept")
    if out is not None:
        write_scores(out, scores, np.random.default_rng(0))
    for area in AREAS:
        Console().print(scores_table({found.name: scores}, area))

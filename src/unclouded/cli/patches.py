"""``unclouded predict-patches``: remove the clouds of all patches of a data set."""

from pathlib import Path
from typing import Annotated

import typer

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.cli.scene_options import NetworkOptions, SceneOptions, SettingsFile
from unclouded.errors import InputError


@options.expand_options
def predict_patches(
    remover: Annotated[str, typer.Argument(metavar="REMOVER", help=options.REMOVER, show_default=False)],
    root: options.DataSet,
    *,
    settings: SettingsFile = None,
    damaged: options.Damaged = "refuse",
    clouds: options.Clouds = None,
    detector: options.DetectorName = None,
    network: NetworkOptions,
    out: Annotated[Path, typer.Option(help="Output folder for one GeoTIFF per patch.", rich_help_panel=options.OUTPUT)],
) -> None:
    """Remove the clouds of all patches of a data set.

    Each patch is processed by itself, as in the paper. 'unclouded evaluate --predictions' scores the output folder.
    """
    from unclouded.files import require_file, require_folder
    from unclouded.models.known import require_remover

    if settings is not None:
        require_file(settings)
    require_folder(root)
    require_remover(remover)
    spec = network.spec(remover)
    from rich.console import Console

    from unclouded import __version__
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import PRODUCT
    from unclouded.files import require_writable, write_json
    from unclouded.models.weights import choose_map
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.reading import SKIPPED, DamagedTriplet, incomplete_as_skipped, skipped_json
    from unclouded.prediction import patches
    from unclouded.prediction.scene import SceneSettings
    from unclouded.progress import counted

    scene = SceneOptions(settings=settings, clouds=clouds, detector=detector).read()
    if scene != SceneSettings(clouds=scene.clouds):
        raise InputError(
            "predict-patches takes only the group 'clouds' of the settings; leave the options of scenes out"
        )
    found = spec.find()
    choice = choose_map([found], scene.clouds, without_weights=PRODUCT)
    if choice.remark:
        logger.warning(choice.remark)
    inventory = find_triplets(root)
    pairs = inventory.require_observations()
    options.report_incomplete(inventory.unpredictable)
    for files in pairs:
        patches.require_apart_from(files, out)
    require_writable(out)
    tags = {"UNCLOUDED_VERSION": __version__, "UNCLOUDED_CLOUDS": choice.used.model_dump_json()}
    skipped: list[DamagedTriplet] = []
    predicted = patches.predict_patches(
        found, pairs, choice.used, ProbabilityCache(), spec.device, damaged=damaged, skipped=skipped
    )
    with progress_bar() as on_progress:
        for one in counted(predicted, "predicting", len(pairs), on_progress):
            written = patches.write_prediction(one, out, tags)
    if damaged == "skip":
        write_json(out / SKIPPED, skipped_json([*incomplete_as_skipped(inventory.unpredictable), *skipped]))
    options.report_skipped(skipped, out / SKIPPED)
    Console().print(f"{len(pairs) - len(skipped)} images in {out}, the last one {written.name}")

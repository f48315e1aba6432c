"""``unclouded batch``: remove the clouds of all scenes of a table."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli import options
from unclouded.cli.execution import ExecutionOptions, finish
from unclouded.cli.logging import logger
from unclouded.cli.scene_options import NetworkOptions, SceneOptions
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.batch.scene_list import ListedScene
    from unclouded.batch.tasks import Row
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.prediction.scene import SceneSettings


@options.expand_options
def batch(
    scenes: Annotated[
        Path,
        typer.Argument(
            metavar="SCENES.csv",
            help="Table with the columns name, cloudy and sar. Further columns set options of single scenes.",
            show_default=False,
        ),
    ],
    *,
    scene: SceneOptions,
    remover: Annotated[
        str | None,
        typer.Option(
            help=options.REMOVER,
            show_default="the best remover without weights, chosen per scene",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    network: NetworkOptions,
    out: Annotated[
        Path,
        typer.Option(help="Output folder, with one folder per scene.", rich_help_panel=options.OUTPUT),
    ],
    execution: ExecutionOptions,
) -> None:
    """Remove the clouds of all scenes of a table.

    Scenes are processed in turn, in several processes, as shards of a job array, or on a dask cluster. An interrupted
    batch resumes when the command is repeated. The last shard to finish writes scenes.parquet and a STAC collection.

    The exit status is 1 if a scene failed.
    """
    from unclouded.files import require_file

    require_file(scenes)
    scene.require_files()
    specs = scene.specs(remover, network)
    from unclouded.batch.scene_list import read_scene_list
    from unclouded.files import resolved

    listed, settings = read_scene_list(scenes), scene.read()
    raise typer.Exit(predict_scenes(specs, listed, resolved(scenes), out, settings, execution))


def predict_scenes(
    specs: "list[RemoverSpec]",
    scenes: "list[ListedScene]",
    source: Path,
    out: Path,
    settings: "SceneSettings",
    execution: ExecutionOptions,
) -> int:
    """Predict scenes and upload the products if requested; return the exit status.

    Args:
        specs: The remover, followed by further ones for the uncertainty.
        scenes: Scenes, with paths relative to the folder of their table or stack.
        source: Table or folder that lists them.
        out: Parent of the scene folders.
        settings: Settings of all scenes.
        execution: How the tasks are run.
    """
    from unclouded.batch.scene_list import COLLECTION, TABLE
    from unclouded.batch.scenes import (
        MAPS,
        WORK,
        clearing,
        invalidate_lost,
        outputs,
        write_collection,
        write_scene_table,
    )
    from unclouded.batch.tasks import TaskLedger
    from unclouded.clouds.map import PRODUCT
    from unclouded.files import is_folder, require_writable, resolved
    from unclouded.models.weights import choose_map

    if settings.cloud_map is not None:
        raise InputError("cloud_map is the map of one scene; give it in the column cloud_map of the table")
    if remark := choose_map([one.find() for one in specs], settings.clouds, without_weights=PRODUCT).remark:
        logger.warning(remark)
    require_writable(out)
    execution.require_uploadable()
    out = resolved(out)
    tasks = clearing(scenes, source if is_folder(source) else source.parent, out, specs, settings)
    ledger = TaskLedger(out / WORK, execution.attempts)
    invalidate_lost(tasks, ledger)
    execution.run(tasks, ledger, "predicting scenes")

    def write(rows: "list[Row]", failures: dict[str, str]) -> tuple[str, bool]:
        write_collection(out / COLLECTION, source.stem, rows)
        write_scene_table(out / TABLE, rows, failures)
        shutil.rmtree(out / WORK / MAPS, ignore_errors=True)  # no task needs them any more
        return f"{len(rows):,} scenes predicted", bool(rows)

    status = finish(ledger, tasks, "scenes", out / TABLE, write)
    return max(status, execution.upload(tasks, ledger, out, outputs, [COLLECTION, TABLE]))

"""``unclouded batch``: remove the clouds of all scenes of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli import options
from unclouded.cli.execution import ExecutionOptions, finish
from unclouded.cli.logging import logger
from unclouded.cli.scene_options import NetworkOptions, SceneOptions
from unclouded.errors import InputError

if TYPE_CHECKING:
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
    raise typer.Exit(_predict_scenes(specs, scenes, out, scene.read(), execution))


def _predict_scenes(
    specs: "list[RemoverSpec]",
    table: Path,
    out: Path,
    settings: "SceneSettings",
    execution: ExecutionOptions,
) -> int:
    """Predict the scenes of a table and upload the products if requested; return the exit status."""
    from unclouded.batch.scene_list import COLLECTION, TABLE, read_scene_list
    from unclouded.batch.scenes import WORK, clearing, invalidate_lost, outputs, write_collection, write_scene_table
    from unclouded.batch.tasks import TaskLedger
    from unclouded.clouds.map import PRODUCT
    from unclouded.files import require_writable, resolved
    from unclouded.models.weights import choose_map

    if settings.cloud_map is not None:
        raise InputError("cloud_map is the map of one scene; give it in the column cloud_map of the table")
    scenes = read_scene_list(table)
    if remark := choose_map([one.find() for one in specs], settings.clouds, without_weights=PRODUCT).remark:
        logger.warning(remark)
    require_writable(out)
    execution.require_uploadable()
    out = resolved(out)
    tasks = clearing(scenes, resolved(table).parent, out, specs, settings)
    ledger = TaskLedger(out / WORK, execution.attempts)
    invalidate_lost(tasks, ledger)
    execution.run(tasks, ledger, "predicting scenes")

    def write(rows: "list[Row]", failures: dict[str, str]) -> tuple[str, bool]:
        write_collection(out / COLLECTION, table.stem, rows)
        write_scene_table(out / TABLE, rows, failures)
        return f"{len(rows):,} scenes predicted", bool(rows)

    status = finish(ledger, tasks, "scenes", out / TABLE, write)
    return max(status, execution.upload(tasks, ledger, out, outputs, [COLLECTION, TABLE]))

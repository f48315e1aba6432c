"""``unclouded batch``: remove the clouds of all scenes of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli import options
from unclouded.cli.execution import Attempts, Dask, ExecutionOptions, Processes, Retry, Shard, UploadTo, finish
from unclouded.cli.logging import logger
from unclouded.cli.predict import SettingsFile, read_scene_settings, remover_spec, scene_options
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.batch.tasks import Row
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.prediction.scene import SceneSettings


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
    settings: SettingsFile = None,
    offset: options.Offset = None,
    resampling: options.Resampling = None,
    tile: options.Tile = None,
    align: options.Align = None,
    units: options.Units = None,
    heights: options.Heights = None,
    heights_datum: options.HeightsDatum = None,
    clouds: options.Clouds = None,
    detector: options.DetectorName = None,
    remover: Annotated[
        str | None,
        typer.Option(
            help="Weights file, scene-adapted or a baseline.",
            show_default="the best remover without weights, chosen per scene",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    other: options.Other = None,
    bands: options.Bands = None,
    window: options.Window = None,
    statistics: options.Statistics = None,
    uncertainty: options.Uncertainty = None,
    engine: options.Engine = "torch",
    precision: options.Precision = "auto",
    device: options.Device = None,
    out: Annotated[
        Path,
        typer.Option(help="Output folder, with one folder per scene.", rich_help_panel=options.OUTPUT),
    ],
    upload_to: UploadTo = None,
    shard: Shard = "1/1",
    processes: Processes = 1,
    dask: Dask = None,
    attempts: Attempts = 3,
    retry: Retry = False,
) -> None:
    """Remove the clouds of all scenes of a table.

    Scenes are processed in turn, in several processes, as shards of a job array, or on a dask cluster. An interrupted
    batch resumes when the command is repeated. The last shard to finish writes scenes.parquet and a STAC collection.

    The exit status is 1 if a scene failed.
    """
    from unclouded.files import require_file
    from unclouded.models.known import require_remover

    for path in filter(None, (scenes, heights, settings)):
        require_file(path)
    names = (remover, *(other or ()))
    for name in filter(None, names):
        require_remover(name)
    specs = [remover_spec(name, bands, device, precision, engine) for name in names]
    given = scene_options(
        clouds=clouds,
        detector=detector,
        offset=offset,
        resampling=resampling,
        tile=tile,
        align=align,
        units=units,
        heights=heights,
        heights_datum=heights_datum,
        window=window,
        statistics=statistics,
        uncertainty=uncertainty,
    )
    resolved = read_scene_settings(settings, given, ensemble=len(specs) > 1)
    execution = ExecutionOptions(shard, processes, dask, retry)
    raise typer.Exit(_predict_scenes(specs, scenes, out, resolved, execution, attempts, upload_to))


def _predict_scenes(
    specs: "list[RemoverSpec]",
    table: Path,
    out: Path,
    settings: "SceneSettings",
    execution: ExecutionOptions,
    attempts: int,
    upload_to: str | None,
) -> int:
    """Predict the scenes of a table and upload the products if requested; return the exit status."""
    from unclouded.batch.scene_list import COLLECTION, TABLE, read_scene_list
    from unclouded.batch.scenes import WORK, clearing, invalidate_lost, outputs, write_collection, write_scene_table
    from unclouded.batch.storage import require_uploadable
    from unclouded.batch.tasks import TaskLedger
    from unclouded.files import require_writable, resolved
    from unclouded.models.weights import choose_map

    if settings.cloud_map is not None:
        raise InputError("cloud_map is the map of one scene; give it in the column cloud_map of the table")
    scenes = read_scene_list(table)
    if remark := choose_map([one.find() for one in specs], settings.clouds).remark:
        logger.warning(remark)
    require_writable(out)
    if upload_to is not None:
        require_uploadable(upload_to)
    out = resolved(out)
    tasks = clearing(scenes, resolved(table).parent, out, specs, settings)
    ledger = TaskLedger(out / WORK, attempts)
    invalidate_lost(tasks, ledger)
    execution.run(tasks, ledger, "predicting scenes")

    def write(rows: "list[Row]", failures: dict[str, str]) -> tuple[str, bool]:
        write_collection(out / COLLECTION, table.stem, rows)
        write_scene_table(out / TABLE, rows, failures)
        return f"{len(rows):,} scenes predicted", bool(rows)

    status = finish(ledger, tasks, "scenes", out / TABLE, write)
    if upload_to is not None:
        status = max(status, execution.upload(tasks, ledger, out, upload_to, outputs, [COLLECTION, TABLE]))
    return status

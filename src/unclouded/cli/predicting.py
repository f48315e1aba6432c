"""What ``predict`` does: clear one scene, many scenes, or a data set of patches."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from unclouded import __version__
from unclouded.batch.scenes import (
    COLLECTION,
    TABLE,
    WORK,
    clearing,
    invalidate_lost,
    outputs,
    read_scene_list,
    write_collection,
    write_scene_table,
)
from unclouded.batch.storage import require_uploadable
from unclouded.batch.tasks import Row, TaskLedger
from unclouded.cli.batch import ExecutionOptions, finish
from unclouded.cli.options import note, tell_left_out, tell_skipped
from unclouded.cli.progress import counted, progress_bar
from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.files import require_writable, resolved, write_json
from unclouded.models.weights import choose_map
from unclouded.patches.layouts import find_triplets
from unclouded.patches.reading import SKIPPED, Damaged, DamagedTriplet, incomplete_as_skipped, skipped_json
from unclouded.prediction import patches
from unclouded.prediction import scene as scenes
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.prediction.products import MADE, Provenance, causes, in_percent, shares
from unclouded.prediction.scene import PredictedScene, SceneSettings
from unclouded.settings import settings_from


def predict_scene(wanted: list[RemoverSpec], cloudy: Path, sar: Path, out: Path, content: dict[str, Any]) -> None:
    """Clear one scene, and say how many pixels were made."""
    settings = settings_from(SceneSettings, content, origin="these options")
    first, *others = (one.find() for one in wanted)
    with progress_bar() as on_progress, _log_on_stderr():
        scene = scenes.predict_scene(
            first, cloudy, sar, out, settings, others=others, on_progress=on_progress, estimate=True
        )
    typer.echo(told_of(scene))


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show log messages of :mod:`unclouded.prediction` on standard error, warnings as notes."""
    logger, handler = logging.getLogger("unclouded.prediction"), _StderrHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "note: " if record.levelno >= logging.WARNING else ""
        text = prefix + record.getMessage()
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def told_of(scene: PredictedScene) -> str:
    """Say how many pixels were made, by what, how well, and where to look at them."""
    pixels, used = scene.summary["pixels"], scene.summary["used"]
    made = sum(pixels[name] for name in (*MADE, "unjudged"))
    counts = (
        f"{made:,} px made by {used}, {pixels['observed']:,} as observed, {pixels['no_data']:,} without data"
        if made
        else f"nothing to make, {pixels['observed']:,} px as observed, {pixels['no_data']:,} without data"
    )
    expected = (scene.summary["expected_error"] or {"rows": {}})["rows"].get(used)
    error = f"expected error of what was made {expected['mae']:.3f} in reflectance; " if expected and made else ""
    choice = f"{reason}\n" if (reason := scene.summary.get("choice")) and made else ""
    return f"{scene.files['clear']}: {counts}\n{_shares(pixels)}\n{choice}{error}to look at: {scene.files['report']}"


def _shares(pixels: Mapping[str, Any]) -> str:
    """Return the shares of the whole scene, and the causes of what has no data."""
    share, total = shares(pixels), sum(pixels[code.name.lower()] for code in Provenance)
    words = {
        "observed": "as observed",
        "made": "cloudy and made",
        "unjudged": "not to be judged and made",
        "no_data": "no data",
    }
    rounded = in_percent(share)
    parts = [f"{rounded[name]} {said}" for name, said in words.items() if share[name]]
    why = causes(pixels, total)
    return f"of the scene: {', '.join(parts)}" + (f" ({why})" if why else "")


def predict_scenes(
    wanted: list[RemoverSpec],
    manifest: Path,
    out: Path,
    content: dict[str, Any],
    execution: ExecutionOptions,
    attempts: int,
    deliver: str | None,
) -> int:
    """Clear the scenes of a table, and deliver their products where that is asked for; return the exit status."""
    settings = settings_from(SceneSettings, content, origin="these options")
    if settings.cloud_map is not None:
        raise InputError(
            "--cloud-map is the map of one scene, expected --cloudy and --sar with it; give it in the column cloud_map"
        )
    scenes = read_scene_list(manifest)
    if remark := choose_map([one.find() for one in wanted], settings.clouds).remark:
        note(remark)
    require_writable(out)
    if deliver is not None:
        require_uploadable(deliver)
    out = resolved(out)
    tasks, notes = clearing(scenes, resolved(manifest).parent, out, wanted, settings), TaskLedger(out / WORK, attempts)
    invalidate_lost(tasks, notes)
    execution.do(tasks, notes, "clearing scenes")

    def write(rows: list[Row], failures: dict[str, str]) -> tuple[str, bool]:
        write_collection(out / COLLECTION, manifest.stem, rows)
        write_scene_table(out / TABLE, rows, failures)
        return f"{len(rows):,} scenes cleared", bool(rows)

    status = finish(notes, tasks, "scenes", out / TABLE, write)
    if deliver is not None:
        status = max(status, execution.deliver(tasks, notes, out, deliver, outputs, [COLLECTION, TABLE]))
    return status


def predict_patches(
    wanted: list[RemoverSpec], root: Path, out: Path, content: dict[str, Any], damaged: Damaged
) -> None:
    """Clear the cloudy images of a data set, each by itself; damaged ones that are skipped are listed in the folder."""
    asked = settings_from(SceneSettings, content, origin="these options")
    if asked != SceneSettings(clouds=asked.clouds) or len(wanted) > 1:
        raise InputError(
            "--patches takes a remover, --bands and how clouds are mapped; leave the options of scenes out"
        )
    remover = wanted[0].find()
    chosen = choose_map([remover], asked.clouds)
    if chosen.remark:
        note(chosen.remark)
    settings = chosen.used
    inventory = find_triplets(root)
    pairs = inventory.require_observations()
    tell_left_out(inventory.unpredictable)
    for files in pairs:
        patches.require_apart_from(files, out)
    require_writable(out)
    cache = ProbabilityCache()
    tags = {
        "UNCLOUDED_VERSION": __version__,
        "UNCLOUDED_CLOUDS": settings.model_dump_json(),
    }
    skipped: list[DamagedTriplet] = []
    predicted = patches.predict_patches(
        remover, pairs, settings, cache, wanted[0].device, damaged=damaged, skipped=skipped
    )
    with progress_bar() as on_progress:
        for one in counted(predicted, "predicting", len(pairs), on_progress):
            written = patches.write_prediction(one, out, tags)
    if damaged == "skip":
        write_json(out / SKIPPED, skipped_json([*incomplete_as_skipped(inventory.unpredictable), *skipped]))
    tell_skipped(skipped, out / SKIPPED)
    Console().print(f"{len(pairs) - len(skipped)} images in {out}, the last one {written.name}")

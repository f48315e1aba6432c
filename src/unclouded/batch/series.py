"""Time series of one place: every date is predicted with the help of its neighbours, as tasks of a batch.

:func:`read_stack` lists the images of a folder with their dates, :func:`series_scenes` gives each date the radar and
the other dates that help it, :func:`predict_series` runs the tasks in turn and opens the products as one data set.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from unclouded.batch.executors import run_tasks, serially
from unclouded.batch.scene_list import COLLECTION, TABLE, ListedScene, read_scene_list
from unclouded.batch.scenes import MAPS, WORK, clearing, invalidate_lost, write_collection, write_scene_table
from unclouded.batch.series_dataset import open_series
from unclouded.batch.storage import is_url
from unclouded.batch.tasks import TaskLedger
from unclouded.catalogue.local import describe_scenes, products_in
from unclouded.errors import InputError
from unclouded.files import is_folder, named, require_writable, resolved
from unclouded.io.geotiff import image_bands, open_geotiff
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.prediction.mosaic import SUMMARY
from unclouded.prediction.scene import SceneSettings
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.eopf_zarr import EopfProduct
from unclouded.sentinel.identify import BandStack, GeoTiff, ImageFolder, identify
from unclouded.sentinel.optical_stack import read_optical_time

if TYPE_CHECKING:
    import xarray

REFERENCES = 4
"""Default number of other dates that help a date."""

RADAR_DAYS = 12.0
"""Largest number of days between an optical image and its radar: the repeat cycle of one Sentinel-1 satellite."""


@dataclass(frozen=True)
class StackImage:
    """Image of a stack.

    Attributes:
        path: File or folder.
        is_radar: Whether it is of Sentinel-1.
        acquired: Time of acquisition, UTC.
    """

    path: Path
    is_radar: bool
    acquired: datetime


def read_stack(folder: Path) -> list[StackImage]:
    """Return the Sentinel-2 and Sentinel-1 images of a folder, earliest first.

    Raises:
        InputError: An image is of unknown date or no image at all, two optical images are of one date, or there are
            less than two dates.
    """
    images = (path for path in products_in(folder) if not _holds_results(path))
    found = sorted((_image(path) for path in images), key=lambda one: (one.acquired, one.path.name))
    optical = [one for one in found if not one.is_radar]
    if len(optical) < 2:
        raise InputError(
            f"{named(folder)} holds {len(optical)} Sentinel-2 images, expected at least two dates; give a folder of "
            "products or GeoTIFFs of one place"
        )
    for before, after in pairwise(optical):
        if before.acquired.date() == after.acquired.date():
            names = f"{before.path.name} and {after.path.name}"
            raise InputError(f"{named(folder)} holds {names}, both of {before.acquired:%Y-%m-%d}; keep one of them")
    return found


def _holds_results(path: Path) -> bool:
    """Return whether a folder was written by ``predict``, ``batch`` or ``series``."""
    return path.is_dir() and any((path / name).exists() for name in (SUMMARY, TABLE, WORK))


def _image(path: Path) -> StackImage:
    source = identify(path, SENTINEL2)
    if isinstance(source, ImageFolder):
        source = identify(path, SENTINEL1)
    if isinstance(source, EopfProduct):
        return StackImage(path, False, source.acquired)
    if isinstance(source, GeoTiff | BandStack):
        taken = read_optical_time(source)
        if taken is None:
            raise InputError(
                f"{named(path)} is of unknown date; set its tag ACQUISITIONDATETIME, or name the file as the product"
            )
        radar = set(source.files) <= set(SENTINEL1.bands) if isinstance(source, BandStack) else _band_count(path) <= 2
        return StackImage(path, radar, taken)
    record = describe_scenes(path, for_prediction=True)[0]
    return StackImage(path, record.kind == "radar", record.acquired)


def _band_count(path: Path) -> int:
    with open_geotiff(path) as file:
        return len(image_bands(file))


def series_scenes(stack: Path, references: int = REFERENCES) -> tuple[list[ListedScene], Path]:
    """Return the scenes of a stack with the references of each, and the folder that their paths are relative to.

    Args:
        stack: Folder of images, whose scenes are named by their dates, or table as for ``unclouded batch``.
        references: Number of other dates for each scene: the nearest ones, half of them before it and half after it, or
            more on one side where the other has less.

    Raises:
        InputError: The stack cannot be read, or the date of an image is unknown.
    """
    if is_folder(stack):
        images = read_stack(stack)
        radar = [one for one in images if one.is_radar]
        scenes = [(_scene(one, radar), one.acquired) for one in images if not one.is_radar]
        base = resolved(stack)
    else:
        base = resolved(stack).parent
        scenes = [(scene, _date_of(scene, base)) for scene in read_scene_list(stack)]
    scenes.sort(key=lambda pair: pair[1])
    return [_with_references(scenes, k, references) for k in range(len(scenes))], base


def _scene(image: StackImage, radar: Sequence[StackImage]) -> ListedScene:
    """Return a scene with the radar nearest in time, if there is any within :data:`RADAR_DAYS`."""

    def gap_days(one: StackImage) -> float:
        return abs((one.acquired - image.acquired).total_seconds()) / 86400

    nearest = min(radar, key=gap_days, default=None)
    near = nearest is not None and gap_days(nearest) <= RADAR_DAYS
    sar = nearest.path.name if nearest is not None and near else None
    return ListedScene(name=f"{image.acquired:%Y-%m-%d}", cloudy=image.path.name, sar=sar)


def _date_of(scene: ListedScene, base: Path) -> datetime:
    if is_url(scene.cloudy):
        raise InputError(f"{scene.name} is a URL, whose date is unknown before it is fetched; download the stack first")
    return _image(base / scene.cloudy).acquired


def _with_references(scenes: Sequence[tuple[ListedScene, datetime]], index: int, count: int) -> ListedScene:
    scene, _ = scenes[index]
    if scene.references:  # those that a table names
        return scene
    chosen = [scenes[k][0] for k in neighbours([taken for _, taken in scenes], index, count)]
    radars = tuple(one.sar or "" for one in chosen)
    return scene.model_copy(
        update={
            "references": tuple(one.cloudy for one in chosen),
            "reference_sars": radars if all(radars) else (),
        }
    )


def neighbours(times: Sequence[datetime], index: int, count: int) -> list[int]:
    """Return the positions of the nearest other dates, half of them before and half after one.

    Args:
        times: Times in ascending order; those of the same date as the one are not its neighbours.
        index: Position of the one.
        count: Number of neighbours; more on one side where the other has less than half.
    """
    day = times[index].date()
    before = [k for k in range(index - 1, -1, -1) if times[k].date() != day]
    after = [k for k in range(index + 1, len(times)) if times[k].date() != day]
    earlier = min(len(before), max(count // 2, count - len(after)))
    return sorted([*before[:earlier], *after[: count - earlier]])


def predict_series(
    stack: Path | str,
    out: Path | str,
    remover: str | None = None,
    settings: SceneSettings | None = None,
    *,
    references: int = REFERENCES,
    bands: tuple[str, ...] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> "xarray.Dataset":
    """Remove the clouds of every date of a place with the help of the others, and open the products.

    An interrupted run resumes; dates that are finished are not computed again. Dates that failed are left out of the
    data set and stand in the table of scenes with their reasons.

    Args:
        stack: Folder of Sentinel-2 and Sentinel-1 images, or table as for ``unclouded batch``.
        out: Output folder, with one folder per date.
        remover: Weights file or name of a remover; ``auto`` if omitted.
        settings: Settings of all scenes; the defaults if omitted.
        references: Number of other dates that help a date.
        bands: Optical bands; red, green and blue if omitted.
        on_progress: Called with (stage, completed, total), counted in dates.

    Returns:
        Data set of :func:`open_series`.

    Raises:
        InputError: The stack cannot be used, all dates failed, or xarray is not installed.
    """
    stack, out = Path(stack), Path(out)
    scenes, base = series_scenes(stack, references)
    require_writable(out)
    out = resolved(out)
    tasks = clearing(scenes, base, out, [RemoverSpec(remover, bands)], settings or SceneSettings())
    ledger = TaskLedger(out / WORK)
    invalidate_lost(tasks, ledger)
    run_tasks(tasks, ledger, serially, on_progress, "predicting dates")
    rows, failures = ledger.rows(tasks), ledger.failures(tasks)
    write_collection(out / COLLECTION, stack.stem, rows)
    write_scene_table(out / TABLE, rows, failures)
    shutil.rmtree(out / WORK / MAPS, ignore_errors=True)  # no date needs them any more
    if not rows:
        name, reason = next(iter(failures.items()))
        raise InputError(f"all {len(tasks)} dates failed, the first, {name}, because {reason}")
    return open_series(out)

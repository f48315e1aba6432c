"""Read triplets checked: one grid, no holes; or read all of them and name every damaged one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from unclouded.errors import InputError
from unclouded.io.geotiff import ImageFile, file_of, open_geotiff
from unclouded.io.raster import Raster, band_named, describe_grid, read, same_grid
from unclouded.patches.layouts import (
    CLEAR,
    CLOUDY,
    FLAT_CLEAR,
    SAR,
    IncompleteTriplet,
    Inventory,
    TripletFiles,
    section,
)
from unclouded.patches.roi import PatchId, natural
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor
from unclouded.sentinel.plausibility import PIXELS, check_optical_plausibility
from unclouded.sentinel.radar_units import check_radar_plausibility

T = TypeVar("T")

Damaged = Literal["refuse", "skip"]
"""What a command does about a damaged patch: stop, or go on without it and list it in its result."""

SKIPPED = "skipped.json"
"""Where a command that writes many files lists the patches it skipped."""


@dataclass(frozen=True, eq=False)
class PatchRasters:
    """The images of one place on one grid, without holes.

    Attributes:
        name: As in :class:`~unclouded.patches.layouts.TripletFiles`.
        sar: VV and VH, dB.
        cloudy: The 13 bands of Sentinel-2 with clouds, TOA reflectance.
        clear: The same without clouds; None where the data set has none.
    """

    name: str
    sar: Raster
    cloudy: Raster
    clear: Raster | None


def read_triplet(files: TripletFiles) -> PatchRasters:
    """Read the images of one place.

    Raises:
        InputError: A file is damaged, is not what its sensor delivers, has values without data, or lies on another
            grid than the cloudy image.
    """
    cloudy = _read_whole(files.cloudy, SENTINEL2)
    sar = _read_whole(files.sar, SENTINEL1)
    _require_grid(files.sar, sar, files.cloudy, cloudy)
    if files.clear is None:
        return PatchRasters(files.name, sar, cloudy, None)
    clear = _read_whole(files.clear, SENTINEL2)
    _require_grid(files.clear, clear, files.cloudy, cloudy)
    return PatchRasters(files.name, sar, cloudy, clear)


def _read_whole(path: ImageFile, sensor: Sensor) -> Raster:
    raster = read(path, sensor)
    if holes := int(np.count_nonzero(np.isnan(raster.values))):
        raise InputError(
            f"{path} has {holes:,} of {raster.values.size:,} values without data (NaN, infinite or nodata), "
            "expected none; leave this patch out or cut it again"
        )
    return raster


def _require_grid(path: ImageFile, raster: Raster, reference_path: ImageFile, reference: Raster) -> None:
    if not same_grid(raster.geobox, reference.geobox):
        raise InputError(
            f"{path} lies on another grid than {reference_path.name}: {describe_grid(raster.geobox)}, "
            f"expected {describe_grid(reference.geobox)}; cut both on one grid"
        )


@dataclass(frozen=True)
class DamagedTriplet:
    """A triplet that is there but cannot be used.

    Attributes:
        name: As in :class:`~unclouded.patches.layouts.TripletFiles`.
        reason: What is wrong with which file.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def incomplete_as_skipped(incomplete: Iterable[IncompleteTriplet]) -> list[DamagedTriplet]:
    """Return patches whose files are not all there as patches that a result is without."""
    return [DamagedTriplet(one.name, f"lacks {', '.join(one.lacks)}") for one in incomplete]


def skipped_json(skipped: Iterable[DamagedTriplet]) -> list[dict[str, Any]]:
    """Return skipped patches with their reasons as JSON values."""
    return [{"patch": one.name, "reason": one.reason} for one in skipped]


def each_readable(
    names: Sequence[str], read: Callable[[int], T], damaged: Damaged, skipped: list[DamagedTriplet]
) -> Iterator[T]:
    """Yield what is read of each patch, in order.

    Args:
        names: Names of the patches.
        read: Reads the patch at an index; an :class:`~unclouded.errors.InputError` means that it is damaged.
        damaged: What to do then.
        skipped: Damaged patches that were skipped are added to this list.

    Raises:
        InputError: A patch is damaged and is not to be skipped, or all are damaged.
    """
    failed: list[DamagedTriplet] = []
    for index, name in enumerate(names):
        try:
            found = read(index)
        except InputError as error:
            if damaged == "refuse":
                raise InputError(f"{error}; --damaged skip goes on without damaged patches") from error
            failed.append(DamagedTriplet(name, str(error)))
            skipped.append(failed[-1])
        else:
            yield found
    if failed and len(failed) == len(names):
        raise InputError(f"all {len(names):,} patches are damaged, expected one that is not; first {failed[0]}")


@dataclass(frozen=True)
class Inspection:
    """What reading a whole data set told.

    Attributes:
        inventory: What was read, and what was missing.
        damaged: Every triplet that could not be read, in the order of the inventory.
    """

    inventory: Inventory
    damaged: tuple[DamagedTriplet, ...]

    @property
    def is_clean(self) -> bool:
        """Nothing is missing and nothing is damaged."""
        return not self.inventory.incomplete and not self.damaged

    def report(self) -> str:
        """Return counts, then every incomplete and every damaged triplet, one a line."""
        found = self.inventory
        incomplete = section("incomplete", found.incomplete, len(found.incomplete))
        damaged = section("damaged", self.damaged, len(self.damaged))
        return "\n".join([found.summary(), *incomplete, *damaged, *section("strange", found.unexpected_files)])


def check_triplets(inventory: Inventory, on_progress: ProgressCallback = no_progress) -> Inspection:
    """Read every observation and triplet of a data set and collect what is wrong instead of stopping at the first.

    Args:
        inventory: What to read.
        on_progress: Called with (stage, completed, total) after each triplet.
    """
    damaged = []
    for done, files in enumerate(inventory.observations, start=1):
        try:
            _judge(files, read_triplet(files))
        except InputError as error:
            damaged.append(DamagedTriplet(files.name, str(error)))
        on_progress("reading", done, len(inventory.observations))
    return Inspection(inventory, tuple(damaged))


def _judge(files: TripletFiles, patch: PatchRasters) -> None:
    """Refuse images whose bands are surely in another order or unit; bands with names keep their order.

    Raises:
        InputError: Says what the bands look like.
    """
    _judge_image(files.sar, patch.sar)
    _judge_image(files.cloudy, patch.cloudy)
    if files.clear is not None and patch.clear is not None:
        _judge_image(files.clear, patch.clear)


def _judge_image(image: ImageFile, raster: Raster) -> None:
    """Refuse an image whose bands are surely in another order or unit.

    Args:
        image: File; asked for the names of its bands only where their order is in doubt.
        raster: Its values, in the unit of the sensor.

    Raises:
        InputError: Says what the bands look like.
    """
    try:
        _judge_values(image, raster, named_bands=False)
    except InputError:
        sensor = SENTINEL1 if raster.bands == SENTINEL1.bands else SENTINEL2
        with open_geotiff(file_of(image)) as source:
            named_bands = all(band_named(name or "", sensor) for name in source.descriptions[: len(raster.bands)])
        if not named_bands:
            raise
        _judge_values(image, raster, named_bands=True)


def _judge_values(image: ImageFile, raster: Raster, *, named_bands: bool) -> None:
    path = Path(str(image))
    if raster.bands == SENTINEL1.bands:
        check_radar_plausibility(path, raster.values, "dB", named_bands=named_bands)
    else:
        pixels = raster.values.reshape(len(raster.bands), -1)
        check_optical_plausibility(
            path, pixels[:, :: max(pixels.shape[1] // PIXELS, 1)], raster.bands, ordered=named_bands
        )


# The images of every patch of a data set, complete or not: what screening and the manifest look at.


TOKENS = (SAR, CLEAR, CLOUDY)
"""What the images are called here, whatever their folders are called: radar, clear and cloudy."""


@dataclass(frozen=True)
class PatchImages:
    """The images of one place that are there.

    Attributes:
        name: As in :class:`~unclouded.patches.layouts.TripletFiles`.
        patch: None where the name is not an official one.
        paths: By token of :data:`TOKENS`; none where scenes are incomplete.
        lacks: Tokens that are not there, in the words of the layout.
    """

    name: str
    patch: PatchId | None
    paths: Mapping[str, ImageFile]
    lacks: tuple[str, ...] = ()


def images_of(inventory: Inventory) -> list[PatchImages]:
    """Return the images of all patches in natural order, also of those that lack some."""
    found = [_complete(files) for files in inventory.triplets]
    found += [_incomplete(inventory, one) for one in inventory.incomplete]
    return sorted(found, key=lambda images: natural(images.name))


def _complete(files: TripletFiles) -> PatchImages:
    assert files.clear
    return PatchImages(files.name, files.patch, {SAR: files.sar, CLEAR: files.clear, CLOUDY: files.cloudy})


def _incomplete(inventory: Inventory, one: IncompleteTriplet) -> PatchImages:
    absent = {CLEAR if token in FLAT_CLEAR else token for token in one.lacks}
    there = [token for token in TOKENS if token not in absent]
    patch = PatchId.parse(one.name) if one.roi else None
    if patch and inventory.layout == "official":
        return PatchImages(one.name, patch, {token: inventory.root / patch.path(token) for token in there}, one.lacks)
    if inventory.layout == "scenes":
        return PatchImages(one.name, patch, {}, one.lacks)
    folders = {SAR: SAR, CLOUDY: CLOUDY, CLEAR: _clear_folder(inventory.root)}
    paths = {token: inventory.root / folders[token] / f"{one.name}.tif" for token in there}
    return PatchImages(one.name, patch, paths, one.lacks)


def _clear_folder(root: Path) -> str:
    return next((name for name in FLAT_CLEAR if (root / name).is_dir()), FLAT_CLEAR[0])

"""Read and check triplets: complete, on one grid, with bands in the right order and unit."""

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
"""Treatment of a damaged patch: stop with an error, or skip it and list it in the result."""

SKIPPED = "skipped.json"
"""File in which a command that writes many files lists the skipped patches."""


@dataclass(frozen=True, eq=False)
class PatchRasters:
    """The images of one patch on one grid, without missing values.

    Attributes:
        name: Unique name, see :class:`~unclouded.patches.layouts.TripletFiles`.
        sar: VV and VH backscatter, dB.
        cloudy: The 13 bands of Sentinel-2 with clouds, TOA reflectance.
        clear: The same without clouds; None if the data set has no clear image.
    """

    name: str
    sar: Raster
    cloudy: Raster
    clear: Raster | None


def read_triplet(files: TripletFiles) -> PatchRasters:
    """Read the images of one patch.

    Raises:
        InputError: A file is damaged, does not match its sensor, has missing values, or lies on another grid than the
            cloudy image.
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
            "expected none; exclude this patch or cut it again"
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
    """A triplet that cannot be used.

    Attributes:
        name: Unique name, see :class:`~unclouded.patches.layouts.TripletFiles`.
        reason: Error message that names the damaged file.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def incomplete_as_skipped(incomplete: Iterable[IncompleteTriplet]) -> list[DamagedTriplet]:
    """Return incomplete patches as skipped ones."""
    return [DamagedTriplet(one.name, f"lacks {', '.join(one.lacks)}") for one in incomplete]


def skipped_json(skipped: Iterable[DamagedTriplet]) -> list[dict[str, Any]]:
    """Return skipped patches with their reasons as JSON values."""
    return [{"patch": one.name, "reason": one.reason} for one in skipped]


def each_readable(
    names: Sequence[str], read: Callable[[int], T], damaged: Damaged, skipped: list[DamagedTriplet]
) -> Iterator[T]:
    """Yield the content of each patch, in order.

    Args:
        names: Names of the patches.
        read: Callable (index) that reads a patch; an :class:`~unclouded.errors.InputError` marks it as damaged.
        damaged: Treatment of damaged patches.
        skipped: List to which skipped patches are appended.

    Raises:
        InputError: A patch is damaged and ``damaged`` is ``refuse``, or all are damaged.
    """
    failed: list[DamagedTriplet] = []
    for index, name in enumerate(names):
        try:
            found = read(index)
        except InputError as error:
            if damaged == "refuse":
                raise InputError(f"{error}; use --damaged skip to skip damaged patches") from error
            failed.append(DamagedTriplet(name, str(error)))
            skipped.append(failed[-1])
        else:
            yield found
    if failed and len(failed) == len(names):
        raise InputError(
            f"all {len(names):,} patches are damaged, expected at least one readable patch; first {failed[0]}"
        )


@dataclass(frozen=True)
class Inspection:
    """Result of reading a whole data set.

    Attributes:
        inventory: Contents of the data set.
        damaged: Triplets that cannot be read, in the order of the inventory.
    """

    inventory: Inventory
    damaged: tuple[DamagedTriplet, ...]

    @property
    def is_clean(self) -> bool:
        """Whether no file is missing or damaged."""
        return not self.inventory.incomplete and not self.damaged

    def report(self) -> str:
        """Return counts, then every incomplete and damaged triplet, one per line."""
        found = self.inventory
        incomplete = section("incomplete", found.incomplete, len(found.incomplete))
        damaged = section("damaged", self.damaged, len(self.damaged))
        return "\n".join([found.summary(), *incomplete, *damaged, *section("unexpected", found.unexpected_files)])


def check_triplets(inventory: Inventory, on_progress: ProgressCallback = no_progress) -> Inspection:
    """Read every observation and triplet of a data set and collect all errors.

    Args:
        inventory: Contents of the data set.
        on_progress: Called with (stage, completed, total) after each triplet.
    """
    damaged = []
    for done, files in enumerate(inventory.observations, start=1):
        try:
            _require_plausible(files, read_triplet(files))
        except InputError as error:
            damaged.append(DamagedTriplet(files.name, str(error)))
        on_progress("reading", done, len(inventory.observations))
    return Inspection(inventory, tuple(damaged))


def _require_plausible(files: TripletFiles, patch: PatchRasters) -> None:
    """Check that the bands of the images are in the right order and unit.

    Raises:
        InputError: The values contradict the order or unit of the bands; the message describes them.
    """
    _require_plausible_image(files.sar, patch.sar)
    _require_plausible_image(files.cloudy, patch.cloudy)
    if files.clear is not None and patch.clear is not None:
        _require_plausible_image(files.clear, patch.clear)


def _require_plausible_image(image: ImageFile, raster: Raster) -> None:
    """Check that the bands of an image are in the right order and unit.

    Args:
        image: Image file; its band names are read only if the order is in doubt, and then decide.
        raster: Values of the image, in the unit of the sensor.

    Raises:
        InputError: The values contradict the order or unit of the bands; the message describes them.
    """
    try:
        _require_plausible_values(image, raster, named_bands=False)
    except InputError:
        sensor = SENTINEL1 if raster.bands == SENTINEL1.bands else SENTINEL2
        with open_geotiff(file_of(image)) as source:
            named_bands = all(band_named(name or "", sensor) for name in source.descriptions[: len(raster.bands)])
        if not named_bands:
            raise
        _require_plausible_values(image, raster, named_bands=True)


def _require_plausible_values(image: ImageFile, raster: Raster, *, named_bands: bool) -> None:
    path = Path(str(image))
    if raster.bands == SENTINEL1.bands:
        check_radar_plausibility(path, raster.values, "dB", named_bands=named_bands)
    else:
        pixels = raster.values.reshape(len(raster.bands), -1)
        check_optical_plausibility(
            path, pixels[:, :: max(pixels.shape[1] // PIXELS, 1)], raster.bands, ordered=named_bands
        )


# The images of every patch, complete or not, for screening and the manifest.


TOKENS = (SAR, CLEAR, CLOUDY)
"""Tokens of the images, independent of folder names: radar, clear and cloudy."""


@dataclass(frozen=True)
class PatchImages:
    """The existing images of one patch.

    Attributes:
        name: Unique name, see :class:`~unclouded.patches.layouts.TripletFiles`.
        patch: Patch; None if the name is not an official one.
        paths: Images by token of :data:`TOKENS`; empty if scenes are incomplete.
        lacks: Missing images, named as in the layout.
    """

    name: str
    patch: PatchId | None
    paths: Mapping[str, ImageFile]
    lacks: tuple[str, ...] = ()


def images_of(inventory: Inventory) -> list[PatchImages]:
    """Return the images of all patches in natural order, including incomplete ones."""
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
    if inventory.layout in ("scenes", "series"):
        return PatchImages(one.name, patch, {}, one.lacks)
    folders = {SAR: SAR, CLOUDY: CLOUDY, CLEAR: _clear_folder(inventory.root)}
    paths = {token: inventory.root / folders[token] / f"{one.name}.tif" for token in there}
    return PatchImages(one.name, patch, paths, one.lacks)


def _clear_folder(root: Path) -> str:
    return next((name for name in FLAT_CLEAR if (root / name).is_dir()), FLAT_CLEAR[0])

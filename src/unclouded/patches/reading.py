"""Read triplets checked: one grid, no holes; or read all of them and name every damaged one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from unclouded.errors import InputError
from unclouded.geotiff import ImageFile
from unclouded.patches.layouts import IncompleteTriplet, Inventory, TripletFiles, section
from unclouded.raster import Raster, describe, read, same_grid
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor

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
            f"{path} lies on another grid than {reference_path.name}: {describe(raster.geobox)}, "
            f"expected {describe(reference.geobox)}; cut both on one grid"
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
        return "\n".join([found.summary(), *incomplete, *damaged, *section("strange", found.strangers)])


def check_triplets(inventory: Inventory, progress: Callable[[int, int], object] | None = None) -> Inspection:
    """Read every observation and triplet of a data set and collect what is wrong instead of stopping at the first.

    Args:
        inventory: What to read.
        progress: Called after each triplet with how many are done and how many there are.
    """
    damaged = []
    for done, files in enumerate(inventory.observations, start=1):
        try:
            read_triplet(files)
        except InputError as error:
            damaged.append(DamagedTriplet(files.name, str(error)))
        if progress:
            progress(done, len(inventory.observations))
    return Inspection(inventory, tuple(damaged))

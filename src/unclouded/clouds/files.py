"""Cloud maps as GeoTIFFs: of one image of any size, or of every image of a folder. An interrupted run resumes."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import STRIP_PX, CloudMapSettings, map_rows
from unclouded.errors import InputError
from unclouded.files import named, remove_partial_files, require_apart, require_new_file, resolved
from unclouded.formats import found_clause
from unclouded.io.geotiff import open_geotiff
from unclouded.io.rows import write_rows
from unclouded.locks import held
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sun import Sun

SUFFIXES = (".tif", ".tiff")
"""Image suffixes that the map keeps, in upper or lower case; other names get ``.tif``."""
THREADS = 2
"""Images mapped in parallel: one is read while the detector runs on another."""
TAG = "UNCLOUDED_CLOUDS"
"""GeoTIFF tag of a map with its settings."""
READ_TAG = "UNCLOUDED_OPTICAL"
"""GeoTIFF tag of a map with the options that its image was read with, if any."""
UNKNOWN = "the map has no data where a band of the detector has none or is saturated: clouds are unknown there"
"""Warning for an image with gaps."""


class Image(Protocol):
    """An open Sentinel-2 image, such as :class:`unclouded.sentinel.optical.OpticalScene`."""

    @property
    def geobox(self) -> GeoBox:
        """Grid of the image."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about the image, for the user."""

    @property
    def sun(self) -> Sun | None:
        """Position of the sun; None if unknown."""

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Return the reflectance of the rows from ``top`` up to ``bottom``; NaN where there is no data."""

    def classes(self, top: int, bottom: int) -> UInt8[np.ndarray, "rows x"]:
        """Return the scene classification of rows; an :class:`~unclouded.errors.InputError` if there is none."""


@dataclass(frozen=True)
class ImageReader:
    """The way to open images, the same for one image and for a folder.

    Attributes:
        open: Callable (path) that opens an image.
        options: Reading options that differ from the defaults, as text, stored in the maps; empty if there are none.
    """

    open: Callable[[Path], AbstractContextManager[Image]]
    options: str = ""


def map_file(
    image: Path, out: Path, settings: CloudMapSettings, reader: ImageReader, on_progress: ProgressCallback = no_progress
) -> tuple[str, ...]:
    """Write the cloud map m of an image of any size, strip by strip, as float32 on the grid of the image.

    Args:
        image: Sentinel-2 image, L1C or L2A.
        out: GeoTIFF; an existing map is replaced only when the new one is complete.
        settings: Settings of the map.
        reader: The way to open the image.
        on_progress: Called with (stage, rows done, rows).

    Returns:
        Warnings about the image.

    Raises:
        InputError: The image is damaged, not supported by the detector, or would be overwritten.
    """
    require_apart(out, image)
    require_new_file(out)
    with (
        reader.open(image) as scene,
        write_rows(
            out, ("cloud map m",), scene.geobox, "float32", nodata=math.nan, tags=_tags(settings, reader)
        ) as write,
    ):
        height, unknown = scene.geobox.shape[0], False
        mapped = map_rows(
            scene.read, height, scene.bands, settings, sun=scene.sun, read_classes=scene.classes, strip_px=STRIP_PX // 2
        )
        for top, strip in mapped:
            write(top, strip[None])
            unknown |= bool(np.isnan(strip).any())
            on_progress("mapping rows", top + len(strip), height)
        return (*scene.remarks, UNKNOWN) if unknown else scene.remarks


def _tags(settings: CloudMapSettings, reader: ImageReader) -> dict[str, str]:
    options = {READ_TAG: reader.options} if reader.options else {}
    return {TAG: settings.model_dump_json()} | options


@dataclass(frozen=True)
class MappedFolder:
    """Result of mapping the images of a folder.

    Attributes:
        made: Number of new maps.
        there: Number of existing maps with the same settings.
        refused: Error messages of the images that have no map.
        remarks: Warnings about the new maps, each with the names of its images.
    """

    made: int
    there: int
    refused: tuple[str, ...]
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def map_folder(
    folder: Path,
    images: Sequence[Path],
    out: Path,
    settings: CloudMapSettings,
    reader: ImageReader,
    on_progress: ProgressCallback,
) -> MappedFolder:
    """Write the cloud map m of every image of a folder and its subfolders; an interrupted run resumes.

    Args:
        folder: Folder of the images.
        images: Images and products in it; those below ``out`` are ignored.
        out: Folder for the maps, which keep the relative paths of their images.
        settings: Settings of the maps; existing maps with other settings are replaced.
        reader: The way to open images.
        on_progress: Called with (stage, images done, images).

    Raises:
        InputError: There is no image, two images would share a map, or a map would replace another file.
        BusyError: Another process writes ``out``.
    """
    targets = _targets(folder, images, out)
    with held(out):
        for place in {target.parent for target in targets.values()}:
            remove_partial_files(place)
        left = {image: target for image, target in targets.items() if not _is_made(target, settings, reader)}
        remarks: dict[str, tuple[str, ...]] = {}
        refused = []
        for image, made in zip(left, _made(left, settings, reader, on_progress), strict=True):
            if isinstance(made, InputError):
                refused.append(str(made))
                continue
            for remark in made:
                remarks[remark] = (*remarks.get(remark, ()), image.name)
    return MappedFolder(len(left) - len(refused), len(targets) - len(left), tuple(refused), remarks)


def _targets(folder: Path, images: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Return the path of the map of each image."""
    if resolved(out) != resolved(folder):
        images = [path for path in images if not resolved(path).is_relative_to(resolved(out))]
    if not images:
        raise InputError(
            f"{named(folder)} holds no .tif file and no product{found_clause(folder)}; give a folder of "
            "Sentinel-2 images"
        )
    targets = {image: out / _map_name(image.relative_to(folder)) for image in images}
    if shared := next((target for target, count in Counter(targets.values()).items() if count > 1), None):
        names = " and ".join(image.name[-80:] for image, target in targets.items() if target == shared)
        raise InputError(f"{named(folder)} holds {names}, whose maps would have the same name; rename one")
    known = {resolved(image) for image in images}
    if clash := next((target for target in targets.values() if resolved(target) in known), None):
        raise InputError(f"{named(clash)} is an image itself; choose another folder for the maps")
    return targets


def _map_name(image: Path) -> Path:
    """Return the relative path of the map of an image."""
    if image.suffix.lower() in SUFFIXES:
        return image
    stem = image.name
    for suffix in (".zip", ".SAFE"):
        stem = stem.removesuffix(suffix)
    return image.with_name(f"{stem}.tif")


def _is_made(target: Path, settings: CloudMapSettings, reader: ImageReader) -> bool:
    """Return whether a map with these settings exists.

    Raises:
        InputError: The existing file is not a map, so it must not be replaced.
    """
    if not target.exists():
        return False
    with open_geotiff(target) as made:
        found = made.tags()
    if TAG not in found:
        raise InputError(f"{named(target)} exists and is not a cloud map; choose another folder for the maps")
    return {key: found[key] for key in (TAG, READ_TAG) if key in found} == _tags(settings, reader)


def _made(
    targets: dict[Path, Path], settings: CloudMapSettings, reader: ImageReader, on_progress: ProgressCallback
) -> Iterator[tuple[str, ...] | InputError]:
    """Write maps in parallel; yield the warnings about each image, or its error."""

    def make(pair: tuple[Path, Path]) -> tuple[str, ...] | InputError:
        try:
            return map_file(*pair, settings, reader)
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        for done, made in enumerate(pool.map(make, targets.items()), start=1):
            on_progress("mapping clouds", done, len(targets))
            yield made

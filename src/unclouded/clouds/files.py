"""Cloud maps as files: of an image of any size, or of every image of a folder, however often the work is killed."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings, map_rows
from unclouded.errors import InputError
from unclouded.files import named, remove_partial_files, require_apart, require_new_file, resolved
from unclouded.formats import found_clause
from unclouded.io.geotiff import open_geotiff
from unclouded.io.rows import write_rows
from unclouded.locks import held
from unclouded.progress import ProgressCallback

SUFFIXES = (".tif", ".tiff")
"""Suffixes of images that give their name to the map as it is, in any case."""
THREADS = 2
"""Images under way at once: one is read while the detector looks at another."""
TAG = "UNCLOUDED_CLOUDS"
"""Tag of a map, with the settings that made it."""
READ_TAG = "UNCLOUDED_OPTICAL"
"""Tag of a map of an image that was read with options, with these options."""
UNKNOWN = "the map has no data where a band of the detector has none or is saturated: clouds are unknown there"
"""Warning about an image with gaps."""


class Image(Protocol):
    """An open Sentinel-2 image, such as :class:`unclouded.sentinel.optical.OpticalScene`."""

    @property
    def geobox(self) -> GeoBox:
        """Grid."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about the image, for the user."""

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Reflectance of the rows from ``top`` to before ``bottom``; NaN where there is no data."""


@dataclass(frozen=True)
class ImageReader:
    """How images are opened: the same way for a single one and for all of a folder.

    Attributes:
        open: Opens an image by its path.
        options: Options other than the defaults, as text; stored in the maps, empty if there are none.
    """

    open: Callable[[Path], AbstractContextManager[Image]]
    options: str = ""


def map_file(
    image: Path, out: Path, settings: CloudMapSettings, reader: ImageReader, on_progress: ProgressCallback | None = None
) -> tuple[str, ...]:
    """Write the map m of an image of any size, strip by strip, float32 on the grid of the image.

    Args:
        image: Sentinel-2 image: L1C, or L2A, which has no B10.
        out: GeoTIFF; an older file is replaced only when the new one is complete.
        settings: How the map is made.
        reader: How the image is opened.
        on_progress: Is told how many rows are done.

    Returns:
        Warnings about the image.

    Raises:
        InputError: The image is damaged, is not what the detector serves, or would be written over.
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
        for top, strip in map_rows(scene.read, height, scene.bands, settings):
            write(top, strip[None])
            unknown |= bool(np.isnan(strip).any())
            if on_progress:
                on_progress("mapping rows", top + len(strip), height)
        return (*scene.remarks, UNKNOWN) if unknown else scene.remarks


def _tags(settings: CloudMapSettings, reader: ImageReader) -> dict[str, str]:
    options = {READ_TAG: reader.options} if reader.options else {}
    return {TAG: settings.model_dump_json()} | options


@dataclass(frozen=True)
class MappedFolder:
    """Result of mapping the images of a folder.

    Attributes:
        made: Maps that were written now.
        there: Maps with the same settings that were there already.
        refused: Why an image has no map, one line each.
        remarks: Warnings about images that were mapped now, with the names of the images they are about.
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
    """Write the map m of every image of a folder and its subfolders, under the same names; go on where a run stopped.

    Args:
        folder: Folder of the images.
        images: Images and products in it; those below ``out`` are left out.
        out: Folder for the maps, GeoTIFFs.
        settings: How the maps are made; maps that were made otherwise are made anew.
        reader: How images are opened.
        on_progress: Is told how many images are done.

    Raises:
        InputError: There is no image, two would share a map, or a map would replace a file that is no map.
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
    """Return where the map of each image goes."""
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
        raise InputError(f"{named(folder)} holds {names}, whose maps would have one name; keep one, or rename it")
    known = {resolved(image) for image in images}
    if clash := next((target for target in targets.values() if resolved(target) in known), None):
        raise InputError(f"{named(clash)} is an image itself; choose another folder for the maps")
    return targets


def _map_name(image: Path) -> Path:
    """Return the name of an image, with the suffix of a GeoTIFF."""
    if image.suffix.lower() in SUFFIXES:
        return image
    stem = image.name
    for suffix in (".zip", ".SAFE"):
        stem = stem.removesuffix(suffix)
    return image.with_name(f"{stem}.tif")


def _is_made(target: Path, settings: CloudMapSettings, reader: ImageReader) -> bool:
    """Whether a map is there already; one of other settings does not count.

    Raises:
        InputError: The file that is there is no map; it was not asked to be replaced.
    """
    if not target.exists():
        return False
    with open_geotiff(target) as made:
        found = made.tags()
    if TAG not in found:
        raise InputError(f"{named(target)} is there already and is no cloud map; choose another folder for the maps")
    return {key: found[key] for key in (TAG, READ_TAG) if key in found} == _tags(settings, reader)


def _made(
    targets: dict[Path, Path], settings: CloudMapSettings, reader: ImageReader, on_progress: ProgressCallback
) -> Iterator[tuple[str, ...] | InputError]:
    """Make maps, several at a time; yield the warnings about each image, or why it was refused."""

    def make(pair: tuple[Path, Path]) -> tuple[str, ...] | InputError:
        try:
            return map_file(*pair, settings, reader)
        except InputError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        for done, made in enumerate(pool.map(make, targets.items()), start=1):
            on_progress("mapping clouds", done, len(targets))
            yield made

"""Kinds of images on disk: products, products of one pass in one folder, GeoTIFFs and folders of GeoTIFFs.

:func:`identify` examines a path once and returns a value of its kind, which is passed on to the readers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import is_file, is_folder, named, require_folder
from unclouded.io.raster import band_named
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor
from unclouded.sentinel.eopf_zarr import EopfProduct, is_zarr
from unclouded.sentinel.safe import Product, ProductZip, SafeProduct, is_zip, product_at

SUFFIXES = (".tif", ".tiff")

JP2 = ".jp2"

CLASSES = "SCL"
"""Name of the image of the scene classification."""

ITEM = "item.json"
"""STAC item in a folder of images."""

_PIXEL = re.compile(r"_([126]0)m$", re.IGNORECASE)

ONE_PASS = timedelta(minutes=5)
"""Largest time span of one pass: slices start 25 s apart, and the next pass is 12 hours later at the earliest."""

_SLICE = re.compile(r"S1[A-D]_IW_GRDH_1S\w{2}_(\d{8}T\d{6})_.*")

_PART = re.compile(
    r"(S2[A-D])_MSI(L1C|L2A)_(\d{8}T\d{6})_N\d{4}_(R\d{3})_(T\d\d[A-Z]{3})_(\d{8}T\d{6})(?:\.SAFE|\.zip)*"
)


@dataclass(frozen=True)
class OnePass:
    """Folder of products of one pass: slices of Sentinel-1, or parts of one Sentinel-2 tile.

    Attributes:
        path: Folder.
        products: At least one product, earliest first.
    """

    path: Path
    products: tuple[Product, ...]


@dataclass(frozen=True)
class BandStack:
    """Folder of GeoTIFFs or JPEG 2000 images named after their bands, flat or in ``R10m``, ``R20m`` and ``R60m``.

    Attributes:
        path: Folder.
        files: Images by band name, the finest ones; several files of one band are refused on opening.
        classes: Image of the scene classification (SCL); None if there is none.
        item: STAC item ``item.json``; None if there is none.
    """

    path: Path
    files: Mapping[str, tuple[Path, ...]]
    classes: Path | None = None
    item: Path | None = None


@dataclass(frozen=True)
class GeoTiff:
    """File that is not a product, or a missing one; opened as a GeoTIFF."""

    path: Path


@dataclass(frozen=True)
class ImageFolder:
    """Folder that is not an image itself, but may contain images."""

    path: Path


Source = SafeProduct | ProductZip | OnePass | EopfProduct | BandStack | GeoTiff | ImageFolder


def identify(path: Path | str | Source, sensor: Sensor) -> Source:
    """Return what a path is; a manifest or metadata file stands for its folder.

    Args:
        path: File or folder; a result of this function is returned unchanged.
        sensor: Sensor whose bands and products are looked for in a folder.

    Raises:
        InputError: The path is not readable, or the products in the folder are not of one pass.
    """
    if isinstance(path, Source):
        return path
    product = product_at(Path(path))
    if product is None:
        return GeoTiff(Path(path))
    if isinstance(product, ProductZip) or _holds_metadata(product.path):
        return product
    folder = product.path
    if is_zarr(folder):
        return EopfProduct(folder)
    files = _band_files(folder, sensor)
    classes = files.pop(CLASSES, ())
    if len(files) > 1 or (sensor == SENTINEL1 and "VV" in files):
        item = folder / ITEM
        return BandStack(folder, files, classes[0] if classes else None, item if is_file(item) else None)
    products = _slices(folder) if sensor == SENTINEL1 else _tile_parts(folder)
    return OnePass(folder, products) if products else ImageFolder(folder)


def products_of(source: SafeProduct | ProductZip | OnePass | ImageFolder) -> tuple[Product, ...]:
    """Return the products to open for a source; opening that of an :class:`ImageFolder` names what the folder is."""
    if isinstance(source, OnePass):
        return source.products
    return (SafeProduct(source.path) if isinstance(source, ImageFolder) else source,)


def single_image(path: Path) -> Source | None:
    """Return the Sentinel-2 image that a path is; None for a folder of several images.

    Raises:
        InputError: The path is not readable.
    """
    if not is_folder(path):
        return identify(path, SENTINEL2)
    try:
        source = identify(path, SENTINEL2)
    except InputError:  # products of several passes or tiles
        return None
    several = isinstance(source, ImageFolder) or (isinstance(source, OnePass) and len(source.products) == 1)
    return None if several else source


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder and its subfolders: GeoTIFFs, products, folders of bands; hidden ones are skipped.

    Raises:
        InputError: The folder does not exist or is not readable.
    """
    require_folder(folder)
    return sorted(_images(folder))


def _images(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.name.startswith("."):
            continue
        if is_folder(path) and single_image(path) is not None:
            yield path
        elif is_folder(path) and not path.is_symlink():  # a link may lead back to the folder itself
            yield from _images(path)
        elif is_file(path) and (path.suffix.lower() in SUFFIXES or is_zip(path)):
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError as error:
        raise InputError(f"{named(folder)} may not be read; check its permissions") from error


def _holds_metadata(folder: Path) -> bool:
    """Return whether a folder contains the manifest or the metadata of a product."""
    return any(
        path.name == "manifest.safe" or ("MTD" in path.name and path.suffix == ".xml") for path in _entries(folder)
    )


def _band_files(folder: Path, sensor: Sensor) -> dict[str, tuple[Path, ...]]:
    """Return the images of a folder by the band in their names, such as ``T32TQM_B02_10m.tif``; the finest of each.

    JPEG 2000 images of an optical sensor count where there are no GeoTIFFs.
    """
    found = _images_by_band(folder, sensor, SUFFIXES)
    return found if found or sensor == SENTINEL1 else _images_by_band(folder, sensor, (JP2,))


def _images_by_band(folder: Path, sensor: Sensor, suffixes: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    found: dict[str, dict[int, list[Path]]] = {}
    for metres, place in _resolution_folders(folder, sensor):
        for path in _entries(place):
            usable = path.suffix.lower() in suffixes and not path.name.startswith(".") and is_file(path)
            if usable and (band := _band_of(path.stem, sensor)):
                stated = _PIXEL.search(path.stem)
                found.setdefault(band, {}).setdefault(int(stated[1]) if stated else metres, []).append(path)
    return {band: tuple(sizes[min(sizes)]) for band, sizes in found.items()}


def _resolution_folders(folder: Path, sensor: Sensor) -> Iterator[tuple[int, Path]]:
    """Yield the folder itself and its folders of one pixel size, with that size; 0 where it is not stated."""
    yield 0, folder
    for metres in (10, 20, 60) if sensor != SENTINEL1 else ():
        if is_folder(folder / f"R{metres}m"):
            yield metres, folder / f"R{metres}m"


def _band_of(stem: str, sensor: Sensor) -> str | None:
    if sensor != SENTINEL1 and CLASSES in re.split(r"[^A-Z]+", stem.upper()):
        return CLASSES
    return band_named(stem, sensor)


def _tile_parts(folder: Path) -> tuple[Product, ...]:
    """Return the Sentinel-2 products in a folder, earliest first: parts of one tile in one pass.

    The ground station and the ends of datastrips cut a tile into two products that complement each other. Products
    without the names that Copernicus gives them do not count.

    Raises:
        InputError: The products are of several satellites, levels, orbits, tiles or passes, or one is there twice.
    """
    found = sorted(_products(folder, _PART), key=lambda one: (one[1][3], one[1][6], one[0].path))
    kinds = {match.group(1, 2, 4, 5) for _, match in found}
    times = [_moment(match[3]) for _, match in found]
    if len(kinds) > 1 or (times and times[-1] - times[0] > ONE_PASS):
        names = " and ".join(product.path.name for product, _ in (found[0], found[-1]))
        raise InputError(
            f"{named(folder)} holds {names}, expected one Sentinel-2 product, or parts of one tile in one pass; give "
            "one of them, or a folder with those of one tile and pass"
        )
    for (first, before), (second, after) in pairwise(found):
        if before.group(3, 6) == after.group(3, 6):
            names = f"{first.path.name} and {second.path.name}"
            raise InputError(f"{named(folder)} holds {names}, which are one product; give one of them")
    return tuple(product for product, _ in found)


def _slices(folder: Path) -> tuple[Product, ...]:
    """Return the Sentinel-1 products in a folder, earliest first; those without official names do not count.

    Raises:
        InputError: The products are of more than one pass.
    """
    found = sorted(_products(folder, _SLICE), key=lambda one: (one[1][1], one[0].path))
    times = [_moment(match[1]) for _, match in found]
    if times and times[-1] - times[0] > ONE_PASS:
        first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (times[0], times[-1]))
        raise InputError(
            f"{named(folder)} holds Sentinel-1 products from {first} to {last}, expected slices of one pass; give "
            "one of them, or a folder with those of one pass"
        )
    return tuple(product for product, _ in found)


def _products(folder: Path, name: re.Pattern[str]) -> Iterator[tuple[Product, re.Match[str]]]:
    for path in _entries(folder):
        if not (match := name.fullmatch(path.name)):
            continue
        if is_folder(path) and _holds_metadata(path):
            yield SafeProduct(path), match
        elif is_zip(path):
            yield ProductZip(path), match


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)

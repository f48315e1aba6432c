"""Distinction between paths that are one optical image and folders of several images."""

from collections.abc import Iterator
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import named, require_folder
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.band_stack import SUFFIXES, is_band_folder, is_product_folder
from unclouded.sentinel.safe import is_zip
from unclouded.sentinel.sentinel1 import is_split


def is_one_image(path: Path) -> bool:
    """Return whether a path is one image: a file, a product, a folder with parts of one tile, or a folder of bands."""
    return not path.is_dir() or is_product_folder(path) or is_band_folder(path, SENTINEL2) or is_split(path)


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder and its subfolders: GeoTIFFs, products, folders of bands; hidden ones are skipped.

    Raises:
        InputError: The folder does not exist or is not readable.
    """
    require_folder(folder)
    return sorted(_images(folder))


def _images(folder: Path) -> Iterator[Path]:
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except PermissionError as error:
        raise InputError(f"{named(folder)} may not be read; check its permissions") from error
    for path in entries:
        if path.is_dir() and is_one_image(path):
            yield path
        elif path.is_dir() and not path.is_symlink():  # a link may lead back to the folder itself
            yield from _images(path)
        elif path.is_file() and (path.suffix.lower() in SUFFIXES or is_zip(path)):
            yield path

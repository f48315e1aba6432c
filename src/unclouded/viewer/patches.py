"""Pictures of the patches of a data set: radar, cloudy and clear image, predictions, and maps of their error."""

import io
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from unclouded.errors import InputError
from unclouded.files import is_file
from unclouded.io.geotiff import read_stored
from unclouded.io.raster import band_named, read, to_physical
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.stretch import NO_DATA_GREY, RADAR_DB, stretch_of
from unclouded.viewer.registry import require_inside

if TYPE_CHECKING:
    from unclouded.patches.layouts import TripletFiles

Kind = Literal["radar", "cloudy", "clear", "prediction", "error"]

KINDS: Mapping[str, Kind] = {one: one for one in get_args(Kind)}
"""Pictures by the words in a request."""

WORST = 0.1
"""Mean absolute error that is darkest in error maps, in reflectance."""
_ERROR_COLOURS = ((0.0, (247, 244, 236)), (0.2, (241, 184, 120)), (0.5, (180, 80, 106)), (1.0, (50, 18, 76)))
"""Pale for no error to dark for :data:`WORST`; brightness falls steadily, so that colour vision does not matter."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class PatchImages:
    """Images of the patches of a data set.

    Args:
        root: Root of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _files(self) -> Mapping[str, "TripletFiles"]:
        return {one.name: one for one in find_triplets(self.root, withdrawn=True).triplets}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def optical(self, name: str, kind: Literal["cloudy", "clear"]) -> Float32[np.ndarray, "3 y x"]:
        """Return red, green and blue of the cloudy or the clear image.

        Raises:
            KeyError: There is no such patch.
            InputError: The file is damaged.
        """
        files = self._files[name]
        path = files.cloudy if kind == "cloudy" else files.clear
        if path is None:
            raise KeyError(name)
        return read(path, SENTINEL2).select(RGB).values

    def picture(self, name: str, kind: Kind, predictions: Path | None = None) -> bytes:
        """Return a picture of a patch as WebP without loss; optical images share the stretch of the clear one.

        Args:
            name: Name of the patch.
            kind: Picture.
            predictions: Folder of the predictions, for ``prediction`` and ``error``.

        Raises:
            KeyError: There is no such patch or prediction.
            InputError: A file is damaged.
        """
        if kind == "radar":
            return _encoded(radar_colours(read(self._files[name].sar, SENTINEL1).values))
        clear = self.optical(name, "clear")
        if kind in ("prediction", "error"):
            if predictions is None:
                raise KeyError(name)
            predicted = read_prediction(predictions, name)
            if predicted.shape != clear.shape:
                raise InputError(f"the prediction of {name} has another size than the clear image")
            if kind == "error":
                return _encoded(error_colours(predicted, clear))
            shown = predicted
        else:
            shown = clear if kind == "clear" else self.optical(name, "cloudy")
        stretch = stretch_of(clear[:, np.isfinite(clear).all(axis=0)])
        return _encoded(stretch.brightness(shown).transpose(1, 2, 0))


def read_prediction(folder: Path, name: str) -> Float32[np.ndarray, "3 y x"]:
    """Return red, green and blue of a predicted patch, NAME.tif.

    Raises:
        KeyError: There is no such file in the folder.
        InputError: The file is damaged, or has no band names.
    """
    path = folder / f"{name}.tif"
    if not _NAME.fullmatch(name) or not is_file(path):
        raise KeyError(name)
    require_inside(path, folder)
    stored = read_stored(path)
    bands = [band_named(one or "", SENTINEL2) for one in stored.descriptions]
    if not set(RGB) <= set(bands):
        raise InputError(f"{path.name} has no bands named {' '.join(RGB)}")
    return to_physical(stored, SENTINEL2)[[bands.index(band) for band in RGB]]


def radar_colours(sar: Float32[np.ndarray, "2 y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Return VV, VH and their difference as red, green and blue."""
    channels = zip((*sar, sar[0] - sar[1]), RADAR_DB, strict=True)
    shown = [np.clip((one - low) / span, 0, 1) for one, (low, span) in channels]
    return np.asarray((np.nan_to_num(np.stack(shown, axis=-1), nan=NO_DATA_GREY) * 255).round().astype(np.uint8))


def error_colours(
    predicted: Float32[np.ndarray, "3 y x"], clear: Float32[np.ndarray, "3 y x"]
) -> UInt8[np.ndarray, "y x 3"]:
    """Return the mean absolute error over the bands in colours, up to :data:`WORST`; grey without data."""
    error = np.abs(predicted - clear).mean(axis=0) / WORST
    stops = [stop for stop, _ in _ERROR_COLOURS]
    shown = [np.interp(error, stops, [colour[i] for _, colour in _ERROR_COLOURS]) for i in range(3)]
    colours = np.where(np.isfinite(error)[..., None], np.stack(shown, axis=-1), NO_DATA_GREY * 255)
    return np.asarray(colours.round().astype(np.uint8))


def _encoded(pixels: UInt8[np.ndarray, "y x 3"]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "webp", lossless=True, method=0)
    return written.getvalue()

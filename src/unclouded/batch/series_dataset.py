"""Products of a time series as one xarray data set (time, band, y, x), read from the files when it is indexed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Shaped
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import grid_of, image_bands, open_geotiff, stored_rows
from unclouded.io.raster import describe_grid, same_grid
from unclouded.prediction.scene import SUMMARY
from unclouded.strict_json import read_json_object

if TYPE_CHECKING:
    import xarray

NAMES = ("clear", "provenance", "cloud_map")
"""Variables of the data set: reflectance, codes of the provenance, and the map m."""


def open_series(folder: Path | str) -> "xarray.Dataset":
    """Open the finished scenes of a folder as a data set; pixels are read when they are used.

    Args:
        folder: Output folder of a series, with one folder per date.

    Returns:
        Data set with ``clear`` (time, band, y, x), reflectance as float32, NaN for no data; ``provenance`` and
        ``cloud_map`` (time, y, x); coordinates time (UTC), band, y and x of pixel centres.

    Raises:
        InputError: xarray is not installed, there is no finished scene, or dates are of different grids or bands.
    """
    try:
        import xarray
        from xarray.core import indexing
    except ImportError as error:
        raise InputError("xarray is not installed; install 'unclouded[series]'") from error
    dates = sorted((_dated(path) for path in Path(folder).glob(f"*/{SUMMARY}")), key=lambda one: one.time)
    if not dates:
        raise InputError(f"{named(Path(folder))} holds no finished scene; expected the output of 'unclouded series'")
    grid, bands = _common(dates)
    height, width = grid.shape
    times = np.array([one.time.astimezone(UTC).replace(tzinfo=None) for one in dates], "datetime64[ns]")
    variables = {}
    for name in NAMES:
        array = _StackedFiles([one.folder / f"{name}.tif" for one in dates], name, len(bands), (height, width))
        lazy = indexing.LazilyIndexedArray(_backend(array))
        axes = ("time", "band", "y", "x") if name == "clear" else ("time", "y", "x")
        variables[name] = xarray.Variable(axes, lazy)
    affine = grid.affine
    place = {
        "y": ("y", affine.f + affine.e * (np.arange(height) + 0.5)),
        "x": ("x", affine.c + affine.a * (np.arange(width) + 0.5)),
    }
    described = {"crs": grid.crs.to_wkt() if grid.crs else "", "transform": tuple(affine)[:6]}
    return xarray.Dataset(variables, {"time": times, "band": list(bands), **place}, described)


@dataclass(frozen=True)
class _Date:
    folder: Path
    time: datetime
    grid: GeoBox
    bands: tuple[str, ...]


def _dated(summary: Path) -> _Date:
    acquired = read_json_object(summary)["scene"]["acquired"]
    if acquired is None:
        raise InputError(f"{named(summary.parent)} is of unknown date; a series needs the date of each image")
    with open_geotiff(summary.parent / "clear.tif") as file:
        names = tuple(str(file.descriptions[band - 1]) for band in image_bands(file))
        return _Date(summary.parent, datetime.fromisoformat(acquired), grid_of(file), names)


def _common(dates: Sequence[_Date]) -> tuple[GeoBox, tuple[str, ...]]:
    first = dates[0]
    for one in dates[1:]:
        if one.bands != first.bands or not same_grid(one.grid, first.grid):
            found = f"{describe_grid(one.grid)} with {' '.join(one.bands)}"
            raise InputError(
                f"{named(one.folder)} has another grid or other bands ({found}) than {first.folder.name} "
                f"({describe_grid(first.grid)} with {' '.join(first.bands)}); open dates of one grid and remover"
            )
    return first.grid, first.bands


@dataclass(frozen=True)
class _StackedFiles:
    """GeoTIFFs of one grid as an array, without its pixels.

    Attributes:
        paths: One file per date.
        name: Name of the product.
        bands: Number of bands of ``clear``.
        size: Rows and columns.
    """

    paths: Sequence[Path]
    name: str
    bands: int
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return (len(self.paths), *([self.bands] if self.name == "clear" else []), *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values."""
        return np.dtype(np.uint8 if self.name == "provenance" else np.float32)

    def read(self, key: tuple[Any, ...]) -> Shaped[np.ndarray, "..."]:
        """Read the part that integers and slices of positive step select; whole rows of a file are decoded."""
        times, *bands, rows, columns = (one if isinstance(one, slice) else slice(one, one + 1) for one in key)
        top, bottom, step = rows.indices(self.size[0])
        images = [self._image(path, top, max(bottom, top))[..., ::step, columns] for path in self.paths[times]]
        found = np.stack(images) if images else np.zeros((0, *self.shape[1:]), self.dtype)
        found = found[:, *bands]
        return np.asarray(found[tuple(slice(None) if isinstance(one, slice) else 0 for one in key)])

    def _image(self, path: Path, top: int, bottom: int) -> Shaped[np.ndarray, "..."]:
        """Rows of a file as values: reflectance with NaN for no data, m, or codes."""
        with open_geotiff(path) as file:
            stored = stored_rows(path, file, top, bottom).values
            if self.name != "clear":
                return np.asarray(stored[0], self.dtype)
            scale, offsets = np.float32(file.scales[0]), np.array(file.offsets, np.float32)[:, None, None]
        reflectance: Float32[np.ndarray, "..."] = stored.astype(np.float32) * scale + offsets
        return np.asarray(np.where(stored == 0, np.float32(np.nan), reflectance))


def _backend(array: _StackedFiles) -> Any:
    """Return the array as a backend of xarray, which combines several selections before it reads."""
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Backend(BackendArray):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Array that is read from files."""

        shape, dtype = array.shape, array.dtype

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, array.read)

    return Backend()

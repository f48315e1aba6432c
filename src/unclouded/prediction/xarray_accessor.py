"""Scenes as xarray arrays: ``cloudy.unclouded.remove_clouds(...)`` after :func:`register_accessor`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.io.raster import to_stored
from unclouded.models.remover import CloudRemover
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor

if TYPE_CHECKING:
    import xarray

NAME = "unclouded"
"""Name of the accessor."""


def register_accessor() -> None:
    """Give every ``xarray.DataArray`` the accessor ``unclouded`` with :meth:`SceneAccessor.remove_clouds`.

    Example:
        >>> register_accessor()  # doctest: +SKIP
        >>> clear = cloudy.unclouded.remove_clouds("scene-adapted", sar=sar)  # doctest: +SKIP

    Raises:
        InputError: xarray is not installed.
    """
    try:
        import odc.geo.xr  # noqa: F401  (the accessor odc, which has the grid)
        import xarray
    except ImportError as error:
        raise InputError("xarray is not installed; install 'unclouded[series]'") from error
    if not hasattr(xarray.DataArray, NAME):
        xarray.register_dataarray_accessor(NAME)(SceneAccessor)  # type: ignore[no-untyped-call,unused-ignore]


class SceneAccessor:
    """Cloud removal of an optical image.

    Args:
        cloudy: TOA reflectance of named bands (``band``, ``y``, ``x``), NaN for no data, with a CRS.
    """

    def __init__(self, cloudy: "xarray.DataArray") -> None:
        self._cloudy = cloudy

    def remove_clouds(
        self,
        remover: CloudRemover | Path | str = "scene-adapted",
        sar: "xarray.DataArray | None" = None,
        settings: SceneSettings | None = None,
    ) -> "xarray.DataArray":
        """Return the clear image on the same grid; pixels that are observed clear keep their values.

        Reflectance is rounded to 0.0001, as in products. The arrays pass through temporary files, so that scenes of any
        size are predicted in bounded memory.

        Args:
            remover: Remover, weights file, or name of a remover; see :func:`unclouded.prediction.scene.predict_scene`.
            sar: Backscatter in dB of the bands VV and VH; None for removers without radar.
            settings: Settings; the defaults if omitted.

        Raises:
            InputError: An array has no CRS or other bands, or the scene cannot be predicted.
        """
        from odc.geo.xr import wrap_xr

        with tempfile.TemporaryDirectory() as folder:
            cloudy, radar = Path(folder, "cloudy.tif"), Path(folder, "sar.tif") if sar is not None else None
            _write(cloudy, self._cloudy, SENTINEL2, "the optical image")
            if radar is not None:
                _write(radar, sar, SENTINEL1, "sar")
            chosen = settings or SceneSettings()
            if chosen.optical.offset is None:  # reflectance has no offset any more
                chosen = chosen.model_copy(update={"optical": chosen.optical.model_copy(update={"offset": 0})})
            found = predict_scene(remover, cloudy, radar, Path(folder, "out"), chosen)
            image = read_stored(found.files["clear"])
        clear = np.where(image.values == 0, np.float32(np.nan), image.values / np.float32(SENTINEL2.stored_per_unit))
        made: xarray.DataArray = wrap_xr(clear, image.geobox, nodata=np.nan, axis=1, dims=("band", "y", "x"))
        return made.assign_coords(band=list(image.descriptions)).assign_attrs(units="1")


def _write(path: Path, array: Any, sensor: Sensor, what: str) -> None:
    """Write an array as a GeoTIFF with named bands.

    Raises:
        InputError: It is not a georeferenced image of named bands.
    """
    if array.dims[0] != "band" or array.ndim != 3 or "band" not in array.coords:
        found = " ".join(map(str, array.dims))
        raise InputError(f"{what} has the dimensions {found}, expected band, y, x with names of bands as coordinates")
    if (grid := array.odc.geobox) is None or grid.crs is None:
        raise InputError(f"{what} has no CRS, expected one; assign it, as by array.odc.assign_crs('EPSG:32632')")
    bands = tuple(map(str, array.coords["band"].values))
    values = np.asarray(array.values, np.float32)
    stored = to_stored(values, sensor) if sensor is SENTINEL2 else values
    write_geotiff(path, stored, bands, grid)

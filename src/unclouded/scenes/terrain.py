"""Where the pixels of a map lie in a radar image, by the orbit of the satellite and the heights of the ground."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.interpolate import CubicSpline

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.geotiff import read_stored
from unclouded.raster import describe
from unclouded.scenes.footprints import outline_deg
from unclouded.scenes.positions import on_lattice
from unclouded.scenes.sentinel1 import Acquisition, Sentinel1Product

_COARSE_PX = 256
_LEAST_SHARE = 0.01
"""A model that covers less of a scene belongs to another place."""
_LOWEST_M, _HIGHEST_M = -12_000.0, 9_000.0


@dataclass(frozen=True, eq=False)
class Heights:
    """A digital elevation model, read whole.

    Attributes:
        path: Where it came from.
        metres: Heights above the ellipsoid; NaN where it has none.
        geobox: Its grid.
    """

    path: Path
    metres: Float32[np.ndarray, "y x"]
    geobox: GeoBox

    @classmethod
    def read(cls, path: Path, datum_m: float = 0.0) -> "Heights":
        """Read a GeoTIFF with one band of heights in metres.

        Args:
            path: The file.
            datum_m: What is added to make them heights above the ellipsoid: the undulation of the geoid there, for
                models above sea level such as the Copernicus DEM (48 m in the Alps, 0 for models above the ellipsoid).

        Raises:
            InputError: Not a readable GeoTIFF, several bands, no CRS, or numbers that no ground on Earth has.
        """
        stored = read_stored(path)
        if len(stored.values) != 1 or stored.geobox.crs is None:
            raise InputError(f"{named(path)} has {len(stored.values)} bands, expected one of heights, and a CRS")
        outline_deg(stored.geobox)
        metres = stored.values[0].astype(np.float32)
        metres[stored.is_gap[0]] = np.nan
        low, high = (float(extreme.reduce(metres, axis=None)) for extreme in (np.fmin, np.fmax))
        if not np.isfinite([low, high]).all() or low < _LOWEST_M or high > _HIGHEST_M:
            raise InputError(f"{named(path)} has heights from {low:g} to {high:g} m; tag what means no data")
        return cls(path, metres + np.float32(datum_m), stored.geobox)

    def require_over(self, geobox: GeoBox) -> None:
        """Refuse a model that has heights for practically nothing of a map, before any work.

        Raises:
            InputError: Says how much of the map it has heights for.
        """
        coarse = geobox.zoom_to(tuple(min(side, _COARSE_PX) for side in geobox.shape))
        if (share := float(np.isfinite(self.on(coarse)).mean())) < _LEAST_SHARE:
            raise InputError(
                f"{named(self.path)} has heights for {share:.1%} of the optical scene (it is {describe(self.geobox)}, "
                f"the scene {describe(geobox)}); give the elevation model of that place"
            )

    def on(self, geobox: GeoBox) -> Float32[np.ndarray, "y x"]:
        """Return the heights on a part of a map, bilinear; NaN where there are none."""
        found = np.full(geobox.shape, np.nan, np.float32)
        reproject(
            self.metres, found, src_transform=self.geobox.affine, src_crs=str(self.geobox.crs), src_nodata=np.nan,
            dst_transform=geobox.affine, dst_crs=str(geobox.crs), dst_nodata=np.nan,
            resampling=Resampling.bilinear, num_threads=1, tolerance=0.01,
        )  # fmt: skip
        return found


class TerrainPositions:
    """By the range-Doppler equations, which sarsen solves.

    Small and Schubert, Guide to Sentinel-1 Geocoding, UZH-S1-GC-AD. They are solved at the nodes of the lattice at
    three heights; a parabola through these gives the position of each pixel at its own height.

    Attributes:
        without_height: Pixels so far that the model has no height for; they are taken at height 0.
    """

    def __init__(self, product: Sentinel1Product, heights: Heights, geobox: GeoBox) -> None:
        self._acquisition, self._ground, self._heights = product.acquisition, product.ground, heights
        self._rows = [CubicSpline(slant_m, self._ground.pixels) for slant_m in self._ground.slant_m]
        self._to_degrees = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
        self._to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
        self._orbit = _orbit(product.acquisition)
        self.without_height = 0

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of each pixel of a part of the map."""
        metres = self._heights.on(geobox).astype(np.float64)
        self.without_height += int(np.isnan(metres).sum())
        metres = np.nan_to_num(metres)
        low, high = metres.min(), max(metres.max(), metres.min() + 1)
        middle = (low + high) / 2
        at = [on_lattice(lambda x, y, h=h: self.nodes(x, y, h), geobox) for h in (low, middle, high)]  # type: ignore[misc]
        step = (metres - middle) / (high - middle)
        return np.asarray(at[1] + step * (at[2] - at[0]) / 2 + step**2 * (at[0] + at[2] - 2 * at[1]) / 2)

    def nodes(self, x: NDArray[np.float64], y: NDArray[np.float64], height: Any) -> Float64[np.ndarray, "2 n"]:
        """Return line and pixel of places at given heights above the ellipsoid."""
        import xarray as xr
        from sarsen.geocoding import backward_geocode

        longitude, latitude = self._to_degrees.transform(x, y)
        places = np.stack(self._to_ecef.transform(longitude, latitude, np.broadcast_to(height, x.shape)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of xarray about its own future
            seen = backward_geocode(
                xr.DataArray(places, dims=("axis", "place"), coords={"axis": [0, 1, 2]}), self._orbit
            )
        epoch_s = (self._orbit.epoch - _first_line(self._acquisition)) / np.timedelta64(1, "ns") * 1e-9
        seconds = (seen.azimuth_time.values - self._orbit.epoch) / np.timedelta64(1, "ns") * 1e-9 + epoch_s
        slant_m = np.sqrt((seen.dem_distance.values**2).sum(axis=seen.dem_distance.get_axis_num("axis")))
        line = seconds / self._acquisition.line_s
        return np.stack([line, self._pixel(line, slant_m)])

    def _pixel(self, line: NDArray[np.float64], slant_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixel at a distance: smooth along the geolocation grid's rows, linear between them.

        The polynomials of the annotation tell the same, but are up to 4 px off in products before version 2.9.
        """
        rows = np.stack([spline(slant_m) for spline in self._rows])
        place = np.interp(line, self._ground.lines, np.arange(len(rows)))
        before = np.minimum(place.astype(int), len(rows) - 2)
        at = np.arange(len(line))
        return np.asarray(rows[before, at] + (place - before) * (rows[before + 1, at] - rows[before, at]))


def _first_line(acquisition: Acquisition) -> np.datetime64:
    return np.datetime64(acquisition.first_line.replace(tzinfo=None), "ns")


def _orbit(acquisition: Acquisition) -> Any:
    try:
        import xarray as xr
        from sarsen.orbit import OrbitPolyfitInterpolator
    except ImportError as error:
        raise InputError("terrain correction needs sarsen; install it with 'pip install unclouded[sar]'") from error
    times = _first_line(acquisition) + (acquisition.orbit_s * 1e9).astype("timedelta64[ns]")
    axes = {"azimuth_time": times, "axis": [0, 1, 2]}
    position = xr.DataArray(acquisition.orbit_m, dims=("azimuth_time", "axis"), coords=axes)
    return OrbitPolyfitInterpolator.from_position(position)

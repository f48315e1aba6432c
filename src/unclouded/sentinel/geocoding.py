"""Geocoding of Sentinel-1 products: calibrated images sampled on a map grid, block by block.

:class:`GroundControlPositions` and :class:`TerrainPositions` give the position of map pixels in the radar image, by the
geolocation grid of the product or by orbit and elevation model; :func:`geocode` samples the image there.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.interpolate import CubicSpline, RectBivariateSpline
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import open_geotiff, read_stored, stored_rows
from unclouded.io.raster import describe_grid
from unclouded.io.strips import row_ranges
from unclouded.sentinel.calibration import BLOCK_PX, CLEAN_SINCE, BorderNoise, sigma0, to_db
from unclouded.sentinel.footprints import outline_deg
from unclouded.sentinel.raw_store import RawBandCache, block_rows
from unclouded.sentinel.regridding import warp_bilinear
from unclouded.sentinel.safe import ProductFolder
from unclouded.sentinel.sentinel1 import Acquisition, Channel, GroundControl, Sentinel1Product

_STRIP_LINES = 32 * BLOCK_PX

HALF_PX = 0.55
"""Extent of a pixel around its centre: half a pixel plus a margin, so that slices of a pass leave no gap."""


@dataclass(frozen=True, eq=False)
class _Image:
    """Open measurement image of a channel."""

    channel: Channel
    path: Path
    source: Any

    def lines(self, top: int, bottom: int) -> NDArray[np.uint16]:
        return np.asarray(stored_rows(self.path, self.source, top, bottom).values[0])


@runtime_checkable
class Positions(Protocol):
    """Positions of map pixels in the radar image."""

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of each pixel centre of a grid; far outside the image if it is not covered."""


def geocode(
    product: ProductFolder, description: Sentinel1Product, positions: Positions, geobox: GeoBox, store: RawBandCache
) -> float:
    """Write VV and VH in dB on a grid; interpolation is in linear power.

    Args:
        product: Folder of the product.
        description: Annotations of the product.
        positions: Positions of the grid in the image.
        geobox: Output grid.
        store: Output, two bands of float32; NaN outside the radar image.

    Returns:
        The share of the grid covered by the radar.

    Raises:
        InputError: A measurement is missing, truncated, damaged, changed, or contradicts its annotation.
    """
    seen = 0
    with ExitStack() as stack:
        images = [stack.enter_context(_opened(product, channel)) for channel in description.channels]
        border = _verified(images, look_for_border=description.processor < CLEAN_SINCE)
        for top, parts in block_rows(geobox):
            places = [_to_its_end(positions.of(part), images[0].channel.shape) for _, part in parts]
            lines = _span(np.concatenate([place[0].ravel() for place in places]), images[0].channel.shape[0])
            for band, image in enumerate(images):
                strip = image.lines(lines.start, max(lines.stop, 1))
                for (left, _), place in zip(parts, places, strict=True):
                    power = _sampled(image, strip, lines.start, place, border)
                    seen += int(np.isfinite(power).sum()) if band == 0 else 0
                    store.write(band, top, left, to_db(power))
    return float(seen / (geobox.shape[0] * geobox.shape[1]))


@contextmanager
def _opened(product: ProductFolder, channel: Channel) -> Iterator[_Image]:
    """Open the measurement of a channel after comparing it with the manifest and its annotation."""
    path = product.checked(channel.measurement)
    with open_geotiff(path) as source:
        found = f"{source.count} x {source.height} x {source.width} {source.dtypes[0]}"
        expected = f"1 x {channel.shape[0]} x {channel.shape[1]} uint16"
        if found != expected:
            raise InputError(f"{named(path)} holds {found}, expected {expected} by its annotation; fetch it again")
        yield _Image(channel, path, source)


def _verified(images: list[_Image], *, look_for_border: bool) -> BorderNoise | None:
    """Read every line of every image once, so that damage raises here, and detect the border noise of VV."""
    border = BorderNoise(images[0].channel)
    for image in images:
        for top, bottom in row_ranges(image.channel.shape[0], _STRIP_LINES):
            numbers = image.lines(top, bottom)
            if look_for_border and image is images[0]:
                border.add(top, numbers)
    return border if look_for_border else None


def _sampled(
    image: _Image, strip: NDArray[np.uint16], strip_top: int, place: NDArray[np.float64], border: BorderNoise | None
) -> NDArray[np.float32]:
    """Return bilinearly interpolated power at positions of an image; NaN outside and next to pixels without data."""
    shape = image.channel.shape
    lines, pixels = (_span(axis, side) for axis, side in zip(place, shape, strict=True))
    if lines.stop <= lines.start or pixels.stop <= pixels.start:
        return np.full(place.shape[1:], np.nan, np.float32)
    numbers = strip[lines.start - strip_top : lines.stop - strip_top, pixels]
    power = sigma0(image.channel, numbers, lines, pixels, border)
    inside = place - np.array([lines.start, pixels.start], np.float64)[:, None, None]
    return np.asarray(map_coordinates(power, inside, order=1, mode="constant", cval=np.nan, prefilter=False))


def _to_its_end(place: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Move positions in the outer half of the first and last lines and pixels to their centres."""
    ends = np.array(shape, np.float64)[:, None, None] - 1
    inside = np.clip(place, 0, ends)
    return np.where(np.abs(place - inside) <= HALF_PX, inside, place)


def _span(places: NDArray[np.float64], side: int) -> slice:
    """Return the range of an axis needed to interpolate at positions."""
    needed = places[(places >= 0) & (places <= side - 1)]
    if not needed.size:
        return slice(0, 0)
    return slice(int(needed.min()), min(int(needed.max()) + 2, side))


# Positions, computed exactly at the nodes of a lattice and interpolated between them.

LATTICE_PX = 16
"""Distance of the nodes in map pixels."""

BEYOND_PX = 64.0
"""Extrapolation of the geolocation grid, so that nodes just outside the image have positions, too."""

_FAR = -1e7
"""Position outside the image, so far that positions interpolated from it lie outside, too."""

_STEPS = 12
"""Number of Newton steps from the linear first guess; the residual is checked afterwards."""

_CLOSE_M = 0.01
"""Largest residual of a solution on the ground, a thousandth of a pixel; positions with a larger one are rejected."""

Nodes = Callable[[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]], Float64[np.ndarray, "2 n"]]
"""Converts x and y in the CRS of the map to line and pixel of the image; NaN outside."""


class GroundControlPositions:
    """Positions by the geolocation grid of the product, whose heights follow a smooth surface, not the terrain.

    A cubic spline of the grid, extrapolated slightly beyond the image, is inverted by Newton's method.
    """

    def __init__(self, ground: GroundControl, geobox: GeoBox) -> None:
        x, y = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True).transform(
            ground.longitude, ground.latitude
        )
        if not np.isfinite([x, y]).all():
            raise InputError("the radar scene lies outside the CRS of the optical scene; is it another place?")
        self._lines, self._pixels = (_continued(axis) for axis in (ground.lines, ground.pixels))
        x, y = (self._spread(ground, axis) for axis in (x, y))
        self._x, self._y = (RectBivariateSpline(self._lines, self._pixels, axis) for axis in (x, y))
        line, pixel = np.meshgrid(self._lines, self._pixels, indexing="ij")
        known = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
        self._guess = np.linalg.lstsq(known, np.stack([line.ravel(), pixel.ravel()], axis=1), rcond=None)[0]

    def _spread(self, ground: GroundControl, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        along_lines = CubicSpline(ground.lines, axis, axis=0)(self._lines)
        return np.asarray(CubicSpline(ground.pixels, along_lines, axis=1)(self._pixels))

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of each pixel centre of a part of the map."""
        return on_lattice(self._nodes, geobox)

    def _nodes(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        line, pixel = (np.stack([x, y, np.ones_like(x)], axis=1) @ self._guess).T
        for _ in range(_STEPS):
            off_x, off_y = self._x.ev(line, pixel) - x, self._y.ev(line, pixel) - y
            x_line, x_pixel = self._x.ev(line, pixel, dx=1), self._x.ev(line, pixel, dy=1)
            y_line, y_pixel = self._y.ev(line, pixel, dx=1), self._y.ev(line, pixel, dy=1)
            determinant = x_line * y_pixel - x_pixel * y_line
            line = line - (off_x * y_pixel - off_y * x_pixel) / determinant
            pixel = pixel - (off_y * x_line - off_x * y_line) / determinant
        miss = np.hypot(self._x.ev(line, pixel) - x, self._y.ev(line, pixel) - y)
        lines, pixels = self._lines, self._pixels
        inside = (line >= lines[0]) & (line <= lines[-1]) & (pixel >= pixels[0]) & (pixel <= pixels[-1])
        return np.where(inside & (miss < _CLOSE_M), np.stack([line, pixel]), np.nan)


def _continued(axis: Float64[np.ndarray, " n"]) -> NDArray[np.float64]:
    return np.concatenate([[axis[0] - BEYOND_PX], axis, [axis[-1] + BEYOND_PX]])


def on_lattice(nodes: Nodes, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
    """Return positions computed at the nodes of a lattice and interpolated between them."""
    rows, columns = (lattice(side) for side in geobox.shape)
    found = nodes(*node_places(geobox, rows, columns)).reshape(2, len(rows), len(columns))
    found = np.where(np.isfinite(found), found, _FAR)
    return np.stack([spread(part, geobox) for part in found])


def lattice(side: int) -> NDArray[np.float64]:
    """Return the nodes along an axis: at most 16 pixels apart, first and last pixel included."""
    return np.linspace(0, max(side - 1, 1), -(-max(side - 1, 1) // LATTICE_PX) + 1)


def node_places(
    geobox: GeoBox, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of the centres of pixels, row by row."""
    column, row = np.meshgrid(columns + 0.5, rows + 0.5)
    x, y = geobox.affine * (column, row)
    return x.ravel(), y.ravel()


def spread(values: Float64[np.ndarray, "rows columns"], geobox: GeoBox) -> Float64[np.ndarray, "y x"]:
    """Interpolate values at the nodes to every pixel."""
    height, width = geobox.shape
    down, across = _weights(height), _weights(width)
    return np.asarray(down @ values @ across.T)


def _weights(side: int) -> NDArray[np.float64]:
    nodes = lattice(side)
    return np.stack([np.interp(np.arange(side), nodes, unit) for unit in np.eye(len(nodes))], axis=1)


# Terrain correction, by the orbit of the satellite and an elevation model.

_COARSE_PX = 256
"""Largest side of the coarse grid on which the coverage of the elevation model is estimated."""

_LEAST_SHARE = 0.01
"""Smallest share of a scene that the elevation model covers."""

_LOWEST_M, _HIGHEST_M = -12_000.0, 9_000.0
"""Range of heights on Earth, from the deepest trench to the highest summit; values beyond are untagged no data."""


@dataclass(frozen=True, eq=False)
class ElevationModel:
    """Digital elevation model.

    Attributes:
        path: Source file.
        metres: Heights above the ellipsoid; NaN for no data.
        geobox: Grid.
    """

    path: Path
    metres: Float32[np.ndarray, "y x"]
    geobox: GeoBox

    @classmethod
    def read(cls, path: Path, datum_m: float = 0.0) -> "ElevationModel":
        """Read a GeoTIFF with one band of heights in metres.

        Args:
            path: GeoTIFF.
            datum_m: Constant added to obtain heights above the ellipsoid: the local geoid undulation for models above
                sea level such as the Copernicus DEM (48 m in the Alps), 0 for models above the ellipsoid.

        Raises:
            InputError: The file is not a readable GeoTIFF, has several bands or no CRS, or holds impossible heights.
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
        """Refuse a model that covers less than 1 % of a map, before any work.

        Raises:
            InputError: The model covers too little; the message contains the share.
        """
        coarse = geobox.zoom_to(tuple(min(side, _COARSE_PX) for side in geobox.shape))
        if (share := float(np.isfinite(self.on(coarse)).mean())) < _LEAST_SHARE:
            raise InputError(
                f"{named(self.path)} has heights for {share:.1%} of the optical scene (it is "
                f"{describe_grid(self.geobox)}, the scene {describe_grid(geobox)}); "
                "give the elevation model of that place"
            )

    def on(self, geobox: GeoBox) -> Float32[np.ndarray, "y x"]:
        """Return the heights on a part of a map, interpolated bilinearly; NaN for no data."""
        found = np.full(geobox.shape, np.nan, np.float32)
        warp_bilinear(self.metres, self.geobox, found, geobox)
        return found


class TerrainPositions:
    """Positions by the range-Doppler equations, solved by sarsen.

    Small and Schubert, Guide to Sentinel-1 Geocoding, UZH-S1-GC-AD. The equations are solved at the nodes of the
    lattice at three heights; a parabola through these gives the position of each pixel at its own height.

    Attributes:
        without_height: Number of pixels so far without height in the model, for which height 0 is used.
    """

    def __init__(self, product: Sentinel1Product, heights: ElevationModel, geobox: GeoBox) -> None:
        self._acquisition, self._ground, self._heights = product.acquisition, product.ground, heights
        self._rows = [CubicSpline(slant_m, self._ground.pixels) for slant_m in self._ground.slant_m]
        self._to_degrees = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
        self._to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
        self._orbit = _orbit(product.acquisition)
        self.without_height = 0

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of each pixel centre of a part of the map."""
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
            warnings.simplefilter("ignore")  # deprecation warnings of xarray
            seen = backward_geocode(
                xr.DataArray(places, dims=("axis", "place"), coords={"axis": [0, 1, 2]}), self._orbit
            )
        epoch_s = (self._orbit.epoch - _first_line(self._acquisition)) / np.timedelta64(1, "ns") * 1e-9
        seconds = (seen.azimuth_time.values - self._orbit.epoch) / np.timedelta64(1, "ns") * 1e-9 + epoch_s
        slant_m = np.sqrt((seen.dem_distance.values**2).sum(axis=seen.dem_distance.get_axis_num("axis")))
        line = seconds / self._acquisition.line_s
        return np.stack([line, self._pixel(line, slant_m)])

    def _pixel(self, line: NDArray[np.float64], slant_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixel at a slant range: splines along the rows of the geolocation grid, linear between them.

        The polynomials of the annotation are not used: before processor version 2.9 they are up to 4 px off.
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

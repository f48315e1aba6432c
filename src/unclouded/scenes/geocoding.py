"""A Sentinel-1 product on the grid of a map: read whole, calibrated, and sampled block by block into a store."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.geotiff import open_geotiff, stored_rows
from unclouded.scenes.blocks import block_rows
from unclouded.scenes.border import BLOCK_PX, CLEAN_SINCE, BorderNoise
from unclouded.scenes.calibration import sigma0, to_db
from unclouded.scenes.positions import Positions
from unclouded.scenes.safe import ProductFolder
from unclouded.scenes.sentinel1 import Channel, Sentinel1Product
from unclouded.scenes.store import RawStore

_STRIP_LINES = 32 * BLOCK_PX
HALF_PX = 0.55
"""How far a line reaches around its middle: half a pixel, and a little more, so that slices of a pass leave no gap."""


@dataclass(frozen=True, eq=False)
class _Image:
    """An open measurement, whose every line has been read."""

    channel: Channel
    path: Path
    source: Any

    def lines(self, top: int, bottom: int) -> NDArray[np.uint16]:
        return np.asarray(stored_rows(self.path, self.source, top, bottom).values[0])


def geocode(
    product: ProductFolder, description: Sentinel1Product, positions: Positions, geobox: GeoBox, store: RawStore
) -> float:
    """Write VV and VH in dB on a grid; the power is interpolated, and then its logarithm taken.

    Args:
        product: Its folder.
        description: Its annotations.
        positions: Where the grid lies in the image.
        geobox: The grid.
        store: Takes two bands of float32; NaN where the radar saw nothing.

    Returns:
        The share of the grid that the radar saw.

    Raises:
        InputError: A measurement is absent, cut, damaged, changed, or not what its annotation says.
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
    """Open the measurement of a channel, checked against the manifest and its annotation."""
    path = product.checked(channel.measurement)
    with open_geotiff(path) as source:
        found = f"{source.count} x {source.height} x {source.width} {source.dtypes[0]}"
        expected = f"1 x {channel.shape[0]} x {channel.shape[1]} uint16"
        if found != expected:
            raise InputError(f"{named(path)} holds {found}, expected {expected} by its annotation; fetch it again")
        yield _Image(channel, path, source)


def _verified(images: list[_Image], *, look_for_border: bool) -> BorderNoise | None:
    """Read every line of every image once; find the rim of VV on the way."""
    border = BorderNoise(images[0].channel)
    for image in images:
        height = image.channel.shape[0]
        for top in range(0, height, _STRIP_LINES):
            numbers = image.lines(top, min(top + _STRIP_LINES, height))
            if look_for_border and image is images[0]:
                border.add(top, numbers)
    return border if look_for_border else None


def _sampled(
    image: _Image, strip: NDArray[np.uint16], strip_top: int, place: NDArray[np.float64], border: BorderNoise | None
) -> NDArray[np.float32]:
    """Return the power at places of an image, bilinear; NaN outside and beside what has no data."""
    shape = image.channel.shape
    lines, pixels = (_span(axis, side) for axis, side in zip(place, shape, strict=True))
    if lines.stop <= lines.start or pixels.stop <= pixels.start:
        return np.full(place.shape[1:], np.nan, np.float32)
    numbers = strip[lines.start - strip_top : lines.stop - strip_top, pixels]
    power = sigma0(image.channel, numbers, lines, pixels, border)
    inside = place - np.array([lines.start, pixels.start], np.float64)[:, None, None]
    return np.asarray(map_coordinates(power, inside, order=1, mode="constant", cval=np.nan, prefilter=False))


def _to_its_end(place: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Take what lies within the outer half of the first and last lines and pixels for their middle."""
    ends = np.array(shape, np.float64)[:, None, None] - 1
    inside = np.clip(place, 0, ends)
    return np.where(np.abs(place - inside) <= HALF_PX, inside, place)


def _span(places: NDArray[np.float64], side: int) -> slice:
    """Return the part of an axis that places between its first and its last pixel need."""
    needed = places[(places >= 0) & (places <= side - 1)]
    if not needed.size:
        return slice(0, 0)
    return slice(int(needed.min()), min(int(needed.max()) + 2, side))

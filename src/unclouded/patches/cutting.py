"""The grid of a region and its patch windows: squares at a stride on one 10 m grid, without resampling."""

from collections.abc import Iterator
from dataclasses import dataclass

from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.raster import describe_grid
from unclouded.sentinel.footprints import pixel_at

PATCH_PX, STRIDE_PX = 256, 128
"""Side of a patch, and the stride that gives the overlap, of section III-A of the paper."""
_OFF_PX = 1e-3
"""Tolerance for the offset of two grids with the same pixels."""


@dataclass(frozen=True)
class PatchWindow:
    """Window of a patch in its region.

    Attributes:
        number: Number of the patch, from 1, row by row.
        top: First row.
        left: First column.
        side: Rows and columns.
    """

    number: int
    top: int
    left: int
    side: int = PATCH_PX

    @property
    def columns(self) -> slice:
        """Columns of the patch in its region."""
        return slice(self.left, self.left + self.side)

    def grid(self, region: GeoBox) -> GeoBox:
        """Return the grid of the patch."""
        return region[self.top : self.top + self.side, self.columns]


def windows(region: GeoBox, stride_px: int = STRIDE_PX, patch_px: int = PATCH_PX) -> list[PatchWindow]:
    """Return all windows inside a region."""
    height, width = region.shape
    tops, lefts = (range(0, side - patch_px + 1, stride_px) for side in (height, width))
    corners = ((top, left) for top in tops for left in lefts)
    return [PatchWindow(number, top, left, patch_px) for number, (top, left) in enumerate(corners, start=1)]


def rows_of(patches: list[PatchWindow]) -> Iterator[tuple[int, list[PatchWindow]]]:
    """Yield the first row of each row of windows, and these windows."""
    for top in sorted({window.top for window in patches}):
        yield top, [window for window in patches if window.top == top]


def covered(region: GeoBox, patches: list[PatchWindow]) -> GeoBox:
    """Return the grid that patches cover, from the first pixel of the region on."""
    bottom, right = (max(getattr(one, side) + one.side for one in patches) for side in ("top", "left"))
    return region[:bottom, :right]


def pixels_between(grid: GeoBox, inner: GeoBox) -> tuple[int, int]:
    """Return row and column of the first pixel of one grid in another.

    Raises:
        InputError: The pixels of the two grids differ, so that one would have to be resampled.
    """
    matches = grid.crs == inner.crs and all(
        abs(first - second) < 1e-9 for first, second in zip(_steps(grid.affine), _steps(inner.affine), strict=True)
    )
    column, row = ~grid.affine * (inner.affine.c, inner.affine.f)
    if not matches or abs(column - round(column)) > _OFF_PX or abs(row - round(row)) > _OFF_PX:
        raise InputError(
            f"expected optical images on the same pixel grid, found {describe_grid(grid)} and "
            f"{describe_grid(inner)}; use images of one UTM zone, because reflectance is not resampled"
        )
    return round(row), round(column)


def common_grid(
    clear: GeoBox,
    cloudy: GeoBox,
    size_px: tuple[int, int],
    center: tuple[float, float] | None = None,
    least_px: int = PATCH_PX,
) -> GeoBox:
    """Return the grid of a region: the intersection of two optical images, limited to ``size_px`` around a place.

    Args:
        clear: Grid of the clear image; the region has its pixels.
        cloudy: Grid of the cloudy image.
        size_px: Maximum rows and columns.
        center: Longitude and latitude; the middle of the intersection if omitted.
        least_px: Side of a patch.

    Raises:
        InputError: The pixels differ, or the intersection is smaller than a patch.
    """
    row, column = pixels_between(clear, cloudy)
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + cloudy.shape[0], clear.shape[0]), min(column + cloudy.shape[1], clear.shape[1])
    if center is not None:
        middle = pixel_at(clear, center)
        (top, bottom), (left, right) = (
            (max(first, place - size // 2), min(last, place - size // 2 + size))
            for first, last, place, size in zip((top, left), (bottom, right), middle, size_px, strict=True)
        )
    else:
        (top, bottom), (left, right) = (
            (
                first + max(last - first - size, 0) // 2,
                first + max(last - first - size, 0) // 2 + min(size, last - first),
            )
            for first, last, size in zip((top, left), (bottom, right), size_px, strict=True)
        )
    if bottom - top < least_px or right - left < least_px:
        raise InputError(
            f"expected at least {least_px}x{least_px} px in both optical images, found "
            f"{max(right - left, 0)}x{max(bottom - top, 0)}; choose scenes of the same place, or another center"
        )
    return clear[top:bottom, left:right]


def _steps(affine: Affine) -> tuple[float, float, float, float]:
    return affine.a, affine.b, affine.d, affine.e

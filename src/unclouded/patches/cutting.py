"""Where patches are cut: one 10 m grid for a region, windows of 256 px at a stride, pixels never moved."""

from collections.abc import Iterator
from dataclasses import dataclass

from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.raster import describe_grid
from unclouded.sentinel.footprints import pixel_at

PATCH_PX, STRIDE_PX = 256, 128
"""Side of a patch, and the distance between corners that gives the overlap of section III-A of the paper."""
_OFF_PX = 1e-3
"""How far two grids may lie apart for their pixels to be the same."""


@dataclass(frozen=True)
class PatchWindow:
    """Where a patch lies in its region.

    Attributes:
        number: From 1, row by row.
        top: First row.
        left: First column.
    """

    number: int
    top: int
    left: int

    def grid(self, region: GeoBox) -> GeoBox:
        """Return the grid of the patch."""
        return region[self.top : self.top + PATCH_PX, self.left : self.left + PATCH_PX]


def windows(region: GeoBox, stride_px: int = STRIDE_PX) -> list[PatchWindow]:
    """Return all windows that lie whole in a region."""
    height, width = region.shape
    tops, lefts = (range(0, side - PATCH_PX + 1, stride_px) for side in (height, width))
    corners = ((top, left) for top in tops for left in lefts)
    return [PatchWindow(number, top, left) for number, (top, left) in enumerate(corners, start=1)]


def rows_of(patches: list[PatchWindow]) -> Iterator[tuple[int, list[PatchWindow]]]:
    """Yield the windows of each row with its top."""
    for top in sorted({window.top for window in patches}):
        yield top, [window for window in patches if window.top == top]


def covered(region: GeoBox, patches: list[PatchWindow]) -> GeoBox:
    """Return as much of a region as patches cover, from its first pixel on."""
    bottom, right = (max(getattr(one, side) for one in patches) + PATCH_PX for side in ("top", "left"))
    return region[:bottom, :right]


def pixels_between(grid: GeoBox, inner: GeoBox) -> tuple[int, int]:
    """Return row and column of a grid at which another one begins.

    Raises:
        InputError: Pixels of the two grids are not the same, so that one would have to be resampled.
    """
    matches = grid.crs == inner.crs and all(
        abs(first - second) < 1e-9 for first, second in zip(_steps(grid.affine), _steps(inner.affine), strict=True)
    )
    column, row = ~grid.affine * (inner.affine.c, inner.affine.f)
    if not matches or abs(column - round(column)) > _OFF_PX or abs(row - round(row)) > _OFF_PX:
        raise InputError(
            f"expected optical images whose pixels are the same, found {describe_grid(grid)} and "
            f"{describe_grid(inner)}; take both from one UTM zone, for reflectance is not resampled here"
        )
    return round(row), round(column)


def common_grid(
    clear: GeoBox, cloudy: GeoBox, size_px: tuple[int, int], center: tuple[float, float] | None = None
) -> GeoBox:
    """Return the grid of a region: what two optical images share, and of that at most ``size_px`` around a place.

    Args:
        clear: Grid of one; the region has its pixels.
        cloudy: Grid of the other.
        size_px: Most rows and columns.
        center: Longitude and latitude; the middle of what is shared if omitted.

    Raises:
        InputError: The pixels are not the same, or less than a patch is shared.
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
    if bottom - top < PATCH_PX or right - left < PATCH_PX:
        raise InputError(
            f"expected at least {PATCH_PX}x{PATCH_PX} px in both optical images, found "
            f"{max(right - left, 0)}x{max(bottom - top, 0)}; choose scenes of one place, or another center"
        )
    return clear[top:bottom, left:right]


def _steps(affine: Affine) -> tuple[float, float, float, float]:
    return affine.a, affine.b, affine.d, affine.e

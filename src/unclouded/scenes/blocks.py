"""A map in blocks, row of blocks by row of blocks: what is near on the map is near in any image of it."""

from collections.abc import Iterator

from odc.geo.geobox import GeoBox

BLOCK = 1024
"""Side of the blocks, in pixels."""


def block_rows(geobox: GeoBox) -> Iterator[tuple[int, list[tuple[int, GeoBox]]]]:
    """Give the first row of each row of blocks, and the first column and the grid of each of its blocks."""
    height, width = geobox.shape
    for top in range(0, height, BLOCK):
        rows = slice(top, min(top + BLOCK, height))
        yield top, [(left, geobox[rows, left : min(left + BLOCK, width)]) for left in range(0, width, BLOCK)]

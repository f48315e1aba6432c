"""Thermal noise of Sentinel-1: what the instrument adds to the power, by both formats of the annotation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.lookup import Table, increases
from unclouded.scenes.markup import Markup


@dataclass(frozen=True, eq=False)
class AzimuthBlock:
    """A part of a sub-swath in which the noise changes from line to line, because the antenna sweeps.

    Attributes:
        lines: First line and line after the last.
        pixels: First pixel and pixel after the last.
        stations: Lines where the factor is known.
        factors: What the noise along the range is multiplied by.
    """

    lines: tuple[int, int]
    pixels: tuple[int, int]
    stations: Float64[np.ndarray, " n"]
    factors: Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class ThermalNoise:
    """Noise power in units of squared digital numbers: along the range, times a factor along the azimuth.

    Products before March 2018 have no factor.
    """

    range_table: Table
    blocks: tuple[AzimuthBlock, ...] = ()

    @classmethod
    def read(cls, markup: Markup) -> "ThermalNoise":
        """Take the noise from its annotation.

        Raises:
            InputError: It has neither of the two formats, or is damaged.
        """
        if markup.first("noiseRangeVector"):
            table = Table.read(markup, "noiseRangeVector", "noiseRangeLut")
            return cls(table, tuple(_block(element) for element in markup.all("noiseAzimuthVector")))
        return cls(Table.read(markup, "noiseVector", "noiseLut"))

    @property
    def is_zero(self) -> bool:
        """Say whether the product tells nothing of its noise."""
        return self.range_table.is_zero

    def at(self, lines: slice, pixels: slice) -> Float32[np.ndarray, "lines pixels"]:
        """Return the noise of a window of the image."""
        noise = self.range_table.at(lines, pixels)
        for block in self.blocks:
            rows = _overlap(block.lines, lines)
            columns = _overlap(block.pixels, pixels)
            if rows and columns:
                factor = np.interp(np.arange(*rows), block.stations, block.factors).astype(np.float32)
                there = np.s_[
                    rows[0] - lines.start : rows[1] - lines.start, columns[0] - pixels.start : columns[1] - pixels.start
                ]
                noise[there] *= factor[:, None]
        return noise


def _block(element: Markup) -> AzimuthBlock:
    bounds = {
        name: element.one(name).whole
        for name in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    }
    stations, factors = element.one("line").numbers, element.one("noiseAzimuthLut").numbers
    if not stations.size or stations.size != factors.size or not increases(stations):
        raise InputError(f"{named(element.path)} has lines and factors that do not match; fetch the product again")
    return AzimuthBlock(
        (bounds["firstAzimuthLine"], bounds["lastAzimuthLine"] + 1),
        (bounds["firstRangeSample"], bounds["lastRangeSample"] + 1),
        stations,
        factors,
    )


def _overlap(block: tuple[int, int], window: slice) -> tuple[int, int] | None:
    first, last = max(block[0], window.start), min(block[1], window.stop)
    return (first, last) if first < last else None

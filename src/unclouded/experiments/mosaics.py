"""Figure 4 of the paper: whole regions, stitched from their clear patches."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unclouded.errors import InputError
from unclouded.experiments.drawing import LABEL_PT, NO_DATA_GREY, colour, save, scale_bar, show
from unclouded.patches.identity import Roi
from unclouded.patches.mosaic import RegionFiles, reduced, stitch
from unclouded.sensors import RGB

SHOWN_PX = 900
"""Longest side of a region in the figure: three inches at the resolution of print."""


def choose_regions(regions: Sequence[RegionFiles], wanted: Sequence[str] | None, most: int = 4) -> list[RegionFiles]:
    """Return the regions named; if omitted the largest of each season, as in the paper.

    Raises:
        InputError: The data set has no such region.
    """
    if wanted:
        known = {one.roi: one for one in regions}
        if absent := [name for name in wanted if Roi.parse(name) not in known]:
            raise InputError(f"{', '.join(absent)} is no region of this data set; its first one is {regions[0].roi}")
        return [known[Roi.parse(name)] for name in wanted]
    largest: dict[str, RegionFiles] = {}
    for one in regions:
        if len(one.clear) > len(largest.get(one.roi.season, RegionFiles(one.roi, ())).clear):
            largest[one.roi.season] = one
    return list(largest.values())[:most]


def figure_4(path: Path, regions: Sequence[RegionFiles], columns: int = 2) -> None:
    """Draw the clear mosaic of each region, with a scale bar; grey where no patch lies (Fig. 4 of the paper).

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        regions: With the clear patches there are; all of them or some.
        columns: Regions in a row.
    """
    columns = min(columns, len(regions))
    lines = math.ceil(len(regions) / columns)
    figure = Figure(figsize=(3.3 * columns, 3.3 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, region in zip(axes, regions, strict=False):
        mosaic = stitch(region.clear, RGB)
        factor = math.ceil(max(mosaic.values.shape[1:]) / SHOWN_PX)
        values = reduced(mosaic.values, factor)
        picture = colour(values, RGB)
        picture[~np.isfinite(values).all(axis=0)] = NO_DATA_GREY
        show(axis, picture)
        patches = "1 patch" if len(region.clear) == 1 else f"{len(region.clear):,} patches"
        axis.set_title(f"{region.roi.season}, region {region.roi.number}, {patches}", fontsize=LABEL_PT)
        pixel_m = abs(mosaic.geobox.affine.a) * factor
        if mosaic.geobox.crs is not None and mosaic.geobox.crs.projected:
            scale_bar(axis, picture.shape[1], pixel_m)
    for axis in axes[len(regions) :]:
        axis.set_axis_off()
    save(path, figure)

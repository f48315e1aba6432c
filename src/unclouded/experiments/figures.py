"""Figures of the paper from any data set: 6, clouds real and painted; 7, cloudy images and their maps."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, map_clouds, mean_coverage
from unclouded.clouds.synthetic import COPY, PERLIN, SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.evaluation.pictures import true_colour
from unclouded.files import whole_file
from unclouded.patches.layouts import TripletFiles
from unclouded.raster import Raster, read
from unclouded.sensors import SENTINEL2

SOFT_EDGES = 0.5
"""Reflectance shown white: brighter than clear land, so that thin cloud is told from thick."""
Panel = NDArray[np.float32]
"""An image (y, x, 3), or a map (y, x) in [0, 1]."""


def figure_6(
    path: Path, files: Sequence[TripletFiles], cache: ProbabilityCache | None, perlin: SyntheticSettings = PERLIN
) -> None:
    """Draw clear, really cloudy, its map, Perlin, its map, and Copy; one column a patch (Fig. 6 of the paper).

    Args:
        path: PNG file, whole or not at all.
        files: Complete triplets.
        cache: Where cloud probabilities are kept.
        perlin: How the Perlin clouds are painted.
    """
    titles = ("clear", "cloudy, real", "map m, real", "cloudy, Perlin", "map m, Perlin", "cloudy, Copy")
    columns = {one.name: _painted(one, cache, perlin) for one in files}
    rows = {title: [column[i] for column in columns.values()] for i, title in enumerate(titles)}
    _draw(path, rows, list(columns))


def _painted(files: TripletFiles, cache: ProbabilityCache | None, perlin: SyntheticSettings) -> list[Panel]:
    if files.clear is None:
        raise InputError(f"{files.name} has no clear image; choose complete triplets")
    clear, cloudy = read(files.clear, SENTINEL2), read(files.cloudy, SENTINEL2)
    m = map_clouds(cloudy.values, cloudy.bands, CloudMapSettings(), cache=cache)
    noise = paint(files.name, clear.values, clear.bands, perlin)
    copied = paint(files.name, clear.values, clear.bands, COPY, cloudy=cloudy.values, cloud_map=m)
    shown = [_colour(values, clear.bands) for values in (clear.values, cloudy.values, noise.cloudy, copied.cloudy)]
    return [shown[0], shown[1], m, shown[2], noise.cloud_map, shown[3]]


def figure_7(path: Path, images: Iterable[Path], cache: ProbabilityCache | None, columns: int = 6) -> None:
    """Draw cloudy images, each above its map m, as a contact sheet (Fig. 7 of the paper).

    Args:
        path: PNG file, whole or not at all.
        images: Sentinel-2 images with 13 bands.
        cache: Where cloud probabilities are kept.
        columns: Images in a row.
    """
    pairs: list[tuple[str, Panel, Panel]] = []
    for image in images:
        raster: Raster = read(image, SENTINEL2)
        m = map_clouds(raster.values, raster.bands, CloudMapSettings(), cache=cache)
        pairs.append((f"{image.stem}\nmean m {mean_coverage(m):.2f}", _colour(raster.values, raster.bands), m))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(1.9 * columns, 4.1 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for index, (title, colour, m) in enumerate(pairs):
        row, column = divmod(index, columns)
        _show(axes[2 * row, column], colour)
        _show(axes[2 * row + 1, column], m)
        axes[2 * row, column].set_title(title, fontsize=5)
    _save(path, figure)


def _colour(values: NDArray[np.float32], bands: tuple[str, ...]) -> Panel:
    return true_colour(torch.from_numpy(values)[None], bands, brightest=SOFT_EDGES)


def _draw(path: Path, rows: dict[str, list[Panel]], names: list[str]) -> None:
    side = 2.4
    figure = Figure(figsize=(side * len(names) + 0.4, side * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (title, panels) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=9)
        for axis, panel in zip(line, panels, strict=True):
            _show(axis, panel)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=8)
    _save(path, figure)


def _show(axis: Any, panel: Panel) -> None:
    axis.imshow(panel, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def _save(path: Path, figure: Figure) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150)

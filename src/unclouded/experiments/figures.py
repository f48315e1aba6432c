"""Figures of the paper from any data set, panel by panel; those of whole regions are in ``mosaics``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, map_clouds, mean_coverage
from unclouded.clouds.synthetic import COPY, PERLIN, SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.evaluation.scores import score_patch
from unclouded.experiments.drawing import LABEL_PT, NAME_PT, Panel, colour, draw_grid, radar_grey, readable, save, show
from unclouded.geotiff import ImageFile
from unclouded.models.catalogue import choose_map
from unclouded.models.remover import CloudRemover
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable
from unclouded.prediction.judging import judged
from unclouded.raster import read
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import TripletDataset

SOFT_EDGES = 0.5
"""Reflectance shown white: brighter than clear land, so that thin cloud is told from thick."""
WORST_ERROR = 0.25
"""Reflectance at the end of the error's colour bar."""


def figure_1(
    path: Path, files: Sequence[TripletFiles], removers: Mapping[str, CloudRemover], cache: ProbabilityCache | None
) -> None:
    """Draw radar, cloudy image, predictions and target, a column a patch (Fig. 1 of the paper).

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        files: Complete triplets.
        removers: Label to remover, a row of predictions each; clear pixels are as observed, which is what users get.
        cache: Where cloud probabilities are kept.
    """
    if not removers:
        raise InputError("figure 1 shows predictions, expected one or more --remover; name baselines or weights files")
    bands = next(iter(removers.values())).bands
    triplets = list(TripletDataset(tuple(files), bands, CloudMapSettings(), cache))
    seen = [triplet.observation for triplet in triplets]
    rows = {"S1, VV": [radar_grey(one.sar[0].numpy()) for one in seen]}
    rows["S2, cloudy"] = [colour(one.cloudy[0].numpy(), one.bands) for one in seen]
    for label, remover in removers.items():
        pairs = judged(remover, TripletDataset(tuple(files), bands, choose_map([remover]).used, cache))
        rows[f"predicted, {readable(label, 24)}"] = [colour(image[0].numpy(), remover.bands) for _, image in pairs]
    rows["S2, clear (target)"] = [colour(one.clear[0].numpy(), bands) for one in triplets]
    draw_grid(path, rows, [one.name for one in triplets])


def figure_6(
    path: Path, files: Sequence[TripletFiles], cache: ProbabilityCache | None, perlin: SyntheticSettings = PERLIN
) -> None:
    """Draw clear, really cloudy, its map, Perlin, its map, and Copy; one column a patch (Fig. 6 of the paper).

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        files: Complete triplets.
        cache: Where cloud probabilities are kept.
        perlin: How the Perlin clouds are painted.
    """
    titles = ("clear", "cloudy, real", "map m, real", "cloudy, Perlin", "map m, Perlin", "cloudy, Copy")
    columns = [_painted(one, cache, perlin) for one in files]
    rows = {title: [column[i] for column in columns] for i, title in enumerate(titles)}
    draw_grid(path, rows, [one.name for one in files])


def _painted(files: TripletFiles, cache: ProbabilityCache | None, perlin: SyntheticSettings) -> list[Panel]:
    if files.clear is None:
        raise InputError(f"{files.name} has no clear image; choose complete triplets")
    clear, cloudy = read(files.clear, SENTINEL2), read(files.cloudy, SENTINEL2)
    m = map_clouds(cloudy.values, cloudy.bands, CloudMapSettings(), cache=cache)
    noise = paint(files.name, clear.values, clear.bands, perlin)
    copied = paint(files.name, clear.values, clear.bands, COPY, cloudy=cloudy.values, cloud_map=m)
    images = (clear.values, cloudy.values, noise.cloudy, copied.cloudy)
    shown = [colour(values, clear.bands, SOFT_EDGES) for values in images]
    return [shown[0], shown[1], m, shown[2], noise.cloud_map, shown[3]]


def figure_7(path: Path, images: Iterable[ImageFile], cache: ProbabilityCache | None, columns: int = 6) -> None:
    """Draw cloudy images, each above its map m, as a contact sheet (Fig. 7 of the paper).

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        images: Sentinel-2 images with 13 bands.
        cache: Where cloud probabilities are kept.
        columns: Images in a row.
    """
    pairs: list[tuple[str, Panel, Panel]] = []
    for image in images:
        raster = read(image, SENTINEL2)
        m = map_clouds(raster.values, raster.bands, CloudMapSettings(), cache=cache)
        title = f"{readable(image.stem)}\nmean of m {mean_coverage(m):.2f}"
        pairs.append((title, colour(raster.values, raster.bands, SOFT_EDGES), m))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(1.9 * columns, 4.1 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for index, (title, picture, m) in enumerate(pairs):
        row, column = divmod(index, columns)
        show(axes[2 * row, column], picture)
        show(axes[2 * row + 1, column], m)
        axes[2 * row, column].set_title(title, fontsize=5)
    save(path, figure)


def figure_9(
    path: Path,
    files: Sequence[TripletFiles],
    remover: CloudRemover,
    cache: ProbabilityCache | None,
    count: int = 4,
    *,
    damaged: Damaged = "refuse",
    skipped: list[DamagedTriplet] | None = None,
) -> None:
    """Draw the patches that a remover mends worst, by MAE over all pixels (Fig. 9 of the paper, appendix D).

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        files: Complete triplets to choose from; all are judged.
        remover: Whose mistakes to show; clear pixels are as observed.
        cache: Where cloud probabilities are kept.
        count: Columns.
        damaged: What to do about a damaged patch.
        skipped: Damaged patches that were skipped are added to this list.
    """
    data = TripletDataset(tuple(files), remover.bands, choose_map([remover]).used, cache)
    triplets = each_readable(data.names, data.__getitem__, damaged, [] if skipped is None else skipped)
    places = {name: index for index, name in enumerate(data.names)}
    scored = [
        (score_patch(triplet, image).values["all"]["mae"], places[triplet.name])
        for triplet, image in judged(remover, triplets)
    ]
    worst = sorted(scored, key=lambda one: (-np.nan_to_num(one[0], nan=-1.0), one[1]))[:count]
    pairs = list(judged(remover, data.subset([index for _, index in worst])))
    rows: dict[str, list[Panel]] = {title: [] for title in ("S1, VV", "S2, cloudy", "map m", "predicted", "target")}
    for triplet, image in pairs:
        seen = triplet.observation
        optical = (colour(one[0].numpy(), seen.bands) for one in (seen.cloudy, image, triplet.clear))
        cloudy, predicted, target = optical
        panels = (radar_grey(seen.sar[0].numpy()), cloudy, seen.cloud_map[0, 0].numpy(), predicted, target)
        for title, panel in zip(rows, panels, strict=True):
            rows[title].append(panel)
    errors = [(image - triplet.clear)[0].abs().mean(dim=0).numpy() for triplet, image in pairs]
    names = [f"{readable(pair[0].name, 26)}\nMAE {mae:.3f}" for pair, (mae, _) in zip(pairs, worst, strict=True)]
    _draw_with_errors(path, rows, errors, names)


def _draw_with_errors(path: Path, rows: dict[str, list[Panel]], errors: list[Panel], names: list[str]) -> None:
    """Draw a grid whose last row has a scale of its own, readable without telling red from green."""
    side = 1.7
    figure = Figure(figsize=(side * len(names) + 0.8, side * (len(rows) + 1) + 0.35), layout="constrained")
    axes = figure.subplots(len(rows) + 1, len(names), squeeze=False)
    for line, (title, panels) in zip(axes, rows.items(), strict=False):
        line[0].set_ylabel(title, fontsize=LABEL_PT)
        for axis, panel in zip(line, panels, strict=True):
            show(axis, panel)
    axes[-1, 0].set_ylabel("absolute error", fontsize=LABEL_PT)
    for axis, error in zip(axes[-1], errors, strict=True):
        image = show(axis, error, cmap="cividis", highest=WORST_ERROR)
    bar = figure.colorbar(image, ax=list(axes[-1]), shrink=0.9, pad=0.01, extend="max")
    bar.set_label("reflectance", fontsize=NAME_PT)
    bar.ax.tick_params(labelsize=NAME_PT)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=NAME_PT)
    save(path, figure)

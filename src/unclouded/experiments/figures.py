"""Figures 1, 4, 6, 7 and 9 of the paper, drawn from any data set.

Figures 1, 6, 7 and 9 show patches as grids of panels, figure 4 shows whole regions stitched from their clear patches.
The drawing functions at the end (grids, scale bars, file formats) give all of them one style.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, cloud_map, mean_coverage
from unclouded.clouds.synthetic import COPY, PERLIN, SyntheticSettings, paint
from unclouded.errors import InputError
from unclouded.evaluation.pictures import BRIGHTEST, true_colour
from unclouded.evaluation.scores import score_patch
from unclouded.files import named, whole_file
from unclouded.io.geotiff import ImageFile
from unclouded.io.raster import read
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import choose_map
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.mosaic import RegionFiles, reduced, stitch
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable
from unclouded.patches.roi import PatchId, Roi
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.tensors.dataset import TripletDataset

SOFT_EDGES = 0.5
"""Reflectance shown as white: brighter than clear land, so that thin and thick clouds can be distinguished."""

WORST_ERROR = 0.25
"""Reflectance at the end of the error's colour bar."""


PIXEL_M = 10.0
"""Side of a pixel of a patch."""
EXAMINED = 24
"""Patches of which the coverage is computed to choose from them."""


def patch_title(name: str, coverage: float | None = None, most: int = 40) -> str:
    """Return season, region and number of a patch in words, or its name if it is not an official one, and its cover."""
    try:
        patch = PatchId.parse(name)
        title = f"{patch.roi.season}, region {patch.roi.number}, patch {patch.number}"
    except InputError:
        title = readable(name, most)
    return title if coverage is None else f"{title}\ncover {100 * coverage:.0f} %"


def choose_by_coverage(coverages: Sequence[float], count: int) -> list[int]:
    """Return positions of patches from clear to fully cloudy: the nearest to ``count`` equally spaced coverages.

    Args:
        coverages: Mean of m of each patch.
        count: Number of patches to choose; all if there are fewer.
    """
    left = list(range(len(coverages)))
    targets = [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
    chosen = []
    for target in targets[: len(coverages)]:
        nearest = min(left, key=lambda i: (abs(coverages[i] - target), i))
        left.remove(nearest)
        chosen.append(nearest)
    return sorted(chosen, key=lambda i: coverages[i])


def figure_1(
    path: Path,
    files: Sequence[TripletFiles],
    removers: Mapping[str, CloudRemover],
    cache: ProbabilityCache | None,
    *,
    raw: bool = False,
) -> None:
    """Draw radar, cloudy image, predictions and target, one column per patch (Fig. 1 of the paper).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        files: Complete triplets.
        removers: Removers by label, one row of predictions each.
        cache: Cache of cloud probabilities.
        raw: Draw the plain output; otherwise clear pixels stay as observed, as in products.
    """
    if not removers:
        raise InputError("figure 1 shows predictions, expected one or more --remover; name baselines or weights files")
    bands = next(iter(removers.values())).bands
    triplets = list(TripletDataset(tuple(files), bands, CloudMapSettings(), cache))
    seen = [triplet.observation for triplet in triplets]
    rows = {"S1, VV": [radar_grey(one.sar[0].numpy()) for one in seen]}
    rows["S2, cloudy"] = [colour(one.cloudy[0].numpy(), one.bands) for one in seen]
    for label, remover in removers.items():
        data = TripletDataset(tuple(files), bands, choose_map([remover]).used, cache)
        pairs = evaluate_remover(remover, data, keep_clear=not raw)
        rows[f"{'network' if raw else 'predicted'}, {readable(label, 24)}"] = [
            colour(image[0].numpy(), remover.bands) for _, image in pairs
        ]
    rows["S2, clear (target)"] = [colour(one.clear[0].numpy(), bands) for one in triplets]
    covers = [float(one.cloud_map.mean()) for one in seen]
    draw_grid(path, rows, [patch_title(one.name, cover) for one, cover in zip(triplets, covers, strict=True)])


def figure_6(
    path: Path, files: Sequence[TripletFiles], cache: ProbabilityCache | None, perlin: SyntheticSettings = PERLIN
) -> None:
    """Draw clear image, observed clouds, Perlin clouds, their maps, and Copy clouds, one column per patch (Fig. 6).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        files: Complete triplets.
        cache: Cache of cloud probabilities.
        perlin: Settings of the Perlin clouds.
    """
    titles = ("clear", "cloudy, real", "map m, real", "cloudy, Perlin", "map m, Perlin", "cloudy, Copy")
    columns = [_painted(one, cache, perlin) for one in files]
    rows = {title: [column[i] for column in columns] for i, title in enumerate(titles)}
    covers = [float(np.nanmean(column[2])) for column in columns]
    draw_grid(path, rows, [patch_title(one.name, cover) for one, cover in zip(files, covers, strict=True)])


Panel = NDArray[np.float32]
"""Colour image (y, x, 3), or map (y, x) in [0, 1]; NaN where there is no data."""


def _painted(files: TripletFiles, cache: ProbabilityCache | None, perlin: SyntheticSettings) -> list[Panel]:
    if files.clear is None:
        raise InputError(f"{files.name} has no clear image; choose complete triplets")
    clear, cloudy = read(files.clear, SENTINEL2), read(files.cloudy, SENTINEL2)
    m = cloud_map(cloudy.values, cloudy.bands, CloudMapSettings(), cache=cache)
    noise = paint(files.name, clear.values, clear.bands, perlin)
    copied = paint(files.name, clear.values, clear.bands, COPY, cloudy=cloudy.values, cloud_map=m)
    images = (clear.values, cloudy.values, noise.cloudy, copied.cloudy)
    shown = [colour(values, clear.bands, SOFT_EDGES) for values in images]
    return [shown[0], shown[1], m, shown[2], noise.cloud_map, shown[3]]


def figure_7(path: Path, images: Iterable[ImageFile], cache: ProbabilityCache | None, columns: int = 6) -> None:
    """Draw cloudy images, each above its cloud map m, as a contact sheet (Fig. 7 of the paper).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        images: Sentinel-2 images with 13 bands.
        cache: Cache of cloud probabilities.
        columns: Images per row.
    """
    pairs: list[tuple[str, Panel, Panel]] = []
    for image in images:
        raster = read(image, SENTINEL2)
        m = cloud_map(raster.values, raster.bands, CloudMapSettings(), cache=cache)
        title = patch_title(_patch_of(image.stem), mean_coverage(m))
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
    if pairs:
        scale_bar(axes[2 * ((len(pairs) - 1) // columns) + 1, 0], pairs[-1][1].shape[1], PIXEL_M)
    save(path, figure)


def _patch_of(stem: str) -> str:
    """Return the patch name of a file name of the official layout, without its sensor."""
    return stem.replace("_s2_cloudy_", "_")


def figure_9(
    path: Path,
    files: Sequence[TripletFiles],
    remover: CloudRemover,
    cache: ProbabilityCache | None,
    count: int = 4,
    *,
    raw: bool = False,
    damaged: Damaged = "refuse",
    skipped: list[DamagedTriplet] | None = None,
) -> None:
    """Draw the patches with the largest MAE of a remover over all pixels (Fig. 9 of the paper, appendix D).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        files: Complete triplets to choose from; all of them are evaluated.
        remover: Remover whose errors are shown.
        cache: Cache of cloud probabilities.
        count: Number of patches, one column each.
        raw: Draw and rank the plain output; otherwise clear pixels stay as observed.
        damaged: Treatment of damaged patches.
        skipped: List to which skipped damaged patches are appended.
    """
    data = TripletDataset(tuple(files), remover.bands, choose_map([remover]).used, cache)
    triplets = each_readable(data.names, data.__getitem__, damaged, [] if skipped is None else skipped)
    places = {name: index for index, name in enumerate(data.names)}
    scored = [
        (score_patch(triplet, image).values["all"]["mae"], places[triplet.name])
        for triplet, image in evaluate_remover(remover, triplets, keep_clear=not raw)
    ]
    worst = sorted(scored, key=lambda one: (-np.nan_to_num(one[0], nan=-1.0), one[1]))[:count]
    pairs = list(evaluate_remover(remover, data.subset([index for _, index in worst]), keep_clear=not raw))
    predicted = "network" if raw else "predicted"
    rows: dict[str, list[Panel]] = {title: [] for title in ("S1, VV", "S2, cloudy", "map m", predicted, "target")}
    for triplet, image in pairs:
        seen = triplet.observation
        optical = (colour(one[0].numpy(), seen.bands) for one in (seen.cloudy, image, triplet.clear))
        cloudy, found, target = optical
        panels = (radar_grey(seen.sar[0].numpy()), cloudy, seen.cloud_map[0, 0].numpy(), found, target)
        for title, panel in zip(rows, panels, strict=True):
            rows[title].append(panel)
    errors = [(image - triplet.clear)[0].abs().mean(dim=0).numpy() for triplet, image in pairs]
    names = [
        f"{patch_title(triplet.name, float(triplet.observation.cloud_map.mean()), 26)}, MAE {mae:.3f}"
        for (triplet, _), (mae, _) in zip(pairs, worst, strict=True)
    ]
    _draw_with_errors(path, rows, errors, names)


def _draw_with_errors(path: Path, rows: dict[str, list[Panel]], errors: list[Panel], names: list[str]) -> None:
    """Draw a grid whose last row has its own colour scale, suitable for colour-blind readers."""
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
    scale_bar(axes[-1, 0], errors[0].shape[1], PIXEL_M)
    save(path, figure)


# Figure 4: whole regions.

SHOWN_PX = 900
"""Longest side of a region in the figure: three inches in print resolution."""


def choose_regions(regions: Sequence[RegionFiles], names: Sequence[str] | None, most: int = 4) -> list[RegionFiles]:
    """Return the named regions; if omitted, the largest region of each season, as in the paper.

    Raises:
        InputError: The data set does not have a named region.
    """
    if names:
        known = {one.roi: one for one in regions}
        if absent := [name for name in names if Roi.parse(name) not in known]:
            raise InputError(f"the data set has no region {', '.join(absent)}; its first one is {regions[0].roi}")
        return [known[Roi.parse(name)] for name in names]
    largest: dict[str, RegionFiles] = {}
    for one in regions:
        if len(one.clear) > len(largest.get(one.roi.season, RegionFiles(one.roi, ())).clear):
            largest[one.roi.season] = one
    return list(largest.values())[:most]


def figure_4(path: Path, regions: Sequence[RegionFiles], columns: int = 2) -> None:
    """Draw the clear mosaic of each region with a scale bar; grey where there is no patch (Fig. 4 of the paper).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        regions: Regions with all or some of their clear patches.
        columns: Regions per row.
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


# Style of all figures: grids of panels, scale bars, and the file format by suffix.

FORMATS = (".png", ".pdf", ".svg")
DPI = 300
"""Resolution that journals require of images."""
NO_DATA_GREY = 0.85
SIDE_INCH = 1.7
LABEL_PT, NAME_PT = 8, 6
STYLE: Any = {"svg.hashsalt": "unclouded", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": LABEL_PT}
"""Text stays text in vector files, and equal figures give equal files."""


def colour(values: NDArray[np.float32], bands: tuple[str, ...], brightest: float = BRIGHTEST) -> Panel:
    """Return TOA reflectance (band, y, x) in true colour."""
    return true_colour(torch.from_numpy(values)[None], bands, brightest=brightest)


def radar_grey(sar: NDArray[np.float32]) -> Panel:
    """Return VV of radar (2, y, x) in dB as grey in [0, 1], as in the paper: -25 dB black, 0 dB white."""
    low, high = SENTINEL1.clip
    grey: Panel = ((sar[0].clip(low, high) - low) / (high - low)).astype(np.float32)
    return grey


def draw_grid(path: Path, rows: Mapping[str, Sequence[Panel]], names: Sequence[str], side: float = SIDE_INCH) -> None:
    """Draw panels in a grid with one column per patch.

    Args:
        path: PNG, PDF or SVG file, written atomically.
        rows: Panels by row label, one panel per patch.
        names: Titles of the columns.
        side: Side of a panel, inches.
    """
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(side * len(names) + 0.3, side * len(rows) + 0.3), layout=tight)
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (title, panels) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=LABEL_PT)
        for axis, panel in zip(line, panels, strict=True):
            show(axis, panel)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=NAME_PT)
    scale_bar(axes[-1, 0], next(iter(rows.values()))[0].shape[1], PIXEL_M)
    save(path, figure)


def readable(name: str, most: int = 40) -> str:
    """Return a patch name without line breaks and with ``$`` escaped, which matplotlib would parse as mathematics."""
    plain = "".join(character if character.isprintable() else "?" for character in name).replace("$", r"\$")
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def show(axis: Any, panel: Panel, cmap: str = "gray", highest: float = 1.0) -> Any:
    """Draw one panel without ticks; return its image for a colour bar."""
    axis.set(xticks=[], yticks=[], facecolor=str(NO_DATA_GREY))
    axis.spines[:].set(linewidth=0.4, color="#888888")
    return axis.imshow(panel, cmap=cmap, vmin=0, vmax=highest, interpolation="nearest")


def scale_bar(axis: Any, width_px: int, pixel_m: float) -> None:
    """Draw a scale bar of a round length below a panel, at most a quarter of its width."""
    length_m = round_length(width_px * pixel_m / 4)
    share = length_m / (width_px * pixel_m)
    below = axis.transAxes + ScaledTranslation(0, -6 / 72, axis.figure.dpi_scale_trans)
    axis.plot([0.0, share], [0, 0], transform=below, color="black", linewidth=1.6, clip_on=False)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    axis.text(share, 0, f"  {text}", transform=below, fontsize=NAME_PT, va="center")


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is at most ``most``."""
    decade = 10.0 ** np.floor(np.log10(most))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= most))


def require_format(path: Path) -> None:
    """Raise unless the suffix of a file name is a supported format.

    Raises:
        InputError: Lists the supported formats.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{named(path)} has no format, expected a name that ends in {', '.join(FORMATS)}")


def save(path: Path, figure: Figure) -> None:
    """Write a figure atomically in the format of its suffix; equal figures give equal files."""
    require_format(path)
    dates: Any = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context(STYLE), whole_file(path) as partial:
        figure.savefig(partial, dpi=DPI, metadata=dates.get(path.suffix.lower()))

"""Plots of screening findings, with image, evidence and outline, and of the histogram of cloud coverage."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from unclouded.files import whole_file
from unclouded.io.raster import Raster, read
from unclouded.patches.coverage import BINS, CoverageStatistics
from unclouded.patches.layouts import SAR
from unclouded.patches.reading import PatchImages
from unclouded.patches.screening import Check, Finding, Screening
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2

COLUMNS, MOST_OF_A_CHECK = 3, 6
"""Findings per row of the sheet, and maximum findings of one check."""

_EVIDENCE: dict[Check, tuple[str, float]] = {"haze": ("B10", 0.05), "snow": ("B11", 0.40), "open_water": ("B08", 0.30)}
"""Band that shows a finding, and the reflectance drawn as white."""


def chosen(screenings: Iterable[Screening]) -> list[tuple[str, Finding]]:
    """Select up to :data:`MOST_OF_A_CHECK` findings of each check, spread evenly; unreadable images are left out."""
    found: dict[Check, list[tuple[str, Finding]]] = defaultdict(list)
    for screening in screenings:
        for finding in screening.findings:
            if finding.check != "unreadable":
                found[finding.check].append((screening.name, finding))
    return [group[index] for group in found.values() for index in _spread(len(group))]


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, MOST_OF_A_CHECK)).round().astype(int).tolist()))


def write_sheet(path: Path, findings: Sequence[tuple[str, Finding]], images: Mapping[str, PatchImages]) -> None:
    """Write a PNG with two pictures per finding: the image, and the band that shows the finding.

    Args:
        path: Output file.
        findings: Patch names and findings, at least one; see :func:`chosen`.
        images: Images by patch name.
    """
    rows = -(-len(findings) // COLUMNS)
    figure = Figure(figsize=(4.6 * COLUMNS, 2.75 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for (left, right), (name, finding) in zip(zip(axes[::2], axes[1::2], strict=True), findings, strict=False):
        token = finding.image
        raster = read(images[name].paths[token], SENTINEL1 if token == SAR else SENTINEL2)
        left.set_title(f"{name}\n{finding.check} in {token}", fontsize=7, loc="left")
        _draw(left, _picture(raster), finding)
        band, shown = _evidence(raster, finding)
        right.set_title(f"{band}\n{finding.detail[:44]}", fontsize=7, loc="left")
        _draw(right, shown, finding)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)


def _draw(axis: Axes, picture: Float32[np.ndarray, "..."], finding: Finding) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if finding.box:
        top, left, bottom, right = finding.box
        outline = ((left - 0.5, top - 0.5), right - left, bottom - top)
        axis.add_patch(Rectangle(*outline, fill=False, edgecolor="#e4572e", linewidth=1.2, clip_on=False))


def _picture(raster: Raster) -> Float32[np.ndarray, "..."]:
    if raster.bands == SENTINEL1.bands:
        return _grey(raster, "VV", -25, 0)
    rgb = np.nan_to_num(np.moveaxis(raster.select(RGB).values, 0, -1))
    white = max(0.3, float(np.percentile(rgb, 98)))
    return np.asarray((rgb / np.float32(white)).clip(0, 1) ** np.float32(0.8), np.float32)


def _evidence(raster: Raster, finding: Finding) -> tuple[str, Float32[np.ndarray, "y x"]]:
    if raster.bands == SENTINEL1.bands:
        return "VH, -32 to -5 dB", _grey(raster, "VH", -32, -5)
    band, white = _EVIDENCE.get(finding.check, ("B08", 0.5))
    return f"{band}, 0 to {white:g}", _grey(raster, band, 0, white)


def _grey(raster: Raster, band: str, black: float, white: float) -> Float32[np.ndarray, "y x"]:
    values = raster.values[raster.bands.index(band)]
    return np.asarray(np.nan_to_num((values - black) / (white - black)).clip(0, 1), np.float32)


# Histogram of cloud coverage, as in Fig. 5 and Fig. 8 of the paper.


SEASONS = {"spring": "#7fb069", "summer": "#e6aa68", "fall": "#ca6f4b", "winter": "#6d9dc5", "": "#888888"}


def write_histogram(path: Path, statistics: CoverageStatistics, title: str) -> None:
    """Write a histogram atomically as PNG, PDF or SVG, stacked by season if patches have one."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(0, 100, BINS + 1)
    below = np.zeros(BINS)
    for season, colour in SEASONS.items():
        covered = [one.mean_coverage for one in statistics.patches if one.season == season]
        if covered:
            counts = np.histogram(covered, bins=BINS, range=(0, 1))[0] / len(statistics.patches) * 100
            axis.bar(edges[:-1], counts, np.diff(edges), bottom=below, align="edge", color=colour, label=season or None)
            below += counts
    mean, deviation = (statistics.to_json()["all"][key] * 100 for key in ("mean_coverage", "mean_coverage_deviation"))
    axis.axvline(mean, color="black", linewidth=1, linestyle="--")
    axis.annotate(f" {mean:.1f} % ± {deviation:.1f} %", (mean, below.max() * 1.02), fontsize=9)
    axis.set(
        xlabel="cloud coverage of a patch, mean of m (%)",
        ylabel="share of patches (%)",
        title=f"{title}: {len(statistics.patches):,} patches",
        xlim=(0, 100),
        ylim=(0, below.max() * 1.12),
    )
    axis.spines[["top", "right"]].set_visible(False)
    if any(one.season for one in statistics.patches):
        axis.legend(frameon=False, ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=300)

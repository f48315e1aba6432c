"""The histogram of cloud coverage, drawn as in Fig. 5 and Fig. 8 of the paper."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unclouded.files import whole_file
from unclouded.patches.coverage import BINS, CoverageStatistics

SEASONS = {"spring": "#7fb069", "summer": "#e6aa68", "fall": "#ca6f4b", "winter": "#6d9dc5", "": "#888888"}


def write_histogram(path: Path, statistics: CoverageStatistics, title: str) -> None:
    """Write a PNG, PDF or SVG with one bar a bin, stacked by season where patches have one, whole or not at all."""
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

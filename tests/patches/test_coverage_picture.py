from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from unclouded.patches.coverage import CoverageStatistics, PatchCoverage
from unclouded.patches.coverage_picture import write_histogram

COVERED = (("summer", 0.02), ("summer", 0.52), ("winter", 0.54), ("winter", 1.0))


Figures = Callable[[str], list[Figure]]


def drawn(path: Path, seasons: bool, figures_of: Figures) -> Figure:
    """Write the histogram of four patches, and return its figure."""
    figures = figures_of("unclouded.patches.coverage_picture")
    patches = (
        PatchCoverage(str(i), name if seasons else "", "", share, share) for i, (name, share) in enumerate(COVERED)
    )
    write_histogram(path, CoverageStatistics(tuple(patches)), "four")
    return figures[0]


def test_bars_are_shares_of_all_patches_stacked_by_season(tmp_path: Path, figures_of: Figures) -> None:
    (axis,) = drawn(tmp_path / "a.png", True, figures_of).axes
    bars = {bar.get_label(): bar for bar in axis.containers if isinstance(bar, BarContainer)}
    heights = {name: [bar.get_height() for bar in group] for name, group in bars.items()}
    assert {name: np.flatnonzero(found).tolist() for name, found in heights.items()} == {
        "summer": [0, 10],
        "winter": [10, 19],  # of bins of 5 %; full coverage is in the last one
    }
    assert all(sum(found) == 50 and max(found) == 25 for found in heights.values())
    assert (bars["winter"][10].get_y(), bars["winter"][19].get_y()) == (25, 0)  # upon that of summer, or on the ground
    assert [text.get_text() for text in axis.texts] == [" 52.0 % ± 34.7 %"]  # of 2, 52, 54 and 100
    assert axis.get_title() == "four: 4 patches"


def test_without_seasons_there_is_no_legend(tmp_path: Path, figures_of: Figures) -> None:
    assert drawn(tmp_path / "a.svg", False, figures_of).axes[0].get_legend() is None
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")

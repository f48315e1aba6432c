from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from unclouded.patches.coverage import CoverageStatistics, PatchCoverage
from unclouded.patches.layouts import find_triplets
from unclouded.patches.plots import chosen, write_histogram, write_sheet
from unclouded.patches.reading import images_of
from unclouded.patches.screening import Finding, Screening

HAZE = Finding("haze", "s2", 0.5, 0.05, "50.0% cirrus", (2, 4, 8, 16))

SNOW = Finding("snow", "s2", 1.0, 0.2, "100.0% snow")

DARK = Finding("border_noise", "s1", 1.0, 0.0, "dark")

NAME = "ROIs1158_spring_106_p9"


def test_six_of_many_findings_are_drawn_evenly_spread() -> None:
    drawn = chosen(Screening(str(number), (SNOW,)) for number in range(101))
    assert [name for name, _ in drawn] == ["0", "20", "40", "60", "80", "100"]
    assert chosen([Screening("a", (Finding("unreadable", "s1", 1.0, 0.0, "cut"),))]) == []


def test_every_check_is_drawn() -> None:
    drawn = chosen([*(Screening(str(number), (SNOW, HAZE)) for number in range(3)), Screening("x", (DARK,))])
    assert [finding.check for _, finding in drawn] == ["snow"] * 3 + ["haze"] * 3 + ["border_noise"]


def test_image_and_evidence_have_an_outline_around_the_finding(
    official_root: Path, tmp_path: Path, figures_of: Callable[[str], list[Figure]]
) -> None:
    figures = figures_of("unclouded.patches.plots")
    images = {one.name: one for one in images_of(find_triplets(official_root))}
    write_sheet(tmp_path / "sheet.png", [(NAME, HAZE), (NAME, DARK)], images)
    image, evidence, radar, other, *empty = figures[0].axes
    assert len(empty) == 2 and not any(axis.images for axis in empty)
    for axis in (image, evidence):
        (frame,) = axis.patches
        assert isinstance(frame, Rectangle)
        assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (3.5, 1.5, 12, 6)
    assert not radar.patches and not other.patches  # the whole patch
    shown = [np.unique(np.asarray(axis.images[0].get_array())).tolist() for axis in (evidence, radar, other)]
    assert shown[0] == [1.0]  # B10 of 0.1, drawn white from 0.05
    assert shown[1] == pytest.approx([0.6]) and shown[2] == pytest.approx([22 / 27])  # -10 dB of -25 to 0, -32 to -5
    assert [axis.get_title(loc="left").splitlines()[0] for axis in (evidence, other)] == [
        "B10, 0 to 0.05",
        "VH, -32 to -5 dB",
    ]


def test_the_sheet_is_a_picture_with_a_frame(official_root: Path, tmp_path: Path) -> None:
    images = {one.name: one for one in images_of(find_triplets(official_root))}
    write_sheet(tmp_path / "sheet.png", [(NAME, HAZE)], images)
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24) or []}
    assert (0xE4, 0x57, 0x2E) in colours


COVERED = (("summer", 0.02), ("summer", 0.52), ("winter", 0.54), ("winter", 1.0))


Figures = Callable[[str], list[Figure]]


def drawn(path: Path, seasons: bool, figures_of: Figures) -> Figure:
    """Write the histogram of four patches, and return its figure."""
    figures = figures_of("unclouded.patches.plots")
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

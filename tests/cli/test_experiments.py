"""reproduce, leaderboard, audit and figures, through the entry point."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32632", resolution=10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two triplets with official names in the flat layout."""
    rng = np.random.default_rng(0)
    for number in range(2):
        name = f"ROIs1158_spring_106_p{number}.tif"
        optical = rng.integers(200, 3000, (13, 48, 48)).astype(np.uint16)
        write_geotiff(tmp_path / "root" / "s1" / name, np.full((2, 48, 48), -9, np.float32), SENTINEL1.bands, GRID)
        write_geotiff(tmp_path / "root" / "s2_cloudy" / name, optical + np.uint16(3000), SENTINEL2.bands, GRID)
        write_geotiff(tmp_path / "root" / "s2_cloudfree" / name, optical, SENTINEL2.bands, GRID)
    return tmp_path / "root"


def test_a_table_without_runs_is_written_with_a_remark(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("reproduce", "table-2", tmp_path, "--size", "paper") == 0
    assert "| ours-10 | not run | not run | not run |" in capsys.readouterr().out
    assert {path.suffix for path in (tmp_path / "paper").iterdir()} == {".md", ".csv", ".tex", ".html"}


def test_figures_are_drawn_by_another_command(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("reproduce", "figure-4", tmp_path) == 2
    assert "unclouded figure 4 ROOT" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 4, 5, 9])
def test_a_figure_is_drawn(root: Path, tmp_path: Path, unclouded: Callable[..., int], number: int) -> None:
    out = tmp_path / f"{number}.svg"
    assert unclouded("figure", number, root, "--out", out) == 0
    assert out.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(("number", "message"), [(10, "choose from 1, 2, 3"), (6, "ends in .png")])
def test_what_cannot_be_drawn_is_refused(
    root: Path,
    tmp_path: Path,
    unclouded: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    number: int,
    message: str,
) -> None:
    assert unclouded("figure", number, root, "--out", tmp_path / "f.doc") == 2
    assert message in capsys.readouterr().err


def test_networks_are_drawn_and_listed_without_data(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("figure", 3, "--out", tmp_path / "3.svg") == 0
    assert (tmp_path / "3.svg").is_file()
    assert unclouded("models", "--architecture") == 0
    assert "9 x C(3 x 3, 256, 1, 1) N R" in capsys.readouterr().out
    assert unclouded("figure", 1, "--out", tmp_path / "1.svg") == 2
    assert "figure 1 is drawn from a data set; add ROOT" in capsys.readouterr().err


def test_an_audit_of_a_data_set_with_itself_finds_something(root: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("data", "audit", root, root) == 1


def test_an_audit_of_disjoint_lists_finds_nothing(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    (tmp_path / "other.txt").write_text("ROIs1158_spring_1_p1\n")
    assert unclouded("data", "audit", root, tmp_path / "other.txt") == 0


def test_a_leaderboard_sets_a_baseline_beside_published_numbers(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "board"
    scores = ("evaluate", "clear-mean", root, "--split", "test", "--clouds", "ones", "--out", out / "scores.json")
    assert unclouded(*scores) == 0
    assert unclouded("leaderboard", out, "--out", out) == 0
    text = (out / "leaderboard.md").read_text(encoding="utf-8")
    assert "28.77" in text.partition("## Published")[2]

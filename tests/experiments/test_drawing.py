from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.experiments.drawing import draw_grid, radar_grey, readable, require_format, round_length

GREY = np.full((8, 8), 0.5, np.float32)


@pytest.mark.parametrize(("most", "expected"), [(7_300.0, 5_000.0), (1_000.0, 1_000.0), (39.0, 20.0)])
def test_scale_bars_have_round_lengths(most: float, expected: float) -> None:
    assert round_length(most) == expected


def test_radar_is_black_at_minus_25_db_and_white_at_0() -> None:
    sar = np.array([[[-25.0, -12.5, 0.0, 4.0]], [[0.0] * 4]], np.float32)
    assert radar_grey(sar).tolist() == [[0.0, 0.5, 1.0, 1.0]]


def test_a_name_is_no_formula_and_no_paragraph() -> None:
    assert readable("a$b\n") == r"a\$b?"
    assert len(readable("x" * 99)) == 40


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_chooses_the_format_and_equal_figures_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        draw_grid(tmp_path / f"{name}.{suffix}", {"map $m$": [GREY, GREY]}, ["<one>", "two$"])
    first = (tmp_path / f"a.{suffix}").read_bytes()
    assert first == (tmp_path / f"b.{suffix}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix])


def test_a_row_more_is_higher(tmp_path: Path) -> None:
    draw_grid(tmp_path / "g.png", {"a": [GREY], "b": [GREY], "c": [GREY]}, ["one"])
    height, width = matplotlib.image.imread(tmp_path / "g.png").shape[:2]
    assert (height, width) == (1620, 600)  # 300 dots an inch, panels of 1.7 inch and 0.3 for names


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in .png, .pdf, .svg"):
        require_format(tmp_path / "figure.doc")

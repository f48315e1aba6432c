import math
from dataclasses import replace

import pytest
from rich.console import Console

from unclouded.errors import InputError
from unclouded.evaluation.scores import AREAS, PatchScores, Scores
from unclouded.evaluation.table import scores_markdown, scores_table
from unclouded.sensors import RGB


def scores(**values: float) -> Scores:
    known = dict.fromkeys(("mae", "rmse", "psnr", "ssim", "sam", "sam_global"), 0.25) | values
    return Scores(RGB, "kept", (PatchScores("p1", 0.5, dict.fromkeys(AREAS, 9), dict.fromkeys(AREAS, known)),))


def test_the_lowest_error_and_the_highest_ratio_are_bold() -> None:
    rows = {"first": scores(mae=0.0312, psnr=24.0, ssim=0.8), "second": scores(mae=0.0161, psnr=30.847, ssim=0.7)}
    assert scores_markdown(rows).splitlines() == [
        "| remover | MAE (reflectance) | RMSE (reflectance) | PSNR (dB) | SSIM | SAM (°) | SAM global (rad) | n |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| first | 0.0312 | **0.2500** | 24.00 | **0.8000** | **0.25** | **0.2500** | 1 |",
        "| second | **0.0161** | **0.2500** | **30.85** | 0.7000 | **0.25** | **0.2500** | 1 |",
    ]


def test_values_that_print_alike_are_equally_good() -> None:
    rows = {"first": scores(mae=0.016101), "second": scores(mae=0.016099)}
    assert scores_markdown(rows).count("**0.0161**") == 2


def test_an_undefined_value_is_a_dash_and_never_the_best() -> None:
    rows = {"first": scores(psnr=math.nan), "second": scores(psnr=12.0)}
    first, second = scores_markdown(rows).splitlines()[2:]
    assert first.split(" | ")[3] == "–"
    assert second.split(" | ")[3] == "**12.00**"


def test_a_mean_psnr_tells_the_exact_patches_that_it_is_without() -> None:
    """Two patches of 10 and 14 dB and an exact one: 12 dB of two patches."""
    three = scores()
    patches = [replace(scores(psnr=v).patches[0], name=f"p{v}") for v in (10.0, 14.0, math.inf)]
    three = replace(three, patches=tuple(patches))
    line = scores_markdown({"first": three, "second": scores(psnr=11.0)}).splitlines()[2]
    assert line.split(" | ")[3] == "**12.00 (1 exact)**"
    assert "first: PSNR is the mean of 2 patches; 1 exact patches have an infinite one" in " ".join(
        shown({"first": three}).split()
    )
    assert "– (1 exact)" in scores_markdown({"first": scores(psnr=math.inf)})


def test_no_number_is_cut_off_in_a_terminal_of_80_columns() -> None:
    many = replace(
        scores(psnr=math.inf, sam=179.99),
        patches=tuple(replace(scores(sam=179.99).patches[0], name=f"p{i}") for i in range(1234)),
    )
    lines = shown({"a-remover-with-a-very-long-name-of-its-own": many, "b": scores()}, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("179.99" in line and line.rstrip(" │").endswith("1,234") for line in lines)


def test_names_with_markup_are_shown_as_they_are() -> None:
    assert scores_markdown({"a|b": scores()}).splitlines()[2].startswith(r"| a\|b |")
    assert "net[1]" in shown({"net[1]": scores()})


def test_the_terminal_shows_the_rows_in_order_with_their_area() -> None:
    text = shown({"zebra": scores(mae=0.02), "ant": scores(mae=0.03)})
    assert "cloudy pixels, mean over n patches" in text
    assert text.index("zebra") < text.index("ant")
    assert "0.0200" in text
    assert "PSNR in dB" in text


def shown(rows: dict[str, Scores], width: int = 160) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(scores_table(rows, "cloudy"))
    return capture.get()


def test_rows_that_were_judged_in_different_ways_are_refused() -> None:
    rows = {"first": scores(), "second": replace(scores(), clear_pixels="network")}
    with pytest.raises(InputError, match=r"first and second do not compare: clear_pixels is \"kept\" in one"):
        scores_markdown(rows)

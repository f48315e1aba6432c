"""Sections of the page, one by one; tests of the whole page are in test_report.py."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from unclouded.prediction import report_sections as sections
from unclouded.prediction.expected_error import ErrorOf, ExpectedError
from unclouded.prediction.provenance import Provenance, percent
from unclouded.prediction.report_facts import Facts, Input
from unclouded.prediction.views import Crop, Gathered, Spectra

EVEN = np.full((3, 4, 4), 0.1, np.float32)
COUNTS = dict.fromkeys((code.name.lower() for code in Provenance), 0) | {"observed": 9_999, "blended": 1}
FACTS = Facts(
    "Rome", "scene-adapted", ("B04",), [Input("Sentinel-1", "s1.tif", "ab", datetime(2021, 9, 7, 17, 6, tzinfo=UTC))]
)


def gathered(**changes: object) -> Gathered:
    given: dict[str, object] = {
        "shape": (100, 100),
        "shown": ("B04",) * 3,
        "step": 1,
        "before": EVEN,
        "after": EVEN,
        "cloud_map": np.zeros((4, 4), np.float32),
        "confidence": None,
        "spectra": {},
        "counts": COUNTS,
        "mean_coverage": 0.25,
        "cloudy_share": 0.3,
        "guessed": 0,
        "crops": [],
    }
    return Gathered(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.0 %"), (1e-6, "< 0.1 %"), (0.001, "0.1 %"), (0.5, "50.0 %"), (0.9995, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_what_is_not_all_and_not_nothing_is_never_rounded_to_it(share: float, words: str) -> None:
    assert percent(share) == words


def test_one_pixel_of_cloud_is_not_told_as_none() -> None:
    told = sections.tiles(FACTS, gathered())
    assert "<b>&gt; 99.9 %</b><span>of the scene is as observed" in told
    assert "<b>&lt; 0.1 %</b><span>of the scene was cloudy and is made by scene-adapted" in told
    assert told.count('class="tile"') == 2


def test_a_single_band_is_shown_as_grey_and_a_coarse_picture_says_so() -> None:
    assert "B04 as grey, reflectance" in sections.comparison(FACTS, gathered())
    shown = sections.comparison(FACTS, gathered(shown=("B04", "B03", "B02"), step=9))
    assert "B04, B03, B02, reflectance" in shown and "One pixel of the picture is 9 × 9 of the scene." in shown


def test_the_head_tells_one_band_from_several_and_kilometres_where_pixels_have_metres() -> None:
    assert "100 × 100 px · 1 band · Sentinel-1 of 2021-09-07" in sections.head(FACTS, gathered())
    wide = Facts("Rome", "auto", ("B04", "B03"), [], pixel_m=20.0)
    assert "100 × 300 px" not in sections.head(wide, gathered()) and "2 × 2 km · 2 bands" in sections.head(
        wide, gathered()
    )


def test_the_page_gives_the_reason_of_the_choice_and_what_each_remover_answered() -> None:
    rows = {"scene-adapted": ErrorOf(0.02, 0.02, 1.0, 500), "half": ErrorOf(0.01, 0.01, 1.0, 200)}
    facts = Facts("Rome", "scene-adapted", ("B04",), [], expected=ExpectedError(rows, 500, ("B04",), invented=True))
    told = sections.expected(replace(facts, choice="half was left out"), gathered())
    assert "Half was left out." in told and '<td class="number">40.0 %</td>' in told
    assert "500 clear pixels were covered with painted clouds, for the scene has none" in told


def test_expectation_14_shares_are_of_the_whole_scene_and_the_cause_of_a_loss_is_named() -> None:
    counts = COUNTS | {"observed": 4_000, "blended": 1_000, "near_gap": 1_000, "unjudged": 500, "no_data": 3_500}
    losses = {"no_data_optical": 1_500, "no_data_radar": 2_000, "no_data_remover": 0, "radar_gaps": 2_500}
    told = sections.tiles(replace(FACTS, losses=losses), gathered(counts=counts))
    for share, words in (
        ("40.0 %", "of the scene is as observed"),
        ("20.0 %", "of the scene was cloudy and is made by scene-adapted"),
        ("5.0 %", "of the scene could not be judged and is made by scene-adapted"),
        ("35.0 %", "of the scene has no data: the radar has none where a pixel has to be made 20.0 %, the optical"),
    ):
        assert f"<b>{share}</b><span>{words}" in told


def test_no_error_at_all_has_no_end_of_decibels() -> None:
    found = ExpectedError({"scene-adapted": ErrorOf(0.0, 0.0, 0.0, 500)}, 500, ("B04",), invented=False)
    told = sections.expected(Facts("Rome", "scene-adapted", ("B04",), [], expected=found), gathered())
    assert '<td class="number">∞</td>' in told


def test_crops_say_where_they_are() -> None:
    crop = Crop(1_280, 640, EVEN, EVEN)
    told = sections.crops(Facts("Rome", "auto", ("B04",), [], pixel_m=10.0), gathered(crops=[crop]))
    assert "Row 1,280, column 640." in told and "of 320 px, 3.2 km, across" in told and told.count("<img") == 2
    assert sections.crops(FACTS, gathered()) == ""


def test_spectra_have_a_key_for_each_kind_that_there_is() -> None:
    one = Spectra(*(np.array([0.1], np.float32),) * 3, pixels=7)
    told = sections.spectra(FACTS, gathered(spectra={"synthesised": one}))
    assert "made by scene-adapted</li>" in told and "as observed</li>" not in told
    assert sections.spectra(FACTS, gathered()) == ""


def test_settings_and_numbers_stand_in_tables() -> None:
    told = sections.tables(
        Facts("Rome", "auto", ("B04", "B03"), FACTS.inputs, settings={"window_px": "1024"}), gathered()
    )
    assert "<th>pixels with m &gt; 0 among those</th><td><code>30.0 %</code></td>" in told
    assert "<th>Sentinel-1, 2021-09-07 17:06 UTC</th><td><code>s1.tif</code><br><code>SHA-256 ab</code></td>" in told
    assert "<th>bands</th><td><code>B04 B03</code></td>" in told and "<code>1024</code>" in told

"""What a remover is shown of a line of windows, and what becomes of its answer."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from unclouded.models.baselines import baseline
from unclouded.prediction.clearing import FOREIGN_MARGIN_PX, Crew, Statistics, clear_line, crew_of
from unclouded.prediction.products import UNKNOWN_PERCENT, UNKNOWN_STEPS
from unclouded.prediction.provenance import Provenance
from unclouded.prediction.sources import Rows
from unclouded.prediction.streaming import Strip
from unclouded.scenes.radiometry import without_offset
from unclouded.tensors.triplet import Observation

SCENE = (64, 96)
LINE = (16, 48)
BAND = ("B04",)


@dataclass(frozen=True)
class Watched:
    """A remover that answers 0.5, and NaN in the scene's column 40; keeps top, left, height, width of what it saw."""

    name: str = "watched"
    bands: tuple[str, ...] = BAND
    shown: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __call__(self, observation: Observation) -> torch.Tensor:
        height, width = observation.cloudy.shape[-2:]
        self.shown.append((*observation.origin_px, height, width))
        answer = torch.full((1, 1, height, width), 0.5)
        if 0 <= 40 - observation.origin_px[1] < width:
            answer[..., 40 - observation.origin_px[1]] = math.nan
        return answer


@dataclass(frozen=True)
class Sure(Watched):
    """The same, half sure of it."""

    def with_confidence(self, observation: Observation) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self(observation)
        return answer, torch.full_like(answer, 0.5)


@pytest.fixture
def rows() -> Rows:
    """The line with eight rows above and below; stored numbers of 1000, one without data."""
    stored = np.full((1, 48, 96), 1000, np.uint16)
    stored[0, 20, 5] = 0
    return Rows(8, stored, np.full((2, 48, 96), -9, np.float32), BAND, without_offset(1))


@pytest.fixture
def cloud_map() -> np.ndarray:
    """Clouds in the scene's rows 20 to 29: columns 36 to 45, and one pixel in column 90, row 47."""
    m = np.zeros((48, 96), np.float32)
    m[12:22, 36:46] = 1.0
    m[39, 90] = 0.3
    return m


def crew(remover: Watched, statistics: Statistics = "scene", *, uncertainty: bool = False) -> Crew:
    return Crew((remover,), 8, 4, statistics, uncertainty)


def cleared(rows: Rows, cloud_map: np.ndarray, by: Crew | None) -> Strip:
    return clear_line(rows, LINE, cloud_map, by, 32, SCENE)


def test_of_a_window_only_the_cloudy_part_and_its_margin_are_shown(rows: Rows, cloud_map: np.ndarray) -> None:
    """Rows 20 to 29 and columns 36 to 45, with 8 px around, at multiples of 4; the window in the west has no cloud."""
    remover = Watched()
    cleared(rows, cloud_map, crew(remover))
    assert remover.shown == [(12, 28, 28, 28), (36, 80, 20, 16)]  # the second ends with the line's margin, the scene


def test_by_statistics_of_each_window_all_of_it_is_shown(rows: Rows, cloud_map: np.ndarray) -> None:
    remover = Watched()
    cleared(rows, cloud_map, crew(remover, "window"))
    assert remover.shown == [(8, 24, 48, 48), (8, 56, 48, 40)]


def test_answers_are_stored_where_it_is_cloudy_and_nan_is_no_data(rows: Rows, cloud_map: np.ndarray) -> None:
    strip = cleared(rows, cloud_map, crew(Watched()))
    expected = np.full((32, 96), 1000)
    expected[12, 5] = 0  # no data stays none
    expected[4:14, 36:46], expected[4:14, 40], expected[31, 90] = 5000, 0, 5000
    assert np.array_equal(strip["clear"][0], expected)
    counts = {code: int((strip["provenance"] == code).sum()) for code in Provenance}
    assert counts == {
        Provenance.NO_DATA: 11,
        Provenance.OBSERVED: 32 * 96 - 102,
        Provenance.BLENDED: 1,
        Provenance.SYNTHESISED: 90,
        Provenance.NEAR_GAP: 0,
        Provenance.UNJUDGED: 0,
    }
    assert set(strip) == {"clear", "provenance", "losses"}
    assert strip["losses"].tolist() == [1, 0, 10, 0]  # no optical data, no radar, no answer; gaps of the radar


def test_without_anybody_to_make_it_clouds_are_no_data(rows: Rows, cloud_map: np.ndarray) -> None:
    strip = cleared(rows, cloud_map, None)
    assert not strip["clear"][0, 4:14, 36:46].any() and strip["clear"][0, 0, 0] == 1000
    assert np.unique(strip["provenance"]).tolist() == [Provenance.NO_DATA, Provenance.OBSERVED]


def test_spread_and_confidence_are_told_of_made_pixels_alone(rows: Rows, cloud_map: np.ndarray) -> None:
    strip = cleared(rows, cloud_map, crew(Sure(), uncertainty=True))
    made = strip["provenance"][0] >= Provenance.BLENDED
    assert np.unique(strip["confidence"][0][made]).tolist() == [50]
    assert np.unique(strip["confidence"][0][~made]).tolist() == [UNKNOWN_PERCENT]
    assert np.unique(strip["uncertainty"][0][made & (strip["clear"][0] > 0)]).tolist() == [0, UNKNOWN_STEPS]
    assert np.unique(strip["uncertainty"][0][~made]).tolist() == [UNKNOWN_STEPS]


def test_a_crew_looks_as_far_as_its_farthest_and_starts_where_all_can(rows: Rows) -> None:
    @dataclass(frozen=True)
    class Strided:
        align_px: int
        margin_px: int
        name: str = "strided"
        bands: tuple[str, ...] = BAND

        def adapted_to(self, sample: object) -> Watched:
            return Watched()

        def __call__(self, observation: Observation) -> torch.Tensor:
            return observation.cloudy

    sample = [rows.observation(rows.window, np.ones((48, 96), np.float32))]
    made = crew_of([Strided(4, 10), Strided(6, 20)], sample, "scene", uncertainty=False)
    assert (made.margin_px, made.align_px) == (20, 12)
    assert [type(one) for one in made.removers] == [Watched, Watched]
    foreign = crew_of([Watched()], sample, "scene", uncertainty=False)
    assert (foreign.margin_px, foreign.align_px) == (FOREIGN_MARGIN_PX, 4)
    assert crew_of([baseline("clear-mean", BAND)], sample, "scene", uncertainty=False).margin_px == 0


def test_by_windows_a_remover_learns_from_what_it_is_shown_and_by_the_scene_from_the_sample() -> None:
    """The mean clear pixel of the sample is 0.1, that of the window 0.3."""

    def seen(clear: float) -> Observation:
        cloudy, m = torch.tensor([[[[clear, 0.9]]]]), torch.tensor([[[[0.0, 1.0]]]])
        return Observation(torch.full((1, 2, 1, 2), -9.0), cloudy, m, BAND)

    for statistics, expected in (("scene", 0.1), ("window", 0.3)):
        made = crew_of([baseline("clear-mean", BAND)], [seen(0.1)], statistics, uncertainty=False)  # type: ignore[arg-type]
        assert made.removers[0](seen(0.3))[0, 0, 0, 1].item() == pytest.approx(expected)
        assert made.removers[0].name == "clear-mean"

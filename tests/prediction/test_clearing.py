"""Input of a remover in a line of windows, and composition of its predictions."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from unclouded.models.baselines import baseline
from unclouded.prediction.clearing import (
    UNKNOWN_REACH_PX,
    VARIANTS,
    AdaptedEnsemble,
    Statistics,
    adapt_removers,
    compose,
    remove_clouds_in_line,
    seam_index,
    spread,
)
from unclouded.prediction.products import UNKNOWN_PERCENT, UNKNOWN_STEPS, Provenance
from unclouded.prediction.sources import SceneRows
from unclouded.prediction.tiling import Strip
from unclouded.sentinel.radiometry import Radiometry, without_offset
from unclouded.tensors.observation import Observation

SCENE = (64, 96)

LINE = (16, 48)

BAND = ("B04",)


@dataclass(frozen=True)
class Watched:
    """A remover that returns 0.5, and NaN in column 40 of the scene; records top, left, height, width of its input."""

    name: str = "watched"
    bands: tuple[str, ...] = BAND
    shown: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __call__(self, observation: Observation) -> torch.Tensor:
        height, width = observation.cloudy.shape[-2:]
        self.shown.append((*observation.origin_px, height, width))
        prediction = torch.full((1, 1, height, width), 0.5)
        if 0 <= 40 - observation.origin_px[1] < width:
            prediction[..., 40 - observation.origin_px[1]] = math.nan
        return prediction


@dataclass(frozen=True)
class Sure(Watched):
    """The same remover with a confidence of 0.5."""

    def with_confidence(self, observation: Observation) -> tuple[torch.Tensor, torch.Tensor]:
        prediction = self(observation)
        return prediction, torch.full_like(prediction, 0.5)


@pytest.fixture
def rows() -> SceneRows:
    """The line with eight rows above and below; stored numbers of 1000, one without data."""
    stored = np.full((1, 48, 96), 1000, np.uint16)
    stored[0, 20, 5] = 0
    return SceneRows(8, stored, np.full((2, 48, 96), -9, np.float32), BAND, without_offset(1))


@pytest.fixture
def cloud_map() -> np.ndarray:
    """Clouds in the scene's rows 20 to 29: columns 36 to 45, and one pixel in column 90, row 47."""
    m = np.zeros((48, 96), np.float32)
    m[12:22, 36:46] = 1.0
    m[39, 90] = 0.3
    return m


def ensemble(remover: Watched, statistics: Statistics = "scene", *, uncertainty: bool = False) -> AdaptedEnsemble:
    return AdaptedEnsemble((remover,), 8, 4, statistics, uncertainty)


def predict_line(rows: SceneRows, cloud_map: np.ndarray, by: AdaptedEnsemble | None) -> Strip:
    return remove_clouds_in_line(rows, LINE, cloud_map, by, 32, SCENE)


def test_only_the_cloudy_part_of_a_window_and_its_margin_are_passed_to_the_remover(
    rows: SceneRows, cloud_map: np.ndarray
) -> None:
    """Rows 20 to 29 and columns 36 to 45, with 8 px around, at multiples of 4; the window in the west has no cloud."""
    remover = Watched()
    predict_line(rows, cloud_map, ensemble(remover))
    assert remover.shown == [(12, 28, 28, 28), (36, 80, 20, 16)]  # the second ends with the line's margin, the scene


def test_with_window_statistics_the_whole_window_is_passed_to_the_remover(
    rows: SceneRows, cloud_map: np.ndarray
) -> None:
    remover = Watched()
    predict_line(rows, cloud_map, ensemble(remover, "window"))
    assert remover.shown == [(8, 24, 48, 48), (8, 56, 48, 40)]


def test_predictions_are_stored_on_cloudy_pixels_and_nan_becomes_no_data(
    rows: SceneRows, cloud_map: np.ndarray
) -> None:
    strip = predict_line(rows, cloud_map, ensemble(Watched()))
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
        Provenance.UNKNOWN_CLOUD: 0,
        Provenance.SHADOW: 0,
        Provenance.WITHOUT_RADAR: 0,
        Provenance.REFERENCE: 0,
    }
    assert set(strip) == {"clear", "provenance", "losses", "references"}
    assert strip["losses"].tolist() == [1, 0, 10, 0]  # no optical data, no radar, NaN; gaps of the radar


def test_without_a_remover_cloudy_pixels_have_no_data(rows: SceneRows, cloud_map: np.ndarray) -> None:
    strip = predict_line(rows, cloud_map, None)
    assert not strip["clear"][0, 4:14, 36:46].any() and strip["clear"][0, 0, 0] == 1000
    assert np.unique(strip["provenance"]).tolist() == [Provenance.NO_DATA, Provenance.OBSERVED]


def test_uncertainty_and_confidence_are_stored_for_predicted_pixels_only(
    rows: SceneRows, cloud_map: np.ndarray
) -> None:
    strip = predict_line(rows, cloud_map, ensemble(Sure(), uncertainty=True))
    made = strip["provenance"][0] >= Provenance.BLENDED
    assert np.unique(strip["confidence"][0][made]).tolist() == [50]
    assert np.unique(strip["confidence"][0][~made]).tolist() == [UNKNOWN_PERCENT]
    assert np.unique(strip["uncertainty"][0][made & (strip["clear"][0] > 0)]).tolist() == [0, UNKNOWN_STEPS]
    assert np.unique(strip["uncertainty"][0][~made]).tolist() == [UNKNOWN_STEPS]


def test_an_ensemble_has_the_largest_margin_and_the_common_alignment(rows: SceneRows) -> None:
    @dataclass(frozen=True)
    class Strided:
        align_px: int
        margin_px: int
        name: str = "strided"
        bands: tuple[str, ...] = BAND

        def adapt(self, sample: object) -> Watched:
            return Watched()

        def __call__(self, observation: Observation) -> torch.Tensor:
            return observation.cloudy

    sample = [rows.observation(rows.window, np.ones((48, 96), np.float32))]
    made = adapt_removers([Strided(4, 10), Strided(6, 20)], sample, "scene", uncertainty=False)
    assert (made.margin_px, made.align_px) == (20, 12)
    assert [type(one) for one in made.removers] == [Watched, Watched]
    foreign = adapt_removers([Watched()], sample, "scene", uncertainty=False)
    assert (foreign.margin_px, foreign.align_px) == (UNKNOWN_REACH_PX, 4)
    assert adapt_removers([baseline("clear-mean", BAND)], sample, "scene", uncertainty=False).margin_px == 0


def test_window_statistics_adapt_to_the_window_and_scene_statistics_to_the_sample() -> None:
    """The mean clear pixel of the sample is 0.1, that of the window 0.3."""

    def seen(clear: float) -> Observation:
        cloudy, m = torch.tensor([[[[clear, 0.9]]]]), torch.tensor([[[[0.0, 1.0]]]])
        return Observation(torch.full((1, 2, 1, 2), -9.0), cloudy, m, BAND)

    for statistics, expected in (("scene", 0.1), ("window", 0.3)):
        made = adapt_removers([baseline("clear-mean", BAND)], [seen(0.1)], statistics, uncertainty=False)  # type: ignore[arg-type]
        assert made.removers[0](seen(0.3))[0, 0, 0, 1].item() == pytest.approx(expected)
        assert made.removers[0].name == "clear-mean"


def test_stored_integers_depend_on_the_provenance() -> None:
    observed = np.array([[[17_014, 5_000, 5_000, 5_000, 5_000, 65_535]]], np.uint16)
    provenance = np.array([[1, 2, 3, 4, 0, 5]], np.uint8)
    reflectance = np.array([[[0.5, 0.1, 0.0, 1.3, 0.7, 0.7]]], np.float32)
    found = compose(reflectance, observed, provenance, Radiometry((0,)))
    assert found.tolist() == [[[17_014, 1_000, 1, 13_000, 0, 7_000]]]
    assert found.dtype == np.uint16
    assert Provenance.OBSERVED == 1


def test_predicted_pixels_have_the_offset_of_the_input() -> None:
    one = np.full((1, 1, 1), 1_500, np.uint16)
    made = np.full((1, 1), Provenance.SYNTHESISED, np.uint8)
    found = compose(np.full((1, 1, 1), 0.2, np.float32), one, made, Radiometry((-1000,)))
    assert found.item() == 3_000  # (3000 - 1000) / 10 000


def test_the_seam_index_of_a_slope_is_1_and_that_of_a_step_is_larger() -> None:
    slope = np.tile(np.arange(40.0), (1, 16, 1))
    assert seam_index(slope, rows=[], columns=[12, 28]) == 1.0
    slope[:, :, 28:] += 4.0
    assert seam_index(slope, rows=[], columns=[28]) == 5.0
    assert seam_index(slope, rows=[], columns=[12, 28]) == 3.0


def test_the_stride_pattern_of_a_network_is_not_a_seam() -> None:
    pattern = np.tile([0.0, 1.0, 3.0, 4.0], (1, 16, 10))  # jumps of 1, 2, 1 and, wherever windows begin, 4
    assert seam_index(pattern, rows=[], columns=[12, 20]) == 1.0


def test_seams_are_measured_along_rows_and_columns_and_only_within_the_mask() -> None:
    slope = np.tile(np.arange(32.0)[:, None], (2, 1, 16))
    slope[:, 16:, :8] += 2.0
    assert seam_index(slope, rows=[16], columns=[]) == 2.0
    right = np.zeros((32, 16), bool)
    right[:, 8:] = True
    assert seam_index(slope, rows=[16], columns=[], where=right) == 1.0


def test_pixels_without_a_value_are_not_compared() -> None:
    slope = np.tile(np.arange(32.0), (1, 16, 1))
    slope[:, :8] = np.nan
    assert seam_index(slope, rows=[], columns=[16]) == pytest.approx(1.0)


def observation(height: int = 8, width: int = 12) -> Observation:
    rng = torch.Generator().manual_seed(0)
    images = (torch.rand(1, channels, height, width, generator=rng) for channels in (2, 1, 1))
    return Observation(*images, ("B04",))


@dataclass(frozen=True)
class Left:
    """A remover that returns 1 in the left half of a window, and 0 in the right."""

    name: str = "left"
    bands: tuple[str, ...] = ("B04",)

    def __call__(self, observation: Observation) -> torch.Tensor:
        prediction = torch.zeros_like(observation.cloudy)
        prediction[..., : prediction.shape[-1] // 2] = 1
        return prediction


@dataclass(frozen=True)
class Seen:
    """A remover that returns its input, brighter by a constant."""

    more: float
    name: str = "seen"
    bands: tuple[str, ...] = ("B04",)

    def __call__(self, observation: Observation) -> torch.Tensor:
        return observation.cloudy + self.more


def test_mirrored_and_shifted_predictions_are_transformed_back() -> None:
    assert spread([Seen(0.0)], observation()).max() < 1e-6
    assert spread([Seen(0.0)], observation(9, 13)).shape == (1, 1, 9, 13)


def test_a_remover_that_depends_on_the_side_has_a_spread_between_mirror_images() -> None:
    found = spread([Left()], observation())
    expected = (0.4 * 0.6) ** 0.5  # mirrored left to right twice of five times
    assert VARIANTS == 5
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_the_spread_of_two_removers_is_half_their_difference() -> None:
    assert torch.allclose(spread([Seen(0.0), Seen(0.1)], observation()), torch.tensor(0.05), atol=1e-6)

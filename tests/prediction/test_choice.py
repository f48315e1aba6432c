import math

import pytest
import torch
from torch import Tensor

from unclouded.models.remover import ConfidentRemover, SceneRemover
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.choice import BestOfScene, best_of_scene, choose
from unclouded.prediction.expected_error import ErrorOf, ExpectedError
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation


class Exact:
    """Knows that all ground is 0.2."""

    name, bands = "exact", RGB

    def __call__(self, observation: Observation) -> Tensor:
        return torch.full_like(observation.cloudy, 0.2)


def plain(cloudy_rows: int = 40) -> Observation:
    rng = torch.Generator().manual_seed(0)
    sar = -12 + torch.randn(1, 2, 128, 128, generator=rng)
    cloud_map = torch.zeros(1, 1, 128, 128)
    cloud_map[:, :, :cloudy_rows] = 1.0
    ground = 0.2 + 0.002 * torch.randn(1, 3, 128, 128, generator=rng)
    return Observation(sar, torch.where(cloud_map > 0, torch.tensor(0.8), ground), cloud_map, RGB)


def test_the_default_prefers_scene_adapted_and_fits_where_scene_removers_go() -> None:
    remover = best_of_scene(("B08", "B04"))
    assert isinstance(remover, SceneRemover)
    assert (remover.name, remover.bands, remover.align_px) == ("auto", ("B08", "B04"), 1)
    assert remover.margin_px == SceneAdapted().margin_px
    assert [one.name for one in remover.others] == ["clear-mean", "sar-regression"]


def test_the_candidate_that_errs_least_is_used_and_its_reason_is_kept() -> None:
    chosen = BestOfScene(SceneAdapted(), (Exact(),)).adapted_to([plain()])
    assert chosen.name == chosen.remover.name == "exact"
    assert chosen.expected is not None
    assert chosen.expected.rows["exact"].mae < chosen.expected.rows["scene-adapted"].mae


def test_without_clear_ground_the_first_candidate_is_used() -> None:
    chosen = BestOfScene(SceneAdapted(), (Exact(),)).adapted_to([plain(cloudy_rows=128)])
    assert (chosen.name, chosen.expected) == ("scene-adapted", None)


def test_a_candidate_that_errs_hardly_less_is_no_reason_to_change() -> None:
    class Near(Exact):
        name = "near"

        def __call__(self, observation: Observation) -> Tensor:
            return SceneAdapted()(observation) + torch.where(observation.is_cloudy, 1e-5, 0.0)

    chosen = BestOfScene(SceneAdapted(), (Near(),)).adapted_to([plain()])
    assert chosen.expected is not None
    assert chosen.name == "scene-adapted"


def test_whatever_is_used_the_confidence_is_what_the_scene_says() -> None:
    seen = plain()
    seen.cloudy[0, 0, 0, 0] = math.nan
    chosen = BestOfScene(SceneAdapted(), (Exact(),)).adapted_to([seen])
    assert isinstance(chosen, ConfidentRemover)
    _, sure = chosen.with_confidence(seen)
    _, expected = SceneAdapted().adapted_to([seen]).with_confidence(seen)
    assert torch.equal(sure.nan_to_num(-1.0)[..., 1:, :], expected.nan_to_num(-1.0)[..., 1:, :])


def test_a_candidate_that_answers_for_a_part_is_never_used_however_small_its_error() -> None:
    class Half(Exact):
        name = "half"

        def __call__(self, observation: Observation) -> Tensor:
            answer = super().__call__(observation).clone()
            answer[..., ::2] = math.nan
            return answer

    chosen = BestOfScene(SceneAdapted(), (Half(),)).adapted_to([plain()])
    assert chosen.expected is not None and chosen.expected.rows["half"].mae < 0.002
    assert abs(chosen.expected.judged_share("half") - 0.5) < 0.02
    assert chosen.name == "scene-adapted"
    assert "half was left out, for it answered" in chosen.reason


def test_a_candidate_that_answers_nothing_has_no_error_and_is_left_out() -> None:
    class Silent(Exact):
        name = "silent"

        def __call__(self, observation: Observation) -> Tensor:
            return torch.full_like(observation.cloudy, math.nan)

    chosen = BestOfScene(SceneAdapted(), (Silent(),)).adapted_to([plain()])
    assert chosen.expected is not None and chosen.name == "scene-adapted"
    assert chosen.expected.as_json()["rows"]["silent"] == {"mae": None, "rmse": None, "sam": None, "pixels": 0}


@pytest.mark.parametrize(
    ("mae", "pixels", "name", "reason"),
    [
        ((0.02, 0.03), (500, 500), "a", "a was used, for it erred least on 500 covered px of clear ground"),
        (
            (0.02, 0.016),
            (500, 500),
            "b",
            "b was used, for it erred 20.0 % less than a on 500 covered px of clear ground",
        ),
        (
            (0.02, 0.0194),
            (500, 500),
            "a",
            "a was used, for b erred 3.0 % less than it on 500 covered px of clear ground, and",
        ),
        (
            (0.01, 0.03),
            (474, 475),
            "b",
            "b was used, with a mean error of 0.0300 on 500 covered px of clear ground; a was",
        ),
        (
            (0.01, 0.03),
            (474, 0),
            "a",
            "a was used, for no remover could be judged on 500 covered px of clear ground; a",
        ),
    ],
)
def test_the_choice_has_a_reason(mae: tuple[float, float], pixels: tuple[int, int], name: str, reason: str) -> None:
    rows = {one: ErrorOf(error, error, 1.0, count) for one, error, count in zip("ab", mae, pixels, strict=True)}
    chosen, why = choose(ExpectedError(rows, 500, ("B04",), invented=False), "a")
    assert chosen == name and why.startswith(reason)
    assert choose(None, "a")[1].startswith("a was used, for fewer than 400 px")

import math

import torch
from torch import Tensor

from unclouded.models.remover import ConfidentRemover, SceneRemover
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.choice import BestOfScene, best_of_scene
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

from dataclasses import dataclass

import torch

from unclouded.prediction.uncertainty import ANSWERS, spread
from unclouded.tensors.triplet import Observation


def observation(height: int = 8, width: int = 12) -> Observation:
    rng = torch.Generator().manual_seed(0)
    images = (torch.rand(1, channels, height, width, generator=rng) for channels in (2, 1, 1))
    return Observation(*images, ("B04",))


@dataclass(frozen=True)
class Left:
    """Answers 1 in the left half of what it sees, and 0 in the right."""

    name: str = "left"
    bands: tuple[str, ...] = ("B04",)

    def __call__(self, observation: Observation) -> torch.Tensor:
        answer = torch.zeros_like(observation.cloudy)
        answer[..., : answer.shape[-1] // 2] = 1
        return answer


@dataclass(frozen=True)
class Seen:
    """Answers what it sees, brighter by some amount."""

    more: float
    name: str = "seen"
    bands: tuple[str, ...] = ("B04",)

    def __call__(self, observation: Observation) -> torch.Tensor:
        return observation.cloudy + self.more


def test_mirrored_answers_are_mirrored_back_and_shifted_ones_shifted_back() -> None:
    assert spread([Seen(0.0)], observation()).max() < 1e-6
    assert spread([Seen(0.0)], observation(9, 13)).shape == (1, 1, 9, 13)


def test_who_answers_by_the_side_disagrees_with_its_mirror_image() -> None:
    found = spread([Left()], observation())
    expected = (0.4 * 0.6) ** 0.5  # mirrored left to right twice of five times
    assert ANSWERS == 5
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_two_weights_that_differ_by_a_tenth_spread_by_half_of_it() -> None:
    assert torch.allclose(spread([Seen(0.0), Seen(0.1)], observation()), torch.tensor(0.05), atol=1e-6)

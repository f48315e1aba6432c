"""How far a remover agrees with itself when it is shown the same scene mirrored and shifted."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unclouded.models.remover import CloudRemover
from unclouded.tensors.answers import require_answer, window_name
from unclouded.tensors.triplet import Observation

SHIFT_PX = 2
"""Half of the network's stride: a shift by all of it changes nothing."""

Turn = Callable[[Tensor], Tensor]


def spread(
    removers: Sequence[CloudRemover], observation: Observation, align_px: int = 4
) -> Float[Tensor, "batch band h w"]:
    """Return the standard deviation of an ensemble of answers, in reflectance; NaN where an answer is.

    Each remover answers five times: as seen, mirrored left to right, top to bottom, both, and shifted by 2 px down and
    to the right.

    Args:
        removers: One, or several with other weights; adapted to the scene.
        observation: A window.
        align_px: Of the removers; windows are continued to multiples of it, so that mirrored grids meet.
    """
    height, width = observation.cloudy.shape[-2:]
    below, right = -height % align_px, -width % align_px
    padded = _changed(observation, lambda image: F.pad(image, (0, right, 0, below), mode="replicate"))
    answers = []
    for remover in removers:
        for there, back in _TURNS:
            seen = _changed(padded, there)
            shown, place = seen.select(remover.bands), window_name(observation)
            answer = require_answer(remover(seen), shown, remover.name, place, complete=False)
            answers.append(back(answer)[..., :height, :width])
    return torch.stack(answers).std(dim=0, correction=0)


def _mirror(*axes: int) -> tuple[Turn, Turn]:
    def turn(image: Tensor) -> Tensor:
        return image.flip(axes)

    return turn, turn


def _shift() -> tuple[Turn, Turn]:
    def there(image: Tensor) -> Tensor:
        return F.pad(image, (SHIFT_PX, SHIFT_PX, SHIFT_PX, SHIFT_PX), mode="replicate")

    def back(image: Tensor) -> Tensor:
        return image[..., SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]

    return there, back


_TURNS: tuple[tuple[Turn, Turn], ...] = (_mirror(), _mirror(-1), _mirror(-2), _mirror(-2, -1), _shift())

ANSWERS = len(_TURNS)
"""How often each remover answers."""


def _changed(observation: Observation, turn: Turn) -> Observation:
    sar, cloudy, cloud_map = (turn(each) for each in (observation.sar, observation.cloudy, observation.cloud_map))
    return replace(observation, sar=sar, cloudy=cloudy, cloud_map=cloud_map)

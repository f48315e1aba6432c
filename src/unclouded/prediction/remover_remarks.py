"""Remarks about the removers of a scene that come from elsewhere: plug-ins, published networks and ONNX files."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from unclouded.models.baselines import Baseline
from unclouded.models.network import NetworkRemover
from unclouded.models.remover import CloudRemover, RemarkedRemover
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.prediction.auto_remover import AutoRemover
from unclouded.tensors.observation import Observation
from unclouded.tensors.predictions import require_prediction, window_name

CLEAR_PX = 400
"""Clear pixels of a window below which the change of clear pixels is not measured."""
LEAST_CHANGE = 0.05
"""Median change of clear pixels, reflectance, that is always accepted."""
RELATIVE_CHANGE = 0.5
"""Median change of clear pixels that is accepted, relative to their median reflectance."""


def remarks_on(
    removers: Sequence[CloudRemover], adapted: Sequence[CloudRemover], sample: Sequence[Observation]
) -> Iterator[str]:
    """Yield the remarks of the removers themselves, and one for each that changes clear pixels implausibly.

    Networks restore clear ground almost unchanged. One that does not was probably given other units, another scaling or
    another order of bands than in its training.

    Args:
        removers: Removers of a scene.
        adapted: The same removers, adapted to the scene.
        sample: Windows of the scene.
    """
    for remover, one in zip(removers, adapted, strict=True):
        if isinstance(one, RemarkedRemover) and one.remark:
            yield one.remark
        if isinstance(remover, NetworkRemover | Baseline | SceneAdapted | AutoRemover):
            continue
        if remark := _change_of_clear_pixels(one, sample):
            yield remark


def _change_of_clear_pixels(remover: CloudRemover, sample: Sequence[Observation]) -> str:
    """Return a remark if a remover changes the clear pixels of the clearest partly cloudy window much; else empty."""
    seen = [one.select(remover.bands) for one in sample]
    window = max(
        (one for one in seen if bool(one.is_cloudy.any())), key=lambda one: int(_is_clear(one).sum()), default=None
    )
    if window is None or int(_is_clear(window).sum()) < CLEAR_PX:
        return ""
    place = window_name(window)
    prediction = require_prediction(remover(window), window, remover.name, place, complete=False)
    compared = (_is_clear(window) & prediction.isfinite().all(dim=1, keepdim=True)).expand_as(prediction)
    observed, predicted = window.cloudy[compared], prediction.to(window.cloudy.device)[compared]
    if len(observed) < CLEAR_PX:
        return ""
    level, change = float(observed.median()), float((predicted - observed).abs().median())
    if change <= max(LEAST_CHANGE, RELATIVE_CHANGE * level):
        return ""
    return (
        f"{remover.name} changes clear pixels of {place} by {change:.2f} in reflectance, and their median is"
        f" {level:.2f}: scaling, units or order of bands seem to differ from its training; check its description"
    )


def _is_clear(seen: Observation) -> Bool[Tensor, "1 1 h w"]:
    known = torch.isfinite(seen.cloudy).all(dim=1, keepdim=True) & seen.sar.isfinite().all(dim=1, keepdim=True)
    return known & ~seen.is_cloudy

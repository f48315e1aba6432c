"""Remarks about the removers of a scene that come from elsewhere: plug-ins, published networks and ONNX files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import Baseline
from unclouded.models.network import NetworkRemover
from unclouded.models.references.baselines import ReferenceBaseline
from unclouded.models.references.remover import ReferenceRemover
from unclouded.models.remover import CloudRemover, RemarkedRemover, SceneRemover
from unclouded.prediction.auto_remover import AutoRemover
from unclouded.prediction.clearing import UNKNOWN_REACH_PX, seam_index
from unclouded.tensors.observation import Observation
from unclouded.tensors.predictions import require_prediction, window_name

_OURS = NetworkRemover | Baseline | SceneAdapted | AutoRemover | ReferenceBaseline | ReferenceRemover
PROBE_PX = 256
"""Side of the part of a window that removers are tried on."""
CLEAR_PX = 400
"""Clear pixels below which the change of clear pixels is not measured."""
LEAST_CHANGE = 0.05
"""Median change of clear pixels, reflectance, that is always accepted."""
RELATIVE_CHANGE = 0.5
"""Median change of clear pixels that is accepted, relative to their median reflectance."""
SAME_REFLECTANCE = 0.001
"""Largest difference of two predictions of one pixel in different windows that counts as equal."""


def remarks_on(
    removers: Sequence[CloudRemover], adapted: Sequence[CloudRemover], sample: Sequence[Observation]
) -> Iterator[str]:
    """Yield the remarks of the removers themselves, and those of two tests on a part of the scene.

    Networks restore clear ground almost unchanged. One that does not was probably given other units, another scaling or
    another order of bands than in its training. Networks that normalise by the statistics of their input predict a
    pixel differently in another window, so that seams show.

    Args:
        removers: Removers of a scene.
        adapted: The same removers, adapted to the scene.
        sample: Windows of the scene.
    """
    for remover, one in zip(removers, adapted, strict=True):
        if isinstance(one, RemarkedRemover) and one.remark:
            yield one.remark
        if isinstance(remover, _OURS) and not (isinstance(remover, NetworkRemover) and remover.settings.architecture):
            continue
        probe = _probe([each.select(one.bands) for each in sample])
        if probe is None:
            continue
        margin = remover.margin_px if isinstance(remover, SceneRemover) else UNKNOWN_REACH_PX
        prediction = _predicted(one, probe)
        yield from filter(
            None, (_change_of_clear_pixels(one.name, probe, prediction), _seam(one, probe, prediction, margin))
        )


def _probe(sample: Sequence[Observation]) -> Observation | None:
    """Return the part of the sample with the most clear pixels and at least one cloudy pixel; None if none has one."""
    parts = (part for one in sample for part in _parts(one))
    return max(
        (one for one in parts if bool(one.is_cloudy.any())), key=lambda one: int(_is_clear(one).sum()), default=None
    )


def _parts(seen: Observation) -> Iterator[Observation]:
    height, width = seen.cloudy.shape[-2:]
    for top in range(0, max(height - PROBE_PX, 0) + 1, PROBE_PX):
        for left in range(0, max(width - PROBE_PX, 0) + 1, PROBE_PX):
            yield _crop(seen, slice(top, top + PROBE_PX), slice(left, left + PROBE_PX))


def _crop(seen: Observation, rows: slice, columns: slice) -> Observation:
    origin = (seen.origin_px[0] + rows.start, seen.origin_px[1] + columns.start)
    return replace(seen.transformed(lambda image: image[..., rows, columns]), origin_px=origin)


def _predicted(remover: CloudRemover, seen: Observation) -> Float[Tensor, "1 band h w"]:
    found = require_prediction(remover(seen), seen, remover.name, window_name(seen), complete=False)
    return found.detach().float().cpu()


def _change_of_clear_pixels(name: str, seen: Observation, prediction: Float[Tensor, "1 band h w"]) -> str:
    compared = (_is_clear(seen).cpu() & prediction.isfinite().all(dim=1, keepdim=True)).expand_as(prediction)
    observed, predicted = seen.cloudy.cpu()[compared], prediction[compared]
    if len(observed) < CLEAR_PX:
        return ""
    level, change = float(observed.median()), float((predicted - observed).abs().median())
    if change <= max(LEAST_CHANGE, RELATIVE_CHANGE * level):
        return ""
    return (
        f"{name} changes clear pixels of {window_name(seen)} by {change:.2f} in reflectance, and their median is"
        f" {level:.2f}: scaling, units or order of bands seem to differ from its training; check its description"
    )


def _seam(remover: CloudRemover, seen: Observation, prediction: Float[Tensor, "1 band h w"], margin: int) -> str:
    """Predict two overlapping halves and compare them with the whole where the margin allows."""
    width = seen.cloudy.shape[-1]
    align = remover.align_px if isinstance(remover, SceneRemover) else 4
    border = width // 2 // align * align
    start, stop = (border - margin) // align * align, border + margin
    if start <= 0 or stop >= width or border < 16:
        return ""  # both halves would be the whole
    left, right = (_crop(seen, slice(0, None), part) for part in (slice(0, stop), slice(start, None)))
    halves = _predicted(remover, left)[..., :border], _predicted(remover, right)[..., border - start :]
    joined = torch.cat(halves, dim=-1)
    difference = float((joined - prediction).abs().nan_to_num(nan=0.0).max())
    if difference <= SAME_REFLECTANCE:
        return ""
    compared = joined[0].numpy()
    index = seam_index(compared, [], [border]) if np.isfinite(compared[..., border - 9 : border + 9]).any() else np.nan
    return (
        f"{remover.name} depends on the window: the same pixels differ by up to {difference:.3f} in reflectance between"
        f" two windows, as in networks that normalise by the statistics of their input; seam index {index:.2f} (1 where"
        " no seam shows). Larger windows (--window) have fewer seams"
    )


def _is_clear(seen: Observation) -> Bool[Tensor, "1 1 h w"]:
    return seen.cloudy.isfinite().all(dim=1, keepdim=True) & ~seen.is_cloudy

"""What a remover or a file of predictions answers is checked here, once, before it is scored or written."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from unclouded.errors import InputError
from unclouded.tensors.observation import Observation

DARKEST, BRIGHTEST = -0.2, 2.0
"""TOA reflectance of real pixels lies well inside; the brightest cloud of SEN12MS-CR has 1.7."""
IMPOSSIBLE = 20.0
"""No pixel, however bright, has this reflectance; stored numbers of almost any pixel are larger."""
IMPLAUSIBLE_SHARE = 0.02
"""Share of values outside of :data:`DARKEST` to :data:`BRIGHTEST` above which an image is in another unit."""
GAP_REACH_PX = 128
"""How far around a gap of the input an answer may have no data; features of radar reach some pixels beyond a gap."""


def require_answer(
    answer: object,
    seen: Observation,
    by: str,
    place: str,
    where: Bool[Tensor, "batch 1 h w"] | None = None,
    *,
    complete: bool = True,
) -> Tensor:
    """Return the answer of a remover if it is a clear image of what was observed.

    Args:
        answer: Anything that a remover returned, or a prediction that was read from a file.
        seen: The observation in the bands that were asked for.
        by: Name of the remover, for the message.
        place: Name of the patch, or of the window, for the message.
        where: Pixels that need an answer; all if omitted.
        complete: Refuse pixels without an answer. A scene records them as no data instead, and counts them.

    Raises:
        InputError: It is no floating-point tensor of the bands, the batch and the size of ``seen``, has no data where
            radar and optical image have, or holds numbers that are no reflectance.
    """
    who = f"{by} answered {place} with"
    if not isinstance(answer, Tensor):
        raise InputError(f"{who} a {type(answer).__name__}, expected a torch.Tensor of TOA reflectance; convert it")
    expected = tuple(seen.cloudy.shape)
    if tuple(answer.shape) != expected:
        bands = " ".join(seen.bands)
        raise InputError(
            f"{who} the shape {_sides(answer.shape)}, expected {_sides(expected)} (batch x band x row x column, bands "
            f"{bands}); return every band of every pixel"
        )
    if not answer.dtype.is_floating_point:
        raise InputError(f"{who} {answer.dtype}, expected floating-point TOA reflectance; convert it")
    if complete:
        _require_finite(answer.detach(), seen, who, where)
    require_reflectance(answer, who, observed=seen.cloudy)
    return answer


def window_name(seen: Observation) -> str:
    """Return what messages call a window of a scene."""
    row, column = seen.origin_px
    return f"the window at row {row}, column {column}"


def _sides(shape: "torch.Size | tuple[int, ...]") -> str:
    return " x ".join(map(str, shape)) or "of a single number"


def _require_finite(answer: Tensor, seen: Observation, who: str, where: Tensor | None) -> None:
    bad = ~answer.isfinite().all(dim=1, keepdim=True)
    if where is not None:
        bad &= where.to(bad.device)
    if not bad.any():
        return
    optical, radar = (image.isfinite().all(dim=1, keepdim=True) for image in (seen.cloudy, seen.sar))
    known = (optical & radar).to(bad.device)
    infinite = answer.isinf().any(dim=1, keepdim=True)
    lacking = int((bad & (known | infinite)).sum())
    if lacking and not known.all():
        lacking = int((bad & (~_near(~known) | infinite)).sum())
    if lacking:
        raise InputError(
            f"{who} NaN or infinity at {lacking:,} of {bad.numel():,} pixels where radar and optical image have data, "
            "expected a number for each of them; answer every pixel"
        )


def _near(gap: Bool[Tensor, "batch 1 h w"]) -> Bool[Tensor, "batch 1 h w"]:
    """Return the pixels within :data:`GAP_REACH_PX` of a gap."""
    side = 2 * GAP_REACH_PX + 1
    rows = F.max_pool2d(gap.float(), (side, 1), stride=1, padding=(GAP_REACH_PX, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, GAP_REACH_PX)) > 0


def require_reflectance(image: Tensor, who: str, observed: Tensor | None = None) -> None:
    """Refuse an image whose numbers are in another unit than TOA reflectance; what is not finite is passed over.

    Args:
        image: Any shape.
        who: Begins the message, such as ``"the target has"``.
        observed: Values that are believed wherever the image repeats them, such as those of a very bright cloud.

    Raises:
        InputError: A value is larger than :data:`IMPOSSIBLE`, or too many are outside of what pixels have.
    """
    if not image.numel():
        return
    known = image.detach().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(value) for value in known.aminmax())
    if low >= DARKEST and high <= BRIGHTEST:
        return
    if observed is not None:
        known = torch.where(image.detach() == observed.to(image.device), 0.0, known)
        low, high = (float(value) for value in known.aminmax())
    outside = ((known < DARKEST) | (known > BRIGHTEST)).double().mean().item()
    if max(-low, high) > IMPOSSIBLE or outside > IMPLAUSIBLE_SHARE:
        raise InputError(
            f"{who} values from {low:.4g} to {high:.4g}, {outside:.0%} of them outside {DARKEST:g} to {BRIGHTEST:g}, "
            "expected TOA reflectance, about 0 to 1; divide stored numbers by 10,000"
        )


def require_confidence(confidence: object, seen: Observation, by: str, place: str) -> Tensor:
    """Return the confidence that a remover has in its answer if it is a number from 0 to 1 for every pixel, or NaN.

    Raises:
        InputError: It has another shape or type, or other values.
    """
    expected = (seen.cloudy.shape[0], 1, *seen.cloudy.shape[-2:])
    if isinstance(confidence, Tensor) and tuple(confidence.shape) == expected and confidence.dtype.is_floating_point:
        if not ((confidence < 0) | (confidence > 1)).any():
            return confidence
        found = "values outside 0 to 1"
    else:
        found = f"{type(confidence).__name__} {_sides(getattr(confidence, 'shape', ()))}"
    raise InputError(
        f"{by} told a confidence for {place} with {found}, expected {_sides(expected)} numbers from 0 to 1; correct it"
    )

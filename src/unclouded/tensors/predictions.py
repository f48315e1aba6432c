"""Checks of predictions, from a remover or a file, before they are scored or written."""

import math

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from unclouded.errors import InputError
from unclouded.tensors.observation import Observation, finite_pixels

DARKEST, BRIGHTEST = -0.2, 2.0
"""Range that contains the TOA reflectance of real pixels; the brightest cloud of SEN12MS-CR has 1.7."""
IMPOSSIBLE = 20.0
"""Reflectance that no pixel reaches; stored numbers (reflectance x 10,000) almost always exceed it."""
IMPLAUSIBLE_SHARE = 0.02
"""Share of values outside :data:`DARKEST` to :data:`BRIGHTEST` above which an image must be in another unit."""
GAP_REACH_PX = 128
"""Distance around a gap of the input within which a prediction may have no data: radar features extend gaps."""


def require_prediction(
    prediction: object,
    seen: Observation,
    by: str,
    place: str,
    where: Bool[Tensor, "batch 1 h w"] | None = None,
    *,
    complete: bool = True,
) -> Tensor:
    """Return a prediction if it is a valid clear image for an observation.

    Args:
        prediction: Any value that a remover returned, or an image read from a file.
        seen: The observation in the bands of the prediction.
        by: Name of the remover, for the message.
        place: Name of the patch or window, for the message.
        where: Pixels that must be predicted; all if omitted.
        complete: Refuse pixels without prediction. A scene counts them and writes no data instead.

    Raises:
        InputError: The prediction is not a floating-point tensor with the bands, batch and size of ``seen``, lacks data
            where radar and optical image have data, or holds values that are not reflectance.
    """
    subject = f"{by} returned for {place}"
    if not isinstance(prediction, Tensor):
        raise InputError(
            f"{subject} a {type(prediction).__name__}, expected a torch.Tensor of TOA reflectance; convert it"
        )
    expected = tuple(seen.cloudy.shape)
    if tuple(prediction.shape) != expected:
        bands = " ".join(seen.bands)
        raise InputError(
            f"{subject} the shape {_sides(prediction.shape)}, expected {_sides(expected)} (batch x band x row x "
            f"column, bands {bands}); return every band of every pixel"
        )
    if not prediction.dtype.is_floating_point:
        raise InputError(f"{subject} {prediction.dtype}, expected floating-point TOA reflectance; convert it")
    if complete:
        _require_finite(prediction.detach(), seen, subject, where)
    require_reflectance(prediction, subject, observed=seen.cloudy)
    return prediction


def window_name(seen: Observation) -> str:
    """Return the name of a window of a scene, for messages."""
    row, column = seen.origin_px
    return f"the window at row {row}, column {column}"


def _sides(shape: "torch.Size | tuple[int, ...]") -> str:
    return " x ".join(map(str, shape)) or "of a single number"


def _require_finite(prediction: Tensor, seen: Observation, subject: str, where: Tensor | None) -> None:
    bad = ~finite_pixels(prediction)
    if where is not None:
        bad &= where.to(bad.device)
    if not bad.any():
        return
    optical, radar = finite_pixels(seen.cloudy), finite_pixels(seen.sar)
    known = (optical & radar).to(bad.device)
    infinite = prediction.isinf().any(dim=1, keepdim=True)
    lacking = int((bad & (known | infinite)).sum())
    if lacking and not known.all():
        lacking = int((bad & (~_near(~known) | infinite)).sum())
    if lacking:
        raise InputError(
            f"{subject} NaN or infinity at {lacking:,} of {bad.numel():,} pixels where radar and optical image have "
            "data, expected a number for each of them; predict every pixel"
        )


def _near(gap: Bool[Tensor, "batch 1 h w"]) -> Bool[Tensor, "batch 1 h w"]:
    """Return the pixels within :data:`GAP_REACH_PX` of a gap."""
    side = 2 * GAP_REACH_PX + 1
    rows = F.max_pool2d(gap.float(), (side, 1), stride=1, padding=(GAP_REACH_PX, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, GAP_REACH_PX)) > 0


def require_reflectance(image: Tensor, subject: str, observed: Tensor | None = None) -> None:
    """Check that an image is in TOA reflectance; values that are not finite are ignored.

    Args:
        image: Image of any shape.
        subject: Beginning of the message, such as ``"the target has"``.
        observed: Observed image; values that the prediction repeats, such as a very bright cloud, are accepted.

    Raises:
        InputError: A value exceeds :data:`IMPOSSIBLE`, or too many values are outside the range of real pixels.
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
            f"{subject} values from {low:.4g} to {high:.4g}, {outside:.0%} of them outside {DARKEST:g} to "
            f"{BRIGHTEST:g}, expected TOA reflectance, about 0 to 1; divide stored numbers by 10,000"
        )


def require_deviation(deviation: object, prediction: Tensor, by: str, place: str) -> Tensor:
    """Return the standard deviation of a prediction if it is 0 or more, or NaN, for every value.

    Args:
        deviation: Any value that a remover returned.
        prediction: Valid prediction.
        by: Name of the remover, for the message.
        place: Name of the patch or window, for the message.

    Raises:
        InputError: The deviation has another shape or type, or negative values.
    """
    return _require_values(
        deviation, tuple(prediction.shape), (0.0, math.inf), f"{by} returned for {place} a standard deviation"
    )


def require_confidence(confidence: object, seen: Observation, by: str, place: str) -> Tensor:
    """Return the confidence of a remover if it is a number from 0 to 1, or NaN, for every pixel.

    Args:
        confidence: Any value that a remover returned.
        seen: The observation.
        by: Name of the remover, for the message.
        place: Name of the patch or window, for the message.

    Raises:
        InputError: The confidence has another shape, type or range.
    """
    shape = (seen.cloudy.shape[0], 1, *seen.cloudy.shape[-2:])
    return _require_values(confidence, shape, (0.0, 1.0), f"{by} returned for {place} a confidence")


def _require_values(values: object, shape: tuple[int, ...], limits: tuple[float, float], subject: str) -> Tensor:
    """Return values of a shape between limits, or NaN."""
    low, high = limits
    if isinstance(values, Tensor) and tuple(values.shape) == shape and values.dtype.is_floating_point:
        if not ((values < low) | (values > high)).any():
            return values
        found = "negative values" if math.isinf(high) else f"values outside {low:g} to {high:g}"
    else:
        found = f"{type(values).__name__} {_sides(getattr(values, 'shape', ()))}"
    numbers = "of 0 or more" if math.isinf(high) else f"from {low:g} to {high:g}"
    raise InputError(f"{subject} with {found}, expected {_sides(shape)} numbers {numbers}; correct it")

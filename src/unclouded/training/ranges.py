"""Whether patches lie where the networks expect them: radar in dB, optics in reflectance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.models.scaling import Scaling
from unclouded.tensors.triplet import Triplet

MOST = 0.9
"""Share of pixels beyond a clip from which on the values are taken to be in another unit."""
BLACK = 0.001
"""Reflectance below which hardly a pixel lies; one that was stored without the factor 10 000 does."""


def require_ranges(triplets: Sequence[Triplet], scaling: Scaling) -> None:
    """Refuse patches nearly all of whose pixels the scaling would clip away.

    Args:
        triplets: Some patches, judged together: one of them may well be all water or all cloud.
        scaling: To network values.

    Raises:
        InputError: Says what was found, and which unit that looks like.
    """
    radar = torch.cat([one.observation.sar.flatten(2).flatten(0, 1).T for one in triplets])
    clear = torch.cat([one.clear.flatten() for one in triplets])
    for band, values, (low, high) in (("VV", radar[:, 0], scaling.vv_db), ("VH", radar[:, 1], scaling.vh_db)):
        if _share(values >= high) > MOST:
            _refuse(f"radar {band}", values, f"dB between {low:g} and {high:g}; linear power? take 10 log10 first")
        if _share(values <= low) > MOST:
            _refuse(
                f"radar {band}", values, f"dB between {low:g} and {high:g}; dB x 10 or noise? or set network.scaling"
            )
    low, high = scaling.toa_reflectance
    if _share(clear >= high) > MOST:
        _refuse("the clear images", clear, f"reflectance between {low:g} and {high:g}; another factor than 10 000?")
    if _share(clear <= BLACK) > MOST:
        _refuse("the clear images", clear, "reflectance; stored without the factor 10 000, or in 8 bits?")


def _share(where: Tensor) -> float:
    return float(where.float().mean())


def _refuse(what: str, values: Tensor, expected: str) -> None:
    low, middle, high = (float(value) for value in torch.quantile(_thinned(values), torch.tensor([0.05, 0.5, 0.95])))
    raise InputError(
        f"{what} of the first patches: 90 % of the values lie between {low:.4g} and {high:.4g}, median {middle:.4g};"
        f" expected {expected}"
    )


def _thinned(values: Tensor, most: int = 100_000) -> Tensor:
    """Take at most so many values: torch.quantile takes no more than 16 million."""
    return values[:: max(1, len(values) // most)]

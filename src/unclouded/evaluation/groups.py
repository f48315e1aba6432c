"""Patches that belong together: by cloud coverage, season, region and brightness."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from unclouded.evaluation.scores import AREAS, PatchScores, mean_scores

UNKNOWN = "unknown"
"""Group of the patches whose name tells no region."""
BRIGHTNESS_EDGES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 1.0)
"""Bins of the clear image's mean reflectance: water and forest below 0.05, bright soil above 0.2, snow above 0.3."""


def means(patches: Iterable[PatchScores]) -> dict[str, Any]:
    """Return the mean of each metric in each area."""
    held = tuple(patches)
    return {area: mean_scores(held, area) for area in AREAS}


def by_coverage(patches: Iterable[PatchScores]) -> list[dict[str, Any]]:
    """Return means in ten bins of coverage, each from its lower edge to below its upper one; the last has 1, too."""
    return _binned([(patch.coverage, patch) for patch in patches], tuple(tenth / 10 for tenth in range(11)))


def by_brightness(patches: Iterable[PatchScores]) -> list[dict[str, Any]]:
    """Return means in the bins of :data:`BRIGHTNESS_EDGES`."""
    return _binned([(patch.brightness, patch) for patch in patches], BRIGHTNESS_EDGES)


def by_season(patches: Iterable[PatchScores]) -> dict[str, Any]:
    """Return means by season."""
    return _grouped((patch.season, patch) for patch in patches)


def by_region(patches: Iterable[PatchScores]) -> dict[str, Any]:
    """Return means by region."""
    return _grouped((patch.region, patch) for patch in patches)


def _grouped(labelled: Iterable[tuple[str, PatchScores]]) -> dict[str, Any]:
    groups: dict[str, list[PatchScores]] = defaultdict(list)
    for label, patch in labelled:
        groups[label or UNKNOWN].append(patch)
    return {label: {"n": len(groups[label]), **means(groups[label])} for label in sorted(groups)}


def _binned(measured: list[tuple[float, PatchScores]], edges: tuple[float, ...]) -> list[dict[str, Any]]:
    bins = []
    for low, high in pairwise(edges):
        inside = [p for value, p in measured if low <= value < high or value == high == edges[-1]]
        bins.append({"from": low, "to": high, "n": len(inside), **means(inside)})
    return bins

"""Judge predictions patch by patch, over all, cloudy and clear pixels apart, and say what was judged."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import metrics
from unclouded.patches.reading import DamagedTriplet
from unclouded.patches.roi import region_of
from unclouded.sensors import RGB
from unclouded.tensors.answers import require_answer
from unclouded.tensors.observation import Triplet, positions

DEFINITION = "unclouded-scores-1"
"""Version of all that this module and :mod:`unclouded.evaluation.metrics` define; two versions do not compare."""

METRICS = ("mae", "rmse", "psnr", "ssim", "sam", "sam_global")
"""Reflectance, reflectance, dB, none, degrees, radians; each is defined in :mod:`unclouded.evaluation.metrics`."""

Area = Literal["all", "cloudy", "clear"]

AREAS: tuple[Area, ...] = ("all", "cloudy", "clear")
"""Every pixel, those with m > 0, and those with m = 0."""

ClearPixels = Literal["kept", "network"]
"""Where m = 0 the judged image is the observed one (``kept``), or what the remover says (``network``)."""


@dataclass(frozen=True)
class PatchScores:
    """What one prediction is worth.

    Attributes:
        name: Name of the patch.
        coverage: Mean of the cloud map m over the patch.
        pixels: Area to the number of pixels judged: those that have data in every band of both images.
        values: Area to metric to value; NaN in an area without pixels.
        brightness: Mean of red, green and blue of the clear image, clipped to [0, 1]; of all its bands where it lacks
            one of the three. NaN without data.
        sha256: Of the judged prediction: its shape and its values as float32, before they are clipped.
        region: Name of the region; empty where it is unknown.
    """

    name: str
    coverage: float
    pixels: Mapping[Area, int]
    values: Mapping[Area, Mapping[str, float]]
    brightness: float = math.nan
    sha256: str = ""
    region: str = ""

    @property
    def season(self) -> str:
        """Season of the region; empty where it is unknown."""
        return self.region.split("_")[1] if self.region else ""


@dataclass(frozen=True)
class Provenance:
    """Who was judged on what, for whoever reads the scores later.

    Attributes:
        remover: Name of the network, baseline or foreign method.
        split: Name of the part of the data set.
        weights_sha256: Of the network's weights file; empty for baselines and foreign methods.
        predictions: Folder that the predictions were read from, and the unit found there; empty for removers.
        missing: Patches of the split without a prediction, which were not judged.
        software: Name and version of the software that judged.
        training_overlap: Evaluated regions that the network was trained on, from its weights file; None if unknown.
        trained_map: Cloud map that the network was trained with, as JSON values; None where it is not known.
    """

    remover: str
    split: str
    weights_sha256: str = ""
    predictions: str = ""
    missing: tuple[str, ...] = ()
    software: str = ""
    training_overlap: tuple[str, ...] | None = None
    trained_map: Mapping[str, Any] | None = None


# What a number is a number of: a card lies beside every result, and results with different cards do not compare.


EvaluationProtocol = Mapping[str, Any]
"""Names to JSON values: everything that decides about a number but the images themselves."""


@dataclass(frozen=True)
class Scores:
    """What a remover is worth on a data set.

    Attributes:
        bands: Optical bands that were judged.
        clear_pixels: What stands where m = 0.
        patches: Scores of each patch, in the order judged.
        clouds: Settings of the cloud map, as JSON values; None where they were not told.
        synthetic: Settings of the painted clouds; None for photographed ones.
        provenance: Who was judged on what; None where it was not told.
        precision_recall: Improved precision and recall with their protocol, as JSON values; None if not computed.
        extras: Further scores by name, each with its card, as JSON values; None where none was asked for.
        skipped: Patches that were not judged because files of theirs are damaged or missing.
    """

    bands: tuple[str, ...]
    clear_pixels: ClearPixels
    patches: tuple[PatchScores, ...]
    clouds: Mapping[str, Any] | None = None
    synthetic: Mapping[str, Any] | None = None
    provenance: Provenance | None = None
    precision_recall: Mapping[str, Any] | None = None
    extras: Mapping[str, Any] | None = None
    skipped: tuple[DamagedTriplet, ...] = ()

    @property
    def protocol(self) -> EvaluationProtocol:
        """All that decides about the numbers but the remover and the patches; different cards do not compare."""
        return {
            "definition": DEFINITION,
            "bands": list(self.bands),
            "clear_pixels": self.clear_pixels,
            "clouds": self.clouds,
            "synthetic": self.synthetic,
        }

    @property
    def predictions_sha256(self) -> str:
        """Hash of all judged predictions, in the order of their names."""
        return _hash_of_lines(f"{patch.name} {patch.sha256}" for patch in self.patches)

    @property
    def split_sha256(self) -> str:
        """Hash of the names of the judged patches, sorted."""
        return _hash_of_lines(patch.name for patch in self.patches)

    def mean(self, area: Area) -> dict[str, float]:
        """Return the mean of each metric over the patches with pixels in an area; see :func:`mean_scores`."""
        return mean_scores(self.patches, area)


def mean_scores(patches: Iterable[PatchScores], area: Area) -> dict[str, float]:
    """Return the mean of each metric over the patches that have pixels in an area, and how many patches it is of.

    ``n`` counts these patches. The PSNR of an exact prediction is infinite: its mean is that of the ``psnr_n`` patches
    with a finite one, and ``psnr_exact`` counts the others. An SSIM is undefined where all pixels of an area are within
    5 px of the border: its mean is that of ``ssim_n`` patches. A mean of no patch is NaN.
    """
    defined = [patch.values[area] for patch in patches if patch.pixels[area] > 0]
    means = {name: _mean_of_finite(values[name] for values in defined) for name in METRICS}
    counts = {
        "n": len(defined),
        "psnr_n": sum(math.isfinite(values["psnr"]) for values in defined),
        "psnr_exact": sum(math.isinf(values["psnr"]) for values in defined),
        "ssim_n": sum(math.isfinite(values["ssim"]) for values in defined),
    }
    return means | counts


def _hash_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def score_patches(judged: Iterable[tuple[Triplet, Tensor]], clear_pixels: ClearPixels) -> Scores:
    """Judge predictions against the clear images of their triplets, one after the other.

    Prediction and target are clipped to [0, 1] first, as in section III-B.1 of the paper; pixels where the target is
    not finite have no data and enter no metric.

    Args:
        judged: A triplet (a batch of one) and the predicted TOA reflectance of its bands.
        clear_pixels: What the predictions show where m = 0; written with the scores, for it decides about them.

    Raises:
        InputError: There is nothing to judge, or a prediction is no clear image of its observation.
    """
    patches: dict[str, PatchScores] = {}
    bands: tuple[str, ...] = ()
    for triplet, prediction in judged:
        if patches and triplet.observation.bands != bands:
            raise ValueError(f"{triplet.name} shows {triplet.observation.bands}, those before it {bands}")
        if triplet.name in patches:
            raise ValueError(f"two patches are called {triplet.name}")
        bands = triplet.observation.bands
        patches[triplet.name] = score_patch(triplet, prediction)
    if not patches:
        raise InputError("expected at least one patch to judge, found none; check the data set and the split")
    return Scores(bands, clear_pixels, tuple(patches.values()))


def score_patch(triplet: Triplet, prediction: Tensor) -> PatchScores:
    """Judge one prediction; see :func:`score_patches`.

    Raises:
        InputError: The target or the prediction has other bands or another size than the observation, or the prediction
            lacks values where the images have data.
    """
    expected = triplet.observation.cloudy.shape
    if triplet.clear.shape != expected or len(expected) != 4 or expected[0] != 1:
        raise InputError(
            f"{triplet.name} has a target of the shape {tuple(triplet.clear.shape)} and an observation of "
            f"{tuple(expected)}, expected one shape of (1, band, row, column)"
        )
    has_target = triplet.clear.isfinite().all(dim=1, keepdim=True)
    require_answer(prediction, triplet.observation, "the prediction", triplet.name, has_target)
    x, y = _judged_values(prediction), _judged_values(triplet.clear)
    similarity = metrics.structural_similarity_map(x, y)
    has_data = (x + y).isfinite().all(dim=1, keepdim=True)
    cloud_map = triplet.observation.cloud_map
    known = cloud_map[~cloud_map.isnan()] if cloud_map.isnan().any() else cloud_map
    where = {"all": has_data, "cloudy": has_data & (cloud_map > 0), "clear": has_data & (cloud_map == 0)}
    return PatchScores(
        triplet.name,
        known.double().mean().item(),
        {area: int(where[area].sum()) for area in AREAS},
        {area: _measure(x, y, similarity, where[area]) for area in AREAS},
        _brightness(y, triplet.observation.bands),
        _hash_of_image(prediction),
        region_of(triplet.name),
    )


def _brightness(clear: Float[Tensor, "1 band h w"], bands: tuple[str, ...]) -> float:
    shown = positions(RGB, bands) if set(RGB) <= set(bands) else list(range(len(bands)))
    return clear[:, shown].double().nanmean().item()


def _hash_of_image(image: Float[Tensor, "1 band h w"]) -> str:
    content = hashlib.sha256(f"{tuple(image.shape)}\n".encode())
    content.update(image.detach().cpu().float().contiguous().numpy().data)
    return content.hexdigest()


def _judged_values(image: Float[Tensor, "1 band h w"]) -> Float[Tensor, "1 band h w"]:
    return torch.where(image.isfinite(), image.clamp(0.0, 1.0), math.nan)


def _measure(
    x: Float[Tensor, "1 band h w"],
    y: Float[Tensor, "1 band h w"],
    similarity: Float[Tensor, "1 band inner_h inner_w"],
    where: Bool[Tensor, "1 1 h w"],
) -> dict[str, float]:
    measured = (
        metrics.mean_absolute_error(x, y, where),
        metrics.root_mean_square_error(x, y, where),
        metrics.peak_signal_to_noise_ratio_db(x, y, where),
        metrics.mean_similarity(similarity, where),
        metrics.spectral_angle_deg(x, y, where),
        metrics.spectral_angle_global_rad(x, y, where),
    )
    return {name: value.item() for name, value in zip(METRICS, measured, strict=True)}


def _mean_of_finite(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


# Patches that belong together: by cloud coverage, season, region and brightness.


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


def differences(first: EvaluationProtocol, second: EvaluationProtocol) -> list[str]:
    """Return where two cards differ, one sentence an entry, in the order of their names."""
    return [
        f"{key} is {_shown(first, second, key)} in one and {_shown(second, first, key)} in the other"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key) or (key in first) != (key in second)
    ]


def require_same(protocols: Mapping[str, EvaluationProtocol]) -> None:
    """Refuse results that do not compare.

    Args:
        protocols: Name of a result to its card.

    Raises:
        InputError: Two cards differ; names the results and the first difference.
    """
    (first, reference), *others = protocols.items() if protocols else [("", {})]
    for name, protocol in others:
        if found := differences(reference, protocol):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            raise InputError(f"{first} and {name} do not compare: {found[0]}{more}; evaluate both in the same way")


def _narrowed(value: Any, other: Any) -> Any:
    """Return a value that differs from another one; of two mappings only the entries that differ."""
    if not (isinstance(value, Mapping) and isinstance(other, Mapping)):
        return value
    return {key: _narrowed(one, other.get(key)) for key, one in value.items() if key not in other or one != other[key]}


def _shown(protocol: EvaluationProtocol, other: EvaluationProtocol, key: str) -> str:
    text = json.dumps(_narrowed(protocol[key], other.get(key)), ensure_ascii=False) if key in protocol else "absent"
    return text if len(text) <= 120 else f"{text[:120]}..."

"""Scores of predictions: metrics of every patch over all, cloudy and clear pixels, with the evaluation protocol.

:func:`score_patches` compares predictions with the clear images of their triplets and returns :class:`Scores`, from
which means are taken over all patches or by cloud coverage, season, region and brightness. The protocol holds
everything a number depends on except the images; results with different protocols are not comparable.
"""

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
from unclouded.tensors.observation import Triplet, positions
from unclouded.tensors.predictions import require_prediction

DEFINITION = "unclouded-scores-1"
"""Version of all that this module and :mod:`unclouded.evaluation.metrics` define; two versions do not compare."""

METRICS = ("mae", "rmse", "psnr", "ssim", "sam", "sam_global")
"""Units: reflectance, reflectance, dB, none, degrees, radians; defined in :mod:`unclouded.evaluation.metrics`."""

Area = Literal["all", "cloudy", "clear"]

AREAS: tuple[Area, ...] = ("all", "cloudy", "clear")
"""Every pixel, those with m > 0, and those with m = 0."""

ClearPixels = Literal["kept", "network"]
"""Evaluated image where m = 0: the observation (``kept``), or the output of the remover (``network``)."""


@dataclass(frozen=True)
class PatchScores:
    """Metrics of one prediction.

    Attributes:
        name: Patch name.
        coverage: Mean of the cloud map m over the patch.
        pixels: Number of evaluated pixels by area: those with data in every band of both images.
        values: Metrics by area; NaN in an area without pixels.
        brightness: Mean of red, green and blue of the clear image, clipped to [0, 1]; of all its bands where it lacks
            one of the three. NaN without data.
        sha256: SHA-256 of the prediction: its shape and its float32 values before clipping.
        region: Region name; empty if unknown.
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
        """Season of the region; empty if unknown."""
        return self.region.split("_")[1] if self.region else ""


@dataclass(frozen=True)
class Provenance:
    """Origin of scores: remover, data, software.

    Attributes:
        remover: Name of the network, baseline or external method.
        split: Name of the split.
        weights_sha256: SHA-256 of the weights file; empty for baselines and external methods.
        predictions: Folder and unit of external predictions; empty for removers.
        missing: Patches of the split without a prediction, which were not evaluated.
        software: Name and version of the evaluating software.
        training_overlap: Evaluated regions that the network was trained on, from its weights file; None if unknown.
        trained_map: Cloud map that the network was trained with, as JSON values; None if unknown.
    """

    remover: str
    split: str
    weights_sha256: str = ""
    predictions: str = ""
    missing: tuple[str, ...] = ()
    software: str = ""
    training_overlap: tuple[str, ...] | None = None
    trained_map: Mapping[str, Any] | None = None


# The evaluation protocol is stored with every result; results with different protocols are not comparable.


EvaluationProtocol = Mapping[str, Any]
"""JSON values by name: everything that a score depends on except the images."""


@dataclass(frozen=True)
class Scores:
    """Scores of a remover on a data set.

    Attributes:
        bands: Evaluated optical bands.
        clear_pixels: Evaluated image where m = 0.
        patches: Scores of each patch, in the order of evaluation.
        clouds: Settings of the cloud map, as JSON values; None if unknown.
        synthetic: Settings of the synthetic clouds; None for observed clouds.
        provenance: Origin of the scores; None if unknown.
        precision_recall: Improved precision and recall with their protocol, as JSON values; None if not computed.
        extras: Further scores by name, each with its protocol, as JSON values; None if not requested.
        skipped: Patches that were not evaluated because files are damaged or missing.
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
        """Everything the numbers depend on except the remover and the patches."""
        return {
            "definition": DEFINITION,
            "bands": list(self.bands),
            "clear_pixels": self.clear_pixels,
            "clouds": self.clouds,
            "synthetic": self.synthetic,
        }

    @property
    def predictions_sha256(self) -> str:
        """SHA-256 over the hashes of all predictions, sorted by patch name."""
        return _hash_of_lines(f"{patch.name} {patch.sha256}" for patch in self.patches)

    @property
    def split_sha256(self) -> str:
        """SHA-256 over the sorted names of the evaluated patches."""
        return _hash_of_lines(patch.name for patch in self.patches)

    def mean(self, area: Area) -> dict[str, float]:
        """Return the mean of each metric over the patches that have pixels in an area; see :func:`mean_scores`."""
        return mean_scores(self.patches, area)


def mean_scores(patches: Iterable[PatchScores], area: Area) -> dict[str, float]:
    """Return the mean of each metric over the patches that have pixels in an area, with the number of patches.

    ``n`` counts these patches. The PSNR of an exact prediction is infinite: the mean is over the ``psnr_n`` patches
    with a finite PSNR, and ``psnr_exact`` counts the others. SSIM is undefined if all pixels of an area are within
    5 px of the border: the mean is over ``ssim_n`` patches. The mean over no patch is NaN.
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


def score_patches(pairs: Iterable[tuple[Triplet, Tensor]], clear_pixels: ClearPixels) -> Scores:
    """Score predictions against the clear images of their triplets.

    Prediction and target are first clipped to [0, 1], as in section III-B.1 of the paper; pixels whose target is not
    finite have no data and enter no metric.

    Args:
        pairs: Triplets (batches of one), each with the predicted TOA reflectance of its bands.
        clear_pixels: Content of the predictions where m = 0; part of the protocol.

    Raises:
        InputError: There are no patches, or a prediction is not a clear image of its observation.
    """
    patches: dict[str, PatchScores] = {}
    bands: tuple[str, ...] = ()
    for triplet, prediction in pairs:
        if patches and triplet.observation.bands != bands:
            raise ValueError(f"{triplet.name} shows {triplet.observation.bands}, those before it {bands}")
        if triplet.name in patches:
            raise ValueError(f"two patches are called {triplet.name}")
        bands = triplet.observation.bands
        patches[triplet.name] = score_patch(triplet, prediction)
    if not patches:
        raise InputError("expected at least one patch to evaluate, found none; check the data set and the split")
    return Scores(bands, clear_pixels, tuple(patches.values()))


def score_patch(triplet: Triplet, prediction: Tensor) -> PatchScores:
    """Score one prediction; see :func:`score_patches`.

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
    require_prediction(prediction, triplet.observation, "the prediction", triplet.name, has_target)
    x, y = _clipped(prediction), _clipped(triplet.clear)
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


def _clipped(image: Float[Tensor, "1 band h w"]) -> Float[Tensor, "1 band h w"]:
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


# Means by cloud coverage, season, region and brightness.


UNKNOWN = "unknown"
"""Group of the patches whose name contains no region."""

BRIGHTNESS_EDGES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 1.0)
"""Bins of the clear image's mean reflectance: water and forest below 0.05, bright soil above 0.2, snow above 0.3."""


def means(patches: Iterable[PatchScores]) -> dict[str, Any]:
    """Return the mean of each metric in each area."""
    patches = tuple(patches)
    return {area: mean_scores(patches, area) for area in AREAS}


def by_coverage(patches: Iterable[PatchScores]) -> list[dict[str, Any]]:
    """Return means in ten bins of coverage, lower edge included, upper edge excluded; the last includes 1."""
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
    """Return the differences between two protocols, one sentence per entry, sorted by name."""
    return [
        f"{key} is {_shown(first, second, key)} in one and {_shown(second, first, key)} in the other"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key) or (key in first) != (key in second)
    ]


def require_same(protocols: Mapping[str, EvaluationProtocol]) -> None:
    """Raise if results are not comparable.

    Args:
        protocols: Evaluation protocol by name of the result.

    Raises:
        InputError: Two protocols differ; names the results and the first difference.
    """
    (first, reference), *others = protocols.items() if protocols else [("", {})]
    for name, protocol in others:
        if found := differences(reference, protocol):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            how = ", with the same --clouds and --detector" if found[0].startswith("clouds ") else ""
            raise InputError(f"{first} and {name} do not compare: {found[0]}{more}; evaluate both in the same way{how}")


def _narrowed(value: Any, other: Any) -> Any:
    """Return a value that differs from another one; of two mappings only the entries that differ."""
    if not (isinstance(value, Mapping) and isinstance(other, Mapping)):
        return value
    return {key: _narrowed(one, other.get(key)) for key, one in value.items() if key not in other or one != other[key]}


def _shown(protocol: EvaluationProtocol, other: EvaluationProtocol, key: str) -> str:
    text = json.dumps(_narrowed(protocol[key], other.get(key)), ensure_ascii=False) if key in protocol else "absent"
    return text if len(text) <= 120 else f"{text[:120]}..."

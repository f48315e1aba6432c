"""From the runs of a row to its scores: every fold tests the patches that it has not seen, all in one file."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.errors import InputError
from unclouded.evaluation.features import FeatureExtractor, FeatureSettings, Manifolds
from unclouded.evaluation.record import load_scores, write_scores
from unclouded.evaluation.scores import Provenance, Scores, score_patches
from unclouded.experiments.rows import Clouds, Row, SizeSettings, Target
from unclouded.experiments.runs import Part
from unclouded.files import sha256
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, FunctionRemover
from unclouded.models.weights import load_remover
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable
from unclouded.prediction.judging import judged
from unclouded.sensors import RGB
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.triplet import Observation, Triplet


def without_map(remover: CloudRemover) -> CloudRemover:
    """Show a remover m = 1 everywhere, as in its training: the ablation of section III-B.3."""

    def answer(observation: Observation) -> Float[Tensor, "batch band h w"]:
        return remover(replace(observation, cloud_map=torch.ones_like(observation.cloud_map)))

    return FunctionRemover(remover.name, remover.bands, answer)


def feature_settings(size: SizeSettings) -> FeatureSettings:
    """Return how images become features at a size."""
    return FeatureSettings(layer=size.manifold.layer, side_px=size.manifold.side_px)


def score_row(
    row: Row,
    clouds: Clouds,
    parts: Sequence[Part],
    size: SizeSettings,
    extractor: FeatureExtractor,
    damaged: Damaged = "refuse",
) -> Scores:
    """Judge what a row predicts for every patch of its tests, by the map of the clouds it is tested on.

    Pixels with m = 0 are judged as the network says them, as in the paper.

    Args:
        row: Network or baseline.
        clouds: Photographed, or painted as in its training.
        parts: Its trainings with their tests.
        size: Regions of patches whose names do not tell, and k.
        extractor: Of the features for precision and recall.
        damaged: What to do about damaged patches; those that are skipped are listed in the scores.

    Raises:
        InputError: A patch is damaged, or k does not fit the number of patches.
    """
    manifolds = Manifolds(extractor, size.manifold.k, sum(len(part.test) for part in parts))
    skipped: list[DamagedTriplet] = []
    scores = score_patches(manifolds.watch(_pairs(row, clouds, parts, damaged, skipped)), "network")
    synthetic = row.trained.synthetic if clouds == "synthetic" else None
    measured = manifolds.measure().to_json()
    measured["card"] |= {"target": row.settings.target}
    return replace(
        scores,
        patches=tuple(replace(one, region=one.region or size.regions.get(one.name, "")) for one in scores.patches),
        clouds=_map_of(row).model_dump(mode="json"),
        synthetic=synthetic.model_dump(mode="json") if synthetic else None,
        provenance=Provenance(row.settings.label, "test", weights_hash(row, parts)),
        manifold=measured,
        skipped=tuple(skipped),
    )


def _pairs(
    row: Row, clouds: Clouds, parts: Sequence[Part], damaged: Damaged, skipped: list[DamagedTriplet]
) -> Iterator[tuple[Triplet, Tensor]]:
    for part in parts:
        remover = _remover(row, part)
        synthetic = row.trained.synthetic if clouds == "synthetic" else None
        data = TripletDataset(part.test, remover.bands, _map_of(row), ProbabilityCache(), synthetic=synthetic)
        triplets = each_readable(data.names, data.__getitem__, damaged, skipped)
        yield from judged(remover, _targets(triplets, row.settings.target), keep_clear=False)


def _map_of(row: Row) -> CloudMapSettings:
    """Return the map of a row's training; the ablation, which is shown m = 1, is judged by the paper's map."""
    return PAPER if row.trained.clouds.mode == "ones" else row.trained.clouds


def _remover(row: Row, part: Part) -> CloudRemover:
    if row.settings.remover is not None:
        return baseline(row.settings.remover, RGB)
    remover = load_remover(part.run.weights)
    return without_map(remover) if row.trained.clouds.mode == "ones" else remover


def _targets(data: Iterable[Triplet], target: Target) -> Iterator[Triplet]:
    for triplet in data:
        if target == "rgb":
            yield triplet
        else:
            yield replace(triplet, clear=triplet.clear.mean(dim=1, keepdim=True).expand_as(triplet.clear))


def weights_hash(row: Row, parts: Sequence[Part]) -> str:
    """Return the hash of a row's weights, that of all folds' hashes where there are several; empty for a baseline."""
    if row.settings.remover is not None:
        return ""
    return _joined([sha256(part.run.weights) for part in parts])


def _joined(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def scores_path(row: Row, clouds: Clouds, runs: Path) -> Path:
    """Return where the scores of a row lie in the folder of a size's runs."""
    return runs / row.path / f"scores_{clouds}.json"


def write_row_scores(path: Path, scores: Scores) -> None:
    """Write a row's scores; the regions of its intervals are drawn with a fixed seed."""
    write_scores(path, scores, np.random.default_rng(0))


def read_row_scores(path: Path, row: Row, runs: Path) -> Scores | None:
    """Read a row's scores; None if there are none.

    Raises:
        InputError: They are of other weights than those that lie beside them.
    """
    if not path.is_file():
        return None
    scores = load_scores(path)
    held = [sha256(one) for one in (runs / row.path).glob("*/weights.safetensors")]
    told = scores.provenance.weights_sha256 if scores.provenance else ""
    if held and told != _joined(held):
        raise InputError(f"{path} judges other weights than those beside it; delete it and run again with --train")
    return scores

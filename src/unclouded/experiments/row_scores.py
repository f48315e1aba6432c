"""Scores of a row of a table: every fold is tested on its held-out patches, and all scores go into one file.

An evaluation writes its results as they come, a chunk of patches at a time (:class:`_Chunks`); an interrupted one
continues with the patches that are missing. :func:`score_row` joins the chunks, and precision and recall follow from
the features that they hold.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.errors import InputError
from unclouded.evaluation.features import FeatureExtractor, FeatureSettings, PrecisionRecallMeter
from unclouded.evaluation.results_io import load_scores, write_scores
from unclouded.evaluation.scores import DEFINITION, PatchScores, Provenance, Scores, score_patch
from unclouded.experiments.rows import Clouds, Row, SizeSettings, Target
from unclouded.experiments.runs import Part
from unclouded.files import decoding, sha256, whole_file
from unclouded.models.baselines import baseline
from unclouded.models.loading import load_remover
from unclouded.models.remover import CloudRemover
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import Damaged, DamagedTriplet
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import RGB
from unclouded.strict_json import parse_json
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Triplet

CHUNK = 32
"""Patches whose results are written together."""


@dataclass(frozen=True)
class EvaluationDevice:
    """Device of an evaluation.

    Attributes:
        name: Torch device.
        batch: Patches that a network predicts together.
        workers: Threads that read patches; 0 reads in turn.
    """

    name: str = "cpu"
    batch: int = 1
    workers: int = 0


@dataclass(frozen=True, eq=False)
class _Measured:
    """Result of a patch: its scores and features (None if it has pixels without data)."""

    scores: PatchScores
    features: tuple[Tensor, Tensor] | None


def feature_settings(size: SizeSettings) -> FeatureSettings:
    """Return the settings of the image features at a size."""
    return FeatureSettings(layer=size.precision_recall.layer, side_px=size.precision_recall.side_px)


def score_row(
    row: Row,
    clouds: Clouds,
    parts: Sequence[Part],
    size: SizeSettings,
    extractor: FeatureExtractor,
    damaged: Damaged = "refuse",
    *,
    folder: Path,
    device: EvaluationDevice | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Scores:
    """Evaluate the predictions of a row for every test patch, with the map of the clouds it is tested on.

    Pixels with m = 0 are evaluated as predicted by the network, as in the paper.

    Args:
        row: Network or baseline.
        clouds: Observed clouds, or synthetic ones as in its training.
        parts: Its trainings with their tests.
        size: Settings of the size: k, and regions of patches whose names lack them.
        extractor: Extractor of the features for precision and recall.
        damaged: Treatment of damaged patches; skipped ones are listed in the scores.
        folder: Folder of the chunks; results of the same evaluation in it are not computed again.
        device: Device, size of batches and number of threads.
        on_progress: Called with (stage, completed, total).

    Raises:
        InputError: A patch is damaged, or k does not fit the number of patches.
    """
    expected = sum(len(part.test) for part in parts)
    settings = size.precision_recall
    meter = PrecisionRecallMeter(extractor, settings.k, expected, settings.include_self)
    chunks = _Chunks(row, clouds, extractor, damaged, folder, device or EvaluationDevice())
    measured: list[_Measured] = []
    skipped: list[DamagedTriplet] = []
    done = 0
    for part in parts:
        for number, files in enumerate(_chunked(part.test)):
            found, damage = chunks.measure(part, number, files)
            measured += found
            skipped += damage
            done += len(files)
            on_progress(f"evaluating {row.key}", done, expected)
    if not measured:
        raise InputError(f"no test patch of {row.table}/{row.key} can be read; first {skipped[0]}")
    for one in measured:
        meter.add(one.scores.name, one.features)
    synthetic = row.trained.synthetic if clouds == "synthetic" else None
    precision_recall = meter.measure().to_json()
    precision_recall["protocol"] |= {"target": row.settings.target}
    patches = (one.scores for one in measured)
    return Scores(
        RGB if row.settings.remover is not None else parts[0].settings.network.bands,
        "network",
        tuple(replace(one, region=one.region or size.regions.get(one.name, "")) for one in patches),
        clouds=_map_of(row).model_dump(mode="json"),
        synthetic=synthetic.model_dump(mode="json") if synthetic else None,
        provenance=Provenance(row.settings.label, "test", weights_hash(row, parts)),
        precision_recall=precision_recall,
        skipped=tuple(skipped),
    )


def _chunked(files: Sequence[TripletFiles]) -> Iterator[Sequence[TripletFiles]]:
    for start in range(0, len(files), CHUNK):
        yield files[start : start + CHUNK]


@dataclass(frozen=True)
class _Chunks:
    """Results of an evaluation, in files of up to :data:`CHUNK` patches that are written as they are measured."""

    row: Row
    clouds: Clouds
    extractor: FeatureExtractor
    damaged: Damaged
    folder: Path
    device: EvaluationDevice

    def measure(
        self, part: Part, number: int, files: Sequence[TripletFiles]
    ) -> tuple[list[_Measured], list[DamagedTriplet]]:
        """Return the results of a chunk of a part, and its damaged patches; from its file where that is of today."""
        path = self.folder / f"{part.run.path.name}_{number:05d}.safetensors"
        key = self._key(part, files)
        if path.is_file() and (known := _read_chunk(path, key)) is not None:
            return known
        skipped: list[DamagedTriplet] = []
        triplets = self._readable(part, files, skipped)
        pairs = evaluate_remover(
            self._remover(part),
            _targets(triplets, self.row.settings.target),
            keep_clear=False,
            device=self.device.name,
            batch=self.device.batch,
        )
        measured = [_Measured(score_patch(one, image), self.extractor.pair(one, image)) for one, image in pairs]
        _write_chunk(path, key, measured, skipped)
        return measured, skipped

    def _key(self, part: Part, files: Sequence[TripletFiles]) -> str:
        """Return the hash of everything that determines a chunk, except the pixels of its patches."""
        synthetic = self.row.trained.synthetic if self.clouds == "synthetic" else None
        content = {
            "definition": DEFINITION,
            "remover": self.row.settings.remover or sha256(part.run.weights),
            "target": self.row.settings.target,
            "clouds": _map_of(self.row).model_dump(mode="json"),
            "synthetic": synthetic.model_dump(mode="json") if synthetic else None,
            "features": dict(self.extractor.protocol),
            "patches": [one.name for one in files],
            "damaged": self.damaged,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _readable(self, part: Part, files: Sequence[TripletFiles], skipped: list[DamagedTriplet]) -> Iterator[Triplet]:
        synthetic = self.row.trained.synthetic if self.clouds == "synthetic" else None
        bands = RGB if self.row.settings.remover is not None else part.settings.network.bands
        data = TripletDataset(tuple(files), bands, _map_of(self.row), ProbabilityCache(), synthetic=synthetic)

        def read(index: int) -> Triplet | InputError:
            try:
                return data[index]
            except InputError as error:
                return error

        with ThreadPoolExecutor(max(1, self.device.workers)) as readers:
            found: Iterable[Triplet | InputError] = map(read, range(len(data)))
            if self.device.workers:
                found = readers.map(read, range(len(data)))
            for name, one in zip(data.names, found, strict=True):
                if isinstance(one, Triplet):
                    yield one
                elif self.damaged == "refuse":
                    raise InputError(f"{one}; use --damaged skip to skip damaged patches") from one
                else:
                    skipped.append(DamagedTriplet(name, str(one)))

    def _remover(self, part: Part) -> CloudRemover:
        if self.row.settings.remover is not None:
            return baseline(self.row.settings.remover, RGB)
        return load_remover(str(part.run.weights), None, self.device.name)


def _write_chunk(path: Path, key: str, measured: Sequence[_Measured], skipped: Sequence[DamagedTriplet]) -> None:
    kept = [one.features for one in measured if one.features is not None]
    tensors = {name: torch.stack([pair[i] for pair in kept]) for i, name in enumerate(("real", "generated")) if kept}
    metadata = {
        "key": key,
        "scores": json.dumps([asdict(one.scores) | {"measured": one.features is not None} for one in measured]),
        "skipped": json.dumps([[one.name, one.reason] for one in skipped]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata)


def _read_chunk(path: Path, key: str) -> tuple[list[_Measured], list[DamagedTriplet]] | None:
    """Read a chunk; None if it is of another evaluation."""
    with decoding(path, "is not a part of an evaluation", "delete it"), safe_open(path, framework="pt") as file:
        metadata: Mapping[str, str] = file.metadata() or {}
        if metadata.get("key") != key:
            return None
        records: Any = parse_json(metadata["scores"], path.name, nan=True)
        features = iter(
            [*zip(file.get_tensor("real"), file.get_tensor("generated"), strict=True)] if file.keys() else []
        )
        measured = [
            _Measured(PatchScores(**record), next(features) if has_features else None)
            for record in records
            for has_features in [record.pop("measured")]
        ]
        damage: Any = parse_json(metadata["skipped"], path.name)
        return measured, [DamagedTriplet(*one) for one in damage]


def _map_of(row: Row) -> CloudMapSettings:
    """Return the cloud map of a row's training; the ablation, whose input is m = 1, is evaluated with the paper's."""
    return PAPER if row.trained.clouds.mode == "ones" else row.trained.clouds


def _targets(data: Iterable[Triplet], target: Target) -> Iterator[Triplet]:
    for triplet in data:
        if target == "rgb":
            yield triplet
        else:
            yield replace(triplet, clear=triplet.clear.mean(dim=1, keepdim=True).expand_as(triplet.clear))


def weights_hash(row: Row, parts: Sequence[Part]) -> str:
    """Return the hash of a row's weights, or of the hashes of all folds; empty for a baseline."""
    if row.settings.remover is not None:
        return ""
    return _joined([sha256(part.run.weights) for part in parts])


def _joined(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def scores_path(row: Row, clouds: Clouds, runs: Path) -> Path:
    """Return the path of a row's scores in the folder of a size's runs."""
    return runs / row.path / f"scores_{clouds}.json"


def chunks_folder(row: Row, clouds: Clouds, runs: Path) -> Path:
    """Return the folder of the chunks of an unfinished evaluation."""
    return runs / row.path / f"chunks_{clouds}"


def write_row_scores(path: Path, scores: Scores) -> None:
    """Write a row's scores; the bootstrap of its confidence intervals has a fixed seed."""
    write_scores(path, scores, np.random.default_rng(0))


def remove_chunks(folder: Path) -> None:
    """Delete the chunks of a finished evaluation."""
    if folder.is_dir():
        rmtree(folder)


def read_row_scores(path: Path, row: Row, runs: Path) -> Scores | None:
    """Read a row's scores; None if there are none.

    Raises:
        InputError: They belong to other weights than those beside them.
    """
    if not path.is_file():
        return None
    scores = load_scores(path)
    present = [sha256(one) for one in (runs / row.path).glob("*/weights.safetensors")]
    recorded = scores.provenance.weights_sha256 if scores.provenance else ""
    if present and recorded != _joined(present):
        raise InputError(f"{path} scores other weights than those beside it; delete it and run again with --train")
    return scores

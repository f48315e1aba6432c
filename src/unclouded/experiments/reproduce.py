"""A table of the paper from a folder of runs: train and judge what is missing, when told to; read what is there."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.errors import InputError
from unclouded.evaluation.features import FeatureExtractor, FeatureSettings, PrecisionRecallMeter, feature_extractor
from unclouded.evaluation.results_io import load_scores, write_scores
from unclouded.evaluation.scores import EvaluationProtocol, Provenance, Scores, require_same, score_patches
from unclouded.experiments.orderings import Checked, check, load_expected, summary
from unclouded.experiments.rows import Clouds, Experiments, Row, SizeSettings, Target
from unclouded.experiments.runs import Part, parts_of, simulated_root, train_missing
from unclouded.experiments.tables import COLUMNS, Line, Table, to_csv, to_html, to_latex, to_markdown
from unclouded.files import read_small, sha256, write_json, write_text
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, FunctionRemover
from unclouded.models.weights import load_network
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable
from unclouded.patches.roi import region_of
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.progress import ProgressCallback
from unclouded.sensors import RGB
from unclouded.strict_json import read_json
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation, Triplet
from unclouded.vgg import AUTO

SHOWN_AS_COLUMNS = ("synthetic", "target")
"""Entries of a card that may differ within a table, because the table itself shows them."""


@dataclass(frozen=True)
class Reproduction:
    """One table at one size.

    Attributes:
        experiments: Where its rows are.
        table: Such as ``table_2``.
        size: Such as ``sample``.
        runs: Folder of all runs; those of each size have a folder of their own.
        root: Data set; not needed to read what is there, nor where regions are simulated.
        vgg: Weights of VGG16 for precision and recall.
        damaged: What to do about damaged patches, in trainings and in scores.
    """

    experiments: Experiments
    table: str
    size: str
    runs: Path
    root: Path | None = None
    vgg: str = AUTO
    damaged: Damaged = "refuse"

    @property
    def folder(self) -> Path:
        """Where runs of this size and their tables lie."""
        return self.runs / self.size

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows that exist at this size, in order."""
        return tuple(row for row in self.experiments.rows(self.table) if self.size in row.settings.sizes)

    def complete(self, on_progress: ProgressCallback) -> None:
        """Train and judge whatever is missing; what was interrupted goes on where it stopped.

        Raises:
            InputError: There is no data set, or a run was made with other settings.
        """
        size = self.experiments.size(self.size)
        root = self._root(size)
        for part in train_missing(self.rows, size, root, self.folder, self.damaged):
            part.train(on_progress)
        extractor: FeatureExtractor | None = None
        tests = [(row, clouds) for row in self.rows for clouds in row.settings.tests]
        for done, (row, clouds) in enumerate(tests, start=1):
            path = scores_path(row, clouds, self.folder)
            if not path.is_file():
                extractor = extractor or feature_extractor(feature_settings(size), self.vgg)
                parts = parts_of(row, size, root, self.folder, self.damaged)
                write_row_scores(path, score_row(row, clouds, parts, size, extractor, self.damaged))
                write_training_record(path.parent, row, parts, size)
            on_progress("judging", done, len(tests))

    def _root(self, size: SizeSettings) -> Path:
        if size.simulated_regions:
            return simulated_root(size, self.folder)
        if self.root is None:
            raise InputError(f"size {self.size} learns from a data set, found none; name it with --root")
        return self.root

    def read(self) -> tuple[Table, list[Checked]]:
        """Return the table of what is there, and what came of the paper's orderings.

        Raises:
            InputError: Rows were judged in different ways.
        """
        settings = self.experiments.table(self.table)
        found = {
            (row.key, clouds): (row, read_row_scores(scores_path(row, clouds, self.folder), row, self.folder))
            for row in self.rows
            for clouds in row.settings.tests
        }
        _require_one_measure({f"{key}@{clouds}": one for (key, clouds), (_, one) in found.items() if one})
        lines = tuple(self._line(row, clouds, scores) for (_, clouds), (row, scores) in found.items())
        orderings = getattr(load_expected(self.experiments.folder), self.table)
        checked = check(orderings, {line.key: line.values for line in lines})
        notes = (*_said(one for _, one in found.values()), *self._left_out(), *summary(checked))
        columns = tuple(COLUMNS[key] for key in settings.columns)
        return Table(f"{settings.title} (size {self.size})", columns, lines, notes), checked

    def _left_out(self) -> tuple[str, ...]:
        absent = [row.settings.label for row in self.experiments.rows(self.table) if row not in self.rows]
        return (f"rows that do not exist at size {self.size}: {', '.join(absent)}",) if absent else ()

    def _line(self, row: Row, clouds: Clouds, scores: Scores | None) -> Line:
        painted = row.trained.synthetic
        words = f"{painted.mode.capitalize()} clouds" if clouds == "synthetic" and painted else "observed clouds"
        link = relpath(scores_path(row, clouds, self.folder), self.folder)
        values = metrics_of(scores) if scores else None
        return Line(f"{row.key}@{clouds}", row.settings.label, words, values, link if scores else None)

    def write(self, table: Table) -> list[Path]:
        """Write a table as Markdown, CSV, LaTeX and HTML into the folder of this size; return the files."""
        texts = {
            "md": to_markdown(table),
            "csv": to_csv(table),
            "tex": to_latex(table),
            "html": to_html(table),
        }
        paths = []
        for suffix, text in texts.items():
            paths.append(self.folder / f"{self.table.replace('_', '-')}.{suffix}")
            write_text(paths[-1], text)
        return paths


def metrics_of(scores: Scores) -> dict[str, float]:
    """Return every metric over all pixels; precision, recall and F1 as far as they were measured."""
    precision_recall: Mapping[str, Any] = scores.precision_recall or {}
    measured = {key: precision_recall.get(key) for key in ("precision", "recall", "f1")}
    return scores.mean("all") | {key: math.nan if one is None else float(one) for key, one in measured.items()}


def _require_one_measure(found: Mapping[str, Scores]) -> None:
    """Refuse rows that were judged in different ways, but for what the table shows as a column."""
    require_same({name: _shared(scores.protocol) for name, scores in found.items()})
    require_same({name: _shared((one.precision_recall or {}).get("protocol", {})) for name, one in found.items()})
    patches = {name: (one.split_sha256, sorted(patch.name for patch in one.skipped)) for name, one in found.items()}
    require_same({name: {"patches": judged, "skipped": skipped} for name, (judged, skipped) in patches.items()})


def _shared(protocol: EvaluationProtocol) -> EvaluationProtocol:
    return {key: value for key, value in protocol.items() if key not in SHOWN_AS_COLUMNS}


def _said(found: Any) -> tuple[str, ...]:
    """What every number of the table is a number of."""
    for scores in found:
        if scores is None:
            continue
        protocol = (scores.precision_recall or {}).get("protocol", {})
        told = "clear pixels as the network says them" if scores.clear_pixels == "network" else "clear pixels kept"
        features = f"VGG16 {protocol.get('layer')}, {protocol.get('resize')}, k = {protocol.get('k')}"
        without = f", {len(scores.skipped):,} damaged ones skipped" if scores.skipped else ""
        return (
            f"n = {len(scores.patches):,} patches{without}, bands {' '.join(scores.bands)}, all pixels, {told}",
            f"precision, recall and F1: {features}, weights SHA-256 {str(protocol.get('weights_sha256'))[:12]}",
        )
    return ()


# From the runs of a row to its scores: every fold tests the patches that it has not seen, all in one file.


def without_map(remover: CloudRemover) -> CloudRemover:
    """Show a remover m = 1 everywhere, as in its training: the ablation of section III-B.3."""

    def answer(observation: Observation) -> Float[Tensor, "batch band h w"]:
        return remover(replace(observation, cloud_map=torch.ones_like(observation.cloud_map)))

    return FunctionRemover(remover.name, remover.bands, answer)


def feature_settings(size: SizeSettings) -> FeatureSettings:
    """Return how images become features at a size."""
    return FeatureSettings(layer=size.precision_recall.layer, side_px=size.precision_recall.side_px)


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
    meter = PrecisionRecallMeter(extractor, size.precision_recall.k, sum(len(part.test) for part in parts))
    skipped: list[DamagedTriplet] = []
    scores = score_patches(meter.watch(_pairs(row, clouds, parts, damaged, skipped)), "network")
    synthetic = row.trained.synthetic if clouds == "synthetic" else None
    measured = meter.measure().to_json()
    measured["protocol"] |= {"target": row.settings.target}
    return replace(
        scores,
        patches=tuple(replace(one, region=one.region or size.regions.get(one.name, "")) for one in scores.patches),
        clouds=_map_of(row).model_dump(mode="json"),
        synthetic=synthetic.model_dump(mode="json") if synthetic else None,
        provenance=Provenance(row.settings.label, "test", weights_hash(row, parts)),
        precision_recall=measured,
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
        yield from evaluate_remover(remover, _targets(triplets, row.settings.target), keep_clear=False)


def _map_of(row: Row) -> CloudMapSettings:
    """Return the map of a row's training; the ablation, which is shown m = 1, is judged by the paper's map."""
    return PAPER if row.trained.clouds.mode == "ones" else row.trained.clouds


def _remover(row: Row, part: Part) -> CloudRemover:
    if row.settings.remover is not None:
        return baseline(row.settings.remover, RGB)
    remover = load_network(part.run.weights)
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


# Which patches taught the network that judged which: the evidence for "leak-free", beside the scores.


NAME = "training.json"

MAX_BYTES = 64 << 20

Answer = Literal["yes", "no", "unknown"]


def write_training_record(folder: Path, row: Row, parts: Sequence[Part], size: SizeSettings) -> None:
    """Write, for each training of a row, the patches it learnt from and those it judges, each with its region."""
    content = [
        {
            "run": part.run.path.name,
            "learnt": {} if row.settings.remover else _regions(_learnt(part), size.regions),
            "judged": _regions([files.name for files in part.test], size.regions),
        }
        for part in parts
    ]
    write_json(folder / NAME, {"parts": content})


def _learnt(part: Part) -> list[str]:
    return part.run.patches.read_text(encoding="utf-8").split()


def _regions(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    return {name: known.get(name) or region_of(name) for name in names}


def leak_free(folder: Path, judged: Sequence[str]) -> tuple[Answer, str]:
    """Say whether a network had seen a region of the patches it was judged on, and how that is known.

    Args:
        folder: Of the scores; ``training.json`` of ``unclouded reproduce`` or ``patches.txt`` of a run tells.
        judged: Names of the patches.
    """
    if (folder / NAME).is_file():
        parts = _parts(folder / NAME)
    elif (folder / "patches.txt").is_file():
        learnt = read_small(folder / "patches.txt", MAX_BYTES).decode("utf-8", errors="replace").split()
        parts = [{"learnt": _regions(learnt, {}), "judged": _regions(judged, {})}]
    else:
        return "unknown", "nothing beside the scores tells what the network learnt from"
    return _answer(parts, set(judged))


def _parts(path: Path) -> list[dict[str, Any]]:
    try:
        parts = read_json(path, MAX_BYTES)["parts"]
        return [{key: {str(k): str(v) for k, v in part[key].items()} for key in ("learnt", "judged")} for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no record of a training; delete it, or reproduce the row again") from error


def _answer(parts: Sequence[Mapping[str, Mapping[str, str]]], judged: set[str]) -> tuple[Answer, str]:
    for part in parts:
        if shared := set(part["learnt"]) & set(part["judged"]):
            return "no", f"{len(shared):,} judged patches were learnt from, first {min(shared)}"
        if regions := {one for one in part["learnt"].values() if one} & set(part["judged"].values()):
            return "no", f"{len(regions):,} regions of the judged patches were learnt from, first {min(regions)}"
    if untold := judged - {name for part in parts for name in part["judged"]}:
        return "unknown", f"the record does not tell who judged {len(untold):,} of the patches"
    if nameless := sum(not region for part in parts for names in part.values() for region in names.values()):
        return "unknown", f"no name is shared, but {nameless:,} patches name no region"
    regions_learnt = {region for part in parts for region in part["learnt"].values()}
    if not regions_learnt:
        return "yes", "it learnt from no patch"
    return "yes", f"judged patches share no region with those learnt from ({len(regions_learnt):,} regions)"

"""Reproduction of a table of the paper from a folder of runs.

:class:`Reproduction` trains and evaluates the missing rows on request, reads the existing ones into a table, and writes
it. A row is scored over all its folds in one file (:func:`score_row`). ``training.json`` beside the scores records the
training patches of every network, from which :func:`leak_free` determines whether a test region was used in training.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

import numpy as np
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
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import load_network
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable
from unclouded.patches.roi import region_of
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.progress import ProgressCallback
from unclouded.sensors import RGB
from unclouded.strict_json import read_json
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Triplet
from unclouded.vgg import AUTO

SHOWN_AS_COLUMNS = ("synthetic", "target")
"""Entries of the evaluation protocol that may differ within a table, because the table shows them."""

RECORD = "training.json"
"""Record of training and test patches, beside the scores."""
MAX_BYTES = 64 << 20
"""Largest record."""

LeakFree = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Reproduction:
    """One table at one size.

    Attributes:
        experiments: Folder of the rows.
        table: Name of the table, such as ``table_2``.
        size: Name of the size, such as ``sample``.
        runs: Folder of all runs, with a subfolder per size.
        root: Data set; not needed to read existing results, nor for simulated regions.
        vgg: Weights of VGG16 for precision and recall.
        damaged: Treatment of damaged patches, in training and evaluation.
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
        """Folder of the runs and tables of this size."""
        return self.runs / self.size

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of the table that exist at this size, in order."""
        return tuple(row for row in self.experiments.rows(self.table) if self.size in row.settings.sizes)

    def complete(self, on_progress: ProgressCallback) -> None:
        """Train and evaluate all missing rows; interrupted trainings resume where they stopped.

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
            on_progress("evaluating", done, len(tests))

    def _root(self, size: SizeSettings) -> Path:
        if size.simulated_regions:
            return simulated_root(size, self.folder)
        if self.root is None:
            raise InputError(f"size {self.size} needs a data set, found none; name it with --root")
        return self.root

    def read(self) -> tuple[Table, list[Checked]]:
        """Return the table of the existing results, and the check of the paper's orderings.

        Raises:
            InputError: Rows were evaluated by different protocols.
        """
        settings = self.experiments.table(self.table)
        found = {
            (row.key, clouds): (row, read_row_scores(scores_path(row, clouds, self.folder), row, self.folder))
            for row in self.rows
            for clouds in row.settings.tests
        }
        _require_one_protocol({f"{key}@{clouds}": one for (key, clouds), (_, one) in found.items() if one})
        lines = tuple(self._line(row, clouds, scores) for (_, clouds), (row, scores) in found.items())
        orderings = getattr(load_expected(self.experiments.folder), self.table)
        checked = check(orderings, {line.key: line.values for line in lines})
        notes = (*_conditions(one for _, one in found.values()), *self._left_out(), *summary(checked))
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
        """Write a table as Markdown, CSV, LaTeX and HTML into the folder of this size; return their paths."""
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
    """Return every metric over all pixels; precision, recall and F1 are NaN if they were not measured."""
    precision_recall: Mapping[str, Any] = scores.precision_recall or {}
    measured = {key: precision_recall.get(key) for key in ("precision", "recall", "f1")}
    return scores.mean("all") | {key: math.nan if one is None else float(one) for key, one in measured.items()}


def _require_one_protocol(found: Mapping[str, Scores]) -> None:
    """Raise if rows were evaluated by different protocols, apart from :data:`SHOWN_AS_COLUMNS`."""
    require_same({name: _shared(scores.protocol) for name, scores in found.items()})
    require_same({name: _shared((one.precision_recall or {}).get("protocol", {})) for name, one in found.items()})
    patches = {name: (one.split_sha256, sorted(patch.name for patch in one.skipped)) for name, one in found.items()}
    require_same({name: {"patches": split, "skipped": skipped} for name, (split, skipped) in patches.items()})


def _shared(protocol: EvaluationProtocol) -> EvaluationProtocol:
    return {key: value for key, value in protocol.items() if key not in SHOWN_AS_COLUMNS}


def _conditions(found: Any) -> tuple[str, ...]:
    """Return the conditions of the evaluation as notes of the table."""
    for scores in found:
        if scores is None:
            continue
        protocol = (scores.precision_recall or {}).get("protocol", {})
        clear = "clear pixels as predicted" if scores.clear_pixels == "network" else "clear pixels kept"
        features = f"VGG16 {protocol.get('layer')}, {protocol.get('resize')}, k = {protocol.get('k')}"
        without = f", {len(scores.skipped):,} damaged ones skipped" if scores.skipped else ""
        return (
            f"n = {len(scores.patches):,} patches{without}, bands {' '.join(scores.bands)}, all pixels, {clear}",
            f"precision, recall and F1: {features}, weights SHA-256 {str(protocol.get('weights_sha256'))[:12]}",
        )
    return ()


# Scores of a row: every fold is tested on its held-out patches, and all scores go into one file.


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
    """Return the cloud map of a row's training; the ablation, whose input is m = 1, is evaluated with the paper's."""
    return PAPER if row.trained.clouds.mode == "ones" else row.trained.clouds


def _remover(row: Row, part: Part) -> CloudRemover:
    if row.settings.remover is not None:
        return baseline(row.settings.remover, RGB)
    return load_network(part.run.weights)


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


def write_row_scores(path: Path, scores: Scores) -> None:
    """Write a row's scores; the bootstrap of its confidence intervals has a fixed seed."""
    write_scores(path, scores, np.random.default_rng(0))


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


# Record of training and test patches beside the scores: the evidence for "leak-free".


def write_training_record(folder: Path, row: Row, parts: Sequence[Part], size: SizeSettings) -> None:
    """Write the training and test patches of each training of a row, each with its region."""
    content = [
        {
            "run": part.run.path.name,
            "trained": {} if row.settings.remover else _regions(_training_patches(part), size.regions),
            "tested": _regions([files.name for files in part.test], size.regions),
        }
        for part in parts
    ]
    write_json(folder / RECORD, {"parts": content})


def _training_patches(part: Part) -> list[str]:
    return part.run.patches.read_text(encoding="utf-8").split()


def _regions(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    return {name: known.get(name) or region_of(name) for name in names}


def leak_free(folder: Path, tested: Sequence[str]) -> tuple[LeakFree, str]:
    """Return whether no region of the test patches was used in training, and the evidence.

    Args:
        folder: Folder of the scores, with ``training.json`` of ``unclouded reproduce`` or ``patches.txt`` of a run.
        tested: Names of the test patches.
    """
    if (folder / RECORD).is_file():
        parts = _parts(folder / RECORD)
    elif (folder / "patches.txt").is_file():
        trained = read_small(folder / "patches.txt", MAX_BYTES).decode("utf-8", errors="replace").split()
        parts = [{"trained": _regions(trained, {}), "tested": _regions(tested, {})}]
    else:
        return "unknown", "no record of the training patches beside the scores"
    return _compare(parts, set(tested))


def _parts(path: Path) -> list[dict[str, Any]]:
    try:
        parts = read_json(path, MAX_BYTES)["parts"]
        keys = ("trained", "tested")
        return [{key: {str(k): str(v) for k, v in part[key].items()} for key in keys} for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a record of training patches; delete it, or reproduce the row again"
        ) from error


def _compare(parts: Sequence[Mapping[str, Mapping[str, str]]], tested: set[str]) -> tuple[LeakFree, str]:
    for part in parts:
        if shared := set(part["trained"]) & set(part["tested"]):
            return "no", f"{len(shared):,} test patches were used in training, first {min(shared)}"
        if regions := {one for one in part["trained"].values() if one} & set(part["tested"].values()):
            return "no", f"{len(regions):,} regions of the test patches were used in training, first {min(regions)}"
    if unlisted := tested - {name for part in parts for name in part["tested"]}:
        return "unknown", f"the record lacks {len(unlisted):,} of the test patches"
    if nameless := sum(not region for part in parts for names in part.values() for region in names.values()):
        return "unknown", f"no patch is shared, but the regions of {nameless:,} patches are unknown"
    training_regions = {region for part in parts for region in part["trained"].values()}
    if not training_regions:
        return "yes", "no patch was used in training"
    return "yes", f"test and training patches share no region ({len(training_regions):,} training regions)"

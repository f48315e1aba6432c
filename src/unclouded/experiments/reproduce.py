"""Reproduction of a table of the paper from a folder of runs.

:class:`Reproduction` trains and evaluates the missing rows on request, reads the existing ones into a table, and writes
it. A row is scored over all its folds in one file (:mod:`unclouded.experiments.row_scores`). ``training.json`` beside
the scores records the training patches of every network, from which :func:`leak_free` determines whether a test region
was used in training.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

from unclouded.errors import BusyError, InputError
from unclouded.evaluation.features import feature_extractor
from unclouded.evaluation.scores import EvaluationProtocol, Scores, require_same
from unclouded.experiments.execution import PAPER_COST, Execution, estimate, row_hours
from unclouded.experiments.orderings import Checked, check, load_expected, summary
from unclouded.experiments.row_scores import (
    EvaluationDevice,
    chunks_folder,
    feature_settings,
    read_row_scores,
    remove_chunks,
    score_row,
    scores_path,
    write_row_scores,
)
from unclouded.experiments.rows import Clouds, Experiments, Row, SizeSettings
from unclouded.experiments.runs import Part, parts_of, simulated_root
from unclouded.experiments.tables import COLUMNS, Line, Table, to_csv, to_html, to_latex, to_markdown
from unclouded.files import read_small, write_json, write_text
from unclouded.locks import held
from unclouded.patches.reading import Damaged
from unclouded.patches.roi import region_of
from unclouded.progress import ProgressCallback
from unclouded.strict_json import read_json
from unclouded.training.forecast import duration_text
from unclouded.vgg import AUTO

logger = logging.getLogger(__name__)

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
        execution: Rows that this process completes, and its device.
    """

    experiments: Experiments
    table: str
    size: str
    runs: Path
    root: Path | None = None
    vgg: str = AUTO
    damaged: Damaged = "refuse"
    execution: Execution = field(default_factory=Execution)

    @property
    def folder(self) -> Path:
        """Folder of the runs and tables of this size."""
        return self.runs / self.size

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of the table that exist at this size, in order."""
        return tuple(row for row in self.experiments.rows(self.table) if self.size in row.settings.sizes)

    def complete(self, on_progress: ProgressCallback) -> tuple[str, ...]:
        """Train and evaluate the missing rows of this process; interrupted ones continue where they stopped.

        Several processes may complete the rows of one folder: each row is locked while it is computed, and rows that
        another process holds are left to it.

        Returns:
            The keys of rows that another process is computing.

        Raises:
            InputError: There is no data set, or a run was made with other settings.
        """
        size = self.experiments.size(self.size)
        root = self._root(size)
        busy: list[str] = []
        for group in self.execution.select(self.rows):
            try:
                with held(self.folder / group[0].path):
                    self._complete_rows(group, size, root, on_progress)
            except BusyError as error:
                busy += [row.key for row in group]
                logger.warning(f"{', '.join(row.key for row in group)} is left out: {error}")
        return tuple(busy)

    def _complete_rows(
        self, rows: Sequence[Row], size: SizeSettings, root: Path, on_progress: ProgressCallback
    ) -> None:
        """Complete rows that share their runs."""
        for part in self._trainings(rows, size, root):
            part.train(on_progress)
        for row in rows:
            for clouds in row.settings.tests:
                path, chunks = (place(row, clouds, self.folder) for place in (scores_path, chunks_folder))
                if not path.is_file():
                    self._evaluate(row, clouds, size, root, on_progress)
                remove_chunks(chunks)

    def _evaluate(
        self, row: Row, clouds: Clouds, size: SizeSettings, root: Path, on_progress: ProgressCallback
    ) -> None:
        work = self.execution
        device = EvaluationDevice(work.device or "cpu", work.batch, work.workers)
        parts = parts_of(row, size, root, self.folder, self.damaged)
        scores = score_row(
            row,
            clouds,
            parts,
            size,
            feature_extractor(feature_settings(size), self.vgg, device.name),
            self.damaged,
            folder=chunks_folder(row, clouds, self.folder),
            device=device,
            on_progress=on_progress,
        )
        path = scores_path(row, clouds, self.folder)
        write_training_record(path.parent, row, parts, size)
        write_row_scores(path, scores)

    def _trainings(self, rows: Sequence[Row], size: SizeSettings, root: Path) -> list[Part]:
        """Return the trainings of rows that share their runs, on the device of this process; none for a baseline."""
        if rows[0].origin.settings.train is None:
            return []
        found = parts_of(rows[0], size, root, self.folder, self.damaged)
        return [self.execution.applied(part) for part in found]

    def estimate(self) -> list[str]:
        """Return the estimated duration of the missing trainings of this process; see :func:`execution.estimate`."""
        size = self.experiments.size(self.size)
        root = self._root(size)
        groups = self.execution.select(self.rows)
        return estimate([part for group in groups for part in self._trainings(group, size, root)])

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
        notes = (*_conditions(one for _, one in found.values()), *self._costs(), *self._left_out(), *summary(checked))
        columns = tuple(COLUMNS[key] for key in settings.columns)
        return Table(f"{settings.title} (size {self.size})", columns, lines, notes), checked

    def _costs(self) -> tuple[str, ...]:
        """Return a note on the duration of the trainings, by their logs, beside that of the paper."""
        hours = {row.settings.label: row_hours(self.folder / row.path) for row in self.rows}
        known = [f"{label} {duration_text(spent)}" for label, spent in hours.items() if spent]
        return (f"cost of training, by the logs: {', '.join(known)}; {PAPER_COST}",) if known else ()

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

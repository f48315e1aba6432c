"""A table of the paper from a folder of runs: train and judge what is missing, when told to; read what is there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.evaluation.card import Card, require_same
from unclouded.evaluation.features import FeatureExtractor, feature_extractor
from unclouded.evaluation.scores import Scores
from unclouded.experiments.orderings import Checked, check, load_expected, summary
from unclouded.experiments.rows import Clouds, Experiments, Row, SizeSettings
from unclouded.experiments.runs import Told, invented_root, parts_of, train_missing
from unclouded.experiments.scoring import feature_settings, read_row_scores, score_row, scores_path, write_row_scores
from unclouded.experiments.tables import COLUMNS, Line, Table, to_csv, to_html, to_latex, to_markdown
from unclouded.experiments.training_record import write_training_record
from unclouded.files import write_text
from unclouded.patches.reading import Damaged
from unclouded.vgg.weights import AUTO

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
        root: Data set; not needed to read what is there, nor where regions are invented.
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

    def complete(self, told: Told) -> None:
        """Train and judge whatever is missing; what was interrupted goes on where it stopped.

        Raises:
            InputError: There is no data set, or a run was made with other settings.
        """
        size = self.experiments.size(self.size)
        root = self._root(size)
        for part in train_missing(self.rows, size, root, self.folder, self.damaged):
            part.train(told)
        extractor: FeatureExtractor | None = None
        tests = [(row, clouds) for row in self.rows for clouds in row.settings.tests]
        for done, (row, clouds) in enumerate(tests, start=1):
            path = scores_path(row, clouds, self.folder)
            if not path.is_file():
                extractor = extractor or feature_extractor(feature_settings(size), self.vgg)
                parts = parts_of(row, size, root, self.folder, self.damaged)
                write_row_scores(path, score_row(row, clouds, parts, size, extractor, self.damaged))
                write_training_record(path.parent, row, parts, size)
            told("judging", done, len(tests))

    def _root(self, size: SizeSettings) -> Path:
        if size.invented_regions:
            return invented_root(size, self.folder)
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
    manifold: Mapping[str, Any] = scores.manifold or {}
    measured = {key: manifold.get(key) for key in ("precision", "recall", "f1")}
    return scores.mean("all") | {key: math.nan if one is None else float(one) for key, one in measured.items()}


def _require_one_measure(found: Mapping[str, Scores]) -> None:
    """Refuse rows that were judged in different ways, but for what the table shows as a column."""
    require_same({name: _shared(scores.card) for name, scores in found.items()})
    require_same({name: _shared((one.manifold or {}).get("card", {})) for name, one in found.items()})
    patches = {name: (one.split_sha256, sorted(patch.name for patch in one.skipped)) for name, one in found.items()}
    require_same({name: {"patches": judged, "skipped": skipped} for name, (judged, skipped) in patches.items()})


def _shared(card: Card) -> Card:
    return {key: value for key, value in card.items() if key not in SHOWN_AS_COLUMNS}


def _said(found: Any) -> tuple[str, ...]:
    """What every number of the table is a number of."""
    for scores in found:
        if scores is None:
            continue
        card = (scores.manifold or {}).get("card", {})
        told = "clear pixels as the network says them" if scores.clear_pixels == "network" else "clear pixels kept"
        features = f"VGG16 {card.get('layer')}, {card.get('resize')}, k = {card.get('k')}"
        without = f", {len(scores.skipped):,} damaged ones skipped" if scores.skipped else ""
        return (
            f"n = {len(scores.patches):,} patches{without}, bands {' '.join(scores.bands)}, all pixels, {told}",
            f"precision, recall and F1: {features}, weights SHA-256 {str(card.get('weights_sha256'))[:12]}",
        )
    return ()

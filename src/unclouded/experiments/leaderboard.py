"""Leaderboard: results evaluated by the same protocol on the same patches share a table; published ones have their own.

:func:`find_entries` reads result files and determines whether each is leak-free; :func:`leaderboard_markdown` and
:func:`leaderboard_html` write the tables.
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.evaluation.comparison import shown_metric
from unclouded.evaluation.results_io import is_result, load_scores
from unclouded.evaluation.scores import Scores
from unclouded.experiments.reproduce import LeakFree, leak_free, metrics_of
from unclouded.experiments.tables import COLUMNS, HtmlRow, markdown_rows, markdown_text, one_line
from unclouded.files import named, require_folder
from unclouded.html_page import render_page
from unclouded.models.baselines import BASELINES
from unclouded.models.cloud_map import described_json

SHOWN = ("mae", "psnr", "ssim", "sam", "precision", "recall", "f1")
PUBLISHED = ("mae", "psnr", "ssim", "sam")
HASH_DIGITS = 12
"""Digits of a hash shown in tables; the files contain all."""
PUBLISHED_REMARK = (
    "Numbers as published in papers. They are not comparable with those above, and often not with each other:"
    " conventions of the metrics differ, and a region used for training cannot test a network."
)


@dataclass(frozen=True)
class Entry:
    """One result.

    Attributes:
        name: Name of the remover.
        scores: Its scores.
        leak_free: Whether no evaluated region was used in training.
        reason: Evidence for that.
    """

    name: str
    scores: Scores
    leak_free: LeakFree
    reason: str

    @property
    def group(self) -> str:
        """Key of comparable results: evaluation protocols, patches, and skipped patches."""
        protocol = (self.scores.precision_recall or {}).get("protocol")
        skipped = sorted(one.name for one in self.scores.skipped)
        parts = [dict(self.scores.protocol), protocol, self.scores.split_sha256, skipped]
        return json.dumps(parts, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Published:
    """Result published in a paper.

    Attributes:
        method: Name of the method.
        values: Values by metric, as printed; unpublished metrics are absent.
        bands: Number of evaluated bands; empty if the source does not state it.
        source: Paper that reports the result.
        split: Separation of training and test regions.
        leak_free: Whether test regions were excluded from training.
        reason: Evidence for that.
    """

    method: str
    values: Mapping[str, str]
    bands: str
    source: str
    split: str
    leak_free: str
    reason: str


@cache
def published() -> tuple[Published, ...]:
    """Return the published results included in the package."""
    text = (package_files("unclouded.experiments") / "data" / "published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            row["method"],
            {key: row[key] for key in PUBLISHED if row[key]},
            *(row[key] for key in ("bands", "source", "split", "leak_free", "reason")),
        )
        for row in csv.DictReader(text.splitlines())
    )


def find_entries(folder: Path) -> list[Entry]:
    """Read every result file below a folder, ordered by PSNR; other JSON files are skipped, see :func:`other_files`.

    Raises:
        InputError: There is no result, or one is damaged or inconsistent.
    """
    require_folder(folder)
    found = [_entry(path) for path in sorted(folder.rglob("*.json")) if is_result(path)]
    if not found:
        raise InputError(f"{named(folder)} holds no scores, expected files that 'unclouded evaluate --out' writes")
    return sorted(found, key=lambda one: (-_rank(one.scores.mean("all")), one.name))


def other_files(folder: Path) -> list[str]:
    """Return the paths of the JSON files below a folder that are not results, relative to it."""
    return [named(path.relative_to(folder)) for path in sorted(folder.rglob("*.json")) if not is_result(path)]


def _rank(mean: Mapping[str, float]) -> float:
    """Return the mean PSNR; infinite if all patches are exact, and minus infinity if there is no patch."""
    if math.isnan(mean["psnr"]):
        return math.inf if mean["psnr_exact"] else -math.inf
    return mean["psnr"]


def _entry(path: Path) -> Entry:
    scores = load_scores(path)
    source = scores.provenance
    names = [patch.name for patch in scores.patches]
    status, reason = leak_free(path.parent, names)
    untrained = source and source.remover in BASELINES and not (source.weights_sha256 or source.predictions)
    if status == "unknown" and untrained:
        status, reason = "yes", "a baseline without training"
    elif status == "unknown" and source and source.training_overlap is not None:
        status, reason = _leak_free_by_weights(source.training_overlap)
    return Entry(source.remover if source else path.stem, scores, status, reason)


def _leak_free_by_weights(shared: Sequence[str]) -> tuple[LeakFree, str]:
    if shared:
        return "no", f"{len(shared):,} evaluated regions are training regions in its weights file, first {shared[0]}"
    return "yes", "no evaluated region is among the training regions in its weights file"


def leaderboard_markdown(entries: Sequence[Entry], others: Sequence[Published]) -> str:
    """Return one table per evaluation protocol, followed by a table of the published results, as Markdown."""
    parts = ["# Leaderboard\n"]
    for section in _sections(entries, others):
        rows = [[*map(markdown_text, row.names), *row.numbers] for row in section.rows]
        parts += [
            f"## {markdown_text(section.title)}\n",
            f"{markdown_text(section.conditions)}\n",
            markdown_rows(section.headings, rows, section.numbers),
        ]
    return "\n".join(parts)


def leaderboard_html(entries: Sequence[Entry], others: Sequence[Published]) -> str:
    """Return the same tables as a self-contained HTML page."""
    return render_page("leaderboard.html", title="Leaderboard", groups=_sections(entries, others))


@dataclass(frozen=True)
class _Section:
    """Heading, conditions and rows of one table; the last ``numbers`` columns are metrics."""

    title: str
    conditions: str
    headings: Sequence[str]
    rows: Sequence[HtmlRow]
    numbers: int


def _sections(entries: Sequence[Entry], others: Sequence[Published]) -> list[_Section]:
    """Return the tables of comparable results, then that of the published ones."""
    words = ["remover", "leak-free", "reason", "predictions"]
    headings = [*words, *(COLUMNS[key].heading for key in SHOWN)]
    sections = [
        _Section(_title(group[0]), _conditions(group[0]), headings, [_row(one) for one in group], len(SHOWN))
        for group in _groups(entries)
    ]
    words = ["method", "source", "bands", "split", "leak-free", "reason"]
    headings = [*words, *(COLUMNS[key].heading for key in PUBLISHED)]
    rows = [_published_row(one) for one in others]
    return [*sections, _Section("Published", PUBLISHED_REMARK, headings, rows, len(PUBLISHED))]


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for one in entries:
        groups[one.group].append(one)
    return list(groups.values())


def _title(entry: Entry) -> str:
    split = entry.scores.provenance.split if entry.scores.provenance else "patches"
    patches, bands = _counted(len(entry.scores.patches), "patch", "es"), _counted(len(entry.scores.bands), "band", "s")
    return f"{split}: {patches}, {bands}"


def _counted(count: int, word: str, plural: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else plural}"


def _conditions(entry: Entry) -> str:
    scores = entry.scores
    clouds: Mapping[str, Any] = scores.synthetic or {}
    painted = f"{clouds.get('mode')} clouds, painted" if clouds else "observed clouds"
    cloud_map = f"; cloud map {described_json(scores.clouds)}" if scores.clouds else ""
    protocol: Mapping[str, Any] = (scores.precision_recall or {}).get("protocol", {})
    measured = f"; precision and recall by {protocol.get('layer')}, k = {protocol.get('k')}" if protocol else ""
    skipped = (
        f"; {_counted(len(scores.skipped), 'patch', 'es')} skipped, first {scores.skipped[0].name}"
        if scores.skipped
        else ""
    )
    target = f"; compared with the {protocol['target']} clear image" if "target" in protocol else ""
    return (
        f"{painted}{cloud_map}; clear pixels {scores.clear_pixels}; split {scores.split_sha256[:HASH_DIGITS]}; "
        f"definition {scores.protocol['definition']}{measured}{target}{skipped}"
    )


def _row(entry: Entry) -> HtmlRow:
    values = metrics_of(entry.scores)
    words = (_with_map(entry), entry.leak_free, entry.reason, entry.scores.predictions_sha256[:HASH_DIGITS])
    return HtmlRow(
        [one_line(word) for word in words], [shown_metric(values, key, COLUMNS[key].digits) for key in SHOWN]
    )


def _with_map(entry: Entry) -> str:
    """Return a remover's name, with the cloud map of its training if it was evaluated with another one."""
    source = entry.scores.provenance
    trained = described_json(source.trained_map.get("settings") or {}) if source and source.trained_map else ""
    other = trained and trained != described_json(entry.scores.clouds or {})
    return f"{entry.name} (trained with the map {trained})" if other else entry.name


def _published_row(one: Published) -> HtmlRow:
    words = (one.method, one.source, one.bands or "–", one.split, one.leak_free, one.reason)
    return HtmlRow(words, [one.values.get(key, "–") for key in PUBLISHED])

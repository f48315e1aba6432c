"""Results side by side: only those that were judged in the same way on the same patches, and published ones apart."""

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
from unclouded.experiments.reproduce import Answer, leak_free, metrics_of
from unclouded.experiments.tables import COLUMNS, html_page, html_rows, html_text, markdown_rows, markdown_text
from unclouded.files import named, require_folder
from unclouded.models.baselines import BASELINES
from unclouded.models.cloud_map import described_json

SHOWN = ("mae", "psnr", "ssim", "sam", "precision", "recall", "f1")
PUBLISHED = ("mae", "psnr", "ssim", "sam")
HASH_DIGITS = 12
"""Digits of a hash that tables show; the files have all."""
APART = (
    "Numbers from papers, as they were published. They are not comparable with those above, and often not with each"
    " other: conventions of the metrics differ, and a region that a network has learnt from does not test it."
)


@dataclass(frozen=True)
class Entry:
    """One result.

    Attributes:
        name: Of the remover.
        scores: What it is worth.
        leak_free: Whether it had seen no region that it was judged on.
        reason: How that is known.
    """

    name: str
    scores: Scores
    leak_free: Answer
    reason: str

    @property
    def group(self) -> str:
        """What has to be equal for two results to stand in one table: cards, patches, and those that were skipped."""
        protocol = (self.scores.precision_recall or {}).get("protocol")
        skipped = sorted(one.name for one in self.scores.skipped)
        parts = [dict(self.scores.protocol), protocol, self.scores.split_sha256, skipped]
        return json.dumps(parts, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Published:
    """A number from a paper.

    Attributes:
        method: Its name.
        values: Metric to value, as printed; metrics that were not published are absent.
        bands: How many were judged; empty where the source does not say.
        source: Who reports it.
        split: How training and test regions were told apart.
        leak_free: Whether test regions were kept out of training.
        reason: How that is known.
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
    """Return the published numbers that the package carries."""
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
    """Read every result file below a folder, by PSNR; other JSON files are passed over, see :func:`other_files`.

    Raises:
        InputError: There is no result, or one is damaged or contradicts itself.
    """
    require_folder(folder)
    found = [_entry(path) for path in sorted(folder.rglob("*.json")) if is_result(path)]
    if not found:
        raise InputError(f"{named(folder)} holds no scores, expected files that 'unclouded evaluate --out' writes")
    return sorted(found, key=lambda one: (-_rank(one.scores.mean("all")), one.name))


def other_files(folder: Path) -> list[str]:
    """Return the names of the JSON files below a folder that are no results, relative to it."""
    return [named(path.relative_to(folder)) for path in sorted(folder.rglob("*.json")) if not is_result(path)]


def _rank(mean: Mapping[str, float]) -> float:
    """Mean PSNR; that of exact patches alone is infinite, and that of none at all is below every other."""
    if math.isnan(mean["psnr"]):
        return math.inf if mean["psnr_exact"] else -math.inf
    return mean["psnr"]


def _entry(path: Path) -> Entry:
    scores = load_scores(path)
    told = scores.provenance
    names = [patch.name for patch in scores.patches]
    answer, reason = leak_free(path.parent, names)
    if answer == "unknown" and told and told.remover in BASELINES and not (told.weights_sha256 or told.predictions):
        answer, reason = "yes", "a rule that learns from no patch"
    elif answer == "unknown" and told and told.training_overlap is not None:
        answer, reason = _told_by_weights(told.training_overlap)
    return Entry(told.remover if told else path.stem, scores, answer, reason)


def _told_by_weights(shared: Sequence[str]) -> tuple[Answer, str]:
    if shared:
        return "no", f"its weights name {len(shared):,} of the judged regions, first {shared[0]}"
    return "yes", "its weights name none of the judged regions among those it learnt from"


def leaderboard_markdown(entries: Sequence[Entry], others: Sequence[Published]) -> str:
    """Return a table for each way of judging, then the published numbers in one of their own."""
    parts = ["# Leaderboard\n"]
    for group in _groups(entries):
        parts += [
            f"## {markdown_text(_title(group[0]))}\n",
            f"{markdown_text(_conditions(group[0]))}\n",
            markdown_rows(_headings(), [_cells(one, markdown_text) for one in group], len(SHOWN)),
        ]
    parts += ["## Published\n", f"{APART}\n"]
    parts.append(markdown_rows(_published_headings(), [_published_cells(one, markdown_text) for one in others], 4))
    return "\n".join(parts)


def leaderboard_html(entries: Sequence[Entry], others: Sequence[Published]) -> str:
    """Return the same as a page that stands alone."""
    body = ""
    for group in _groups(entries):
        rows = html_rows(_headings(), [_cells(one, html_text) for one in group], len(SHOWN))
        body += f"<h2>{html_text(_title(group[0]))}</h2>\n<p>{html_text(_conditions(group[0]))}</p>\n{rows}"
    rows = html_rows(_published_headings(), [_published_cells(one, html_text) for one in others], 4)
    return html_page("Leaderboard", f"{body}<h2>Published</h2>\n<p>{html_text(APART)}</p>\n{rows}")


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for one in entries:
        groups[one.group].append(one)
    return list(groups.values())


def _title(entry: Entry) -> str:
    split = entry.scores.provenance.split if entry.scores.provenance else "patches"
    return f"{split}, {len(entry.scores.patches):,} patches, {len(entry.scores.bands)} bands"


def _conditions(entry: Entry) -> str:
    scores = entry.scores
    clouds: Mapping[str, Any] = scores.synthetic or {}
    painted = f"{clouds.get('mode')} clouds, painted" if clouds else "observed clouds"
    cloud_map = f"; cloud map {described_json(scores.clouds)}" if scores.clouds else ""
    protocol: Mapping[str, Any] = (scores.precision_recall or {}).get("protocol", {})
    measured = f"; precision and recall by {protocol.get('layer')}, k = {protocol.get('k')}" if protocol else ""
    skipped = f"; {len(scores.skipped):,} patches skipped, first {scores.skipped[0].name}" if scores.skipped else ""
    target = f"; compared with the {protocol['target']} clear image" if "target" in protocol else ""
    return (
        f"{painted}{cloud_map}; clear pixels {scores.clear_pixels}; split {scores.split_sha256[:HASH_DIGITS]}; "
        f"definition {scores.protocol['definition']}{measured}{target}{skipped}"
    )


def _headings() -> list[str]:
    return ["remover", "leak-free", "reason", "predictions", *(COLUMNS[key].heading for key in SHOWN)]


def _cells(entry: Entry, escaped: Any) -> list[str]:
    values = metrics_of(entry.scores)
    words = (_with_map(entry), entry.leak_free, entry.reason, entry.scores.predictions_sha256[:HASH_DIGITS])
    numbers = [shown_metric(values, key, COLUMNS[key].digits) for key in SHOWN]
    return [*map(escaped, words), *numbers]


def _with_map(entry: Entry) -> str:
    """Return a remover's name, with the cloud map of its training where it was judged with another one."""
    told = entry.scores.provenance
    trained = described_json(told.trained_map.get("settings") or {}) if told and told.trained_map else ""
    other = trained and trained != described_json(entry.scores.clouds or {})
    return f"{entry.name} (trained with the map {trained})" if other else entry.name


def _published_headings() -> list[str]:
    words = ["method", "source", "bands", "split", "leak-free", "reason"]
    return [*words, *(COLUMNS[key].heading for key in PUBLISHED)]


def _published_cells(one: Published, escaped: Any) -> list[str]:
    words = (one.method, one.source, one.bands or "–", one.split, one.leak_free, one.reason)
    return [*map(escaped, words), *(one.values.get(key, "–") for key in PUBLISHED)]

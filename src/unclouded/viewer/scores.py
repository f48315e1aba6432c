"""Files of scores: results of removers patch by patch, their paired differences, and pictures of the patches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.strict_json import read_json_object

if TYPE_CHECKING:
    from unclouded.viewer.patches import PatchImages

AREAS = ("all", "cloudy", "clear")
METRICS = ("mae", "rmse", "psnr", "ssim", "sam", "sam_global")
HIGHER_IS_BETTER = ("psnr", "ssim")
MAX_BYTES = 512 << 20
MAX_SEARCHED_BYTES = 32 << 20
"""Largest JSON file of a folder that is opened to find out whether it holds scores."""
_DEFINITION = "unclouded-scores"
_SAME_MAE = 3e-4
"""Largest difference of the MAE of a patch for predictions that are taken for those of a remover."""


@dataclass(frozen=True)
class ScoredPatch:
    """Scores of one patch.

    Attributes:
        name: Name.
        region: Region; empty if unknown.
        coverage: Cloud coverage.
        values: Metric values by area; None if undefined.
    """

    name: str
    region: str
    coverage: float | None
    values: Mapping[str, Mapping[str, float | None]]


@dataclass
class ScoresTable:
    """Scores of one or several removers on the same patches.

    Attributes:
        title: Title.
        removers: Scores by remover, then by patch.
        protocol: Protocol of each remover.
        images: Images of the patches, if they were found.
        predictions: Folder of the predictions of a remover, as far as found.
    """

    title: str
    removers: dict[str, dict[str, ScoredPatch]]
    protocol: dict[str, Any]
    images: "PatchImages | None" = None
    predictions: dict[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Patches that all removers have, sorted."""
        common = set.intersection(*(set(one) for one in self.removers.values()))
        return sorted(common)

    def json(self) -> dict[str, Any]:
        """Return the table for the front end; values by remover, area and metric."""
        names = self.names
        patches = []
        for name in names:
            first = next(iter(self.removers.values()))[name]
            values = {remover: scored[name].values for remover, scored in self.removers.items()}
            patches.append({"name": name, "roi": first.region, "coverage": first.coverage, "values": values})
        return {
            "title": self.title,
            "removers": list(self.removers),
            "metrics": METRICS,
            "areas": AREAS,
            "higherIsBetter": HIGHER_IS_BETTER,
            "patches": patches,
            "pictured": self.images is not None and all(name in self.images for name in names),
            "predicted": list(self.predictions),
            "comparable": len({repr(sorted(one.items())) for one in self.protocol.values()}) == 1,
        }

    def difference(self, first: str, second: str) -> dict[str, Any]:
        """Return the mean paired difference, first minus second, with its 95 % interval, by area and metric.

        Raises:
            KeyError: There is no such remover.
        """
        import numpy as np

        from unclouded.evaluation.bootstrap import LEVEL, cluster_interval

        ours, theirs, names = self.removers[first], self.removers[second], self.names
        regions = [ours[name].region for name in names]
        found: dict[str, Any] = {"first": first, "second": second, "level": LEVEL, "regions": len(set(regions))}
        for area in AREAS:
            found[area] = {}
            for metric in METRICS:
                pairs = [(ours[name].values[area].get(metric), theirs[name].values[area].get(metric)) for name in names]
                values = np.array([math.nan if None in (a, b) else a - b for a, b in pairs])  # type: ignore[operator]
                n = int(np.count_nonzero(~np.isnan(values)))
                interval = cluster_interval(values, regions, np.random.default_rng(0)) if n else (math.nan, math.nan)
                found[area][metric] = {
                    "mean": float(np.nanmean(values)) if n else None,
                    "interval": None if math.isnan(interval[0]) else list(interval),
                    "n": n,
                }
        return found


def find_scores(folder: Path) -> list[Path]:
    """Return the files of scores in a folder."""
    candidates = [one for one in sorted(folder.glob("*.json")) if is_file(one) and not one.name.startswith(".")]
    return [one for one in candidates if one.stat().st_size <= MAX_SEARCHED_BYTES and _tables(one)]


def _tables(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the scores in a file by remover: one, or several as ``unclouded demo`` writes; none for another file."""
    try:
        content = read_json_object(path, MAX_BYTES)
    except InputError:
        return {}
    if _is_scores(content):
        provenance = content.get("provenance")
        remover = provenance.get("remover") if isinstance(provenance, dict) else None
        return {f"{path.stem}: {remover}" if isinstance(remover, str) else path.stem: content}
    tables = {name: one for name, one in content.items() if _is_scores(one)}
    return tables if len(tables) == len(content) else {}


def _is_scores(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and str(content.get("definition", "")).startswith(_DEFINITION)
        and isinstance(content.get("patches"), Mapping)
    )


def read_scores(paths: Sequence[Path], title: str) -> ScoresTable:
    """Read files of scores into one table.

    Raises:
        InputError: A file does not have the form of scores, or the files share no patch.
    """
    tables: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        tables |= _tables(path)
    removers, protocol = {}, {}
    for name, content in tables.items():
        removers[name] = {patch: _patch(patch, one, name) for patch, one in content["patches"].items()}
        known = content.get("protocol")
        protocol[name] = dict(known) if isinstance(known, Mapping) else {}
    table = ScoresTable(title, removers, protocol)
    if not removers or not table.names:
        raise InputError(f"{', '.join(named(one) for one in paths)} share no patch; show them one at a time")
    return table


def _patch(name: str, content: object, origin: str) -> ScoredPatch:
    if not isinstance(content, Mapping) or not all(isinstance(content.get(area), Mapping) for area in AREAS):
        raise InputError(f"{origin}: {name[:80]} has no scores; create the file again with 'unclouded evaluate'")
    values = {area: {metric: _number(content[area].get(metric)) for metric in METRICS} for area in AREAS}
    return ScoredPatch(name, str(content.get("roi") or ""), _number(content.get("coverage")), values)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]


def match_predictions(table: ScoresTable, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folder of the predictions of each remover: that whose error on a patch is the one in the scores."""
    import numpy as np

    from unclouded.viewer.patches import read_prediction

    found: dict[str, Path] = {}
    if table.images is None:
        return found
    for folder in folders:
        for name in table.names:
            try:
                predicted, clear = read_prediction(folder, name), table.images.optical(name, "clear")
            except (KeyError, InputError):
                continue
            if predicted.shape != clear.shape:
                break
            mae = float(np.nanmean(np.abs(predicted - clear)))
            gaps = {one: abs((scored[name].values["all"]["mae"] or 0) - mae) for one, scored in table.removers.items()}
            best = min(gaps, key=lambda one: gaps[one])
            if gaps[best] <= _SAME_MAE and best not in found:
                found[best] = folder
            break
    return found

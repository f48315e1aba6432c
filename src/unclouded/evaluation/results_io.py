"""Files of scores: JSON with all results, and a Parquet table with one row per patch.

:func:`write_scores` writes both, :func:`load_scores` reads the JSON file, validates it, and checks that its means and
hashes follow from its patches.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unclouded.errors import InputError
from unclouded.evaluation import scores as groups
from unclouded.evaluation.comparison import intervals
from unclouded.evaluation.scores import (
    AREAS,
    DEFINITION,
    METRICS,
    Area,
    ClearPixels,
    PatchScores,
    Provenance,
    Scores,
    mean_scores,
)
from unclouded.files import is_file, named, open_file, whole_file, write_json
from unclouded.patches.reading import DamagedTriplet, skipped_json
from unclouded.strict_json import read_json_object

MAX_BYTES = 512 << 20
"""Largest file that is read; scores of all 122,218 patches of SEN12MS-CR take about 200 MB."""


def write_scores(path: Path, scores: Scores, rng: np.random.Generator) -> None:
    """Write ``path`` (JSON) and, beside it, the scores of each patch as Parquet, both atomically.

    Args:
        path: The JSON file; the Parquet file has the suffix ``.parquet`` instead.
        scores: Scores to write.
        rng: Random generator of the bootstrap intervals.
    """
    path, table = scores_files(path)
    with whole_file(path) as partial:  # neither file is replaced before both are written: they belong together
        write_json(partial, scores_json(scores, rng))
        write_parquet(table, scores)


def scores_files(path: Path) -> tuple[Path, Path]:
    """Return the two files that :func:`write_scores` writes.

    Raises:
        InputError: Both would have one name.
    """
    if path.suffix == ".parquet":
        raise InputError(f"{named(path)} is the name of the table beside the scores; choose a name such as scores.json")
    return path, path.with_suffix(".parquet")


def scores_json(scores: Scores, rng: np.random.Generator) -> dict[str, Any]:
    """Return all results as JSON values; ``write_json`` turns NaN and infinity into null."""
    provenance = scores.provenance
    optional = {"precision_recall": scores.precision_recall, "extras": scores.extras}
    return {
        "definition": DEFINITION,
        "protocol": dict(scores.protocol),
        "provenance": None if provenance is None else _provenance_json(scores, provenance),
        "bands": list(scores.bands),
        "clear_pixels": scores.clear_pixels,
        "skipped": skipped_json(scores.skipped),
        "mean": groups.means(scores.patches),
        "interval": intervals(scores.patches, rng),
        **{name: value for name, value in optional.items() if value is not None},
        "coverage": groups.by_coverage(scores.patches),
        "season": groups.by_season(scores.patches),
        "roi": groups.by_region(scores.patches),
        "brightness": groups.by_brightness(scores.patches),
        "patches": {patch.name: _patch_json(patch) for patch in scores.patches},
    }


def _provenance_json(scores: Scores, provenance: Provenance) -> dict[str, Any]:
    return {
        "remover": provenance.remover,
        "weights_sha256": provenance.weights_sha256,
        "predictions": provenance.predictions,
        "predictions_sha256": scores.predictions_sha256,
        "split": {"name": provenance.split, "n": len(scores.patches), "sha256": scores.split_sha256},
        "missing": list(provenance.missing),
        "training_overlap": None if provenance.training_overlap is None else list(provenance.training_overlap),
        "software": provenance.software,
        "trained_map": None if provenance.trained_map is None else dict(provenance.trained_map),
    }


def _patch_json(patch: PatchScores) -> dict[str, Any]:
    areas: dict[str, Any] = {area: {**patch.values[area], "pixels": patch.pixels[area]} for area in AREAS}
    for area in areas.values():
        if math.isinf(area["psnr"]):
            area |= {"psnr": None, "exact": True}
    return {
        "coverage": patch.coverage,
        "brightness": patch.brightness,
        "roi": patch.region,
        "sha256": patch.sha256,
        **areas,
    }


def write_parquet(path: Path, scores: Scores) -> None:
    """Write a table with one row per patch: name, roi, season, coverage, brightness, then ``mae_cloudy`` and the like.

    The table's metadata entry ``unclouded`` holds protocol and provenance as JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(patch) for patch in scores.patches]
    provenance = None if scores.provenance is None else asdict(scores.provenance)
    record = json.dumps({"protocol": dict(scores.protocol), "provenance": provenance}, ensure_ascii=False)
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"unclouded": record})
    with whole_file(path) as partial, partial.open("wb") as output:  # pyarrow takes only paths in UTF-8
        pq.write_table(table, output)


def _row(patch: PatchScores) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": patch.name,
        "roi": patch.region,
        "season": patch.season,
        "coverage": patch.coverage,
        "brightness": patch.brightness,
    }
    for area in AREAS:
        row[f"pixels_{area}"] = patch.pixels[area]
        row |= {f"{metric}_{area}": patch.values[area][metric] for metric in METRICS}
    return row


class _Record(BaseModel):
    """Part of a file of scores; keys added by a later version are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


_ABOUT_ONE = 1 + 1e-6
Share = Annotated[float, Field(strict=True, ge=0, le=_ABOUT_ONE, allow_inf_nan=False)]
"""A value in [0, 1]; also an error of reflectances clipped to [0, 1]."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e9)]
"""Any mean or count."""


class _AreaRecord(_Record):
    """Metrics of one patch, limited to the range of their definitions."""

    pixels: int = Field(strict=True, ge=0, le=10**12)
    mae: Share | None
    rmse: Share | None
    psnr: float | None = Field(strict=True, ge=-1e-3, le=1e4, allow_inf_nan=False)
    ssim: float | None = Field(strict=True, ge=-_ABOUT_ONE, le=_ABOUT_ONE, allow_inf_nan=False)
    sam: float | None = Field(strict=True, ge=0, le=180 * _ABOUT_ONE, allow_inf_nan=False)
    sam_global: float | None = Field(strict=True, ge=0, le=math.pi * _ABOUT_ONE, allow_inf_nan=False)

    def values(self) -> dict[str, float]:
        """Return the metrics; null means infinity for the PSNR of an exact prediction, else NaN."""
        found = {metric: math.nan if (v := getattr(self, metric)) is None else float(v) for metric in METRICS}
        return found | ({"psnr": math.inf} if self.psnr is None and self.rmse == 0 else {})


class _PatchRecord(_Record):
    coverage: Share
    brightness: Share | None
    roi: str
    sha256: str
    all: _AreaRecord
    cloudy: _AreaRecord
    clear: _AreaRecord


class _SkippedRecord(_Record):
    patch: str
    reason: str


class _PrecisionRecallRecord(BaseModel):
    """Improved precision and recall; further keys are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    protocol: dict[str, Any] = Field(default_factory=dict)
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None


class _SplitRecord(_Record):
    name: str
    n: int = Field(strict=True, ge=0)
    sha256: str


class _ProvenanceRecord(_Record):
    remover: str
    weights_sha256: str
    predictions: str
    predictions_sha256: str
    split: _SplitRecord
    missing: tuple[str, ...]
    software: str
    training_overlap: tuple[str, ...] | None = None
    trained_map: dict[str, Any] | None = None


class _ProtocolRecord(_Record):
    definition: str
    bands: tuple[str, ...]
    clear_pixels: ClearPixels
    clouds: dict[str, Any] | None
    synthetic: dict[str, Any] | None


class _ScoresRecord(_Record):
    protocol: _ProtocolRecord
    provenance: _ProvenanceRecord | None
    mean: dict[Area, dict[str, Number | None]]
    patches: dict[str, _PatchRecord] = Field(min_length=1)
    skipped: tuple[_SkippedRecord, ...] = ()
    precision_recall: _PrecisionRecallRecord | None = None
    extras: dict[str, dict[str, Any]] | None = None


_BEGINNING = re.compile(rb'\s*\{\s*"definition"\s*:\s*"unclouded-scores-')


def is_result(path: Path) -> bool:
    """Whether a file begins like those of :func:`write_scores`, with any version of the definition."""
    if not is_file(path):
        return False
    try:
        with open_file(path) as file:
            return _BEGINNING.match(file.read(200)) is not None
    except InputError:
        return False


def load_scores(path: Path) -> Scores:
    """Read a file of :func:`write_scores`.

    Raises:
        InputError: The file is not a file of scores, has another version of the definition, is larger than
            :data:`MAX_BYTES`, or is inconsistent: its means and hashes must follow from its patches.
    """
    content = read_json_object(path, MAX_BYTES, "give a file that 'unclouded evaluate --out' wrote")
    if content.get("definition") != DEFINITION:
        found = str(content.get("definition"))[:80]
        raise InputError(f"{named(path)} has the definition {found}, expected {DEFINITION}; evaluate again")
    try:
        record = _ScoresRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:120]
        raise InputError(
            f"{named(path)} is not a complete file of scores: {where}: {first['msg']}; evaluate again"
        ) from error
    scores = _scores(record)
    _require_consistent(path, record, scores)
    return scores


def _scores(record: _ScoresRecord) -> Scores:
    provenance = record.provenance
    return Scores(
        record.protocol.bands,
        record.protocol.clear_pixels,
        tuple(_patch(name, one) for name, one in record.patches.items()),
        record.protocol.clouds,
        record.protocol.synthetic,
        None
        if provenance is None
        else Provenance(
            provenance.remover,
            provenance.split.name,
            provenance.weights_sha256,
            provenance.predictions,
            provenance.missing,
            provenance.software,
            provenance.training_overlap,
            provenance.trained_map,
        ),
        record.precision_recall.model_dump(exclude_unset=True) if record.precision_recall else None,
        record.extras,
        tuple(DamagedTriplet(one.patch, one.reason) for one in record.skipped),
    )


def _patch(name: str, record: _PatchRecord) -> PatchScores:
    areas: Mapping[Area, _AreaRecord] = {"all": record.all, "cloudy": record.cloudy, "clear": record.clear}
    return PatchScores(
        name,
        record.coverage,
        {area: one.pixels for area, one in areas.items()},
        {area: one.values() for area, one in areas.items()},
        math.nan if record.brightness is None else record.brightness,
        record.sha256,
        record.roi,
    )


def _require_consistent(path: Path, record: _ScoresRecord, scores: Scores) -> None:
    for area in AREAS:
        for metric, value in mean_scores(scores.patches, area).items():
            written = record.mean.get(area, {}).get(metric)
            if not (math.isclose(value, written, rel_tol=1e-9) if written is not None else not math.isfinite(value)):
                found = f"mean.{area}.{metric} is {written}, its patches give {value:.6g}"
                raise InputError(f"{named(path)} contradicts itself: {found}; evaluate again")
    if (provenance := record.provenance) is None:
        return
    hashes = (provenance.split.sha256, provenance.predictions_sha256)
    if hashes != (scores.split_sha256, scores.predictions_sha256):
        raise InputError(f"{named(path)} contradicts itself: its hashes do not follow from its patches; evaluate again")

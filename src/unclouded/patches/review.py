"""Review of a data set: decisions on regions, scenes and patches, with reason and reviewer, and their effect on rows.

A review is a CSV file with the columns :data:`COLUMNS`. The most specific decision on a patch counts: that on the patch
itself, on one of its scenes, or on its region. Rows of the manifest change their status, and no image is written or
deleted, so every decision can be reverted.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import named, read_small, write_text
from unclouded.patches.manifest import FAILED, ManifestRow, as_written, read_manifest, write_manifest
from unclouded.patches.roi import MANIFEST, REVIEW, REVIEWED, SENSORS

COLUMNS = ("name", "decision", "reason", "reviewer")
ACCEPT, REJECT = "accept", "reject"
MAX_BYTES, MAX_TEXT = 16 << 20, 500


@dataclass(frozen=True)
class Decision:
    """Decision of a reviewer.

    Attributes:
        name: Patch, region, or product of a scene.
        decision: ``accept`` or ``reject``.
        reason: Reason, one line.
        reviewer: Name or initials.
    """

    name: str
    decision: str
    reason: str
    reviewer: str

    def __str__(self) -> str:
        return f"{self.decision}ed by {self.reviewer}: {self.reason}"


def read_review(path: Path) -> dict[str, Decision]:
    """Read a review; of several rows on one name the last counts.

    Raises:
        InputError: The file is not CSV with these columns, or a row is incomplete; the message names the row.
    """
    try:
        text = read_small(path, MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{named(path)} is not a CSV file ({error}); expected the columns {','.join(COLUMNS)}"
        ) from error
    head = text.partition("\n")[0].strip()
    if set(COLUMNS) - {*next(csv.reader([head]), [])}:
        raise InputError(f"{named(path)} has the columns {head[:80]!r}, expected {','.join(COLUMNS)}")
    found = {}
    for number, row in enumerate(rows, start=2):
        cells = [" ".join((row[column] or "").replace(";", ",").split()) for column in COLUMNS]
        if not all(cells) or max(map(len, cells)) > MAX_TEXT or not all(map(str.isprintable, cells)):
            raise InputError(f"{named(path)}, row {number}: expected {', '.join(COLUMNS)}, each one short line of text")
        if cells[1] not in (ACCEPT, REJECT):
            raise InputError(
                f"{named(path)}, row {number}: found the decision {cells[1][:20]!r}, expected accept or reject"
            )
        found[cells[0]] = Decision(*cells)
    return found


def write_review(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions as CSV, sorted by name."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([getattr(one, column) for column in COLUMNS] for one in sorted(decisions, key=lambda one: one.name))
    write_text(path, text.getvalue())


def require_known(decisions: Mapping[str, Decision], rows: Iterable[Mapping[str, Any]], origin: str) -> None:
    """Require that every decision is on a patch, region or product of a data set.

    Raises:
        InputError: Lists the first name that is none.
    """
    known = {name for row in rows for name in _names(row)}
    if unknown := [name for name in decisions if name not in known]:
        more = f" and {len(unknown) - 1:,} more names" if len(unknown) > 1 else ""
        raise InputError(
            f"{origin}: {unknown[0]!r}{more} in no row of the manifest, expected patches, regions or products"
        )


def reviewed(rows: Iterable[Mapping[str, Any]], decisions: Mapping[str, Decision]) -> list[ManifestRow]:
    """Return the rows of a manifest with the decisions of a review, in place of those of an earlier one.

    A rejection turns a kept patch into a rejected one. An acceptance overrides a wider rejection, and keeps a patch
    that a check rejected if its three images exist.
    """
    return [_decided(_undecided(dict(row)), decisions) for row in rows]


def _names(row: Mapping[str, Any]) -> list[str]:
    """Return the names under which a decision may concern a row, the most specific first."""
    given = [row.get("patch"), *(row.get(f"{token}_product") for token in SENSORS), row.get("roi")]
    return [str(name) for name in given if name]


def _decided(row: ManifestRow, decisions: Mapping[str, Decision]) -> ManifestRow:
    found = [decisions[name] for name in _names(row) if name in decisions]
    if not found or row["status"] == FAILED:
        return row
    of_scenes = [one for one in found[: len(SENSORS) + 1] if one.name not in (row.get("patch"), row.get("roi"))]
    rejected_scene = next((one for one in of_scenes if one.decision == REJECT), None)
    decision = rejected_scene if rejected_scene and found[0].name != row.get("patch") else found[0]
    findings = [*(row.get("findings") or ()), REVIEWED + decision.decision]
    if decision.decision == REJECT and row["status"] == "kept":
        return {**row, "status": "rejected", "reason": str(decision), "findings": findings}
    if decision.decision == ACCEPT and row["status"] == "rejected" and all(row.get(token) for token in SENSORS):
        return {**row, "status": "kept", "reason": f"{decision}; {row['reason'] or ''}", "findings": findings}
    return row


def _undecided(row: ManifestRow) -> ManifestRow:
    """Return a row without the decisions of an earlier review."""
    findings: Sequence[str] = row.get("findings") or ()
    own = [finding for finding in findings if not finding.startswith(REVIEWED)]
    if REVIEWED + REJECT in findings:
        return {**row, "status": "kept", "reason": None, "findings": own}
    if REVIEWED + ACCEPT in findings:
        reason = str(row["reason"]).partition("; ")[2] or None
        return {**row, "status": "rejected", "reason": reason, "findings": own}
    return row


def apply_review(root: Path, decisions: Mapping[str, Decision], origin: str) -> str:
    """Add decisions to the review of a data set, and rewrite its manifest; return the counts as a line of text.

    Args:
        root: Root folder.
        decisions: New decisions by name.
        origin: Name of their file, for messages.

    Raises:
        InputError: The data set has no manifest, or a name is not in it.
    """
    rows = read_manifest(root / MANIFEST)
    require_known(decisions, rows, origin)
    path = root / REVIEW
    known = {**(read_review(path) if path.is_file() else {}), **decisions}
    write_review(path, known.values())
    before = [row["status"] for row in rows]
    listed = [as_written(row) for row in reviewed(rows, known)]
    write_manifest(root / MANIFEST, listed)
    changed = sum(row["status"] != status for row, status in zip(listed, before, strict=True))
    kept = sum(row["status"] == "kept" for row in listed)
    return f"{root / MANIFEST}: {len(known):,} decisions in force, {changed:,} patches changed, {kept:,} kept"

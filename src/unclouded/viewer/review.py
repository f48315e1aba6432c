"""Review of a data set: decisions go to ``review.csv``, the file of ``unclouded data review``, at once.

The manifest, which takes a second for ten thousand patches, follows when nothing was decided for a moment and when the
viewer ends. A decision is on disk before it is confirmed; after a crash, the next start of the viewer or
``unclouded data review`` brings the manifest up to date.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import is_file
from unclouded.locks import held
from unclouded.patches.manifest import FAILED, read_manifest
from unclouded.patches.review import (
    ACCEPT,
    MAX_TEXT,
    REJECT,
    Decision,
    apply_review,
    read_review,
    reviewed,
    write_review,
)
from unclouded.patches.roi import MANIFEST, REVIEW, SENSORS
from unclouded.viewer.patches import PatchImages

APPLY_AFTER_S = 3.0
"""Seconds without a decision before the manifest follows."""

_logger = logging.getLogger(__name__)


class ReviewedDataset:
    """Data set with a manifest, and the decisions on its patches.

    Args:
        root: Root of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = PatchImages(root)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        review, manifest = root / REVIEW, root / MANIFEST
        if is_file(review) and is_file(manifest) and review.stat().st_mtime_ns > manifest.stat().st_mtime_ns:
            self._apply_soon()  # an earlier viewer was killed between a decision and the manifest

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Patches as the front end lists them: name, region, season, split, status without review, coverage."""
        undecided = reviewed(read_manifest(self.root / MANIFEST), {})
        return [_listed(row) for row in undecided if row["status"] != FAILED]

    def decisions(self) -> dict[str, Decision]:
        """Decisions in force, by name.

        Raises:
            InputError: ``review.csv`` is damaged.
        """
        path = self.root / REVIEW
        return read_review(path) if is_file(path) else {}

    def json(self) -> dict[str, Any]:
        """Return the data set for the front end."""
        return {"title": self.root.resolve().name, "patches": self.rows, **self.review_json()}

    def review_json(self) -> dict[str, Any]:
        """Return the decisions for the front end."""
        return {"decisions": {name: asdict(one) for name, one in self.decisions().items()}}

    def decide(self, given: object) -> dict[str, Any]:
        """Add, replace or withdraw a decision; return all that are in force.

        Args:
            given: JSON value with ``name``, ``decision`` (``accept``, ``reject``, or None to withdraw it), ``reason``
                and ``reviewer``.

        Raises:
            InputError: A value is missing, or the name is not part of the data set.
            BusyError: Another process is writing the data set.
        """
        decision = self._parsed(given)
        name = decision if isinstance(decision, str) else decision.name
        if name not in {one[key] for one in self.rows for key in ("name", "roi")}:
            raise InputError(f"{name!r} is neither a patch nor a region of this data set")
        with self._lock, held(self.root):
            decisions = self.decisions()
            decisions.pop(name, None)
            if isinstance(decision, Decision):
                decisions[name] = decision
            write_review(self.root / REVIEW, decisions.values())
        self._apply_soon()
        return {"decisions": {one: asdict(made) for one, made in decisions.items()}}

    @staticmethod
    def _parsed(given: object) -> Decision | str:
        """Return a decision, or the name whose decision is withdrawn."""
        cells = {}
        for key in ("name", "reason", "reviewer"):
            value = given.get(key) if isinstance(given, Mapping) else None
            cells[key] = " ".join(value.replace(";", ",").split()) if isinstance(value, str) else ""
            if len(cells[key]) > MAX_TEXT or not cells[key].isprintable():
                raise InputError(f"expected a {key} of one short line of text")
        decision = given.get("decision") if isinstance(given, Mapping) else ""
        if decision is None and cells["name"]:
            return cells["name"]
        if decision not in (ACCEPT, REJECT) or not all(cells.values()):
            raise InputError("expected name, reason and reviewer, and the decision accept or reject")
        return Decision(cells["name"], str(decision), cells["reason"], cells["reviewer"])

    def _apply_soon(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(APPLY_AFTER_S, self.apply)
            self._timer.daemon = True
            self._timer.start()

    def apply(self) -> None:
        """Bring the manifest up to date with the decisions."""
        with self._lock:
            self._timer = None
            try:
                with held(self.root):
                    _logger.info("%s", apply_review(self.root, {}, REVIEW))
            except Exception as error:  # a timer has no caller that could report it
                _logger.warning(
                    "the manifest is not up to date with the review (%s); run 'unclouded data review %s %s'",
                    error,
                    self.root,
                    self.root / REVIEW,
                )

    def close(self) -> None:
        """Bring the manifest up to date if a decision is waiting."""
        with self._lock:
            waiting = self._timer
            if waiting is not None:
                waiting.cancel()
        if waiting is not None:
            self.apply()


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    coverage = row.get("mean_coverage")
    return {
        "name": row["patch"],
        "roi": row.get("roi") or "",
        "season": row.get("season") or "",
        "split": row.get("split") or "",
        "status": row["status"],
        "reason": row.get("reason") or "",
        "findings": list(row.get("findings") or ()),
        "coverage": None if coverage is None else round(float(coverage), 4),
        "dates": {token: str(row[f"{token}_acquired"])[:10] for token in SENSORS if row.get(f"{token}_acquired")},
    }

"""A manifest in a few lines: what became of the candidates, what rejected them, and where those kept belong."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unclouded.patches.manifest import SET_ASIDE, STATUSES
from unclouded.patches.screening import ScreeningSettings


def summary_lines(rows: Sequence[Mapping[str, Any]], settings: ScreeningSettings) -> list[str]:
    """Return a line for statuses, for the checks that reject, and for seasons and parts of the candidates kept.

    A candidate that two checks reject counts for both.

    Args:
        rows: Of a manifest.
        settings: Says which checks reject nothing.
    """
    patches = [row for row in rows if row["status"] != SET_ASIDE]
    kept = [row for row in patches if row["status"] == "kept"]
    rejecting = (
        check
        for row in patches
        for check in {finding.partition(":")[0] for finding in row["findings"] or ()} - {*settings.remarks}
    )
    counts = {
        "candidates": _counted((row["status"] for row in patches), STATUSES),
        "rejected by": _counted(rejecting),
        "kept by season": _counted(row["season"] for row in kept),
        "kept by part": _counted((row["split"] for row in kept), ("train", "val", "test")),
    }
    return [f"  {name:<15} {told}" for name, told in counts.items() if told]


def _counted(words: Iterable[str | None], order: Sequence[str] = ()) -> str:
    """Return how often each word is there, in an order that is given, or the most frequent first."""
    counts = Counter(word for word in words if word)
    ordered = [word for word in order if word in counts] or sorted(counts, key=lambda word: (-counts[word], word))
    return ", ".join(f"{word} {counts[word]:,}" for word in ordered)

"""What screening found in a whole data set: counts by check, one line a finding, JSON."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unclouded.patches.screening import Screening, ScreeningSettings


@dataclass(frozen=True)
class ScreeningReport:
    """The screenings of a data set.

    Attributes:
        screenings: One a patch.
        settings: Thresholds.
    """

    screenings: tuple[Screening, ...]
    settings: ScreeningSettings

    @property
    def rejected(self) -> tuple[Screening, ...]:
        """The patches that a check rejects."""
        return tuple(one for one in self.screenings if one.rejecting(self.settings))

    def counts(self) -> dict[str, int]:
        """Return in how many patches each check found something, the most frequent first."""
        checks = (check for one in self.screenings for check in sorted({finding.check for finding in one.findings}))
        return dict(Counter(checks).most_common())

    def to_text(self) -> str:
        """Return counts, then one line a finding."""
        total = len(self.screenings)
        counts = (
            f"  {check:<13}{count:>8,}{'  remark only' if check in self.settings.remarks else ''}"
            for check, count in self.counts().items()
        )
        found = (f"{one.name}: {finding}" for one in self.screenings for finding in one.findings)
        return "\n".join([f"{total:,} patches screened, {len(self.rejected):,} rejected", *counts, *found])

    def to_json(self) -> dict[str, Any]:
        """Return settings, counts and all findings."""
        return {
            "patches": len(self.screenings),
            "rejected": len(self.rejected),
            "counts": self.counts(),
            "settings": self.settings.model_dump(mode="json"),
            "findings": list(_rows(self.screenings, self.settings)),
        }


def _rows(screenings: Iterable[Screening], settings: ScreeningSettings) -> Iterable[dict[str, Any]]:
    for one in screenings:
        for finding in one.findings:
            rejects = finding.check not in settings.remarks
            yield {"patch": one.name, "rejects": rejects, **vars(finding)}

"""Cloud coverage of a data set: of every patch, and mean and deviation by season and region."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings, cloud_map, cloudy_share, mean_coverage
from unclouded.errors import InputError
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import Damaged, DamagedTriplet, each_readable, read_triplet, skipped_json

BINS = 20
"""Number of equal bins of the histogram, from 0 to 1."""


@dataclass(frozen=True)
class PatchCoverage:
    """Cloud coverage of one patch.

    Attributes:
        name: Patch name.
        season: Meteorological season; empty if the name is not an official one.
        roi: Region; empty if the name is not an official one.
        mean_coverage: Mean of the cloud map m, our reading of the coverage in section III-A of the paper.
        cloudy_share: Share of the pixels with m > 0.
    """

    name: str
    season: str
    roi: str
    mean_coverage: float
    cloudy_share: float


@dataclass(frozen=True)
class CoverageStatistics:
    """Cloud coverage of many patches.

    Attributes:
        patches: One entry per patch.
        skipped: Patches without coverage, because their files are damaged or missing.
    """

    patches: tuple[PatchCoverage, ...]
    skipped: tuple[DamagedTriplet, ...] = ()

    def histogram(self) -> NDArray[np.int64]:
        """Return the number of patches in :data:`BINS` bins of mean coverage from 0 to 1 (Fig. 5 and 8)."""
        return np.histogram([one.mean_coverage for one in self.patches], bins=BINS, range=(0.0, 1.0))[0]

    def to_json(self) -> dict[str, Any]:
        """Return count, mean and deviation of both definitions: over all patches, by season and by region."""
        return {
            "skipped": skipped_json(self.skipped),
            "all": _summary(self.patches),
            "histogram": {"bins": BINS, "patches": self.histogram().tolist()},
            "season": {name: _summary(group) for name, group in self._groups("season").items()},
            "roi": {name: _summary(group) for name, group in self._groups("roi").items()},
        }

    def to_csv(self) -> str:
        """Return a table with one row per patch."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["patch", "season", "roi", "mean_coverage", "cloudy_share"])
        for one in self.patches:
            lines.writerow([one.name, one.season, one.roi, f"{one.mean_coverage:.6f}", f"{one.cloudy_share:.6f}"])
        return text.getvalue()

    def _groups(self, key: str) -> dict[str, list[PatchCoverage]]:
        groups: dict[str, list[PatchCoverage]] = defaultdict(list)
        for one in self.patches:
            if name := getattr(one, key):
                groups[name].append(one)
        return dict(groups)


def _summary(patches: Iterable[PatchCoverage]) -> dict[str, float]:
    means, shares = (np.array(v) for v in zip(*((p.mean_coverage, p.cloudy_share) for p in patches), strict=True))
    return {
        "patches": len(means),
        "mean_coverage": float(means.mean()),
        "mean_coverage_deviation": float(means.std()),
        "cloudy_share": float(shares.mean()),
        "cloudy_share_deviation": float(shares.std()),
    }


def measure_coverage(
    files: Sequence[TripletFiles],
    settings: CloudMapSettings,
    cache: ProbabilityCache | None,
    *,
    threads: int = 2,
    damaged: Damaged = "refuse",
    skipped: list[DamagedTriplet] | None = None,
) -> Iterator[PatchCoverage]:
    """Yield the cloud coverage of the patches of a data set in their order, computed in parallel.

    Args:
        files: Patches. All images of a patch are read and checked, as 'data check' does.
        settings: Settings of the cloud map.
        cache: Cache of cloud probabilities.
        threads: Images processed in parallel.
        damaged: Treatment of a damaged patch, or of one whose clouds are unknown everywhere.
        skipped: List to which skipped patches are appended.

    Raises:
        InputError: A patch is damaged and ``damaged`` is ``refuse``, or all are damaged.
    """

    def measure(one: TripletFiles) -> PatchCoverage | InputError:
        try:
            image = read_triplet(one).cloudy
        except InputError as error:
            return error
        m = cloud_map(image.values, image.bands, settings, cache=cache)
        if np.isnan(m).all():
            return InputError(f"{one.cloudy} has no pixel with data in all bands of the detector; fetch it again")
        roi = one.roi
        return PatchCoverage(one.name, roi.season if roi else "", str(roi or ""), mean_coverage(m), cloudy_share(m))

    def next_one(_: int) -> PatchCoverage:
        found = next(measured)
        if isinstance(found, InputError):
            raise found
        return found

    pool = ThreadPoolExecutor(threads)
    try:
        measured = pool.map(measure, files)
        yield from each_readable([one.name for one in files], next_one, damaged, [] if skipped is None else skipped)
    finally:
        pool.shutdown(cancel_futures=True)

"""Choice of radar, clear and cloudy scenes for a region, from metadata and measured cloud coverage.

:func:`choose` filters the :class:`SceneRecord` of a region by its :class:`TripletRequirements`, measures the coverage
of the remaining optical scenes, and gives a reason for every scene. :func:`~unclouded.catalogue.pairing.pair` picks the
three of one meteorological season that are closest in time (Ebel et al. 2020, section III-A). :func:`choices_table`
writes the reasons as CSV.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Literal

from unclouded.catalogue.pairing import APART_DAYS, Candidate, NoTripletError, Pairing, pair, season_of
from unclouded.errors import InputError
from unclouded.sentinel.footprints import shown_share

Kind = Literal["radar", "optical"]

ROLES = ("radar", "clear", "cloudy")

ONE_ACQUISITION: Mapping[Kind, timedelta] = {"radar": timedelta(seconds=5), "optical": timedelta(minutes=5)}
"""Largest difference of the times of one acquisition: processings give sensing times that differ by seconds, and the
parts of an optical tile are seconds apart; radar slices start every 25 s, and the next overpass is 90 minutes later."""

COLUMNS = (
    "roi",
    "kind",
    "product",
    "acquired",
    "product_cloud_percent",
    "region_cloud_percent",
    "region_shown_percent",
    "decision",
    "place",
)
"""Columns of the table of choices."""


@dataclass(frozen=True)
class SceneRecord:
    """Metadata of a scene.

    Attributes:
        name: Product name.
        kind: Radar or optical.
        acquired: Acquisition time in UTC.
        footprint: GeoJSON geometry in degrees.
        cloud_percent: Cloud cover of the whole product, from its metadata.
        place: Path or URL.
        zone: UTM zone of an optical scene; None if unknown.
        tile: Granule of a product of the old format that has several.
        mgrs: MGRS tile of an optical scene, such as T32TQM; empty if unknown.
        baseline: Processing baseline of an optical scene, such as 05.00; empty if unknown.
        item: STAC item that describes the scene, untrusted; None for a product on disk.
    """

    name: str
    kind: Kind
    acquired: datetime
    footprint: Mapping[str, Any]
    cloud_percent: float | None = None
    place: str = ""
    zone: str | None = None
    tile: str | None = None
    mgrs: str = ""
    baseline: str = ""
    item: Any = field(default=None, compare=False, repr=False)

    @property
    def platform(self) -> str:
        """Satellite in the product name, such as S2A; empty if there is none."""
        found = re.match(r"S[12][A-Z](?=_)", self.name)
        return found[0] if found else ""


def same_acquisition(first: SceneRecord, second: SceneRecord) -> bool:
    """Return whether two scenes are processings, deliveries or parts of one acquisition.

    Platform, sensing time, orbit and tile identify an acquisition; the orbit follows from platform and time.
    """
    return (first.kind, first.platform, first.mgrs) == (second.kind, second.platform, second.mgrs) and abs(
        first.acquired - second.acquired
    ) <= ONE_ACQUISITION[first.kind]


def zone_of(tile: str) -> str | None:
    """Return the UTM zone of an MGRS tile, such as 32N of T32TQM; None if the name is not a tile."""
    found = re.fullmatch(r"T(\d\d)([C-HJ-NP-X])[A-Z]{2}", tile)
    return f"{found[1]}{'N' if found[2] >= 'N' else 'S'}" if found else None


@dataclass(frozen=True)
class TripletRequirements:
    """Requirements of a region on its scenes.

    Attributes:
        season: Meteorological season.
        center: Longitude and latitude of the center.
        outline: GeoJSON geometry in degrees.
        dates: First and last day; any if omitted.
        covers: Smallest share of the region that a scene covers.
        clear_below: Largest cloud coverage of a clear scene.
        apart_days: Smallest time between the clear and the cloudy scene.
        cloudy_dates: Number of cloudy scenes, each with its radar scene; the further ones are of the tile of the first.
    """

    season: str
    center: tuple[float, float]
    outline: Mapping[str, Any]
    dates: tuple[date, date] | None = None
    covers: float = 0.99
    clear_below: float = 0.01
    apart_days: float = APART_DAYS
    cloudy_dates: int = 1

    def shown(self, record: SceneRecord) -> float:
        """Return the share of the region within a scene's footprint."""
        return shown_share(record.footprint, self.outline, self.center[0])

    def is_of_season(self, record: SceneRecord) -> bool:
        """Return whether a scene is of the season, of any year."""
        return season_of(record.acquired, self.center[1]).name == self.season

    def refusal(self, record: SceneRecord, shown: float) -> str | None:
        """Return why a scene is unusable regardless of its clouds, None if it is usable."""
        if shown < self.covers:
            return f"refused, shows {shown:.1%} of the region, expected {self.covers:.1%}"
        if self.dates and not self.dates[0] <= record.acquired.astimezone(UTC).date() <= self.dates[1]:
            return f"refused, of {record.acquired:%Y-%m-%d}, expected {self.dates[0]} to {self.dates[1]}"
        return None


@dataclass(frozen=True)
class SceneDecision:
    """Decision on a scene.

    Attributes:
        record: Scene.
        decision: Decision and reason, as text.
        coverage: Cloud coverage of the region; None for radar, and if it was not measured.
        shown: Share of the region that the scene covers, 0 to 1.
    """

    record: SceneRecord
    decision: str
    coverage: float | None = None
    shown: float | None = None


@dataclass(frozen=True)
class Choice:
    """Scenes of a region.

    Attributes:
        pairing: Radar, clear and cloudy scene; None if there is no triplet.
        reason: Why there is no triplet; empty otherwise.
        decisions: Decision on every scene, the chosen ones first.
        more: Further cloudy dates: the same clear scene, another cloudy one, and the radar scene for that.
    """

    pairing: Pairing | None
    reason: str
    decisions: tuple[SceneDecision, ...]
    more: tuple[Pairing, ...] = ()

    def records(self, date: int = 0) -> dict[str, SceneRecord]:
        """Return the chosen scene of each role.

        Args:
            date: Cloudy date, from 0 to the number of further ones.

        Raises:
            InputError: There is no triplet.
        """
        if self.pairing is None:
            raise InputError(self.reason)
        by_name = {decision.record.name: decision.record for decision in self.decisions}
        chosen = (self.pairing, *self.more)[date]
        return {role: by_name[getattr(chosen, role).name] for role in ROLES}


MeasureCoverage = Callable[[SceneRecord], tuple[float | None, float]]
"""Measures an optical scene: cloud coverage of the region (None if unknown), and the share of the region it covers."""


def choose(
    records: Sequence[SceneRecord],
    need: TripletRequirements,
    measure: MeasureCoverage,
    chosen: Mapping[str, SceneRecord] | None = None,
) -> Choice:
    """Choose three scenes by :func:`pair`, with a decision on every scene that covers part of the region.

    Cloud coverage is measured only for optical scenes that are otherwise usable. Of several usable processings of one
    acquisition, that of the newest baseline is a candidate.

    Args:
        records: Scenes of any place and time; of several with one name the first counts.
        need: Requirements of the region.
        measure: Measures the coverage of an optical scene.
        chosen: Scenes chosen by the user, by role; they need not meet the requirements on place, dates and clouds.
    """
    chosen = chosen or {}
    fit = {one.name: SceneDecision(one, "") for one in chosen.values()}
    named, refused, copies = list(fit), [], []
    for record in records:
        if not (shown := need.shown(record)):
            continue
        if record.name in fit:
            copies.append(SceneDecision(record, f"refused, the same as {fit[record.name].record.place}", None, shown))
            continue
        decision = _looked_at(record, shown, need, measure)
        if decision.decision:
            refused.append(decision)
        else:
            fit[record.name] = decision
    older = _older_processings([one for one in fit.values() if one.record.name not in named])
    for one in older:
        del fit[one.record.name]
    choice = _paired(fit, named, chosen, need, refused)
    return replace(choice, decisions=(*choice.decisions, *copies, *older))


def _older_processings(scenes: Sequence[SceneDecision]) -> list[SceneDecision]:
    """Return all scenes but the best one of each acquisition: newest baseline, then largest share of the region."""
    best: dict[tuple[str, str, str], list[SceneDecision]] = {}
    older = []
    by_name = sorted(scenes, key=lambda one: one.record.name)
    for one in sorted(by_name, key=lambda one: (one.record.baseline, one.shown or 0.0), reverse=True):
        alike = best.setdefault((one.record.kind, one.record.platform, one.record.mgrs), [])
        newest = next((other for other in alike if same_acquisition(one.record, other.record)), None)
        if newest is None:
            alike.append(one)
        else:
            older.append(replace(one, decision=f"refused, of the same acquisition as {newest.record.name}"))
    return older


def _looked_at(record: SceneRecord, shown: float, need: TripletRequirements, measure: MeasureCoverage) -> SceneDecision:
    """Return the decision on a refused scene, or coverage and share of a usable one, with an empty decision."""
    if refusal := need.refusal(record, shown):
        return SceneDecision(record, refusal, None, shown)
    if record.kind == "radar" or not need.is_of_season(record):
        return SceneDecision(record, "", None, shown)
    try:
        coverage, seen = measure(record)
    except InputError as error:
        return SceneDecision(record, f"refused, {error}", None, shown)
    shown = min(shown, seen)
    return SceneDecision(record, need.refusal(record, shown) or "", coverage, shown)


def _paired(
    fit: Mapping[str, SceneDecision],
    named: Sequence[str],
    chosen: Mapping[str, SceneRecord],
    need: TripletRequirements,
    refused: Sequence[SceneDecision],
) -> Choice:
    scenes = {name: Candidate(name, one.record.acquired, one.coverage, one.record.zone) for name, one in fit.items()}
    free = {
        kind: [scenes[name] for name, one in fit.items() if one.record.kind == kind and name not in named]
        for kind in ("radar", "optical")
    }
    given = {role: scenes[record.name] for role, record in chosen.items()}
    radars = [given["radar"]] if "radar" in given else free["radar"]
    paired = partial(
        pair,
        latitude=need.center[1],
        season=need.season,
        clear_below=need.clear_below,
        apart_days=need.apart_days,
    )
    pairings: list[Pairing] = []
    reasons: Mapping[str, str] = {}
    reason = ""
    try:
        first = paired(radars, free["optical"], clear=given.get("clear"), cloudy=given.get("cloudy"))
        pairings.append(first)
        tile = fit[first.cloudy.name].record.mgrs
        left = [one for one in free["optical"] if fit[one.name].record.mgrs == tile and one.name != first.clear.name]
        while len(pairings) < need.cloudy_dates:
            left = [one for one in left if one.name != pairings[-1].cloudy.name]
            found = paired(radars, left, clear=first.clear)
            radar = _nearest(radars, found.cloudy, need)
            pairings.append(paired([radar], [], clear=first.clear, cloudy=found.cloudy))
        reasons = _joined_reasons(pairings)
    except NoTripletError as error:
        enough = f"found {len(pairings)} of {need.cloudy_dates} cloudy dates; " if pairings else ""
        reasons = pairings[0].reasons if pairings else error.reasons
        reason = f"{enough}{error}{_nearest_miss(refused)}"
    decisions = (*(replace(fit[name], decision=decision) for name, decision in reasons.items()), *refused)
    return Choice(None, reason, decisions) if reason else Choice(pairings[0], "", decisions, tuple(pairings[1:]))


def _nearest(radars: Sequence[Candidate], cloudy: Candidate, need: TripletRequirements) -> Candidate:
    """Return the radar scene of the season of a cloudy one that is nearest to it in time."""
    season = season_of(cloudy.acquired, need.center[1])
    of_season = [one for one in radars if season_of(one.acquired, need.center[1]) == season]
    return min(of_season, key=lambda one: (abs(one.acquired - cloudy.acquired), one.name))


def _joined_reasons(pairings: Sequence[Pairing]) -> dict[str, str]:
    """Return the decision on each scene of several pairings by name, the chosen ones first."""
    chosen: dict[str, str] = {}
    for one in pairings:
        for role in ROLES:
            name = getattr(one, role).name
            chosen.setdefault(name, one.reasons[name])
    return {**chosen, **{name: why for name, why in pairings[0].reasons.items() if name not in chosen}}


def _nearest_miss(refused: Sequence[SceneDecision]) -> str:
    """Return the number of scenes refused before pairing, and the reason for the one that covers most."""
    if not refused:
        return ""
    best = max(refused, key=lambda one: one.shown or 0.0)
    more = "1 more was refused:" if len(refused) == 1 else f"{len(refused):,} more were refused, such as"
    return f", or ask for less: {more} {best.record.name}, {best.decision.removeprefix('refused, ')}"


def choices_table(choices: Mapping[str, Choice], *, measured: bool = True) -> str:
    """Return choices as CSV, one line per scene.

    Args:
        choices: Choices by region name.
        measured: Whether coverage was measured over the region; else it is that of the whole product, listed once.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for roi, choice in choices.items():
        decisions = choice.decisions if measured else [replace(one, coverage=None) for one in choice.decisions]
        table.writerows(_line(roi, decision) for decision in decisions)
    return text.getvalue()


def joined_tables(tables: Iterable[str]) -> str:
    """Return several tables of choices as one."""
    head, *_ = lines = [line for table in tables for line in table.splitlines(keepends=True)]
    return "".join([head, *(line for line in lines if line != head)])


def _line(roi: str, decision: SceneDecision) -> list[str]:
    record = decision.record
    coverage, shown = (None if share is None else 100 * share for share in (decision.coverage, decision.shown))
    numbers = ("" if number is None else f"{number:.2f}" for number in (record.cloud_percent, coverage, shown))
    acquired = record.acquired.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [roi, record.kind, record.name, acquired, *numbers, decision.decision, record.place]

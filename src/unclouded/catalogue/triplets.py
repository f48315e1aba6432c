"""Choice of radar, clear and cloudy scenes for a region, from metadata and measured cloud coverage.

:func:`choose` filters the :class:`SceneRecord` of a region by its :class:`TripletRequirements`, measures the coverage
of the remaining optical scenes, and gives a reason for every scene. :func:`pair` picks the three of one meteorological
season that are closest in time (Ebel et al. 2020, section III-A). :func:`choices_table` writes the reasons as CSV.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import product
from typing import Any, Literal

from unclouded.errors import InputError
from unclouded.sentinel.footprints import shown_share

Kind = Literal["radar", "optical"]

ROLES = ("radar", "clear", "cloudy")

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
    """

    name: str
    kind: Kind
    acquired: datetime
    footprint: Mapping[str, Any]
    cloud_percent: float | None = None
    place: str = ""
    zone: str | None = None
    tile: str | None = None


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
    """

    season: str
    center: tuple[float, float]
    outline: Mapping[str, Any]
    dates: tuple[date, date] | None = None
    covers: float = 0.99
    clear_below: float = 0.01

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
class Candidate:
    """Candidate scene of a region.

    Attributes:
        name: Product name.
        acquired: Acquisition time with time zone.
        coverage: Cloud coverage of the region; None for radar.
        zone: UTM zone of an optical scene, such as 32N; clear and cloudy scenes share it, hence their pixel grid.
    """

    name: str
    acquired: datetime
    coverage: float | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Pairing:
    """Chosen scenes of a triplet.

    Attributes:
        radar: Radar scene.
        clear: Optical scene without clouds.
        cloudy: Other optical scene, of any cloud coverage.
        reasons: Reason of the decision on each candidate, by name.
    """

    radar: Candidate
    clear: Candidate
    cloudy: Candidate
    reasons: Mapping[str, str]

    @property
    def span_days(self) -> float:
        """Days from the first of the three to the last."""
        return _span_days(self.radar, self.clear, self.cloudy)


@dataclass(frozen=True)
class Choice:
    """Scenes of a region.

    Attributes:
        pairing: Radar, clear and cloudy scene; None if there is no triplet.
        reason: Why there is no triplet; empty otherwise.
        decisions: Decision on every scene, the chosen ones first.
    """

    pairing: Pairing | None
    reason: str
    decisions: tuple[SceneDecision, ...]

    def records(self) -> dict[str, SceneRecord]:
        """Return the chosen scene of each role.

        Raises:
            InputError: There is no triplet.
        """
        if self.pairing is None:
            raise InputError(self.reason)
        by_name = {decision.record.name: decision.record for decision in self.decisions[:3]}
        return {role: by_name[getattr(self.pairing, role).name] for role in ROLES}


MeasureCoverage = Callable[[SceneRecord], tuple[float | None, float]]
"""Measures an optical scene: cloud coverage of the region (None if unknown), and the share of the region it covers."""


def choose(
    records: Sequence[SceneRecord],
    need: TripletRequirements,
    measure: MeasureCoverage,
    chosen: Mapping[str, SceneRecord] | None = None,
) -> Choice:
    """Choose three scenes by :func:`pair`, with a decision on every scene that covers part of the region.

    Cloud coverage is measured only for optical scenes that are otherwise usable.

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
    choice = _paired(fit, named, chosen, need, refused)
    return replace(choice, decisions=(*choice.decisions, *copies))


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
    pairing, reason = None, ""
    try:
        pairing = pair(
            [given["radar"]] if "radar" in given else free["radar"],
            free["optical"],
            latitude=need.center[1],
            season=need.season,
            clear_below=need.clear_below,
            clear=given.get("clear"),
            cloudy=given.get("cloudy"),
        )
        reasons = pairing.reasons
    except NoTripletError as error:
        reasons, reason = error.reasons, f"{error}{_nearest_miss(refused)}"
    decisions = [replace(fit[name], decision=decision) for name, decision in reasons.items()]
    return Choice(pairing, reason, (*decisions, *refused))


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


# Pairing: one radar, one clear and one cloudy scene of one season, with the smallest time span.

SEASONS = ("winter", "spring", "summer", "fall")
"""Meteorological seasons of the northern hemisphere, three months each, from December on."""


@dataclass(frozen=True, order=True)
class Season:
    """Meteorological season of a year.

    Attributes:
        year: Year of its last month: December 2017 belongs to a season of 2018.
        name: Local name, as in :data:`SEASONS`; in the southern hemisphere January is summer.
    """

    year: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.year}"


def season_of(when: datetime, latitude: float) -> Season:
    """Return the meteorological season of a time at a latitude; south of the equator it is shifted by half a year."""
    moment = when.astimezone(UTC)
    turned = 0 if latitude >= 0 else 2
    return Season(moment.year + moment.month // 12, SEASONS[(moment.month % 12 // 3 + turned) % 4])


class NoTripletError(InputError):
    """No triplet among the candidates.

    Attributes:
        reasons: Reason of the decision on each candidate, by name.
    """

    def __init__(self, reason: str, reasons: Mapping[str, str]) -> None:
        super().__init__(reason)
        self.reasons = reasons


def pair(
    radars: Sequence[Candidate],
    optical: Sequence[Candidate],
    *,
    latitude: float,
    season: str,
    clear_below: float = 0.01,
    clear: Candidate | None = None,
    cloudy: Candidate | None = None,
) -> Pairing:
    """Choose three scenes of one meteorological season of one year, the closest in time (section III-A of the paper).

    The clear scene has a coverage of at most ``clear_below``; the cloudy scene is any other one of the same UTM zone,
    as coverage never filters it. Ties are resolved by lower coverage, then by name.

    Args:
        radars: Radar scenes of the region.
        optical: Optical scenes with their coverage.
        latitude: Latitude of the region, which determines its seasons.
        season: Spring, summer, fall or winter.
        clear_below: Largest coverage of a clear scene.
        clear: Clear scene chosen by the user, of any coverage.
        cloudy: Cloudy scene chosen by the user.

    Raises:
        NoTripletError: There is no triplet; the message names what is missing.
        InputError: The season is unknown.
    """
    if season not in SEASONS:
        raise InputError(f"expected a season out of {', '.join(SEASONS)}, found {season!r}")
    radars, optical = (sorted(group, key=lambda one: one.name) for group in (radars, optical))
    everyone = [*radars, *optical, *(one for one in (clear, cloudy) if one is not None)]
    refused = {
        one.name: f"refused, of {found} instead of a {season}"
        for one in everyone
        if (found := season_of(one.acquired, latitude)).name != season
    }
    clears = [one for one in optical if _is_clear(one, clear_below)] if clear is None else [clear]
    others = optical if cloudy is None else [cloudy]
    fits = [
        three
        for radar_scenes, clear_scenes, other_scenes in _by_season((radars, clears, others), refused, latitude)
        for three in product(radar_scenes, clear_scenes, other_scenes)
        if three[1].name != three[2].name and (three[1].zone == three[2].zone or None in (three[1].zone, three[2].zone))
    ]
    if not fits:
        reasons = dict(_explained(None, everyone, refused, fits, clear_below))
        raise NoTripletError(_missing(radars, clears, optical, refused, season, clear_below), reasons)
    best = min(fits, key=lambda three: (_span_days(*three), three[1].coverage, *(one.name for one in three)))
    return Pairing(*best, dict(_explained(best, everyone, refused, fits, clear_below)))


def _by_season(
    roles: Sequence[Sequence[Candidate]], refused: Mapping[str, str], latitude: float
) -> Iterator[list[list[Candidate]]]:
    """Yield the radar, clear and other scenes of each season, without the refused ones."""
    found: dict[Season, list[list[Candidate]]] = {}
    for number, role in enumerate(roles):
        for one in role:
            if one.name not in refused:
                found.setdefault(season_of(one.acquired, latitude), [[], [], []])[number].append(one)
    yield from found.values()


def _missing(
    radars: Sequence[Candidate],
    clears: Sequence[Candidate],
    optical: Sequence[Candidate],
    refused: Mapping[str, str],
    season: str,
    clear_below: float,
) -> str:
    radar_count, optical_count, clear_count = (
        sum(one.name not in refused for one in group) for group in (radars, optical, clears)
    )
    others = f", and {len(refused)} of other seasons" if refused else ""
    return (
        f"expected a radar, a clear (up to {clear_below:.1%} cloud) and another optical scene of one {season}, found "
        f"{radar_count} radar and {optical_count} optical scenes in a {season}, {clear_count} of them clear{others}; "
        "search longer"
    )


def _is_clear(one: Candidate, clear_below: float) -> bool:
    return one.coverage is not None and one.coverage <= clear_below


def _span_days(*three: Candidate) -> float:
    times = [one.acquired for one in three]
    return (max(times) - min(times)).total_seconds() / 86_400


def _explained(
    best: tuple[Candidate, Candidate, Candidate] | None,
    everyone: Sequence[Candidate],
    refused: Mapping[str, str],
    fits: Sequence[tuple[Candidate, Candidate, Candidate]],
    clear_below: float,
) -> Iterator[tuple[str, str]]:
    """Yield name and decision of each candidate, the chosen ones first."""
    if best is not None:
        for role, one in zip(("radar", "clear", "cloudy"), best, strict=True):
            covered = "" if one.coverage is None else f", {one.coverage:.1%} cloud"
            span = f"the three span {_span_days(*best):.1f} days"
            yield one.name, f"chosen as {role}, {one.acquired:%Y-%m-%d}{covered}; {span}"
    spans: dict[str, float] = {}
    for three in fits:
        span_days = _span_days(*three)
        spans |= {one.name: min(span_days, spans.get(one.name, span_days)) for one in three}
    for one in everyone:
        if best is not None and one in best:
            continue
        best_days = spans.get(one.name)
        fit = "fits no other scene" if best_days is None else f"at best a span of {best_days:.1f} days"
        cloudy = one.coverage is not None and not _is_clear(one, clear_below)
        yield one.name, refused.get(one.name, f"not chosen, {fit}" + (", too cloudy to be clear" if cloudy else ""))

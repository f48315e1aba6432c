"""Scenes that may serve a region: what is known of each without its pixels, which are taken, and why not the others."""

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
"""Of the table of choices."""


@dataclass(frozen=True)
class SceneRecord:
    """What is known of a scene without its pixels.

    Attributes:
        name: Of the product.
        kind: Radar or optical.
        acquired: When, in UTC.
        footprint: GeoJSON geometry in degrees.
        cloud_percent: Of the whole product, as its metadata say.
        place: Where it is: a path or an address.
        zone: UTM zone of an optical scene, where it is known.
        tile: Which granule it is, where a product of the old format has several.
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
    """Return the UTM zone of a tile of the military grid, such as 32N of T32TQM; None where it is no such tile."""
    found = re.fullmatch(r"T(\d\d)([C-HJ-NP-X])[A-Z]{2}", tile)
    return f"{found[1]}{'N' if found[2] >= 'N' else 'S'}" if found else None


@dataclass(frozen=True)
class TripletRequirements:
    """What a region needs of scenes.

    Attributes:
        season: Meteorological season.
        center: Longitude and latitude of its middle.
        outline: GeoJSON geometry in degrees.
        dates: First and last day; any if omitted.
        covers: Least share of the region that a scene shows.
        clear_below: Largest coverage of a clear scene.
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
        """Say whether a scene is of the season, of whatever year."""
        return season_of(record.acquired, self.center[1]).name == self.season

    def refusal(self, record: SceneRecord, shown: float) -> str | None:
        """Say why a scene can be none of a triplet, whatever its clouds; None where nothing speaks against it."""
        if shown < self.covers:
            return f"refused, shows {shown:.1%} of the region, expected {self.covers:.1%}"
        if self.dates and not self.dates[0] <= record.acquired.astimezone(UTC).date() <= self.dates[1]:
            return f"refused, of {record.acquired:%Y-%m-%d}, expected {self.dates[0]} to {self.dates[1]}"
        return None


@dataclass(frozen=True)
class SceneDecision:
    """What became of a scene.

    Attributes:
        record: The scene.
        decision: In words.
        coverage: Share of the region under clouds; None for radar, and where it was not asked for.
        shown: Share of the region that the scene shows, 0 to 1.
    """

    record: SceneRecord
    decision: str
    coverage: float | None = None
    shown: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A scene of a place.

    Attributes:
        name: Of the product.
        acquired: When, with its zone.
        coverage: Share of the place under clouds; None for radar.
        zone: UTM zone of an optical scene, such as 32N; clear and cloudy are of one, so that their pixels are the same.
    """

    name: str
    acquired: datetime
    coverage: float | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Pairing:
    """The scenes that were chosen.

    Attributes:
        radar: The radar scene.
        clear: The optical scene without clouds.
        cloudy: The other optical scene, however cloudy.
        reasons: Why these, and why each of the others is not among them, by name.
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
    """The scenes of a region.

    Attributes:
        pairing: Radar, clear and cloudy by name; None where no three fit.
        reason: Why none, or nothing.
        decisions: What became of every scene, the chosen ones first.
    """

    pairing: Pairing | None
    reason: str
    decisions: tuple[SceneDecision, ...]

    def records(self) -> dict[str, SceneRecord]:
        """Return the chosen scene of each role.

        Raises:
            InputError: No three fit.
        """
        if self.pairing is None:
            raise InputError(self.reason)
        by_name = {decision.record.name: decision.record for decision in self.decisions[:3]}
        return {role: by_name[getattr(self.pairing, role).name] for role in ROLES}


MeasureCoverage = Callable[[SceneRecord], tuple[float | None, float]]
"""Looks at an optical scene; returns the share of the region under clouds, and the share that it shows."""


def choose(
    records: Sequence[SceneRecord],
    need: TripletRequirements,
    measure: MeasureCoverage,
    chosen: Mapping[str, SceneRecord] | None = None,
) -> Choice:
    """Choose three scenes by :func:`unclouded.catalogue.triplets.pair`, and say of every scene what became of it.

    Scenes that show nothing of the region are no candidates. Only optical ones that nothing else speaks against are
    looked at.

    Args:
        records: Scenes of any place and time; of two with one name the first is taken.
        need: What the region needs.
        measure: Tells the clouds of a scene over the region.
        chosen: Scenes that somebody has chosen already, by role; neither place, dates nor clouds speak against them.
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
    """Return why a scene is refused, or what is known of it when nothing speaks against it."""
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
    """Say how many scenes of the place were refused before any three were looked for, and why the best of them was."""
    if not refused:
        return ""
    best = max(refused, key=lambda one: one.shown or 0.0)
    more = "1 more was refused:" if len(refused) == 1 else f"{len(refused):,} more were refused, such as"
    return f", or ask for less: {more} {best.record.name}, {best.decision.removeprefix('refused, ')}"


def choices_table(choices: Mapping[str, Choice], *, measured: bool = True) -> str:
    """Return choices as CSV, a line a scene.

    Args:
        choices: By the name of the region.
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


# Which radar, clear and cloudy scenes make a triplet: one season, the smallest gap, and a reason for every choice.


SEASONS = ("winter", "spring", "summer", "fall")
"""Meteorological seasons of the north, from December on, three months each."""


@dataclass(frozen=True, order=True)
class Season:
    """One meteorological season of one year.

    Attributes:
        year: Of its last month: December 2017 belongs to a season of 2018.
        name: As in :data:`SEASONS`, where it is; in the south January is summer.
    """

    year: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.year}"


def season_of(when: datetime, latitude: float) -> Season:
    """Return the meteorological season of a moment at a latitude; south of the equator seasons are turned."""
    moment = when.astimezone(UTC)
    turned = 0 if latitude >= 0 else 2
    return Season(moment.year + moment.month // 12, SEASONS[(moment.month % 12 // 3 + turned) % 4])


class NoTripletError(InputError):
    """No three scenes fit.

    Attributes:
        reasons: Why each candidate is none of three, by name.
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

    The clear scene is covered by at most ``clear_below``; the cloudy one is any other of its UTM zone, for coverage
    never filters. Of
    equally close ones the clearer one is taken, then the first by name.

    Args:
        radars: Radar scenes of the place.
        optical: Optical scenes with their coverage.
        latitude: Of the place, for its seasons.
        season: Which season: spring, summer, fall or winter.
        clear_below: Largest coverage of a clear scene.
        clear: The clear scene, where somebody has chosen it already, whatever its coverage.
        cloudy: The cloudy scene, idem.

    Raises:
        NoTripletError: No three scenes fit; says what is missing, and why each candidate was refused.
        InputError: There is no such season.
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
    """Yield radar, clear and other scenes of each season of a year, without those refused."""
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
    """Yield each name with what became of it, the chosen ones first."""
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

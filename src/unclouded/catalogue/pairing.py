"""Pairing of one radar, one clear and one cloudy scene of one season, with the smallest time span."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from unclouded.errors import InputError

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

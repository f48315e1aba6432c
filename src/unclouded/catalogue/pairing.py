"""Pairing of one radar, one clear and one cloudy scene of one season, with the smallest time span."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from jaxtyping import Int64

from unclouded.errors import InputError

SEASONS = ("winter", "spring", "summer", "fall")
"""Meteorological seasons of the northern hemisphere, three months each, from December on."""
APART_DAYS = 1.0
"""Smallest time between the clear and the cloudy scene: a day is longer than any overpass and all its deliveries."""


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
    apart_days: float = APART_DAYS,
    clear: Candidate | None = None,
    cloudy: Candidate | None = None,
) -> Pairing:
    """Choose three scenes of one meteorological season of one year, the closest in time (section III-A of the paper).

    The clear scene has a coverage of at most ``clear_below``; the cloudy scene is any other one of the same UTM zone
    that is at least ``apart_days`` earlier or later, hence of another overpass; coverage never filters it. Ties are
    resolved by lower coverage, then by name.

    Args:
        radars: Radar scenes of the region.
        optical: Optical scenes with their coverage.
        latitude: Latitude of the region, which determines its seasons.
        season: Spring, summer, fall or winter.
        clear_below: Largest coverage of a clear scene.
        apart_days: Smallest time between the clear and the cloudy scene.
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
    best: Three | None = None
    spans: dict[str, float] = {}
    for of_radar, of_clear, of_other in _by_season((radars, clears, others), refused, latitude):
        three, least = _closest(of_radar, of_clear, of_other, apart_days)
        spans |= {name: min(span, spans.get(name, span)) for name, span in least.items()}
        if three and (best is None or _rank(three) < _rank(best)):
            best = three
    if best is None:
        reasons = dict(_explained(None, everyone, refused, spans, clear_below))
        raise NoTripletError(_missing(radars, clears, optical, refused, season, clear_below, apart_days), reasons)
    return Pairing(*best, dict(_explained(best, everyone, refused, spans, clear_below)))


Three = tuple[Candidate, Candidate, Candidate]
"""Radar, clear and cloudy scene."""


def _closest(
    radars: Sequence[Candidate], clears: Sequence[Candidate], others: Sequence[Candidate], apart_days: float
) -> tuple[Three | None, dict[str, float]]:
    """Return the best triplet of one season, and the smallest span in days of each scene that is in any, by name."""
    if not (radars and clears and others):
        return None, {}
    clears = sorted(clears, key=lambda one: (one.coverage or 0.0, one.name))
    radar_us, clear_us, other_us = (_microseconds(group) for group in (radars, clears, others))
    first, last = np.minimum.outer(clear_us, other_us), np.maximum.outer(clear_us, other_us)
    fits = last - first >= round(apart_days * _DAY_US)
    fits &= np.array([[_on_one_grid(clear, other) for other in others] for clear in clears])
    if not fits.any():
        return None, {}
    pair_span = np.full(fits.shape, _NEVER)
    best: tuple[int, Three] | None = None
    spans: dict[str, float] = {}
    for radar, moment in zip(radars, radar_us, strict=True):
        span = np.where(fits, np.maximum(last, moment) - np.minimum(first, moment), _NEVER)
        clear, other = np.unravel_index(int(span.argmin()), span.shape)  # of equal ones the first
        least, three = int(span[clear, other]), (radar, clears[int(clear)], others[int(other)])
        spans[radar.name] = least / _DAY_US
        if best is None or (least, *_tie(three)) < (best[0], *_tie(best[1])):
            best = least, three
        pair_span = np.minimum(pair_span, span)
    for group, least_of in ((clears, pair_span.min(axis=1)), (others, pair_span.min(axis=0))):
        for one, least in zip(group, least_of.tolist(), strict=True):
            if least < _NEVER:
                spans[one.name] = min(least / _DAY_US, spans.get(one.name, np.inf))
    return (best[1] if best else None), spans


_DAY_US = 86_400_000_000
_NEVER = np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(scenes: Sequence[Candidate]) -> Int64[np.ndarray, " scene"]:
    return np.array([(one.acquired - _EPOCH) // timedelta(microseconds=1) for one in scenes], np.int64)


def _on_one_grid(clear: Candidate, other: Candidate) -> bool:
    return clear.name != other.name and (clear.zone == other.zone or None in (clear.zone, other.zone))


def _tie(three: Three) -> tuple[float, str, str, str]:
    return three[1].coverage or 0.0, three[0].name, three[1].name, three[2].name


def _rank(three: Three) -> tuple[float, float, str, str, str]:
    return _span_days(*three), *_tie(three)


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
    apart_days: float,
) -> str:
    radar_count, optical_count, clear_count = (
        sum(one.name not in refused for one in group) for group in (radars, optical, clears)
    )
    others = f", and {len(refused)} of other seasons" if refused else ""
    return (
        f"expected a radar, a clear (up to {clear_below:.1%} cloud) and another optical scene of one {season}, "
        f"at least {apart_days:g} days from the clear one, found {radar_count} radar and {optical_count} optical "
        f"scenes in a {season}, {clear_count} of them clear{others}; search longer"
    )


def _is_clear(one: Candidate, clear_below: float) -> bool:
    return one.coverage is not None and one.coverage <= clear_below


def _span_days(*three: Candidate) -> float:
    times = [one.acquired for one in three]
    return (max(times) - min(times)).total_seconds() / 86_400


def _explained(
    best: Three | None,
    everyone: Sequence[Candidate],
    refused: Mapping[str, str],
    spans: Mapping[str, float],
    clear_below: float,
) -> Iterator[tuple[str, str]]:
    """Yield name and decision of each candidate, the chosen ones first."""
    if best is not None:
        for role, one in zip(("radar", "clear", "cloudy"), best, strict=True):
            covered = "" if one.coverage is None else f", {one.coverage:.1%} cloud"
            span = f"the three span {_span_days(*best):.1f} days"
            yield one.name, f"chosen as {role}, {one.acquired:%Y-%m-%d}{covered}; {span}"
    for one in everyone:
        if best is not None and one in best:
            continue
        best_days = spans.get(one.name)
        fit = "fits no other scene" if best_days is None else f"at best a span of {best_days:.1f} days"
        cloudy = one.coverage is not None and not _is_clear(one, clear_below)
        yield one.name, refused.get(one.name, f"not chosen, {fit}" + (", too cloudy to be clear" if cloudy else ""))

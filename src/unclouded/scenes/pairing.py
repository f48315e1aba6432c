"""Which radar, clear and cloudy scenes make a triplet: one season, the smallest gap, and a reason for every choice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from unclouded.errors import InputError

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


@dataclass(frozen=True)
class Candidate:
    """A scene of a place.

    Attributes:
        name: Of the product.
        acquired: When, with its zone.
        coverage: Share of the place under clouds; None for radar.
    """

    name: str
    acquired: datetime
    coverage: float | None = None


@dataclass(frozen=True)
class Pairing:
    """The scenes that were chosen.

    Attributes:
        radar: The radar scene.
        clear: The optical scene without clouds.
        cloudy: The other optical scene, however cloudy.
        explanations: Why these, and why each of the others is not among them, one line a candidate.
    """

    radar: Candidate
    clear: Candidate
    cloudy: Candidate
    explanations: tuple[str, ...]

    @property
    def span_days(self) -> float:
        """Days from the first of the three to the last."""
        return _span_days(self.radar, self.clear, self.cloudy)


def pair(
    radars: Sequence[Candidate],
    optical: Sequence[Candidate],
    *,
    latitude: float,
    season: str,
    clear_below: float = 0.01,
) -> Pairing:
    """Choose three scenes of one meteorological season of one year, the closest in time (section III-A of the paper).

    The clear scene is covered by at most ``clear_below``; the cloudy one is any other, for coverage never filters. Of
    equally close ones the clearer one is taken, then the first by name.

    Args:
        radars: Radar scenes of the place.
        optical: Optical scenes with their coverage.
        latitude: Of the place, for its seasons.
        season: Which season: spring, summer, fall or winter.
        clear_below: Largest coverage of a clear scene.

    Raises:
        InputError: No three scenes fit; says what is missing, and why each candidate was refused.
    """
    if season not in SEASONS:
        raise InputError(f"expected a season out of {', '.join(SEASONS)}, found {season!r}")
    told: dict[str, str] = {}
    radars, optical = (sorted(group, key=lambda one: one.name) for group in (radars, optical))
    for one in (*radars, *optical):
        if (found := season_of(one.acquired, latitude)).name != season:
            told[one.name] = f"refused, of {found} instead of a {season}"
    fits = [
        three
        for three in _triples(radars, optical, clear_below)
        if not any(one.name in told for one in three) and len({season_of(one.acquired, latitude) for one in three}) == 1
    ]
    if not fits:
        clear = sum(_is_clear(one, clear_below) and one.name not in told for one in optical)
        reasons = "; ".join(f"{name} {why}" for name, why in list(told.items())[:5])
        raise InputError(
            f"expected a radar, a clear (up to {clear_below:.1%} cloud) and another optical scene of one {season}, "
            f"found {sum(one.name not in told for one in radars)} radar and "
            f"{sum(one.name not in told for one in optical)} optical scenes in a {season}, "
            f"{clear} of them clear{': ' if reasons else ''}{reasons}; search longer"
        )
    best = min(fits, key=lambda three: (_span_days(*three), three[1].coverage, *(one.name for one in three)))
    return Pairing(*best, tuple(_explained(best, (*radars, *optical), told, fits, clear_below)))


def _triples(
    radars: Sequence[Candidate], optical: Sequence[Candidate], clear_below: float
) -> Iterator[tuple[Candidate, Candidate, Candidate]]:
    clear = [one for one in optical if _is_clear(one, clear_below)]
    return ((radar, one, other) for radar, one, other in product(radars, clear, optical) if one.name != other.name)


def _is_clear(one: Candidate, clear_below: float) -> bool:
    return one.coverage is not None and one.coverage <= clear_below


def _span_days(*three: Candidate) -> float:
    times = [one.acquired for one in three]
    return (max(times) - min(times)).total_seconds() / 86_400


def _explained(
    best: tuple[Candidate, Candidate, Candidate],
    all_of_them: Sequence[Candidate],
    told: dict[str, str],
    fits: list[tuple[Candidate, Candidate, Candidate]],
    clear_below: float,
) -> Iterator[str]:
    span = _span_days(*best)
    for role, one in zip(("radar", "clear", "cloudy"), best, strict=True):
        covered = "" if one.coverage is None else f", {one.coverage:.1%} cloud"
        yield f"{one.name}: chosen as {role}, {one.acquired:%Y-%m-%d}{covered}; the three span {span:.1f} days"
    for one in all_of_them:
        if one in best:
            continue
        spans = [_span_days(*three) for three in fits if one in three]
        closest = f"not chosen, at best a span of {min(spans):.1f} days" if spans else "not chosen, fits no other scene"
        cloudy = one.coverage is not None and not _is_clear(one, clear_below)
        yield f"{one.name}: {told.get(one.name, closest + (', too cloudy to be clear' if cloudy else ''))}"

"""Scenes that may serve a region: what is known of each without its pixels, which are taken, and why not the others."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from unclouded.errors import InputError
from unclouded.scenes.footprints import shown_share
from unclouded.scenes.pairing import Candidate, NoTripletError, Pairing, pair, season_of

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
class Need:
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
class Verdict:
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
class Choice:
    """The scenes of a region.

    Attributes:
        pairing: Radar, clear and cloudy by name; None where no three fit.
        reason: Why none, or nothing.
        verdicts: What became of every scene, the chosen ones first.
    """

    pairing: Pairing | None
    reason: str
    verdicts: tuple[Verdict, ...]

    def records(self) -> dict[str, SceneRecord]:
        """Return the chosen scene of each role.

        Raises:
            InputError: No three fit.
        """
        if self.pairing is None:
            raise InputError(self.reason)
        by_name = {verdict.record.name: verdict.record for verdict in self.verdicts[:3]}
        return {role: by_name[getattr(self.pairing, role).name] for role in ROLES}


Look = Callable[[SceneRecord], tuple[float | None, float]]
"""Looks at an optical scene; returns the share of the region under clouds, and the share that it shows."""


def choose(
    records: Sequence[SceneRecord], need: Need, look: Look, chosen: Mapping[str, SceneRecord] | None = None
) -> Choice:
    """Choose three scenes by :func:`unclouded.scenes.pairing.pair`, and say of every scene what became of it.

    Scenes that show nothing of the region are no candidates. Only optical ones that nothing else speaks against are
    looked at.

    Args:
        records: Scenes of any place and time; of two with one name the first is taken.
        need: What the region needs.
        look: Tells the clouds of a scene over the region.
        chosen: Scenes that somebody has chosen already, by role; neither place, dates nor clouds speak against them.
    """
    chosen = chosen or {}
    fit = {one.name: Verdict(one, "") for one in chosen.values()}
    named, refused, copies = list(fit), [], []
    for record in records:
        if not (shown := need.shown(record)):
            continue
        if record.name in fit:
            copies.append(Verdict(record, f"refused, the same as {fit[record.name].record.place}", None, shown))
            continue
        verdict = _looked_at(record, shown, need, look)
        if verdict.decision:
            refused.append(verdict)
        else:
            fit[record.name] = verdict
    choice = _paired(fit, named, chosen, need, refused)
    return replace(choice, verdicts=(*choice.verdicts, *copies))


def _looked_at(record: SceneRecord, shown: float, need: Need, look: Look) -> Verdict:
    """Return why a scene is refused, or what is known of it when nothing speaks against it."""
    if refusal := need.refusal(record, shown):
        return Verdict(record, refusal, None, shown)
    if record.kind == "radar" or not need.is_of_season(record):
        return Verdict(record, "", None, shown)
    try:
        coverage, seen = look(record)
    except InputError as error:
        return Verdict(record, f"refused, {error}", None, shown)
    shown = min(shown, seen)
    return Verdict(record, need.refusal(record, shown) or "", coverage, shown)


def _paired(
    fit: Mapping[str, Verdict],
    named: Sequence[str],
    chosen: Mapping[str, SceneRecord],
    need: Need,
    refused: Sequence[Verdict],
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
        told = pairing.told
    except NoTripletError as error:
        told, reason = error.told, f"{error}{_nearest_miss(refused)}"
    verdicts = [replace(fit[name], decision=decision) for name, decision in told.items()]
    return Choice(pairing, reason, (*verdicts, *refused))


def _nearest_miss(refused: Sequence[Verdict]) -> str:
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
        measured: Whether coverage was measured over the region; else it is that of the whole product, told once.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for roi, choice in choices.items():
        verdicts = choice.verdicts if measured else [replace(one, coverage=None) for one in choice.verdicts]
        table.writerows(_line(roi, verdict) for verdict in verdicts)
    return text.getvalue()


def joined_tables(tables: Iterable[str]) -> str:
    """Return several tables of choices as one."""
    head, *_ = lines = [line for table in tables for line in table.splitlines(keepends=True)]
    return "".join([head, *(line for line in lines if line != head)])


def _line(roi: str, verdict: Verdict) -> list[str]:
    record = verdict.record
    coverage, shown = (None if share is None else 100 * share for share in (verdict.coverage, verdict.shown))
    numbers = ("" if number is None else f"{number:.2f}" for number in (record.cloud_percent, coverage, shown))
    acquired = record.acquired.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [roi, record.kind, record.name, acquired, *numbers, verdict.decision, record.place]

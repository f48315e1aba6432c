"""Choice of the images for a cloud-free image of a place and a date: optical, radar of each pass, and other dates.

The cloudy image is that of the date, or the least cloudy one within some days. Radar is the closest pass within
:attr:`GetSettings.radar_days`, ascending and descending; slices of one pass belong together. References are the nearest
clear dates before and after. Every candidate gets a decision in words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

import shapely
from pydantic import Field

from unclouded.acquisition.places import Place
from unclouded.acquisition.providers import Level
from unclouded.catalogue.stac import record_of
from unclouded.catalogue.triplets import SceneDecision, SceneRecord, same_acquisition
from unclouded.errors import InputError
from unclouded.sentinel.footprints import shown_share
from unclouded.sentinel.identify import ONE_PASS
from unclouded.settings import Settings


class GetSettings(Settings):
    """Rules for the choice of products.

    Attributes:
        days: Days before and after the date within which the least cloudy image is taken; 0 for the date itself.
        radar_days: Largest time between radar and optical image, days.
        reference_days: Largest time between a reference and the optical image, days.
        references: Number of references on each side.
        reference_clouds: Largest cloud cover of a reference, per cent.
        covers: Smallest share of the place that an image shows; below, a remark names the share.
        level: Processing level of the optical images.
        both_passes: Fetch the closest radar of both directions, not just the closest one.
    """

    days: int = Field(0, ge=0, le=60)
    radar_days: float = Field(6.0, gt=0, le=60)
    reference_days: int = Field(60, ge=1, le=730)
    references: int = Field(1, ge=0, le=10)
    reference_clouds: float = Field(20.0, ge=0, le=100)
    covers: float = Field(0.99, gt=0, le=1)
    level: Level = "L1C"
    both_passes: bool = False


@dataclass(frozen=True)
class Found:
    """Product in an archive.

    Attributes:
        record: Its metadata.
        item: Its STAC item, untrusted.
        shown: Share of the place that it shows, 0 to 1.
    """

    record: SceneRecord
    item: Mapping[str, Any]
    shown: float = 1.0

    @property
    def direction(self) -> str:
        """``ascending``, ``descending`` or ``unknown`` direction of the orbit."""
        properties = self.item.get("properties")
        state = properties.get("sat:orbit_state") if isinstance(properties, Mapping) else None
        return state if state in ("ascending", "descending") else "unknown"

    @property
    def day(self) -> date:
        """Day of acquisition, UTC."""
        return self.record.acquired.astimezone(UTC).date()


@dataclass(frozen=True)
class SceneChoice:
    """Images for a place and a date.

    Attributes:
        cloudy: Optical image.
        radars: Passes, the closest one first; each with its slices. Empty if there is none.
        references: Images of other dates, the closest first.
        decisions: Decision on every candidate, the chosen ones first.
        remarks: Warnings.
    """

    cloudy: Found
    radars: tuple[tuple[Found, ...], ...]
    references: tuple[Found, ...]
    decisions: tuple[SceneDecision, ...]
    remarks: tuple[str, ...] = ()

    @property
    def products(self) -> tuple[Found, ...]:
        """All products to fetch."""
        return (self.cloudy, *(one for slices in self.radars for one in slices), *self.references)


def choose_scene(items: Sequence[Any], place: Place, day: date, settings: GetSettings) -> SceneChoice:
    """Choose the images of a place and a date.

    Args:
        items: STAC items, untrusted, of any place and time.
        place: Area of interest.
        day: Date.
        settings: Rules.

    Raises:
        InputError: There is no optical image; the message names the nearest dates.
    """
    found, decisions = _candidates(items, place, settings)
    optical = [one for one in found if one.record.kind == "optical"]
    near = [one for one in optical if abs((one.day - day).days) <= settings.days]
    if not near:
        raise InputError(_none(optical, place, day, settings))
    cloudy = min(near, key=lambda one: _cloudy_rank(one, place, day, settings))
    remarks = []
    if cloudy.shown < settings.covers:
        remarks.append(
            f"{cloudy.record.name} shows {cloudy.shown:.0%} of {place.name}; get each tile, then join them with "
            "'unclouded mosaic'"
        )
    radars = _passes([one for one in found if one.record.kind == "radar"], cloudy, place, settings)
    if not radars:
        remarks.append(
            f"no radar within {settings.radar_days:g} days of {cloudy.day}: clouds are removed without it, with larger "
            "errors; --radar-days searches longer"
        )
    references = _references(optical, cloudy, settings)
    fetched = radars if settings.both_passes else radars[:1]
    chosen: dict[int, str] = {id(cloudy): _why_cloudy(cloudy, day, settings)}
    chosen |= {id(one): _why_radar(one, cloudy, slices, fetched) for slices in radars for one in slices}
    chosen |= {id(one): _why_reference(one, cloudy) for one in references}
    ordered = [cloudy, *(one for slices in radars for one in slices), *references]
    listed = [SceneDecision(one.record, chosen[id(one)], None, one.shown) for one in ordered]
    listed += [
        SceneDecision(one.record, _why_not(one, cloudy, day, settings), None, one.shown)
        for one in found
        if id(one) not in chosen
    ]
    return SceneChoice(cloudy, tuple(fetched), tuple(references), (*listed, *decisions), tuple(remarks))


def _candidates(items: Sequence[Any], place: Place, settings: GetSettings) -> tuple[list[Found], list[SceneDecision]]:
    """Return the products that show the place, the newest processing of each, and decisions on older ones."""
    kept: dict[str, Found] = {}
    older: list[SceneDecision] = []
    for item in items:
        try:
            record = record_of(item, level=settings.level)
        except InputError:
            continue  # other products of the collections
        shown = shown_share(record.footprint, place.outline, place.longitude)
        wrong_tile = place.tile and record.mgrs and record.mgrs != place.tile
        if shown and not wrong_tile and record.name not in kept:
            kept[record.name] = Found(record, item, shown)
    found: list[Found] = []
    for one in sorted(kept.values(), key=lambda one: (one.record.baseline, one.record.name), reverse=True):
        twin = next((other for other in found if same_acquisition(one.record, other.record)), None)
        if twin is None:
            found.append(one)
        else:
            reason = f"not chosen, of the same acquisition as {twin.record.name}"
            older.append(SceneDecision(one.record, reason, None, one.shown))
    return sorted(found, key=lambda one: (one.record.acquired, one.record.name)), older


def _cloudy_rank(one: Found, place: Place, day: date, settings: GetSettings) -> tuple[Any, ...]:
    """Order by coverage of the place, then by clouds if several days are allowed, then by time and name.

    Where tiles of two UTM zones overlap, that of the zone of the place comes first: clouds of whole tiles do not tell
    which of them shows the place with fewer.
    """
    covers = one.shown >= settings.covers
    foreign = one.record.zone is not None and one.record.zone != place.zone
    clouds = 0.0 if one.record.cloud_percent is None else one.record.cloud_percent
    least = (clouds, abs((one.day - day).days)) if settings.days else (abs((one.day - day).days), clouds)
    return (not covers, 0.0 if covers else -one.shown, foreign, *least, one.record.name)


def _passes(radars: Sequence[Found], cloudy: Found, place: Place, settings: GetSettings) -> list[tuple[Found, ...]]:
    """Return the closest pass of each direction that shows the place, the closest one first."""
    limit = timedelta(days=settings.radar_days)
    near = [one for one in radars if abs(one.record.acquired - cloudy.record.acquired) <= limit]
    groups: list[list[Found]] = []
    for one in sorted(near, key=lambda one: one.record.acquired):
        last = groups[-1][-1] if groups else None
        joined = (
            last is not None
            and one.record.platform == last.record.platform
            and one.record.acquired - groups[-1][0].record.acquired <= ONE_PASS
        )
        if joined:
            groups[-1].append(one)
        else:
            groups.append([one])
    best: dict[str, tuple[float, float, tuple[Found, ...]]] = {}
    for group in groups:
        shown = _joint_share(group, place)
        apart = abs((group[0].record.acquired - cloudy.record.acquired).total_seconds())
        rank = (float(shown < settings.covers) * (1 - shown), apart, _needed(group, place))
        direction = group[0].direction
        if direction not in best or rank[:2] < best[direction][:2]:
            best[direction] = rank
    return [slices for _, _, slices in sorted(best.values(), key=lambda rank: rank[:2])]


def _joint_share(group: Sequence[Found], place: Place) -> float:
    if len(group) == 1:
        return group[0].shown
    union = shapely.union_all([shapely.geometry.shape(one.record.footprint) for one in group])
    return shown_share(shapely.geometry.mapping(union), place.outline, place.longitude)


def _needed(group: Sequence[Found], place: Place) -> tuple[Found, ...]:
    """Return the slices of a pass that are needed: one that shows all that the pass shows, else all of them."""
    whole = _joint_share(group, place)
    alone = next((one for one in group if one.shown >= whole - 1e-3), None)
    return (alone,) if alone is not None else tuple(group)


def _references(optical: Sequence[Found], cloudy: Found, settings: GetSettings) -> list[Found]:
    """Return the nearest clear dates before and after, of the same tile; the closest first."""
    fit = [
        one
        for one in optical
        if one is not cloudy
        and one.record.mgrs == cloudy.record.mgrs
        and 0 < abs((one.day - cloudy.day).days) <= settings.reference_days
        and (one.record.cloud_percent is None or one.record.cloud_percent <= settings.reference_clouds)
        and one.shown >= min(settings.covers, cloudy.shown)
    ]
    chosen: list[Found] = []
    for sign in (-1, 1):
        side = [one for one in fit if (one.day - cloudy.day).days * sign > 0]
        days: dict[date, Found] = {}
        for one in sorted(side, key=lambda one: (one.record.cloud_percent or 0.0, one.record.name)):
            days.setdefault(one.day, one)
        nearest_first = sorted(days.values(), key=lambda one: abs(one.day - cloudy.day))
        chosen += nearest_first[: settings.references]
    return sorted(chosen, key=lambda one: (abs(one.day - cloudy.day), one.record.name))


def _clouds(one: Found) -> str:
    return "" if one.record.cloud_percent is None else f", {one.record.cloud_percent:.1f} % cloud"


def _why_cloudy(one: Found, day: date, settings: GetSettings) -> str:
    apart = (one.day - day).days
    why = "of the date" if not apart else f"{abs(apart)} days {'after' if apart > 0 else 'before'}"
    least = f", the least cloudy within {settings.days} days" if settings.days else ""
    return f"chosen as the cloudy image: {why}{_clouds(one)}{least}"


def _why_radar(one: Found, cloudy: Found, slices: Sequence[Found], fetched: Sequence[tuple[Found, ...]]) -> str:
    hours = (one.record.acquired - cloudy.record.acquired).total_seconds() / 3600
    when = f"{abs(hours) / 24:.1f} days {'after' if hours > 0 else 'before'} the optical image"
    part = f", one of {len(slices)} slices" if len(slices) > 1 else ""
    if slices not in fetched:
        return f"not chosen, the closest {one.direction} pass, but further away: {when}; --both-passes fetches it"
    return f"chosen as radar: the closest {one.direction} pass, {when}{part}"


def _why_reference(one: Found, cloudy: Found) -> str:
    apart = (one.day - cloudy.day).days
    return f"chosen as reference: {abs(apart)} days {'after' if apart > 0 else 'before'}{_clouds(one)}"


def _why_not(one: Found, cloudy: Found, day: date, settings: GetSettings) -> str:
    apart = one.day - cloudy.day
    if one.record.kind == "radar":
        hours = abs(one.record.acquired - cloudy.record.acquired)
        far = hours > timedelta(days=settings.radar_days)
        why = f"more than {settings.radar_days:g} days apart" if far else "another pass of its direction is closer"
        return f"not chosen as radar, {why} ({hours.total_seconds() / 86_400:.1f} days)"
    if abs((one.day - day).days) <= settings.days and not apart:
        return f"not chosen, {cloudy.record.name} is of the same day and shows more or fewer clouds{_clouds(one)}"
    if one.record.mgrs != cloudy.record.mgrs:
        return f"not chosen as reference, of the tile {one.record.mgrs or 'unknown'}"
    if abs(apart.days) > settings.reference_days:
        return f"not chosen as reference, more than {settings.reference_days} days apart"
    if one.record.cloud_percent is not None and one.record.cloud_percent > settings.reference_clouds:
        return (
            f"not chosen as reference, {one.record.cloud_percent:.1f} % cloud, more than {settings.reference_clouds:g}"
        )
    return "not chosen as reference, others are nearer"


def _none(optical: Sequence[Found], place: Place, day: date, settings: GetSettings) -> str:
    within = f" or within {settings.days} days of it" if settings.days else ""
    base = f"no {settings.level} image shows {place.name} on {day}{within}"
    if not optical:
        return f"{base}, nor on any day searched; check place, date and collection"
    dates = sorted({one.day for one in optical}, key=lambda one: (abs(one - day), one))[:3]
    shown = ", ".join(f"{one}" for one in sorted(dates))
    return f"{base}; the nearest are of {shown}: give one of them, or --days {abs((dates[0] - day).days)}"


def decisions_text(decisions: Sequence[SceneDecision]) -> Iterator[str]:
    """Yield one line for each decision, for the terminal."""
    for one in decisions:
        shown = "" if one.shown is None or one.shown >= 0.995 else f", shows {one.shown:.0%}"
        name = re.sub(r"[^\w.-]", "?", one.record.name)
        yield f"{name}: {one.decision}{shown}"

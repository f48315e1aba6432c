"""Search of a catalogue for the products of sampled regions, by the rules of `curate`, and the files for that command.

:func:`proposals_of` searches, :func:`write_proposals` writes the regions file, the download list and the choices.
"""

import json
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import Field, model_validator

from unclouded.acquisition.products import without_secrets
from unclouded.catalogue.pairing import season_of
from unclouded.catalogue.stac import Catalogue, records_of
from unclouded.catalogue.triplets import (
    ROLES,
    Choice,
    SceneRecord,
    TripletRequirements,
    choices_table,
    choose,
)
from unclouded.curation.fetch import ITEMS, OPTICAL_FOLDER, RADAR_FOLDER
from unclouded.curation.regions import ChoosingSettings
from unclouded.curation.scene_index import IndexedCatalogue, indexed
from unclouded.errors import InputError
from unclouded.files import write_json, write_text
from unclouded.patches.roi import CHOICES
from unclouded.patches.sampling import SampledRegion
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sentinel.band_stack import FIRST_LIGHT

REGIONS, PRODUCTS = "regions.toml", "products.txt"
MAX_FAILED_IN_A_ROW = 3
"""Number of consecutive regions without a response after which the search ends."""
SPARE_BELOW = 0.3
"""Largest cloud cover of a spare product; one with more clouds is unlikely to be clear over a region."""


class SearchSettings(ChoosingSettings):
    """Search period and collections, and the choice of products by the cloud cover in the catalogue.

    Attributes:
        since: First day.
        until: Last day.
        radar: Id of the Sentinel-1 GRD collection.
        optical: Id of the Sentinel-2 Level-1C collection.
        spares: Number of further clear products listed per region.
        dates: Number of cloudy images per region.
    """

    since: date
    until: date
    radar: str = "sentinel-1-grd"
    optical: str = "sentinel-2-l1c"
    spares: int = Field(2, ge=0, le=100)
    dates: int = Field(1, ge=1, le=60)

    @model_validator(mode="after")
    def _in_order(self) -> "SearchSettings":
        if self.since > self.until:
            raise ValueError(f"since {self.since} is later than until {self.until}")
        return self


@dataclass(frozen=True)
class Proposal:
    """Products proposed for a region.

    Attributes:
        region: Sampled region.
        split: Part of the split.
        choice: The three products, or the reason why there are none.
        spares: Further optical products of the same season, clearest first.
        skipped: Reasons by id of items that are not usable scenes.
    """

    region: SampledRegion
    split: str
    choice: Choice
    spares: tuple[SceneRecord, ...]
    skipped: Mapping[str, str]


def propose(
    region: SampledRegion, split: str, catalogue: Catalogue | IndexedCatalogue, settings: SearchSettings
) -> Proposal:
    """Propose the products of a region, by the cloud cover of whole products, as catalogues have no other.

    Raises:
        InputError: The catalogue does not respond.
    """
    if isinstance(catalogue, IndexedCatalogue):
        records, skipped = catalogue.near(region.footprint), catalogue.skipped
    else:
        items = {
            id(item): item  # by id, since a local catalogue returns all its items for every request
            for days in seasons_between(region, settings.since, settings.until)
            for collection in (settings.radar, settings.optical)
            for item in catalogue.items(region.footprint, days, collection)
        }
        records, skipped = records_of(items.values())
    need = TripletRequirements(
        season=region.roi.season,
        center=(region.longitude, region.latitude),
        outline=region.footprint,
        dates=(settings.since, settings.until),
        covers=settings.covers,
        clear_below=settings.clear_below,
        apart_days=settings.apart_days,
        cloudy_dates=settings.dates,
    )
    choice = choose(sorted(records, key=lambda one: (one.name, one.place)), need, _listed_cover)
    return Proposal(region, split, choice, tuple(_spares(choice, region.latitude))[: settings.spares], skipped)


def _listed_cover(record: SceneRecord) -> tuple[float | None, float]:
    return (None if record.cloud_percent is None else record.cloud_percent / 100), 1.0


def seasons_between(region: SampledRegion, since: date, until: date) -> list[tuple[date, date]]:
    """Return the first and last day of each season of a region within a period, clipped to the period.

    Seasons before the first satellite and in the future are left out, as there are no images.
    """
    first_month, _, last_month = region.months
    since, last_year = max(since, FIRST_LIGHT.date()), datetime.now(UTC).year + 1
    found = []
    for year in range(since.year, min(until.year, last_year) + 2):
        first = date(year - (last_month < first_month), first_month, 1)
        last = date(year, last_month, monthrange(year, last_month)[1])
        if max(first, since) <= min(last, until):
            found.append((max(first, since), min(last, until)))
    return found


def _spares(choice: Choice, latitude: float) -> Iterator[SceneRecord]:
    """Yield optical scenes of the same season, clearest first, in case the chosen clear one proves cloudy."""
    if choice.pairing is None:
        return
    clear = choice.pairing.clear
    left = [
        (one.coverage, one.record.name, one.record)
        for one in choice.decisions[len(ROLES) :]
        if one.decision.startswith("not chosen") and one.coverage is not None and one.coverage <= SPARE_BELOW
    ]
    for _, _, record in sorted(left, key=lambda one: one[:2]):
        same_season = season_of(record.acquired, latitude) == season_of(clear.acquired, latitude)
        if same_season and record.zone == clear.zone:
            yield record


def write_proposals(folder: Path, proposals: Sequence[Proposal], settings: SearchSettings) -> int:
    """Write the regions file for `curate`, the list of products to download, and the explanation of all choices.

    Args:
        folder: Output folder of regions.toml, products.txt and choices.csv.
        proposals: One proposal per region.
        settings: Settings of the search.

    Returns:
        Number of products to download.
    """
    found = [one for one in proposals if one.choice.pairing]
    chosen = (record for one in found for date in range(settings.dates) for record in one.choice.records(date).values())
    products = {record.name: record for record in (*chosen, *(spare for one in found for spare in one.spares))}
    write_text(folder / REGIONS, "".join(_toml(proposals, settings)))
    write_text(folder / PRODUCTS, "".join(f"{name}\n" for name in sorted(products)))
    items = (products[name].item for name in sorted(products))
    features = [without_secrets(item) for item in items if item is not None]
    write_json(folder / ITEMS, {"type": "FeatureCollection", "features": features})
    write_text(folder / CHOICES, choices_table({str(one.region.roi): one.choice for one in proposals}, measured=False))
    return len(products)


def _toml(proposals: Sequence[Proposal], settings: SearchSettings) -> Iterator[str]:
    found = sum(one.choice.pairing is not None for one in proposals)
    dates = f"dates = {settings.dates}\n\n" if settings.dates > 1 else ""
    yield (
        f"# {found:,} of {len(proposals):,} regions have products. Download those in {PRODUCTS}: radar into "
        f"{RADAR_FOLDER}/, optical into {OPTICAL_FOLDER}/.\n"
        "# Percentages are the cloud cover of WHOLE products, from the catalogue; 'unclouded curate' measures it\n"
        "# over each region and chooses again.\n\n"
        f"{dates}[choosing]\ncovers = {settings.covers}\n"
    )
    for one in proposals:
        yield from _region(one, settings) if one.choice.pairing else _absent(one)


def _region(proposal: Proposal, settings: SearchSettings) -> Iterator[str]:
    region, choice = proposal.region, proposal.choice
    assert choice.pairing
    yield (
        f"\n[[regions]]\nroi = {json.dumps(str(region.roi))}\ncenter = [{region.longitude!r}, {region.latitude!r}]\n"
        f"split = {json.dumps(proposal.split)}\nradar_from = {json.dumps(RADAR_FOLDER)}\n"
        f"optical_from = {json.dumps(OPTICAL_FOLDER)}\ndates = [{settings.since}, {settings.until}]\n"
    )
    of_dates = (choice.records(date).items() for date in range(settings.dates))
    lines = (f"# {role:<7}{record.name}{_clouds(record)}\n" for found in of_dates for role, record in found)
    yield from dict.fromkeys(lines)  # dates share the clear product
    for record in proposal.spares:
        yield f"# spare  {record.name}{_clouds(record)}\n"
    yield f"# the three span {choice.pairing.span_days:.1f} days\n"


def _clouds(record: SceneRecord) -> str:
    return "" if record.cloud_percent is None else f", {record.cloud_percent:.1f} %"


def _absent(proposal: Proposal) -> Iterator[str]:
    reason = "".join(letter if letter.isprintable() else " " for letter in proposal.choice.reason)
    yield f"\n# {proposal.region.roi}: {reason}\n"


def proposals_of(
    regions: Sequence[tuple[SampledRegion, str]],
    catalogue: Catalogue,
    settings: SearchSettings,
    on_progress: ProgressCallback = no_progress,
) -> list[Proposal]:
    """Propose the products of regions, one after the other; see :func:`propose`.

    A region for which the catalogue does not respond gets no products, and the search continues.

    Args:
        regions: Sampled regions with their parts of the split.
        catalogue: Catalogue to search.
        settings: Settings of the search.
        on_progress: Called with (stage, completed, total) after every region.

    Raises:
        InputError: The catalogue does not respond for several regions in a row.
    """
    found: list[Proposal] = []
    in_a_row, source = 0, indexed(catalogue)
    for region, split in regions:
        try:
            found.append(propose(region, split, source, settings))
            in_a_row = 0
        except InputError as error:
            in_a_row += 1
            if in_a_row == min(MAX_FAILED_IN_A_ROW, len(regions)):
                raise
            found.append(Proposal(region, split, Choice(None, str(error), ()), (), {}))
        on_progress("searching products", len(found), len(regions))
    return found

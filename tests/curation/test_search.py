"""Two regions and the recorded catalogue: summer in Italy and summer in New South Wales, half a year apart."""

import csv
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape

from unclouded.catalogue.stac import StoredCatalogue
from unclouded.curation.regions import CurationSettings
from unclouded.curation.search import SearchSettings, proposals_of, seasons_between, write_proposals
from unclouded.errors import InputError
from unclouded.patches.roi import Roi
from unclouded.patches.sampling import SampledRegion, months_of
from unclouded.sentinel.footprints import footprint_around
from unclouded.settings import load_settings, settings_from

RECORDED = Path(__file__).parents[1] / "data" / "stac_items.json"


def region(number: int, longitude: float, latitude: float, season: str = "summer") -> SampledRegion:
    outline = footprint_around(longitude, latitude, (52.0, 40.0))
    roi = Roi("ROIs0001", season, number)
    return SampledRegion(roi, longitude, latitude, "any", months_of(season, latitude), outline)


ITALY, AUSTRALIA, SEA = region(1, 11.0, 44.5), region(2, 150.5, -33.0), region(3, -30.0, 44.5)
YEAR = {"since": "2017-12-01", "until": "2018-11-30"}


def searched(folder: Path, *regions: SampledRegion, **changed: Any) -> tuple[int, dict[str, str]]:
    """Return how many products are to be fetched, and the decision about each in the table."""
    settings = settings_from(SearchSettings, YEAR | changed)
    sampled = [(one, "train") for one in regions]
    products = write_proposals(folder, proposals_of(sampled, StoredCatalogue(RECORDED), settings), settings)
    with (folder / "choices.csv").open(newline="") as file:
        return products, {_short(line["product"]): line["decision"] for line in csv.DictReader(file)}


def _short(product: str) -> str:
    """Return sensor, day and, of optical products, the tile."""
    parts = product.split("_")
    return f"S2A {parts[2][:8]} {parts[5]}" if parts[0] == "S2A" else f"S1A {parts[4][:8]}"


def test_products_are_proposed_by_the_rule_of_pairing_and_curate_reads_the_file(tmp_path: Path) -> None:
    products, decisions = searched(tmp_path, ITALY, AUSTRALIA)
    chosen = {name for name, decision in decisions.items() if decision.startswith("chosen")}
    assert chosen == {
        "S1A 20180712",
        "S2A 20180708 T32TPQ",
        "S2A 20180711 T32TPQ",  # of zone 32, though one of zone 33 comes first by name
        "S1A 20180102",
        "S2A 20180104 T56HKH",
        "S2A 20171225 T56HKH",
    }
    fetched = (tmp_path / "products.txt").read_text().split()
    assert products == len(fetched) == 7  # and a spare: of 16 July, 0.9 % cloudy
    assert "S2A_MSIL1C_20180716T102019_N0206_R065_T32TPQ_20180716T132019" in fetched
    regions = load_settings(CurationSettings, tmp_path / "regions.toml").regions
    assert [one.roi for one in regions] == ["ROIs0001_summer_1", "ROIs0001_summer_2"]
    assert (regions[0].center, regions[0].split) == ((11.0, 44.5), "train")
    assert regions[0].dates == (date(2017, 12, 1), date(2018, 11, 30))
    assert (regions[0].radar_from, regions[0].optical_from) == (Path("s1"), Path("s2"))
    text = (tmp_path / "regions.toml").read_text()
    assert "# clear  S2A_MSIL1C_20180708T101031_N0206_R065_T32TPQ_20180708T131031, 0.4 %\n" in text
    assert "# the three span 4.3 days" in text and "cloud cover of WHOLE products" in text


def test_every_scene_of_a_place_is_explained(tmp_path: Path) -> None:
    _, decisions = searched(tmp_path, ITALY)
    lines = [line for line in _lines(tmp_path) if line["product_cloud_percent"] == "0.42"]
    assert [line["region_cloud_percent"] for line in lines] == [""]  # that of the whole product is not the region's
    assert decisions["S2A 20180904 T32TPQ"] == "refused, of fall 2018 instead of a summer"
    assert decisions["S1A 20180612"] == "not chosen, at best a span of 28.7 days"
    late = decisions["S2A 20180820 T32TPQ"]
    assert late == "not chosen, at best a span of 38.7 days, too cloudy to be clear"
    assert "S2A 20180104 T56HKH" not in decisions  # of another continent


def test_a_product_that_shows_half_of_the_region_is_rejected_unless_half_is_enough(tmp_path: Path) -> None:
    east = region(4, 11.25, 44.5)  # the tile 32TQQ begins in its middle
    searched(tmp_path, east)
    decisions = [line["decision"] for line in _lines(tmp_path) if "T32TQQ" in line["product"]]
    assert decisions[0].startswith("refused, shows 5") and decisions[0].endswith("of the region, expected 99.0%")
    searched(tmp_path, east, covers=0.4)
    decisions = [line["decision"] for line in _lines(tmp_path) if "T32TQQ" in line["product"]]
    assert decisions[0].startswith(("chosen", "not chosen"))


def _lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "choices.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_region_without_products_is_a_comment(tmp_path: Path) -> None:
    assert searched(tmp_path, SEA) == (0, {})
    text = (tmp_path / "regions.toml").read_text()
    assert "# 0 of 1 regions have products" in text
    assert "\n# ROIs0001_summer_3: expected a radar, a clear" in text and "[[regions]]" not in text


class Failing(StoredCatalogue):
    """Does not answer for places that begin at certain longitudes."""

    def __init__(self, *wests: float) -> None:
        super().__init__(RECORDED)
        self.wests = wests

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        if round(shape(outline).bounds[0]) in self.wests:
            raise InputError("the catalogue does not answer")
        return super().items(outline, days, collection)


def test_a_catalogue_that_fails_for_one_region_serves_the_others_and_one_that_fails_for_three_is_given_up(
    tmp_path: Path,
) -> None:
    settings = settings_from(SearchSettings, YEAR)
    sampled = [(one, "train") for one in (SEA, ITALY, AUSTRALIA)]
    found = proposals_of(sampled, Failing(-30, 150), settings)
    assert [one.choice.pairing is not None for one in found] == [False, True, False]
    write_proposals(tmp_path, found, settings)
    assert "# ROIs0001_summer_3: the catalogue does not answer\n" in (tmp_path / "regions.toml").read_text()
    for wrong, regions in ((Failing(-30, 11, 150), sampled), (Failing(-30), sampled[:1])):
        with pytest.raises(InputError, match="the catalogue does not answer"):
            proposals_of(regions, wrong, settings)


def test_seasons_are_those_of_the_place_and_are_cut_where_the_days_end() -> None:
    first, last = date(2017, 12, 15), date(2019, 1, 10)
    assert seasons_between(ITALY, first, last) == [(date(2018, 6, 1), date(2018, 8, 31))]
    assert seasons_between(AUSTRALIA, first, last) == [
        (date(2017, 12, 15), date(2018, 2, 28)),
        (date(2018, 12, 1), date(2019, 1, 10)),
    ]
    assert seasons_between(AUSTRALIA, date(2020, 1, 1), date(2020, 3, 31)) == [(date(2020, 1, 1), date(2020, 2, 29))]


def test_days_in_the_wrong_order_are_rejected() -> None:
    with pytest.raises(InputError, match="since 2018-11-30 is later than until 2017-12-01"):
        settings_from(SearchSettings, {"since": "2018-11-30", "until": "2017-12-01"})

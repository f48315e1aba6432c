"""Products of a search are fetched from an archive on the loopback, forecast, and removed when told."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from products.archive import Archive, running

from unclouded.acquisition.credentials import Credentials
from unclouded.cli.main import run
from unclouded.curation.fetch import fetch_products, plan_fetch, remove_products
from unclouded.errors import InputError
from unclouded.io.download import RetryPolicy
from unclouded.web import WebLimits

pytestmark = pytest.mark.enable_socket  # the loopback alone
QUICK = RetryPolicy(2, 0.001, WebLimits(answer_s=5.0, silence_s=5.0), random.Random(0))
SQUARE = {"type": "Polygon", "coordinates": [[[10, 44], [11, 44], [11, 45], [10, 45], [10, 44]]]}
NAMES = (
    "S1A_IW_GRDH_1SDV_20180712T170650_20180712T170715_022756_0277A8_3768",
    "S2A_MSIL1C_20180708T101031_N0206_R065_T32TPQ_20180708T131031",
    "S2A_MSIL1C_20180711T102021_N0206_R065_T32TPQ_20180711T132021",
)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Three products of 10,000, 20,000 and 30,000 bytes."""
    with running(Archive()) as made:
        for number, name in enumerate(NAMES, start=1):
            path = tmp_path / f"{name}.zip"
            path.write_bytes(random.Random(number).randbytes(10_000 * number))
            kind = "radar" if name.startswith("S1") else "optical"
            made.add(path, kind, SQUARE, "2018-07-11T10:20:21Z")
        yield made


@pytest.fixture
def regions(archive: Archive, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "products.json").write_text(json.dumps({"type": "FeatureCollection", "features": archive.items}))
    (folder / "regions.toml").write_text(
        '[[regions]]\nroi = "ROIs0001_summer_1"\ncenter = [10.5, 44.5]\nradar_from = "s1"\noptical_from = "s2"\n'
    )
    return folder / "regions.toml"


def test_missing_products_are_fetched_into_the_folders_of_their_sensors(
    archive: Archive, regions: Path, tmp_path: Path
) -> None:
    plan = plan_fetch(regions)
    assert str(plan).startswith("3 of 3 products to fetch, ") and plan.bytes == 60_000
    ticks = iter(float(second) for second in range(99))
    assert fetch_products(plan, Credentials(archive.provider), retry=QUICK, clock=lambda: next(ticks)) == {}
    for name, folder in zip(NAMES, ("s1", "s2", "s2"), strict=True):
        there = regions.parent / folder / f"{name}.zip"
        assert there.read_bytes() == (tmp_path / f"{name}.zip").read_bytes()
    assert str(plan_fetch(regions)) == "all 3 products are there"
    assert plan_fetch(regions).bytes_s == 20_000  # 60,000 bytes in three seconds


def test_hours_are_those_of_the_rate_of_earlier_downloads(regions: Path) -> None:
    (regions.parent / ".rate.json").write_text('{"bytes": 60, "seconds": 3.6}')
    assert str(plan_fetch(regions)).endswith(", 1.0 h at the rate of earlier downloads")


def test_what_is_there_is_not_fetched_and_what_was_put_there_is_not_removed(archive: Archive, regions: Path) -> None:
    by_hand = regions.parent / "s2" / f"{NAMES[1]}.SAFE"
    by_hand.mkdir(parents=True)
    plan = plan_fetch(regions)
    assert [product.name for product, _ in plan.missing] == [f"{NAMES[0]}.zip", f"{NAMES[2]}.zip"]
    fetch_products(plan, Credentials(archive.provider), retry=QUICK)
    assert remove_products(plan) == 40_000
    assert by_hand.is_dir() and not list(regions.parent.glob("s*/*.zip"))
    assert remove_products(plan) == 0


def test_a_product_that_cannot_be_fetched_is_named_and_three_in_a_row_end_it(archive: Archive, regions: Path) -> None:
    del archive.files[f"{NAMES[1]}.zip"]
    failures = fetch_products(plan_fetch(regions), Credentials(archive.provider), retry=QUICK)
    assert [*failures] == [f"{NAMES[1]}.zip"] and "404" in failures[f"{NAMES[1]}.zip"]
    assert len(plan_fetch(regions).missing) == 1
    archive.files.clear()
    for path in regions.parent.glob("s*/*.zip"):
        path.unlink()
    with pytest.raises(InputError, match="the server answers 404"):
        fetch_products(plan_fetch(regions), Credentials(archive.provider), retry=QUICK)


def test_lists_without_items_are_refused(regions: Path) -> None:
    (regions.parent / "products.json").write_text('{"type": "FeatureCollection"}')
    with pytest.raises(InputError, match="has no list of items; search again"):
        plan_fetch(regions)
    (regions.parent / "products.json").unlink()
    with pytest.raises(InputError, match=r"products\.json is missing, the list of products to fetch"):
        plan_fetch(regions)


def called(monkeypatch: pytest.MonkeyPatch, *words: Any) -> int:
    monkeypatch.setattr("sys.argv", ["unclouded", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


def test_the_command_prints_the_forecast_and_fetches_before_it_cuts(
    archive: Archive,
    regions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ("curate", regions, tmp_path / "root", "--fetch", archive.address)
    assert called(monkeypatch, *given, "--plan") == 0
    assert "3 of 3 products to fetch" in capsys.readouterr().out
    assert not (regions.parent / "s1").exists()
    assert called(monkeypatch, *given) == 1  # they are noise, no products
    assert len(list(regions.parent.glob("s*/*.zip"))) == 3
    assert called(monkeypatch, "curate", regions, tmp_path / "root", "--remove-products") == 2
    assert "removes what --fetch fetched; give both" in capsys.readouterr().err


def test_the_search_writes_the_items_without_secrets(tmp_path: Path) -> None:
    from unclouded.catalogue.stac import StoredCatalogue
    from unclouded.curation.search import SearchSettings, proposals_of, write_proposals
    from unclouded.patches.roi import Roi
    from unclouded.patches.sampling import SampledRegion, months_of
    from unclouded.sentinel.footprints import footprint_around
    from unclouded.settings import settings_from

    recorded = Path(__file__).parents[1] / "data" / "stac_items.json"
    outline = footprint_around(11.0, 44.5, (52.0, 40.0))
    region = SampledRegion(Roi("ROIs0001", "summer", 1), 11.0, 44.5, "any", months_of("summer", 44.5), outline)
    settings = settings_from(SearchSettings, {"since": "2017-12-01", "until": "2018-11-30"})
    write_proposals(tmp_path, proposals_of([(region, "train")], StoredCatalogue(recorded), settings), settings)
    text = (tmp_path / "products.json").read_text()
    assert "secret" in recorded.read_text() and "secret" not in text
    assert len(json.loads(text)["features"]) == len((tmp_path / "products.txt").read_text().split())

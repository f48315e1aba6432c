"""Commands of curation; the entry point runs in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import shape

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.footprints import footprint_around

GRID = GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32632", resolution=10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One official triplet; its B10 is 20 DN."""
    rng = np.random.default_rng(0)
    optical, cloudy = rng.integers(200, 3000, (2, 13, 48, 48)).astype(np.uint16)
    optical[SENTINEL2.indices("B10")] = rng.integers(15, 25, (1, 48, 48))
    patch = PatchId.parse("ROIs1158_spring_106_p9")
    root = tmp_path / "data"
    write_geotiff(root / patch.path("s1"), rng.normal(-12, 2, (2, 48, 48)).astype("f4"), SENTINEL1.bands, GRID)
    write_geotiff(root / patch.path("s2"), optical, SENTINEL2.bands, GRID)
    write_geotiff(root / patch.path("s2_cloudy"), cloudy + np.uint16(3000), SENTINEL2.bands, GRID)
    return root


def test_a_data_set_is_screened_and_a_threshold_decides_the_exit_status(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "report"
    assert unclouded("data", "screen", root, "--out", out) == 0
    assert json.loads((out / "screening.json").read_text())["patches"] == 1
    assert not (out / "findings.png").exists()
    strict = ("--set", "haze_reflectance=0.001")
    assert unclouded("data", "screen", root, "--out", out, *strict) == 1
    assert "haze in s2: 100.0% cirrus, median of B10 0.0019" in (out / "screening.txt").read_text()
    assert (out / "findings.png").stat().st_size > 10_000


def test_a_threshold_that_does_not_exist_is_refused(
    root: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--set", "hase=0.1")
    assert unclouded("data", "screen", root, "--out", tmp_path / "out", *wrong) == 2
    assert "hase is not a key; did you mean 'haze'?" in capsys.readouterr().err


def test_a_manifest_is_written_and_check_finds_one_flipped_byte(
    root: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("data", "manifest", root, "--no-coverage") == 0
    assert "manifest.parquet: 1 patches (1 kept), SHA-256 " in capsys.readouterr().out
    assert unclouded("data", "check", root) == 0
    assert "manifest.parquet: 1 patches hashed" in capsys.readouterr().out
    path = root / PatchId.parse("ROIs1158_spring_106_p9").path("s2")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    report = tmp_path / "check.json"
    assert unclouded("data", "check", root, "--json", report) == 1
    found = json.loads(report.read_text())
    assert not found["clean"] and found["hashed"] == 1 and found["different"][0]["file"] == str(path.relative_to(root))
    assert found["regions"] == [{"roi": "ROIs1158_spring_106", "found": 1, "published": 784}]


def test_a_check_for_the_published_data_set_lists_what_is_absent(
    root: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("data", "check", root) == 0
    capsys.readouterr()
    assert unclouded("data", "check", root, "--published") == 1
    text = capsys.readouterr().out
    assert "  spring    41 regions        1 of 29,117 published triplets" in text
    assert "  ROIs2017_winter_8: 0 of " in text


def test_a_file_of_hundreds_of_regions_is_read(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    regions = (
        f'[[regions]]\nroi = "ROIs0001_fall_{number}"\nradar_from = "s1"\noptical_from = "s2"\nsplit = "train"\n'
        f"center = [{number / 7}, {number / 21}]\ndates = [2017-12-01, 2018-11-30]\n"
        for number in range(600)
    )
    (tmp_path / "regions.toml").write_text("".join(regions))
    assert (tmp_path / "regions.toml").stat().st_size > 64 << 10
    assert unclouded("curate", tmp_path / "regions.toml", tmp_path / "root") == 2
    assert "s1 is not a folder; check the path" in capsys.readouterr().err
    (tmp_path / "regions.toml").write_text("#" * (3 << 20))
    assert unclouded("curate", tmp_path / "regions.toml", tmp_path / "root") == 2
    assert "has more than 2,097,152 bytes" in capsys.readouterr().err


def test_regions_are_drawn_and_split_from_a_land_mask(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    ring = [[-10, -30], [40, -30], [40, 30], [-10, 30], [-10, -30]]
    feature = {"properties": {"continent": "Africa"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "land.geojson").write_text(json.dumps({"features": [feature]}))
    command = ("data", "sample", tmp_path / "land.geojson", tmp_path / "regions.geojson", "--regions", 40)
    assert unclouded(*command) == 0
    assert "40 regions on 1 continents (train 3" in capsys.readouterr().out
    first = (tmp_path / "regions.geojson").read_text()
    features = json.loads(first)["features"]
    assert {one["properties"]["split"] for one in features} == {"train", "val", "test"}
    assert unclouded(*command) == 0
    assert (tmp_path / "regions.geojson").read_text() == first
    over_itself = ("data", "sample", tmp_path / "land.geojson", tmp_path / "land.geojson")
    assert unclouded(*over_itself) == 2


def test_products_are_proposed_for_sampled_regions(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    properties = {"continent": "Europe", "split": "train"}
    features = [
        {
            "geometry": footprint_around(longitude, 44.5, (52.0, 40.0)),
            "properties": {"roi": f"ROIs0001_summer_{number}", "center": [longitude, 44.5]} | properties,
        }
        for number, longitude in ((1, 11.0), (2, -30.0))
    ]
    regions, out = tmp_path / "regions.geojson", tmp_path / "candidates"
    recorded = Path(__file__).parents[1] / "data" / "stac_items.json"
    command = ("data", "search", regions, recorded, "--out", out, "--until", "2018-11-30", "--since")
    regions.write_text(json.dumps({"features": features}))
    assert unclouded(*command, "2017-12-01") == 1  # nothing in the Atlantic
    printed = capsys.readouterr()
    assert "1 of 2 regions have products, 4 to fetch. Cloud cover is that of WHOLE products" in printed.out
    assert "skipped S2A_32TPQ_20180711_0_L2A: of type S2MSI2A, expected S2MSI1C (Level-1C)" in printed.err
    assert not (out / ".answers").exists()  # a catalogue on disk needs no cache
    assert (out / "choices.csv").is_file() and len((out / "products.txt").read_text().split()) == 4
    for folder in ("s1", "s2"):
        (out / folder).mkdir()
    assert unclouded("curate", out / "regions.toml", tmp_path / "root") == 1
    assert "found 0 radar and 0 optical scenes in a summer" in capsys.readouterr().err  # until they are fetched
    regions.write_text(json.dumps({"features": features[:1]}))
    assert unclouded(*command, "2017-12-01") == 0
    assert unclouded(*command, "2018-12-01") == 2
    assert "since 2018-12-01 is later than until 2018-11-30" in capsys.readouterr().err


def test_an_interrupted_search_queries_only_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((Path(__file__).parents[1] / "data" / "stac_items.json").read_text())["features"]
    queries: list[float] = []
    no_progress = {-30.0}

    class Catalogue:
        def items(self, outline: dict[str, Any], days: object, collection: str) -> list[Any]:
            west = shape(outline).bounds[0]
            if round(west) in no_progress:
                raise InputError("it does not answer")
            queries.append(round(west))
            return recorded

    monkeypatch.setattr("unclouded.catalogue.stac.open_catalogue", lambda _: Catalogue())
    properties = {"continent": "Europe", "split": "train"}
    features = [
        {
            "geometry": footprint_around(longitude, 44.5, (52.0, 40.0)),
            "properties": {"roi": f"ROIs0001_summer_{number}", "center": [longitude, 44.5]} | properties,
        }
        for number, longitude in ((1, 11.0), (2, -30.0))
    ]
    (tmp_path / "regions.geojson").write_text(json.dumps({"features": features}))
    days = ("--since", "2017-12-01", "--until", "2018-11-30")
    command = ("data", "search", tmp_path / "regions.geojson", "https://a.example", "--out", tmp_path / "out", *days)
    assert unclouded(*command) == 1
    assert (
        "the catalogue did not answer for all regions; repeat the command to search the rest" in capsys.readouterr().err
    )
    assert queries == [11, 11] and (tmp_path / "out" / ".answers").is_dir()
    no_progress.clear()
    assert unclouded(*command) == 1  # answered, but nothing in the Atlantic
    assert queries == [11, 11, -30, -30] and not (tmp_path / "out" / ".answers").exists()
    assert "did not answer for all regions" not in capsys.readouterr().err


def test_an_interrupted_check_resumes_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unclouded: Callable[..., int]
) -> None:
    from unclouded.cli import data_checks as keeping

    work, run_tasks = tmp_path / "work", keeping.run_tasks

    def killed(*arguments: object) -> None:
        run_tasks(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "run_tasks", killed)
        with pytest.raises(RuntimeError, match="killed"):
            keeping.inspect(find_triplets(root), published=False, report=None, work=work, processes=1)
    assert len(list((work / "done").iterdir())) == 1
    monkeypatch.setattr("unclouded.curation.maintenance.read_triplet", pytest.fail)  # it was read before
    assert unclouded("data", "check", root, "--work", work) == 0
    assert not work.exists()

"""From a place and a date to the image; an archive with faults gives the same bytes as files at hand."""

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from products.archive import Archive, running
from products.fixtures import RADAR_GRID, simulated_bands
from products.optical_product import OpticalProduct, write_optical_product
from typer.testing import CliRunner

from unclouded.acquisition.choice import GetSettings
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.places import Place, find_place
from unclouded.acquisition.products import remote_product
from unclouded.acquisition.scene import fetch_scene, plan_scene
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.download import RetryPolicy
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sentinel.footprints import footprint
from unclouded.web import WebLimits

pytestmark = pytest.mark.enable_socket  # the loopback alone
DAY = date(2021, 9, 8)
QUICK = RetryPolicy(first_wait_s=0.001, limits=WebLimits(answer_s=5.0, silence_s=5.0), rng=random.Random(0))


def zipped(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name.removesuffix('.SAFE')}.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return target


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cloudy image of 8 September, and a clear one of 13 September; each of 120 x 120 px."""
    folder = tmp_path_factory.mktemp("products")
    corner = (int(RADAR_GRID.affine.c), int(RADAR_GRID.affine.f))
    today = OpticalProduct(corner=corner)
    later = replace(today, acquired=datetime(2021, 9, 13, 10, 27, 1, tzinfo=UTC))
    bands = simulated_bands()
    clear = {name: np.where(values > 0, 900 + values // 12, 0).astype(np.uint16) for name, values in bands.items()}
    return {
        "cloudy": zipped(write_optical_product(folder / "a", bands, today)),
        "later": zipped(write_optical_product(folder / "b", clear, later)),
    }


@pytest.fixture
def archive(products: dict[str, Path], radar_product: Callable[..., Path]) -> Iterator[Archive]:
    with running(Archive()) as made:
        outline = footprint(RADAR_GRID)
        made.add(products["cloudy"], "optical", outline, "2021-09-08T10:27:01Z", 70.0)
        made.add(products["later"], "optical", outline, "2021-09-13T10:27:01Z", 1.0)
        radar = zipped(radar_product())
        made.add(radar, "radar", outline, "2021-09-07T17:06:50Z", **{"sat:orbit_state": "ascending"})
        yield made


@pytest.fixture
def place() -> Place:
    """A part of the scene of 60 x 60 px."""
    return Place("field", footprint(RADAR_GRID[30:90, 30:90]))


def fetched(archive: Archive, place: Place, folder: Path, **settings: Any) -> dict[str, str]:
    """Return the hashes of all products that were fetched."""
    plan = plan_scene(place, DAY, archive.provider, GetSettings(**settings))
    fetch_scene(plan, folder, Credentials(archive.provider), retry=QUICK)
    return {path.name: sha256(path) for path in folder.glob("*.zip")}


@pytest.fixture
def expected(archive: Archive, place: Place, tmp_path: Path) -> dict[str, str]:
    return fetched(archive, place, tmp_path / "straight")


def test_products_are_fetched_once_and_verified(
    archive: Archive, place: Place, expected: dict[str, str], products: dict[str, Path], tmp_path: Path
) -> None:
    assert len(expected) == 3
    assert expected[products["cloudy"].name] == sha256(products["cloudy"])
    before = len(archive.asked)
    assert fetched(archive, place, tmp_path / "straight") == expected
    assert not any(path.startswith("/files/") for path, _ in archive.asked[before:])
    area = json.loads((tmp_path / "straight" / "area.geojson").read_text())
    assert area["geometry"]["type"] == "Polygon"


@pytest.mark.parametrize(
    "faults",
    [{"statuses": [429, 503]}, {"cut": 3}, {"statuses": [503], "cut": 2}],
    ids=["busy", "cut lines", "both"],
)
def test_fault_41_faults_of_the_line_give_the_same_bytes(
    archive: Archive, place: Place, expected: dict[str, str], faults: dict[str, Any], tmp_path: Path
) -> None:
    for name, value in faults.items():
        setattr(archive, name, value)
    assert fetched(archive, place, tmp_path / "out") == expected


def test_an_expired_token_is_renewed_during_a_download(
    archive: Archive, place: Place, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLOUDED_USER", "me")
    monkeypatch.setenv("UNCLOUDED_PASSWORD", "secret")
    archive.token_uses, archive.cut = 1, 1  # the line is cut, and the token is no longer good for the rest
    before = len(archive.asked)
    assert fetched(archive, place, tmp_path / "out") == expected
    assert archive.tokens >= 3
    assert all(secret != "" for path, secret in archive.asked[before:] if path.startswith("/files/"))
    written = "".join(path.read_text(errors="ignore") for path in (tmp_path / "out").glob("*.json"))
    assert "token-" not in written and "secret" not in written


def test_rejected_credentials_end_the_download_in_one_line(
    archive: Archive, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLOUDED_USER", "me")
    monkeypatch.setenv("UNCLOUDED_PASSWORD", "secret")
    archive.token_uses = 0
    with pytest.raises(InputError, match=r"the server answers 401 Unauthorized; check the credentials"):
        fetched(archive, place, tmp_path / "out")


def test_a_wrong_length_and_a_wrong_checksum_are_refused_and_removed(
    archive: Archive, place: Place, tmp_path: Path
) -> None:
    archive.wrong_length = True
    with pytest.raises(InputError, match=r"has [\d,]+ bytes, expected [\d,]+; it was removed"):
        fetched(archive, place, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.zip"))
    archive.wrong_length = False
    for item in archive.items:
        item["assets"]["Product"]["file:checksum"] = f"1220{'0' * 64}"
    with pytest.raises(InputError, match=r"has another checksum \(sha256\) than its item; it was removed"):
        fetched(archive, place, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.zip"))


def test_items_without_files_are_refused_and_addresses_are_checked(archive: Archive, place: Place) -> None:
    plan = plan_scene(place, DAY, archive.provider)
    found = plan.choice.cloudy
    for assets in ({}, {"Product": {"href": "file:///etc/passwd"}}, {"Product": {"href": "/vsicurl/x"}}, {"b": 3}):
        with pytest.raises(InputError, match="has no asset that can be fetched"):
            remote_product(replace(found, item={**found.item, "assets": assets}))
    bucket = {"safe_manifest": {"href": "s3://bucket/a/b.SAFE/manifest.safe"}}
    product = remote_product(replace(found, item={**found.item, "assets": bucket}))
    assert (product.kind, product.name, product.files[0].address) == ("folder", "b.SAFE", "s3://bucket/a/b.SAFE")
    names = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
    bands = {name: {"href": f"https://a.b/x/{name}.tif?sig=1", "roles": ["data"]} for name in names}
    product = remote_product(replace(found, item={**found.item, "assets": bands | {"visual": bands["B02"]}}))
    assert (product.kind, len(product.files), product.files[0].name) == ("bands", 12, "B01.tif")
    common = ("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "cirrus")
    stored = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
    assets = {
        key: {"href": f"s3://sentinel-s2-l1c/tiles/32/T/PQ/2021/9/8/0/{name}.jp2", "roles": ["data", "reflectance"]}
        for key, name in zip((*common, "swir16", "swir22"), stored, strict=True)
    }
    product = remote_product(replace(found, item={**found.item, "assets": assets}))
    assert [one.name for one in product.files] == [f"{name}.jp2" for name in stored]
    assert product.cut_to(place) is product


def test_one_command_gives_the_image_that_predict_makes_of_the_same_files(
    archive: Archive, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclouded.cli.main import app

    (tmp_path / "field.geojson").write_text(json.dumps(place.outline))
    out = tmp_path / "out"
    given = ["get", str(tmp_path / "field.geojson"), "2021-09-08", "--from", archive.address, "--remover", "clear-mean"]
    given += ["--out", str(out), "--clouds", "ones", "--references", "0"]
    dry = CliRunner().invoke(app, [*given, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "chosen as the cloudy image: of the date, 70.0 % cloud" in dry.output
    assert "2 products to fetch" in dry.output and not out.exists()
    made = CliRunner().invoke(app, given)
    assert made.exit_code == 0, (made.output, made.exception)
    plan = plan_scene(find_place(str(tmp_path / "field.geojson")), DAY, archive.provider, GetSettings(references=0))
    files = fetch_scene(plan, tmp_path / "own", Credentials(archive.provider))
    settings = SceneSettings(clouds={"mode": "ones"}, area=files.area)
    direct = predict_scene("clear-mean", files.cloudy, files.sar, tmp_path / "direct", settings)
    for name in ("clear", "provenance", "visual"):
        assert (out / f"{name}.tif").read_bytes() == direct.files[name].read_bytes()
    wrong = CliRunner().invoke(app, ["get", "field", "2021-09-08", "--out", str(out)])
    assert isinstance(wrong.exception, InputError)


def test_surface_reflectance_is_fetched_and_predicted_if_asked_for(
    archive: Archive, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unclouded.cli.main import app

    corner = (int(RADAR_GRID.affine.c), int(RADAR_GRID.affine.f))
    bands = {name: values for name, values in simulated_bands().items() if name != "B10"}
    product = OpticalProduct(level="L2A", corner=corner)
    zipped_product = zipped(write_optical_product(tmp_path / "l2a", bands, product))
    archive.add(zipped_product, "optical", footprint(RADAR_GRID), "2021-09-08T10:27:01Z", 70.0)
    (tmp_path / "field.geojson").write_text(json.dumps(place.outline))
    given = ["get", str(tmp_path / "field.geojson"), "2021-09-08", "--from", archive.address, "--level", "L2A"]
    given += ["--remover", "clear-mean", "--clouds", "ones", "--references", "0", "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, given)
    assert made.exit_code == 0, (made.output, made.exception)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["scene"]["level"] == "L2A"

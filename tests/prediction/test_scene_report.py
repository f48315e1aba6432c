"""A scene that is cleared through files ends with its page and its item."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.files import sha256
from unclouded.io.geotiff import write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.report.facts import Facts, Input
from unclouded.prediction.report.views import SceneViews
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.prediction.scene_report import publish
from unclouded.prediction.stac import Product
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox((96, 128), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")

BANDS = ("B04", "B03", "B02")


@dataclass(frozen=True)
class Place:
    """Files of a simulated scene: land under an opaque white cloud at its upper end."""

    folder: Path

    def cleared(self, name: str) -> PredictedScene:
        remover = auto_remover(BANDS) if name == "auto" else baseline(name, BANDS)
        out = self.folder / name
        return predict_scene(
            remover, self.folder / "s2 <b>.tif", self.folder / "s1.tif", out, SceneSettings(window_px=64)
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    spectrum = np.array([1500, 1200, 1100, 1000, 1300, 2000, 2300, 2200, 2500, 700, 12, 1800, 1000])
    optical = (spectrum[:, None, None] + rng.integers(-40, 40, (13, *GRID.shape)).clip(-10)).astype(np.uint16)
    optical[:, :32] = 7000
    optical[10, :32] = 300
    sar = np.stack([rng.normal(-10, 1, GRID.shape), rng.normal(-16, 1, GRID.shape)]).astype(np.float32)
    write_geotiff(folder / "s2 <b>.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    write_geotiff(folder / "s1.tif", sar, SENTINEL1.bands, GRID)
    return Place(folder)


@pytest.fixture(scope="module")
def auto(place: Place) -> PredictedScene:
    return place.cleared("auto")


def test_the_item_names_inputs_and_every_file_with_its_checksum(place: Place, auto: PredictedScene) -> None:
    content = json.loads(auto.files["item"].read_text())
    item = pystac.Item.from_dict(content)
    assert set(item.assets) == {"clear", "cloud_map", "provenance", "confidence", "report"}
    for name, asset in item.assets.items():
        assert asset.href == f"./{auto.files[name].name}"
        assert asset.extra_fields["file:checksum"] == f"1220{sha256(auto.files[name])}"
    inputs = {one["role"]: one["sha256"] for one in item.properties["unclouded:inputs"]}
    assert inputs == {"Sentinel-1": sha256(place.folder / "s1.tif"), "Sentinel-2": sha256(place.folder / "s2 <b>.tif")}
    assert item.properties["proj:shape"] == [96, 128]
    assert item.properties["unclouded:statistics"]["pixels"]["observed"] == auto.summary["pixels"]["observed"]


def test_the_summary_has_the_expected_error_and_the_remover_used(auto: PredictedScene) -> None:
    rows = auto.summary["expected_error"]["rows"]
    assert set(rows) == {"scene-adapted", "clear-mean", "sar-regression"}
    assert auto.summary["used"] in rows
    assert f"<td>{auto.summary['used']} (used)</td>" in auto.files["report"].read_text()


def test_the_page_shows_the_confidence_and_escapes_file_names(auto: PredictedScene) -> None:
    page = auto.files["report"].read_text()
    assert "Clouds and confidence" in page
    assert "s2 &lt;b&gt;" in page
    assert "<b>.tif" not in page


def test_a_baseline_chosen_by_name_has_no_expected_error(place: Place) -> None:
    scene = place.cleared("clear-mean")
    assert (scene.summary["used"], scene.summary["expected_error"]) == ("clear-mean", None)
    assert "Expected error" not in scene.files["report"].read_text()


def test_two_runs_write_the_same_page_and_item(place: Place, auto: PredictedScene) -> None:
    before = {name: path.read_bytes() for name, path in auto.files.items()}
    (auto.folder / "summary.json").unlink()
    again = place.cleared("auto")
    assert {name: path.read_bytes() for name, path in again.files.items()} == before


def test_an_overcast_scene_has_a_report(place: Place, tmp_path: Path) -> None:
    settings = SceneSettings(window_px=64, clouds=CloudMapSettings(mode="ones"))
    cloudy, sar = place.folder / "s2 <b>.tif", place.folder / "s1.tif"
    scene = predict_scene(auto_remover(BANDS), cloudy, sar, tmp_path, settings)
    assert (scene.summary["used"], scene.summary["expected_error"]) == ("scene-adapted", None)
    assert "of the predicted pixels are guessed" in scene.files["report"].read_text()


def test_the_item_holds_the_checksum_of_every_file_and_of_the_page(tmp_path: Path) -> None:
    image, m = np.full((1, 20, 30), 0.2, np.float32), np.zeros((1, 20, 30), np.float32)
    m[:, :5] = 0.7
    views = SceneViews(
        (20, 30),
        ("B08",),
        lambda a, b: image[:, a:b],
        lambda a, b: image[:, a:b],
        lambda a, b: m[:, a:b],
        lambda a, b: np.where(m > 0, 3, 1)[:, a:b].astype("u1"),
    )
    (tmp_path / "clear.tif").write_bytes(b"pixels")
    products = {"clear": Product(tmp_path / "clear.tif", "Without clouds", ("data",), ("B08",))}
    facts = Facts("here", "clear-mean", ("B08",), [Input("Sentinel-2", "a.tif", "00")])
    grid = GeoBox((20, 30), Affine(10, 0, 500000, 0, -10, 4500000), "EPSG:32630")
    written = publish(tmp_path, grid, views, products, facts, datetime(2020, 1, 1, tzinfo=UTC))
    item = json.loads(written.item.read_text())
    for name, path in (("clear", tmp_path / "clear.tif"), ("report", written.report)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert item["assets"][name]["file:checksum"] == f"1220{digest}"
    assert item["properties"]["eo:cloud_cover"] == 25.0
    assert item["properties"]["unclouded:statistics"]["pixels"]["synthesised"] == 150

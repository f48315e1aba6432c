"""Report page and STAC item of a scene that was predicted from files."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from products.report import COUNTS, simulated_overview, simulated_report

from unclouded.clouds.map import CloudMapSettings
from unclouded.files import sha256
from unclouded.io.geotiff import write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.report.data import OutputFile
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.prediction.scene_report import write_report
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox((96, 128), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")

BANDS = ("B04", "B03", "B02")


@dataclass(frozen=True)
class Place:
    """Files of a simulated scene: land under an opaque white cloud at its upper end."""

    folder: Path

    def predicted(self, name: str) -> PredictedScene:
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
    return place.predicted("auto")


def test_the_item_names_inputs_and_every_file_with_its_checksum(place: Place, auto: PredictedScene) -> None:
    content = json.loads(auto.files["item"].read_text())
    item = pystac.Item.from_dict(content)
    assert set(item.assets) == {*auto.files} - {"item"}
    assert {"clear", "cloud_map", "provenance", "confidence", "report", "visual", "thumbnail"} <= set(item.assets)
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
    assert "Clouds, provenance and confidence" in page
    assert "s2 &lt;b&gt;" in page
    assert "<b>.tif" not in page


def test_a_baseline_chosen_by_name_has_no_expected_error(place: Place) -> None:
    scene = place.predicted("clear-mean")
    assert (scene.summary["used"], scene.summary["expected_error"]) == ("clear-mean", None)
    assert "Expected error" not in scene.files["report"].read_text()


def test_two_runs_write_the_same_page_and_item(place: Place, auto: PredictedScene) -> None:
    before = {name: path.read_bytes() for name, path in auto.files.items()}
    (auto.folder / "summary.json").unlink()
    again = place.predicted("auto")
    assert {name: path.read_bytes() for name, path in again.files.items()} == before


def test_an_overcast_scene_has_a_report(place: Place, tmp_path: Path) -> None:
    settings = SceneSettings(window_px=64, clouds=CloudMapSettings(mode="ones"))
    cloudy, sar = place.folder / "s2 <b>.tif", place.folder / "s1.tif"
    scene = predict_scene(auto_remover(BANDS), cloudy, sar, tmp_path, settings)
    assert (scene.summary["used"], scene.summary["expected_error"]) == ("scene-adapted", None)
    assert "of the predicted pixels are guessed" in scene.files["report"].read_text()


def test_the_item_holds_the_checksum_of_every_file_and_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "clear.tif").write_bytes(b"pixels")
    files = {"clear": OutputFile(tmp_path / "clear.tif", "Without clouds", ("data",), ("B08",))}
    counts = COUNTS | {"observed": 7_500, "synthesised": 2_499}
    seen = simulated_overview(counts=counts, cloudy_share=0.25)
    written = write_report(tmp_path, simulated_report(files=files, overview=seen, losses={"no_data_radar": 7}))
    item = json.loads(written["item"].read_text())
    for name, path in (("clear", tmp_path / "clear.tif"), ("report", written["report"])):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert item["assets"][name]["file:checksum"] == f"1220{digest}"
    assert item["properties"]["eo:cloud_cover"] == 25.0
    pixels = item["properties"]["unclouded:statistics"]["pixels"]
    assert (pixels["synthesised"], pixels["no_data_radar"]) == (2_499, 7)


def test_the_page_links_to_the_products_beside_it(auto: PredictedScene) -> None:
    page = auto.files["report"].read_text()
    for name in ("clear", "cloud_map", "provenance", "confidence"):
        assert f'<a href="{auto.files[name].name}">' in page
        assert (auto.folder / f"{name}.tif").is_file()


def test_settings_are_shown_by_dotted_names_without_those_that_are_not_set(auto: PredictedScene) -> None:
    settings = json.loads(auto.files["item"].read_text())["properties"]["unclouded:settings"]
    assert (settings["clouds.mode"], settings["window_px"], settings["requested"]) == ("product", "64", "auto")
    assert "cloud_map" not in settings and "optical.offset" not in settings

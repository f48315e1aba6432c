"""Other dates of the place of a scene: opened, checked, mapped, read with its rows, and used."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.cli.options import paired
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.io.geotiff import open_geotiff, read_stored, write_geotiff
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.references.regression import ReferenceRegressionSettings
from unclouded.models.references.remover import ReferenceRemover, ReferenceSettings
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A

SIDE = 96
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
LINEAR = ReferenceSettings(regression=ReferenceRegressionSettings(landmarks=0))
REMOVER = ReferenceRemover(settings=LINEAR, fallback=SceneAdapted())
CLOUD = np.s_[30:66, 30:66]
NEAR = "2020-06-11T10:00:00"


def ground(seed: int = 0) -> np.ndarray:
    """Fields of 8 x 8 px; every band differs from the others."""
    fields = np.random.default_rng(seed).integers(500, 3000, (13, SIDE // 8, SIDE // 8))
    return np.kron(fields, np.ones((8, 8))).astype(np.uint16)


@dataclass(frozen=True)
class Place:
    """Files of a scene whose middle is under a cloud, and of other dates."""

    folder: Path

    def write(self, name: str, stored: np.ndarray, time: str | None, grid: GeoBox = GRID) -> Path:
        tags = {} if time is None else {"ACQUISITIONDATETIME": time}
        path = self.folder / f"{name}.tif"
        write_geotiff(path, stored, SENTINEL2.bands, grid, nodata=0, tags=tags)
        return path

    def scene(self) -> tuple[Path, Path]:
        cloudy = ground()
        cloudy[:, *CLOUD] = 9000
        sar = np.random.default_rng(1).uniform(-20, -5, (2, SIDE, SIDE)).astype(np.float32)
        radar = self.folder / "s1.tif"
        write_geotiff(radar, sar, SENTINEL1.bands, GRID)
        return self.write("s2", cloudy, "2020-06-01T10:00:00"), radar

    def reference(self, name: str = "other", time: str | None = NEAR, grid: GeoBox = GRID) -> Path:
        """The same ground, darker by a fifth and with another gain in each band."""
        gains = np.linspace(0.7, 0.9, 13)[:, None, None]
        rows, columns = grid.shape
        return self.write(name, (ground()[:, :rows, :columns] * gains).astype(np.uint16), time, grid)

    def predict(self, *references: Path, out: str = "out", **settings: object) -> PredictedScene:
        cloudy, sar = self.scene()
        return predict_scene(
            REMOVER,
            cloudy,
            sar,
            self.folder / out,
            SceneSettings(window_px=48, clouds=CloudMapSettings(mode="continuous"), **settings),
            references=references,
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose clouds are the pixels with B02 above 0.8."""

    def rule(reflectance: np.ndarray, *_: object, **__: object) -> np.ndarray:
        return (np.nan_to_num(reflectance[1]) > 0.8).astype(np.float32)

    monkeypatch.setattr("unclouded.prediction.cloud_mapping.cloud_map", rule)
    return Place(tmp_path)


def values(scene: PredictedScene, name: str = "clear") -> np.ndarray:
    return read_stored(scene.files[name]).values


def error(scene: PredictedScene) -> float:
    """Mean absolute error under the cloud, reflectance."""
    truth = ground()[SENTINEL2.indices("B04", "B03", "B02")].astype(float)
    return float(np.abs(values(scene) - truth)[:, *CLOUD].mean() / 10_000)


def test_a_reference_shows_the_ground_under_the_cloud_at_todays_brightness(place: Place) -> None:
    without, with_reference = place.predict(out="without"), place.predict(place.reference())
    assert error(with_reference) < 0.003 < 0.03 < error(without)
    assert (values(with_reference, "provenance")[0, *CLOUD] == Provenance.REFERENCE).all()
    (use,) = with_reference.summary["reference_use"]
    assert (use["days"], use["weight"]) == (10, 1.0)
    assert use["clear_share"] == 1.0
    links = json.loads(with_reference.files["item"].read_text())["links"]
    assert [(one["rel"], one["href"], one["title"]) for one in links] == [
        ("derived_from", "s2.tif", "cloudy image"),
        ("derived_from", "s1.tif", "radar"),
        ("derived_from", "other.tif", "image of another date"),
    ]
    with open_geotiff(with_reference.files["clear"]) as file:
        assert json.loads(file.tags()["UNCLOUDED_REFERENCES"])[0]["name"] == "other.tif"
    assert use["error"] < 0.2 * use["error_without"]


def test_the_result_depends_neither_on_the_order_nor_on_the_windows(place: Place) -> None:
    first, second = place.reference(), place.reference("third", "2020-05-20T10:00:00")
    second = place.write("third", ground(3), "2020-05-20T10:00:00")
    once = place.predict(first, second)
    assert place.predict(second, first).summary["key"] == once.summary["key"]
    cloudy, sar = place.scene()
    settings = SceneSettings(window_px=20, clouds=CloudMapSettings(mode="continuous"))
    again = predict_scene(REMOVER, cloudy, sar, place.folder / "b", settings, references=[second, first])
    np.testing.assert_allclose(values(again).astype(int), values(once).astype(int), atol=1)
    assert [one["days"] for one in again.summary["reference_use"]] == [-12, 10]


def test_a_reference_that_does_not_agree_is_named_and_does_no_harm(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    other_ground = place.write("winter", ground(5), NEAR)
    with caplog.at_level(logging.WARNING, "unclouded"):
        scene = place.predict(other_ground)
    assert error(scene) < 1.02 * error(place.predict(out="without"))
    assert "winter.tif, 10 days after the scene, does not agree with the clear ground" in caplog.text


def test_clouds_of_references_are_gaps_and_cloudy_ones_are_left_out(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    overcast = place.write("overcast", np.full((13, SIDE, SIDE), 9000, np.uint16), "2020-05-20T10:00:00")
    cloudy_there = ground()
    cloudy_there[:, *CLOUD] = 9500
    scene = place.predict(overcast, place.write("same", cloudy_there, NEAR))
    assert "overcast.tif of 2020-05-20 shows no clear ground of the scene; it was left out" in caplog.text
    assert not (values(scene, "provenance") == Provenance.REFERENCE).any()


def test_a_reference_that_covers_half_of_the_scene_helps_there(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    half = place.reference(grid=GRID[:48, :])
    codes = values(place.predict(half), "provenance")[0]
    assert (codes[30:44, 30:66] == Provenance.REFERENCE).all()
    assert not (codes[48:66, 30:66] == Provenance.REFERENCE).any()
    assert "covers 50.0 % of the scene; the rest is a gap" in caplog.text


def test_a_reference_on_another_grid_is_warped_on_request(place: Place) -> None:
    moved = GeoBox((SIDE, SIDE), GRID.affine * Affine.translation(0.5, 0), GRID.crs)
    stored = (ground()[:, :, 1:].astype(float) + ground()[:, :, :-1]) / 2  # what these pixels see
    between = np.pad(stored, ((0, 0), (0, 0), (0, 1)), mode="edge").round().astype(np.uint16)
    reference = place.write("moved", between, NEAR, moved)
    with pytest.raises(InputError, match=r"moved.tif lies on another grid .* warp it with --align"):
        place.predict(reference)
    assert error(place.predict(reference, align_references=True)) < 0.5 * error(place.predict(out="without"))


@pytest.mark.parametrize(
    ("time", "place_px", "message"),
    [
        ("2020-06-01T10:00:00", 0, "other.tif of 2020-06-01 is of the date of the cloudy scene; give another date"),
        (NEAR, 5000, "other.tif is of another place: it does not overlap the cloudy scene"),
    ],
)
def test_a_reference_of_the_same_date_or_another_place_is_refused(
    place: Place, time: str, place_px: int, message: str
) -> None:
    grid = GeoBox((SIDE, SIDE), GRID.affine * Affine.translation(place_px, 0), GRID.crs)
    with pytest.raises(InputError, match=message):
        place.predict(place.reference(time=time, grid=grid))
    assert not (place.folder / "out").exists()


def test_two_references_of_one_date_or_one_content_are_refused(place: Place) -> None:
    first = place.reference()
    second = place.write("second", ground(4), "2020-06-11T11:00:00")
    with pytest.raises(InputError, match=r"other.tif of 2020-06-11 and .*second.tif of 2020-06-11 are of one date"):
        place.predict(first, second)
    with pytest.raises(InputError, match=r"other.tif has the same content as the reference .*other.tif"):
        place.predict(first, first)
    with pytest.raises(InputError, match=r"s2.tif has the same content as the cloudy scene"):
        place.predict(place.folder / "s2.tif")


def test_a_reference_of_another_level_is_refused(place: Place) -> None:
    path = place.folder / "l2a.tif"
    write_geotiff(path, ground()[:12], SENTINEL2_L2A.bands, GRID, nodata=0)
    with pytest.raises(InputError, match=r"l2a.tif"):
        place.predict(path)


def test_a_reference_without_date_is_named(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    scene = place.predict(place.reference(time=None))
    assert "the date of the reference other.tif is unknown" in caplog.text
    assert scene.summary["reference_use"][0]["days"] is None


def test_a_remover_without_references_ignores_them_with_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    cloudy, sar = place.scene()
    settings = SceneSettings(clouds=CloudMapSettings(mode="continuous"))
    scene = predict_scene("clear-mean", cloudy, sar, place.folder / "out", settings, references=[place.reference()])
    assert "clear-mean uses no references; they are ignored" in caplog.text
    assert scene.summary["reference_use"] == []


def test_auto_prefers_references_when_there_are_any(place: Place) -> None:
    cloudy, sar = place.scene()
    settings = SceneSettings(window_px=48, clouds=CloudMapSettings(mode="continuous"))
    scene = predict_scene("auto", cloudy, sar, place.folder / "out", settings, references=[place.reference()])
    assert scene.summary["used"] == REMOVER.name
    assert error(scene) < 0.003


def test_an_interrupted_run_resumes_with_its_references(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = place.reference()
    expected = values(place.predict(reference, out="whole"))
    with monkeypatch.context() as patched:
        patched.setattr("unclouded.prediction.scene.write_products", _stop)
        with pytest.raises(KeyboardInterrupt):
            place.predict(reference)
    mapped: list[object] = []
    monkeypatch.setattr("unclouded.prediction.cloud_mapping.cloud_map", lambda *seen, **_: mapped.append(seen))
    np.testing.assert_array_equal(values(place.predict(reference)), expected)
    assert not mapped


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_radar_of_a_reference_belongs_to_its_record(place: Place) -> None:
    cloudy, sar = place.scene()
    then = place.folder / "then.tif"
    write_geotiff(
        then, np.random.default_rng(2).uniform(-20, -5, (2, SIDE, SIDE)).astype(np.float32), ("VV", "VH"), GRID
    )
    settings = SceneSettings(window_px=48, clouds=CloudMapSettings(mode="continuous"))
    pair = place.reference(), then
    with_radar = predict_scene(REMOVER, cloudy, sar, place.folder / "out", settings, references=[pair])
    assert with_radar.summary["references"][0]["sar"]["name"] == "then.tif"


def test_options_pair_radar_with_references_by_position() -> None:
    one, two, radar = Path("a"), Path("b"), Path("c")
    assert paired([one, two], None) == [(one, None), (two, None)]
    assert paired([one], [radar]) == [(one, radar)]
    with pytest.raises(InputError, match="one --reference-sar for each --reference, or none, found 1 for 2"):
        paired([one, two], [radar])


def test_confidence_is_that_of_the_selected_remover(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unclouded.prediction.auto_remover.select_remover", lambda *_: ("scene-adapted", "scene-adapted was used")
    )
    (cloudy, sar), settings = place.scene(), SceneSettings(clouds=CloudMapSettings(mode="continuous"))
    selected = predict_scene("auto", cloudy, sar, place.folder / "out", settings, references=[place.reference()])
    alone = predict_scene("scene-adapted", cloudy, sar, place.folder / "alone", settings)
    for name in ("clear", "confidence", "provenance"):
        np.testing.assert_array_equal(values(selected, name), values(alone, name))
    (use,) = selected.summary["reference_use"]
    assert use["weight"] == 0.0 and use["error"] < use["error_without"]

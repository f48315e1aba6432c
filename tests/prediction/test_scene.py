"""Prediction of whole scenes: pixels keep their position, and the result does not depend on the windows."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import BusyError, InputError, MachineError
from unclouded.files import sha256
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.locks import held
from unclouded.models.baselines import baseline
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.identity import describe_remover
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.prediction.clearing import seam_index
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import SUMMARY, PredictedScene, SceneSettings, predict_scene
from unclouded.prediction.sources import RadarSettings
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.settings import settings_from
from unclouded.tensors.observation import Observation

HEIGHT, WIDTH = 75, 90  # no multiples of 4
GRID = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 500_000.5, 0, -10, 5_000_480.25), "EPSG:32632")
ONES = SceneSettings(window_px=32, clouds=CloudMapSettings(mode="ones"))


@dataclass(frozen=True)
class Grey:
    """A remover that returns one value everywhere."""

    name: str = "grey"
    bands: tuple[str, ...] = RGB
    value: float = 0.1234

    def __call__(self, observation: Observation) -> torch.Tensor:
        return torch.full_like(observation.select(self.bands).cloudy, self.value)


@dataclass(frozen=True)
class Identity:
    """A remover that returns its input."""

    name: str = "identity"
    bands: tuple[str, ...] = SENTINEL2.bands

    def __call__(self, observation: Observation) -> torch.Tensor:
        return observation.select(self.bands).cloudy


@dataclass(frozen=True)
class Coordinates:
    """A remover that returns row and column of each pixel in its scene, in stored steps."""

    name: str = "coordinates"
    bands: tuple[str, ...] = ("B04", "B03")

    def __call__(self, observation: Observation) -> torch.Tensor:
        top, left = observation.origin_px
        height, width = observation.cloudy.shape[-2:]
        rows, columns = np.mgrid[top + 1 : top + 1 + height, left + 1 : left + 1 + width]
        return torch.from_numpy(np.stack([rows, columns])[None].astype(np.float32)) / SENTINEL2.stored_per_unit


@dataclass(frozen=True, eq=False)
class Place:
    """The files of a simulated scene."""

    folder: Path

    @property
    def cloudy(self) -> Path:
        return self.folder / "s2.tif"

    @property
    def sar(self) -> Path:
        return self.folder / "s1.tif"

    def write(self, optical: np.ndarray, sar: np.ndarray | None = None) -> None:
        sar = np.full((2, *optical.shape[1:]), -9, np.float32) if sar is None else sar
        write_geotiff(self.cloudy, optical, SENTINEL2.bands, GRID[: optical.shape[1], : optical.shape[2]], nodata=0)
        write_geotiff(self.sar, sar, SENTINEL1.bands, GRID[: optical.shape[1], : optical.shape[2]])

    def predict(self, remover: object, settings: SceneSettings = ONES, out: str = "out") -> PredictedScene:
        return predict_scene(remover, self.cloudy, self.sar, self.folder / out, settings)


def coordinates() -> np.ndarray:
    """Band b holds 1000 b + 5 row + column + 1, so that every pixel and band is different."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([1000 * b + 5 * rows + columns + 1 for b in range(13)]).astype(np.uint16)


def land(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(200, 3000, (13, HEIGHT, WIDTH)).astype(np.uint16)


def speckle(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-20, -5, (2, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    found.write(coordinates())
    return found


@pytest.fixture
def painted_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds by a rule on values only: m = 0.7 where B04 is below 3250, 0.2 up to 3300, then 0."""

    def rule(reflectance: np.ndarray, *_: object, **__: object) -> np.ndarray:
        red = np.nan_to_num(reflectance[3])
        return np.where(red < 0.325, 0.7, np.where(red < 0.33, 0.2, 0.0)).astype(np.float32)

    monkeypatch.setattr("unclouded.prediction.cloud_mapping.cloud_map", rule)


def values(scene: PredictedScene, name: str = "clear") -> np.ndarray:
    return read_stored(scene.files[name]).values


def tiny_network(width: int = 2) -> NetworkRemover:
    torch.manual_seed(0)
    settings = NetworkSettings(width=width)
    generator = settings.build()
    torch.nn.init.normal_(generator.trunk[-1].weight, std=0.1)
    return NetworkRemover(generator, settings, precision="float32")


@pytest.mark.parametrize("window_px", [8, 32, 512])
def test_coordinates_survive_cutting_blending_and_writing(place: Place, window_px: int) -> None:
    made = values(place.predict(Coordinates(), ONES.model_copy(update={"window_px": window_px})))
    rows, columns = np.mgrid[1 : HEIGHT + 1, 1 : WIDTH + 1]
    assert np.array_equal(made, np.stack([rows, columns]))


def test_expectation_11_the_identity_returns_the_input_exactly(place: Place) -> None:
    assert np.array_equal(values(place.predict(Identity())), coordinates())


@pytest.mark.usefixtures("painted_map")
def test_expectation_13_clear_pixels_keep_their_integers_and_cloudy_ones_are_replaced(place: Place) -> None:
    scene = place.predict(Grey())
    red = coordinates()[3]
    cloudy = red < 3300
    assert np.array_equal(values(scene)[:, ~cloudy], coordinates()[[3, 2, 1]][:, ~cloudy])
    assert np.unique(values(scene)[:, cloudy]).tolist() == [1234]
    traced = values(scene, "provenance")[0]
    assert np.array_equal(traced == Provenance.SYNTHESISED, red < 3250)
    assert np.array_equal(traced == Provenance.BLENDED, cloudy & (red >= 3250))
    assert np.array_equal(traced == Provenance.OBSERVED, ~cloudy)
    assert scene.summary["pixels"]["observed"] == int((~cloudy).sum())
    assert scene.summary["pixels"]["cloudy_share"] == pytest.approx(cloudy.mean())


@pytest.mark.parametrize(
    ("chosen", "mode", "remarks"), [({}, "ones", 0), ({"mode": "ones"}, "ones", 0), ({"mode": "binary"}, "binary", 1)]
)
def test_a_scene_is_mapped_as_the_weights_were_trained_unless_the_user_chooses(
    place: Place, chosen: dict[str, str], mode: str, remarks: int
) -> None:
    network = replace(tiny_network(), trained_map=TrainedMap(CloudMapSettings(mode="ones")))
    summary = place.predict(network, settings_from(SceneSettings, {"clouds": chosen})).summary
    assert summary["settings"]["clouds"]["mode"] == mode
    assert summary["trained_map"]["settings"]["mode"] == "ones"
    assert sum("was trained with ones (m = 1 everywhere)" in one for one in summary["remarks"]) == remarks


def test_files_are_cogs_with_the_grid_type_nodata_and_names_of_the_input(place: Place) -> None:
    scene = place.predict(Grey())
    for path in (path for path in scene.files.values() if path.suffix == ".tif"):
        valid, errors, _ = cog_validate(path)
        assert valid, errors
        assert read_stored(path).geobox == GRID
    image = read_stored(scene.files["clear"])
    assert (image.values.dtype, image.nodata, image.descriptions) == (np.uint16, 0, RGB)
    assert image.scales == (1e-4,) * 3
    pictures = {"visual", "observed_visual", "thumbnail", "cloud_map_style", "provenance_style"}
    assert set(scene.files) == {"clear", "cloud_map", "provenance", "report", "item"} | pictures


@pytest.fixture
def wide(place: Place) -> np.ndarray:
    """A scene wider than a margin, dark on the left and bright on the right."""
    rng = np.random.default_rng(0)
    grid = GeoBox((48, 340), GRID.affine, GRID.crs)
    optical = rng.integers(200, 3000, (13, 48, 340)).astype(np.uint16)
    optical[:, :, 170:] += 4000
    write_geotiff(place.cloudy, optical, SENTINEL2.bands, grid, nodata=0)
    write_geotiff(place.sar, rng.uniform(-20, -5, (2, 48, 340)).astype(np.float32), SENTINEL1.bands, grid)
    return optical


@pytest.mark.parametrize("name", ["network", "sar-regression", "scene-adapted"])
def test_expectation_11_the_result_does_not_depend_on_the_windows(place: Place, wide: np.ndarray, name: str) -> None:
    remover = tiny_network() if name == "network" else load_remover(name, None)
    made = [
        values(place.predict(remover, ONES.model_copy(update={"window_px": px}), f"{px}")).astype(int)
        for px in (20, 64, 512)
    ]
    assert abs(made[0] - wide[[3, 2, 1]]).max() > 100
    assert abs(made[0] - made[2]).max() <= 1
    assert abs(made[1] - made[2]).max() <= 1


@pytest.mark.usefixtures("wide")
def test_statistics_of_each_window_do_depend_on_the_windows(place: Place) -> None:
    settings = ONES.model_copy(update={"statistics": "window"})
    made = [
        values(place.predict(tiny_network(), settings.model_copy(update={"window_px": px}), f"{px}")).astype(int)
        for px in (64, 512)
    ]
    assert abs(made[0] - made[1]).max() > 20


def test_expectation_11_scene_statistics_give_no_seams_and_window_statistics_do(place: Place) -> None:
    rows, columns = np.mgrid[0:48, 0:340]
    waves = 1500 + 1000 * np.sin(columns / 40) + 300 * np.sin(rows / 9)
    grid = GeoBox((48, 340), GRID.affine, GRID.crs)
    write_geotiff(place.cloudy, np.stack([waves + 50 * b for b in range(13)]).astype(np.uint16), SENTINEL2.bands, grid)
    sar = np.stack([-12 + 4 * np.sin(columns / 25), -18 + 3 * np.sin(rows / 7)]).astype(np.float32)
    write_geotiff(place.sar, sar, SENTINEL1.bands, grid)
    seams = {
        statistics: seam_index(values(place.predict(tiny_network(), settings, statistics)).astype(float), [], [64, 128])
        for statistics in ("scene", "window")
        for settings in [ONES.model_copy(update={"window_px": 64, "statistics": statistics})]
    }
    assert seams["scene"] <= 1.05 < seams["window"]


def test_a_scene_of_one_window_equals_the_plain_output_of_the_network(place: Place) -> None:
    place.write(land(), speckle())
    network = tiny_network()
    reflectance = torch.from_numpy(land()[[3, 2, 1]].astype(np.float32))[None] / 10_000
    seen = Observation(torch.from_numpy(speckle())[None], reflectance, torch.ones(1, 1, HEIGHT, WIDTH), RGB)
    expected = (network(seen)[0].numpy() * 10_000).round()
    assert abs(values(place.predict(network)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_give_the_same_bytes_on_any_number_of_threads(place: Place, threads: int) -> None:
    place.write(land(), speckle())
    before = torch.get_num_threads()
    first = place.predict(tiny_network(), out="first")
    torch.set_num_threads(threads)
    try:
        second = place.predict(tiny_network(), out="second")
    finally:
        torch.set_num_threads(before)
    assert {name: sha256(path) for name, path in first.files.items()} == {
        name: sha256(path) for name, path in second.files.items()
    }


def test_fault_13_nodata_stays_saturation_is_predicted_and_no_valid_pixel_becomes_0(place: Place) -> None:
    optical = coordinates()
    optical[:, 10:20, 10:20] = 0
    optical[3, 40, 50] = 65_535
    place.write(optical)
    scene = place.predict(Grey(value=0.0))
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[10:20, 10:20] = True
    assert (values(scene)[:, hole] == 0).all()
    assert values(scene, "provenance")[0, 40, 50] == Provenance.UNKNOWN_CLOUD
    assert np.unique(values(scene)[:, ~hole]).tolist() == [1]
    assert np.array_equal(values(scene, "provenance")[0] == Provenance.NO_DATA, hole)


def test_expectation_15_an_island_without_radar_is_nodata_and_its_surroundings_are_flagged(place: Place) -> None:
    sar = speckle()
    sar[1, 30, 40] = np.nan
    place.write(land(), sar)
    scene = place.predict(baseline("sar-regression", ("B04",)))
    image, traced = values(scene)[0], values(scene, "provenance")[0]
    assert (image == 0).nonzero() == ([30], [40])
    assert traced[30, 40] == Provenance.NO_DATA
    near = np.zeros((HEIGHT, WIDTH), bool)
    near[: 30 + 49, : 40 + 49] = True  # features of radar reach 48 px
    near[30, 40] = False
    assert np.array_equal(traced == Provenance.NEAR_GAP, near)
    assert np.isin(traced[~near], (Provenance.SYNTHESISED, Provenance.NO_DATA)).all()


@pytest.mark.usefixtures("painted_map")
def test_fault_13_clear_pixels_without_radar_stay_observed(place: Place) -> None:
    sar = speckle()
    sar[:, :, :45] = np.nan
    place.write(coordinates(), sar)
    scene = place.predict(Grey())
    clear_px = coordinates()[3] >= 3300
    assert np.array_equal(values(scene)[:, clear_px], coordinates()[[3, 2, 1]][:, clear_px])
    assert (values(scene)[:, :, :45][:, ~clear_px[:, :45]] == 0).all()


@pytest.mark.usefixtures("painted_map")
def test_fault_13_where_radar_ends_cloudy_pixels_are_predicted_without_it(place: Place) -> None:
    sar = speckle()
    sar[:, :, :45] = np.nan
    place.write(coordinates(), sar)
    scene = place.predict("auto")
    cloudy = coordinates()[3] < 3300
    assert (values(scene) > 0).all()
    traced = values(scene, "provenance")[0]
    expected = cloudy & (np.arange(WIDTH) < 45)
    assert np.array_equal(traced == Provenance.WITHOUT_RADAR, expected)
    assert scene.summary["pixels"]["without_radar"] == expected.sum()
    assert scene.summary["radar_used"] is True
    assert "predicts cloudy pixels there from the optical image alone" in scene.summary["remarks"][-1]


@pytest.mark.usefixtures("painted_map")
@pytest.mark.parametrize("name", ["auto", "scene-adapted"])
def test_without_a_radar_image_the_scene_is_predicted_with_a_warning_and_an_expected_error(
    place: Place, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = predict_scene(name, place.cloudy, out=place.folder / "out", settings=ONES)
    cloudy = coordinates()[3] < 3300
    assert (values(scene) > 0).all()
    assert np.array_equal(values(scene, "provenance")[0] == Provenance.WITHOUT_RADAR, cloudy)
    summary = scene.summary
    assert (summary["radar_used"], summary["sar"], summary["radar"], summary["fit"]) == (False, None, None, None)
    assert summary["expected_error"]["rows"][summary["used"]]["mae"] > 0
    assert "sar-regression" not in summary["expected_error"]["rows"]
    assert any("no radar image was given" in text for text in (*summary["remarks"], caplog.text))
    item = json.loads(scene.files["item"].read_text())["properties"]
    assert item["unclouded:radar_used"] is False and "without Sentinel-1 radar" in item["description"]
    page = scene.files["report"].read_text()
    assert "No radar image was given" in page and "without radar" in page
    with rasterio.open(scene.files["clear"]) as file:
        assert file.tags()["UNCLOUDED_RADAR"] == "none"


@pytest.mark.parametrize("name", ["sar-regression", "network"])
def test_removers_that_need_radar_are_refused_without_it_before_anything_is_written(place: Place, name: str) -> None:
    remover = tiny_network() if name == "network" else name
    with pytest.raises(InputError, match=rf"^{name} needs radar, and no Sentinel-1 image was given .* add one"):
        predict_scene(remover, place.cloudy, out=place.folder / "out")
    assert not (place.folder / "out").exists()


@pytest.mark.parametrize("name", ["clear-mean", "sar-regression", "scene-adapted", "network"])
def test_fault_14_all_cloud_half_nodata_and_no_data_at_all(place: Place, name: str) -> None:
    remover = tiny_network() if name == "network" else load_remover(name, None)
    half = land()
    half[:, :, :45] = 0
    place.write(half, speckle())
    scene = place.predict(remover, out="half")
    assert (values(scene)[:, :, :45] == 0).all()
    assert (values(scene)[:, :, 45:] > 0).all()
    place.write(half * 0, speckle())
    scene = place.predict(remover, out="empty")
    assert not values(scene).any()
    assert scene.summary["sample"] == []


def test_fault_14_a_clear_scene_is_never_passed_to_the_remover(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unclouded.prediction.cloud_mapping.cloud_map", lambda values, *_: np.zeros(values.shape[1:], np.float32)
    )
    monkeypatch.setattr(Grey, "__call__", lambda *_: pytest.fail("a window without clouds was predicted"))
    assert np.array_equal(values(place.predict(Grey())), coordinates()[[3, 2, 1]])


def test_the_offset_of_a_product_is_kept_with_its_integers(place: Place) -> None:
    from unclouded.io.rows import Layer, write_cog

    layer = Layer(SENTINEL2.bands, "uint16", 0, scale=1e-4, offsets=(-0.1,) * 13)
    write_cog(place.cloudy, [(0, coordinates() + np.uint16(1000))], layer, GRID)
    image = read_stored(place.predict(Grey()).files["clear"])
    assert np.unique(image.values).tolist() == [2234]
    assert image.offsets == (-0.1,) * 3
    again = read_stored(place.predict(Identity(), out="again").files["clear"])
    assert np.array_equal(again.values, coordinates() + np.uint16(1000))


def test_the_uncertainty_of_a_constant_remover_is_0(place: Place) -> None:
    scene = place.predict(Grey(), ONES.model_copy(update={"uncertainty": True}))
    found = read_stored(scene.files["uncertainty"])
    assert not found.values.any()
    assert (found.nodata, found.scales) == (65_535, (1e-4,) * 3)


def test_the_uncertainty_of_two_removers_is_half_their_difference(place: Place) -> None:
    settings = ONES.model_copy(update={"uncertainty": True})
    scene = predict_scene(
        Grey(value=0.1), place.cloudy, place.sar, place.folder / "out", settings, others=[Grey(value=0.3, name="other")]
    )
    assert np.unique(values(scene, "uncertainty")).tolist() == [1000]
    assert np.unique(values(scene)).tolist() == [1000]


def test_each_stage_is_timed_by_the_given_clock(place: Place) -> None:
    ticks = itertools.count()
    made = predict_scene(Grey(), place.cloudy, place.sar, place.folder / "out", ONES, clock=lambda: float(next(ticks)))
    stages = ("mapping", "comparing", "adapting", "clearing", "writing")
    assert made.summary["seconds"] == dict.fromkeys(stages, 1.0) | {"all": 7.0}  # with one tick before them, one after


def test_a_finished_folder_is_returned_and_other_settings_replace_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = place.predict(Grey())
    caplog.clear()
    caplog.set_level("INFO", "unclouded.prediction")
    with monkeypatch.context() as patched:
        patched.setattr(Grey, "__call__", lambda *_: pytest.fail("predicted again"))
        assert place.predict(Grey()).summary == first.summary
    assert caplog.messages == [f"{first.folder} already holds this scene; nothing to do"]
    assert np.unique(values(place.predict(Grey(value=0.2)))).tolist() == [2000]


def test_a_finished_folder_with_a_changed_file_is_predicted_again(place: Place) -> None:
    first = place.predict(Grey())
    whole = first.files["clear"].read_bytes()
    first.files["clear"].write_bytes(whole[:-1])
    assert place.predict(Grey()).files["clear"].read_bytes() == whole


def test_fault_03_finished_lines_are_resumed_and_damaged_ones_are_predicted_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.write(land(), speckle())
    expected = place.predict(tiny_network(), out="straight").files["clear"].read_bytes()
    from unclouded.prediction import clearing

    calls: list[int] = []
    line = clearing.remove_clouds_in_line

    def stops(rows: object, here: tuple[int, int], *rest: object) -> object:
        calls.append(here[0])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return line(rows, here, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(clearing, "remove_clouds_in_line", stops)
        with pytest.raises(KeyboardInterrupt):
            place.predict(tiny_network())
        assert not list((place.folder / "out").glob("*.tif"))
        caplog.clear()
        caplog.set_level("INFO", "unclouded.prediction")
        (damaged,) = (place.folder / "out").glob(".rows-*/cleared-00000000.strip")
        damaged.write_bytes(damaged.read_bytes()[:-40])
        calls.clear()
        calls += [-1] * 10
        found = place.predict(tiny_network())
        assert found.files["clear"].read_bytes() == expected
    assert caplog.messages[0] == "resuming an interrupted run with 3 finished strips"  # one of the map, two of lines
    assert calls[10:] == [0, 64]  # the damaged line, and the one that was not finished
    assert not list((place.folder / "out").glob(".rows-*"))


def test_fault_03_a_run_that_is_killed_repeatedly_ends_with_the_same_bytes(
    place: Place, killed_at_files: Callable[..., None]
) -> None:
    place.write(land(), speckle())
    settings = SceneSettings(window_px=8, clouds=CloudMapSettings(mode="ones"))
    expected = place.predict(baseline("sar-regression"), settings, "straight")
    out = place.folder / "killed"
    killed_at_files(
        "from unclouded.clouds.map import CloudMapSettings\n"
        "from unclouded.models.baselines import baseline\n"
        "from unclouded.prediction.scene import SceneSettings, predict_scene\n"
        f"cloudy, sar, out = Path({str(place.cloudy)!r}), Path({str(place.sar)!r}), Path({str(out)!r})\n"
        'settings = SceneSettings(window_px=8, clouds=CloudMapSettings(mode="ones"))',
        'predict_scene(baseline("sar-regression"), cloudy, sar, out, settings)',
        f"assert not (out / {SUMMARY!r}).exists()",
        *(
            1,
            4,
            10,
            17,
            23,
        ),  # finished in each run: the lock, strips, a product, half of them in their place, all of them
    )
    assert (out / "item.json").exists()
    found = place.predict(baseline("sar-regression"), settings, "killed")
    assert {name: sha256(path) for name, path in found.files.items()} == {
        name: sha256(path) for name, path in expected.files.items()
    }


def test_fault_11_radar_on_another_grid_is_refused(place: Place) -> None:
    moved = GeoBox((HEIGHT, WIDTH), GRID.affine * Affine.translation(0.5, 0), GRID.crs)
    write_geotiff(place.sar, speckle(), SENTINEL1.bands, moved)
    with pytest.raises(
        InputError, match=r"s1\.tif lies on another grid than the optical scene .*; warp it with --align"
    ):
        place.predict(Grey())


def test_radar_on_another_grid_is_warped_with_align(place: Place) -> None:
    wider = GeoBox((HEIGHT + 20, WIDTH + 20), GRID.affine * Affine.translation(-9.5, -9.5), GRID.crs)
    write_geotiff(place.sar, np.full((2, *wider.shape), -9, np.float32), SENTINEL1.bands, wider)
    settings = ONES.model_copy(update={"radar": RadarSettings(align=True)})
    scene = place.predict(baseline("sar-vv", ("B04",)), settings)
    assert np.unique(values(scene)).tolist() == [6400]  # -9 dB between -25 and 0


def test_fault_32_a_full_disk_is_reported_and_the_run_resumes_when_there_is_space(
    place: Place, mount_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(land(), speckle())
    expected = values(place.predict(Grey()))
    disk = mount_disk(256)  # KiB
    monkeypatch.setattr("unclouded.prediction.scene.require_room", lambda *_: None)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(180 << 10))
    with pytest.raises(MachineError, match=r"No space left on device|is the disk full"):
        predict_scene(Grey(), place.cloudy, place.sar, disk / "out", ONES)
    assert not list((disk / "out").glob("*.tif"))
    ballast.unlink()
    assert np.array_equal(values(predict_scene(Grey(), place.cloudy, place.sar, disk / "out", ONES)), expected)


def test_fault_34_a_folder_has_one_writer(place: Place) -> None:
    with held(place.folder / "out"), pytest.raises(BusyError, match="is being written by process"):
        place.predict(Grey())


def test_fault_32_a_scene_that_does_not_fit_is_refused_before_it_begins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclouded.files.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(MachineError, match=r"has 1 MiB free, expected 9 MiB to predict this scene"):
        place.predict(Grey())
    assert not list((place.folder / "out").glob("*.tif"))


def test_the_summary_names_inputs_weights_settings_and_files(place: Place) -> None:
    network = tiny_network()
    summary = place.predict(network).summary
    assert summary["cloudy"] == {"name": "s2.tif", "sha256": sha256(place.cloudy)}
    assert summary["removers"][0]["precision"] == "float32"
    assert len(summary["removers"][0]["weights"]) == 64
    assert summary["settings"]["window_px"] == 32
    assert summary["sample"] == [[0, 0, HEIGHT, WIDTH]]
    assert summary["files"]["clear"]["bytes"] > 0
    assert summary == json.loads((place.folder / "out" / SUMMARY).read_text())


def test_paths_may_be_strings_and_a_remover_its_name_or_its_weights_file(place: Place) -> None:
    cloudy, sar, network = str(place.cloudy), str(place.sar), tiny_network()
    named = predict_scene("clear-mean", cloudy, sar, str(place.folder / "named"), ONES)
    assert named.summary["used"] == "clear-mean"
    same = predict_scene(baseline("clear-mean"), place.cloudy, place.sar, place.folder / "same", ONES)
    assert values(named).tobytes() == values(same).tobytes()
    weights = place.folder / "tiny.safetensors"
    save_weights(weights, network.generator, network.settings, {})
    from_file = predict_scene(str(weights), cloudy, sar, str(place.folder / "file"), ONES)
    assert from_file.summary["removers"][0]["weights"] == place.predict(network).summary["removers"][0]["weights"]
    with pytest.raises(InputError, match="clear-meen"):
        predict_scene("clear-meen", cloudy, sar, str(place.folder / "none"))
    assert not (place.folder / "none").exists()


def test_other_weights_have_another_hash(place: Place) -> None:
    network = tiny_network()
    moved = replace(network, generator=tiny_network().generator)
    assert describe_remover(moved) == describe_remover(network)
    with torch.no_grad():
        moved.generator.trunk[1].weight[0, 0, 0, 0] += 1e-6
    assert describe_remover(moved) != describe_remover(network)

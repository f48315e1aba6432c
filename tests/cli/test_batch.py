"""``batch`` and the options that it shares with ``predict`` and ``predict-patches``; runs in this process."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from odc.geo.geobox import GeoBox

from unclouded.cli.predict import scene_summary
from unclouded.cli.scene_options import SceneOptions
from unclouded.io.geotiff import write_geotiff
from unclouded.prediction.scene import PredictedScene, SceneSettings
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 320, 320), "EPSG:32632", resolution=10)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Two scenes of one pair of images."""
    optical = np.random.default_rng(0).integers(200, 900, (13, 32, 32)).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 32, 32), -9, np.float32), SENTINEL1.bands, GRID)
    (tmp_path / "two.csv").write_text("name,cloudy,sar\neast,s2.tif,s1.tif\nwest,s2.tif,s1.tif\n")
    return tmp_path / "two.csv"


def test_scenes_are_predicted_in_shards_and_the_last_one_writes_table_and_collection(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("batch", listed, "--remover", "clear-mean", "--clouds", "ones", "--out", out)
    assert unclouded(*command, "--shard", "2/2") == 0
    assert "1 of 2 scenes are left to other shards" in capsys.readouterr().out
    assert not (out / "scenes.parquet").exists()
    assert unclouded(*command, "--shard", "1/2") == 0
    assert "scenes.parquet: 2 scenes predicted, 0 of 2 scenes failed, SHA-256 " in capsys.readouterr().out
    table = geopandas.read_parquet(out / "scenes.parquet")
    assert table["synthesised"].tolist() == [1024, 1024] and table["remover"].tolist() == ["clear-mean"] * 2
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert collection.id == "two" and [item.id for item in collection.get_items()] == ["s2", "s2"]


def test_a_failed_scene_gives_status_1_and_can_be_retried(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    listed.write_text(listed.read_text() + "lost,s3.tif,s1.tif\n")
    command = ("batch", listed, "--remover", "clear-mean", "--clouds", "ones", "--out", tmp_path / "out")
    for more in ((), ("--retry",)):
        assert unclouded(*command, *more) == 1
        printed = capsys.readouterr()
        assert "lost failed: " in printed.err and "s3.tif is not a file; check the path" in printed.err
        assert "2 scenes predicted, 1 of 3 scenes failed" in printed.out
    table = geopandas.read_parquet(tmp_path / "out" / "scenes.parquet")
    assert table["status"].tolist() == ["cleared", "failed", "cleared"]


def test_scenes_come_from_a_storage_and_go_to_one(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = MemoryFileSystem()
    storage.put_file(str(tmp_path / "s2.tif"), "/in/s2.tif")
    listed.write_text("name,cloudy,sar\nfar,memory://in/s2.tif,s1.tif\nnear,s2.tif,s1.tif\n")
    out = tmp_path / "out"
    command = ("batch", listed, "--remover", "clear-mean", "--clouds", "ones", "--out", out)
    upload = ("--upload-to", "memory://results/1")
    assert unclouded(*command, *upload, "--shard", "1/2") == 0
    assert "memory://results/1 lacks collection.json and scenes.parquet until" in capsys.readouterr().out
    assert not storage.exists("/results/1/scenes.parquet") and storage.exists("/results/1/far/clear.tif")
    assert unclouded(*command, *upload) == 0
    assert "MiB uploaded and read back" in capsys.readouterr().out
    names = ("scenes.parquet", "collection.json", "near/summary.json", "far/clear.tif", "far/item.json")
    assert all(storage.cat_file(f"/results/1/{name}") == (out / name).read_bytes() for name in names)
    assert (out / "far" / "clear.tif").read_bytes() == (out / "near" / "clear.tif").read_bytes()
    assert not list((out / ".clearing").glob("fetched/*"))
    assert unclouded(*command, "--upload-to", "results") == 2
    assert "expected a URL such as s3://bucket/folder, found results" in capsys.readouterr().err


def test_one_scene_is_summarised_in_three_lines_however_narrow_the_terminal(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--cloudy", tmp_path / "s2.tif", "--sar", tmp_path / "s1.tif", "--out", tmp_path / ("out" * 30))
    assert unclouded("predict", "clear-mean", "--clouds", "ones", "--offset", 0, *pair) == 0
    counts, shares, look = capsys.readouterr().out.splitlines()
    assert counts.endswith("clear.tif: 1,024 px predicted by clear-mean, 0 as observed, 0 without data")
    assert shares == "of the scene: 100.0 % cloudy and predicted"
    assert look == f"look at {tmp_path / ('out' * 30) / 'report.html'}"


def test_the_expected_error_is_printed_if_pixels_were_predicted() -> None:
    pixels = {
        "observed": 5,
        "blended": 2,
        "synthesised": 3,
        "shadow": 0,
        "near_gap": 1,
        "unknown_cloud": 1,
        "without_radar": 0,
        "reference": 0,
        "no_data": 4,
    }
    pixels |= {"no_data_optical": 1, "no_data_radar": 3}
    summary = {
        "pixels": pixels,
        "used": "scene-adapted",
        "choice": "scene-adapted was used, for it erred least",
        "expected_error": {"rows": {"scene-adapted": {"mae": 0.0213}}},
    }
    scene = PredictedScene(Path("o"), {"clear": Path("o/clear.tif"), "report": Path("o/report.html")}, summary)
    shares = "of the scene: 31.3 % as observed, 37.5 % cloudy and predicted, 6.2 % of unknown cloud cover and predicted"
    why = "cloudy and no radar data 18.8 %, no optical data 6.2 %"
    assert scene_summary(scene).splitlines() == [
        "o/clear.tif: 7 px predicted by scene-adapted, 5 as observed, 4 without data",
        f"{shares}, 25.0 % no data ({why})",
        "scene-adapted was used, for it erred least",
        "expected error of predicted pixels 0.021 in reflectance; look at o/report.html",
    ]
    summary["pixels"] = dict.fromkeys(pixels, 0) | {"observed": 15}
    assert scene_summary(scene) == (
        "o/clear.tif: nothing to predict, 15 px as observed, 0 without data\nof the scene: 100.0 % as observed\n"
        "look at o/report.html"
    )


def test_options_of_scenes_are_not_ignored_on_patches(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("predict-patches", "clear-mean", tmp_path, "--out", tmp_path / "out")
    for option in (("--offset", -1000), ("--align",), ("--uncertainty",), ("--cloud-map", tmp_path / "m.tif")):
        assert unclouded(*command, *option) == 2
        assert f"predict-patches has no option {option[0]}; it is an option of 'unclouded predict'" in one_line(capsys)
    (tmp_path / "scene.toml").write_text("[optical]\noffset = -1000\n")
    assert unclouded(*command, "--settings", tmp_path / "scene.toml") == 2
    assert "leave the options of scenes out" in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("predict", "--manifest", "m.csv"),
            "predict has no option --manifest; give the table to 'unclouded batch SCEN",
        ),
        (
            ("predict", "--manifest=m.csv"),
            "predict has no option --manifest; give the table to 'unclouded batch SCENES.",
        ),
        (
            ("predict", "x", "--patches", "r"),
            "has no option --patches; give the data set to 'unclouded predict-patches ",
        ),
        (("batch", "m.csv", "--deliver", "memory://r"), "batch has no option --deliver; it is --upload-to now"),
        (("curate", "r.toml", "r", "--deliver", "memory://r"), "curate has no option --deliver; it is --upload-to now"),
        (("predict", "--shard", "1/2"), "predict has no option --shard; it is an option of 'unclouded batch'"),
        (("predict", "--damaged", "skip"), "no option --damaged; it is an option of 'unclouded predict-patches'"),
        (
            ("batch", "m.csv", "--cloud-map", "m.tif"),
            "batch has no option --cloud-map; it is an option of 'unclouded p",
        ),
    ],
)
def test_an_option_of_another_command_is_refused_with_the_name_of_that_command(
    words: tuple[str, ...], expected: str, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded(*words, "--out", "out") == 2
    assert expected in one_line(capsys)


def test_a_map_of_one_scene_is_refused_for_a_batch(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scene.toml").write_text('cloud_map = "m.tif"\n')
    command = ("batch", listed, "--out", tmp_path / "out", "--settings", tmp_path / "scene.toml")
    assert unclouded(*command) == 2
    assert "cloud_map is the map of one scene; give it in the column cloud_map" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_options_take_precedence_over_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.toml"
    path.write_text('window_px = 64\nclouds.mode = "ones"\n[optical]\noffset = -1000\nresampling = "bilinear"\n')
    settings = SceneOptions(path, window=32, offset=0, detector="csmask").read()
    assert (settings.window_px, settings.optical.offset, settings.optical.resampling) == (32, 0, "bilinear")
    assert settings.clouds.model_fields_set == {"mode", "detector"}  # what is not set comes from the weights
    assert SceneOptions().read() == SceneSettings()
    assert SceneOptions(path, other=["clear-mean"]).read().uncertainty


def test_a_scene_is_predicted_with_the_settings_of_a_file(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scene.toml").write_text('[clouds]\nmode = "ones"\n[optical]\noffset = 0\n')
    command = ("predict", "clear-mean", "--cloudy", tmp_path / "s2.tif", "--sar", tmp_path / "s1.tif")
    assert unclouded(*command, "--out", tmp_path / "a", "--settings", tmp_path / "scene.toml") == 0
    assert unclouded(*command, "--out", tmp_path / "b", "--offset", 0, "--clouds", "ones") == 0
    assert (tmp_path / "a" / "clear.tif").read_bytes() == (tmp_path / "b" / "clear.tif").read_bytes()
    keys = [json.loads((tmp_path / out / "summary.json").read_text())["key"] for out in "ab"]
    assert keys[0] == keys[1]
    capsys.readouterr()
    (tmp_path / "scene.toml").write_text("windw_px = 64\n")
    assert unclouded(*command, "--out", tmp_path / "c", "--settings", tmp_path / "scene.toml") == 2
    assert "scene.toml is not a valid SceneSettings: windw_px is not a key; did you mean 'window_px'?" in one_line(
        capsys
    )


def test_fault_19_a_scene_that_is_not_there_is_named(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--cloudy", tmp_path / "a.tif", "--sar", tmp_path / "b.tif")
    assert unclouded("predict", "clear-mean", *pair, "--out", tmp_path / "out") == 2
    assert "a.tif is not a file; check the path" in capsys.readouterr().err

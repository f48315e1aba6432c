"""``predict`` on many scenes; the entry point runs in this process."""

from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from odc.geo.geobox import GeoBox

from unclouded.cli.predicting import told_of
from unclouded.io.geotiff import write_geotiff
from unclouded.prediction.scene import PredictedScene
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


def test_scenes_are_cleared_in_shards_and_the_last_one_writes_table_and_collection(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("predict", "clear-mean", "--clouds", "ones", "--manifest", listed, "--out", out)
    assert unclouded(*command, "--shard", "2/2") == 0
    assert "1 of 2 scenes are left to other shards" in capsys.readouterr().out
    assert not (out / "scenes.parquet").exists()
    assert unclouded(*command, "--shard", "1/2") == 0
    assert "scenes.parquet: 2 scenes cleared, 0 of 2 scenes set aside, SHA-256 " in capsys.readouterr().out
    table = geopandas.read_parquet(out / "scenes.parquet")
    assert table["synthesised"].tolist() == [1024, 1024] and table["remover"].tolist() == ["clear-mean"] * 2
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert collection.id == "two" and [item.id for item in collection.get_items()] == ["s2", "s2"]


def test_a_scene_that_is_set_aside_gives_status_1_and_is_tried_again(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    listed.write_text(listed.read_text() + "lost,s3.tif,s1.tif\n")
    command = ("predict", "clear-mean", "--clouds", "ones", "--manifest", listed, "--out", tmp_path / "out")
    for more in ((), ("--retry",)):
        assert unclouded(*command, *more) == 1
        told = capsys.readouterr()
        assert "lost was set aside: " in told.err and "s3.tif is not a file; check the path" in told.err
        assert "2 scenes cleared, 1 of 3 scenes set aside" in told.out
    table = geopandas.read_parquet(tmp_path / "out" / "scenes.parquet")
    assert table["status"].tolist() == ["cleared", "failed", "cleared"]


def test_scenes_come_from_a_storage_and_go_to_one(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = MemoryFileSystem()
    storage.put_file(str(tmp_path / "s2.tif"), "/in/s2.tif")
    listed.write_text("name,cloudy,sar\nfar,memory://in/s2.tif,s1.tif\nnear,s2.tif,s1.tif\n")
    out = tmp_path / "out"
    command = ("predict", "clear-mean", "--clouds", "ones", "--manifest", listed, "--out", out)
    deliver = ("--deliver", "memory://results/1")
    assert unclouded(*command, *deliver, "--shard", "1/2") == 0
    assert "memory://results/1 lacks collection.json and scenes.parquet until" in capsys.readouterr().out
    assert not storage.exists("/results/1/scenes.parquet") and storage.exists("/results/1/far/clear.tif")
    assert unclouded(*command, *deliver) == 0
    assert "MiB delivered and read back" in capsys.readouterr().out
    names = ("scenes.parquet", "collection.json", "near/summary.json", "far/clear.tif", "far/item.json")
    assert all(storage.cat_file(f"/results/1/{name}") == (out / name).read_bytes() for name in names)
    assert (out / "far" / "clear.tif").read_bytes() == (out / "near" / "clear.tif").read_bytes()
    assert not list((out / ".clearing").glob("fetched/*"))
    assert unclouded(*command, "--deliver", "results") == 2
    assert "expected a URL such as s3://bucket/folder, found results" in capsys.readouterr().err


def test_one_scene_is_told_in_three_lines_however_narrow_the_terminal(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--cloudy", tmp_path / "s2.tif", "--sar", tmp_path / "s1.tif", "--out", tmp_path / ("out" * 30))
    assert unclouded("predict", "clear-mean", "--clouds", "ones", "--offset", 0, *pair) == 0
    made, shares, look = capsys.readouterr().out.splitlines()
    assert made.endswith("clear.tif: 1,024 px made by clear-mean, 0 as observed, 0 without data")
    assert shares == "of the scene: 100.0 % cloudy and made"
    assert look == f"to look at: {tmp_path / ('out' * 30) / 'report.html'}"


def test_the_error_to_expect_is_told_where_something_was_made() -> None:
    pixels = {"observed": 5, "blended": 2, "synthesised": 3, "near_gap": 1, "unjudged": 1, "no_data": 4}
    pixels |= {"no_data_optical": 1, "no_data_radar": 3}
    summary = {
        "pixels": pixels,
        "used": "scene-adapted",
        "choice": "scene-adapted was used, for it erred least",
        "expected_error": {"rows": {"scene-adapted": {"mae": 0.0213}}},
    }
    scene = PredictedScene(Path("o"), {"clear": Path("o/clear.tif"), "report": Path("o/report.html")}, summary)
    shares = "of the scene: 31.3 % as observed, 37.5 % cloudy and made, 6.2 % not to be judged and made"
    why = "cloudy and no radar data 18.8 %, no optical data 6.2 %"
    assert told_of(scene).splitlines() == [
        "o/clear.tif: 7 px made by scene-adapted, 5 as observed, 4 without data",
        f"{shares}, 25.0 % no data ({why})",
        "scene-adapted was used, for it erred least",
        "expected error of what was made 0.021 in reflectance; to look at: o/report.html",
    ]
    summary["pixels"] = dict.fromkeys(pixels, 0) | {"observed": 15}
    assert told_of(scene) == (
        "o/clear.tif: nothing to make, 15 px as observed, 0 without data\nof the scene: 100.0 % as observed\n"
        "to look at: o/report.html"
    )


def test_options_of_scenes_are_not_ignored_on_patches(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.tif").touch()
    for option in (("--offset", -1000), ("--align",), ("--uncertainty",), ("--cloud-map", tmp_path / "m.tif")):
        assert unclouded("predict", "clear-mean", "--patches", tmp_path, "--out", tmp_path / "out", *option) == 2
        assert "leave the options of scenes out" in capsys.readouterr().err


def test_one_scene_and_many_are_not_mixed(
    listed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("--cloudy", tmp_path / "s2.tif", "--sar", tmp_path / "s1.tif", "--out", tmp_path / "out")
    assert unclouded("predict", "clear-mean", *one, "--manifest", listed) == 2
    assert "or --manifest; got --cloudy --sar --manifest: choose one way" in capsys.readouterr().err
    assert unclouded("predict", "clear-mean", *one, "--processes", 2) == 2
    assert "and --deliver are for many scenes; add --manifest" in capsys.readouterr().err
    (tmp_path / "m.tif").touch()
    many = ("--manifest", listed, "--out", tmp_path / "out", "--cloud-map", tmp_path / "m.tif")
    assert unclouded("predict", "clear-mean", *many) == 2
    assert "--cloud-map is the map of one scene" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fault_19_a_scene_that_is_not_there_is_named(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--cloudy", tmp_path / "a.tif", "--sar", tmp_path / "b.tif")
    assert unclouded("predict", "clear-mean", *pair, "--out", tmp_path / "out") == 2
    assert "a.tif is not a file; check the path" in capsys.readouterr().err

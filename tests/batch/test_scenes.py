"""Three simulated scenes, half cloud, cleared in every way that tasks are done, and each by itself."""

import json
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.batch.executors import Runner, Shard, in_processes, on_dask, run_tasks, serially
from unclouded.batch.scene_list import ListedScene, read_scene_list
from unclouded.batch.scenes import (
    WORK,
    PredictScene,
    clearing,
    invalidate_lost,
    write_collection,
    write_scene_table,
)
from unclouded.batch.tasks import TaskLedger
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.geotiff import write_geotiff
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.prediction.scene import SUMMARY, SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.optical import OpticalSettings

PX = 48

WANTED = RemoverSpec("scene-adapted")

NAMES = ("north", "middle", "south")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng(number)
        grid = GeoBox((PX, PX), Affine(10, 0, 500_000, 0, -10, 5_000_000 - 10 * PX * number), "EPSG:32632")
        optical = rng.integers(200, 900, (13, PX, PX)).astype(np.uint16)
        optical[:, : PX // 2] += np.uint16(7000)
        write_geotiff(folder / f"{name}_s2.tif", optical, SENTINEL2.bands, grid, nodata=0)
        radar = rng.uniform(-20, -5, (2, PX, PX)).astype(np.float32)
        write_geotiff(folder / f"{name}_s1.tif", radar, SENTINEL1.bands, grid)
    return folder


def listed(*names: str, **more: object) -> list[ListedScene]:
    return [ListedScene(name=name, cloudy=f"{name}_s2.tif", sar=f"{name}_s1.tif", **more) for name in names]


def tasks(scenes: Path, out: Path, settings: SceneSettings | None = None) -> list[PredictScene]:
    return clearing(listed(*NAMES), scenes, out, [WANTED], settings or SceneSettings())


def content(folder: Path) -> dict[str, bytes]:
    """The products by name; of the summary all but the seconds."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*.*")}
    for name in [name for name in found if name.endswith(SUMMARY)]:
        summary = json.loads(found[name])
        assert summary.pop("seconds")
        found[name] = json.dumps(summary).encode()
    return {name: found[name] for name in sorted(found) if not name.startswith(".")}


def done(scenes: Path, out: Path, runner: Runner, shards: int = 1) -> dict[str, bytes]:
    for number in range(shards, 0, -1):
        mine = Shard(number, shards).of(tasks(scenes, out))
        assert run_tasks(mine, TaskLedger(out / WORK), runner) == {}
    return content(out)


@pytest.fixture(scope="module")
def by_themselves(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What single scenes give."""
    out = tmp_path_factory.mktemp("single")
    for name in NAMES:
        predict_scene(WANTED.find(), scenes / f"{name}_s2.tif", scenes / f"{name}_s1.tif", out / name)
        (out / name / "lock").unlink()
    return content(out)


def test_one_by_one_and_in_shards_scenes_are_as_each_by_itself(
    scenes: Path, tmp_path: Path, by_themselves: dict[str, bytes]
) -> None:
    assert set(by_themselves) >= {"north/clear.tif", "north/item.json", "south/report.html", "middle/summary.json"}
    assert done(scenes, tmp_path / "serial", serially) == by_themselves
    assert done(scenes, tmp_path / "shards", serially, shards=2) == by_themselves
    rows = [TaskLedger(tmp_path / way / WORK).rows(tasks(scenes, tmp_path / way)) for way in ("serial", "shards")]
    assert rows[0] == rows[1]
    (north,) = (row for row in rows[0] if row["scene"] == "north")
    assert north["remover"] == "scene-adapted" and north["crs"] == "EPSG:32632"
    kinds = ("observed", "blended", "synthesised", "shadow", "near_gap", "no_data")
    assert sum(north[name] for name in kinds) == PX * PX


def test_fault_03_on_killed_processes_scenes_are_as_each_by_itself(
    scenes: Path, tmp_path: Path, by_themselves: dict[str, bytes]
) -> None:
    killed: list[int] = []

    (second,) = (task.id for task in tasks(scenes, tmp_path) if task.name == "north")

    def kill() -> None:  # as soon as the second scene starts; its record of attempts stays
        while not (tmp_path / WORK / "attempts" / second).is_file():
            time.sleep(0.002)
        for child in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                os.kill(child.pid or 0, signal.SIGKILL)
                killed.append(child.pid or 0)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = done(scenes, tmp_path, in_processes(1))
    killer.join()
    assert killed and found == by_themselves
    assert not list(tmp_path.glob("*/.rows-*"))


@pytest.mark.enable_socket  # the scheduler looks up its own name
def test_on_dask_scenes_are_as_each_by_itself(scenes: Path, tmp_path: Path, by_themselves: dict[str, bytes]) -> None:
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        assert done(scenes, tmp_path, on_dask(client)) == by_themselves


def test_an_unusable_scene_fails_and_the_others_go_on(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -900 if path.name == "middle_s1.tif" else None])
    (tmp_path / "south_s2.tif").unlink()
    out = tmp_path / "out"
    failures = run_tasks(tasks(tmp_path, out), TaskLedger(out / WORK), serially)
    assert list(failures) == ["middle", "south"]
    assert "middle_s1.tif" in failures["middle"] and "south_s2.tif is not a file" in failures["south"]
    assert [row["scene"] for row in TaskLedger(out / WORK).rows(tasks(tmp_path, out))] == ["north"]
    (tmp_path / "south_s2.tif").write_bytes((scenes / "south_s2.tif").read_bytes())
    assert list(run_tasks(tasks(tmp_path, out), TaskLedger(out / WORK), serially)) == ["middle"]  # without a retry


def test_fault_16_one_of_many_scenes_with_a_doubtful_offset_fails(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    grid = GeoBox((PX, PX), Affine(10, 0, 500_000, 0, -10, 5_000_000 - 10 * PX), "EPSG:32632")
    optical = np.random.default_rng(1).integers(1200, 1900, (13, PX, PX)).astype(np.uint16)
    write_geotiff(tmp_path / "middle_s2.tif", optical, SENTINEL2.bands, grid, nodata=0)
    failures = run_tasks(tasks(tmp_path, tmp_path / "out"), TaskLedger(tmp_path / "out" / WORK), serially)
    assert list(failures) == ["middle"] and "set --offset -1000" in failures["middle"]
    with_offset = clearing(listed("middle", offset=0), tmp_path, tmp_path / "out", [WANTED], SceneSettings())
    assert not run_tasks(with_offset, TaskLedger(tmp_path / "with_offset" / WORK), serially)


def test_missing_products_are_predicted_again(scenes: Path, tmp_path: Path) -> None:
    ledger, all_tasks = TaskLedger(tmp_path / WORK), tasks(scenes, tmp_path)
    before = done(scenes, tmp_path, serially)
    invalidate_lost(all_tasks, ledger)
    assert ledger.pending(all_tasks) == []
    (tmp_path / "north" / SUMMARY).unlink()
    other = SceneSettings(window_px=512)
    predict_scene(WANTED.find(), scenes / "south_s2.tif", scenes / "south_s1.tif", tmp_path / "south", other)
    invalidate_lost(all_tasks, ledger)
    assert {task.name for task in ledger.pending(all_tasks)} == {"north", "south"}
    assert done(scenes, tmp_path, serially) == before


def test_an_id_changes_with_images_settings_and_weights_and_with_nothing_else(scenes: Path, tmp_path: Path) -> None:
    settings, weights = NetworkSettings(width=2), tmp_path / "w.safetensors"
    save_weights(weights, settings.build(), settings, {})
    spec = RemoverSpec(str(weights))

    def ids(folder: Path = scenes, how: SceneSettings | None = None, **more: object) -> set[str]:
        made = clearing(listed("north", **more), folder, tmp_path, [spec], how or SceneSettings())
        return {task.id for task in made}

    first = ids()
    for path in scenes.glob("north*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert ids(tmp_path) == first
    assert ids(how=SceneSettings(statistics="window")) != first and ids(align=True) != first
    (tmp_path / "north_s1.tif").write_bytes((scenes / "south_s1.tif").read_bytes())
    assert ids(tmp_path) != first
    pinned = spec.pinned()
    assert pinned.find() is pinned.find()  # loaded once
    torch.manual_seed(1)
    save_weights(weights, settings.build(), settings, {})
    assert ids() != first
    with pytest.raises(InputError, match=r"w\.safetensors has other weights than at the start"):
        replace(pinned, identity=f"{pinned.identity} ").find()


def test_options_of_a_scene_override_those_of_the_command_and_change_its_task(scenes: Path, tmp_path: Path) -> None:
    grid = GeoBox((PX, PX), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
    write_geotiff(scenes / "m.tif", np.zeros((1, PX, PX), np.uint8), ("m",), grid)
    settings = SceneSettings(optical=OpticalSettings(resampling="bilinear"))
    (plain,) = clearing(listed("north"), scenes, tmp_path, [WANTED], settings)
    changes: list[dict[str, object]] = [{"offset": -100}, {"clouds": "ones"}, {"cloud_map": "m.tif"}]
    made = [clearing(listed("north", **one), scenes, tmp_path, [WANTED], settings)[0] for one in changes]
    assert len({plain.id, *(one.id for one in made)}) == 4
    assert {one.settings.optical.resampling for one in made} == {"bilinear"}
    assert [one.settings.optical.offset for one in made] == [-100, None, None]
    assert made[1].settings.clouds.mode == "ones" and made[2].settings.cloud_map == scenes / "m.tif"
    (row,) = made[2].run()
    assert row["observed"] == PX * PX and row["synthesised"] == 0
    write_geotiff(scenes / "m.tif", np.ones((1, PX, PX), np.uint8), ("m",), grid)
    (changed,) = clearing(listed("north", **changes[2]), scenes, tmp_path, [WANTED], settings)
    assert changed.id != made[2].id


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "scenes.csv"


def test_a_line_is_a_scene_and_an_empty_cell_has_no_effect(table: Path) -> None:
    head, first_line = "name,cloudy,sar,align,units,heights_datum", 'T32,"a, b.zip",s3://x/y.SAFE,yes,dB x 100,47.5'
    lines = "\r\n".join([head, first_line, "", "T33,c.zip,d.zip,,,", ""])
    table.write_bytes(b"\xef\xbb\xbf" + lines.encode())  # as spreadsheets save it
    first, second = read_scene_list(table)
    assert (first.name, first.cloudy, first.sar) == ("T32", "a, b.zip", "s3://x/y.SAFE")
    assert (first.align, first.units, first.heights_datum) == (True, "dB x 100", 47.5)
    assert (second.cloudy, second.align, second.units, second.heights) == ("c.zip", None, None, None)


def test_a_scene_without_radar_is_predicted_from_the_optical_image_alone(scenes: Path, tmp_path: Path) -> None:
    alone = ListedScene(name="north", cloudy="north_s2.tif")
    (task,) = clearing([alone], scenes, tmp_path, [WANTED], SceneSettings())
    (row,) = task.run()
    assert (row["radar_product"], row["radar_sha256"], row["shift_gap"]) == (None, None, None)
    assert row["without_radar"] > 0 and row["near_gap"] == 0
    write_scene_table(tmp_path / "scenes.parquet", [row], {})


def test_a_scene_without_radar_is_refused_at_once_if_the_remover_needs_it(scenes: Path, tmp_path: Path) -> None:
    alone = [*listed("south"), ListedScene(name="north", cloudy="north_s2.tif")]
    with pytest.raises(InputError, match=r"sar-regression needs radar, and no Sentinel-1 image .* the scene north"):
        clearing(alone, scenes, tmp_path, [RemoverSpec("sar-regression")], SceneSettings())


def test_all_mistakes_are_reported_at_once(table: Path) -> None:
    table.write_text("name,cloudy,sar,units\n../x,a,b,\nok,a,b,dB\ny,,b,watts\nz,a,b,dB,more\n")
    with pytest.raises(InputError) as error:
        read_scene_list(table)
    text = str(error.value)
    assert "line 2 is not a valid ListedScene: name: " in text and "found '../x'" in text
    assert "line 4 is not a valid ListedScene: cloudy is missing; units: " in text
    assert text.endswith("line 5 has 5 cells, expected 4; quote cells that hold ','")


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "name,optical,sar\na,b,c\n",
            "column 'optical' is unknown; .*known are .*lacks the column cloudy .*expected na",
        ),
        ("name,cloudy,sar,ofset\na,b,c,1\n", "the column 'ofset' is unknown; did you mean 'offset'"),
        ("name,cloudy,sar,sar\na,b,c,d\n", "the column 'sar' occurs 2 times; keep one"),
        ("name cloudy sar\na b c\n", "lacks the column name, cloudy .assumed separator: ','"),
        ("name,cloudy,sar\n", "lists no scene"),
        ("", "lists no scene"),
        ("\n \n", "lists no scene"),
        ("name,cloudy,sar\nT32,a,b\n\nt32,c,d\n", "lines 2, 4 share the name t32; give each scene a unique name"),
        ('name,cloudy,sar\n"a,b,c\n', "is not CSV"),
        (
            "name,cloudy,sar\na,reference://x,b\n",
            "line 2 .*cloudy: reference://x has the protocol 'reference', expected",
        ),
        ("name,cloudy,sar,heights\na,b,c,s3://x/y\n", "heights: expected a local file, found the URL s3://x/y"),
        ("name,cloudy,sar,detector\na,b,c,s2cloudles\n", "detector: .*'s2cloudless'"),
        ("name,cloudy,sar,offset\na,b,c,-1e9\n", "line 2 .*offset: "),
    ],
)
def test_fault_19_an_invalid_list_is_rejected(table: Path, text: str, reason: str) -> None:
    table.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_scene_list(table)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_option_of_a_scene_has_a_column_whatever_separates_them(table: Path, separator: str) -> None:
    cells = {"Name": "a", "cloudy": "b", "sar": "c", "offset": "-1000", "resampling": "bilinear", "tile": "T32TQM"}
    cells |= {"heights-datum": "47.5", "clouds": "binary", "detector": "csmask", "cloud_map": "m.tif", "align": "true"}
    cells |= {"radiometry": "gamma0", "incidence": "angle.tif"}
    table.write_text(f"{separator.join(cells)}\n{separator.join(cells.values())}\n")
    (scene,) = read_scene_list(table)
    assert scene.options() == {
        "optical": {"offset": -1000, "resampling": "bilinear", "tile": "T32TQM"},
        "radar": {"align": True, "heights_datum_m": 47.5, "radiometry": "gamma0", "incidence": Path("angle.tif")},
        "clouds": {"mode": "binary", "detector": "csmask"},
    }
    assert scene.cloud_map == Path("m.tif")


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "a b", "", "ends.", "x" * 101, "Scenes.parquet"])
def test_fault_37_an_invalid_folder_name_is_rejected(table: Path, name: str) -> None:
    table.write_text(f"name,cloudy,sar\n{name},a,b\n")
    with pytest.raises(InputError, match="line 2"):
        read_scene_list(table)


SQUARE = {"type": "Polygon", "coordinates": [[[9, 48], [10, 48], [10, 49], [9, 49], [9, 48]]]}


def row(name: str, **more: object) -> dict[str, Any]:
    return {
        "scene": name,
        "status": "cleared",
        "remover": "scene-adapted",
        "expected_mae": 0.02,
        "mean_coverage": 0.5,
        "cloudy_share": 0.6,
        "observed": 40,
        "synthesised": 60,
        "no_data_radar": 3,
        "cloudy_product": f"{name}.zip",
        "cloudy_acquired": "2021-09-08T12:27:01+02:00",
        "remarks": ["no heights"],
        "key": "k",
        "files": {"clear": {"file": "clear.tif", "bytes": 7, "sha256": "0" * 64}},
        "crs": "EPSG:32632",
        "geometry": SQUARE,
        "interval": ["2021-09-08T10:27:01Z", "2021-09-08T10:27:01Z"],
    } | more


def test_the_table_lists_every_scene_and_opens_in_geopandas(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    write_scene_table(path, [row("b"), row("a", geometry=None)], {"aa": "s2.zip is cut"})
    table = geopandas.read_parquet(path)
    assert table["scene"].tolist() == ["a", "aa", "b"]
    assert table["status"].tolist() == ["cleared", "failed", "cleared"]
    assert table["no_data_radar"].dropna().tolist() == [3, 3]
    assert table["reason"][1] == "s2.zip is cut" and table["clear"][2] == "b/clear.tif"
    assert table["item"].fillna("").tolist() == ["a/item.json", "", "b/item.json"]
    assert table["cloudy_acquired"][0].isoformat() == "2021-09-08T10:27:01+00:00"
    assert table.geometry[2].bounds == (9, 48, 10, 49) and table.geometry[0] is None
    before = sha256(path)
    write_scene_table(path, [row("a", geometry=None), row("b")], {"aa": "s2.zip is cut"})
    assert sha256(path) == before


def test_the_collection_names_every_item(tmp_path: Path) -> None:
    path = tmp_path / "collection.json"
    east = {"type": "Polygon", "coordinates": [[[20, 40], [21, 40], [21, 41], [20, 40]]]}
    later = row("a", geometry=east, interval=["2022-01-01T00:00:00Z", "2022-01-02T00:00:00Z"])
    write_collection(path, "my scenes", [row("b"), later])
    collection = pystac.Collection.from_file(str(path))
    assert collection.id == "my-scenes" and "2 scenes" in collection.description
    assert [link.href for link in collection.get_links("item")] == ["./a/item.json", "./b/item.json"]
    assert collection.extent.spatial.bboxes == [[9, 40, 21, 49]]
    assert json.loads(path.read_text())["extent"]["temporal"]["interval"] == [
        ["2021-09-08T10:27:01Z", "2022-01-02T00:00:00Z"]
    ]


@pytest.mark.parametrize("rows", [[], [row("a", geometry=None)]])
def test_without_a_known_place_the_extent_is_the_whole_earth(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_collection(tmp_path / "c.json", "c", rows)
    assert pystac.Collection.from_file(str(tmp_path / "c.json")).extent.spatial.bboxes == [[-180, -90, 180, 90]]

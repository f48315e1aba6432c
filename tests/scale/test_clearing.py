"""Three invented scenes, half cloud, cleared in every way that tasks are done, and each by itself."""

import json
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.geotiff import write_geotiff
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.prediction.scene import SUMMARY, SceneSettings, clear
from unclouded.prediction.wanted import WantedRemover
from unclouded.scale.clearing import WORK, ClearScene, PinnedRemover, clearing, forget_lost
from unclouded.scale.cluster import on_dask
from unclouded.scale.running import Runner, Shard, in_processes, run_tasks, serially
from unclouded.scale.scene_list import ListedScene
from unclouded.scale.tasks import TaskFolder
from unclouded.scenes.optical import OpticalSettings
from unclouded.sensors import SENTINEL1, SENTINEL2

PX = 48
WANTED = WantedRemover("scene-adapted")
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


def tasks(scenes: Path, out: Path, settings: SceneSettings | None = None) -> list[ClearScene]:
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
        assert run_tasks(mine, TaskFolder(out / WORK), runner) == {}
    return content(out)


@pytest.fixture(scope="module")
def by_themselves(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What single scenes give."""
    out = tmp_path_factory.mktemp("single")
    for name in NAMES:
        clear(WANTED.find(), scenes / f"{name}_s2.tif", scenes / f"{name}_s1.tif", out / name)
        (out / name / "lock").unlink()
    return content(out)


def test_one_by_one_and_in_shards_scenes_are_as_each_by_itself(
    scenes: Path, tmp_path: Path, by_themselves: dict[str, bytes]
) -> None:
    assert set(by_themselves) >= {"north/clear.tif", "north/item.json", "south/report.html", "middle/summary.json"}
    assert done(scenes, tmp_path / "serial", serially) == by_themselves
    assert done(scenes, tmp_path / "shards", serially, shards=2) == by_themselves
    rows = [TaskFolder(tmp_path / way / WORK).rows(tasks(scenes, tmp_path / way)) for way in ("serial", "shards")]
    assert rows[0] == rows[1]
    (north,) = (row for row in rows[0] if row["scene"] == "north")
    assert north["remover"] == "scene-adapted" and north["crs"] == "EPSG:32632"
    assert sum(north[name] for name in ("observed", "blended", "synthesised", "near_gap", "no_data")) == PX * PX


def test_fault_03_on_killed_processes_scenes_are_as_each_by_itself(
    scenes: Path, tmp_path: Path, by_themselves: dict[str, bytes]
) -> None:
    killed: list[int] = []

    (second,) = (task.id for task in tasks(scenes, tmp_path) if task.name == "north")

    def kill() -> None:  # as soon as the second scene is begun; its note stays, whoever comes late
        while not (tmp_path / WORK / "begun" / second).is_file():
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


def test_a_scene_that_cannot_be_used_is_set_aside_and_the_others_go_on(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: -900 if path.name == "middle_s1.tif" else None])
    (tmp_path / "south_s2.tif").unlink()
    out = tmp_path / "out"
    failures = run_tasks(tasks(tmp_path, out), TaskFolder(out / WORK), serially)
    assert list(failures) == ["middle", "south"]
    assert "middle_s1.tif" in failures["middle"] and "south_s2.tif is not a file" in failures["south"]
    assert [row["scene"] for row in TaskFolder(out / WORK).rows(tasks(tmp_path, out))] == ["north"]
    (tmp_path / "south_s2.tif").write_bytes((scenes / "south_s2.tif").read_bytes())
    assert list(run_tasks(tasks(tmp_path, out), TaskFolder(out / WORK), serially)) == ["middle"]  # without a retry


def test_fault_16_of_many_scenes_one_of_doubtful_offset_is_refused(scenes: Path, tmp_path: Path) -> None:
    for path in scenes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    grid = GeoBox((PX, PX), Affine(10, 0, 500_000, 0, -10, 5_000_000 - 10 * PX), "EPSG:32632")
    optical = np.random.default_rng(1).integers(1200, 1900, (13, PX, PX)).astype(np.uint16)
    write_geotiff(tmp_path / "middle_s2.tif", optical, SENTINEL2.bands, grid, nodata=0)
    failures = run_tasks(tasks(tmp_path, tmp_path / "out"), TaskFolder(tmp_path / "out" / WORK), serially)
    assert list(failures) == ["middle"] and "give --offset -1000" in failures["middle"]
    told = clearing(listed("middle", offset=0), tmp_path, tmp_path / "out", [WANTED], SceneSettings())
    assert not run_tasks(told, TaskFolder(tmp_path / "told" / WORK), serially)


def test_products_that_are_gone_are_made_again(scenes: Path, tmp_path: Path) -> None:
    notes, all_tasks = TaskFolder(tmp_path / WORK), tasks(scenes, tmp_path)
    before = done(scenes, tmp_path, serially)
    forget_lost(all_tasks, notes)
    assert notes.left(all_tasks) == []
    (tmp_path / "north" / SUMMARY).unlink()
    other = SceneSettings(window_px=512)
    clear(WANTED.find(), scenes / "south_s2.tif", scenes / "south_s1.tif", tmp_path / "south", other)
    forget_lost(all_tasks, notes)
    assert {task.name for task in notes.left(all_tasks)} == {"north", "south"}
    assert done(scenes, tmp_path, serially) == before


def test_an_id_changes_with_images_settings_and_weights_and_with_nothing_else(scenes: Path, tmp_path: Path) -> None:
    settings, weights = NetworkSettings(width=2), tmp_path / "w.safetensors"
    save_weights(weights, settings.build(), settings, {})
    wanted = WantedRemover(str(weights))

    def ids(folder: Path = scenes, how: SceneSettings | None = None, **more: object) -> set[str]:
        made = clearing(listed("north", **more), folder, tmp_path, [wanted], how or SceneSettings())
        return {task.id for task in made}

    first = ids()
    for path in scenes.glob("north*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert ids(tmp_path) == first
    assert ids(how=SceneSettings(statistics="window")) != first and ids(align=True) != first
    (tmp_path / "north_s1.tif").write_bytes((scenes / "south_s1.tif").read_bytes())
    assert ids(tmp_path) != first
    pinned = PinnedRemover.of(wanted)
    assert pinned.find() is pinned.find()  # loaded once
    torch.manual_seed(1)
    save_weights(weights, settings.build(), settings, {})
    assert ids() != first
    with pytest.raises(InputError, match=r"w\.safetensors holds other weights than at the start"):
        PinnedRemover(wanted, pinned.description + " ").find()


def test_options_of_a_scene_count_more_than_those_of_all_and_change_its_task(scenes: Path, tmp_path: Path) -> None:
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

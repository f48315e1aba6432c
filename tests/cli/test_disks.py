"""Every command that writes, on a disk that is read-only, full, or owned by another user."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.files import sha256
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.roi import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.footprints import footprint_around

GRID = GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32632", resolution=10)
LARGE = GeoBox.from_bbox((0, 0, 3840, 2560), "EPSG:32632", resolution=10)
RECORDED = Path(__file__).parents[1] / "data" / "stac_items.json"

COMMANDS = {
    "predict": "predict clear-mean --cloudy {inputs}/s2.tif --sar {inputs}/s1.tif --clouds ones --out {out}",
    "predict-patches": "predict-patches clear-mean {inputs}/root --clouds ones --out {out}",
    "batch": "batch {inputs}/scenes.csv --remover clear-mean --offset 0 --clouds ones --out {out}",
    "clouds map": "clouds {inputs}/s2.tif --clouds ones --out {out}/map.tif",
    "clouds map of a folder": "clouds {inputs}/images --clouds ones --out {out}",
    "clouds paint": "clouds paint {inputs}/root --out {out}",
    "train": "train {inputs}/run.toml {out}",
    "evaluate": "evaluate cloudy {inputs}/root --split all --clouds ones --out {out}/scores.json",
    "compare": "compare {inputs}/scores/a.json {inputs}/scores/a.json --out {out}/compared.json",
    "leaderboard": "leaderboard {inputs}/scores --out {out}",
    "reproduce": "reproduce table-2 {out} --size smoke",
    "figure": "figure 6 {inputs}/root --out {out}/figure.png",
    "demo": "demo {out}",
    "curate": "curate {inputs}/regions.toml {out}",
    "data manifest": "data manifest {inputs}/root --no-coverage --out {out}/manifest.parquet",
    "data check": "data check {inputs}/root --json {out}/check.json",
    "data check with a folder": "data check {inputs}/root --work {out}",
    "data pack": "data pack {inputs}/root {out} --clouds ones",
    "data fetch": "data fetch {out} --from {inputs}/mirror --season spring --sensor s1",
    "data screen": "data screen {inputs}/root --out {out}",
    "data sheet": "data sheet {inputs}/root --out {out}/sheet.html",
    "data sample": "data sample {inputs}/land.geojson {out}/drawn.geojson --regions 40",
    "data search": "data search {inputs}/drawn.geojson {recorded} --out {out} --since 2017-12-01 --until 2018-11-30",
    "data stats": "data stats {inputs}/root --clouds ones --out {out}",
}
"""Commands that write to a path of the user."""
COMPLETE = [name for name in COMMANDS if name not in ("demo", "data fetch")]
"""Those that take seconds at most."""


def words(name: str, inputs: Path, out: Path) -> list[str]:
    return [word.format(inputs=inputs, out=out, recorded=RECORDED) for word in COMMANDS[name].split()]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, unclouded: Callable[..., int]) -> Path:
    """A data set of two official patches, a scene, a region to curate, scores, and lists."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    for name in ("ROIs1158_spring_31_p1", "ROIs1158_spring_44_p1"):
        patch, optical = PatchId.parse(name), rng.integers(200, 3000, (13, 48, 48)).astype(np.uint16)
        optical[SENTINEL2.indices("B10")] = rng.integers(15, 25, (1, 48, 48))
        write_geotiff(
            folder / "root" / patch.path("s1"), rng.normal(-12, 2, (2, 48, 48)).astype("f4"), SENTINEL1.bands, GRID
        )
        write_geotiff(folder / "root" / patch.path("s2"), optical, SENTINEL2.bands, GRID)
        write_geotiff(
            folder / "root" / patch.path("s2_cloudy"), optical[:, ::-1] + np.uint16(3000), SENTINEL2.bands, GRID
        )
    write_geotiff(folder / "s1.tif", rng.normal(-12, 2, (2, 48, 48)).astype("f4"), SENTINEL1.bands, GRID)
    write_geotiff(folder / "s2.tif", optical + np.uint16(3000), SENTINEL2.bands, GRID)
    write_geotiff(folder / "images" / "a.tif", optical, SENTINEL2.bands, GRID)
    write_geotiff(folder / "radar.tif", rng.normal(-12, 2, (2, *LARGE.shape)).astype("f4"), SENTINEL1.bands, LARGE)
    for name in ("clear", "cloudy"):
        values = rng.integers(15, 90, (13, *LARGE.shape)).astype(np.uint16)
        write_geotiff(folder / f"{name}.tif", values, SENTINEL2.bands, LARGE)
    (folder / "regions.toml").write_text(
        'coverage = false\n[screening]\nshift_px = 100.0\n[[regions]]\nroi = "ROIs0001_fall_1"\n'
        'radar = "radar.tif"\nclear = "clear.tif"\ncloudy = "cloudy.tif"\n'
    )
    (folder / "scenes.csv").write_text("name,cloudy,sar\na,s2.tif,s1.tif\n")
    (folder / "run.toml").write_text(
        f'patches = "{folder / "root"}"\nsplit = "all"\nobjective = "residual"\npaired_percent = 100\ncrop_px = 32\n'
        'clouds.mode = "ones"\nnetwork.width = 8\nloss.feature = 0\nloss.style = 0\nschedule.epochs_constant = 1\n'
        'schedule.epochs_decay = 0\nlogging.preview_every = 0\ndevice.accelerator = "cpu"\n'
    )
    ring = [[-10, -30], [40, -30], [40, 30], [-10, 30], [-10, -30]]
    land = {"properties": {"continent": "Africa"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    drawn = {
        "geometry": footprint_around(11.0, 44.5, (52.0, 40.0)),
        "properties": {"roi": "ROIs0001_summer_1", "center": [11.0, 44.5], "continent": "Europe", "split": "train"},
    }
    for name, feature in (("land", land), ("drawn", drawn)):
        (folder / f"{name}.geojson").write_text(json.dumps({"features": [feature]}))
    (folder / "mirror").mkdir()
    assert unclouded(*words("evaluate", folder, folder / "scores")) == 0
    (folder / "scores" / "scores.json").rename(folder / "scores" / "a.json")
    return folder


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("unclouded: ")]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    return lines[0]


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - left)
    return ballast


@pytest.mark.parametrize("name", COMMANDS)
def test_fault_33_a_read_only_disk_is_one_line_and_nothing_is_written(
    name: str,
    inputs: Path,
    mount_disk: Callable[[int], Path],
    unclouded: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = mount_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert unclouded(*words(name, inputs, disk / "out")) == 2
    printed = complaint(capsys)
    assert "cannot be written (Read-only file system); choose a folder that can be written and run again" in printed
    assert not list(disk.iterdir())


_COMMANDS_IN_ONE_PROCESS = """
import json, sys
from unclouded.cli.main import run
for name, words in json.load(sys.stdin).items():
    sys.argv = ["unclouded", *words]
    try:
        run()
    except SystemExit as ended:
        print(json.dumps([name, ended.code]), flush=True)
    print(json.dumps([name, "over"]), file=sys.stderr, flush=True)
"""


def _without_privileges() -> None:
    """Take from root the right to write into folders of others; CAP_DAC_OVERRIDE, which a new program loses."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
        os._exit(77)


def test_fault_33_a_folder_of_another_user_is_one_line_in_every_command(inputs: Path, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("capabilities are those of Linux")
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o555)
    if os.geteuid() == 0:
        os.chown(theirs, 65534, 65534)
    commands = {name: words(name, inputs, theirs / "out") for name in COMMANDS}
    ended = subprocess.run(
        [sys.executable, "-c", _COMMANDS_IN_ONE_PROCESS],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        preexec_fn=_without_privileges,
    )
    if ended.returncode == 77:
        pytest.skip("privileges cannot be given up here")
    assert "Traceback" not in ended.stderr
    found = dict(json.loads(line) for line in ended.stdout.splitlines() if line.startswith("["))
    assert found == dict.fromkeys(COMMANDS, 2), ended.stderr
    denied = [
        line for line in ended.stderr.splitlines() if "cannot be written (Permission denied); choose a folder" in line
    ]
    assert len(denied) == len(COMMANDS), ended.stderr
    assert not list(theirs.iterdir())


@pytest.mark.parametrize("name", COMPLETE)
def test_fault_32_on_a_full_disk_a_command_is_one_line_and_goes_on_once_there_is_room(
    name: str,
    inputs: Path,
    mount_disk: Callable[[int], Path],
    unclouded: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    disk = mount_disk(24 << 10)
    out = disk / "out"
    for left in (0, 8192):  # refused at the door; broken off in the middle, where it needs more
        ballast = fill(disk, left)
        if status := unclouded(*words(name, inputs, out)):
            printed = complaint(capsys)
            assert status == 2 and ("cannot be written" in printed or " free, expected " in printed)
        assert left or status == 2
        assert not [path for path in disk.rglob("*") if ".partial" in path.name]
        ballast.unlink()
    resumed = ["--resume"] if name == "train" and (out / "log.jsonl").is_file() else []
    assert unclouded(*words(name, inputs, out), *resumed) == 0, capsys.readouterr().err
    assert [path for path in out.rglob("*") if path.is_file()] or name == "data check with a folder"


def test_fault_32_the_older_scores_stay_whole_on_a_full_disk(
    inputs: Path, mount_disk: Callable[[int], Path], unclouded: Callable[..., int]
) -> None:
    disk = mount_disk(4096)
    command = words("evaluate", inputs, disk)
    assert unclouded(*command) == 0
    before = {path.name: sha256(path) for path in disk.iterdir()}
    assert set(before) == {"scores.json", "scores.parquet"}
    room = (disk / "scores.json").stat().st_size + 4096  # for the first of both files
    fill(disk, (room + 4095) // 4096 * 4096)
    assert unclouded(*command, "--raw") == 2
    assert {path.name: sha256(path) for path in disk.iterdir() if path.name != "ballast"} == before


_EIGHT = """
import json, os, signal, sys
import unclouded.clouds.files, unclouded.prediction.scene, unclouded.tensors.packed, unclouded.training.loop
import unclouded.locks as locks
from unclouded.cli.main import run

def begin(words, ready, go):
    if child := os.fork():
        return child
    def wait(folder):  # with the lock in hand
        os.write(ready, b"!")
        os.read(go, 1)
    locks.remove_partial_files = wait
    sys.argv = ["unclouded", *words]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        run()
    except SystemExit as ended:
        os._exit(ended.code or 0)
    os._exit(70)

for name, words in json.load(sys.stdin).items():
    (held, ready), (go, let) = os.pipe(), os.pipe()
    contenders = {begin(words, ready, go) for _ in range(8)}
    os.read(held, 1)
    losers = dict(os.wait() for _ in range(7))
    (winner,) = contenders - losers.keys()
    os.kill(winner, signal.SIGKILL)
    killed = os.waitpid(winner, 0)[1]
    os.write(let, b"!")
    after = os.waitpid(begin(words, ready, go), 0)[1]
    codes = [os.waitstatus_to_exitcode(one) for one in (*losers.values(), killed, after)]
    print(json.dumps([name, codes]), flush=True)
"""


def test_fault_34_of_eight_processes_of_a_command_one_writes_and_a_dead_one_holds_nothing(
    inputs: Path, tmp_path: Path
) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    locked = ("predict", "train", "data pack")
    commands = {name: words(name, inputs, tmp_path / name.replace(" ", "-")) for name in locked}
    ended = subprocess.run(
        [sys.executable, "-c", _EIGHT], input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    found = dict(json.loads(line) for line in ended.stdout.splitlines())
    assert found == dict.fromkeys(locked, [3] * 7 + [-9, 0]), ended.stderr
    printed = [line for line in ended.stderr.splitlines() if "is being written by " in line]
    assert len(printed) == 7 * len(locked) and all("; wait for it or choose another folder" in line for line in printed)

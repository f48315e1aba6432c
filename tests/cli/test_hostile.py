"""The whole command line in odd surroundings: each command is a process of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.sensors import SENTINEL2

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAMES = [
    b"with space.tif",
    "ü x – 雲.tif".encode(),
    b"\xff\xfe.tif",  # no UTF-8
    b"line\nbreak.tif",
    b"CON.tif",
    b"a" * 251 + b".tif",  # 255 bytes, the most that file systems take
    "é".encode() * 125 + b".tif",
    b"-h.tif",
    b"%s{}?#.tif",
]


def run(
    *words: str | bytes, stdout: int | object = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command; one that waits for a pipe is killed after a minute."""
    return subprocess.run(
        [sys.executable, "-m", "unclouded", *words],
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300", **environment},
    )


def complaint(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the one line of a refusal."""
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("unclouded: ")]
    assert len(lines) == 1, ended.stderr
    return lines[0]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "s2.tif"
    stored = np.random.default_rng(0).integers(500, 3000, (13, 32, 32)).astype(np.uint16)
    geobox = GeoBox((32, 32), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
    write_geotiff(path, stored, SENTINEL2.bands, geobox, nodata=0)
    return path


@pytest.mark.parametrize("environment", [{}, C_LOCALE], ids=["utf-8", "C"])
def test_fault_37_a_name_of_any_bytes_is_read_and_written(
    scene: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in NAMES:
        (images / os.fsdecode(name)).write_bytes(scene.read_bytes())
    ended = run(
        "clouds", "map", os.fsencode(images), "--out", os.fsencode(tmp_path / "maps"), "--clouds", "ones", **environment
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"{len(NAMES)} maps written, 0 kept, 0 images refused" in ended.stdout
    found = {os.fsencode(path.name) for path in (tmp_path / "maps").glob("*.tif")}
    assert found == set(NAMES)
    for name in NAMES:
        assert (read_stored(tmp_path / "maps" / os.fsdecode(name)).values == 1).all()


@pytest.mark.parametrize("environment", [{}, C_LOCALE], ids=["utf-8", "C"])
def test_fault_37_a_name_that_no_file_has_is_refused_by_name(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, reason in (
        (b"a" * 256, "File name too long"),
        (b"\xff\x1b[31m", "is not a file"),
        (b"loop", "Too many levels of symbolic links"),
    ):
        line = complaint(run("clouds", os.fsencode(tmp_path) + b"/" + name, "--out", "m.tif", **environment))
        assert reason in line and line.isprintable()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, ("train", "X", "run")),
        (pipe, ("clouds", "X", "--out", "m.tif")),
        (unix_socket, ("compare", "X", "X")),
        (loop, ("predict-patches", "X.safetensors", ".", "--out", "o")),
        (device, ("curate", "X", "o")),
    ],
)
def test_special_files_are_never_opened(
    make: Callable[[Path], None], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("X", "X.safetensors"):
        make(tmp_path / name)
    assert "X" in complaint(run(*words))


def test_output_that_cannot_be_written_ends_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        line = complaint(run("--version", stdout=full))
        assert "standard output cannot be written (No space left on device)" in line
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert "standard output cannot be written (Broken pipe)" in complaint(run("--version", stdout=writer))
    finally:
        os.close(writer)


def test_without_standard_streams_a_command_does_its_work(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.tif"
    command = f"{sys.executable} -m unclouded clouds {scene} --out {out} --clouds ones <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=60).returncode == 0
    assert (read_stored(out).values == 1).all()


_IMPORTED = """
import sys
sys.argv = ["unclouded", *sys.argv[1:]]
from unclouded.cli.main import run
try:
    run()
finally:
    print(*sorted({"torch", "numba", "rasterio", "matplotlib", "lightgbm", "scipy", "pyarrow"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--cloudy", "gone.tif", "--sar", "gone.tif", "--out", "o"),
        ("predict-patches", "clear-meen", ".", "--out", "o"),
        ("predict-patches", "gone.safetensors", ".", "--out", "o"),
        ("predict-patches", "clear-mean", "gone", "--out", "o"),
        ("predict", "--manifest", "scenes.csv", "--out", "o"),
        ("batch", "gone.csv", "--out", "o"),
        ("batch", __file__, "--remover", "clear-meen", "--out", "o"),
        ("train", "gone.toml", "o"),
        ("train", "papers", "o"),
        ("train", "cpu-smoke", "o", "--set", "los.cycle=1"),
        ("train", "cpu-smoke", "o", "--set", "loss.cycles=1"),
        ("reproduce", "table-9", "o"),
        ("reproduce", "table-2", "o", "--root", "gone"),
        ("demo", "/dev/null/demo"),
        ("evaluate", "clear-mean", "gone"),
        ("evaluate", "gone"),
        ("compare", "gone", "gone"),
        ("clouds", "gone", "--out", "o"),
        ("models", "gone"),
        ("leaderboard", "gone", "--out", "o"),
        ("curate", "gone", "o"),
        ("figure", "1", "gone", "--out", "o.png"),
        ("data", "check", "gone"),
        ("data", "search", "gone", "gone", "--out", "o", "--since", "2018-06-01", "--until", "2018-06-02"),
    ],
    ids=" ".join,
)
def test_a_wrong_name_is_refused_before_anything_heavy_is_imported(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _IMPORTED, *words], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    complaint(ended)
    assert ended.stdout.split() == []

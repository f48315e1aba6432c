"""Memory of a scene does not grow with its height."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.io.rows import write_rows
from unclouded.sensors import SENTINEL1, SENTINEL2

WIDTH, ROWS = 600, 768
"""Columns, and rows of one strip of the cloud map; four strips are more than a sample, which is kept in memory."""

PEAKS = """
import json, os, resource, sys
from pathlib import Path
from unclouded.io import gdal
from unclouded.clouds.map import CloudMapSettings
from unclouded.models.baselines import baseline
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.io.raster import read
from unclouded.sensors import SENTINEL2

gdal.GDAL_OPTIONS["GDAL_CACHEMAX"] = 8 << 20  # this one grows up to its limit, 256 MiB

def streamed(folder):
    settings = SceneSettings(window_px=128, clouds=CloudMapSettings(mode="ones"))
    remover = baseline("clear-mean", SENTINEL2.bands)
    predict_scene(remover, folder / "s2.tif", folder / "s1.tif", folder / "out", settings)

def whole(folder):
    read(folder / "s2.tif", SENTINEL2)

def peak(work, folder):
    if (child := os.fork()) == 0:
        work(folder)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    assert status == 0
    return used.ru_maxrss * 1024

print(json.dumps([[peak(work, Path(folder)) for folder in sys.argv[1:]] for work in (streamed, whole)]))
"""


def simulate(folder: Path, rows: int) -> Path:
    folder.mkdir()
    grid = GeoBox((rows, WIDTH), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
    for name, sensor, values, dtype in (("s2", SENTINEL2, 1000, "uint16"), ("s1", SENTINEL1, -9, "float32")):
        strip = np.full((len(sensor.bands), ROWS, WIDTH), values, dtype)
        with write_rows(folder / f"{name}.tif", sensor.bands, grid, dtype) as write:
            for top in range(0, rows, ROWS):
                write(top, strip)
    return folder


def test_expectation_12_four_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    """Reading the scene in one piece, the control, takes more; so the bound could be missed."""
    folders = [str(simulate(tmp_path / str(rows), rows)) for rows in (ROWS, 4 * ROWS)]
    ran = subprocess.run([sys.executable, "-c", PEAKS, *folders], capture_output=True, text=True, check=True)
    (low, high), (part, whole) = json.loads(ran.stdout)
    assert high < 1.1 * low
    assert whole > 1.2 * part
    assert high - low < 0.4 * (whole - part)

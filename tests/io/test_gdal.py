"""Tests of GDAL's sessions: warnings of images that lie nowhere stay off while any thread reads."""

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from unclouded.io.gdal import gdal_session


def unlocated(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8") as out:
            out.write(np.ones((1, 2, 2), np.uint8))
    return path


def test_a_session_that_ends_leaves_the_filter_to_the_sessions_of_other_threads(tmp_path: Path) -> None:
    image, entered, first_left = unlocated(tmp_path / "x.tif"), threading.Event(), threading.Event()
    caught: list[BaseException] = []

    def second() -> None:
        try:
            with gdal_session():
                entered.set()
                first_left.wait()
                rasterio.open(image).close()
        except NotGeoreferencedWarning as warning:
            caught.append(warning)

    thread = threading.Thread(target=second)
    with gdal_session():
        thread.start()
        entered.wait()
    first_left.set()
    thread.join()
    assert caught == []


def test_the_warning_is_on_again_after_the_last_session(tmp_path: Path) -> None:
    image = unlocated(tmp_path / "x.tif")
    with gdal_session(), gdal_session():
        rasterio.open(image).close()
    with pytest.warns(NotGeoreferencedWarning):
        rasterio.open(image).close()

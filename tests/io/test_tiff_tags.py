import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import open_geotiff, write_geotiff

GRID = GeoBox((16, 16), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_geotiff(tmp_path / "a.tif", np.ones((2, 16, 16), np.uint16), ("B02", "B03"), GRID, nodata=0)
    return tmp_path / "a.tif"


def changed(path: Path, before: bytes, after: bytes) -> None:
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))


@pytest.mark.parametrize("after", [b"<Item \xac am", b"<Itam name", b"<Item\x00name", b"<Item =ame", b"<Item &ame"])
def test_fault_05_metadata_that_gdal_would_pass_over_is_refused(image: Path, after: bytes) -> None:
    changed(image, b"<Item name", after)
    with pytest.raises(InputError, match=r"a\.tif is not a whole GeoTIFF \(.*\); fetch it again"), open_geotiff(image):
        pass


@pytest.mark.parametrize("text", [b"\xb0", b"x", b"_"])
def test_fault_13_a_nodata_value_that_is_no_number_is_refused(image: Path, text: bytes) -> None:
    content = image.read_bytes()
    place = content.index((42113).to_bytes(2, "little") + b"\2\0") + 8
    image.write_bytes(content[:place] + text + content[place + 1 :])
    with pytest.raises(InputError, match="has the nodata value"), open_geotiff(image):
        pass


def test_sound_tags_are_read_as_before(image: Path) -> None:
    with open_geotiff(image) as source:
        assert source.descriptions == ("B02", "B03") and source.nodata == 0


_OPENS = """
import logging, sys, rasterio
logging.basicConfig()
from unclouded.io.gdal import gdal_session
with gdal_session(), rasterio.open(sys.argv[1], driver="GTiff"):
    pass
"""


def test_a_message_of_gdal_that_is_no_utf8_is_logged(image: Path) -> None:
    changed(image, b"<Item name", b"<Item \xac am")
    ended = subprocess.run([sys.executable, "-c", _OPENS, image], capture_output=True, text=True)
    assert ended.returncode == 0 and "\\xac" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr

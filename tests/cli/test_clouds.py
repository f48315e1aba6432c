from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.geotiff import read_stored, write_geotiff
from unclouded.locks import held
from unclouded.sensors import SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 400, 400), "EPSG:32632", resolution=10)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Dark on the left, and as bright as a cloud on the right."""
    values = np.full((13, 40, 40), 800, np.uint16)
    values[:, :, 20:] = 6000
    write_geotiff(tmp_path / "images" / "one.tif", values, SENTINEL2.bands, GRID)
    return tmp_path / "images" / "one.tif"


def test_the_map_of_an_image_is_written(image: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("clouds", image, "--out", tmp_path / "m.tif") == 0
    m = read_stored(tmp_path / "m.tif").values[0]
    assert m[20, 5] < 0.1 < 0.9 < m[20, 35]


def test_an_image_is_not_written_over(
    image: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("clouds", image, "--out", image) == 2
    assert "one.tif is the input itself" in capsys.readouterr().err


def test_a_folder_is_mapped_once_and_only_what_is_missing_the_second_time(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    arguments = (image.parent, "--out", tmp_path / "maps", "--clouds", "ones")
    assert unclouded("clouds", *arguments) == 0
    assert "1 maps made, 0 were there" in capsys.readouterr().out
    write_geotiff(image.with_name("two.tif"), read_stored(image).values, SENTINEL2.bands, GRID)
    assert unclouded("clouds", *arguments) == 0
    assert "1 maps made, 1 were there" in capsys.readouterr().out


def test_fault_05_a_damaged_image_of_a_folder_is_named_and_the_others_are_mapped(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    image.with_name("torn.tif").write_bytes(image.read_bytes()[:300])
    assert unclouded("clouds", image.parent, "--out", tmp_path / "maps", "--clouds", "ones") == 1
    told = capsys.readouterr()
    assert "1 maps made, 0 were there, 1 refused" in told.out
    assert "torn.tif is not a whole GeoTIFF" in told.err
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["one.tif"]


def test_fault_34_who_maps_a_folder_that_is_being_mapped_ends_with_3(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    with held(tmp_path / "maps"):
        assert unclouded("clouds", image.parent, "--out", tmp_path / "maps") == 3
    assert "is being written by process" in capsys.readouterr().err


def test_an_unknown_resolution_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("clouds", image, "--out", tmp_path / "m.tif", "--resolution", 30) == 2
    assert "resolution_m" in capsys.readouterr().err


def test_the_cache_is_looked_at_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unclouded: Callable[..., int]
) -> None:
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path))
    entry = tmp_path / "cloud-probability" / "00" / "00.npy"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(2**20))
    assert unclouded("clouds", "cache") == 0
    assert capsys.readouterr().out.startswith("1.0 MiB of at most 40 GiB in ")
    assert unclouded("clouds", "cache", "--clear") == 0
    assert "1 entries deleted" in capsys.readouterr().out
    assert not entry.exists()

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from unclouded.cog import Layer, write_cog
from unclouded.errors import MachineError
from unclouded.geotiff import read_stored

GRID = GeoBox((1100, 700), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")


def strips(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(top, values[:, top : top + 256]) for top in range(0, values.shape[1], 256)]


def test_a_cog_holds_pixels_tags_and_units_and_has_overviews(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 9_999, (2, 1100, 700)).astype(np.uint16)
    layer = Layer(("B04", "B03"), "uint16", 0, scale=1e-4, offsets=(-0.1, -0.1), tags={"A": "b"})
    write_cog(tmp_path / "image.tif", strips(values), layer, GRID)
    stored = read_stored(tmp_path / "image.tif")
    assert np.array_equal(stored.values, values)
    assert (stored.nodata, stored.descriptions) == (0, ("B04", "B03"))
    assert (stored.scales, stored.offsets) == ((1e-4, 1e-4), (-0.1, -0.1))
    valid, errors, warnings = cog_validate(tmp_path / "image.tif")
    assert valid, (errors, warnings)
    with rasterio.open(tmp_path / "image.tif") as file:
        assert file.overviews(1) == [2, 4]
        assert file.tags()["A"] == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_overviews_of_means_leave_nodata_out_and_those_of_names_invent_none(tmp_path: Path) -> None:
    values = np.zeros((1, 1100, 700), np.uint16)
    values[:, ::2, ::2] = 8
    for overviews in ("average", "nearest"):
        layer = Layer(("B04",), "uint16", 0, overviews)
        write_cog(tmp_path / f"{overviews}.tif", strips(values), layer, GRID)
        with rasterio.open(tmp_path / f"{overviews}.tif", overview_level=0) as file:
            assert set(np.unique(file.read())) <= {0, 8}


def test_the_same_strips_give_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((1, 1100, 700)).astype(np.float32)
    for name in "ab":
        write_cog(tmp_path / f"{name}.tif", strips(values), Layer(("m",), "float32"), GRID)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_text("older")
    values = np.zeros((1, 1100, 700), np.uint8)
    with pytest.raises(ValueError, match="expected 1100 rows, found 256"):
        write_cog(tmp_path / "image.tif", strips(values)[:1], Layer(("a",), "uint8"), GRID)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_fault_32_a_copy_that_reads_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclouded.cog._agrees", lambda *_: False)
    with pytest.raises(MachineError, match=r"image\.tif cannot be written \(it reads otherwise\); is the disk full\?"):
        write_cog(tmp_path / "image.tif", strips(np.zeros((1, 1100, 700), np.uint8)), Layer(("a",), "uint8"), GRID)
    assert not list(tmp_path.iterdir())

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.sentinel import sentinel2_pixels as granule
from unclouded.sentinel import sentinel2_pixels as jp2
from unclouded.sentinel.safe import ProductFolder, SafeProduct, open_product
from unclouded.sentinel.sentinel2 import describe_product
from unclouded.sentinel.sentinel2_pixels import decode, decode_part, open_granule


@pytest.mark.parametrize("decoders", [1, 2, 5])
def test_bands_keep_their_order_however_many_are_decoded_at_a_time(
    tmp_path: Path, optical_product: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, decoders: int
) -> None:
    monkeypatch.setattr(granule, "threads", lambda: decoders)
    folder = optical_product()
    with open_product(SafeProduct(folder), tmp_path) as product:
        description = describe_product(product)
        with open_granule(product, description, tmp_path, "nearest") as decoded:
            rows = decoded.stored(0, 120)
    assert rows.shape == (13, 120, 120) and rows.dtype == np.uint16
    stored = {path.stem: np.fromfile(path, np.uint16) for path in tmp_path.glob("*.raw")}
    for band, one in zip(description.bands, rows, strict=True):
        step = round(120 / np.sqrt(stored[band].size))
        np.testing.assert_array_equal(one[::step, ::step].ravel(), stored[band])


def test_every_image_is_checked_before_it_is_decoded(
    tmp_path: Path, optical_product: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = optical_product()
    for path in folder.rglob("*.jp2"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(granule, "decode", lambda *_: pytest.fail("decoded before it was checked"))
    with (
        open_product(SafeProduct(folder), tmp_path) as product,
        pytest.raises(InputError, match="has another checksum than in its manifest"),
        open_granule(product, describe_product(product), tmp_path, "nearest"),
    ):
        pass


def test_a_hole_in_one_band_is_damage_without_a_manifest(tmp_path: Path) -> None:
    product = ProductFolder(tmp_path, tmp_path, None)
    granule.refuse_holes(product.path, {"B01": 0.30, "B02": 0.302, "B03": 0.30})
    with pytest.raises(InputError, match=r"has no data in 31.0% of B02, and in 30.0% of its other bands"):
        granule.refuse_holes(product.path, {"B01": 0.30, "B02": 0.31, "B03": 0.30})


IMAGE = np.random.default_rng(1).integers(1, 9_999, (96, 80)).astype(np.uint16)


def write(path: Path, values: NDArray[Any] = IMAGE, driver: str = "JP2OpenJPEG") -> Path:
    shape = {"count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype.name}
    options = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 32, "BLOCKYSIZE": 32} if "JP2" in driver else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", driver=driver, **shape, **options) as file:
            file.write(values, 1)
    return path


def decoded(path: Path, shape: tuple[int, int] = (96, 80)) -> NDArray[np.uint16]:
    strips: list[NDArray[np.uint16]] = []
    tops: list[int] = []

    def take(top: int, values: NDArray[np.uint16]) -> None:
        strips.append(values)
        tops.append(top)

    decode(path, shape, take)
    assert tops == [sum(len(strip) for strip in strips[:n]) for n in range(len(strips))]
    return np.concatenate(strips)


def refused(path: Path, shape: tuple[int, int] = (96, 80)) -> str:
    with pytest.raises(InputError) as error:
        decoded(path, shape)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("strip_bytes", [1, 6_000, 1 << 20])
def test_strips_are_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip_bytes: int) -> None:
    monkeypatch.setattr(jp2, "_STRIP_BYTES", strip_bytes)
    np.testing.assert_array_equal(decoded(write(tmp_path / "a.jp2")), IMAGE)


@pytest.mark.parametrize("threads", ["1", "2", "ALL_CPUS"])
@settings(max_examples=8)
@given(share=st.floats(0, 0.999))
def test_fault_06_a_cut_image_raises_whatever_the_environment_sets(tmp_path: Path, share: float, threads: str) -> None:
    whole = write(tmp_path / "a.jp2").read_bytes()
    (tmp_path / "cut.jp2").write_bytes(whole[: int(share * len(whole))])
    with rasterio.Env(GDAL_NUM_THREADS=threads):
        message = refused(tmp_path / "cut.jp2")
    assert "cut.jp2 is not a whole JPEG 2000 image (" in message or "cut.jp2 is empty (0 bytes)" in message


def test_another_size_than_that_of_the_metadata_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "a.jp2"), (96, 81))
    assert message.endswith(
        "a.jp2 holds 1 x 96 x 80 uint16, expected 1 x 96 x 81 uint16 by its metadata; fetch it again"
    )


def test_fault_17_eight_bits_are_refused(tmp_path: Path) -> None:
    assert "holds 1 x 96 x 80 uint8" in refused(write(tmp_path / "TCI.jp2", (IMAGE >> 8).astype(np.uint8)))


def test_fault_20_tiles_too_large_to_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jp2, "MAX_BLOCK_BYTES", 2_000)
    assert "is stored in tiles of 32 x" in refused(write(tmp_path / "a.jp2"))


def test_fault_28_another_format_under_the_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", driver="GTiff")
    (tmp_path / "a.tif").rename(tmp_path / "a.jp2")
    assert "a.jp2 is not a whole JPEG 2000 image" in refused(tmp_path / "a.jp2")
    (tmp_path / "a.jp2").write_text('<VRTDataset rasterXSize="80" rasterYSize="96"></VRTDataset>')
    assert "a.jp2 is not a whole JPEG 2000 image" in refused(tmp_path / "a.jp2")


def test_a_part_is_decoded_in_larger_pixels(tmp_path: Path) -> None:
    row, column = np.mgrid[:96, :80]
    path = write(tmp_path / "a.jp2", (1000 + 10 * row + 20 * column).astype(np.uint16))
    whole = decode_part(path, (96, 80), slice(2, 8), slice(3, 9), 1)
    assert (whole == 1000 + 10 * row[2:8, 3:9] + 20 * column[2:8, 3:9]).all()
    coarse = decode_part(path, (96, 80), slice(2, 8), slice(3, 9), 4).astype(int)
    middle = 1000 + 10 * (4 * row[2:8, 3:9] + 1.5) + 20 * (4 * column[2:8, 3:9] + 1.5)
    assert np.abs(coarse - middle).max() <= 30  # half a step of the slope across a large pixel is 60
    with pytest.raises(InputError, match="holds 1 x 96 x 80 uint16, expected 1 x 80 x 96 uint16"):
        decode_part(path, (80, 96), slice(0, 2), slice(0, 2), 4)


def test_fault_06_a_part_of_a_cut_image_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jp2")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="is not a whole JPEG 2000 image"):
        decode_part(path, (96, 80), slice(18, 24), slice(14, 20), 4)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.scenes import granule
from unclouded.scenes.granule import open_granule
from unclouded.scenes.safe import ProductFolder, open_product
from unclouded.scenes.sentinel2 import describe_product


@pytest.mark.parametrize("decoders", [1, 2, 5])
def test_bands_keep_their_order_however_many_are_decoded_at_a_time(
    tmp_path: Path, optical_product: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, decoders: int
) -> None:
    monkeypatch.setattr(granule, "DECODERS", decoders)
    folder = optical_product()
    with open_product(folder, tmp_path) as product:
        description = describe_product(product)
        with open_granule(product, description, tmp_path, "nearest") as read:
            rows = read(0, 120)
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
        open_product(folder, tmp_path) as product,
        pytest.raises(InputError, match="has another checksum than its manifest says"),
        open_granule(product, describe_product(product), tmp_path, "nearest"),
    ):
        pass


def test_a_hole_in_one_band_counts_where_nothing_else_tells(tmp_path: Path) -> None:
    product = ProductFolder(tmp_path, tmp_path, None)
    granule.refuse_holes(product, {"B01": 0.30, "B02": 0.302, "B03": 0.30})
    with pytest.raises(InputError, match=r"has no data in 31.0% of B02, and in 30.0% of its other bands"):
        granule.refuse_holes(product, {"B01": 0.30, "B02": 0.31, "B03": 0.30})

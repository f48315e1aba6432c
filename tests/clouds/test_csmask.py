import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.clouds import csmask
from unclouded.clouds.csmask import BANDS, CLEAR, CLOUD, CSMASK, CSMASK_L2A, SHADOW, class_probabilities
from unclouded.clouds.detector import Detector
from unclouded.clouds.detectors import S2CLOUDLESS_SHADOW
from unclouded.clouds.map import PAPER, cloud_map, map_rows
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2

installed = pytest.mark.skipif(
    find_spec("ukis_csmask") is None or find_spec("onnxruntime") is None, reason="the extra csmask is not installed"
)
L2A = tuple(band for band in SENTINEL2.bands if band != "B10")


class BlueIsCloud:
    """A network that looks at single pixels: the logit of cloud is the blue band, that of shadow minus infinity."""

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        tile = inputs["input"]
        assert tile.shape == (1, 6, 256, 256) and tile.dtype == np.float32
        return [np.stack([np.zeros_like(tile[:, 0]), tile[:, 0], np.full_like(tile[:, 0], -np.inf)], axis=1)]


def as_cloud(blue: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(blue, dtype=np.float64)))


@pytest.fixture
def blue_is_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    unscaled = csmask._Network(BlueIsCloud(), np.zeros((6, 1, 1), np.float32), np.ones((6, 1, 1), np.float32))
    monkeypatch.setattr(csmask, "_network", lambda level: unscaled)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Networks are read once; here they are read anew, and again by the next test."""
    csmask._network.cache_clear()
    yield
    csmask._network.cache_clear()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)


def scene(*shape: int, bands: tuple[str, ...] = BANDS) -> Any:
    return np.random.default_rng(1).random((len(bands), *shape), dtype=np.float32)


@settings(max_examples=12)
@given(height=st.integers(1, 520), width=st.integers(1, 520))
def test_tiles_leave_no_seams_at_any_size(blue_is_cloud: None, height: int, width: int) -> None:
    image = scene(height, width)
    found = class_probabilities(image, BANDS)
    np.testing.assert_allclose(found[CLOUD], as_cloud(image[0]), atol=1e-6)
    np.testing.assert_allclose(found[CLEAR], 1 - as_cloud(image[0]), atol=1e-6)
    assert not found[SHADOW].any()


def test_bands_are_found_by_name(blue_is_cloud: None) -> None:
    image = scene(4, 5, bands=SENTINEL2.bands)
    found = class_probabilities(image, SENTINEL2.bands)
    np.testing.assert_array_equal(found, class_probabilities(image[::-1].copy(), SENTINEL2.bands[::-1]))
    np.testing.assert_allclose(found[CLOUD], as_cloud(image[1]), atol=1e-6)  # B02 is the second of the product


def test_the_network_reads_the_mean_of_three_by_three_pixels(blue_is_cloud: None) -> None:
    image = scene(9, 9, bands=SENTINEL2.bands)
    found = CSMASK.probability(image, SENTINEL2.bands)
    assert found[4, 4] == pytest.approx(as_cloud(image[1, 3:6, 3:6].mean()), abs=1e-6)
    assert found[4, 5] == pytest.approx((2 * found[4, 4] + found[4, 7]) / 3, abs=1e-6)  # bilinear between the centres


def test_a_patch_of_256_px_which_is_not_a_multiple_of_three_is_mapped(blue_is_cloud: None) -> None:
    image = np.full((13, 256, 256), 0.4, np.float32)
    np.testing.assert_allclose(CSMASK.probability(image, SENTINEL2.bands), as_cloud(0.4), atol=1e-6)


@pytest.mark.parametrize("detector", [CSMASK, S2CLOUDLESS_SHADOW], ids=lambda one: one.name)
@pytest.mark.parametrize("strip_px", [30, 128])
def test_expectation_12_strips_and_one_piece_are_the_same_to_the_last_bit(
    blue_is_cloud: None, monkeypatch: pytest.MonkeyPatch, detector: Detector, strip_px: int
) -> None:
    """The survey, too, goes strip by strip; holes reach over several, and no strip begins at a whole coarse pixel."""
    monkeypatch.setattr(csmask, "_STRIP_PX", 36)
    image = scene(200, 77, bands=SENTINEL2.bands)
    image[:, 20:110, :40] = np.nan
    whole = cloud_map(image, SENTINEL2.bands, PAPER, detector)
    strips = dict(map_rows(lambda top, bottom: image[:, top:bottom], 200, SENTINEL2.bands, PAPER, detector, strip_px))
    np.testing.assert_array_equal(np.concatenate(list(strips.values())), whole)
    assert 0.1 < (whole > 0).mean() < 1.0


def test_no_data_stays_no_data_and_does_not_affect_its_neighbours(blue_is_cloud: None) -> None:
    image = np.full((13, 9, 9), 0.4, np.float32)
    image[1, 0, 0] = np.nan  # a corner of the first block
    image[11, 3:6, 3:6] = np.nan  # a whole block, in one band
    image[0, 8, 8] = np.nan  # B01, which the network does not read
    found = CSMASK.probability(image, SENTINEL2.bands)
    holes = np.zeros((9, 9), bool)
    holes[0, 0] = holes[3:6, 3:6] = True
    np.testing.assert_array_equal(np.isnan(found), holes)
    np.testing.assert_allclose(found[~holes], as_cloud(0.4), atol=1e-6)


def test_an_image_without_any_data_has_no_probability(blue_is_cloud: None) -> None:
    assert np.isnan(CSMASK.probability(np.full((13, 7, 8), np.nan, np.float32), SENTINEL2.bands)).all()
    assert np.isnan(class_probabilities(np.full((6, 7, 8), np.nan, np.float32), BANDS)).all()


def test_the_number_of_threads_does_not_change_the_result(blue_is_cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    image, found = scene(300, 300), {}
    for threads in (1, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        found[threads] = class_probabilities(image, BANDS)
    np.testing.assert_array_equal(found[1], found[3])


def test_fault_09_a_missing_band_is_named() -> None:
    with pytest.raises(InputError, match="csmask needs B02 B03 B04 B08 B11 B12, but B11 B12 is missing"):
        class_probabilities(np.zeros((4, 3, 3), np.float32), ("B02", "B03", "B04", "B08"))


def test_fault_18_an_l2a_product_is_refused_by_the_detector_of_l1c() -> None:
    with pytest.raises(InputError, match=r"csmask supports L1C products, but B10 is missing; .* csmask-l2a"):
        CSMASK.probability(np.zeros((12, 3, 3), np.float32), L2A)


def test_fault_18_an_l1c_product_is_refused_by_the_detector_of_l2a() -> None:
    with pytest.raises(InputError, match="csmask-l2a supports L2A products, but the image has B10, as only L1C"):
        CSMASK_L2A.probability(np.zeros((13, 3, 3), np.float32), SENTINEL2.bands)


def test_without_the_package_the_message_names_the_extra(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(csmask, "distribution", absent)
    with pytest.raises(InputError, match=r"^ukis-csmask is not installed, .* pip install 'unclouded\[csmask\]'$"):
        CSMASK.probability(np.zeros((13, 3, 3), np.float32), SENTINEL2.bands)


@installed
def test_without_onnxruntime_the_message_names_the_extra(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"^onnxruntime is not installed, .* pip install 'unclouded\[csmask\]'$"):
        CSMASK.probability(np.zeros((13, 3, 3), np.float32), SENTINEL2.bands)


@installed
def test_a_network_of_five_classes_is_refused(forgotten: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    about = {"data": {"classes": 5, "target_size": [256, 256]}}
    (tmp_path / "model_6b_l1c.json").write_text(json.dumps(about))
    monkeypatch.setattr(csmask, "distribution", lambda name: SimpleNamespace(locate_file=lambda file: tmp_path))
    with pytest.raises(InputError, match=r"expected the three classes .* ukis-csmask 1.0.0 in .*model_6b_l1c.onnx"):
        class_probabilities(np.zeros((6, 3, 3), np.float32), BANDS)


@installed
def test_cached_probabilities_belong_to_the_version_of_the_package() -> None:
    assert CSMASK.version == CSMASK_L2A.version == version("ukis-csmask")


@installed
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_the_three_classes_sum_to_one(
    level: Any, one_thread: None, forgotten: None, capfd: pytest.CaptureFixture[str]
) -> None:
    found = class_probabilities(scene(40, 50), BANDS, level)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1
    assert capfd.readouterr() == ("", "")  # a session prints nothing

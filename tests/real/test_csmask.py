"""ukis-csmask against its own package, human labels and s2cloudless; docs/detectors.md says more of its failures."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from unclouded.clouds.csmask import BANDS, CLOUD, CSMASK, SHADOW, class_probabilities
from unclouded.clouds.detectors import shadow_probability
from unclouded.clouds.s2cloudless import s2cloudless_probability
from unclouded.io.raster import Raster, read
from unclouded.sensors import SENTINEL2

pytestmark = pytest.mark.skipif(
    find_spec("ukis_csmask") is None or find_spec("onnxruntime") is None, reason="the extra csmask is not installed"
)
LABEL_SHADOW, LABEL_CLOUD = 0, 4


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)


@pytest.fixture(scope="module")
def labelled(samples: Path) -> Any:
    """Six bands (band, y, x) of about 30 m, and what a person saw (y, x)."""
    with np.load(samples / "cloud_labels" / "sentinel2.npz") as file:
        return np.moveaxis(file["img"], -1, 0).copy(), file["msk"][..., 0]


def iou(found: Any, true: Any) -> float:
    return float(np.count_nonzero(found & true) / np.count_nonzero(found | true))


def image(samples: Path, collection: str, sensor: str, region: int, number: int) -> Raster:
    folder = samples / "sen12mscr" / f"{collection}_{sensor}" / f"{sensor}_{region}"
    return read(folder / f"{collection}_{sensor}_{region}_p{number}.tif", SENTINEL2)


def test_the_labels_agree(labelled: Any) -> None:
    pixels, labels = labelled
    found = class_probabilities(pixels, BANDS)
    assert iou(found[CLOUD] >= 0.5, labels == LABEL_CLOUD) >= 0.75  # 0.768
    assert iou(found[SHADOW] >= 0.5, labels == LABEL_SHADOW) >= 0.69  # 0.712


def test_the_classes_are_those_of_the_package(labelled: Any) -> None:
    from ukis_csmask.mask import CSmask

    pixels = labelled[0][:, :300, :257]
    theirs = CSmask(
        np.moveaxis(pixels, 0, -1).copy(),
        ["blue", "green", "red", "nir", "swir16", "swir22"],
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        providers=["CPUExecutionProvider"],
    )
    np.testing.assert_array_equal(class_probabilities(pixels, BANDS).argmax(axis=0), theirs.csm[..., 0])


def test_lost_pixels_change_little_around_them(labelled: Any) -> None:
    pixels = labelled[0][:, :150, :150]
    whole = class_probabilities(pixels, BANDS).argmax(axis=0)
    lost = np.random.default_rng(0).random(whole.shape) < 0.02
    holed = class_probabilities(np.where(lost, np.float32(np.nan), pixels), BANDS)
    assert np.isnan(holed[:, lost]).all()
    assert np.mean(holed.argmax(axis=0)[~lost] != whole[~lost]) < 0.01


def test_snow_is_not_detected_as_cloud(samples: Path) -> None:
    snow = image(samples, "ROIs1158_spring", "s2", 26, 500)
    assert snow.values[2].mean() > 0.5
    assert CSMASK.probability(snow.values, snow.bands).max() < 0.5


def test_thin_cirrus_is_detected_by_s2cloudless_only(samples: Path) -> None:
    cirrus = image(samples, "ROIs1970_fall", "s2", 136, 280)
    assert np.mean(s2cloudless_probability(cirrus.values, cirrus.bands) >= 0.5) > 0.99
    assert np.mean(CSMASK.probability(cirrus.values, cirrus.bands) >= 0.5) < 0.01


def test_what_is_found_in_shadow_is_darker_than_on_a_clear_day(samples: Path) -> None:
    cloudy, clear = (image(samples, "ROIs1868_summer", sensor, 102, 100) for sensor in ("s2_cloudy", "s2"))
    found = shadow_probability(cloudy.values, cloudy.bands) >= 0.5
    swir = SENTINEL2.bands.index("B11")
    ratio = cloudy.values[swir] / clear.values[swir]
    assert 0.3 < found.mean() < 0.36
    assert np.median(ratio[found]) < 0.6 * np.median(ratio[~found])  # 0.56 against 1.1

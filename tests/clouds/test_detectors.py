from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unclouded.clouds import csmask
from unclouded.clouds import detectors as shadow
from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.csmask import CSMASK
from unclouded.clouds.detectors import (
    CSMASK_L2A_SHADOW,
    CSMASK_SHADOW,
    S2CLOUDLESS,
    S2CLOUDLESS_PACKAGE,
    S2CLOUDLESS_SHADOW,
    find_detector,
    list_detectors,
    shadow_probability,
)
from unclouded.clouds.map import CloudMapSettings, cloud_map
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2


def test_the_list_of_detectors_begins_with_the_papers_and_each_is_found_by_name() -> None:
    assert list_detectors()[:3] == ("s2cloudless", "s2cloudless-package", "csmask")
    assert [find_detector(name).name for name in list_detectors()] == list(list_detectors())


def test_a_detector_is_found_by_its_name() -> None:
    assert find_detector("s2cloudless") is S2CLOUDLESS
    assert find_detector("s2cloudless-package") is S2CLOUDLESS_PACKAGE


def test_the_error_for_a_misspelt_detector_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown cloud detector 's2cloudles'; did you mean 's2cloudless'"):
        find_detector("s2cloudles")


def test_the_error_for_any_other_name_lists_all_detectors() -> None:
    with pytest.raises(
        InputError, match="unknown cloud detector 'zzz'; known are s2cloudless, s2cloudless-package, csmask"
    ):
        find_detector("zzz")


L1C = SENTINEL2.bands

L2A = tuple(band for band in L1C if band != "B10")

IMAGE = np.full((13, 6, 9), 0.1, np.float32)


class AlwaysTheSame:
    """A network that gives every pixel the same probability of clear, cloud and shadow, and counts its tiles."""

    def __init__(self, *probabilities: float) -> None:
        self.logits = np.log(np.array(probabilities, np.float32))[None, :, None, None]
        self.tiles = 0

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        self.tiles += 1
        return [np.broadcast_to(self.logits, (1, 3, *inputs["input"].shape[2:]))]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> AlwaysTheSame:
    """Clear 0.2, cloud 0.45, shadow 0.35."""
    session = AlwaysTheSame(0.2, 0.45, 0.35)
    network = csmask._Network(session, np.zeros((6, 1, 1), np.float32), np.ones((6, 1, 1), np.float32))
    monkeypatch.setattr(csmask, "_network", lambda level: network)
    return session


def test_shadow_alone(session: AlwaysTheSame) -> None:
    np.testing.assert_allclose(shadow_probability(IMAGE, L1C), 0.35, atol=1e-6)
    np.testing.assert_allclose(shadow_probability(np.delete(IMAGE, 10, 0), L2A, "L2A"), 0.35, atol=1e-6)


def test_fault_18_shadow_in_the_product_of_another_level_is_refused() -> None:
    with pytest.raises(InputError, match="csmask-l2a supports L2A products, but the image has B10"):
        shadow_probability(IMAGE, L1C, "L2A")


def test_cloud_or_shadow_is_the_sum_of_exclusive_classes(session: AlwaysTheSame) -> None:
    np.testing.assert_allclose(CSMASK_SHADOW.probability(IMAGE, L1C), 0.8, atol=1e-6)
    np.testing.assert_allclose(CSMASK_L2A_SHADOW.probability(np.delete(IMAGE, 10, 0), L2A), 0.8, atol=1e-6)


def test_the_map_counts_shadow_as_cloud_only_with_a_shadow_detector(session: AlwaysTheSame) -> None:
    assert not cloud_map(IMAGE, L1C, detector=CSMASK).any()  # 0.45 lies below the threshold of 0.5
    np.testing.assert_allclose(cloud_map(IMAGE, L1C, detector=CSMASK_SHADOW), 0.8, atol=1e-6)


def test_the_default_detector_ignores_shadow() -> None:
    assert CloudMapSettings().detector == S2CLOUDLESS.name


def test_s2cloudless_with_shadow_is_the_higher_of_both_probabilities(
    session: AlwaysTheSame, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_paper = np.tile(np.array([0.1, 0.9, np.nan], np.float32), (6, 3))
    monkeypatch.setattr(shadow, "s2cloudless_probability", lambda reflectance, bands: by_paper)
    found = S2CLOUDLESS_SHADOW.probability(IMAGE, L1C)
    np.testing.assert_allclose(found[0, :3], [0.35, 0.9, np.nan], atol=1e-6)


def test_s2cloudless_with_shadow_needs_all_but_two_bands() -> None:
    assert [band for band in L1C if band not in S2CLOUDLESS_SHADOW.bands] == ["B06", "B07"]
    with pytest.raises(InputError, match=r"s2cloudless needs .*, but B10 is missing; L2A has no B10"):
        S2CLOUDLESS_SHADOW.probability(np.delete(IMAGE, 10, 0), L2A)


def test_a_cached_probability_is_not_computed_again(session: AlwaysTheSame, tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path)
    first = cloud_map(IMAGE, L1C, detector=CSMASK_SHADOW, cache=cache)
    np.testing.assert_array_equal(cloud_map(IMAGE, L1C, detector=CSMASK_SHADOW, cache=cache), first)
    assert session.tiles == 1
    cloud_map(IMAGE, L1C, detector=CSMASK, cache=cache)
    assert session.tiles == 2

import pytest

from unclouded.clouds.probability import S2CLOUDLESS, S2CLOUDLESS_PACKAGE, detector
from unclouded.errors import InputError


def test_detectors_are_known_by_name() -> None:
    assert detector("s2cloudless") is S2CLOUDLESS
    assert detector("s2cloudless-package") is S2CLOUDLESS_PACKAGE


def test_a_misspelt_detector_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'s2cloudles' is no cloud detector; did you mean 's2cloudless'"):
        detector("s2cloudles")


def test_another_word_lists_all_detectors() -> None:
    with pytest.raises(
        InputError, match="'zzz' is no cloud detector; known are s2cloudless, s2cloudless-package, csmask"
    ):
        detector("zzz")

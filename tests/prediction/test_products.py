import numpy as np

from unclouded.prediction.products import UNKNOWN_PERCENT, UNKNOWN_STEPS, percent, products_of, steps
from unclouded.scenes.radiometry import Radiometry

MADE = np.array([True, True, True, True, False])


def test_deviations_are_stored_in_steps_and_the_largest_number_is_left_to_what_is_unknown() -> None:
    deviation = np.array([0.0, 0.12344, 9.0, np.nan, 0.1], np.float32)
    assert steps(deviation, MADE).tolist() == [0, 1234, UNKNOWN_STEPS - 1, UNKNOWN_STEPS, UNKNOWN_STEPS]


def test_confidence_is_stored_in_hundredths() -> None:
    assert percent(np.array([0.0, 0.456, 1.7, np.nan, 0.1], np.float32), MADE).tolist() == [
        *(0, 46, 100, UNKNOWN_PERCENT, UNKNOWN_PERCENT)
    ]


def test_products_say_what_their_numbers_mean() -> None:
    radiometry = Radiometry((-1000, 0), "uint16", 0)
    made = {
        one.name: one for one in products_of(("B04", "B10"), radiometry, {"a": "b"}, uncertainty=True, confidence=True)
    }
    assert list(made) == ["clear", "cloud_map", "provenance", "uncertainty", "confidence"]
    clear, spread, sure = (made[name].layer for name in ("clear", "uncertainty", "confidence"))
    assert (clear.bands, clear.scale, clear.offsets, clear.nodata) == (("B04", "B10"), 1e-4, (-0.1, 0.0), 0)
    assert (spread.scale, spread.offsets, spread.nodata) == (1e-4, (), 65_535)  # a deviation has no offset
    assert (sure.scale, sure.nodata, made["provenance"].layer.overviews) == (0.01, 255, "nearest")
    assert made["provenance"].layer.tags == {
        "a": "b",
        "VALUE_0": "no data",
        "VALUE_1": "observed",
        "VALUE_2": "blended",
        "VALUE_3": "synthesised",
        "VALUE_4": "near gap",
        "VALUE_5": "unjudged",
    }
    assert [one.pixel_bytes for one in made.values()] == [4, 4, 1, 4, 1]


def test_without_offset_no_tag_is_written() -> None:
    clear, *others = products_of(("B04",), Radiometry((0,)), {})
    assert clear.layer.offsets == () and [one.name for one in others] == ["cloud_map", "provenance"]

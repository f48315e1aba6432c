import numpy as np

from unclouded.prediction.products import (
    UNKNOWN_PERCENT,
    UNKNOWN_STEPS,
    Provenance,
    causes,
    classify_provenance,
    encode_confidence,
    encode_uncertainty,
    scene_products,
    shares,
)
from unclouded.sentinel.radiometry import Radiometry

PREDICTED = np.array([True, True, True, True, False])


def test_deviations_are_stored_as_integers_and_the_largest_one_means_unknown() -> None:
    deviation = np.array([0.0, 0.12344, 9.0, np.nan, 0.1], np.float32)
    assert encode_uncertainty(deviation, PREDICTED).tolist() == [
        0,
        1234,
        UNKNOWN_STEPS - 1,
        UNKNOWN_STEPS,
        UNKNOWN_STEPS,
    ]


def test_confidence_is_stored_in_hundredths() -> None:
    assert encode_confidence(np.array([0.0, 0.456, 1.7, np.nan, 0.1], np.float32), PREDICTED).tolist() == [
        *(0, 46, 100, UNKNOWN_PERCENT, UNKNOWN_PERCENT)
    ]


def test_products_have_scale_offset_nodata_and_class_names() -> None:
    radiometry = Radiometry((-1000, 0), "uint16", 0)
    made = {
        one.name: one
        for one in scene_products(("B04", "B10"), radiometry, {"a": "b"}, uncertainty=True, confidence=True)
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
        "VALUE_5": "unknown cloud",
        "VALUE_6": "shadow",
        "VALUE_7": "without radar",
        "VALUE_8": "reference",
    }
    assert [one.pixel_bytes for one in made.values()] == [4, 4, 1, 4, 1]


def test_without_offset_no_tag_is_written() -> None:
    clear, *others = scene_products(("B04",), Radiometry((0,)), {})
    assert clear.layer.offsets == () and [one.name for one in others] == ["cloud_map", "provenance"]


YES = np.ones((1, 4), bool)


def test_m_separates_observed_blended_and_synthesised() -> None:
    found = classify_provenance(np.array([[0.0, 1e-9, 0.4999, 0.5]], np.float32), YES, YES, 88)
    assert found.tolist() == [[1, 2, 2, 3]]
    assert found.dtype == np.uint8


def test_cloudy_pixels_without_radar_and_all_pixels_without_optics_have_no_data() -> None:
    cloud_map = np.array([[0.0, 1.0, 0.0, 1.0]], np.float32)
    radar, optical = np.array([[False, False, True, True]]), np.array([[True, True, False, False]])
    assert classify_provenance(cloud_map, optical, radar, 0).tolist() == [[Provenance.OBSERVED, 0, 0, 0]]


def test_a_remover_that_needs_no_radar_predicts_pixels_without_it_under_a_code_of_their_own() -> None:
    m = np.array([[0.0, 1.0, 0.2, 1.0, np.nan]], np.float32)
    radar, optical = np.array([[False, False, False, True, False]]), np.ones((1, 5), bool)
    found = classify_provenance(m, optical, radar, 0, needs_radar=False)
    assert found.tolist() == [[1, Provenance.WITHOUT_RADAR, Provenance.WITHOUT_RADAR, 3, Provenance.UNKNOWN_CLOUD]]


def test_fault_13_pixels_of_unknown_cloud_state_are_predicted_where_radar_has_data() -> None:
    m = np.array([[np.nan, np.nan, 0.0, 1.0, 0.0, np.nan]], np.float32)
    optical = np.array([[True, True, False, False, True, False]])
    radar = np.array([[True, False, True, True, False, True]])
    seen = np.array([[True, True, True, True, True, False]])
    assert classify_provenance(m, optical, radar, 0, seen).tolist() == [[5, 0, 5, 5, 1, 0]]


def test_shares_refer_to_the_whole_scene_and_add_up_to_1() -> None:
    counts = {"no_data": 39, "observed": 40, "blended": 5, "synthesised": 10, "near_gap": 2, "unknown_cloud": 4}
    assert shares(counts) == {"observed": 0.4, "predicted": 0.17, "unknown_cloud": 0.04, "no_data": 0.39}
    losses = {"no_data_optical": 15, "no_data_radar": 24, "no_data_remover": 0, "radar_gaps": 50}
    assert causes(losses, 100) == "cloudy and no radar data 24.0 %, no optical data 15.0 %"
    assert causes({}, 100) == ""


def test_predicted_pixels_within_a_square_around_a_gap_are_flagged() -> None:
    radar = np.ones((7, 9), bool)
    radar[3, 4] = False
    found = classify_provenance(np.ones((7, 9), np.float32), np.ones((7, 9), bool), radar, 2)
    expected = np.full((7, 9), Provenance.SYNTHESISED)
    expected[1:6, 2:7] = Provenance.NEAR_GAP
    expected[3, 4] = Provenance.NO_DATA
    assert np.array_equal(found, expected)


def test_observed_pixels_near_a_gap_are_observed() -> None:
    assert classify_provenance(
        np.zeros((1, 4), np.float32), YES, np.array([[True, False, True, True]]), 3
    ).tolist() == [[1, 1, 1, 1]]

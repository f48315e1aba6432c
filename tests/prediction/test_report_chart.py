from xml.etree import ElementTree

import numpy as np

from unclouded.prediction.report_chart import share_bar, spectra_chart
from unclouded.prediction.views import Spectra


def spectra(*median: float) -> Spectra:
    middle = np.array(median, np.float32)
    return Spectra(middle, middle - np.float32(0.01), middle + np.float32(0.01), 10)


def test_bands_stand_in_the_order_of_wavelength() -> None:
    drawn = ElementTree.fromstring(spectra_chart({"observed": spectra(0.3, 0.1, 0.2)}, ("B11", "B02", "B8A")))
    assert [text.text for text in drawn.iter("text") if text.get("class") == "middle"] == ["B02", "B8A", "B11"]
    assert [text.text for text in drawn.iter("text") if text.get("class") == "tick middle"] == ["490", "865", "1610"]


def test_a_point_stands_as_high_as_its_reflectance() -> None:
    drawn = ElementTree.fromstring(spectra_chart({"observed": spectra(0.0, 0.2)}, ("B02", "B03")))
    low, high = (float(circle.get("cy", "")) for circle in drawn.iter("circle"))
    ticks = {text.text: float(text.get("y", "")) - 4 for text in drawn.iter("text") if text.get("class") == "tick end"}
    assert low == ticks["0"]
    assert abs(high - (ticks["0"] + (ticks["0.3"] - ticks["0"]) * 0.2 / 0.3)) <= 0.1


def test_each_kind_has_a_line_a_range_and_its_own_class() -> None:
    drawn = ElementTree.fromstring(spectra_chart({"observed": spectra(0.1), "synthesised": spectra(0.2)}, ("B02",)))
    assert [line.get("class") for line in drawn.iter("polyline")] == ["line observed", "line synthesised"]
    assert [area.get("class") for area in drawn.iter("polygon")] == ["range observed", "range synthesised"]


def test_a_bar_shows_shares_one_after_the_other() -> None:
    drawn = ElementTree.fromstring(share_bar({"observed": 0.25, "none": 0.75}))
    assert [(rect.get("x"), rect.get("width")) for rect in drawn.iter("rect")] == [
        ("0.00", "250.00"),
        ("250.00", "750.00"),
    ]

import json

from unclouded.patches.screening import Finding, Screening, ScreeningSettings
from unclouded.patches.screening_report import ScreeningReport

HAZE = Finding("haze", "s2", 0.5, 0.05, "50.0% cirrus", (0, 0, 8, 16))
SNOW = Finding("snow", "s2", 1.0, 0.2, "100.0% snow")


def test_patches_are_counted_once_a_check_and_remarks_reject_none() -> None:
    screenings = (Screening("a", (HAZE, HAZE, SNOW)), Screening("b", (SNOW,)), Screening("c", ()))
    report = ScreeningReport(screenings, ScreeningSettings())
    assert report.counts() == {"snow": 2, "haze": 1} and [one.name for one in report.rejected] == ["a"]
    text = report.to_text().splitlines()
    assert text[0] == "3 patches screened, 1 rejected" and text[-1] == "b: snow in s2: 100.0% snow"
    content = json.loads(json.dumps(report.to_json()))
    assert content["findings"][0]["box"] == [0, 0, 8, 16] and content["findings"][0]["rejects"] is True

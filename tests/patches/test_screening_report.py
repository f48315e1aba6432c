import json
from pathlib import Path

from PIL import Image

from unclouded.patches.images import images_of
from unclouded.patches.layouts import find_triplets
from unclouded.patches.screening import Finding, Screening, ScreeningSettings
from unclouded.patches.screening_picture import chosen, write_sheet
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


def test_of_many_findings_six_are_drawn_from_first_to_last() -> None:
    drawn = chosen(Screening(str(number), (SNOW,)) for number in range(101))
    assert [name for name, _ in drawn] == ["0", "20", "40", "60", "80", "100"]
    assert chosen([Screening("a", (Finding("unreadable", "s1", 1.0, 0.0, "cut"),))]) == []


def test_a_sheet_frames_what_was_found(official_root: Path, tmp_path: Path) -> None:
    images = {one.name: one for one in images_of(find_triplets(official_root))}
    name = "ROIs1158_spring_106_p9"
    write_sheet(tmp_path / "sheet.png", [(name, HAZE), (name, Finding("border_noise", "s1", 1, 0, "dark"))], images)
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24) or []}
    assert (0xE4, 0x57, 0x2E) in colours  # the frame

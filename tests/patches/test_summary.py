from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.summary import summary_lines


def row(status: str, *findings: str, season: str = "fall", split: str | None = None) -> dict[str, object]:
    return {"status": status, "findings": list(findings), "season": season, "split": split}


def test_a_manifest_in_a_few_lines() -> None:
    rows = [
        row("kept", "snow:s2", split="train"),
        row("kept", split="test", season="winter"),
        row("kept", split="train", season="winter"),
        row("rejected", "haze:s2", "shift:s1"),
        row("rejected", "no_data:s1", "no_data:s2", "snow:s2"),
        row("rejected", "no_data:s1"),
        row("unreadable", "unreadable:s2"),
        {"status": "set_aside", "findings": None, "season": "fall", "split": "val"},
    ]
    assert summary_lines(rows, ScreeningSettings()) == [
        "  candidates      kept 3, rejected 3, unreadable 1",
        "  rejected by     no_data 2, haze 1, shift 1, unreadable 1",
        "  kept by season  winter 2, fall 1",
        "  kept by part    train 2, test 1",
    ]
    assert "snow 2" in summary_lines(rows, ScreeningSettings(remarks=()))[1]


def test_what_is_not_there_is_not_told() -> None:
    assert summary_lines([row("kept")], ScreeningSettings()) == ["  candidates      kept 1", "  kept by season  fall 1"]
    assert summary_lines([], ScreeningSettings()) == []

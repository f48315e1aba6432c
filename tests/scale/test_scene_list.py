from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.scale.scene_list import read_scene_list


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "scenes.csv"


def test_a_line_is_a_scene_and_an_empty_cell_says_nothing(table: Path) -> None:
    head, first_line = "name,cloudy,sar,align,units,heights_datum", 'T32,"a, b.zip",s3://x/y.SAFE,yes,dB x 100,47.5'
    lines = "\r\n".join([head, first_line, "", "T33,c.zip,d.zip,,,", ""])
    table.write_bytes(b"\xef\xbb\xbf" + lines.encode())  # as spreadsheets save it
    first, second = read_scene_list(table)
    assert (first.name, first.cloudy, first.sar) == ("T32", "a, b.zip", "s3://x/y.SAFE")
    assert (first.align, first.units, first.heights_datum) == (True, "dB x 100", 47.5)
    assert (second.cloudy, second.align, second.units, second.heights) == ("c.zip", None, None, None)


def test_all_mistakes_are_told_at_once(table: Path) -> None:
    table.write_text("name,cloudy,sar,units\n../x,a,b,\nok,a,b,dB\ny,,b,watts\nz,a,b,dB,more\n")
    with pytest.raises(InputError) as told:
        read_scene_list(table)
    text = str(told.value)
    assert "scene 1 is not a valid ListedScene: name: " in text and "found '../x'" in text
    assert "scene 3 is not a valid ListedScene: cloudy is missing; units: " in text
    assert text.endswith("scene 4 has 5 cells, expected 4; quote cells that hold commas")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("name,cloudy,radar\na,b,c\n", "the column 'radar'; expected some of name, cloudy, sar, align"),
        ("name,cloudy,sar,sar\na,b,c,d\n", "the column 'sar'; .* once"),
        ("name,cloudy,sar\n", "lists no scene"),
        ("", "lists no scene"),
        ("name,cloudy,sar\nT32,a,b\nt32,c,d\n", "has t32 twice; give each scene a name of its own"),
        ('name,cloudy,sar\n"a,b,c\n', "is not CSV"),
    ],
)
def test_fault_19_what_is_no_list_is_refused(table: Path, text: str, reason: str) -> None:
    table.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_scene_list(table)


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "a b", "", "ends.", "x" * 101, "Scenes.parquet"])
def test_fault_37_a_name_that_is_no_folder_is_refused(table: Path, name: str) -> None:
    table.write_text(f"name,cloudy,sar\n{name},a,b\n")
    with pytest.raises(InputError, match="scene 1"):
        read_scene_list(table)

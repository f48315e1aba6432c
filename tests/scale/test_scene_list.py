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
    assert "line 2 is not a valid ListedScene: name: " in text and "found '../x'" in text
    assert "line 4 is not a valid ListedScene: cloudy is missing; units: " in text
    assert text.endswith("line 5 has 5 cells, expected 4; quote cells that hold ','")


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "name,cloudy,radar\na,b,c\n",
            "column 'radar' is unknown; did you mean .*known are .*names no column sar .*expected na",
        ),
        ("name,cloudy,sar,ofset\na,b,c,1\n", "the column 'ofset' is unknown; did you mean 'offset'"),
        ("name,cloudy,sar,sar\na,b,c,d\n", "the column 'sar' is there 2 times; leave one"),
        ("name cloudy sar\na b c\n", "names no column name, cloudy, sar .cells are taken as separated by ','"),
        ("name,cloudy,sar\n", "lists no scene"),
        ("", "lists no scene"),
        ("\n \n", "lists no scene"),
        ("name,cloudy,sar\nT32,a,b\n\nt32,c,d\n", "lines 2, 4 have one name, t32; give each scene a name of its own"),
        ('name,cloudy,sar\n"a,b,c\n', "is not CSV"),
        (
            "name,cloudy,sar\na,reference://x,b\n",
            "line 2 .*cloudy: reference://x has the protocol 'reference', expected",
        ),
        ("name,cloudy,sar,heights\na,b,c,s3://x/y\n", "heights: expected a file on disk, found the address s3://x/y"),
        ("name,cloudy,sar,detector\na,b,c,s2cloudles\n", "detector: .*'s2cloudless'"),
        ("name,cloudy,sar,offset\na,b,c,-1e9\n", "line 2 .*offset: "),
    ],
)
def test_fault_19_what_is_no_list_is_refused(table: Path, text: str, reason: str) -> None:
    table.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_scene_list(table)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_option_of_a_scene_has_a_column_whatever_separates_them(table: Path, separator: str) -> None:
    cells = {"Name": "a", "cloudy": "b", "sar": "c", "offset": "-1000", "resampling": "bilinear", "tile": "T32TQM"}
    cells |= {"heights-datum": "47.5", "clouds": "binary", "detector": "csmask", "cloud_map": "m.tif", "align": "true"}
    table.write_text(f"{separator.join(cells)}\n{separator.join(cells.values())}\n")
    (scene,) = read_scene_list(table)
    assert scene.options() == {
        "optical": {"offset": -1000, "resampling": "bilinear", "tile": "T32TQM"},
        "radar": {"align": True, "heights_datum_m": 47.5},
        "clouds": {"mode": "binary", "detector": "csmask"},
    }
    assert scene.cloud_map == Path("m.tif")


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "a b", "", "ends.", "x" * 101, "Scenes.parquet"])
def test_fault_37_a_name_that_is_no_folder_is_refused(table: Path, name: str) -> None:
    table.write_text(f"name,cloudy,sar\n{name},a,b\n")
    with pytest.raises(InputError, match="line 2"):
        read_scene_list(table)

import os
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.files import require_file, require_folder
from unclouded.formats import format_of, found_clause
from unclouded.io.geotiff import open_geotiff

STARTS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 or netCDF 4 file",
    b"CDF\x01\0\0": "a netCDF file",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff\xe0": "a JPEG image",
    b"RIFF\0\0\0\0WEBPVP8 ": "a WebP image",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
    b"%PDF-1.7": "a PDF document",
    b"\x1f\x8b\x08": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    bytes(257) + b"ustar\0": "a tar archive",
    b"PAR1": "a Parquet file",
    b"\x80\x04\x95": "a pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x10\0\0\0\0\0\0\0{}": "a safetensors file",
    b"<!DOCTYPE html><html>": "an HTML page",
    b"\n<html lang='en'>": "an HTML page",
    b'<?xml version="1.0"?>\n<Dimap_Document name="x">': "a DIMAP file of SNAP",
    b"<VRTDataset>": "a VRT",
    b"<?xml version='1.0'?><a/>": "an XML file",
    b'{"a": 1}': "a JSON file",
    b"version https://git-lfs.github.com/spec/v1\n": "a pointer of Git LFS",
    b"\xff\xfen\0a\0": "a text in UTF-16",
    "name,straße\n".encode(): "a text file",
    b"": "an empty file",
}


@pytest.mark.parametrize("start", STARTS, ids=STARTS.values())
def test_a_file_is_named_by_its_first_bytes_and_refused_as_geotiff(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(start)
    found = format_of(path)
    assert found is not None and found.name == STARTS[start]
    with pytest.raises(InputError) as refused, open_geotiff(path):
        pass
    assert start == b"" or f"is not a whole GeoTIFF (it is {found.name}); " in str(refused.value)


@pytest.mark.parametrize("start", [b"\0" * 20, b"\x01\x02\x03", b"ab\xff\xf0"])
def test_other_bytes_are_not_recognised(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start)
    assert format_of(tmp_path / "a") is None and found_clause(tmp_path / "a") == ""


def test_a_text_truncated_within_a_character_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a" + "ß" * 5000, encoding="utf-8")
    assert found_clause(tmp_path / "a.csv") == " (it is a text file)"


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ((), "an empty folder"),
        ((".zgroup",), "a Zarr store"),
        (("zarr.json", "B01"), "a Zarr store"),
        (("scene.dim",), "a DIMAP folder of SNAP"),
        (("weights.safetensors", "settings.toml"), "the folder of a training; give its weights.safetensors"),
        (("a.tif",), "a folder"),
    ],
)
def test_a_folder_is_recognised_by_its_contents(tmp_path: Path, made: tuple[str, ...], name: str) -> None:
    for file in made:
        (tmp_path / file).touch()
    with pytest.raises(InputError) as refused:
        require_file(tmp_path)
    assert f"is not a file (it is {name}" in str(refused.value)


def test_pipes_addresses_and_missing_paths_are_recognised(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert found_clause(tmp_path / "pipe") == " (it is a pipe, a socket or a device; give a file)"
    assert found_clause(tmp_path / "absent") == ""
    for address in ("https://a.b/c.tif", "s3://bucket/x"):
        for require in (require_file, require_folder):
            with pytest.raises(InputError, match="it is an address; fetch it first"):
                require(Path(address))


def test_a_file_of_one_byte_has_no_format(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80")
    assert format_of(tmp_path / "a") is None

import hashlib
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from products.manifest import write_manifest, zip_product


@pytest.mark.parametrize(("algorithm", "function"), [("MD5", hashlib.md5), ("SHA3-256", hashlib.sha3_256)])
def test_every_file_is_listed_with_size_and_checksum(tmp_path: Path, algorithm: str, function: object) -> None:
    folder = tmp_path / "A.SAFE"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.xml").write_bytes(b"content")
    write_manifest(folder, "test", algorithm)
    root = ElementTree.parse(folder / "manifest.safe").getroot()
    assert [stream.get("size") for stream in root.iter("byteStream")] == ["7"]
    assert [place.get("href") for place in root.iter("fileLocation")] == ["./sub/a.xml"]
    (checksum,) = root.iter("checksum")
    assert checksum.get("checksumName") == algorithm and checksum.text == function(b"content").hexdigest()


def test_the_zip_holds_the_folder_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "A.SAFE").mkdir()
    (tmp_path / "A.SAFE" / "a.xml").write_bytes(b"1")
    with zipfile.ZipFile(zip_product(tmp_path / "A.SAFE", tmp_path / "a.zip")) as archive:
        assert archive.read("A.SAFE/a.xml") == b"1"

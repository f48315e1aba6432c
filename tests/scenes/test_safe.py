import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.scenes.safe import ProductFolder, looks_like_product, open_product, product_of
from unclouded.simulation.manifest import write_manifest, zip_product


@contextmanager
def opened(path: Path, tmp_path: Path) -> Iterator[ProductFolder]:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    with open_product(path, work) as product:
        yield product


def make(tmp_path: Path, algorithm: str = "MD5", **files: bytes) -> Path:
    folder = tmp_path / "A.SAFE"
    folder.mkdir()
    for name, content in (files or {"MTD_MSIL1C.xml": b"<a/>"}).items():
        (folder / name).write_bytes(content)
    write_manifest(folder, "test", algorithm)
    return folder


def refused(path: Path, tmp_path: Path, name: str = "MTD_MSIL1C.xml") -> str:
    with pytest.raises(InputError) as error, opened(path, tmp_path) as product:
        product.checked(name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA3-256"])
def test_a_file_is_given_when_its_checksum_agrees(tmp_path: Path, algorithm: str) -> None:
    folder = make(tmp_path, algorithm)
    with opened(folder, tmp_path) as product:
        assert product.checked("MTD_MSIL1C.xml").read_bytes() == b"<a/>"
        entry = (product.listed or {})["MTD_MSIL1C.xml"]
    name = algorithm.lower().replace("-", "_")
    assert (entry.size, entry.checksum) == (4, hashlib.new(name, b"<a/>").hexdigest())


@pytest.mark.parametrize("way", ["folder", "manifest.safe", "MTD_MSIL1C.xml", "zip"])
def test_a_product_is_opened_in_every_way(tmp_path: Path, way: str) -> None:
    folder = make(tmp_path)
    path = {"folder": folder, "zip": tmp_path / "a.zip"}.get(way, folder / way)
    zip_product(folder, tmp_path / "a.zip")
    assert looks_like_product(path)
    with opened(path, tmp_path) as product:
        assert product.path == path and product.names("*.xml") == ["MTD_MSIL1C.xml"]
        assert product.checked("MTD_MSIL1C.xml").read_bytes() == b"<a/>"


def test_a_manifest_stands_for_its_folder_and_a_place_without_name_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path)
    monkeypatch.chdir(folder)
    for path in (folder, folder / "manifest.safe", folder / "MTD_MSIL1C.xml", Path("manifest.safe"), Path()):
        assert product_of(path) == folder
    assert product_of(tmp_path / "absent.xml") == tmp_path / "absent.xml"


def test_a_geotiff_is_no_product(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    assert not looks_like_product(tmp_path / "a.tif") and not looks_like_product(tmp_path / "absent")


def test_fault_06_a_changed_byte_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "MTD_MSIL1C.xml").write_bytes(b"<b/>")
    assert "MTD_MSIL1C.xml has another checksum than its manifest says; fetch it again" in refused(folder, tmp_path)


def test_fault_06_a_cut_file_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "MTD_MSIL1C.xml").write_bytes(b"<a/")
    assert "has 3 bytes, not the 4 of its manifest" in refused(folder, tmp_path)


def test_fault_06_a_file_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "MTD_TL.xml").write_bytes(b"<a/>")
    assert "MTD_TL.xml is not in the manifest" in refused(folder, tmp_path, "MTD_TL.xml")


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "MTD_MSIL1C.xml").unlink()
    assert "A.SAFE lacks MTD_MSIL1C.xml, which it lists; fetch the product again" in refused(folder, tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".", "", "a/../../secret", "x" * 5_000, "a\0b"])
def test_fault_27_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    message = refused(make(tmp_path), tmp_path, name)
    assert "outside its folder; do not trust it" in message or "which it lists" in message


@pytest.mark.parametrize("place", ["../../secret", "/etc/passwd", "./../secret"])
def test_fault_27_a_manifest_that_points_outside_is_refused(tmp_path: Path, place: str) -> None:
    folder = make(tmp_path)
    manifest = folder / "manifest.safe"
    manifest.write_text(manifest.read_text().replace("./MTD_MSIL1C.xml", place))
    assert f"refers to '{place}', outside its folder; do not trust it" in refused(folder, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_fault_27_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "secret").write_bytes(b"<a/>")
    (folder / "MTD_MSIL1C.xml").unlink()
    (folder / "MTD_MSIL1C.xml").symlink_to(tmp_path / "secret")
    assert "outside its folder; do not trust it" in refused(folder, tmp_path)


def test_a_checksum_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    manifest = folder / "manifest.safe"
    manifest.write_text(manifest.read_text().replace("MD5", "CRC"))
    assert "has checksums by 'CRC', expected MD5 or SHA3-256" in refused(folder, tmp_path)


def test_two_products_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("A", "B"):
            archive.writestr(f"{name}.SAFE/manifest.safe", "<a/>")
    assert "holds 2 products, expected one" in refused(tmp_path / "a.zip", tmp_path)


def test_fault_19_nothing_is_no_product(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder; check the path"), opened(tmp_path / "x" / "a.xml", tmp_path):
        pass

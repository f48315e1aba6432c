import hashlib
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from products.manifest import write_manifest, zip_product

from unclouded.errors import InputError, MachineError
from unclouded.sentinel import safe as archive
from unclouded.sentinel.safe import (
    ProductFolder,
    ProductZip,
    SafeProduct,
    is_zip,
    kind_of,
    open_product,
    product_at,
    require_product,
    unpack,
)


@contextmanager
def opened(path: Path, tmp_path: Path) -> Iterator[ProductFolder]:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    with open_product(product_at(path) or ProductZip(path), work) as product:
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
    with opened(path, tmp_path) as product:
        assert product.path == (path if way == "zip" else folder) and product.names("*.xml") == ["MTD_MSIL1C.xml"]
        assert product.checked("MTD_MSIL1C.xml").read_bytes() == b"<a/>"


def test_a_manifest_stands_for_its_folder_and_a_place_without_name_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path)
    monkeypatch.chdir(folder)
    for path in (folder, folder / "manifest.safe", folder / "MTD_MSIL1C.xml", Path("manifest.safe"), Path()):
        assert product_at(path) == SafeProduct(folder)
    assert product_at(tmp_path / "absent.xml") is None


def test_a_geotiff_is_no_product(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    assert product_at(tmp_path / "a.tif") is None and product_at(tmp_path / "absent") is None


def test_fault_06_a_changed_byte_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "MTD_MSIL1C.xml").write_bytes(b"<b/>")
    assert "MTD_MSIL1C.xml has another checksum than in its manifest; fetch it again" in refused(folder, tmp_path)


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


def test_an_unknown_checksum_algorithm_is_refused(tmp_path: Path) -> None:
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
    with pytest.raises(InputError, match=r"a\.xml is not a product; give the folder or the zip of one"):
        require_product(tmp_path / "x" / "a.xml")


EVERYTHING = re.compile(r".*")


def archive_make(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def archive_refused(path: Path, into: Path) -> str:
    into.mkdir(exist_ok=True)
    with pytest.raises((InputError, MachineError)) as error:
        unpack(path, into, EVERYTHING)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_only_selected_members_are_unpacked(tmp_path: Path) -> None:
    path = archive_make(tmp_path / "a.zip", ("p/b.jp2", b"12"), ("p/c.txt", b"3"), ("p/d/e.jp2", b""))
    (tmp_path / "out").mkdir()
    unpack(path, tmp_path / "out", re.compile(r".*\.jp2"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")} == {"b.jp2": b"12", "e.jp2": b""}


def test_a_zip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"II*\0")
    assert is_zip(archive_make(tmp_path / "a.tif", ("x", b"1"))) and not is_zip(tmp_path / "b.zip")


@settings(max_examples=60)
@given(data=st.data())
def test_fault_07_a_cut_zip_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = archive_make(tmp_path / "whole.zip", ("p/a", bytes(range(256)) * 9), ("p/b", b"2" * 99)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: data.draw(st.integers(4, len(whole) - 1))])
    assert "cut.zip is not a whole zip (" in archive_refused(tmp_path / "cut.zip", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_fault_07_a_changed_byte_is_refused(tmp_path: Path, method: int) -> None:
    content = bytearray(
        archive_make(tmp_path / "a.zip", ("p/a", zlib.compress(bytes(9_999)) * 9), method=method).read_bytes()
    )
    content[60] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip (" in archive_refused(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@given(data=st.data())
@settings(max_examples=40)
def test_fault_07_a_zip_with_other_bytes_gives_what_it_held_or_a_refusal(
    tmp_path: Path, method: int, data: st.DataObject
) -> None:
    held = {"p/a": bytes(range(256)) * 3, "p/b": b"2" * 99}
    whole = archive_make(tmp_path / "a.zip", *held.items(), method=method).read_bytes()
    place = data.draw(st.integers(4, len(whole) - 1))
    other = data.draw(st.sampled_from([b"\xff", b"\0", b"\xff" * 8, b"\0" * 4, b"../", b"PK\x01\x02", b""]))
    (tmp_path / "a.zip").write_bytes(whole[:place] + other + whole[place + len(other) :])
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        with suppress(InputError):
            unpack(tmp_path / "a.zip", Path(folder), EVERYTHING)
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert all(held["p/a"].startswith(one) or held["p/b"].startswith(one) for one in map(Path.read_bytes, found))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_fault_07_damage_is_named_whatever_the_method(tmp_path: Path, method: int) -> None:
    content = bytearray(archive_make(tmp_path / "a.zip", ("p/a", bytes(range(256)) * 9), method=method).read_bytes())
    content[60:90] = b"\xff" * 30
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip (" in archive_refused(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["p/" + "a" * 256, "p/" + "é" * 128, "p/\x1b[31m", "p/\n"])
def test_fault_37_names_that_no_file_system_takes_are_refused(tmp_path: Path, name: str) -> None:
    path = archive_make(tmp_path / "a.zip", (name, b"1"))
    assert "a name that no product has" in archive_refused(path, tmp_path / "out")


def test_fault_21_a_directory_larger_than_any_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_make(tmp_path / "a.zip", *((f"p/{number}", b"") for number in range(30)))
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 1000)
    assert "has a directory of 1,490 bytes" in archive_refused(path, tmp_path / "out")


def test_fault_21_what_unfolds_too_far_is_refused(tmp_path: Path) -> None:
    path = archive_make(tmp_path / "a.zip", ("p/a.jp2", bytes(9 << 20)))
    assert " bytes to 9,437,184: a decompression bomb" in archive_refused(path, tmp_path / "out")


def test_fault_21_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive_make(tmp_path / "a.zip", ("p/a", b"12345"), ("p/b", b"12345"))
    monkeypatch.setattr(archive, "MAX_BYTES", 9)
    assert "decompresses to 10 bytes, expected at most 9" in archive_refused(path, tmp_path / "out")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    assert "holds 2 files, expected at most 1" in archive_refused(path, tmp_path / "out")


def test_fault_21_a_member_larger_than_it_declares_is_refused(tmp_path: Path) -> None:
    content = archive_make(tmp_path / "a.zip", ("p/a", b"7" * 5_000)).read_bytes()
    declared = (5_000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content.replace(declared, (50).to_bytes(4, "little")))
    assert "a.zip" in archive_refused(tmp_path / "a.zip", tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 50


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../a", "p/../../a", "/etc/a", "p/..", "C:/a", "p\\..\\a", link("p/a")], ids=lambda n: str(n)[:20]
)
def test_fault_22_names_that_lead_out_are_refused(tmp_path: Path, name: str | zipfile.ZipInfo) -> None:
    path = archive_make(tmp_path / "a.zip", ("p/first", b"1"), (name, b"2"))
    assert "a path outside of the archive; do not trust it" in archive_refused(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_fault_22_a_name_twice_is_refused(tmp_path: Path) -> None:
    assert "holds a name twice" in archive_refused(
        archive_make(tmp_path / "a.zip", ("p/a", b"1"), ("p/a", b"2")), tmp_path / "out"
    )


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    path = archive_make(tmp_path / "a.zip", ("p", b"1"), ("p/a", b"2"))
    assert "a.zip holds 'p' as a file and as a folder" in archive_refused(path, tmp_path / "out")


def test_a_protected_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(archive_make(tmp_path / "a.zip", ("p/a", b"1")).read_bytes())
    content[6] |= 1  # local header
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a whole zip" in archive_refused(tmp_path / "a.zip", tmp_path / "out")


def test_fault_19_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = archive_make(tmp_path / "a.zip", ("holiday.jpg", b"1"))
    with pytest.raises(InputError, match="holds no Sentinel product; give the zip that Copernicus delivers"):
        unpack(path, tmp_path, re.compile("manifest.safe"))


def test_fault_32_a_full_disk_is_reported_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[], None]
) -> None:
    full_disk()
    assert "has 0 MiB free, expected 1 MiB to unpack" in archive_refused(
        archive_make(tmp_path / "a.zip", ("p/a", b"1")), tmp_path / "out"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (
            "annotation/s1a-iw-grd-vv-20210119t031653-20210119t031718-036201-043ed0-001.xml",
            "a Sentinel-1 IW GRD product",
        ),
        ("annotation/s1b-iw-slc-vh-x.xml", "a Sentinel-1 IW SLC product"),
        ("annotation/s1a-ew-grd-hh-x.xml", "a Sentinel-1 EW GRD product"),
        ("MTD_MSIL1C.xml", "a Sentinel-2 Level-1C product"),
        ("MTD_MSIL2A.xml", "a Sentinel-2 Level-2A product"),
        ("S2A_OPER_MTD_SAFL1C_PDMC_20160101T000000.xml", "a Sentinel-2 Level-1C product"),
        ("LC08_L1TP_191031_20210908_20210916_02_T1_MTL.txt", "a Landsat product"),
        ("metadata.xml", "a granule without its product, whose offset is unknown"),
        ("S2A.SAFE/manifest.safe", "a folder that holds S2A.SAFE, not a product itself"),
        ("holiday.jpg", "a folder without a product"),
        ("", "an empty folder"),
    ],
)
def test_fault_18_products_have_names(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "work").mkdir()
    folder = tmp_path / "a"
    folder.mkdir()
    if name:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with open_product(SafeProduct(folder), tmp_path / "work") as product:
        assert kind_of(product) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ((".zgroup",), "a Zarr store (export the bands as GeoTIFF)"),
        (("a.dim",), "a DIMAP folder of SNAP (export it from SNAP as GeoTIFF)"),
        (("a.tif", "b.tif"), "a folder of 2 GeoTIFFs not named after its bands (give one file)"),
        (("T32TQM_B02.jp2",), "a folder of JPEG 2000 images without their product (give the whole product)"),
        (("notes.txt",), "a folder without a product"),
        ((), "an empty folder"),
    ],
)
def test_folders_that_are_no_products_are_named(tmp_path: Path, files: tuple[str, ...], kind: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert kind_of(ProductFolder(tmp_path, tmp_path, None)) == kind

import gzip
import io
import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.patches import archives as archives_module
from unclouded.patches.archives import Archive, archives, extract
from unclouded.patches.roi import Roi

CLOUDY = Archive("ROIs2017_winter", "s2_cloudy")


def test_there_are_twelve_archives_and_they_hold_what_was_published() -> None:
    assert len(archives()) == 12 and len({one.file_name for one in archives()}) == 12
    assert {one.collection: one.patches for one in archives()} == {
        "ROIs1158_spring": 29_117,
        "ROIs1868_summer": 33_827,
        "ROIs1970_fall": 40_941,
        "ROIs2017_winter": 18_333,
    }
    assert CLOUDY.file_name == "ROIs2017_winter_s2_cloudy.tar.gz"
    assert CLOUDY.extracted_bytes == 18_333 * (13 * 2 * 256 * 256 + 8192)


def test_seasons_and_sensors_are_chosen_in_their_own_order() -> None:
    chosen = archives(("winter", "spring"), ("s2_cloudy", "s1"))
    assert [one.folder for one in chosen] == [
        "ROIs1158_spring_s1",
        "ROIs1158_spring_s2_cloudy",
        "ROIs2017_winter_s1",
        "ROIs2017_winter_s2_cloudy",
    ]
    with pytest.raises(InputError, match="autumn is none of spring, summer, fall, winter; choose among them"):
        archives(("autumn",))
    with pytest.raises(InputError, match="s3 is none of s1, s2, s2_cloudy"):
        archives(sensors=("s3",))


@pytest.mark.parametrize("start", ["ROIs2017_winter_s2_cloudy/", "./ROIs2017_winter_s2_cloudy/", "./", ""])
def test_the_place_of_a_patch_does_not_depend_on_leading_folders(start: str) -> None:
    member = f"{start}s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif"
    assert CLOUDY.place(member) == "ROIs2017_winter_s2_cloudy/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif"


@pytest.mark.parametrize(
    "member",
    [
        "s2_cloudy_8/ROIs2017_winter_s2_8_p30.tif",  # of another sensor
        "s2_cloudy_8/ROIs1970_fall_s2_cloudy_8_p30.tif",  # of another collection
        "s2_cloudy_80/ROIs2017_winter_s2_cloudy_8_p30.tif",  # in the folder of another region
        "s2_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "ROIs1970_fall_s2_cloudy/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p030.tif",  # two names of one patch
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif.exe",
        "s2_cloudy_8/../s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif\n",
        "readme.txt",
    ],
)
def test_fault_22_any_other_member_has_no_place(member: str) -> None:
    assert CLOUDY.place(member) is None


SPRING_S1 = Archive("ROIs1158_spring", "s1")

GOOD = "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p30.tif"


def packed(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    """A gzipped tar of members; a name stands for a plain file."""
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            member = tarfile.TarInfo(info) if isinstance(info, str) else info
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("prefix", ["ROIs1158_spring_s1/", "./ROIs1158_spring_s1/", ""])
def test_patches_are_extracted_into_the_official_layout(tmp_path: Path, prefix: str) -> None:
    file = packed(tmp_path / "a.tar.gz", (f"{prefix}s1_1/ROIs1158_spring_s1_1_p30.tif", b"pixels"))
    done = extract(SPRING_S1, file, tmp_path / "root")
    assert (done.patches, done.bytes, done.unexpected_files) == (1, 6, ())
    assert (tmp_path / "root" / GOOD).read_bytes() == b"pixels"


@pytest.mark.parametrize(
    "member",
    [
        "../../escaped.tif",
        "/tmp/escaped.tif",
        "ROIs1158_spring_s1/../../escaped.tif",
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_2_p30.tif",  # a patch of another region
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s2_1_p30.tif",  # of another sensor
        "ROIs1868_summer_s1/s1_1/ROIs1868_summer_s1_1_p30.tif",  # of another season
        "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p030.tif",
        "ROIs1158_spring_s1/s1_1/readme.txt",
        special(GOOD, tarfile.SYMTYPE, "/etc/passwd"),
        special(GOOD, tarfile.LNKTYPE, "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p31.tif"),
        special(GOOD, tarfile.CHRTYPE),
        special(GOOD, tarfile.FIFOTYPE),
    ],
)
def test_fault_22_members_that_are_not_patches_are_not_extracted(tmp_path: Path, member: tarfile.TarInfo | str) -> None:
    other = "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p31.tif"
    file = packed(tmp_path / "a.tar.gz", (other, b"good"), (member, b""))
    before = files_below(tmp_path)
    done = extract(SPRING_S1, file, tmp_path / "root")
    assert done.patches == 1 and len(done.unexpected_files) == 1
    assert files_below(tmp_path) == sorted([*before, f"root/{other}"])
    assert not os.path.lexists(tmp_path / "root" / GOOD)


def test_fault_22_a_repeated_name_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", (GOOD, b"one"), (GOOD, b"two"))
    with pytest.raises(InputError, match=r"ROIs1158_spring_s1_1_p30\.tif twice; it was not extracted"):
        extract(SPRING_S1, file, tmp_path / "root")
    assert files_below(tmp_path / "root") == []


def test_fault_21_a_patch_too_large_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", (GOOD, bytes(SPRING_S1.largest_patch + 1)))
    with pytest.raises(InputError, match=r"more than patches can be .*532,481 bytes"):
        extract(SPRING_S1, file, tmp_path / "root")


@pytest.mark.parametrize("where", ["an unexpected file", "after the end", "a header"])
def test_fault_21_a_decompression_bomb_is_refused_before_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(archives_module, "SLACK_BYTES", 1 << 20)
    monkeypatch.setattr(Archive, "largest_patch", 1000)
    bomb = bytes(40 << 20)  # the 29,508 patches allowed for would take 29.5 MB
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in ((GOOD, b"good"), *([("bomb.bin", bomb)] if where == "an unexpected file" else [])):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if where == "a header":
                member.pax_headers = {"comment": "0" * len(bomb)}
            tar.addfile(member, io.BytesIO(content))
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(plain.getvalue() + (bomb if where == "after the end" else b""), 1))
    with pytest.raises(InputError, match="holds far more than its patches can be"):
        extract(SPRING_S1, file, tmp_path / "root")
    assert files_below(tmp_path / "root") == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_fault_02_no_patch_of_a_truncated_archive_appears(tmp_path: Path, share: float) -> None:
    content = os.urandom(5000)
    file = packed(tmp_path / "a.tar.gz", *((GOOD.replace("p30", f"p{i}"), content) for i in range(5)))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"fetch it again|holds no patch"):
        extract(SPRING_S1, file, tmp_path / "root")
    assert files_below(tmp_path / "root") == []


def test_a_flipped_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    content = os.urandom(5000)
    file = packed(tmp_path / "a.tar.gz", (GOOD, content))
    damaged = bytearray(file.read_bytes())
    damaged[3000] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(InputError, match="is damaged"):
        extract(SPRING_S1, file, tmp_path / "root")
    assert files_below(tmp_path / "root") == []


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", ("readme.txt", b"hello"))
    with pytest.raises(InputError, match=r"holds no patch of ROIs1158_spring_s1, found readme.txt"):
        extract(SPRING_S1, file, tmp_path / "root")


def test_the_twelve_archives_hold_what_was_published() -> None:
    assert len(archives()) == 12
    assert archives()[0].file_name == "ROIs1158_spring_s1.tar.gz"
    assert sum(archive.patches for archive in archives()) == 3 * 122_218
    assert [archive.patches for archive in archives(sensors=("s1",))] == [29_117, 33_827, 40_941, 18_333]
    with pytest.raises(InputError, match="autumn is none of spring, summer, fall, winter"):
        archives(seasons=("autumn",))


def pax_records(**records: str | bytes) -> bytes:
    """Records of an extended header as POSIX has them: length, keyword and value."""
    content = b""
    for key, value in records.items():
        rest = (
            b" "
            + key.replace("__", ".").encode()
            + b"="
            + (value if isinstance(value, bytes) else value.encode())
            + b"\n"
        )
        length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
        content += str(length).encode() + rest
    return content


def with_header(records: bytes, kind: bytes = tarfile.XHDTYPE, times: int = 1) -> bytes:
    """A tar of a patch below an extended header."""
    member = tarfile.TarInfo(GOOD)
    member.size = 4
    header = special("pax", kind)
    header.size = len(records)
    padded = records.ljust(-(-len(records) // 512) * 512, b"\0")
    above = (header.tobuf(tarfile.USTAR_FORMAT) + padded) * times
    return above + member.tobuf(tarfile.USTAR_FORMAT) + b"good".ljust(512, b"\0") + bytes(1024)


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "content",
    [
        with_header(pax_records(GNU__sparse__map="a,b")),
        with_header(pax_records(GNU__sparse__map="")),
        with_header(pax_records(GNU__sparse__map=DIGITS)),
        with_header(pax_records(GNU__sparse__major="1", GNU__sparse__minor="0")),
        with_header(pax_records(GNU__sparse__size="x")),
        with_header(pax_records(GNU__sparse__realsize="-1", GNU__sparse__map="0,1")),
        with_header(pax_records(size=DIGITS)),
        with_header(pax_records(size="-4")),
        with_header(pax_records(size="99999999999999")),
        with_header(pax_records(hdrcharset=b"\xff\xfe")),
        with_header(pax_records(path=b"\xff\0\xfe")),
        with_header(pax_records(path=GOOD + "\0.tif")),
        with_header(DIGITS.encode() + b" path=x\n"),
        with_header(b"0 path=x\n"),
        with_header(pax_records(mtime="nan", uid="inf")),
        with_header(pax_records(comment="x"), times=2000),
        with_header(pax_records(GNU__sparse__map=DIGITS), kind=tarfile.XGLTYPE),
    ],
    ids=range(17),
)
def test_fault_22_extended_headers_may_hold_anything(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(content, 1))
    try:
        done = extract(SPRING_S1, file, tmp_path / "root")
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 600  # noqa: PT017
        assert files_below(tmp_path / "root") == []
    else:
        assert done.patches == 1 and files_below(tmp_path / "root") == [GOOD]


SOUND = with_header(pax_records(path=GOOD, mtime="1.5", GNU__sparse__map="0,4", GNU__sparse__size="4", size="4"))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1025), st.binary(min_size=1, max_size=12)), max_size=4),
    st.sampled_from([tarfile.XHDTYPE, tarfile.XGLTYPE, b"S", b"L", b"K"]),
)
def test_fault_22_damaged_headers_are_read_or_refused(changes: list[tuple[int, bytes]], kind: bytes) -> None:
    content = bytearray(SOUND)
    content[156:157] = kind
    for place, piece in changes:
        content[place : place + len(piece)] = piece
    for start in (0, 1024):  # right checksums, so that what they protect is read
        header = content[start : start + 512]
        header[148:156] = b" " * 8
        content[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    with tempfile.TemporaryDirectory() as folder, suppress(InputError):
        file = Path(folder, "a.tar.gz")
        file.write_bytes(gzip.compress(bytes(content), 1))
        extract(SPRING_S1, file, Path(folder, "root"))
        assert files_below(Path(folder, "root")) == [GOOD]


def test_fault_21_an_endless_list_of_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives_module, "OTHER_MEMBERS", 10)
    monkeypatch.setattr(Archive, "patches", 0)
    file = packed(tmp_path / "a.tar.gz", *((f"{index}.txt", b"") for index in range(200)))
    with pytest.raises(InputError, match="holds far more than its patches can be"):
        extract(SPRING_S1, file, tmp_path / "root")


def test_patches_are_counted_by_region(tmp_path: Path) -> None:
    names = (GOOD, GOOD.replace("p30", "p31"), "ROIs1158_spring_s1/s1_106/ROIs1158_spring_s1_106_p30.tif")
    done = extract(SPRING_S1, packed(tmp_path / "a.tar.gz", *((name, b"x") for name in names)), tmp_path / "root")
    assert done.by_region == {Roi("ROIs1158", "spring", 1): 2, Roi("ROIs1158", "spring", 106): 1}

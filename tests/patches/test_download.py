import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.errors import InputError, MachineError
from unclouded.patches import download as extraction
from unclouded.patches.download import Archive, archives, extract, fetch, incomplete, plan, read_checksums
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi

WINTER = archives(seasons=("winter",))


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough of it, whatever disk the tests run on."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 40}))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Three archives of one triplet; the files are no images."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for archive in WINTER:
        name = f"{archive.folder}/{archive.sensor}_22/{archive.folder}_22_p30.tif"
        with tarfile.open(folder / archive.file_name, "w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.size = 6
            tar.addfile(member, io.BytesIO(b"pixels"))
    return folder


def test_a_mirror_becomes_a_data_set(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert fetch(WINTER, str(mirror), root) == 3
    inventory = find_triplets(root)
    assert [str(files.patch) for files in inventory.triplets] == ["ROIs2017_winter_22_p30"]
    assert inventory.unexpected_files == ()
    assert len(list(mirror.iterdir())) == 3  # a mirror keeps what it has


def test_what_is_there_is_not_fetched_again(mirror: Path, tmp_path: Path) -> None:
    fetch(WINTER[:1], str(mirror), tmp_path / "root")
    (mirror / WINTER[0].file_name).unlink()
    assert fetch(WINTER, str(mirror), tmp_path / "root") == 2
    assert plan(WINTER, str(mirror), tmp_path / "root").left == ()


def test_a_missing_archive_is_named(mirror: Path, tmp_path: Path) -> None:
    (mirror / WINTER[1].file_name).unlink()
    with pytest.raises(InputError, match=r"ROIs2017_winter_s2.tar.gz is not a file"):
        fetch(WINTER, str(mirror), tmp_path / "root")


def test_checksums_decide(mirror: Path, tmp_path: Path) -> None:
    listed = tmp_path / "sums.txt"
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in mirror.iterdir()}
    listed.write_text("".join(f"{digest}  ./{name}\n" for name, digest in digests.items()))
    assert read_checksums(listed) == digests
    wrong = digests | {WINTER[0].file_name: "0" * 64}
    with pytest.raises(InputError, match=f"expected {'0' * 64}; fetch again"):
        fetch(WINTER, str(mirror), tmp_path / "root", checksums=wrong)
    listed.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1: 'nonsense'; expected a SHA-256 and a file name"):
        read_checksums(listed)


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://host/data/", "https://host/data/ROIs2017_winter_s1.tar.gz"),
        ("https://host/get?path=/&files=", "https://host/get?path=/&files=ROIs2017_winter_s1.tar.gz"),
    ],
)
def test_expectation_1_a_download_that_turns_out_damaged_is_fetched_anew(
    origin: str, address: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (mirror / WINTER[0].file_name).read_bytes()
    contents, asked = [whole[:-4] + b"????", whole], []

    def download(address: str, target: Path, *_: object) -> None:
        asked.append(address)
        target.write_bytes(contents.pop(0))

    monkeypatch.setattr("unclouded.patches.download.download", download)
    monkeypatch.setattr("unclouded.patches.download._size", lambda *_: len(whole))
    with pytest.raises(InputError, match=r"ROIs2017_winter_s1.tar.gz is damaged .*; fetch it again"):
        fetch(WINTER[:1], origin, tmp_path / "root")
    assert not [*(tmp_path / "root").rglob("*.tif"), *(tmp_path / "root").rglob("*.gz")]
    assert fetch(WINTER[:1], origin, tmp_path / "root") == 1 and asked == [address, address]


def test_a_damaged_archive_of_a_mirror_stays_where_it_is(mirror: Path, tmp_path: Path) -> None:
    path = mirror / WINTER[0].file_name
    path.write_bytes(path.read_bytes()[:-4] + b"????")
    with pytest.raises(InputError, match="is damaged"):
        fetch(WINTER[:1], str(mirror), tmp_path / "root")
    assert path.is_file()


def test_the_plan_tells_the_disk_need_of_the_whole_set(mirror: Path, tmp_path: Path) -> None:
    whole = plan(archives(), str(mirror), tmp_path / "root")
    assert whole.extracted_bytes == 122_218 * (2 * 4 + 2 * 13 * 2) * 256 * 256 + 3 * 122_218 * 8192
    assert 480e9 < whole.extracted_bytes < 485e9  # published: 482 GB
    assert whole.download_bytes is None  # nine archives are not on this mirror


def test_expectation_2_too_small_a_disk_is_refused_before_the_start(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 << 30}))
    with pytest.raises(MachineError, match=r"has 5.0 GiB free, expected .* GiB; choose another disk"):
        fetch(WINTER, str(mirror), tmp_path / "root")


@pytest.mark.parametrize("origin", ["/nowhere", "ftp://host/x", "file:///etc"])
def test_an_origin_is_a_folder_or_a_web_address(tmp_path: Path, origin: str) -> None:
    with pytest.raises(InputError, match="folder"):
        fetch(WINTER, origin, tmp_path / "root")


def test_an_archive_with_fewer_patches_than_published_is_named(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert incomplete(WINTER, root) == []
    fetch(WINTER[:1], str(mirror), root)
    (sentence,) = incomplete(WINTER, root)
    assert sentence.startswith("ROIs2017_winter_s1 has 1 of 18,333 patches as published: ROIs2017_winter_")
    assert "(0 of " in sentence and sentence.endswith(" more lack patches")
    (note,) = (root / ".fetched").iterdir()
    assert json.loads(note.read_text())["regions_found_and_published"]["ROIs2017_winter_22"][0] == 1
    note.write_text("[")
    with pytest.raises(InputError, match=r"is not JSON .*; delete it to fetch the archive again"):
        incomplete(WINTER, root)


def test_a_whole_archive_is_not_remarked_on(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "published", lambda _: {Roi("ROIs2017", "winter", 22): 1})
    fetch(WINTER, str(mirror), tmp_path / "root")
    assert incomplete(WINTER, tmp_path / "root") == []


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
def test_a_patch_has_its_place_whatever_stands_before_it(start: str) -> None:
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
def test_fault_22_everything_else_has_no_place(member: str) -> None:
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
def test_patches_come_to_their_places(tmp_path: Path, prefix: str) -> None:
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
def test_fault_22_what_is_no_patch_of_the_archive_stays_inside(tmp_path: Path, member: tarfile.TarInfo | str) -> None:
    other = "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p31.tif"
    file = packed(tmp_path / "a.tar.gz", (other, b"good"), (member, b""))
    before = files_below(tmp_path)
    done = extract(SPRING_S1, file, tmp_path / "root")
    assert done.patches == 1 and len(done.unexpected_files) == 1
    assert files_below(tmp_path) == sorted([*before, f"root/{other}"])
    assert not os.path.lexists(tmp_path / "root" / GOOD)


def test_fault_22_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", (GOOD, b"one"), (GOOD, b"two"))
    with pytest.raises(InputError, match=r"ROIs1158_spring_s1_1_p30\.tif twice; it was not extracted"):
        extract(SPRING_S1, file, tmp_path / "root")
    assert files_below(tmp_path / "root") == []


def test_fault_21_a_patch_too_large_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", (GOOD, bytes(SPRING_S1.largest_patch + 1)))
    with pytest.raises(InputError, match=r"more than patches can be .*532,481 bytes"):
        extract(SPRING_S1, file, tmp_path / "root")


@pytest.mark.parametrize("where", ["a stranger", "after the end", "a header"])
def test_fault_21_a_bomb_is_left_before_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(extraction, "SLACK_BYTES", 1 << 20)
    monkeypatch.setattr(Archive, "largest_patch", 1000)
    bomb = bytes(40 << 20)  # the 29,508 patches allowed for would take 29.5 MB
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in ((GOOD, b"good"), *([("bomb.bin", bomb)] if where == "a stranger" else [])):
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
def test_fault_02_of_an_archive_cut_short_no_patch_appears(tmp_path: Path, share: float) -> None:
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


def test_fault_21_members_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "OTHER_MEMBERS", 10)
    monkeypatch.setattr(Archive, "patches", 0)
    file = packed(tmp_path / "a.tar.gz", *((f"{index}.txt", b"") for index in range(200)))
    with pytest.raises(InputError, match="holds far more than its patches can be"):
        extract(SPRING_S1, file, tmp_path / "root")


def test_patches_are_counted_by_region(tmp_path: Path) -> None:
    names = (GOOD, GOOD.replace("p30", "p31"), "ROIs1158_spring_s1/s1_106/ROIs1158_spring_s1_106_p30.tif")
    done = extract(SPRING_S1, packed(tmp_path / "a.tar.gz", *((name, b"x") for name in names)), tmp_path / "root")
    assert done.by_region == {Roi("ROIs1158", "spring", 1): 2, Roi("ROIs1158", "spring", 106): 1}

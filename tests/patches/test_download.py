import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from unclouded.errors import InputError, MachineError
from unclouded.patches.archives import Archive, archives
from unclouded.patches.download import fetch, incomplete, plan, read_checksums
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi

WINTER = archives(seasons=("winter",))


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report 1 TiB of free disk space, independent of the disk that the tests run on."""
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


def test_extracted_archives_are_not_fetched_again(mirror: Path, tmp_path: Path) -> None:
    fetch(WINTER[:1], str(mirror), tmp_path / "root")
    (mirror / WINTER[0].file_name).unlink()
    assert fetch(WINTER, str(mirror), tmp_path / "root") == 2
    assert plan(WINTER, str(mirror), tmp_path / "root").left == ()


def test_a_missing_archive_is_named(mirror: Path, tmp_path: Path) -> None:
    (mirror / WINTER[1].file_name).unlink()
    with pytest.raises(InputError, match=r"ROIs2017_winter_s2.tar.gz is not a file"):
        fetch(WINTER, str(mirror), tmp_path / "root")


def test_an_archive_with_another_checksum_is_refused(mirror: Path, tmp_path: Path) -> None:
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
def test_expectation_1_a_damaged_download_is_fetched_again(
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


def test_a_damaged_archive_of_a_mirror_is_not_deleted(mirror: Path, tmp_path: Path) -> None:
    path = mirror / WINTER[0].file_name
    path.write_bytes(path.read_bytes()[:-4] + b"????")
    with pytest.raises(InputError, match="is damaged"):
        fetch(WINTER[:1], str(mirror), tmp_path / "root")
    assert path.is_file()


def test_the_plan_gives_the_disk_space_of_the_whole_data_set(mirror: Path, tmp_path: Path) -> None:
    whole = plan(archives(), str(mirror), tmp_path / "root")
    assert whole.extracted_bytes == 122_218 * (2 * 4 + 2 * 13 * 2) * 256 * 256 + 3 * 122_218 * 8192
    assert 480e9 < whole.extracted_bytes < 485e9  # published: 482 GB
    assert whole.download_bytes is None  # nine archives are not on this mirror


def test_expectation_2_a_disk_that_is_too_small_is_refused_before_the_download(
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
    (record,) = (root / ".fetched").iterdir()
    assert json.loads(record.read_text())["regions_found_and_published"]["ROIs2017_winter_22"][0] == 1
    record.write_text("[")
    with pytest.raises(InputError, match=r"is not JSON .*; delete it to fetch the archive again"):
        incomplete(WINTER, root)


def test_a_complete_archive_causes_no_warning(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "published", lambda _: {Roi("ROIs2017", "winter", 22): 1})
    fetch(WINTER, str(mirror), tmp_path / "root")
    assert incomplete(WINTER, tmp_path / "root") == []


@pytest.mark.parametrize("origin", ["ftp://host/folder", "rsync://host/folder", "host::folder"])
def test_other_protocols_are_handed_over_to_other_programs(tmp_path: Path, origin: str) -> None:
    with pytest.raises(InputError, match=r"copy its archives into a folder with curl or rsync, .* docs/full-size\.md"):
        plan(archives(), origin, tmp_path)


def test_some_regions_of_an_archive_are_extracted_and_the_others_later(tmp_path: Path) -> None:
    folder, root, sensor = tmp_path / "mirror", tmp_path / "root", "s1"
    folder.mkdir()
    with tarfile.open(folder / "ROIs2017_winter_s1.tar.gz", "w:gz") as tar:
        for number in (22, 112):
            member = tarfile.TarInfo(f"ROIs2017_winter_s1/s1_{number}/ROIs2017_winter_s1_{number}_p30.tif")
            member.size = 6
            tar.addfile(member, io.BytesIO(b"pixels"))

    def fetched(*numbers: int) -> list[str]:
        regions = frozenset(Roi("ROIs2017", "winter", number) for number in numbers)
        selected = archives(("winter",), (sensor,), regions)
        fetch(selected, str(folder), root)
        assert plan(selected, str(folder), root).left == ()
        return sorted(path.parent.name for path in root.glob("*/*/*.tif"))

    assert fetched(112) == ["s1_112"]
    assert fetched(22) == ["s1_112", "s1_22"]
    assert (
        plan(archives(("winter",), (sensor,), frozenset({Roi("ROIs2017", "winter", 112)})), str(folder), root).left
        == ()
    )
    assert len(plan(archives(("winter",), (sensor,)), str(folder), root).left) == 1  # a part is not the whole
    assert fetched() == ["s1_112", "s1_22"]
    (line,) = incomplete(archives(("winter",), (sensor,)), root)
    assert line.startswith("ROIs2017_winter_s1 has 2 of ")


def test_regions_are_checked_before_anything_is_fetched() -> None:
    one = Roi("ROIs2017", "winter", 112)
    assert [archive.folder for archive in archives(regions=frozenset({one}))] == [
        f"ROIs2017_winter_{sensor}" for sensor in ("s1", "s2", "s2_cloudy")
    ]
    with pytest.raises(InputError, match="SEN12MS-CR has no region ROIs2017_winter_9999; its first one is"):
        archives(regions=frozenset({Roi("ROIs2017", "winter", 9999)}))
    with pytest.raises(InputError, match="ROIs2017_winter_112 is not of the season spring; leave the season out"):
        archives(("spring",), regions=frozenset({one}))

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from unclouded.clouds.cache import ProbabilityCache, default_folder
from unclouded.clouds.detector import Detector
from unclouded.errors import InputError, MachineError

ENTRY = 128 + 4 * 4 * 4 + 32  # npy header, 4 x 4 px of float32, SHA-256


class Counting:
    """A detector that returns the blue band and counts its calls."""

    def __init__(self, name: str = "blue", version: str = "1") -> None:
        self.calls = 0
        self.detector = Detector(name, version, ("B02",), self._answer)

    def _answer(self, reflectance: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
        self.calls += 1
        return reflectance[0].copy()


def image(value: float) -> np.ndarray:
    return np.full((1, 4, 4), value, np.float32)


def test_the_second_call_reads_the_same_probability_from_disk(tmp_path: Path) -> None:
    blue = Counting()
    scene = np.random.default_rng(1).random((1, 4, 4), np.float32)
    scene[0, 0, 0] = np.nan
    for cache in (ProbabilityCache(tmp_path), ProbabilityCache(tmp_path)):
        np.testing.assert_array_equal(cache.probability(scene, ("B02",), blue.detector), scene[0])
    assert blue.calls == 1


def test_other_pixels_shapes_detectors_and_versions_have_separate_entries(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path)
    changed = image(0.5)
    changed[0, 3, 3] = np.nextafter(np.float32(0.5), np.float32(1))
    questions = [
        (image(0.5), Counting()),
        (changed, Counting()),
        (image(0.5).reshape(1, 2, 8), Counting()),
        (image(0.5), Counting(name="green")),
        (image(0.5), Counting(version="2")),
    ]
    for scene, counting in questions:
        cache.probability(scene, ("B02",), counting.detector)
        assert counting.calls == 1


def test_bands_that_the_detector_does_not_read_do_not_change_the_key(tmp_path: Path) -> None:
    blue, cache = Counting(), ProbabilityCache(tmp_path)
    cache.probability(np.concatenate([image(0.1), image(0.5)]), ("B11", "B02"), blue.detector)
    cache.probability(np.concatenate([image(0.5), image(0.9)]), ("B02", "B11"), blue.detector)
    assert blue.calls == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    blue, cache = Counting(), ProbabilityCache(tmp_path)
    cache.probability(image(0.5), ("B02",), blue.detector)
    (entry,) = cache.folder.rglob("*.npy")
    content = bytearray(entry.read_bytes())
    content[140] ^= 1
    damaged = {"flipped": bytes(content), "cut": content[:100], "empty": b"", "foreign": b"no array" * 20}
    entry.write_bytes(damaged[damage])
    for _ in range(2):
        np.testing.assert_array_equal(cache.probability(image(0.5), ("B02",), blue.detector), image(0.5)[0])
    assert blue.calls == 2


def test_an_entry_is_a_plain_numpy_file(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path)
    cache.probability(image(0.5), ("B02",), Counting().detector)
    (entry,) = cache.folder.rglob("*.npy")
    np.testing.assert_array_equal(np.load(entry, allow_pickle=False), image(0.5)[0])


def test_size_counts_the_bytes_and_clear_deletes_all_entries(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path)
    assert cache.size() == 0
    for value in (0.1, 0.2, 0.3):
        cache.probability(image(value), ("B02",), Counting().detector)
    assert cache.size() == 3 * ENTRY
    assert cache.clear() == 3
    assert cache.size() == 0


def test_the_least_recently_used_entries_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path, limit_bytes=3 * ENTRY)
    for age, value in enumerate((0.1, 0.2, 0.3)):
        cache.probability(image(value), ("B02",), Counting().detector)
        newest = max(cache.folder.rglob("*.npy"), key=lambda entry: entry.stat().st_mtime_ns)
        os.utime(newest, ns=(age, age))
    cache.probability(image(0.1), ("B02",), Counting().detector)  # now the one used last
    cache.probability(image(0.4), ("B02",), Counting().detector)
    assert cache.size() <= 3 * ENTRY
    oldest, used = Counting(), Counting()
    cache.probability(image(0.1), ("B02",), used.detector)
    cache.probability(image(0.2), ("B02",), oldest.detector)
    assert (used.calls, oldest.calls) == (0, 1)


def test_entries_of_other_processes_count_towards_the_limit(tmp_path: Path) -> None:
    for value in (0.1, 0.2, 0.3, 0.4):
        ProbabilityCache(tmp_path, limit_bytes=2 * ENTRY).probability(image(value), ("B02",), Counting().detector)
    assert ProbabilityCache(tmp_path).size() <= 2 * ENTRY


def test_a_probability_larger_than_the_limit_is_returned_but_not_stored(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path, limit_bytes=10)
    np.testing.assert_array_equal(cache.probability(image(0.5), ("B02",), Counting().detector), image(0.5)[0])
    assert cache.size() == 0


def test_fault_34_many_writers_of_one_entry_leave_one_whole_entry(tmp_path: Path) -> None:
    def ask(_: int) -> float:
        return float(ProbabilityCache(tmp_path).probability(image(0.5), ("B02",), Counting().detector).sum())

    with ThreadPoolExecutor(8) as writers:
        assert set(writers.map(ask, range(64))) == {8.0}
    assert [entry.stat().st_size for entry in tmp_path.rglob("*") if entry.is_file()] == [ENTRY]


def test_fault_32_a_full_disk_is_reported_and_leaves_no_partial_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache = ProbabilityCache(tmp_path)
    with pytest.raises(MachineError, match=r"No space left on device.*UNCLOUDED_CACHE names another folder"):
        cache.probability(image(0.5), ("B02",), Counting().detector)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_fault_33_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cloud-probability").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot be written"):
        ProbabilityCache(tmp_path).probability(image(0.5), ("B02",), Counting().detector)


def test_fault_01_partial_files_of_killed_writers_are_deleted_but_not_those_in_progress(tmp_path: Path) -> None:
    cache = ProbabilityCache(tmp_path)
    cache.probability(image(0.5), ("B02",), Counting().detector)
    (entry,) = cache.folder.rglob("*.npy")
    left, growing = entry.with_name(".a.1-0.partial.npy"), entry.with_name(".b.2-0.partial.npy")
    for partial in (left, growing):
        partial.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert cache.size() == ENTRY + 4
    assert cache.clear() == 2
    assert list(cache.folder.rglob("*.npy")) == [growing]


def test_the_default_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "chosen"))
    assert default_folder() == tmp_path / "chosen"
    monkeypatch.delenv("UNCLOUDED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "unclouded"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home" / ".cache" / "unclouded"


def test_a_missing_band_is_refused_before_the_lookup(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="blue needs B02, but B02 is missing"):
        ProbabilityCache(tmp_path).probability(image(0.5), ("B03",), Counting().detector)

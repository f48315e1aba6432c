from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import SCHEMA, ManifestRow
from unclouded.patches.manifest_rows import describe_patch
from unclouded.patches.reading import images_of
from unclouded.patches.screening import ScreeningSettings
from unclouded.patches.verification import count_lines, published_counts, unlisted, verify_rows


@pytest.fixture
def rows(official_root: Path) -> list[ManifestRow]:
    found = images_of(find_triplets(official_root))
    described = [describe_patch(official_root, images, ScreeningSettings(), coverage=False) for images in found]
    return [dict.fromkeys(SCHEMA.names) | row for row in described]


def test_an_unchanged_data_set_agrees_with_its_manifest(official_root: Path, rows: list[ManifestRow]) -> None:
    assert verify_rows(official_root, rows) == []
    assert unlisted(official_root, rows, images_of(find_triplets(official_root))) == []
    assert rows[0]["crs"] == "EPSG:32652" and rows[0]["geometry"]["type"] == "Polygon"
    assert rows[0]["status"] == "rejected" and rows[0]["reason"].startswith("constant in s1: one and the same value")


def test_fault_42_every_flipped_byte_is_found(official_root: Path, rows: list[ManifestRow]) -> None:
    rng = np.random.default_rng(3)
    for token in ("s1", "s2", "s2_cloudy"):
        path = official_root / rows[1][token]
        content = path.read_bytes()
        for place in [0, len(content) - 1, *rng.integers(0, len(content), 40)]:
            path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.integers(8))]) + content[place + 1 :])
            (fault,) = verify_rows(official_root, rows[1:2])
            assert str(fault) == f"{rows[1][token]}: changed: SHA-256 differs from the manifest"
        path.write_bytes(content)
    assert verify_rows(official_root, rows[1:2]) == []


def test_truncated_missing_and_new_files_are_listed(
    official_root: Path, rows: list[ManifestRow], official_names: Callable[..., list[str]]
) -> None:
    cut, absent = (official_root / rows[0][token] for token in ("s1", "s2"))
    cut.write_bytes(cut.read_bytes()[:-1])
    absent.unlink()
    reasons = [fault.reason for fault in verify_rows(official_root, rows[:1])]
    assert reasons[0].startswith("changed: ") and reasons[0].endswith("in the manifest")
    assert reasons[1] == "absent or unreadable (No such file or directory)"
    found = images_of(find_triplets(official_root))
    assert [fault.file for fault in unlisted(official_root, rows[:1], found)] == official_names(rows[1]["patch"])


def test_triplets_are_counted_against_the_published_ones(official_root: Path) -> None:
    found = images_of(find_triplets(official_root))
    (count,) = published_counts(found)
    assert (str(count.roi), count.found, count.published) == ("ROIs1158_spring_106", 2, 784)
    assert count_lines([count]) == [
        "  spring     1 regions        2 of 784 published triplets",
        "  ROIs1158_spring_106: 2 of 784",
    ]
    everywhere = published_counts(found, everywhere=True)
    assert len(everywhere) == 175 and sum(one.published for one in everywhere) == 122_218

from collections.abc import Callable
from pathlib import Path

from unclouded.patches.images import images_of
from unclouded.patches.layouts import find_triplets


def test_incomplete_patches_come_with_what_they_have_in_natural_order(
    tmp_path: Path, touch: Callable[..., Path], official_names: Callable[..., list[str]]
) -> None:
    clear_only, whole = "ROIs1158_spring_1_p9", "ROIs1158_spring_1_p10"
    root = touch(tmp_path, *official_names(whole), *official_names(clear_only, ("s2",)))
    first, second = images_of(find_triplets(root))
    assert (first.name, first.lacks, list(first.paths)) == (clear_only, ("s1", "s2_cloudy"), ["s2"])
    assert first.paths["s2"].is_file() and first.patch and first.patch.number == 9
    assert second.name == whole and second.lacks == () and set(second.paths) == {"s1", "s2", "s2_cloudy"}


def test_the_clear_image_of_the_flat_layout_has_either_spelling(tmp_path: Path, touch: Callable[..., Path]) -> None:
    root = touch(tmp_path, "s1/a.tif", "s2_cloudFree/a.tif", "s2_cloudFree/b.tif", "s2_cloudy/c.tif")
    found = {images.name: images for images in images_of(find_triplets(root))}
    assert found["a"].lacks == ("s2_cloudy",) and found["a"].paths["s2"] == root / "s2_cloudFree/a.tif"
    assert list(found["b"].paths) == ["s2"] and list(found["c"].paths) == ["s2_cloudy"]
    assert all(path.is_file() for images in found.values() for path in images.paths.values())

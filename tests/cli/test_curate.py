"""Three regions of two candidates each, two whole and one damaged, curated in every way there is."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from odc.geo.geobox import GeoBox

from unclouded.files import sha256
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.patches.manifest import read_manifest
from unclouded.sensors import SENTINEL1, SENTINEL2

OPTICAL = GeoBox.from_bbox((0, 0, 3840, 2560), "EPSG:32632", resolution=10)
RADAR = GeoBox.from_bbox((-105, -105, 3945, 2655), "EPSG:32632", resolution=10)
"""Half a pixel off, so that the radar is warped, in a folder for that."""


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings; the radar of the last region ends too early."""
    folder, rng, settings = tmp_path_factory.mktemp("regions"), np.random.default_rng(1), ["coverage = false"]
    settings += ["[screening]", "shift_px = 100.0"]  # noise has no shift
    for number in (1, 2, 3):
        names = {key: f"{key}_{number}.tif" for key in ("radar", "clear", "cloudy")}
        radar = rng.normal(-12, 2, (2, *RADAR.shape)).astype(np.float32)
        write_geotiff(folder / names["radar"], radar, SENTINEL1.bands, RADAR)
        for key in ("clear", "cloudy"):
            values = rng.integers(15, 90, (13, *OPTICAL.shape)).astype(np.uint16)
            write_geotiff(folder / names[key], values, SENTINEL2.bands, OPTICAL)
        settings += ["[[regions]]", f'roi = "ROIs0001_fall_{number}"', *(f'{key} = "{names[key]}"' for key in names)]
    path = folder / "radar_3.tif"
    path.write_bytes(path.read_bytes()[:-5000])
    (folder / "regions.toml").write_text("\n".join(settings))
    return folder / "regions.toml"


@pytest.fixture(scope="module")
def undisturbed(regions: Path, tmp_path_factory: pytest.TempPathFactory, unclouded: Callable[..., int]) -> Path:
    """The data set, created by one undisturbed process."""
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    assert unclouded("curate", regions, root) == 1
    return root


def content(root: Path) -> dict[str, str]:
    """Return the hashes of all files of a data set, its manifest among them, and of nothing else."""
    files = (path for path in root.rglob("*") if path.is_file() and ".curation" not in path.parts)
    return {path.relative_to(root).as_posix(): sha256(path) for path in files}


def leftovers(root: Path) -> list[Path]:
    return [*root.rglob("*.partial*"), *root.glob(".curation/work/*")]


def test_every_candidate_and_every_region_has_a_status_and_a_reason(
    undisturbed: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    *rows, lost = read_manifest(undisturbed / "manifest.parquet")
    assert [row["patch"] for row in rows] == [f"ROIs0001_fall_{n}_p{p}" for n in (1, 2) for p in (1, 2)]
    assert {(row["status"], row["reason"]) for row in rows} == {("kept", None)}
    assert (lost["patch"], lost["status"], lost["roi"]) == (None, "failed", "ROIs0001_fall_3")
    assert lost["reason"].startswith("radar_3.tif is not a whole GeoTIFF") and lost["s1_product"] == "radar_3.tif"
    assert len(content(undisturbed)) == 13 and not leftovers(undisturbed)  # the manifest, and three files a patch
    assert unclouded("data", "check", undisturbed) == 0
    printed = capsys.readouterr().out
    assert "4 patches hashed" in printed
    assert "1 regions failed\n  ROIs0001_fall_3: radar_3.tif is not a whole GeoTIFF" in printed


def test_the_last_of_two_shards_writes_the_manifest_and_reports_failed_regions(
    regions: Path,
    undisturbed: Path,
    tmp_path: Path,
    unclouded: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("curate", regions, tmp_path)
    assert unclouded(*command, "--shard", "2/2") == 0
    assert "2 of 3 regions are left to other shards" in capsys.readouterr().out
    assert unclouded(*command, "--shard", "1/2") == 1
    printed = capsys.readouterr()
    assert "4 of 4 candidates kept, 1 of 3 regions failed, SHA-256 " in printed.out
    assert "ROIs0001_fall_3 failed: radar_3.tif is not a whole GeoTIFF" in printed.err
    assert content(tmp_path) == content(undisturbed) and not leftovers(tmp_path)
    assert unclouded(*command, "--shard", "3/2") == 2
    assert "from 1/n to n/n, found 3/2" in capsys.readouterr().err


def test_a_plan_shows_the_progress_and_changes_nothing(
    regions: Path, undisturbed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    assert unclouded("curate", regions, root, "--plan") == 0 and not root.exists()
    assert "3 regions: 0 done, 0 failed, 3 pending" in capsys.readouterr().out
    assert unclouded("curate", regions, undisturbed, "--plan") == 0
    assert "3 regions: 2 done, 1 failed, 0 pending\nat most  0.0 GiB" in capsys.readouterr().out
    (regions.parent / "absent.toml").write_text(regions.read_text().replace("cloudy_2.tif", "absent.tif"))
    assert unclouded("curate", regions.parent / "absent.toml", root, "--plan") == 1
    assert "1 without products\n  ROIs0001_fall_2: absent.tif not found" in capsys.readouterr().out


STRICT = ("--set", "screening.remarks=[]", "--set", "screening.open_water=0.25")  # noise is half water


def test_a_changed_threshold_or_part_changes_the_manifest_and_no_image(
    regions: Path, undisturbed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed, root)
    images = {name: digest for name, digest in content(root).items() if name.endswith(".tif")}
    assert unclouded("curate", regions, root, *STRICT) == 1
    assert "candidates      rejected 4" in capsys.readouterr().out
    assert content(root).items() >= images.items()
    *rows, _ = read_manifest(root / "manifest.parquet")
    assert all(re.fullmatch(r"open_water in s2: .*% open water", row["reason"]) for row in rows)
    assert find_triplets(root).withdrawn == tuple(row["patch"] for row in rows) and not find_triplets(root).triplets
    assert unclouded("curate", regions, root) == 1
    assert content(root) == content(undisturbed)


def test_a_looser_threshold_cuts_the_regions_again_that_gain_patches(
    regions: Path, undisturbed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    assert unclouded("curate", regions, root, *STRICT) == 1
    assert list(content(root)) == ["manifest.parquet"]
    capsys.readouterr()
    assert unclouded("curate", regions, root, "--plan") == 0
    assert "3 regions: 0 done, 1 failed, 2 pending" in capsys.readouterr().out
    assert unclouded("curate", regions, root) == 1
    assert content(root) == content(undisturbed)


def test_shards_without_a_common_folder_are_merged_to_the_bytes_of_a_single_run(
    regions: Path, undisturbed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, merged = (tmp_path / name for name in ("first", "second", "merged"))
    assert unclouded("curate", regions, first, "--shard", "1/2") == 1  # the damaged region is in it
    assert unclouded("data", "merge", first, "--out", merged) == 2
    assert "shards 2 of 2 are missing; let them end, or name their folders" in capsys.readouterr().err
    assert unclouded("curate", regions, second, "--shard", "2/2", "--upload-to", "memory://shards") == 0
    assert unclouded("data", "merge", first, "memory://shards", "--out", merged) == 1
    assert content(merged) == content(undisturbed) and not leftovers(merged)
    assert unclouded("curate", regions, merged) == 1  # nothing is done again
    assert content(merged) == content(undisturbed)
    image = next(first.glob("ROIs*/*/*.tif"))
    image.write_bytes(image.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert unclouded("data", "merge", first, "memory://shards", "--out", tmp_path / "other") == 2
    assert f"{image.name} differs from its checksum" in capsys.readouterr().err


def test_shards_in_one_storage_get_the_manifest_of_a_single_run(
    regions: Path, undisturbed: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        storage = ("--upload-to", "memory://one")
        assert unclouded("curate", regions, tmp_path / str(number), "--shard", f"{number}/2", *storage) == 2 - number
    assert unclouded("data", "merge", "memory://one") == 1
    fs = MemoryFileSystem()
    found = {name.removeprefix("/one/"): hashlib.sha256(fs.cat_file(name)).hexdigest() for name in fs.find("/one")}
    assert {name: digest for name, digest in found.items() if not name.startswith(".")} == content(undisturbed)
    fs.rm_file(next(name for name in fs.find("/one") if name.endswith(".tif")))
    capsys.readouterr()
    assert unclouded("data", "merge", "memory://one") == 2
    assert "memory://one lacks ROIs0001_fall_s" in capsys.readouterr().err


def test_processes_make_the_same_bytes(
    regions: Path,
    undisturbed: Path,
    tmp_path: Path,
    unclouded: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the command would set it for good
    assert unclouded("curate", regions, tmp_path, "--processes=2") == 1
    assert content(tmp_path) == content(undisturbed) and not leftovers(tmp_path)


def test_dask_makes_the_same_bytes(regions: Path, undisturbed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unclouded", "curate", regions, tmp_path, "--dask=local", "--processes=2"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert content(tmp_path) == content(undisturbed) and not leftovers(tmp_path)


def test_remarks_on_images_are_logged_once_and_stand_in_the_manifest(
    regions: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    half = read_stored(regions.parent / "radar_1.tif")
    write_geotiff(tmp_path / "half.tif", half.values[:, :, :300], SENTINEL1.bands, half.geobox[:, :300])
    two, _, _ = regions.read_text().partition('[[regions]]\nroi = "ROIs0001_fall_3')
    (regions.parent / "half.toml").write_text(re.sub(r"radar_[12]\.tif", str(tmp_path / "half.tif"), two))
    assert unclouded("curate", regions.parent / "half.toml", tmp_path / "root") == 0
    remark = "s1: the radar covers 75.3% of the optical scene"  # (300 - 10.5) of 384 columns
    assert capsys.readouterr().err.count("covers") == 1
    rows = read_manifest(tmp_path / "root" / "manifest.parquet")
    assert [(row["status"], row["remarks"]) for row in rows] == [("kept", [remark]), ("rejected", [remark])] * 2


def test_fault_02_killed_again_and_again_the_manifest_and_the_files_are_the_same(
    regions: Path,
    undisturbed: Path,
    tmp_path: Path,
    unclouded: Callable[..., int],
    killed_at_files: Callable[..., None],
) -> None:
    arguments = ["curate", str(regions), str(tmp_path), "--attempts", "9"]
    killed_at_files(
        "import sys\n"
        "import unclouded.curation.region_task\n"
        "from unclouded.cli.main import run\n"
        "from unclouded.io.geotiff import read_stored\n"
        f"root, sys.argv[1:] = Path({str(tmp_path)!r}), {arguments}",
        "run()",
        'assert all(read_stored(path).values.all() for path in root.glob("ROI*/*/R*.tif"))'  # whole, or not there
        ' and not (root / "manifest.parquet").exists()',
        *(4, 10, 9),  # of the first region, of the second one, and all but the manifest
    )
    assert len(list(tmp_path.glob("ROI*/*/R*.tif"))) == 12 and leftovers(tmp_path)
    assert unclouded(*arguments) == 1
    assert content(tmp_path) == content(undisturbed) and not leftovers(tmp_path)


def test_fault_35_two_curators_of_overlapping_lists_make_one_data_set(
    regions: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    head, one, two, _ = regions.read_text().split("[[regions]]")
    four = one.replace("fall_1", "fall_4")
    for name, listed in (("a", [one, two]), ("b", [two, four]), ("both", [one, two, four])):
        (regions.parent / f"{name}.toml").write_text("[[regions]]".join([head, *listed]))
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    command = [sys.executable, "-m", "unclouded", "curate", regions.parent / "a.toml", shared]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as other:
        while other.poll() is None and not any(shared.glob(".curation/work/*")):
            time.sleep(0.002)
        assert unclouded("curate", regions.parent / "b.toml", shared) == 0
        printed = other.communicate()[1].decode()
    assert other.returncode == 0, printed
    assert unclouded("curate", regions.parent / "both.toml", alone) == 0
    assert content(shared) == content(alone) and not leftovers(shared)


def test_commands_have_the_same_results_for_patches_and_scenes(
    regions: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    _, one, *_ = regions.read_text().split("[[regions]]")
    settings = regions.parent / "one.toml"
    settings.write_text(f'coverage = false\ncolumns = 256\nscreening.shift_px = 100.0\n[[regions]]{one}split = "val"\n')
    for store in ("patches", "scenes"):
        root, out = tmp_path / store, tmp_path / f"{store}_out"
        for command in (
            ("curate", settings, root, "--set", f"store={store}"),
            ("data", "check", root),
            ("evaluate", "clear-mean", root, "--split", "val", "--out", out / "scores.json"),
            ("predict-patches", "clear-mean", root, "--out", out / "predicted"),
            ("data", "pack", root, out / "packed", "--split", "val"),
        ):
            assert unclouded(*command) == 0, command
    made = {store: content(tmp_path / f"{store}_out") for store in ("patches", "scenes")}
    assert len([name for name in made["scenes"] if name.endswith((".tif", ".bin"))]) == 3
    different = {name for name in made["scenes"] if made["scenes"][name] != made["patches"].get(name)}
    assert made["scenes"].keys() == made["patches"].keys() and different <= {"scores.json"}, different
    scores = [json.loads((tmp_path / f"{store}_out" / "scores.json").read_text()) for store in made]
    assert scores[0]["mean"] == scores[1]["mean"]

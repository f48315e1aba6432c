"""Execution of task lists, by ``curate`` on one region; the entry point runs in this process."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.batch.executors import serially
from unclouded.cli.execution import process_runner
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.manifest import read_manifest
from unclouded.sensors import SENTINEL1, SENTINEL2


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """One region of one patch."""
    rng, grid = np.random.default_rng(1), GeoBox.from_bbox((0, 0, 2560, 2560), "EPSG:32632", resolution=10)
    optical = rng.integers(15, 90, (13, 256, 256)).astype(np.uint16)
    write_geotiff(tmp_path / "s1.tif", rng.normal(-12, 2, (2, 256, 256)).astype("f4"), SENTINEL1.bands, grid)
    write_geotiff(tmp_path / "clear.tif", optical, SENTINEL2.bands, grid)
    write_geotiff(tmp_path / "cloudy.tif", optical[:, ::-1], SENTINEL2.bands, grid)
    products = 'radar = "s1.tif"\nclear = "clear.tif"\ncloudy = "cloudy.tif"\n'
    (tmp_path / "regions.toml").write_text(f'coverage = false\n[[regions]]\nroi = "ROIs0001_fall_1"\n{products}')
    return tmp_path / "regions.toml"


def test_a_data_set_is_uploaded_with_its_manifest(
    regions: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root, there = tmp_path / "root", tmp_path / "there"
    command = ("curate", regions, root, "--upload-to", f"file://{there}")
    assert unclouded(*command) == 0
    assert f"file://{there}: " in capsys.readouterr().out
    (row,) = read_manifest(there / "manifest.parquet")
    assert all((there / row[token]).read_bytes() == (root / row[token]).read_bytes() for token in ("s1", "s2"))
    uploaded = {path.name for path in there.rglob("*") if path.is_file()}
    assert uploaded == {
        "manifest.parquet",
        "ROIs0001_fall_1.json",
        *(Path(row[t]).name for t in ("s1", "s2", "s2_cloudy")),
    }


def test_a_changed_patch_holds_the_manifest_back_and_a_missing_one_is_made_again(
    regions: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root, there = tmp_path / "root", tmp_path / "there"
    assert unclouded("curate", regions, root) == 0
    patch = next(root.glob("*_s1/*/*.tif"))
    patch.write_bytes(patch.read_bytes() + b"?")
    upload = ("curate", regions, root, "--upload-to", f"file://{there}")
    assert unclouded(*upload) == 1
    printed = capsys.readouterr()
    assert "ROIs0001_fall_1 was not uploaded: " in printed.err and "was changed after it was written" in printed.err
    assert "lacks manifest.parquet until everything else is there" in printed.out
    assert not (there / "manifest.parquet").exists()
    patch.unlink()
    assert unclouded(*upload, "--retry") == 0
    assert (there / "manifest.parquet").read_bytes() == (root / "manifest.parquet").read_bytes()


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert process_runner(1) is serially
    process_runner(4)
    assert os.environ["OMP_NUM_THREADS"] == "3"  # the value of the user takes precedence
    monkeypatch.delenv("OMP_NUM_THREADS")
    process_runner(4)
    assert os.environ["OMP_NUM_THREADS"] == "2"

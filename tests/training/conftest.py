"""A data set of a few tiny patches, with a map that needs no detector."""

from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.settings import settings_from
from unclouded.training.settings import TrainSettings

SIDE_PX = 40


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five triplets of 40 px in the flat layout: land of 0.02 to 0.3, clouds to 1.1 on their left halves."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    grid = GeoBox.from_bbox((0, 0, SIDE_PX * 10, SIDE_PX * 10), "EPSG:32632", resolution=10)
    for number in range(5):
        clear = rng.integers(200, 3000, (13, SIDE_PX, SIDE_PX)).astype(np.uint16)
        cloudy = clear.copy()
        cloudy[:, :, : SIDE_PX // 2] = rng.integers(6000, 11_000, (13, SIDE_PX, SIDE_PX // 2))
        sar = rng.uniform(-25, -2, (2, SIDE_PX, SIDE_PX)).astype(np.float32)
        write_geotiff(root / "s1" / f"tiny_{number}.tif", sar, SENTINEL1.bands, grid)
        write_geotiff(root / "s2_cloudy" / f"tiny_{number}.tif", cloudy, SENTINEL2.bands, grid)
        write_geotiff(root / "s2_cloudfree" / f"tiny_{number}.tif", clear, SENTINEL2.bands, grid)
    return root


@pytest.fixture
def tiny_settings(tiny_root: Path) -> TrainSettings:
    """Two filters, 32 px, two epochs of five steps, no perceptual loss; the map m is 1."""
    content = {
        "patches": str(tiny_root),
        "split": "all",
        "crop_px": 32,
        "paired_percent": 40,
        "discriminator_width": 2,
        "pool": 2,
        "clouds": {"mode": "ones"},
        "network": {"width": 2},
        "loss": {"feature": 0, "style": 0},
        "schedule": {"epochs_constant": 1, "epochs_decay": 1},
        "logging": {"log_every": 1, "preview_every": 0, "checkpoint_every": 2},
        "device": {"accelerator": "cpu"},
    }
    return settings_from(TrainSettings, content)

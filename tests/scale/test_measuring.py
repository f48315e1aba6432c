from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.scale.measuring import MAP, look_at
from unclouded.sensors import SENTINEL2

CENTER = (11.0, 44.5)
LAND = dict(zip(SENTINEL2.bands, (11, 9, 8.5, 7, 10, 20, 24, 25, 26, 9, 0.15, 18, 10), strict=True))
CLOUD = dict(zip(SENTINEL2.bands, (*[65] * 10, 3, 45, 35), strict=True))


def overview(bands: Mapping[str, float], side: int = 40) -> NDArray[np.float32]:
    """Percent of reflectance, of ten bands, everywhere the same."""
    from unclouded.clouds.probability import S2CLOUDLESS

    return np.stack([np.full((side, side), bands[band] / 100, np.float32) for band in S2CLOUDLESS.bands])


def seen(image: NDArray[np.float32], path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float | None, float]:
    path.write_bytes(image.tobytes()[:4096])  # another content, another product
    monkeypatch.setattr("unclouded.scale.measuring.read_overview", lambda *_: image)
    return look_at(path, CENTER, (240, 240))


def test_the_gaussian_has_the_metres_of_the_paper() -> None:
    assert MAP.sigma_px * 60 == pytest.approx(2 * 10)


def test_land_is_clear_and_a_cloud_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear, shown = seen(overview(LAND), tmp_path / "land", monkeypatch)
    assert clear == 0.0 and shown == 1.0
    cloudy, _ = seen(overview(CLOUD), tmp_path / "cloud", monkeypatch)
    assert cloudy is not None and cloudy > 0.5


def test_only_what_the_product_shows_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = overview(CLOUD)
    whole, _ = seen(half.copy(), tmp_path / "whole", monkeypatch)
    half[:, :, :30] = np.nan
    part, shown = seen(half, tmp_path / "half", monkeypatch)
    assert shown == 0.25 and part is not None and whole is not None
    assert part == pytest.approx(whole, abs=0.03)  # a quarter of the cloud is as cloudy


def test_nothing_shown_is_no_clear_sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(np.full_like(overview(LAND), np.nan), tmp_path / "empty", monkeypatch) == (None, 0.0)

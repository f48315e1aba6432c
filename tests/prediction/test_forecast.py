"""Forecast of disk space and time."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from torch import Tensor

from unclouded.clouds.map import PAPER
from unclouded.io.geotiff import write_geotiff
from unclouded.models.remover import FunctionRemover
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.forecast import StageTimes, duration_text, forecast, time_stages
from unclouded.prediction.sources import Sources, open_sources
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.observation import Observation

MICROSECOND = 1e-6


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Sources]:
    rng = np.random.default_rng(0)
    grid = GeoBox((80, 100), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
    optical = rng.integers(200, 3000, (13, *grid.shape)).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, grid, nodata=0)
    write_geotiff(tmp_path / "s1.tif", rng.uniform(-20, -5, (2, *grid.shape)).astype(np.float32), ("VV", "VH"), grid)
    with open_sources(tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path) as opened:
        yield opened


def test_the_time_of_a_scene_is_the_sum_of_its_stages() -> None:
    """8,000 x 10,000 px at 2 x 1 + 2 + 1.21 x 4 + 0.5 microseconds; 1,280 squared compared and adapted."""
    seen = StageTimes(1e-6, 2e-6, comparing=1e-6, adapting=2e-6, clearing=4e-6, writing=0.5e-6, margin_px=50)
    expected = 80 * (2 + 2 + 1.21 * 4 + 0.5) + 1.28**2 + 2 * 1.28**2
    assert seen.seconds((8000, 10_000), 1000, 1) == pytest.approx(expected)
    assert seen.seconds((8000, 10_000), 1000, 6) == pytest.approx(expected + 80 * 1.21 * 4 * 5)


def test_a_small_scene_is_its_own_sample() -> None:
    seen = StageTimes(0, 0, adapting=MICROSECOND)
    assert seen.seconds((500, 400), 1024, 1) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_as_text(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


def test_every_stage_is_timed(sources: Sources) -> None:
    seen = time_stages(sources, [auto_remover()], PAPER)
    spent = (seen.reading, seen.mapping, seen.comparing, seen.adapting, seen.clearing, seen.writing)
    assert all(one > 0 for one in spent)
    assert seen.margin_px == auto_remover().margin_px


class Sure:
    """A remover whose confidence takes all the time."""

    name, bands = "sure", RGB

    def __call__(self, observation: Observation) -> Tensor:
        pytest.fail("the confidence of a scene is computed, too")

    def with_confidence(self, observation: Observation) -> tuple[Tensor, Tensor]:
        time.sleep(0.01)
        return observation.cloudy, torch.ones_like(observation.cloud_map)


def test_the_confidence_is_timed_with_the_prediction(sources: Sources) -> None:
    assert time_stages(sources, [Sure()], PAPER).clearing >= 0.01 / (80 * 100)


def test_the_forecast_names_size_disk_and_time(sources: Sources) -> None:
    text = forecast(sources, [auto_remover()], PAPER, 1024, 3 << 30, uncertainty=False)
    assert re.fullmatch(r"100 x 80 px: at most 3\.0 GiB of disk, and about \d+ (s|min) if all of it is cloudy", text)


def test_references_are_timed_with_the_window_in_their_place(sources: Sources) -> None:
    seen: list[tuple[int, bool]] = []

    def remember(window: Observation) -> Tensor:
        seen.append((len(window.references), all(bool(one.is_clear.any()) for one in window.references)))
        return window.select(RGB).cloudy

    time_stages(sources, [FunctionRemover("seeing", RGB, remember)], None, references=3)
    assert set(seen) == {(3, True)}

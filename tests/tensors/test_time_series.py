"""Triplets of time series: the choice of dates, and the real series of one patch."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.patches.time_series import DatedImage, PatchSeries, find_time_series
from unclouded.tensors.time_series import TimeSeriesDataset, choose_dates


def image(day: int) -> DatedImage:
    return DatedImage(day, date(2018, 1, 1) + timedelta(days=day), Path(f"{day}.tif"), None)


def test_the_clearest_date_is_the_target_and_the_nearest_partly_cloudy_one_the_input() -> None:
    dates = [image(day) for day in (0, 10, 20, 30, 40, 50)]
    coverage = [0.5, 0.02, 1.0, 0.3, 0.05, 0.0]
    assert choose_dates(dates, coverage, 2) == (5, 3, (2, 4))
    assert choose_dates(dates, coverage, 9) == (5, 3, (0, 1, 2, 4))
    assert choose_dates(dates, [0.0, 0.06, 0.02, 0.99, 1.0, 0.95], 1) == (0, 1, (2,))  # nearest to 0.1 to 0.9


def test_a_patch_of_a_single_date_is_refused() -> None:
    with pytest.raises(InputError, match="ROIs1970_21_p7 has a single date, expected at least two"):
        TimeSeriesDataset((PatchSeries("ROIs1970_21", 7, (image(0),)),))


@pytest.mark.parametrize("references", [0, 2])
def test_a_real_patch_is_an_observation_with_references(samples: Path, references: int) -> None:
    (one,) = find_time_series(samples / "timeseries")
    few = type(one)(one.region, one.patch, one.dates[:6])
    triplet = TimeSeriesDataset((few,), ("B04",), references=references)[0]
    observation = triplet.observation
    assert triplet.name == "ROIs2017_146_p0" and observation.cloudy.shape == triplet.clear.shape == (1, 1, 256, 256)
    assert len(observation.references) == references and observation.sar.isnan().all()
    assert observation.date in {image.date for image in one.dates}
    assert observation.date not in {reference.date for reference in observation.references}

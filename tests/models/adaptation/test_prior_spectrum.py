import math

import pytest
import torch
from torch.testing import assert_close

from unclouded.models.adaptation.prior_spectrum import LAND_SPECTRUM, PRIOR, PRIOR_SHARE, WATER_SPECTRUM
from unclouded.models.adaptation.radar_features import radar_features
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Season


def of_backscatter(vv: float, vh: float, bands: tuple[str, ...]) -> torch.Tensor:
    sar = torch.tensor([vv, vh], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 20, 20)
    return PRIOR.spectrum(radar_features(sar), bands)


def test_share_of_water_by_radar_is_one_half_at_minus_22_5_db() -> None:
    bands = ("B08", "B04")
    land, water = (torch.tensor([s["B08"], s["B04"]]).view(1, 2, 1, 1) for s in (LAND_SPECTRUM, WATER_SPECTRUM))
    assert_close(of_backscatter(-9, -16, bands), land.expand(1, 2, 20, 20), atol=1e-4, rtol=0)
    assert_close(of_backscatter(-20, -25, bands), water.expand(1, 2, 20, 20), atol=0.01, rtol=0)
    assert_close(of_backscatter(-20, -22.5, bands), (0.5 * (land + water)).expand(1, 2, 20, 20), atol=1e-5, rtol=0)


def test_water_is_darker_in_every_band_and_darkest_against_land_in_the_infrared() -> None:
    ratios = {band: WATER_SPECTRUM[band] / LAND_SPECTRUM[band] for band in SENTINEL2.bands}
    assert max(ratios.values()) < 1
    assert max(ratios["B08"], ratios["B11"], ratios["B12"]) < 0.3 < ratios["B04"]


def test_the_visible_bands_are_held_weakly_and_the_infrared_strongly() -> None:
    assert list(PRIOR_SHARE) == list(SENTINEL2.bands)
    assert PRIOR.shares(("B11", "B02")).tolist() == [0.10, 0.02]


def test_fault_13_no_radar_no_prior() -> None:
    sar = torch.full((1, 2, 8, 8), -10.0)
    sar[0, 1, 2, 3] = math.nan
    assert PRIOR.spectrum(radar_features(sar), ("B02",)).isnan().nonzero().tolist() == [[0, 0, 2, 3]]


def land_b08(season: Season | None) -> float:
    return PRIOR.at(season).land["B08"]


def test_without_a_date_land_mixes_the_medians_with_the_annual_mean() -> None:
    assert land_b08(None) == pytest.approx((LAND_SPECTRUM["B08"] + 0.1849) / 2)
    assert PRIOR.at(None).land["B11"] == pytest.approx(0.25 * 0.1767 + 0.75 * 0.2023)
    assert PRIOR.at(None).land["B04"] == LAND_SPECTRUM["B04"]


def test_in_july_northern_land_is_brighter_by_half_the_amplitude_and_southern_darker_by_as_much() -> None:
    mid_year = 366 // 2  # cosine -1, sine 0
    half = 0.5 * 0.0411
    for latitude, change in ((50.0, half), (30.0, half), (None, half), (22.5, half / 2), (15.0, 0), (-50.0, -half)):
        assert land_b08(Season(mid_year, latitude)) - land_b08(None) == pytest.approx(change, abs=2e-4), latitude


def test_water_has_no_season() -> None:
    assert PRIOR.at(Season(197, 50.0)).water == WATER_SPECTRUM

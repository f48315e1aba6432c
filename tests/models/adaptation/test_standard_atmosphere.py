"""Reflectance at the surface and at the top of the atmosphere."""

import pytest

from unclouded.models.adaptation.prior_spectrum import PRIOR, PRIOR_SHARE
from unclouded.models.adaptation.standard_atmosphere import ATMOSPHERE, AirOfBand, surface_spectrum, toa_spectrum
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A
from unclouded.tensors.observation import Season


def test_the_atmosphere_adds_its_path_and_dims_the_ground() -> None:
    air = AirOfBand(path=0.1, gas=0.5, scattering=0.8, albedo=0.25)
    assert air.toa(0.0) == 0.05
    assert air.toa(0.4) == pytest.approx(0.5 * (0.1 + 0.8 * 0.4 / 0.9))
    assert air.surface(air.toa(0.4)) == pytest.approx(0.4)
    assert air.surface(0.01) == 0.0  # darker than the atmosphere itself


def test_spectra_go_up_and_down_again() -> None:
    ground = dict.fromkeys(ATMOSPHERE, 0.2)
    toa = toa_spectrum(ground)
    assert toa["B01"] > toa["B02"] > 0.2 > toa["B04"]
    assert surface_spectrum(toa) == pytest.approx(ground)


def test_water_vapour_and_cirrus_bands_are_not_inverted() -> None:
    surface = surface_spectrum(dict.fromkeys(SENTINEL2.bands, 0.1))
    assert sorted(surface) == sorted(SENTINEL2_L2A.bands)
    assert surface["B09"] == surface["B8A"]


def test_the_prior_of_l2a_is_darker_in_the_visible_and_keeps_its_weights() -> None:
    season = Season(196, 50.0)
    toa, surface = PRIOR.at(season), PRIOR.at(season, "L2A")
    assert surface.land["B02"] == pytest.approx(ATMOSPHERE["B02"].surface(toa.land["B02"]))
    assert surface.land["B02"] < 0.65 * toa.land["B02"]
    assert surface.water["B01"] < 0.4 * toa.water["B01"]
    assert surface.share == PRIOR_SHARE
    assert set(surface.land) == set(SENTINEL2_L2A.bands)

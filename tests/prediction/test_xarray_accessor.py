from typing import Any

import numpy as np
import pytest

xarray = pytest.importorskip("xarray")
wrap_xr = pytest.importorskip("odc.geo.xr").wrap_xr

from unclouded.clouds.map import cloud_map  # noqa: E402
from unclouded.errors import InputError  # noqa: E402
from unclouded.patches.roi import Roi  # noqa: E402
from unclouded.prediction.xarray_accessor import register_accessor  # noqa: E402
from unclouded.simulation.region import SimulatedRegion, simulate_region  # noqa: E402


@pytest.fixture(scope="module")
def region() -> SimulatedRegion:
    register_accessor()
    return simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(0), 256, 0.3)


def array(raster: Any) -> Any:
    made = wrap_xr(raster.values, raster.geobox, axis=1, dims=("band", "y", "x"))
    return made.assign_coords(band=list(raster.bands))


def test_a_scene_in_memory_is_cleared_on_its_grid(region: SimulatedRegion) -> None:
    cloudy = array(region.cloudy)
    clear = cloudy.unclouded.remove_clouds("clear-mean", sar=array(region.sar))
    assert list(clear.band.values) == ["B04", "B03", "B02"]
    assert clear.odc.geobox == region.cloudy.geobox
    observed = cloudy.sel(band=["B04", "B03", "B02"]).values
    same = np.abs(clear.values - observed).max(axis=0) < 6e-5  # reflectance is stored in steps of 0.0001
    assert 0.1 < same.mean() < 1
    assert same[cloud_map(region.cloudy.values, region.cloudy.bands) > 0].mean() < same.mean()


def test_arrays_without_names_of_bands_or_without_a_place_are_refused(region: SimulatedRegion) -> None:
    cloudy = array(region.cloudy)
    with pytest.raises(InputError, match="the optical image has the dimensions y x, expected band, y, x"):
        cloudy[0].drop_vars("band").unclouded.remove_clouds()
    plain = xarray.DataArray(cloudy.values, {"band": list(region.cloudy.bands)}, ("band", "y", "x"))
    with pytest.raises(InputError, match="the optical image has no CRS"):
        plain.unclouded.remove_clouds()

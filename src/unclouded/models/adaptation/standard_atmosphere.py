"""Reflectance at the top of the atmosphere (L1C) and at the surface (L2A) under a standard atmosphere.

Spectra that are known at one level only are converted by the equation of Vermote et al. (1997), IEEE TGRS 35, eq. 2:
TOA = gas (path + scattering surface / (1 - albedo surface)). It is meant for typical spectra; the atmosphere of a scene
differs.
"""

from collections.abc import Mapping
from typing import NamedTuple


class AirOfBand(NamedTuple):
    """Atmosphere in one band.

    Attributes:
        path: Reflectance of the atmosphere itself.
        gas: Transmittance of the gases, sun to surface to satellite.
        scattering: Transmittance of scattering on both ways.
        albedo: Spherical albedo.
    """

    path: float
    gas: float
    scattering: float
    albedo: float

    def surface(self, toa: float) -> float:
        """Return surface reflectance, at least 0."""
        lit = (toa / self.gas - self.path) / self.scattering
        return max(lit / (1 + self.albedo * lit), 0.0)

    def toa(self, surface: float) -> float:
        """Return reflectance at the top of the atmosphere."""
        return self.gas * (self.path + self.scattering * surface / (1 - self.albedo * surface))


ATMOSPHERE = {
    "B01": AirOfBand(0.1075, 0.9980, 0.6883, 0.1926),
    "B02": AirOfBand(0.0760, 0.9815, 0.7564, 0.1508),
    "B03": AirOfBand(0.0468, 0.9190, 0.8255, 0.1075),
    "B04": AirOfBand(0.0262, 0.9522, 0.8815, 0.0723),
    "B05": AirOfBand(0.0217, 0.9521, 0.8949, 0.0637),
    "B06": AirOfBand(0.0186, 0.9558, 0.9036, 0.0573),
    "B07": AirOfBand(0.0157, 0.9893, 0.9125, 0.0510),
    "B08": AirOfBand(0.0128, 0.9408, 0.9219, 0.0442),
    "B8A": AirOfBand(0.0116, 0.9990, 0.9262, 0.0414),
    "B11": AirOfBand(0.0025, 0.9575, 0.9687, 0.0130),
    "B12": AirOfBand(0.0012, 0.9217, 0.9717, 0.0066),
}
"""Standard atmosphere by band: US standard of 1962, continental aerosol of optical depth 0.15 at 550 nm, sun at 45
degrees from the zenith. Computed by 6SV 2.1 (``proofs/standard_atmosphere.py``)."""

VAPOUR_BAND, ITS_NEIGHBOUR = "B09", "B8A"
"""Band in an absorption of water vapour, whose transmittance changes from day to day, and the band that stands for it:
spectra of land and water are nearly the same in both."""


def surface_spectrum(toa: Mapping[str, float]) -> dict[str, float]:
    """Return the spectrum at the surface of a spectrum at the top of the atmosphere; B10 does not see the surface.

    Args:
        toa: TOA reflectance by band, of B8A if of B09.
    """
    found = {band: air.surface(toa[band]) for band, air in ATMOSPHERE.items() if band in toa}
    return found | ({VAPOUR_BAND: found[ITS_NEIGHBOUR]} if VAPOUR_BAND in toa else {})


def toa_spectrum(surface: Mapping[str, float]) -> dict[str, float]:
    """Return the spectrum at the top of the atmosphere of a spectrum at the surface, without B09 and B10.

    Args:
        surface: Surface reflectance by band.
    """
    return {band: air.toa(surface[band]) for band, air in ATMOSPHERE.items() if band in surface}

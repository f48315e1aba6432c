"""Cloud shadow in simulated scenes with forest: clear ground that is kept, and shadow that is replaced.

Patches are too small to show where clouds cast their shadow; these scenes have 10 and 20 km. Forest is as dark as
shadow on fields, so that darkness alone takes it for shadow.

    python proofs/shadow.py
"""

import numpy as np

from unclouded.clouds.detectors import find_detector
from unclouded.clouds.product_map import survey_scene
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL2
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.land import LandCover
from unclouded.simulation.region import simulate_region
from unclouded.sun import Sun

SCENES = ((11, 0.45, 1024), (12, 0.2, 1024), (13, 0.3, 2000))
"""Number, cloud coverage and side in pixels."""


def measure(season: str, number: int, coverage: float, size_px: int) -> tuple[float, ...]:
    """Return the shares of clear ground and clear forest kept, of shadow replaced, and of shadow found and true."""
    region = simulate_region(Roi("ROIs0000", season, number), np.random.default_rng([3, number]), size_px, coverage)
    light = SEASONS[season]
    found = survey_scene(
        lambda top, bottom: region.cloudy.values[:, top:bottom],
        size_px,
        SENTINEL2.bands,
        lambda top: find_detector("s2cloudless"),
        Sun(light.sun_azimuth_deg, light.sun_elevation_deg),
        lambda top, bottom: region.sar.values[:, top:bottom],
    )
    m, flagged = found.cloud_map(0, size_px), found.is_shadow(0, size_px)
    clear = (region.cloud_opacity < 0.02) & (region.shadow < 0.05)
    shadow = (region.cloud_opacity < 0.05) & (region.shadow > 0.5)
    forest = clear & (region.land_cover == LandCover.FOREST)
    return (
        float((m == 0)[clear].mean()),
        float((m == 0)[forest].mean()),
        float((m > 0.1)[shadow].mean()),
        float(flagged.mean()),
        float(shadow.mean()),
    )


def main() -> None:
    """Print the table."""
    print("| scene | cloud | side (px) | clear, kept | forest, kept | shadow, replaced | flagged | true |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    rows = []
    for season in SEASONS:
        for number, coverage, size_px in SCENES:
            rows.append(measure(season, number, coverage, size_px))
            shown = " | ".join(f"{value:.3f}" for value in rows[-1])
            print(f"| {season} {number} | {coverage:.0%} | {size_px:,} | {shown} |", flush=True)
    print(f"| mean | | | {' | '.join(f'{value:.3f}' for value in np.mean(rows, axis=0))} |")


if __name__ == "__main__":
    main()

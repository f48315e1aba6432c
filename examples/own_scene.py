"""A cloudy scene, cleared without help, with radar, and with an image of another date.

    python examples/own_scene.py OUT

A simulated region stands for your products, so that the truth is known; replace the three paths by yours.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio

import unclouded as uc
from unclouded.io import to_stored, write_geotiff
from unclouded.simulation import simulate_region

COVERAGE, REFERENCE_DAYS = 0.35, 20


def main(out: Path, size_px: int = 768) -> dict[str, float]:
    """Write products, clear them in three ways, and return the errors under the clouds."""
    region = simulate_region(
        uc.Roi("ROIs0000", "summer", 5), np.random.default_rng(3), size_px, COVERAGE, REFERENCE_DAYS
    )
    assert region.reference is not None
    cloudy, reference, radar = out / "s2_2018-07-15.tif", out / "s2_2018-06-25.tif", out / "s1_2018-07-15.tif"
    for path, image in ((cloudy, region.cloudy), (reference, region.reference)):
        write_geotiff(path, to_stored(image.values, uc.SENTINEL2), image.bands, image.geobox, nodata=0)
    write_geotiff(radar, region.sar.values, region.sar.bands, region.sar.geobox)

    # One call each: the best remover for this scene is chosen by its error on covered clear ground.
    scenes = {
        "optical image alone": uc.predict_scene("auto", cloudy, out=out / "alone"),
        "with radar": uc.predict_scene("auto", cloudy, radar, out / "radar"),
        "with radar and another date": uc.predict_scene("auto", cloudy, radar, out / "date", references=[reference]),
    }

    # Clear pixels are the observed ones, and every other pixel says where it comes from.
    clear = region.clear.select(uc.RGB).values
    hidden = region.cloud_opacity > 0.5
    errors = {}
    for name, scene in scenes.items():
        with rasterio.open(scene.files["clear"]) as file:
            errors[name] = float(np.abs(file.read() / 10_000 - clear)[:, hidden].mean())
        expected = scene.summary["expected_error"]["rows"][scene.summary["used"]]["mae"]
        print(f"{name}: mean absolute error {errors[name]:.4f} under the clouds, expected {expected:.4f}")
    print(f"look at {scenes['with radar and another date'].files['report']}, or run 'unclouded view {out / 'date'}'")
    return errors


if __name__ == "__main__":
    main(Path(sys.argv[1]))

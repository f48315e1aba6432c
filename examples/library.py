"""Use as a library: images are read, their clouds removed, the results written and evaluated.

    python examples/library.py OUT

A simulated region stands for your images, and a baseline for your weights: ``uc.load_remover("weights.safetensors")``
returns a trained network, which is called in the same way.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import unclouded as uc
from unclouded.io import read, to_stored, write_geotiff
from unclouded.models import keep_clear_pixels
from unclouded.simulation import simulate_data_set
from unclouded.tensors import observe


def main(out: Path) -> None:
    """Go from images to scores."""
    data = out / "patches"
    simulate_data_set(data, seed=0, regions=1, size_px=256)  # in the layout of SEN12MS-CR
    patch = uc.find_triplets(data).triplets[0]

    # Read: radar in dB, reflectance from 0 to 1, NaN for no data, each with its grid.
    radar, cloudy = read(patch.sar, uc.SENTINEL1), read(patch.cloudy, uc.SENTINEL2)
    print(f"{patch.name}: {' '.join(cloudy.bands)} in {cloudy.geobox.crs}")

    # Remove clouds: every remover maps an observation to a clear image. Where the cloud map is 0, pixels stay.
    m = uc.cloud_map(cloudy.values, cloudy.bands)
    observation = observe(radar.values, cloudy.values, m, uc.RGB)
    remover = uc.baseline("sar-regression", uc.RGB)
    image = keep_clear_pixels(remover(observation), observation)

    # Write: integers as in Sentinel-2 products, on the grid of the input.
    write_geotiff(out / "clear.tif", to_stored(image[0].numpy(), uc.SENTINEL2), uc.RGB, cloudy.geobox, nodata=0)

    # A scene of any size, from files to files, in bounded memory; Copernicus products are read, too.
    scene = uc.predict_scene(remover, patch.cloudy, patch.sar, out / "scene", uc.SceneSettings(window_px=256))
    print(f"{scene.summary['pixels']['mean_coverage']:.0%} of the scene is cloud; see {scene.files['report']}")

    # Evaluate: any remover, one of your own as well, on all triplets, by the metrics of the paper.
    for one in (remover, darkest()):
        scores = uc.evaluate(one, data, split="all")
        uc.write_scores(out / f"{one.name}.json", scores, np.random.default_rng(0))
        print(f"{one.name}: mean absolute error {scores.mean('cloudy')['mae']:.4f} on cloudy pixels")


def darkest() -> uc.CloudRemover:
    """Return a remover of one's own: every cloudy pixel becomes the darkest clear one of its image."""

    def answer(observation: uc.Observation) -> torch.Tensor:
        shown = observation.select(uc.RGB)
        ground = shown.cloudy.masked_fill(shown.is_cloudy, torch.inf)
        return ground.amin(dim=(2, 3), keepdim=True).expand_as(shown.cloudy)

    return uc.FunctionRemover("darkest", uc.RGB, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

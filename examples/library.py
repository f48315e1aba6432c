"""The package as a library: images are read, cleared by one verb, written, and judged.

    python examples/library.py OUT

A simulated region stands for your images, and a baseline for your weights: a trained network comes from
``load_network(Path("weights.safetensors"))`` and is called in the same way.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from unclouded.clouds.map import PAPER, cloud_map
from unclouded.evaluation.results_io import write_scores
from unclouded.evaluation.scores import score_patches
from unclouded.io.geotiff import write_geotiff
from unclouded.io.raster import describe_grid, read, to_stored
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover, FunctionRemover, keep_clear_pixels
from unclouded.patches.layouts import find_triplets
from unclouded.prediction.evaluation_source import remover_source
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.simulation.layout import simulate_data_set
from unclouded.tensors.dataset import TripletDataset, observe
from unclouded.tensors.observation import Observation


def main(out: Path) -> None:
    """Go from images to scores."""
    simulate_data_set(out / "patches", seed=0, regions=1, size_px=256)  # in the layout of SEN12MS-CR
    triplets = find_triplets(out / "patches").triplets

    # Read: radar in dB, reflectance from 0 to 1, NaN for no data, each with its grid.
    radar, cloudy = read(triplets[0].sar, SENTINEL1), read(triplets[0].cloudy, SENTINEL2)
    print(f"{triplets[0].name}: {' '.join(cloudy.bands)}, {describe_grid(cloudy.geobox)}")

    # Clear: one verb, from what is seen to a clear image. Where the cloud map is 0, the image stays as it is.
    m = cloud_map(cloudy.values, cloudy.bands, PAPER)
    seen = observe(radar.values, cloudy.values, m, RGB)
    remover = baseline("sar-regression", RGB)
    image = keep_clear_pixels(remover(seen), seen)

    # Write: stored integers as Sentinel-2 has them, on the grid of the input.
    write_geotiff(out / "clear.tif", to_stored(image[0].numpy(), SENTINEL2), RGB, cloudy.geobox, nodata=0)

    # A scene of any size, from files to files, in bounded memory; products of Copernicus are taken, too.
    scene = predict_scene(remover, triplets[0].cloudy, triplets[0].sar, out / "scene", SceneSettings(window_px=256))
    print(f"{scene.summary['pixels']['mean_coverage']:.0%} of the scene is cloud; see {scene.files['report']}")

    # Judge: any remover, one of your own as well, on all triplets, by the scores of the paper.
    for one in (remover, darkest()):
        judged = remover_source(one, triplets).pairs(TripletDataset(triplets, one.bands, PAPER))
        scores = score_patches(judged, "kept")
        write_scores(out / f"{one.name}.json", scores, np.random.default_rng(0))
        print(f"{one.name}: {scores.mean('cloudy')['mae']:.4f} mean absolute error where m > 0")


def darkest() -> CloudRemover:
    """A remover of one's own: every cloudy pixel becomes the darkest clear one of its image."""

    def answer(seen: Observation) -> torch.Tensor:
        shown = seen.select(RGB)
        ground = shown.cloudy.masked_fill(shown.is_cloudy, torch.inf)
        return ground.amin(dim=(2, 3), keepdim=True).expand_as(shown.cloudy)

    return FunctionRemover("darkest", RGB, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

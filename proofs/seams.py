"""Visibility of windows: a simulated scene in windows of three sizes, with statistics of the scene and of each window.

    python proofs/seams.py WEIGHTS OUT [--size 1536]        WEIGHTS such as demo/run/weights.safetensors

Prints a table, and writes ``seams.jpg``: the same cloudy place with both statistics, and their difference.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from simulated import write_scene

from unclouded.clouds.map import CloudMapSettings
from unclouded.io.geotiff import read_stored
from unclouded.models.weights import load_network
from unclouded.prediction.clearing import seam_index
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import SENTINEL2

SIZES = (256, 512, 1024)
MARGIN = 9
"""Smallest distance of a window border from the end of the scene, pixels; the seam index compares pixels beside it."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("weights", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--size", type=int, default=1536)
    options = words.parse_args()
    if options.size < SIZES[-1] + MARGIN:
        words.error(f"--size must be at least {SIZES[-1] + MARGIN}, so that windows of {SIZES[-1]} px have a border")
    write_scene(options.out, options.size, coverage=0.7)
    made = {
        (statistics, size): predicted(options.weights, options.out, statistics, size)
        for statistics in ("scene", "window")
        for size in SIZES
    }
    print("| statistics | window | seam index | furthest from the result of the largest window | mean |")
    print("|---|---:|---:|---:|---:|")
    for (statistics, size), (image, cloudy) in made.items():
        borders = list(range(size, options.size - MARGIN + 1, size))
        seams = seam_index(image, borders, borders, cloudy)
        apart = np.abs(image - made[statistics, SIZES[-1]][0])[:, cloudy]
        print(f"| {statistics} | {size} | {seams:.3f} | {apart.max():.0f} DN | {apart.mean():.1f} DN |")
    draw(options.out / "seams.jpg", made["window", 256][0], made["scene", 256][0], made["scene", 256][1])


def predicted(weights: Path, out: Path, statistics: str, size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return stored values and the cloudy pixels; in float32, as bfloat16 rounds by more than a step."""
    remover = replace(load_network(weights), precision="float32")
    settings = SceneSettings(window_px=size, statistics=statistics, clouds=CloudMapSettings())
    scene = predict_scene(remover, out / "s2.tif", out / "s1.tif", out / f"{statistics}-{size}", settings)
    cloudy = read_stored(scene.files["cloud_map"]).values[0] > 0
    return read_stored(scene.files["clear"]).values.astype(np.float64), cloudy


def draw(path: Path, window: NDArray[np.float64], scene: NDArray[np.float64], cloudy: NDArray[np.bool_]) -> None:
    """Return 512 px that are two thirds cloudy, around a corner of four windows."""
    starts = range(256, len(cloudy) - 383, 256)
    corners = [(row, column) for row in starts for column in starts]
    row, column = min(corners, key=lambda at: abs(share(cloudy, *at) - 2 / 3))
    part = (slice(None), slice(row - 128, row + 384), slice(column - 128, column + 384))
    low, high = np.percentile(scene[part], (1, 99), axis=(1, 2), keepdims=True)
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.8), layout="constrained")
    for axis, image, title in zip(axes, (window, scene), ("of each window", "of the scene, jointly"), strict=False):
        axis.imshow(np.clip((image[part] - low) / (high - low), 0, 1).transpose(1, 2, 0))
        axis.set_title(f"statistics: {title}")
    apart = (window - scene)[part].mean(axis=0) / SENTINEL2.stored_per_unit
    limit = float(np.percentile(np.abs(apart), 99))
    shown = axes[2].imshow(apart, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[2].set_title("difference, mean of red, green and blue")
    figure.colorbar(shown, ax=axes[2], label="reflectance", shrink=0.85)
    for axis in axes:
        axis.set_xticks([128, 384], ["", ""])
        axis.set_yticks([128, 384], ["", ""])
        axis.tick_params(length=6, width=1.5)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 88})


def share(cloudy: NDArray[np.bool_], row: int, column: int) -> float:
    return float(cloudy[row - 128 : row + 384, column - 128 : column + 384].mean())


if __name__ == "__main__":
    main()

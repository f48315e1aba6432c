"""Pictures of observations, predictions and truth, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from unclouded.files import whole_file
from unclouded.sensors import RGB
from unclouded.stretch import RADAR_DB
from unclouded.tensors.observation import Observation, Triplet

BRIGHTEST = 0.3
"""Reflectance that is white in pictures; clear land seldom exceeds it, and thick clouds always do."""

Row = tuple[Triplet, Mapping[str, Float[Tensor, "1 band h w"]]]
"""A triplet and predictions by name."""


def true_colour(
    image: Float[Tensor, "1 band h w"], bands: tuple[str, ...], brightest: float = BRIGHTEST
) -> NDArray[np.float32]:
    """Return red, green, blue as (y, x, 3) in [0, 1], stretched from 0 to ``brightest``; grey without data."""
    picked = [bands.index(band) for band in RGB] if set(RGB) <= set(bands) else [0, 0, 0]
    stretched = image[0, picked].detach().cpu().float() / brightest
    return np.asarray(stretched.clamp(0, 1).nan_to_num(0.5).permute(1, 2, 0).numpy())


def radar_colour(sar: Float[Tensor, "1 2 h w"]) -> NDArray[np.float32]:
    """Return VV, VH and their difference as (y, x, 3) in [0, 1], see :data:`unclouded.stretch.RADAR_DB`."""
    vv, vh = sar[0].detach().cpu().float()
    channels = [(c - low) / span for c, (low, span) in zip((vv, vh, vv - vh), RADAR_DB, strict=True)]
    return np.stack([np.nan_to_num(np.clip(c.numpy(), 0, 1), nan=0.5) for c in channels], axis=-1)


def write_comparison(path: Path, rows: Sequence[Row], *, title: str = "") -> None:
    """Write a sheet with a row for each triplet: radar, cloudy, cloud map, predictions, clear.

    Args:
        path: PNG file, written atomically.
        rows: Triplets with their predictions; the names of the predictions are the same in all rows.
        title: Title of the sheet.
    """
    names = list(rows[0][1])
    columns = ["radar", "cloudy", "cloud map m", *names, "clear (truth)"]
    side = 2.2
    figure = Figure(figsize=(side * len(columns), side * len(rows) + 0.55), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (triplet, predictions) in zip(axes, rows, strict=True):
        _draw_row(line, triplet, [predictions[name] for name in names])
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=9)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130)


def _draw_row(line: NDArray[Any], triplet: Triplet, predictions: Sequence[Tensor]) -> None:
    seen = triplet.observation
    line[0].imshow(radar_colour(seen.sar))
    line[1].imshow(true_colour(seen.cloudy, seen.bands))
    line[2].imshow(seen.cloud_map[0, 0].cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    for axis, prediction in zip(line[3:], predictions, strict=False):
        axis.imshow(true_colour(prediction, seen.bands))
    line[-1].imshow(true_colour(triplet.clear, seen.bands))
    line[0].set_ylabel(triplet.name.replace("_", " "), fontsize=6)
    for axis in line:
        axis.set(xticks=[], yticks=[])


def write_region_sheet(
    path: Path,
    seen: Observation,
    predictions: Mapping[str, Float[Tensor, "1 3 h w"]],
    clear: Float32[np.ndarray, "3 y x"],
    references: Mapping[str, Float32[np.ndarray, "3 y x"]],
) -> None:
    """Write a whole region as large pictures: radar, cloudy, other dates, the truth, and each prediction beneath.

    Args:
        path: PNG file, written atomically.
        seen: Observation in red, green and blue.
        predictions: Predictions, TOA reflectance in red, green and blue, by title.
        clear: TOA reflectance on the clear date, red, green, blue.
        references: The same of other dates by title.
    """
    pictures = {
        "Sentinel-1 radar (VV, VH, VV - VH)": radar_colour(seen.sar),
        "Sentinel-2 with clouds": true_colour(seen.cloudy, RGB),
        **{name: true_colour(torch.from_numpy(image)[None], RGB) for name, image in references.items()},
        "truth": true_colour(torch.from_numpy(clear)[None], RGB),
        "cloud map m": seen.cloud_map[0, 0].numpy(),
    } | {name: true_colour(image, RGB) for name, image in predictions.items()}
    columns = -(-len(pictures) // 2)
    figure = Figure(figsize=(4.8 * columns, 0.5 + 10.1), layout="constrained")
    figure.suptitle("A simulated region that was not used for training", fontsize=14)
    axes = figure.subplots(2, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
        axis.set_title(title, fontsize=12)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)

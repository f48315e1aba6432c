"""One look for all figures: panels in a grid, scale bars, and files whose suffix chooses the format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.evaluation.pictures import BRIGHTEST, true_colour
from unclouded.files import named, whole_file
from unclouded.sensors import SENTINEL1

FORMATS = (".png", ".pdf", ".svg")
DPI = 300
"""What journals ask of pictures."""
NO_DATA_GREY = 0.85
SIDE_INCH = 1.7
LABEL_PT, NAME_PT = 8, 6
STYLE: Any = {"svg.hashsalt": "unclouded", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": LABEL_PT}
"""Text stays text in vector files, and equal figures are equal files."""

Panel = NDArray[np.float32]
"""A picture (y, x, 3), or a map (y, x) in [0, 1]; NaN where there is no data."""


def colour(values: NDArray[np.float32], bands: tuple[str, ...], brightest: float = BRIGHTEST) -> Panel:
    """Return TOA reflectance (band, y, x) in true colour."""
    return true_colour(torch.from_numpy(values)[None], bands, brightest=brightest)


def radar_grey(sar: NDArray[np.float32]) -> Panel:
    """Return VV of radar (2, y, x) in dB as the paper shows it: -25 dB black, 0 dB white."""
    low, high = SENTINEL1.clip
    grey: Panel = ((sar[0].clip(low, high) - low) / (high - low)).astype(np.float32)
    return grey


def draw_grid(path: Path, rows: Mapping[str, Sequence[Panel]], names: Sequence[str], side: float = SIDE_INCH) -> None:
    """Draw panels in a grid: a row a kind, a column a patch.

    Args:
        path: PNG, PDF or SVG file, whole or not at all.
        rows: Kind to one panel a patch.
        names: Of the patches.
        side: Of a panel, inches.
    """
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(side * len(names) + 0.3, side * len(rows) + 0.3), layout=tight)
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (title, panels) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=LABEL_PT)
        for axis, panel in zip(line, panels, strict=True):
            show(axis, panel)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(readable(name), fontsize=NAME_PT)
    save(path, figure)


def readable(name: str, most: int = 40) -> str:
    """Return a patch's name without what would break a line or be taken for mathematics."""
    plain = "".join(character if character.isprintable() else "?" for character in name).replace("$", r"\$")
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def show(axis: Any, panel: Panel, cmap: str = "gray", highest: float = 1.0) -> Any:
    """Draw one panel without ticks; return what a colour bar needs."""
    axis.set(xticks=[], yticks=[], facecolor=str(NO_DATA_GREY))
    axis.spines[:].set(linewidth=0.4, color="#888888")
    return axis.imshow(panel, cmap=cmap, vmin=0, vmax=highest, interpolation="nearest")


def scale_bar(axis: Any, width_px: int, pixel_m: float) -> None:
    """Draw a bar of a round length below a panel, at most a quarter as long as it is wide."""
    length_m = round_length(width_px * pixel_m / 4)
    share = length_m / (width_px * pixel_m)
    below = axis.transAxes + ScaledTranslation(0, -6 / 72, axis.figure.dpi_scale_trans)
    axis.plot([0.0, share], [0, 0], transform=below, color="black", linewidth=1.6, clip_on=False)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    axis.text(share, 0, f"  {text}", transform=below, fontsize=NAME_PT, va="center")


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is at most ``most``."""
    decade = 10.0 ** np.floor(np.log10(most))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= most))


def require_format(path: Path) -> None:
    """Refuse names whose suffix is no format.

    Raises:
        InputError: Names the formats there are.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{named(path)} has no format, expected a name that ends in {', '.join(FORMATS)}")


def save(path: Path, figure: Figure) -> None:
    """Write a figure in the format of its suffix, whole or not at all; equal figures give equal files."""
    require_format(path)
    dates: Any = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context(STYLE), whole_file(path) as partial:
        figure.savefig(partial, dpi=DPI, metadata=dates.get(path.suffix.lower()))

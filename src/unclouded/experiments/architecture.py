"""Table I and figures 2 and 3 of the paper: the networks, read from the modules that are trained.

:func:`generator_rows` walks through G_S1->S2 and lists its layers in the notation of Table I. The figures draw the
ensemble and the generator as boxes and arrows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from unclouded.experiments.figures import LABEL_PT, NAME_PT, require_format, save
from unclouded.models.cyclegan import InstanceNorm, OpticalToSar, PatchDiscriminator, ResidualBlock, SarToOptical
from unclouded.models.network import NetworkSettings

LEGEND = (
    "C convolution, T transposed convolution (kernel height x width, filters, stride, padding), N instance"
    " normalisation, R ReLU"
)


@dataclass(frozen=True)
class ArchitectureRow:
    """Line of Table I.

    Attributes:
        component: Component of the generator, as in Fig. 3.
        layers: Its layers in order, in the notation of the table.
        repeated: Number of such blocks in a row.
    """

    component: str
    layers: str
    repeated: int = 1


def generator_rows(settings: NetworkSettings | None = None) -> list[ArchitectureRow]:
    """Return the layers of G_S1->S2 by component: encoder, residual blocks, decoder, regression of m."""
    settings = settings or NetworkSettings()
    with torch.device("meta"):
        generator = SarToOptical(len(settings.bands), settings.width, settings.skip)
    layers = list(generator.trunk)
    blocks = [one for one in layers if isinstance(one, ResidualBlock)]
    first = layers.index(blocks[0])
    after = first + len(blocks)
    rows = [ArchitectureRow("encoder", step) for step in _steps(layers[:first])]
    rows.append(ArchitectureRow("residual", "  ".join(_steps(list(blocks[0].change))), len(blocks)))
    rows += [ArchitectureRow("decoder", step) for step in _steps(layers[after:])]
    return [*rows, *(ArchitectureRow("regression", step) for step in _steps([generator.cloud_map]))]


def _steps(layers: list[nn.Module]) -> Iterator[str]:
    """Yield one entry per convolution, with the padding before it and the layers after it."""
    entry, reflected = "", 0
    for layer in layers:
        if isinstance(layer, nn.ReflectionPad2d):
            reflected = int(layer.padding[0])
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if entry:
                yield entry
            letter = "T" if isinstance(layer, nn.ConvTranspose2d) else "C"
            height, width = layer.kernel_size
            padding = reflected or int(layer.padding[0])
            entry = f"{letter}({height} x {width}, {layer.out_channels}, {layer.stride[0]}, {padding})"
            reflected = 0
        else:
            entry += " N" if isinstance(layer, InstanceNorm) else " R"
    yield entry


def parameters(settings: NetworkSettings | None = None, discriminator_width: int = 64) -> dict[str, int]:
    """Return the number of parameters of the four networks, by their names in the paper."""
    settings = settings or NetworkSettings()
    bands = len(settings.bands)
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {
            "G_S1->S2": SarToOptical(bands, settings.width),
            "G_S2->S1": OpticalToSar(bands, settings.width),
            "D_S1": PatchDiscriminator(3, discriminator_width),
            "D_S2": PatchDiscriminator(bands + 1, discriminator_width),
        }
    return {name: sum(one.numel() for one in network.parameters()) for name, network in networks.items()}


def architecture_text(settings: NetworkSettings | None = None) -> str:
    """Return Table I as text, with the number of parameters of the four networks."""
    rows = generator_rows(settings)
    lines = [f"  {row.component:<12}{f'{row.repeated} x ' if row.repeated > 1 else ''}{row.layers}" for row in rows]
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters(settings).items())
    return "\n".join(
        [
            "Table I: generator G_S1->S2; input S1, S2 and m; output tanh(atanh(S2) + residual)",
            *lines,
            f"  {LEGEND}",
            f"Parameters: {counts}",
        ]
    )


# Figures 2 and 3: boxes and arrows on a plane without axes.

_BOX, _EDGE = {"G": "#dbe7f3", "D": "#f3e3db", "image": "#ffffff", "loss": "#eef3db"}, "#444444"


def _canvas(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axis.set_axis_off()
    return figure, axis


def _box(axis: Any, centre: tuple[float, float], text: str, kind: str, size: tuple[float, float] = (1.0, 0.5)) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    style = "round,pad=0,rounding_size=0.06" if kind in ("G", "D") else "square,pad=0"
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=_BOX[kind], edgecolor=_EDGE, linewidth=0.7))
    axis.text(*centre, text, ha="center", va="center", fontsize=LABEL_PT)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], label: str = "", bend: float = 0.0) -> None:
    arrow = {"arrowstyle": "-|>", "linewidth": 0.8, "color": _EDGE, "connectionstyle": f"arc3,rad={bend}"}
    axis.annotate("", xy=end, xytext=start, arrowprops=arrow)
    if label:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.1)
        axis.text(*middle, label, ha="center", fontsize=NAME_PT)


def figure_2(path: Path) -> None:
    """Draw the ensemble of two generators and two discriminators with the losses (Fig. 2 of the paper).

    Args:
        path: PNG, PDF or SVG file, written atomically.
    """
    require_format(path)
    figure, axis = _canvas(7.4, 4.2)
    _cycle_row(axis, 3.5, ("S1", "S2"), r"$m\,|S1 - \breve{S1}|$")
    _cycle_row(axis, 1.95, ("S2", "S1"), r"$(1 - m)\,|S2 - \breve{S2}|$")
    _identity(axis, 0.5, 0.5, ("S1", "S2"))
    _identity(axis, 4.2, 0.5, ("S2", "S1"))
    save(path, figure)


def _cycle_row(axis: Any, y: float, domains: tuple[str, str], cycle: str) -> None:
    """Draw one direction: an image, its translation judged by a discriminator, and the way back."""
    here, there = domains
    generators = (f"$G_{{{here}→{there}}}$", f"$G_{{{there}→{here}}}$")
    _box(axis, (0.5, y), here, "image", (0.6, 0.4))
    _box(axis, (1.7, y), generators[0], "G")
    _box(axis, (3.0, y), f"$\\hat{{{there}}}$", "image", (0.6, 0.4))
    _box(axis, (4.3, y), generators[1], "G")
    _box(axis, (5.5, y), f"$\\breve{{{here}}}$", "image", (0.6, 0.4))
    _box(axis, (3.0, y - 0.75), f"$D_{{{there}}}$", "D", (0.8, 0.4))
    for start, end in ((0.8, 1.2), (2.2, 2.7), (3.3, 3.8), (4.8, 5.2)):
        _arrow(axis, (start, y), (end, y))
    _arrow(axis, (3.0, y - 0.2), (3.0, y - 0.55))
    axis.text(
        3.5, y - 0.75, r"$L_{adv}$" + (", conditioned on m" if there == "S2" else ""), fontsize=NAME_PT, va="center"
    )
    axis.text(5.9, y, r"$L_{cyc}$: " + cycle, fontsize=NAME_PT, va="center")
    conditions = "S2, m" if here == "S1" else ""
    others = "S2, m" if there == "S1" else ""
    for x, text in ((1.7, conditions), (4.3, others)):
        if text:
            axis.text(x, y + 0.42, text, ha="center", fontsize=NAME_PT)
            _arrow(axis, (x, y + 0.4), (x, y + 0.25))
    if here == "S1":
        axis.text(1.7, y - 0.45, r"$L_{aux}$: $S2_{res}$ to m", ha="center", fontsize=NAME_PT)


def _identity(axis: Any, x: float, y: float, domains: tuple[str, str]) -> None:
    """Draw the identity mapping of one domain."""
    here, there = domains
    _box(axis, (x, y), here if here == "S1" else "clear S2", "image", (0.7, 0.4))
    _box(axis, (x + 1.2, y), f"$G_{{{there}→{here}}}$", "G")
    _box(axis, (x + 2.3, y), f"$\\dot{{{here}}}$", "image", (0.6, 0.4))
    _arrow(axis, (x + 0.35, y), (x + 0.7, y))
    _arrow(axis, (x + 1.7, y), (x + 2.0, y))
    axis.text(x + 1.2, y - 0.4, r"$L_{idt}$: " + f"$m\\,|{here} - \\dot{{{here}}}|$", ha="center", fontsize=NAME_PT)


def figure_3(path: Path, settings: NetworkSettings | None = None) -> None:
    """Draw the generator G_S1->S2 with its long skip and the regression of m (Fig. 3 of the paper).

    Args:
        path: PNG, PDF or SVG file, written atomically.
        settings: Network; the paper's if omitted.
    """
    require_format(path)
    rows = generator_rows(settings)
    figure, axis = _canvas(8.2, 3.6)
    for y, name in ((2.3, "S1"), (1.6, "S2, cloudy"), (0.9, "m")):
        _box(axis, (0.65, y), name, "image", (0.9, 0.4))
        _arrow(axis, (1.1, y), (1.38, 1.6 + (y - 1.6) * 0.5))
    parts = [("encoder", 2.2), ("residual", 3.9), ("decoder", 5.6)]
    for component, x in parts:
        own = [row for row in rows if row.component == component]
        head = f"{own[0].repeated} blocks" if own[0].repeated > 1 else component
        layers = own[0].layers.replace("  ", "\n") if own[0].repeated > 1 else "\n".join(row.layers for row in own)
        _box(axis, (x, 1.6), "", "G", (1.6, 1.3))
        axis.text(x, 2.05, head, ha="center", va="center", fontsize=LABEL_PT)
        axis.text(x, 1.5, layers, ha="center", va="center", fontsize=NAME_PT - 1)
    for start, end in ((3.0, 3.1), (4.7, 4.8)):
        _arrow(axis, (start, 1.6), (end + 0.02, 1.6))
    _arrow(axis, (6.4, 1.6), (6.75, 1.6), "$S2_{res}$")
    _box(axis, (7.0, 1.6), "+", "loss", (0.4, 0.4))
    _arrow(axis, (7.2, 1.6), (7.5, 1.6), "tanh")
    _box(axis, (7.8, 1.6), "$\\hat{S2}$", "image", (0.55, 0.4))
    axis.plot([0.2, 0.08, 0.08, 7.0], [1.6, 1.6, 3.1, 3.1], color=_EDGE, linewidth=0.8)
    _arrow(axis, (7.0, 3.1), (7.0, 1.82))
    axis.text(3.9, 3.18, "long skip: atanh(S2)", ha="center", fontsize=NAME_PT)
    regression = next(row for row in rows if row.component == "regression")
    _box(axis, (6.6, 0.5), regression.layers, "G", (1.5, 0.4))
    axis.plot([6.55, 6.55], [1.58, 0.75], color=_EDGE, linewidth=0.8)
    _arrow(axis, (6.55, 0.9), (6.55, 0.72))
    _arrow(axis, (7.35, 0.5), (7.6, 0.5))
    _box(axis, (7.85, 0.5), "$\\hat{m}$", "image", (0.45, 0.4))
    save(path, figure)

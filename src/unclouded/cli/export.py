"""``unclouded export``: trained networks for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.models.network import NetworkRemover
    from unclouded.tensors.observation import Observation

_CONTENT, _SCENE = "Content", "Statistics of one scene"
Place = Literal["inside", "outside"]


def export(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Weights of 'unclouded train'.", show_default=False)
    ],
    *,
    to: Annotated[
        Literal["onnx", "openvino", "torch"], typer.Option(help="Format; torch writes a program of torch.export.")
    ],
    scaling: Annotated[
        Place,
        typer.Option(help="Conversion of dB and reflectance to network values and back.", rich_help_panel=_CONTENT),
    ] = "inside",
    cloud_map: Annotated[
        Literal["input", "ones"],
        typer.Option("--map", help="Cloud map as input, or 1 everywhere.", rich_help_panel=_CONTENT),
    ] = "input",
    composition: Annotated[
        Place, typer.Option(help="Keeping of the input where the map is 0.", rich_help_panel=_CONTENT)
    ] = "outside",
    cloudy: Annotated[
        Path | None,
        typer.Option(
            help="Sentinel-2 product or GeoTIFF: fold the statistics of this scene into the network.",
            rich_help_panel=_SCENE,
        ),
    ] = None,
    sar: Annotated[
        Path | None, typer.Option(help="Sentinel-1 product or GeoTIFF of the scene.", rich_help_panel=_SCENE)
    ] = None,
    patches: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT",
            help="Data set whose first patch is used for the comparison.",
            show_default="a simulated patch, or the scene",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the network, its description and its model card.", rich_help_panel=options.OUTPUT
        ),
    ],
) -> None:
    """Export trained weights with a description (STAC MLM) and a model card, and compare both networks.

    The exported network takes images of any size, in multiples of 4 px. 'unclouded predict' and the other commands read
    an exported .onnx file.
    """
    from unclouded.files import require_there
    from unclouded.models.known import require_weights_file

    require_weights_file(weights)
    if (cloudy is None) != (sar is None):
        raise InputError("a scene has two images; give both --cloudy and --sar, or neither")
    require_there(cloudy, sar, patches)
    from unclouded.models.exchange.export import export_network
    from unclouded.models.exchange.export_card import ExportSettings
    from unclouded.models.weights import load_network, read_record
    from unclouded.prediction.scene import read_scene_sample

    settings = ExportSettings(scaling=scaling, cloud_map=cloud_map, composition=composition)
    settings.require_possible()
    remover = load_network(weights)
    sample = read_scene_sample(remover, cloudy, sar) if cloudy is not None and sar is not None else []
    compared_on = _compared_on(remover, patches, sample)
    licence = read_record(weights).card.licence
    found = export_network(remover, out, to, compared_on, settings, sample, licence)
    if not sample:
        logger.info("the network normalises by the statistics of its input: use one window, or --cloudy and --sar")
    typer.echo(
        f"{found.network}: differs from {weights.name} by at most {found.parity.largest:.3f} DN, on average "
        f"{found.parity.mean:.5f} DN"
    )


def _compared_on(remover: "NetworkRemover", patches: Path | None, sample: "list[Observation]") -> "Observation":
    """Image for the comparison: the first patch of a data set, a window of a scene, or a simulated patch."""
    import numpy as np

    from unclouded.clouds.map import cloud_map
    from unclouded.models.weights import choose_map
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.reading import read_triplet
    from unclouded.patches.roi import Roi
    from unclouded.simulation import simulate_region
    from unclouded.tensors import observe

    if patches is None and sample:
        complete = [one for one in sample if bool(one.cloudy.isfinite().all() and one.sar.isfinite().all())]
        if not complete:
            raise InputError("no window of the scene is without gaps, as the comparison needs; give --patches ROOT")
        return complete[0].transformed(lambda image: image[..., :256, :256])
    if patches is None:
        region = simulate_region(Roi("ROIs0000", "summer", 1), np.random.default_rng(0), 256)
        sar, cloudy = region.sar, region.cloudy
    else:
        patch = read_triplet(find_triplets(patches).require_observations()[0])
        sar, cloudy = patch.sar, patch.cloudy
    m = cloud_map(cloudy.values, cloudy.bands, choose_map([remover]).used)
    return observe(sar.values, cloudy.values, m, remover.bands)

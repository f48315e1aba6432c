"""``unclouded clouds``: cloud maps of images, synthetic clouds, and the cache of cloud probabilities."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unclouded.cli.logging import logger
from unclouded.cli.options import (
    CLOUD_MAP,
    CloudMode,
    DataSet,
    Offset,
    Resampling,
    SyntheticMode,
    Tile,
)


class ImageFirst(TyperGroup):
    """Group in which ``clouds IMAGE`` stands for ``clouds map IMAGE``; an image named like a command needs ``./``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``map`` before arguments that do not start with a command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["map", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ImageFirst,
    help="Map the clouds of images, paint synthetic clouds, and manage the cache of cloud probabilities.\n\n"
    "'unclouded clouds IMAGE --out MAP.tif' is short for 'unclouded clouds map IMAGE --out MAP.tif'.",
    short_help="Map the clouds of images; paint synthetic clouds.",
    no_args_is_help=True,
)


@app.command("map")
def map_(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE",
            help="Sentinel-2 L1C or L2A product, GeoTIFF of 13 or 12 bands, folder with one GeoTIFF per band, or a "
            "folder of such images.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="GeoTIFF of the cloud map, or the output folder for several images.")],
    offset: Offset = None,
    resampling: Resampling = None,
    tile: Tile = None,
    clouds: Annotated[
        CloudMode,
        typer.Option(
            help="Cloud map: the paper's, binary mask, 1 everywhere, cleaned and with cloud shadow, or by the classes "
            "(SCL) of an L2A product.",
            rich_help_panel=CLOUD_MAP,
        ),
    ] = "continuous",
    detector: Annotated[
        str,
        typer.Option(
            help="Cloud detector: s2cloudless, s2cloudless+shadow (also masks cloud shadow), csmask, ...",
            rich_help_panel=CLOUD_MAP,
        ),
    ] = "s2cloudless",
    resolution: Annotated[
        int, typer.Option(help="Pixel size of the detector input: 10, 20 or 60 m.", rich_help_panel=CLOUD_MAP)
    ] = 10,
) -> None:
    """Write the cloud map m, float32 in [0, 1], of an image of any size, or of every image in a folder.

    A product, and a folder with one GeoTIFF per band, count as one image. The images of a folder are processed two at
    a time; existing maps are kept.
    """
    from functools import partial

    from unclouded.files import require_there

    require_there(image)  # before the imports below, which take seconds
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.files import ImageReader, map_file, map_folder
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.sentinel.identify import images_in, single_image
    from unclouded.sentinel.optical import OpticalSettings, open_optical
    from unclouded.settings import settings_from_options

    settings = settings_from_options(
        CloudMapSettings,
        {
            "mode": ("--clouds", clouds),
            "resolution_m": ("--resolution", resolution),
            "detector": ("--detector", detector),
        },
    )
    optical = {"offset": ("--offset", offset), "resampling": ("--resampling", resampling), "tile": ("--tile", tile)}
    options = settings_from_options(OpticalSettings, optical)
    record = options.model_dump_json(exclude_defaults=True) if options != OpticalSettings() else ""
    open_image = partial(
        open_optical, allow_l2a=True, offset=options.offset, resampling=options.resampling, tile=options.tile
    )
    if (source := single_image(image)) is not None:
        reader = ImageReader(lambda _: open_image(source), record)
        with progress_bar() as on_progress:
            remarks = map_file(source.path, out, settings, reader, on_progress)
        for remark in remarks:
            logger.warning(remark)
        return
    reader = ImageReader(open_image, record)
    with progress_bar() as on_progress:
        mapped = map_folder(image, images_in(image), out, settings, reader, on_progress)
    typer.echo(f"{mapped.made} maps written, {mapped.there} kept, {len(mapped.refused)} images refused")
    for remark, names in mapped.remarks.items():
        more_images = f" and {len(names) - 1} more" if len(names) > 1 else ""
        logger.warning(f"{names[0]}{more_images}: {remark}")
    for reason in mapped.refused:
        logger.error(reason)
    raise typer.Exit(1 if mapped.refused else 0)


@app.command()
def paint(
    root: DataSet,
    out: Annotated[Path, typer.Option(help="Output folder for s2_cloudy/NAME.tif and cloud_map/NAME.tif.")],
    mode: Annotated[
        SyntheticMode, typer.Option(help="Simulated clouds from Perlin noise, or clouds copied from other patches.")
    ] = "perlin",
    seed: Annotated[int, typer.Option(help="Random seed; combined with the patch name.")] = 0,
) -> None:
    """Paint synthetic clouds on the clear images of a data set, and write the images and their cloud maps."""
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.files import require_writable
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.storing import paint_triplet
    from unclouded.progress import counted

    require_writable(out)
    files = find_triplets(root).require_triplets()
    settings = SyntheticSettings(mode=mode, seed=seed)
    with progress_bar() as on_progress:
        for one in counted(files, "painting clouds", len(files), on_progress):
            paint_triplet(one, out, settings, CloudMapSettings(), ProbabilityCache())
    typer.echo(f"{len(files)} images in {out / 's2_cloudy'}, their maps in {out / 'cloud_map'}")


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all entries.")] = False,
) -> None:
    """Show the folder and size of the cache of cloud probabilities, or clear it."""
    from unclouded.clouds.cache import ProbabilityCache

    cached = ProbabilityCache()
    if clear:
        typer.echo(f"{cached.clear():,} entries deleted from {cached.folder}")
    else:
        used, limit = cached.size() / 2**20, cached.store.limit_bytes / 2**30
        typer.echo(f"{used:,.1f} MiB of at most {limit:,.0f} GiB in {cached.folder}")

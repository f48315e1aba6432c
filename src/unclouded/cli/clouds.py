"""``unclouded clouds``: the cloud map of a patch, a folder or a whole scene; the cache of probabilities."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unclouded.cli.options import CloudMode, Offset, Painted, Resampling, ResamplingOption, Tile


class ImageFirst(TyperGroup):
    """Takes ``clouds IMAGE`` for ``clouds map IMAGE``; a file called as a command is given as ``./cache``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``map`` in front of arguments that name no command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["map", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ImageFirst,
    help="Map the clouds of images: 'clouds IMAGE --out MAP.tif', or a folder of images; look at the cache.",
    no_args_is_help=True,
)


@app.command("map")
def map_(
    image: Annotated[
        Path,
        typer.Argument(
            help="Sentinel-2 L1C or L2A product, GeoTIFF of 13 or 12 bands, folder of bands, or a folder of these."
        ),
    ],
    out: Annotated[Path, typer.Option(help="GeoTIFF of the map m, or the folder for many.")],
    offset: Offset = None,
    resampling: ResamplingOption = Resampling.NEAREST,
    tile: Tile = None,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    detector: Annotated[
        str, typer.Option(help="Detector: s2cloudless, csmask, s2cloudless+shadow, ...")
    ] = "s2cloudless",
    resolution: Annotated[int, typer.Option(help="Pixel size the detector looks at: 10, 20 or 60 m.")] = 10,
) -> None:
    """Write the cloud map m, float32 in [0, 1], of an image of any size, or of every image of a folder.

    A product and a folder with one GeoTIFF a band are one image. A folder of images is worked through two images at a
    time; maps that are there already are not made again.
    """
    from functools import partial

    from unclouded.files import require_there

    require_there(image)  # before the imports below, which take seconds
    from unclouded.cli.progress import progress_bar
    from unclouded.clouds.files import ImageReader, map_file, map_folder
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.sentinel.identify import images_in, is_one_image
    from unclouded.sentinel.optical import OpticalSettings, open_optical
    from unclouded.sentinel.safe import product_of
    from unclouded.settings import settings_from

    content = {"mode": clouds.value, "resolution_m": resolution, "detector": detector}
    settings = settings_from(CloudMapSettings, content, origin="these options")
    asked = {"offset": offset, "resampling": resampling.value, "tile": tile}
    options = settings_from(OpticalSettings, asked, origin="these options")
    more = options.model_dump_json(exclude_defaults=True) if options != OpticalSettings() else ""
    reader = ImageReader(partial(open_optical, allow_l2a=True, **options.model_dump()), more)
    if is_one_image(image):
        with progress_bar() as on_progress:
            remarks = map_file(product_of(image), out, settings, reader, on_progress)
        for remark in remarks:
            typer.echo(f"note: {remark}", err=True)
        return
    with progress_bar() as on_progress:
        mapped = map_folder(image, images_in(image), out, settings, reader, on_progress)
    typer.echo(f"{mapped.made} maps made, {mapped.there} were there, {len(mapped.refused)} refused")
    for remark, names in mapped.remarks.items():
        more_images = f" and {len(names) - 1} more" if len(names) > 1 else ""
        typer.echo(f"note on {names[0]}{more_images}: {remark}", err=True)
    for reason in mapped.refused:
        typer.echo(reason, err=True)
    raise typer.Exit(1 if mapped.refused else 0)


@app.command()
def paint(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="Folder for s2_cloudy/NAME.tif and cloud_map/NAME.tif.")],
    mode: Annotated[Painted, typer.Option(help="perlin simulates clouds, copy takes the real ones.")] = Painted.PERLIN,
    seed: Annotated[int, typer.Option(help="With the name of a patch it decides everything random.")] = 0,
) -> None:
    """Paint synthetic clouds on the clear images of a data set and write them with their maps."""
    from unclouded.cli.progress import counted, progress_bar
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.files import require_writable
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.storing import paint_triplet

    require_writable(out)
    files = find_triplets(root).require_triplets()
    settings = SyntheticSettings(mode=mode.value, seed=seed)
    with progress_bar() as on_progress:
        for one in counted(files, "painting clouds", len(files), on_progress):
            paint_triplet(one, out, settings, CloudMapSettings(), ProbabilityCache())
    typer.echo(f"{len(files)} images in {out / 's2_cloudy'}, their maps in {out / 'cloud_map'}")


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete every entry.")] = False,
) -> None:
    """Say where cloud probabilities are kept and how much room they take; or clear them."""
    from unclouded.clouds.cache import ProbabilityCache

    kept = ProbabilityCache()
    if clear:
        typer.echo(f"{kept.clear():,} entries deleted from {kept.folder}")
    else:
        typer.echo(
            f"{kept.size() / 2**20:,.1f} MiB of at most {kept.store.limit_bytes / 2**30:,.0f} GiB in {kept.folder}"
        )

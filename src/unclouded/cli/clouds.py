"""``unclouded clouds``: the cloud map of a patch, a folder or a whole scene; the cache of probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from unclouded.cli.options import CloudMode, Painted
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.clouds.map import CloudMapSettings


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
    image: Annotated[Path, typer.Argument(help="Sentinel-2 L1C GeoTIFF with 13 bands, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="GeoTIFF of the map m, or the folder for many.")],
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    detector: Annotated[
        str, typer.Option(help="Detector: s2cloudless, csmask, s2cloudless+shadow, ...")
    ] = "s2cloudless",
    resolution: Annotated[int, typer.Option(help="Pixel size the detector looks at: 10, 20 or 60 m.")] = 10,
) -> None:
    """Write the cloud map m, float32 in [0, 1], of an image of any size, or of every image of a folder.

    A folder is worked through two images at a time; maps that are there already are not made again.
    """
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.settings import settings_from

    content = {"mode": clouds.value, "resolution_m": resolution, "detector": detector}
    settings = settings_from(CloudMapSettings, content, origin="these options")
    if image.is_dir():
        _map_folder(image, out, settings)
    else:
        _map_image(image, out, settings, show=True)


def _map_image(image: Path, out: Path, settings: "CloudMapSettings", *, show: bool) -> None:
    from contextlib import nullcontext

    from unclouded.cli.progress import shown_progress
    from unclouded.clouds.rows import map_rows
    from unclouded.sensors import SENTINEL2
    from unclouded.strips import open_rows, write_rows

    with (
        open_rows(image, SENTINEL2) as scene,
        write_rows(out, ("cloud map m",), scene.geobox, "float32", tags=_tags(settings)) as write,
        shown_progress() if show else nullcontext(lambda *_: None) as told,
    ):
        height = scene.geobox.shape[0]
        for top, strip in map_rows(scene.read, height, scene.bands, settings):
            write(top, strip[None])
            told("mapping rows", top + len(strip), height)


def _tags(settings: "CloudMapSettings") -> dict[str, str]:
    return {"UNCLOUDED_CLOUDS": settings.model_dump_json()}


def _map_folder(folder: Path, out: Path, settings: "CloudMapSettings") -> None:
    """Two images at a time: reading waits for the disk while the detector computes."""
    from concurrent.futures import ThreadPoolExecutor

    from unclouded.cli.progress import counted, shown_progress

    images = sorted(path for path in folder.rglob("*.tif") if not path.name.startswith("."))
    if not images:
        raise InputError(f"{folder} holds no .tif file; give a folder of Sentinel-2 images with 13 bands")
    targets = {image: out / image.relative_to(folder) for image in images}
    left = [image for image in images if not _is_made(targets[image], settings)]

    def make(image: Path) -> str | None:
        try:
            _map_image(image, targets[image], settings, show=False)
        except InputError as error:
            return str(error)
        return None

    with shown_progress() as told, ThreadPoolExecutor(2) as pool:
        refused = [reason for reason in counted(pool.map(make, left), "mapping clouds", len(left), told) if reason]
    typer.echo(f"{len(left) - len(refused)} maps made, {len(images) - len(left)} were there, {len(refused)} refused")
    _list_refused(refused)


def _is_made(target: Path, settings: "CloudMapSettings") -> bool:
    from unclouded.geotiff import open_geotiff

    if not target.is_file():
        return False
    with open_geotiff(target) as made:
        found: dict[str, str] = made.tags()
    return _tags(settings).items() <= found.items()


def _list_refused(refused: Sequence[str]) -> None:
    for reason in refused:
        typer.echo(reason, err=True)
    if refused:
        raise typer.Exit(1)


@app.command()
def paint(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="Folder for s2_cloudy/NAME.tif and cloud_map/NAME.tif.")],
    mode: Annotated[Painted, typer.Option(help="perlin invents clouds, copy takes the real ones.")] = Painted.PERLIN,
    seed: Annotated[int, typer.Option(help="With the name of a patch it decides everything random.")] = 0,
) -> None:
    """Paint synthetic clouds on the clear images of a data set and write them with their maps."""
    from unclouded.cli.progress import counted, shown_progress
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.clouds.synthetic import SyntheticSettings
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.painting import paint_triplet

    files = find_triplets(root).require_triplets()
    settings = SyntheticSettings(mode=mode.value, seed=seed)
    with shown_progress() as told:
        for one in counted(files, "painting clouds", len(files), told):
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

"""``unclouded get``: from a place and a date to a cloud-free image."""

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from unclouded.cli import options
from unclouded.cli.logging import logger
from unclouded.cli.predict import scene_summary
from unclouded.cli.scene_options import NetworkOptions, SceneOptions
from unclouded.errors import InputError

ARCHIVE, CHOICE = "Archive", "Choice of images"
LevelName = Literal["L1C", "L2A"]


class PlaceFirst(TyperCommand):
    """Command whose first argument may begin with a negative longitude, which would be read as an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Protect lists of numbers by a leading space."""
        return super().parse_args(ctx, [f" {one}" if _NUMBERS.fullmatch(one) else one for one in args])


_NUMBERS = re.compile(r"-[0-9.]+(,-?[0-9.]+)+")


@options.expand_options
def get(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="Box WEST,SOUTH,EAST,NORTH or point LONGITUDE,LATITUDE in degrees, GeoJSON file, or tile such as "
            "32TQM.",
            show_default=False,
        ),
    ],
    day: Annotated[str, typer.Argument(metavar="DATE", help="Day, such as 2021-07-14.", show_default=False)],
    *,
    archive: Annotated[
        str,
        typer.Option(
            "--from",
            help="copernicus, planetary-computer or earth-search; or the address of a STAC API, or a file of items.",
            rich_help_panel=ARCHIVE,
        ),
    ] = "copernicus",
    optical: Annotated[
        str | None,
        typer.Option(help="Id of the optical collection.", show_default="of the archive", rich_help_panel=ARCHIVE),
    ] = None,
    radar: Annotated[
        str | None,
        typer.Option(help="Id of the radar collection.", show_default="of the archive", rich_help_panel=ARCHIVE),
    ] = None,
    level: Annotated[
        LevelName | None,
        typer.Option(help="Processing level of the optical images.", show_default="L1C", rich_help_panel=ARCHIVE),
    ] = None,
    size: Annotated[float, typer.Option(help="Side of the square around a point, km.", rich_help_panel=CHOICE)] = 10.0,
    days: Annotated[
        int | None,
        typer.Option(
            help="Days around the date within which the least cloudy image is taken.",
            show_default="0, the date itself",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    radar_days: Annotated[
        float | None,
        typer.Option(help="Most days between radar and image.", show_default="6", rich_help_panel=CHOICE),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            help="Number of clear images of other dates on each side.", show_default="1", rich_help_panel=CHOICE
        ),
    ] = None,
    reference_days: Annotated[
        int | None,
        typer.Option(
            help="Most days between an image of another date and the image.", show_default="60", rich_help_panel=CHOICE
        ),
    ] = None,
    both_passes: Annotated[
        bool | None,
        typer.Option(
            "--both-passes/--closest-pass",
            help="Fetch the closest radar of both directions; the closer one is used.",
            show_default="closest-pass",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    whole_files: Annotated[
        bool,
        typer.Option(
            "--whole-files",
            help="Fetch whole bands where an archive has single bands; else only the place, by range requests.",
            rich_help_panel=ARCHIVE,
        ),
    ] = False,
    remover: Annotated[
        str | None,
        typer.Option(
            help=options.REMOVER, show_default="the best remover without weights", rich_help_panel=options.NETWORK
        ),
    ] = None,
    network: NetworkOptions,
    scene: SceneOptions,
    out: Annotated[
        Path,
        typer.Option(help="Output folder for GeoTIFFs, report and STAC item.", rich_help_panel=options.OUTPUT),
    ],
    products: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the products, which several calls may share.",
            show_default="OUT/products",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    remove_products: Annotated[
        bool, typer.Option("--remove-products", help="Remove the products afterwards.", rich_help_panel=options.OUTPUT)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print all candidates with the decision on each, and the disk space; fetch nothing.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> None:
    """Find, fetch and predict the image of a place and a date.

    The optical image is that of the date; radar is the closest pass; clear images of other dates before and after help.
    Repeat the command to continue an interrupted one: complete products are not fetched again.
    """
    from unclouded.acquisition.choice import GetSettings
    from unclouded.acquisition.credentials import Credentials
    from unclouded.acquisition.places import find_place
    from unclouded.acquisition.providers import find_provider
    from unclouded.acquisition.scene import fetch_scene, plan_scene
    from unclouded.settings import settings_from_options

    where, wanted = find_place(place.strip(), size), _day(day)
    provider = find_provider(archive, optical, radar)
    given = {
        "days": ("--days", days),
        "radar_days": ("--radar-days", radar_days),
        "references": ("--references", references),
        "reference_days": ("--reference-days", reference_days),
        "both_passes": ("--both-passes", both_passes),
        "level": ("--level", level),
    }
    rules = settings_from_options(GetSettings, given)
    scene.require_files()
    if scene.area is not None:
        raise InputError("--area is the place itself; give the GeoJSON file as PLACE")
    specs = scene.specs(remover, network)
    credentials = Credentials(provider)
    plan = plan_scene(where, wanted, provider, rules, windows=not whole_files)
    typer.echo(plan.text())
    if dry_run:
        return
    credentials.require()
    from unclouded.cli.progress import byte_progress_bar, progress_bar
    from unclouded.prediction.scene import predict_scene

    with byte_progress_bar() as on_progress:
        files = fetch_scene(plan, products or out / "products", credentials, on_progress)
    settings = scene.read()
    settings = settings if files.area is None else settings.model_copy(update={"area": files.area})
    if files.radar_as_bands:
        settings = settings.model_copy(update={"radar": settings.radar.model_copy(update={"align": True})})
    first, *others = (spec.find() for spec in specs)
    with progress_bar() as on_progress:
        predicted = predict_scene(
            first,
            files.cloudy,
            files.sar,
            out,
            settings,
            others=others,
            references=files.references,
            on_progress=on_progress,
            estimate=True,
        )
    if remove_products and products is None:
        shutil.rmtree(out / "products", ignore_errors=True)
        logger.info("%s was removed", out / "products")
    typer.echo(scene_summary(predicted))


def _day(text: str) -> date:
    """Day of a text such as 2021-07-14.

    Raises:
        InputError: The text is no day.
    """
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text[:40]!r} is no day; expected a date such as 2021-07-14") from None

"""From a place and a date to the images of a scene on disk: search, choice, download.

:func:`plan_scene` asks an archive and chooses; :func:`fetch_scene` downloads what was chosen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from unclouded.acquisition.choice import GetSettings, SceneChoice, choose_scene, decisions_text
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.places import Place
from unclouded.acquisition.products import RemoteProduct, fetch_product, predicted_room, remote_product
from unclouded.acquisition.providers import Provider
from unclouded.catalogue.stac import Catalogue, open_catalogue
from unclouded.files import require_room, write_text
from unclouded.io.download import RetryPolicy
from unclouded.locks import held
from unclouded.progress import ProgressCallback, no_progress

AREA = "area.geojson"


@dataclass(frozen=True)
class ScenePlan:
    """Images for a place and a date, and the products to fetch.

    Attributes:
        place: Area of interest.
        choice: Chosen images with the decision on every candidate.
        products: Products to fetch, by the names of their records.
    """

    place: Place
    choice: SceneChoice
    products: dict[str, RemoteProduct]

    @property
    def room(self) -> str:
        """Disk space of the products, in words."""
        return predicted_room([*self.products.values()])

    def text(self) -> str:
        """Return the plan in lines for the terminal: decisions, remarks, and the disk space."""
        count = len(self.products)
        lines = [*decisions_text(self.choice.decisions), *self.choice.remarks]
        return "\n".join([*lines, f"{count} product{'' if count == 1 else 's'} to fetch, {self.room} of disk"])


@dataclass(frozen=True)
class SceneFiles:
    """Images of a scene on disk.

    Attributes:
        cloudy: Optical image.
        sar: Radar product, or folder with the slices of one pass; None if there is none.
        references: Images of other dates.
        area: GeoJSON file with the place; None for a whole tile.
        radar_as_bands: Whether the radar is GeoTIFFs, which have to be warped to the grid of the optical image.
    """

    cloudy: Path
    sar: Path | None
    references: tuple[Path, ...]
    area: Path | None
    radar_as_bands: bool = False


def plan_scene(
    place: Place,
    day: date,
    provider: Provider,
    settings: GetSettings | None = None,
    catalogue: Catalogue | None = None,
    *,
    windows: bool = True,
) -> ScenePlan:
    """Search an archive and choose the images of a place and a date.

    Args:
        place: Area of interest.
        day: Date.
        provider: Archive.
        settings: Rules of the choice; the defaults if omitted.
        catalogue: Catalogue to search; that of the archive if omitted.
        windows: Fetch the place alone of products that are GeoTIFFs of single bands, by range requests.

    Raises:
        InputError: The archive does not answer, has no image, or no files that can be fetched.
    """
    settings = settings or GetSettings()
    catalogue = catalogue or open_catalogue(provider.address)
    reach = max(settings.days, settings.reference_days if settings.references else 0)
    wide = timedelta(days=reach + settings.days)
    radar = timedelta(days=settings.days + int(settings.radar_days) + 1)
    items = _items(catalogue, place, (day - wide, day + wide), provider.collection(settings.level))
    items += _items(catalogue, place, (day - radar, day + radar), provider.radar)
    choice = choose_scene(list({id(one): one for one in items}.values()), place, day, settings)
    products = {one.record.name: remote_product(one) for one in choice.products}
    if windows:
        products = {name: one.cut_to(place) for name, one in products.items()}
    return ScenePlan(place, choice, products)


def _items(catalogue: Catalogue, place: Place, days: tuple[date, date], collection: str) -> list[Any]:
    return list(catalogue.items(place.outline, days, collection))


def fetch_scene(
    plan: ScenePlan,
    folder: Path,
    credentials: Credentials,
    on_progress: ProgressCallback = no_progress,
    retry: RetryPolicy | None = None,
) -> SceneFiles:
    """Fetch the products of a plan; those that are complete are not fetched again.

    Args:
        plan: Chosen products.
        folder: Folder for the products, locked meanwhile.
        credentials: Credentials of the archive.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: Timeouts and attempts of the downloads; the defaults if omitted.

    Raises:
        BusyError: Another process is writing into the folder.
        InputError: A product cannot be fetched, or differs from its description.
        MachineError: Not enough disk space.
    """
    choice = plan.choice
    with held(folder):
        missing = [one for one in plan.products.values() if not any(folder.rglob(one.name))]
        require_room(folder, sum(one.bytes for one in missing), "fetch the products")

        def fetch(name: str, where: Path) -> Path:
            return fetch_product(plan.products[name], where, credentials, on_progress, retry)

        cloudy = fetch(choice.cloudy.record.name, folder)
        passes = [
            _pass_folder([fetch(one.record.name, _place_of(slices, folder)) for one in slices])
            for slices in choice.radars
        ]
        references = tuple(fetch(one.record.name, folder) for one in choice.references)
        area = None
        if not plan.place.tile:
            area = folder / AREA
            feature = {"type": "Feature", "properties": {"name": plan.place.name}, "geometry": plan.place.outline}
            write_text(area, json.dumps(feature))
    as_bands = bool(choice.radars) and plan.products[choice.radars[0][0].record.name].kind == "bands"
    return SceneFiles(cloudy, passes[0] if passes else None, references, area, as_bands)


def _place_of(slices: Sequence[Any], folder: Path) -> Path:
    """Return the folder of a radar product: one of its own for the slices of one pass."""
    return folder if len(slices) == 1 else folder / f"radar-{slices[0].record.acquired:%Y%m%dT%H%M%S}"


def _pass_folder(paths: Sequence[Path]) -> Path:
    return paths[0] if len(paths) == 1 else paths[0].parent

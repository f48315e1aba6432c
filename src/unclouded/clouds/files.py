"""Cloud maps as files: of an image of any size, or of every image of a folder, however often the work is killed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.rows import map_rows
from unclouded.errors import InputError
from unclouded.files import named, remove_partial_files, require_apart, require_folder
from unclouded.geotiff import open_geotiff
from unclouded.locks import held
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A, Sensor
from unclouded.strips import open_rows, write_rows

SUFFIXES = (".tif", ".tiff")
"""What the names of images end with, in any case."""
THREADS = 2
"""Images under way at once: one is read while the detector looks at another."""
TAG = "UNCLOUDED_CLOUDS"
"""Tag of a map, with the settings that made it."""

Told = Callable[[str, int, int], None]
"""What progress is told: stage, done, total."""


def map_file(image: Path, out: Path, settings: CloudMapSettings, told: Told | None = None) -> None:
    """Write the map m of an image of any size, strip by strip, float32 on the grid of the image.

    Args:
        image: GeoTIFF of Sentinel-2: 13 bands of an L1C product, or the 12 of an L2A product, which has no B10.
        out: GeoTIFF; an older file is replaced only when the new one is complete.
        settings: How the map is made.
        told: Is told how many rows are done.

    Raises:
        InputError: The image is damaged, is not what the detector serves, or would be written over.
    """
    require_apart(out, image)
    with (
        open_rows(image, _sensor(image)) as scene,
        write_rows(out, ("cloud map m",), scene.geobox, "float32", tags=_tags(settings)) as write,
    ):
        height = scene.geobox.shape[0]
        for top, strip in map_rows(scene.read, height, scene.bands, settings):
            write(top, strip[None])
            if told:
                told("mapping rows", top + len(strip), height)


def _sensor(image: Path) -> Sensor:
    with open_geotiff(image) as source:
        return SENTINEL2_L2A if source.count == len(SENTINEL2_L2A.bands) else SENTINEL2


def _tags(settings: CloudMapSettings) -> dict[str, str]:
    return {TAG: settings.model_dump_json()}


@dataclass(frozen=True)
class MappedFolder:
    """What became of the images of a folder.

    Attributes:
        made: Maps that were written now.
        there: Maps with the same settings that were there already.
        refused: Why an image has no map, one line each.
    """

    made: int
    there: int
    refused: tuple[str, ...]


def map_folder(folder: Path, out: Path, settings: CloudMapSettings, told: Told) -> MappedFolder:
    """Write the map m of every image of a folder and its subfolders, under the same names; go on where a run stopped.

    Args:
        folder: Holds GeoTIFFs of Sentinel-2.
        out: Folder for the maps; one that lies in ``folder`` is not searched for images.
        settings: How the maps are made; maps that were made otherwise are made anew.
        told: Is told how many images are done.

    Raises:
        InputError: There is no image, or a map would replace a file that is no map.
        BusyError: Another process writes ``out``.
    """
    targets = _targets(folder, out)
    with held(out):
        for place in {target.parent for target in targets.values()}:
            remove_partial_files(place)
        left = {image: target for image, target in targets.items() if not _is_made(target, settings)}
        refused = tuple(reason for reason in _made(left, settings, told) if reason)
    return MappedFolder(len(left) - len(refused), len(targets) - len(left), refused)


def _targets(folder: Path, out: Path) -> dict[Path, Path]:
    """Return where the map of each image goes."""
    require_folder(folder)
    images = [path for path in sorted(folder.rglob("*")) if _is_image(path)]
    if out.resolve() != folder.resolve():
        images = [path for path in images if not path.resolve().is_relative_to(out.resolve())]
    if not images:
        raise InputError(f"{named(folder)} holds no .tif file; give a folder of Sentinel-2 images")
    targets = {image: out / image.relative_to(folder) for image in images}
    known = {image.resolve() for image in images}
    if clash := next((target for target in targets.values() if target.resolve() in known), None):
        raise InputError(f"{named(clash)} is an image itself; choose another folder for the maps")
    return targets


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _is_made(target: Path, settings: CloudMapSettings) -> bool:
    """Say whether a map is there already; one of other settings is not.

    Raises:
        InputError: What is there is no map; nobody asked to replace it.
    """
    if not target.exists():
        return False
    with open_geotiff(target) as made:
        found = made.tags().get(TAG)
    if found is None:
        raise InputError(f"{named(target)} is there already and is no cloud map; choose another folder for the maps")
    return bool(found == _tags(settings)[TAG])


def _made(targets: dict[Path, Path], settings: CloudMapSettings, told: Told) -> Iterator[str | None]:
    """Make maps, several at a time; yield for each why it was refused, or nothing."""

    def make(pair: tuple[Path, Path]) -> str | None:
        try:
            map_file(*pair, settings)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        for done, reason in enumerate(pool.map(make, targets.items()), start=1):
            told("mapping clouds", done, len(targets))
            yield reason

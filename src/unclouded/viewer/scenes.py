"""Scenes of a folder: products of ``predict``, ``batch`` and ``series``, or GeoTIFFs of one grid, with their layers.

The images that a scene was made from are not part of its folder. They are found by the name in ``summary.json``,
beside the products or in folders that the user names, and compared by their SHA-256.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unclouded.errors import InputError
from unclouded.files import content_hash, is_file, is_folder, named, require_folder
from unclouded.sensors import SENTINEL1, SENTINEL2, WAVELENGTH_NM
from unclouded.strict_json import read_json_object
from unclouded.viewer.registry import Registry, id_of, require_inside

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from unclouded.viewer.pixels import Layer, Role

SUMMARY = "summary.json"
MAX_SCENES = 10_000
MAX_SIBLINGS = 200
"""Most entries beside a product folder that are searched for its inputs."""
MAX_IMAGES = 40
"""Most layers of a scene."""
_COMPARED_BYTES = 256 << 20
"""Largest input that is compared by its checksum."""
_PRODUCTS: tuple[tuple[str, "Role", str], ...] = (
    ("clear", "optical", "Without clouds"),
    ("cloud_map", "cloud_map", "Cloud map m"),
    ("provenance", "provenance", "Provenance"),
    ("confidence", "confidence", "Confidence"),
    ("uncertainty", "uncertainty", "Uncertainty"),
)


@dataclass(frozen=True)
class FoundScene:
    """Scene that is not opened yet.

    Attributes:
        id: Id.
        title: Title.
        folder: Folder of its files.
        acquired: Time of acquisition, ISO 8601; None if unknown.
        is_product: Whether it is a product of this package; otherwise GeoTIFFs of one grid.
    """

    id: str
    title: str
    folder: Path
    acquired: str | None
    is_product: bool


@dataclass(frozen=True)
class Sources:
    """Places of the images that are not part of the folder shown.

    Attributes:
        folders: Folders of the input images of scenes.
        truth: Images of the true ground, for scenes on their grids.
        data: Data sets of the patches in files of scores.
        predictions: Folders of predicted patches, NAME.tif.
    """

    folders: tuple[Path, ...] = ()
    truth: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    predictions: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Open scene.

    Attributes:
        found: Its folder.
        layers: Layers on one grid, the result first.
        missing: Name and reason of each image that cannot be shown.
        facts: Statements on the scene, by name.
        stretch: Lowest value of each optical band, and the range, that are shown from black to white.
    """

    found: FoundScene
    layers: tuple["Layer", ...]
    missing: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    stretch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def geobox(self) -> "GeoBox":
        """Grid of all layers."""
        return self.layers[0].geobox

    def layer(self, name: str) -> "Layer":
        """Return a layer by id.

        Raises:
            KeyError: There is no such layer.
        """
        return {one.id: one for one in self.layers}[name]


def find_scenes(folder: Path) -> list[FoundScene]:
    """Return the scenes of a folder: itself, or the products in it, earliest first, and its GeoTIFFs as one.

    Raises:
        InputError: It is not a folder.
    """
    require_folder(folder)
    own = _found(folder, folder.resolve().name)
    if own is not None and own.is_product:
        return [own]
    places = sorted(one for one in folder.iterdir() if not one.name.startswith(".") and one.is_dir())[:MAX_SCENES]
    products = [scene for one in places if (scene := _found(one, one.name, loose=False)) is not None]
    return sorted(products, key=lambda one: (one.acquired or "9999", one.title)) + ([own] if own is not None else [])


def _found(folder: Path, title: str, *, loose: bool = True) -> FoundScene | None:
    if is_file(folder / SUMMARY) and is_file(folder / "clear.tif"):
        scene = _part(read_json_object(folder / SUMMARY), "scene")
        name, acquired = str(scene.get("product") or title), _text(scene.get("acquired"))
        return FoundScene(id_of("scene", folder.name), name, folder, acquired, True)
    if loose and any(_geotiffs(folder)):
        return FoundScene(id_of("images", folder.name), title, folder, None, False)
    return None


def _geotiffs(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("*.tif") if not one.name.startswith(".") and is_file(one))


# Values in a summary, which may have another form than expected.


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _part(summary: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = summary.get(key)
    return value if isinstance(value, dict) else {}


def _named_entries(summary: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the entries of a list that are objects with a name."""
    value = summary.get(key)
    entries = value if isinstance(value, list) else []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("name"), str)]


def open_scene(found: FoundScene, registry: Registry, sources: Sources, root: Path) -> Scene:
    """Open the files of a scene.

    Args:
        found: Scene.
        registry: Registry to which the files are added.
        sources: Where its inputs are looked for.
        root: Folder that the user named; no file of the scene may be outside of it.

    Raises:
        InputError: A product is damaged, or there is no image.
    """
    summary = read_json_object(found.folder / SUMMARY) if found.is_product else {}
    layers = _products(found, registry, root) if found.is_product else _loose(found, registry, root)
    if not layers:
        raise InputError(f"{named(found.folder)} has no GeoTIFF that can be shown")
    missing: list[tuple[str, str]] = []
    inputs = _inputs(summary)
    folders = _input_folders(found, sources) if inputs else ()
    for one in inputs:
        layer = _input_layer(one, layers[0], folders, registry)
        if isinstance(layer, str):
            missing.append((one.name, layer))
        else:
            layers.append(layer)
    if all(layer.id != "observed" for layer in layers):
        layers += _picture(found, registry, root)
    layers += _truth(layers[0], registry, sources)
    layers = layers[:MAX_IMAGES]
    return Scene(found, tuple(layers), tuple(missing), _facts(summary), _stretch(layers))


# Layers.


def _products(found: FoundScene, registry: Registry, root: Path) -> list["Layer"]:
    layers = []
    for name, role, title in _PRODUCTS:
        path = found.folder / f"{name}.tif"
        if is_file(path):
            layers.append(_layer(name.replace("_", "-"), role, title, path, root, registry))
    return [replace(layers[0], id="result"), *layers[1:]]


def _loose(found: FoundScene, registry: Registry, root: Path) -> list["Layer"]:
    """Return the GeoTIFFs of a folder that lie on the grid of the first one."""
    from unclouded.io.raster import same_grid

    layers: list[Layer] = []
    for path in _geotiffs(found.folder)[:MAX_IMAGES]:
        layer = _layer(id_of(path.name), None, path.stem.replace("_", " "), path, root, registry)
        if not layers or same_grid(layer.geobox, layers[0].geobox):
            layers.append(layer)
    return sorted(layers, key=lambda one: one.role != "optical")


def _role_by_bands(descriptions: Sequence[str | None], dtype: str) -> "Role":
    from unclouded.io.raster import band_named

    names = [one or "" for one in descriptions]
    if len(names) == 2 and all(band_named(name, SENTINEL1) for name in names):
        return "radar"
    is_optical = len(names) in (12, 13) or all(band_named(name, SENTINEL2) for name in names)
    if is_optical and dtype in SENTINEL2.dtypes:
        return "optical"
    if names == ["cloud map m"]:
        return "cloud_map"
    return "provenance" if names == ["provenance"] else "other"


def _layer(
    layer_id: str, role: "Role | None", title: str, path: Path, root: Path, registry: Registry, **more: Any
) -> "Layer":
    """Return the layer of a file, which has to be inside of ``root``; without a role, its bands determine it."""
    from unclouded.io.geotiff import grid_of, image_bands, open_geotiff
    from unclouded.viewer.pixels import Layer

    require_inside(path, root)
    with open_geotiff(path) as source:
        numbers = image_bands(source)
        descriptions = [source.descriptions[number - 1] for number in numbers]
        role = role or _role_by_bands(descriptions, source.dtypes[0])
        scale = source.scales[numbers[0] - 1]
        offsets = tuple(round(source.offsets[number - 1] / scale) for number in numbers) if role == "optical" else ()
        tags = source.tags()
        return Layer(
            layer_id,
            role,
            title,
            path,
            registry.add(path, root),
            _band_names(role, descriptions),
            grid_of(source),
            source.dtypes[0],
            source.nodata,
            scale,
            **{"offsets": offsets, **more},
            classes={int(key[6:]): value for key, value in tags.items() if key[:6] == "VALUE_" and key[6:].isdigit()},
        )


def _band_names(role: "Role", descriptions: Sequence[str | None]) -> tuple[str, ...]:
    """Return the names of bands as ids: those of the sensor, or ``band-1`` and so on."""
    from unclouded.io.raster import band_named

    sensor = {"optical": SENTINEL2, "radar": SENTINEL1}.get(role)
    if sensor is not None and len(descriptions) == len(sensor.bands) and not any(descriptions):
        return sensor.bands
    found = [band_named(one or "", sensor) if sensor else None for one in descriptions]
    if role == "uncertainty":
        found = [band_named((one or "").rpartition(" ")[2], SENTINEL2) for one in descriptions]
    names = tuple(one or f"band-{number}" for number, one in enumerate(found, start=1))
    return names if len(set(names)) == len(names) else tuple(f"band-{n}" for n in range(1, len(names) + 1))


# Inputs.


@dataclass(frozen=True)
class _Input:
    """Input of a scene as recorded in its summary."""

    id: str
    role: "Role"
    title: str
    name: str
    sha256: str | None
    offset: int | None = None
    units: str = "dB"
    acquired: str | None = None


def _inputs(summary: Mapping[str, Any]) -> list[_Input]:
    """Return the inputs that a summary names; entries of another form are ignored."""
    settings = _part(summary, "settings")
    offset, units = _part(settings, "optical").get("offset"), _part(settings, "radar").get("units", "dB")
    images: list[tuple[str, Role, str, Mapping[str, Any], Any, Any]] = [
        ("observed", "optical", "Observed", _part(summary, "cloudy"), offset, _part(summary, "scene").get("acquired")),
        ("radar", "radar", "Radar", _part(summary, "sar"), None, _part(summary, "radar").get("acquired")),
    ]
    dates = {one["name"]: _text(one.get("acquired")) for one in _named_entries(summary, "reference_use")}
    for number, one in enumerate(_named_entries(summary, "references"), start=1):
        taken = dates.get(one["name"])
        title = f"Reference {taken[:10] if taken else number}"
        images.append((f"reference-{number}", "optical", title, one, settings.get("reference_offset"), taken))
    return [
        _Input(
            name, role, title, one["name"], _text(one.get("sha256")),
            offset if isinstance(offset, int) else None, str(units), _text(taken),
        )
        for name, role, title, one, offset, taken in images
        if isinstance(one.get("name"), str)
    ]  # fmt: skip


def _input_folders(found: FoundScene, sources: Sources) -> tuple[Path, ...]:
    """Return the folders in which the inputs of a scene are searched: those of the user, its own, and near ones."""
    parent = found.folder.absolute().parent
    siblings = [one for one in islice(parent.iterdir(), MAX_SIBLINGS) if one.is_dir()]
    return (*sources.folders, found.folder, parent, *sorted(siblings))


def _input_layer(recorded: _Input, result: "Layer", folders: Sequence[Path], registry: Registry) -> "Layer | str":
    """Return the layer of an input, or the reason why it cannot be shown."""
    from unclouded.io.raster import same_grid

    name = recorded.name
    if Path(name).name != name or name in ("", ".", ".."):
        return "its name is not a file name"
    path = next((one / name for one in folders if is_file(one / name)), None)
    if path is None:
        if any(is_folder(one / name) for one in folders):
            return "products in folders are not shown; only GeoTIFFs are"
        return "not found beside the products; give its folder with --inputs"
    verified = None
    if recorded.sha256 is not None and path.stat().st_size <= _COMPARED_BYTES:
        verified = content_hash(path) == recorded.sha256
        if not verified:
            return "a file of this name has other content"
    try:
        layer = _layer(recorded.id, recorded.role, recorded.title, path, path.parent, registry, units=recorded.units)
    except InputError as error:
        return f"it cannot be shown: {error}"
    if not same_grid(layer.geobox, result.geobox):
        return "it lies on another grid"
    if recorded.offset and not any(layer.offsets):
        layer = replace(layer, offsets=(recorded.offset,) * len(layer.bands))
    return replace(layer, acquired=recorded.acquired, verified=verified, name=name)


def _picture(found: FoundScene, registry: Registry, root: Path) -> list["Layer"]:
    """Return the picture of the observed image that ``predict`` writes, for scenes whose image was not found."""
    path = found.folder / "observed_visual.tif"
    if not (found.is_product and is_file(path)):
        return []
    return [_layer("observed", "picture", "Observed (picture)", path, root, registry, acquired=found.acquired)]


def _truth(result: "Layer", registry: Registry, sources: Sources) -> list["Layer"]:
    from unclouded.io.raster import same_grid

    found = [
        _layer(f"truth-{n}" if n else "truth", "optical", "Truth", path, path.parent, registry, name=path.name)
        for n, path in enumerate(sources.truth)
    ]
    return [one for one in found if same_grid(one.geobox, result.geobox)]


# Description for the front end.


def _stretch(layers: Iterable["Layer"]) -> dict[str, list[float]]:
    """Return black and white of each optical band, the same for all layers: the contrast of clear ground.

    Clear ground is where m = 0 in the first optical layer; without a cloud map, or with little of it, all of the layer.
    """
    import numpy as np

    from unclouded.stretch import DEFAULT_RANGE, MIN_CLEAR_PX, contrast
    from unclouded.viewer.pixels import sample

    by_role = {one.role: one for one in reversed(tuple(layers))}  # the first of each
    if (first := by_role.get("optical")) is None:
        return {}
    values = sample(first)
    cloud_map = sample(by_role["cloud_map"])[0] if "cloud_map" in by_role else np.zeros(values.shape[1:])
    is_known = np.isfinite(values).all(axis=0)
    is_clear = is_known & (cloud_map == 0)
    ground = values[:, is_clear if np.count_nonzero(is_clear) >= MIN_CLEAR_PX else is_known]
    if not ground.size:
        return {band: [0.0, DEFAULT_RANGE] for band in first.bands}
    low, high = contrast(ground)
    ends = zip(first.bands, low.tolist(), high.tolist(), strict=True)
    return {band: [round(a, 5), round(max(b, a + 0.02), 5)] for band, a, b in ends}


def _facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statements of a summary that the front end shows beside the pictures."""
    kept = {name: summary.get(name) for name in ("used", "choice", "remarks", "pixels")}
    return {name: value for name, value in kept.items() if value}


def scene_json(scene: Scene) -> dict[str, Any]:
    """Return a scene for the front end; no path is part of it."""
    from unclouded.stretch import DEFAULT_RANGE, GAMMA, MIN_RANGE, RADAR_DB

    geobox = scene.geobox
    height, width = geobox.shape
    crs = geobox.crs
    return {
        "id": scene.found.id,
        "title": scene.found.title,
        "acquired": scene.found.acquired,
        "shape": [height, width],
        "transform": list(geobox.affine)[:6],
        "crs": None if crs is None else {"epsg": crs.epsg, "units": "m" if crs.projected else "degrees"},
        "stretch": scene.stretch,
        "display": {"gamma": GAMMA, "minRange": MIN_RANGE, "defaultRange": DEFAULT_RANGE, "radarDb": RADAR_DB},
        "layers": [_layer_json(one) for one in scene.layers],
        "missing": [{"name": name, "reason": reason} for name, reason in scene.missing],
        "facts": scene.facts,
        "wavelengths": WAVELENGTH_NM,
        "report": scene.found.is_product and os.path.lexists(scene.found.folder / "report.html"),
    }


def _layer_json(layer: "Layer") -> dict[str, Any]:
    from unclouded.viewer.pixels import WHITEST

    return {
        "id": layer.id,
        "role": layer.role,
        "title": layer.title,
        "bands": layer.bands,
        "payload": layer.payload,
        "nodata": None if layer.nodata is None or layer.payload == "f4" else layer.nodata,
        "scale": layer.scale,
        "units": layer.units,
        "offsets": layer.offsets,
        "classes": layer.classes,
        "acquired": layer.acquired,
        "verified": layer.verified,
        "name": layer.name,
        "file": layer.file,
        "whitest": WHITEST,
    }

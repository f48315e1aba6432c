"""Routes of the viewer: what each address answers. Ids and numbers are all that a request contains."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from unclouded import __version__
from unclouded.errors import InputError
from unclouded.viewer.http_server import Request, Response, json_response, refusal
from unclouded.viewer.registry import ID, Registry
from unclouded.viewer.scenes import FoundScene, Scene, Sources, find_scenes, open_scene, scene_json

STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/licences.txt": ("licences.txt", "text/plain; charset=utf-8"),
}
"""Files of the front end by address."""

_NUMBER = re.compile(r"[0-9]{1,7}")
_NOWHERE = refusal(404, "there is nothing at this address")
_READERS = 4
"""Tiles and pixels that are read at a time."""


@dataclass(frozen=True)
class _Route:
    method: str
    pattern: tuple[str, ...]
    answer: Callable[..., Response]


class Viewer:
    """Answers of the viewer for one folder.

    Args:
        folder: Folder to show.
        sources: Where the inputs of scenes are looked for.
        token: Token that pages need for writing.

    Raises:
        InputError: The folder does not exist, or there is nothing to show in it.
    """

    def __init__(self, folder: Path, sources: Sources | None = None, token: str = "") -> None:
        self.folder, self.sources, self.token = folder, sources or Sources(), token
        self.registry = Registry()
        self.scenes: dict[str, FoundScene] = {one.id: one for one in find_scenes(folder)}
        if not self.scenes:
            raise InputError(
                f"{folder} holds nothing to show; expected the output of predict, batch, series, evaluate, curate or "
                "demo, or a folder of GeoTIFFs"
            )
        self._open: dict[str, Scene] = {}
        self._opening = threading.Lock()
        self._reading = threading.BoundedSemaphore(_READERS)
        self._routes = [
            _Route("GET", ("api", "contents"), self._contents),
            _Route("GET", ("api", "scenes", "ID"), self._scene),
            _Route("GET", ("api", "scenes", "ID", "report"), self._report),
            _Route("GET", ("api", "scenes", "ID", "pixel", "N", "N"), self._pixel),
            _Route("GET", ("api", "scenes", "ID", "tiles", "ID", "ID", "N", "N", "N"), self._tile),
            _Route("GET", ("files", "ID"), self._file),
        ]

    def respond(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "GET" and request.path in STATIC:
            return _static(request.path)
        parts = request.path.split("/")[1:]
        for route in self._routes:
            if (given := _matched(route.pattern, parts)) is None:
                continue
            if route.method != request.method:
                return refusal(405, f"expected {route.method}")
            try:
                return route.answer(*given) if route.method == "GET" else route.answer(*given, request.body)
            except KeyError:
                return refusal(404, "there is nothing of this id")
            except (IndexError, _NumberError):
                return refusal(422, "a number is out of range")
            except InputError as error:
                return refusal(422, str(error))
        return _NOWHERE

    def _contents(self) -> Response:
        scenes = [{"id": one.id, "title": one.title, "acquired": one.acquired} for one in self.scenes.values()]
        return json_response(
            {"title": self.folder.resolve().name, "version": __version__, "token": self.token, "scenes": scenes}
        )

    def scene(self, name: str) -> Scene:
        """Return a scene by id; it is opened when it is asked for first.

        Raises:
            KeyError: There is no such scene.
            InputError: It is damaged.
        """
        found = self.scenes[name]
        with self._opening:
            if name not in self._open:
                self._open[name] = open_scene(found, self.registry, self.sources, self.folder)
            return self._open[name]

    def _scene(self, name: str) -> Response:
        return json_response(scene_json(self.scene(name)))

    def _report(self, name: str) -> Response:
        folder = self.scenes[name].folder
        return self._file(self.registry.add(folder / "report.html", self.folder))

    def _pixel(self, name: str, row: str, column: str) -> Response:
        scene = self.scene(name)
        with self._reading:
            return json_response(pixel_json(scene, _number(row), _number(column)))

    def _tile(self, name: str, layer: str, bands: str, level: str, column: str, row: str) -> Response:
        from unclouded.viewer.pixels import read_tile

        shown = self.scene(name).layer(layer)
        chosen = tuple(bands.split("_"))
        if not 1 <= len(chosen) <= 3:
            raise IndexError(bands)
        numbers = (_number(level), _number(column), _number(row))
        with self._reading:
            content, kind = read_tile(shown, chosen, *numbers)
        return Response(content=content, kind=kind)

    def _file(self, name: str) -> Response:
        file, state = self.registry.open(name)
        kind = "text/html; charset=utf-8" if self.registry.name(name).endswith(".html") else "image/tiff"
        etag = f'"{state.st_size:x}-{state.st_mtime_ns:x}"'
        headers = {"Content-Disposition": "attachment"} if kind == "image/tiff" else {}
        return Response(kind=kind, file=file, size=state.st_size, etag=etag, headers=headers)


class _NumberError(ValueError):
    pass


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _NumberError(text)
    return int(text)


def _matched(pattern: Sequence[str], parts: Sequence[str]) -> list[str] | None:
    """Return the variable parts of an address that has the form of a route; None if it has another form."""
    if len(pattern) != len(parts):
        return None
    given = []
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted not in ("ID", "N"):
            if part != wanted:
                return None
        elif ID.fullmatch(part) or (wanted == "N" and len(part) <= 64):
            given.append(part)
        else:
            return None
    return given


def pixel_json(scene: Scene, row: int, column: int) -> dict[str, Any]:
    """Return the place of a pixel and its value in every layer, as in the files.

    Raises:
        IndexError: The pixel is outside of the scene.
    """
    from unclouded.viewer.pixels import read_pixel

    values = {layer.id: read_pixel(layer, row, column) for layer in scene.layers}
    x, y = scene.geobox.affine * (column + 0.5, row + 0.5)
    place: dict[str, Any] = {"row": row, "column": column, "x": x, "y": y}
    if scene.geobox.crs is not None:
        from rasterio.warp import transform

        (longitude,), (latitude,) = transform(scene.geobox.crs.to_wkt(), "EPSG:4326", [x], [y])
        place |= {"longitude": longitude, "latitude": latitude}
    return {**place, "values": values}


@cache
def _static(address: str) -> Response:
    name, kind = STATIC[address]
    content = (files("unclouded") / "viewer" / "static" / name).read_bytes()
    return Response(content=content, kind=kind, etag=f'"{sha256(content).hexdigest()[:32]}"')

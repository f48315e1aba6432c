"""Routes of the viewer: what each address answers. Ids and numbers are all that a request contains."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unclouded import __version__
from unclouded.errors import BusyError, InputError
from unclouded.files import is_file
from unclouded.patches.roi import MANIFEST
from unclouded.viewer.http_server import Request, Response, json_response, refusal
from unclouded.viewer.registry import ID, Registry, id_of
from unclouded.viewer.scenes import FoundScene, Scene, Sources, find_scenes, open_scene, scene_json

if TYPE_CHECKING:
    from unclouded.viewer.patches import PatchImages
    from unclouded.viewer.review import ReviewedDataset
    from unclouded.viewer.scores import ScoresTable

STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/geotiff-files.js": ("geotiff-files.js", "text/javascript; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/licences.txt": ("licences.txt", "text/plain; charset=utf-8"),
}
"""Files of the front end by address."""

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Policy of a report, which has its own inline style and script: its opaque origin keeps it from reading here."""

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
        shown: Folder, or file of scores.
        sources: Where further images are looked for.
        token: Token that pages need for writing.

    Raises:
        InputError: The folder does not exist, or there is nothing to show in it.
    """

    def __init__(self, shown: Path, sources: Sources | None = None, token: str = "") -> None:
        from unclouded.viewer.scores import find_scores

        is_table = is_file(shown)
        self.folder, self.sources, self.token = shown.parent if is_table else shown, sources or Sources(), token
        self.registry = Registry()
        scenes = [] if is_table else find_scenes(self.folder)
        files_of_scores = [shown] if is_table else find_scores(self.folder)
        self.scenes: dict[str, FoundScene] = {one.id: one for one in scenes}
        self.scores = {id_of("scores", one.name): [one] for one in files_of_scores}
        if len(files_of_scores) > 1:
            self.scores = {id_of("scores", "all"): files_of_scores, **self.scores}
        has_manifest = not is_table and is_file(self.folder / MANIFEST)
        self.datasets = {id_of("data set", self.folder.name): self.folder} if has_manifest else {}
        if not (self.scenes or self.scores or self.datasets):
            raise InputError(
                f"{shown} holds nothing to show; expected the output of predict, batch, series, evaluate, curate or "
                "demo, a file of scores, or a folder of GeoTIFFs"
            )
        self._open: dict[str, Scene] = {}
        self._tables: dict[str, ScoresTable] = {}
        self._reviewed: dict[str, ReviewedDataset] = {}
        self._opening = threading.Lock()
        self._reading = threading.BoundedSemaphore(_READERS)
        self._routes = [
            _Route("GET", ("api", "contents"), self._contents),
            _Route("GET", ("api", "scenes", "ID"), self._scene),
            _Route("GET", ("api", "scenes", "ID", "report"), self._report),
            _Route("GET", ("api", "scenes", "ID", "pixel", "N", "N"), self._pixel),
            _Route("GET", ("api", "scenes", "ID", "tiles", "ID", "ID", "N", "N", "N"), self._tile),
            _Route("GET", ("api", "scores", "ID"), self._scores),
            _Route("GET", ("api", "scores", "ID", "difference", "N", "N"), self._difference),
            _Route("GET", ("api", "scores", "ID", "pictures", "N", "ID"), self._scored_picture),
            _Route("GET", ("api", "scores", "ID", "pictures", "N", "ID", "N"), self._scored_picture),
            _Route("GET", ("api", "datasets", "ID"), self._dataset),
            _Route("GET", ("api", "datasets", "ID", "review"), self._review),
            _Route("POST", ("api", "datasets", "ID", "review"), self._decide),
            _Route("GET", ("api", "datasets", "ID", "pictures", "N", "ID"), self._dataset_picture),
            _Route("GET", ("files", "ID"), self._file),
        ]

    def close(self) -> None:
        """Bring the manifests up to date with the reviews."""
        for one in self._reviewed.values():
            one.close()

    def respond(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "GET" and request.path in STATIC:
            return _static(request.path)
        parts = request.path.split("/")[1:]
        expected = ""
        for route in self._routes:
            if (given := _matched(route.pattern, parts)) is None:
                continue
            if route.method != request.method:
                expected = f"expected {route.method}"
                continue
            try:
                return route.answer(*given) if route.method == "GET" else route.answer(*given, request.body)
            except KeyError:
                return refusal(404, "there is nothing of this id")
            except (IndexError, _NumberError):
                return refusal(422, "a number is out of range")
            except InputError as error:
                return refusal(422, str(error))
            except BusyError as error:
                return refusal(409, str(error))
        return refusal(405, expected) if expected else _NOWHERE

    def contents(self) -> dict[str, Any]:
        """Return what there is to show, for the front end."""
        scenes = [{"id": one.id, "title": one.title, "acquired": one.acquired} for one in self.scenes.values()]
        scores = [{"id": name, "title": self._title(files)} for name, files in self.scores.items()]
        datasets = [{"id": name, "title": root.resolve().name} for name, root in self.datasets.items()]
        return {
            "title": self.folder.resolve().name,
            "version": __version__,
            "token": self.token,
            "scenes": scenes,
            "scores": scores,
            "datasets": datasets,
        }

    def _contents(self) -> Response:
        return json_response(self.contents())

    @staticmethod
    def _title(paths: Sequence[Path]) -> str:
        return paths[0].stem if len(paths) == 1 else f"all {len(paths)} files of scores"

    def scene(self, name: str) -> Scene:
        """Return a scene by id; it is opened at the first request.

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
        report = self._file(self.registry.add(self.scenes[name].folder / "report.html", self.folder))
        return replace(report, headers={"Content-Security-Policy": REPORT_POLICY})

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

    # Scores.

    def _table(self, name: str) -> "ScoresTable":
        from unclouded.viewer.scores import read_scores

        paths = self.scores[name]
        with self._opening:
            if name not in self._tables:
                table = read_scores(paths, self._title(paths))
                self._illustrate(table)
                self._tables[name] = table
            return self._tables[name]

    def _illustrate(self, table: "ScoresTable") -> None:
        """Find the images of the patches, and the predictions."""
        from unclouded.viewer.patches import PatchImages
        from unclouded.viewer.scores import match_predictions

        near = [one for one in sorted(self.folder.iterdir()) if one.is_dir() and not one.name.startswith(".")]
        for root in (*self.sources.data, self.folder, *near):
            images = PatchImages(root)
            try:
                if table.names[0] in images:
                    table.images = images
                    break
            except InputError:  # no data set
                continue
        first = f"{table.names[0]}.tif"
        beside = [one for one in near if is_file(one / first)]
        table.predictions = match_predictions(table, [*self.sources.predictions, *beside])

    def _scores(self, name: str) -> Response:
        return json_response(self._table(name).json())

    def _difference(self, name: str, first: str, second: str) -> Response:
        table = self._table(name)
        removers = list(table.removers)
        return json_response(table.difference(removers[_number(first)], removers[_number(second)]))

    def _scored_picture(self, name: str, patch: str, kind: str, remover: str = "") -> Response:
        table = self._table(name)
        if table.images is None:
            raise KeyError(name)
        folder = table.predictions[list(table.removers)[_number(remover)]] if remover else None
        return self._picture(table.images, table.names[_number(patch)], kind, folder)

    def _picture(self, images: "PatchImages", name: str, kind: str, folder: Path | None = None) -> Response:
        from unclouded.viewer.patches import KINDS

        with self._reading:
            return Response(content=images.picture(name, KINDS[kind], folder), kind="image/webp")

    # Review.

    def _reviewed_dataset(self, name: str) -> "ReviewedDataset":
        from unclouded.viewer.review import ReviewedDataset

        with self._opening:
            if name not in self._reviewed:
                self._reviewed[name] = ReviewedDataset(self.datasets[name])
            return self._reviewed[name]

    def _dataset(self, name: str) -> Response:
        return json_response(self._reviewed_dataset(name).json())

    def _review(self, name: str) -> Response:
        return json_response(self._reviewed_dataset(name).review_json())

    def _decide(self, name: str, given: object) -> Response:
        return json_response(self._reviewed_dataset(name).decide(given))

    def _dataset_picture(self, name: str, patch: str, kind: str) -> Response:
        dataset = self._reviewed_dataset(name)
        return self._picture(dataset.images, dataset.rows[_number(patch)]["name"], kind)

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
    for expected, part in zip(pattern, parts, strict=True):
        if expected not in ("ID", "N"):
            if part != expected:
                return None
        elif ID.fullmatch(part) or (expected == "N" and len(part) <= 64):
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

    values = {one.id: read_pixel(one, row, column) for one in scene.layers if one.role != "picture"}
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

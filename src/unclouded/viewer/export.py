"""Export of scenes as a folder for any server of static files: the front end, descriptions, and the GeoTIFFs."""

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unclouded.errors import InputError
from unclouded.files import is_file, named, require_apart, require_room, whole_file, write_json, write_text
from unclouded.progress import ProgressCallback, no_progress
from unclouded.viewer.http_server import POLICY
from unclouded.viewer.routes import STATIC, Viewer
from unclouded.viewer.scenes import Scene, scene_json

if TYPE_CHECKING:
    from unclouded.viewer.pixels import Layer

CONTENTS = "contents.json"
"""Marks the folder of an export; its list of scenes is written last."""
_PLAIN_PX = 1024
"""Side of images that need no overviews."""
_DECODED = ("deflate", "lzw", "packbits", "jpeg")
"""Compressions that the page decodes; others would need WebAssembly, which its policy does not allow."""
_ROWS = 512


def export_view(viewer: Viewer, out: Path, on_progress: ProgressCallback = no_progress) -> int:
    """Write a folder that shows the scenes of a viewer in any browser, from any server of static files.

    Files of an earlier export are replaced. GeoTIFFs without overviews, or with ZSTD and the like, are written anew
    as cloud-optimised ones with DEFLATE; the pixels stay as they are.

    Args:
        viewer: Viewer of the scenes; scores and reviews are not exported.
        out: Output folder.
        on_progress: Called with (stage, completed, total).

    Returns:
        Number of scenes.

    Raises:
        InputError: There is no scene, ``out`` holds other files, or a scene is damaged.
        MachineError: The disk is full, or the folder cannot be written.
    """
    if not viewer.scenes:
        raise InputError(f"{named(viewer.folder)} holds no scene, and only scenes can be exported")
    require_apart(out, viewer.folder)
    if out.exists() and any(out.iterdir()) and not is_file(out / CONTENTS):
        raise InputError(f"{named(out)} contains other files; choose a new folder for the export")
    contents = {**viewer.contents(), "token": "", "scores": [], "datasets": []}
    write_json(out / CONTENTS, {**contents, "scenes": []})  # marks the folder as an export, complete or not
    for folder in ("files", "reports", "scenes"):
        shutil.rmtree(out / folder, ignore_errors=True)
    written = set[str]()
    for done, name in enumerate(viewer.scenes, start=1):
        scene = viewer.scene(name)
        layers = [one for one in scene.layers if one.file not in written]
        require_room(out, sum(one.path.stat().st_size for one in layers), "export this scene")
        for layer in layers:
            _write_layer(out / "files" / f"{layer.file}.tif", layer)
            written.add(layer.file)
        _write_report(out / "reports" / f"{name}.html", scene)
        write_json(out / "scenes" / f"{name}.json", scene_json(scene))
        on_progress("exporting scenes", done, len(viewer.scenes))
    _write_front_end(out)
    write_json(out / CONTENTS, contents)
    return len(viewer.scenes)


def _write_layer(target: Path, layer: "Layer") -> None:
    """Copy an image, or write it anew if it is large and without overviews, or if the page cannot decompress it."""
    from unclouded.io.geotiff import open_geotiff
    from unclouded.io.rows import Layer as Encoding
    from unclouded.io.rows import write_cog

    with open_geotiff(layer.path) as source:
        has_levels = max(source.shape) <= _PLAIN_PX or bool(source.overviews(1))
        if not has_levels or (source.compression and source.compression.name not in _DECODED):
            scale, offsets = source.scales[0], source.offsets if any(source.offsets) else ()
            overviews = "nearest" if layer.role == "provenance" else "average"
            encoding = Encoding(layer.bands, layer.dtype, layer.nodata, overviews, scale, tuple(offsets))  # type: ignore[arg-type]
            write_cog(target, _strips(source), encoding, layer.geobox)
            return
    with whole_file(target) as partial:
        shutil.copyfile(layer.path, partial)


def _strips(source: Any) -> Iterator[tuple[int, Any]]:
    from unclouded.io.geotiff import image_bands
    from unclouded.io.strips import row_ranges

    bands = image_bands(source)
    for top, bottom in row_ranges(source.height, _ROWS):
        yield top, source.read(bands, window=((top, bottom), (0, source.width)))


def _write_report(target: Path, scene: Scene) -> None:
    report = scene.found.folder / "report.html"
    if scene.found.is_product and is_file(report):
        with whole_file(target) as partial:
            shutil.copyfile(report, partial)


def _write_front_end(out: Path) -> None:
    static = files("unclouded") / "viewer" / "static"
    for name, _ in STATIC.values():
        text = (static / name).read_text("utf-8")
        if name == "index.html":
            policy = POLICY.partition("; frame-ancestors")[0]  # a directive that a meta element does not allow
            text = text.replace('<html lang="en">', '<html lang="en" data-files="static">')
            text = text.replace(
                "<title>", f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>', 1
            )
        write_text(out / name, text)

"""Start of the viewer: the server, its first page in the browser, and its end by Ctrl-C."""

import importlib
import logging
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import named, require_file, require_folder, require_there, resolved
from unclouded.progress import ProgressCallback, no_progress
from unclouded.viewer.http_server import ADDRESS, LocalServer
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scenes import Sources

_logger = logging.getLogger(__name__)


def view(
    folder: Path | str,
    *,
    inputs: Sequence[Path | str] = (),
    truth: Sequence[Path | str] = (),
    data: Sequence[Path | str] = (),
    predictions: Sequence[Path | str] = (),
    port: int = 0,
    open_browser: bool = True,
    export: Path | str | None = None,
    on_progress: ProgressCallback = no_progress,
    on_start: Callable[[LocalServer], None] | None = None,
) -> None:
    """Serve a folder of results on 127.0.0.1 until Ctrl-C.

    Args:
        folder: Output of ``predict``, ``batch``, ``series``, ``evaluate``, ``curate`` or ``demo``, or a file of scores.
        inputs: Folders with the images that scenes were made from, matched by name and checksum; the folder of a scene
            and its parent are searched in any case.
        truth: GeoTIFFs of the true ground, shown with the scenes on their grids.
        data: Data sets of the patches in files of scores; folders beside the scores are searched in any case.
        predictions: Folders of predicted patches, NAME.tif, of the removers in files of scores.
        port: Port; a free one if 0.
        open_browser: Open the page in the default browser.
        export: Folder to write the scenes to, for any server of static files; then nothing is served.
        on_progress: Called with (stage, completed, total) by an export.
        on_start: Called with the server when it accepts connections.

    Raises:
        InputError: There is nothing to show, a file is missing, or the port is in use.
    """
    viewer = Viewer(Path(folder), sources_of(inputs, truth, data, predictions))
    if export is not None:
        from unclouded.viewer.export import export_view

        count = export_view(viewer, Path(export), on_progress)
        _logger.info("%s: %d scene%s; copy it to any web server", named(Path(export)), count, "" if count == 1 else "s")
        return
    server = serve(viewer, port)
    _logger.info("%s shows %s; Ctrl-C ends it", server.url, named(Path(folder)))
    threading.Thread(target=_prepare, daemon=True).start()
    if on_start is not None:
        on_start(server)
    if open_browser:
        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        viewer.close()


def serve(viewer: Viewer, port: int = 0) -> LocalServer:
    """Return a server that is bound to its port; its ``serve_forever`` answers requests.

    Raises:
        InputError: The port is in use.
    """
    try:
        server = LocalServer(viewer.respond, port)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} of {ADDRESS} cannot be used ({error}); choose another --port, or none"
        ) from error
    viewer.token = server.token
    return server


def sources_of(
    inputs: Sequence[Path | str] = (),
    truth: Sequence[Path | str] = (),
    data: Sequence[Path | str] = (),
    predictions: Sequence[Path | str] = (),
) -> Sources:
    """Return where further images are looked for.

    Raises:
        InputError: A path does not exist, or is of another kind.
    """
    folders, images = [Path(one) for one in inputs], [Path(one) for one in truth]
    roots, predicted = [Path(one) for one in data], [Path(one) for one in predictions]
    require_there(*folders)
    for one in images:
        require_file(one)
    for one in (*roots, *predicted):
        require_folder(one)
    places = tuple(resolved(one if one.is_dir() else one.parent) for one in folders)
    return Sources(places, tuple(images), tuple(roots), tuple(predicted))


def _prepare() -> None:
    """Import what the first scene needs while the browser loads the page."""
    for module in ("unclouded.viewer.pixels", "PIL.Image"):
        importlib.import_module(module)

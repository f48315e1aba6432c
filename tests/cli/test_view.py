"""``unclouded view``; what it serves is tested in tests/viewer."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from products.viewer_example import GRID

from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import RGB
from unclouded.viewer.http_server import LocalServer
from unclouded.viewer.serving import view


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_geotiff(tmp_path / "in" / "image.tif", np.full((3, 60, 40), 900, np.uint16), RGB, GRID[:60, :40], nodata=0)
    return tmp_path / "in"


def test_scenes_are_exported(folder: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("view", folder, "--export", tmp_path / "out") == 0
    assert (tmp_path / "out" / "contents.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none",), "none is not a folder; check the path"),
        (("in", "--inputs", "none"), "none is not a file; check the path"),
        (("in", "--truth", "in"), "in is not a file (it is a folder); check the path"),
        (("in", "--data", "in/image.tif"), "image.tif is not a folder (it is a TIFF image); check the path"),
        (("in", "--port", "70000"), "less than or equal to 65535"),
        ((".",), "holds nothing to show; expected the output of predict"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    folder: Path,
    words: tuple[str, ...],
    message: str,
    unclouded: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder.parent)
    assert unclouded("view", *words, "--no-browser") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.enable_socket
def test_a_port_in_use_is_refused_and_ctrl_c_ends_the_viewer(folder: Path, unclouded: Callable[..., int]) -> None:
    statuses = []

    def started(server: LocalServer) -> None:
        def visit() -> None:
            statuses.append(unclouded("view", folder, "--port", server.server_port, "--no-browser"))
            server.shutdown()

        threading.Thread(target=visit).start()

    view(folder, open_browser=False, on_start=started)
    assert statuses == [2]

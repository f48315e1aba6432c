"""Answers of the viewer: ids and numbers are all that an address can contain."""

import http.client
import json
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import rasterio
from products.viewer_example import ExampleScene

from unclouded.errors import InputError
from unclouded.viewer.http_server import LocalServer, Request
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scenes import Sources
from unclouded.viewer.serving import sources_of


@pytest.fixture(scope="module")
def viewer(example: ExampleScene) -> Viewer:
    return Viewer(example.folder, Sources((example.inputs,), (example.truth,)), "token")


def get(viewer: Viewer, path: str) -> tuple[int, Any]:
    response = viewer.respond(Request("GET", path))
    if response.file is not None:
        response.file.close()
    is_json = response.kind == "application/json" and response.file is None
    return response.status, json.loads(response.content) if is_json else response.content


@pytest.fixture(scope="module")
def scene_id(viewer: Viewer) -> str:
    return str(get(viewer, "/api/contents")[1]["scenes"][0]["id"])


def test_contents(viewer: Viewer) -> None:
    status, contents = get(viewer, "/api/contents")
    assert status == 200
    assert contents["title"] == "scene"
    assert contents["token"] == "token"
    assert [one["acquired"] for one in contents["scenes"]] == ["2020-07-17T10:10:31+00:00"]


def test_a_pixel_with_all_its_values(viewer: Viewer, scene_id: str, example: ExampleScene) -> None:
    status, pixel = get(viewer, f"/api/scenes/{scene_id}/pixel/50/450")
    assert status == 200
    assert (pixel["x"], pixel["y"]) == (504_505.0, 4_999_495.0)
    with rasterio.open(example.observed) as file:
        assert pixel["values"]["observed"]["B8A"] == pytest.approx(file.read(9)[50, 450] / 10_000)
    assert pixel["values"]["provenance"] == {"band-1": 3.0}
    assert pixel["longitude"] == pytest.approx(9.0573, abs=1e-4)


def test_files_are_served_by_id(viewer: Viewer, scene_id: str, example: ExampleScene) -> None:
    layers = get(viewer, f"/api/scenes/{scene_id}")[1]["layers"]
    response = viewer.respond(Request("GET", f"/files/{layers[0]['file']}"))
    assert response.file is not None
    with response.file as file:
        assert file.read() == (example.folder / "clear.tif").read_bytes()


def test_the_report_is_served(viewer: Viewer, scene_id: str) -> None:
    response = viewer.respond(Request("GET", f"/api/scenes/{scene_id}/report"))
    assert response.file is not None
    with response.file as file:
        assert b"<title>report" in file.read()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")  # a hostile report is of no origin


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/scenes/SCENE/pixel/640/0", 422),
        ("/api/scenes/SCENE/pixel/0/99999999999999999999", 422),
        ("/api/scenes/SCENE/pixel/-1/0", 422),
        ("/api/scenes/SCENE/pixel/nan/0", 422),
        ("/api/scenes/SCENE/pixel/1.5/0", 422),
        ("/api/scenes/SCENE/tiles/result/B04_B03_B02/99/0/0", 422),
        ("/api/scenes/SCENE/tiles/result/B04_B03_B02/0/9999999/0", 422),
        ("/api/scenes/SCENE/tiles/result/B04_B03_B02/NaN/0/0", 422),
        ("/api/scenes/SCENE/tiles/result/B99/0/0/0", 422),
        ("/api/scenes/SCENE/tiles/result/B01_B02_B03_B04/0/0/0", 422),
        ("/api/scenes/SCENE/tiles/clear.tif/B04/0/0/0", 404),
        ("/api/scenes/SCENE/tiles/nothing/B04/0/0/0", 404),
        ("/api/scenes/nothing", 404),
        (f"/api/scenes/{'a' * 65}", 404),
        ("/files/../summary.json", 404),
        ("/files/summary.json", 404),
        ("/files/nothing", 404),
        ("/files//etc/passwd", 404),
        ("/../app.js", 404),
        ("/", 200),
        ("/app.js", 200),
        ("/app.css", 200),
        ("/licences.txt", 200),
    ],
)
def test_faults_29_and_31_table_of_addresses(viewer: Viewer, scene_id: str, path: str, status: int) -> None:
    assert get(viewer, path.replace("SCENE", scene_id))[0] == status


@hypothesis.given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=100))
def test_fault_29_any_address_is_refused_in_words(viewer: Viewer, text: str) -> None:
    for path in (f"/{text}", f"/api/scenes/{text}", f"/files/{text}", f"/api/{text}/pixel/1/1"):
        assert get(viewer, path)[0] in (404, 422)


def test_fault_30_posts_are_refused_where_nothing_is_written(viewer: Viewer, scene_id: str) -> None:
    assert viewer.respond(Request("POST", f"/api/scenes/{scene_id}", {})).status == 405


@pytest.fixture
def canary() -> Iterator[tuple[str, list[bytes]]]:
    """A server on the loopback that no request may reach, and what it received."""
    received: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received.append(self.request.recv(1000))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", received
        server.shutdown()
        thread.join()


@pytest.mark.enable_socket
@pytest.mark.parametrize("form", ["clear", "input"])
def test_faults_28_and_30_no_file_makes_the_viewer_contact_a_server(
    example: ExampleScene, tmp_path: Path, canary: tuple[str, list[bytes]], form: str
) -> None:
    address, received = canary
    shutil.copytree(example.folder.parents[1], tmp_path / "view")
    folder, inputs = tmp_path / "view" / "products" / "scene", tmp_path / "view" / "inputs"
    virtual = (
        '<VRTDataset rasterXSize="600" rasterYSize="640"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>/vsicurl/http://{address}/x.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    target = folder / "clear.tif" if form == "clear" else inputs / example.observed.name
    target.write_text(virtual)
    summary = json.loads((folder / "summary.json").read_text())
    summary["cloudy"]["sha256"] = None
    summary["references"] = [{"name": f"http://{address}/y.tif"}, {"name": f"/vsicurl/http://{address}/z.tif"}]
    (folder / "summary.json").write_text(json.dumps(summary))
    viewer = Viewer(folder, Sources((inputs,)))
    name = get(viewer, "/api/contents")[1]["scenes"][0]["id"]
    for path in (
        f"/api/scenes/{name}",
        f"/api/scenes/{name}/pixel/1/1",
        f"/api/scenes/{name}/tiles/observed/B04/0/0/0",
    ):
        assert get(viewer, path)[0] in (200, 404, 422)
    assert received == []


@pytest.mark.enable_socket
def test_a_whole_tour_over_the_loopback(example: ExampleScene, serve: Callable[..., LocalServer]) -> None:
    server = serve(example.folder, inputs=(example.inputs,))
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)

    def fetch(path: str) -> bytes:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return body

    page = fetch("/").decode()
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        fetch(f"/{name}")
    scene = json.loads(fetch(f"/api/scenes/{json.loads(fetch('/api/contents'))['scenes'][0]['id']}"))
    for layer in scene["layers"]:
        bands = "_".join(layer["bands"][:3])
        assert len(fetch(f"/api/scenes/{scene['id']}/tiles/{layer['id']}/{bands}/0/0/0")) > 1000
    connection.close()


def test_nothing_to_show_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing to show; expected the output of predict"):
        Viewer(tmp_path)
    with pytest.raises(InputError, match="none is not a folder"):
        Viewer(tmp_path / "none")
    with pytest.raises(InputError):
        sources_of((tmp_path / "none",), ())


def test_the_server_starts_without_torch_and_without_reading_an_image(example: ExampleScene) -> None:
    heavy = "{'torch', 'numba', 'lightgbm', 'matplotlib', 'rasterio', 'numpy', 'scipy', 'pyarrow'}"
    code = (
        "import sys; from pathlib import Path; from unclouded.viewer.serving import Viewer, serve\n"
        f"serve(Viewer(Path({str(example.folder)!r}))).server_close()\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_scene_needs_no_torch(example: ExampleScene) -> None:
    code = (
        "import sys; from pathlib import Path; from unclouded.viewer.routes import Viewer\n"
        "from unclouded.viewer.http_server import Request\n"
        f"viewer = Viewer(Path({str(example.folder)!r})); (name,) = viewer.scenes\n"
        "for path in (f'/api/scenes/{name}', f'/api/scenes/{name}/pixel/1/1'):\n"
        "    assert viewer.respond(Request('GET', path)).status == 200\n"
        "print(sorted({'torch', 'numba', 'lightgbm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

"""Simulated products of 240 x 180 m and more, complete and small."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from products.optical_product import PIXEL_M, OpticalProduct, write_joined_product, write_optical_product
from products.radar_product import RadarProduct, write_radar_product
from unclouded.sensors import SENTINEL2

SIDE = 120


def simulated_bands(offset: int = 0, side: int = SIDE) -> dict[str, NDArray[np.uint16]]:
    """Integers of every band at its own pixel size, with no data in the first rows and one saturated pixel."""
    rng = np.random.default_rng(7)
    bands = {}
    for band in SENTINEL2.bands:
        size = side * 10 // PIXEL_M[band]
        values = rng.integers(1, 12_000, (size, size)).astype(np.uint16) + np.uint16(offset)
        values[: 60 // PIXEL_M[band]] = 0
        values[-1, -1] = 65_535
        bands[band] = values
    return bands


@pytest.fixture
def optical_product(tmp_path: Path) -> Callable[..., Path]:
    """Write a product with the given metadata and always the same reflectance."""

    def write(name: str = "a", **described: Any) -> Path:
        product = OpticalProduct(**described)
        bands = simulated_bands(-(product.offset or 0))
        if product.level == "L2A":
            del bands["B10"]
        return write_optical_product(tmp_path / name, bands, product)

    return write


@pytest.fixture
def joined_product(tmp_path: Path) -> Path:
    """Product of the old format with a tile in zone 32 and one in zone 33; B02 of the second is 5000."""
    first = OpticalProduct(layout="old", tile="T32TQM")
    second = replace(first, tile="T33TUG", epsg=32633, corner=(300_000, 4_900_020))
    other = simulated_bands() | {"B02": np.full((SIDE, SIDE), 5000, np.uint16)}
    return write_joined_product(tmp_path / "joined", [(simulated_bands(), first), (other, second)])


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Report every disk as full."""

    def fill() -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))

    return fill


@pytest.fixture
def simulated() -> dict[str, NDArray[np.uint16]]:
    """Integers of every band at its own pixel size."""
    return simulated_bands()


@pytest.fixture(scope="session")
def session_product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Product that tests copy before they damage the copy."""
    return write_optical_product(tmp_path_factory.mktemp("product"), simulated_bands(), OpticalProduct())


RADAR_SHAPE = (200, 240)
RADAR_GRID = GeoBox((120, 120), Affine(10, 0, 863_620, 0, -10, 4_889_970), 32632)
"""A map in the middle of the simulated radar image."""


@pytest.fixture
def radar_product(tmp_path: Path) -> Callable[..., Path]:
    """Write a radar product: VV with numbers from 150 upwards along lines and pixels, VH half of them."""

    def write(name: str = "radar", numbers: NDArray[np.uint16] | None = None, **described: Any) -> Path:
        line, pixel = np.mgrid[: RADAR_SHAPE[0], : RADAR_SHAPE[1]]
        vv = (150 + line + pixel).astype(np.uint16) if numbers is None else numbers
        return write_radar_product(tmp_path / name, {"VV": vv, "VH": vv // 2}, RadarProduct(**described))

    return write


@pytest.fixture
def radar_grid() -> GeoBox:
    """A map in the middle of the simulated radar image."""
    return RADAR_GRID


ITEM_SEARCH = "https://api.stacspec.org/v1.0.0/item-search"
Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], Any]
"""Handler of a request with its parameters; returns JSON, or None if it has sent the response itself."""


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Start a server on the loopback interface; return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            self._send(query)

        def do_POST(self) -> None:
            self._send(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _send(self, parameters: dict[str, Any]) -> None:
            if (content := answer(self, parameters)) is None:
                return
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def landing_page(handler: BaseHTTPRequestHandler, method: str = "POST") -> dict[str, Any]:
    """Return the landing page of a STAC API with item search."""
    address = f"http://{handler.headers['Host']}"
    links = [
        {"rel": "root", "href": address, "type": "application/json"},
        {"rel": "search", "href": f"{address}/search", "type": "application/geo+json", "method": method},
    ]
    core = "https://api.stacspec.org/v1.0.0/core"
    return {"type": "Catalog", "stac_version": "1.0.0", "id": "recorded", "description": "recorded"} | {
        "conformsTo": [core, ITEM_SEARCH],
        "links": links,
    }


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Server with responses chosen by the test."""
    return serving


@pytest.fixture
def landing() -> Callable[..., dict[str, Any]]:
    """Landing page with item search."""
    return landing_page


@pytest.fixture
def recorded() -> Path:
    """Items as public catalogues write them: of Italy and of New South Wales, with other products among them."""
    return Path(__file__).parents[1] / "data" / "stac_items.json"

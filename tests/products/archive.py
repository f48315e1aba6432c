"""An archive on the loopback: STAC API, token endpoint, and files, with the faults that a test asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from products.fixtures import landing_page
from unclouded.acquisition.providers import Provider


@dataclass
class Archive:
    """Files and items, and the faults of the server.

    Attributes:
        files: Content by name.
        items: STAC items.
        statuses: Status codes that are answered first, to requests for files.
        cut: Number of answers that are cut in their middle.
        ranges: Whether requests for the first bytes of a file are honoured, too.
        wrong_length: Whether the server declares and sends one byte less.
        token_uses: Requests for files that one token is good for; None if no token is needed.
        tokens: Tokens that were issued.
        asked: Paths of all requests, with their authorization.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    cut: int = 0
    ranges: bool = False
    wrong_length: bool = False
    token_uses: int | None = None
    tokens: int = 0
    used: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""

    @property
    def provider(self) -> Provider:
        """The archive, with a token endpoint if one is needed."""
        place = f"{self.address}/token" if self.token_uses is not None else ""
        levels = {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"}
        return Provider("local", self.address, levels, "sentinel-1-grd", place, "test", hosts=("127.0.0.1",))

    def add(
        self, path: Path, kind: str, outline: Mapping[str, Any], moment: str, clouds: float | None = None, **more: Any
    ) -> None:
        """Add a product, a zip, with its item."""
        name, content = path.name.removesuffix(".zip"), path.read_bytes()
        self.files[path.name] = content
        asset = {
            "href": f"{self.address}/files/{path.name}",
            "file:size": len(content),
            "file:checksum": f"1220{hashlib.sha256(content).hexdigest()}",
        }
        properties = {"datetime": moment, **({} if clouds is None else {"eo:cloud_cover": clouds}), **more}
        level = "l2a" if "MSIL2A" in name else "l1c"
        collection = "sentinel-1-grd" if kind == "radar" else f"sentinel-2-{level}"
        self.items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": name,
                "collection": collection,
                "geometry": dict(outline),
                "properties": properties,
                "assets": {"Product": asset},
                "links": [],
            }
        )


@contextmanager
def running(archive: Archive) -> Iterator[Archive]:
    """Serve an archive."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            archive.asked.append((path, self.headers.get("Authorization", "")))
            if path.startswith("/files/"):
                self._file(path.removeprefix("/files/"))
            else:
                self._json(landing_page(self))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            path = urlsplit(self.path).path
            archive.asked.append((path, self.headers.get("Authorization", "")))
            if path == "/token":
                known = parse_qs(body)
                if known.get("password") not in (["secret"], None):
                    self._status(401)
                    return
                archive.tokens, archive.used = archive.tokens + 1, 0
                self._json({"access_token": f"token-{archive.tokens}", "expires_in": 600, "refresh_token": "again"})
                return
            asked = json.loads(body)
            found = [one for one in archive.items if one["collection"] in asked["collections"]]
            self._json({"type": "FeatureCollection", "features": found, "links": []})

        def _file(self, name: str) -> None:
            if archive.token_uses is not None:
                valid = self.headers.get("Authorization") == f"Bearer token-{archive.tokens}"
                archive.used += 1
                if not valid or archive.used > archive.token_uses:
                    self._status(401)
                    return
            if archive.statuses:
                self._status(archive.statuses.pop(0))
                return
            content = archive.files.get(name)
            if content is None:
                self._status(404)
                return
            content = content[:-1] if archive.wrong_length else content
            span = self.headers.get("Range", "").removeprefix("bytes=")
            first, _, last = span.partition("-")
            partial = bool(span) and (archive.ranges or int(first) > 0)
            start, end = (
                (int(first), min(int(last or len(content) - 1) + 1, len(content))) if partial else (0, len(content))
            )
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", '"1"')
            self.end_headers()
            rest = content[start:end]
            if archive.cut:
                archive.cut -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def _json(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _status(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    archive.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A catalogue on this machine answers; no other is reached."""

import gzip
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape

from unclouded.catalogue import stac_api
from unclouded.catalogue.stac import open_catalogue
from unclouded.curation.search import SearchSettings, propose
from unclouded.errors import InputError
from unclouded.patches.roi import Roi
from unclouded.patches.sampling import SampledRegion
from unclouded.sentinel.footprints import footprint_around

pytestmark = pytest.mark.enable_socket  # the loopback alone
OUTLINE = footprint_around(11.0, 44.5, (52.0, 40.0))
SUMMER = date(2018, 6, 1), date(2018, 8, 31)
Handler, Serve, Landing = BaseHTTPRequestHandler, Callable[..., Any], Callable[..., dict[str, Any]]


class Recorded:
    """Answers item search from a file, two items a page, as the API specification has it."""

    def __init__(self, path: Path, landing: Landing, method: str) -> None:
        self.features = json.loads(path.read_text())["features"]
        self.landing, self.method = landing, method
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, handler: Handler, given: dict[str, Any]) -> dict[str, Any]:
        if handler.path == "/":
            return self.landing(handler, self.method)
        self.asked.append((handler.command, given))
        place = given["intersects"] if handler.command == "POST" else json.loads(given["intersects"])
        collections = given["collections"] if handler.command == "POST" else given["collections"].split(",")
        first, last = given["datetime"].split("/")
        found = [
            one
            for one in self.features
            if one["collection"] in collections
            and first <= one["properties"]["start_datetime" if "sar" in str(one["properties"]) else "datetime"] <= last
            and shape(one["geometry"]).intersects(shape(place))
        ]
        start = int(given.get("token", 0))
        return {"type": "FeatureCollection", "features": found[start : start + 2]} | {
            "links": [self._next(handler, given, start + 2)] if start + 2 < len(found) else []
        }

    def _next(self, handler: Handler, given: dict[str, Any], token: int) -> dict[str, Any]:
        address = f"http://{handler.headers['Host']}/search"
        if handler.command == "POST":
            return {"rel": "next", "href": address, "method": "POST", "body": {"token": token}, "merge": True}
        query = handler.path.partition("?")[2].partition("&token")[0]
        return {"rel": "next", "href": f"{address}?{query}&token={token}", "method": "GET"}


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_items_of_a_place_and_a_season_come_page_by_page(
    recorded: Path, serve: Serve, landing: Landing, method: str
) -> None:
    answers = Recorded(recorded, landing, method)
    with serve(answers) as address:
        found = open_catalogue(address).items(OUTLINE, SUMMER, "sentinel-2-l1c")
    days = [item["properties"]["datetime"][5:10] for item in found]
    assert sorted(days) == ["07-08", "07-11", "07-11", "07-11", "07-16", "08-20"]  # of three tiles; not of Australia
    assert [command for command, _ in answers.asked] == [method] * 3
    assert answers.asked[0][1]["datetime"] == "2018-06-01T00:00:00Z/2018-08-31T23:59:59Z"


def test_the_same_products_are_proposed_as_from_the_file(recorded: Path, serve: Serve, landing: Landing) -> None:
    region = SampledRegion(Roi("ROIs0001", "summer", 1), 11.0, 44.5, "Europe", (6, 7, 8), OUTLINE)
    settings = SearchSettings(since=date(2017, 12, 1), until=date(2018, 11, 30))
    with serve(Recorded(recorded, landing, "POST")) as address:
        served = propose(region, "train", open_catalogue(address), settings)
    stored = propose(region, "train", open_catalogue(str(recorded)), settings)
    assert served.choice.pairing is not None and served.choice.records() == stored.choice.records()
    assert served.spares == stored.spares and len(served.spares) == 1


def refused(serve: Serve, answer: Callable[[Handler, dict[str, Any]], Any]) -> str:
    with serve(answer) as address, pytest.raises(InputError) as error:
        open_catalogue(address).items(OUTLINE, SUMMER, "sentinel-2-l1c")
    assert "\n" not in str(error.value)
    return str(error.value)


def page(features: list[Any], *links: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": features, "links": list(links)}


def test_pages_without_end_are_not_followed(serve: Serve, landing: Landing) -> None:
    asked: list[str] = []

    def answer(handler: Handler, _: dict[str, Any]) -> Any:
        asked.append(handler.path)
        more = {"rel": "next", "href": f"http://{handler.headers['Host']}/search", "method": "POST", "body": {}}
        return landing(handler) if handler.path == "/" else page([{"id": 1}], more)

    assert "has more than 20 pages of 100 items of sentinel-2-l1c; ask for fewer days" in refused(serve, answer)
    assert len(asked) == 22  # the landing page, and one page too many


@pytest.mark.parametrize("href", ["http://127.0.0.1:9/search", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_fault_28_a_catalogue_leads_nowhere_else(serve: Serve, landing: Landing, href: str) -> None:
    def next_elsewhere(handler: Handler, _: dict[str, Any]) -> Any:
        return landing(handler) if handler.path == "/" else page([{}], {"rel": "next", "href": href})

    def search_elsewhere(handler: Handler, _: dict[str, Any]) -> Any:
        found = landing(handler)
        found["links"][1]["href"] = href
        return found

    for answer in (next_elsewhere, search_elsewhere):
        assert f"leads to {href!r}, elsewhere; do not trust it" in refused(serve, answer)


def test_a_redirection_is_reported_and_not_followed(serve: Serve) -> None:
    def answer(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.1:9/stac")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert "(the server answers 302 Found, moved to http://127.0.0.1:9/stac); check the address" in refused(
        serve, answer
    )


@pytest.mark.parametrize(
    "content",
    [
        {"type": "Catalog", "stac_version": "1.0.0", "id": "a", "description": "", "links": []},
        {"type": "Catalog"},
        [],
        "text",
        {"type": "Feature", "stac_version": "1.0.0", "id": "a"},
    ],
)
def test_what_is_no_catalogue_is_refused(serve: Serve, content: Any) -> None:
    assert "STAC API" in refused(serve, lambda handler, _: content)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"features": 7, "links": []},
        page([{}] * 1001),
        {"features": [1], "links": [{"href": "x"}]},
        {"features": {"a": 1}, "links": 7},
    ],
)
def test_an_absurd_page_is_refused(serve: Serve, landing: Landing, content: Any) -> None:
    reason = refused(serve, lambda handler, _: landing(handler) if handler.path == "/" else content)
    assert "does not answer as a STAC API" in reason or "more than 20 pages of 100 items" in reason


def test_fault_41_errors_end_in_one_line(serve: Serve) -> None:
    def broken(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_error(500)

    assert "(the server answers 500 Internal Server Error)" in refused(serve, broken)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="does not answer as a STAC API"):
            open_catalogue(f"http://127.0.0.1:{closed.getsockname()[1]}")


@pytest.mark.parametrize("path", ["/", "/search"])
@pytest.mark.parametrize(
    ("start", "piece", "reason"),
    [
        (b"", b"", " 0.3 s"),
        (b"", b"H", "no whole answer within 0.6 s"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y", "no whole answer within 0.6 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{", b" ", "no whole answer within 0.6 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", b"", " 0.3 s"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", "within 0."),
    ],
)
def test_fault_41_silence_and_dripping_end_in_time_in_every_phase(
    serve: Serve,
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    start: bytes,
    piece: bytes,
    reason: str,
) -> None:
    """A client that resets its limits, or has one for single reads alone, waits for ever in one of these."""
    monkeypatch.setattr(stac_api, "SILENCE_S", 0.3)
    monkeypatch.setattr(stac_api, "DEADLINE_S", 0.6)

    def answer(handler: Handler, _: dict[str, Any]) -> Any:
        if handler.path == "/" != path:
            return landing(handler)
        with suppress(OSError):
            handler.wfile.write(start)
            while piece or not handler.rfile.read(1):  # until the client closes the connection
                handler.wfile.write(piece)
                handler.wfile.flush()
                if not piece:
                    break
                time.sleep(0.02)
        handler.close_connection = True
        return None

    assert reason in refused(serve, answer)


def test_an_answer_that_drips_or_never_ends_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(pause_s: float, piece: bytes) -> Callable[[Handler, dict[str, Any]], None]:
        def answer(handler: Handler, _: dict[str, Any]) -> None:
            handler.send_response(200)
            handler.end_headers()
            try:
                while True:
                    handler.wfile.write(piece)
                    handler.wfile.flush()
                    time.sleep(pause_s)
            except OSError:
                pass

        return answer

    monkeypatch.setattr(stac_api, "DEADLINE_S", 0.2)
    assert "no whole answer within 0.2 s" in refused(serve, endless(0.01, b" "))
    monkeypatch.setattr(stac_api, "DEADLINE_S", 25.0)
    monkeypatch.setattr(stac_api, "MAX_ANSWER_BYTES", 1 << 20)
    assert "more than 1 MiB for one answer" in refused(serve, endless(0.0, b" " * 65_536))


def test_fault_41_a_busy_catalogue_is_asked_again_and_packed_answers_are_unpacked(
    serve: Serve, landing: Landing
) -> None:
    asked: list[str] = []

    def answer(handler: Handler, _: dict[str, Any]) -> Any:
        asked.append(handler.path)
        if handler.path == "/":
            return landing(handler)
        if len(asked) == 2:
            handler.send_response(503)
            handler.send_header("Retry-After", "100000")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return None
        body = gzip.compress(json.dumps(page([{"id": "a" * 100_000}])).encode())
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return None

    with serve(answer) as address:
        (item,) = open_catalogue(address).items(OUTLINE, SUMMER, "sentinel-2-l1c")
    assert len(item["id"]) == 100_000 and asked == ["/", "/search", "/search"]


@pytest.mark.parametrize("content", [{}, {"type": "FeatureCollection"}, {"features": None}, {"code": "Error"}])
def test_an_answer_without_features_is_an_error_and_not_an_empty_result(
    serve: Serve, landing: Landing, content: dict[str, Any]
) -> None:
    with serve(lambda handler, _: landing(handler) if handler.path == "/" else content) as address:
        catalogue = open_catalogue(address)
        with pytest.raises(InputError, match="the answer to the search has no list of features"):
            catalogue.items(OUTLINE, SUMMER, "sentinel-2-l1c")


def test_an_empty_list_of_features_is_an_empty_result(serve: Serve, landing: Landing) -> None:
    with serve(lambda handler, _: landing(handler) if handler.path == "/" else page([])) as address:
        assert open_catalogue(address).items(OUTLINE, SUMMER, "sentinel-2-l1c") == []


def test_fault_21_an_answer_that_unfolds_to_too_much_is_cut_off(
    serve: Serve, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bomb(handler: Handler, _: dict[str, Any]) -> None:
        body = gzip.compress(b" " * (8 << 20))
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setattr(stac_api, "MAX_ANSWER_BYTES", 1 << 20)
    assert "more than 1 MiB for one answer" in refused(serve, bomb)

"""Search of a STAC API by pystac-client, with limits on time, bytes and pages, and restricted to its own host."""

import json
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import urlencode, urlsplit

import pystac
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning

from unclouded.errors import InputError
from unclouded.strict_json import parse_json
from unclouded.web import WebError, WebLimits, require_web_address, send_request, shown_address

CONNECT_S = 8.0
SILENCE_S = 8.0
"""Maximum silence of a server, in headers and body."""
DEADLINE_S = 25.0
"""Deadline of one answer, which covers name resolution, connecting, retries and the whole body."""
MAX_ANSWER_BYTES = 32 << 20
PAGE_ITEMS = 100
MAX_PAGES = 20
ATTEMPTS = 3
"""Number of requests to a busy server."""
FIRST_WAIT_S = 0.5
_BUSY = (429, 502, 503, 504)
_CONNECTION_ERRORS = (APIError, ClientTypeError, OSError, WebError)
_ANSWER_ERRORS = (pystac.STACError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Exceptions that malformed and hostile answers cause in pystac-client."""


class StacApi:
    """A STAC API with item search.

    Args:
        address: Address of its landing page.

    Raises:
        InputError: There is no response, or it is not that of a STAC API with item search.
    """

    def __init__(self, address: str) -> None:
        self._io = _BoundedIO(address)
        with _explained(address):
            self._client = Client.open(address, stac_io=self._io)
            if not self._client.conforms_to("ITEM_SEARCH"):
                raise InputError(
                    f"{shown_address(address)} answers no item search, expected a STAC API; or give a file of items"
                )
            methods = [link.extra_fields.get("method", "GET") for link in self._client.get_links("search")]
        self._method = "POST" if "POST" in methods else "GET"
        self._address = address

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return the items of a collection that intersect an area and lie within a range of days.

        Args:
            outline: GeoJSON geometry in degrees.
            days: First and last day.
            collection: Id of the collection.

        Raises:
            InputError: The response is late, invalid, or has too many pages.
        """
        found: list[Any] = []
        with _explained(self._address):
            search = self._client.search(
                method=self._method,
                collections=[collection],
                intersects=dict(outline),
                datetime=f"{days[0]}/{days[1]}",
                limit=PAGE_ITEMS,
            )
            for number, page in enumerate(search.pages_as_dicts()):
                if number == MAX_PAGES or len(page["features"]) > 10 * PAGE_ITEMS:
                    most = f"{MAX_PAGES} pages of {PAGE_ITEMS} items"
                    name = shown_address(self._address)
                    raise InputError(f"{name} has more than {most} of {collection}; ask for fewer days")
                found += page["features"]
        return found


class _BoundedIO(StacApiIO):
    """Requests to one host only, with limits that pystac-client cannot reset: its session and timeout are not used.

    Args:
        address: Address of the landing page; a user name and a password in it are sent with every request.
    """

    def __init__(self, address: str) -> None:
        super().__init__(max_retries=None)
        require_web_address(address)
        self._secret, _, self._host = urlsplit(address).netloc.rpartition("@")
        self._answer: dict[str, Any] = {}

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read an address or a link; the base class would also read local files."""
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Parse an answer, a JSON object."""
        content = parse_json(txt, f"the answer of {self._host}", "check the address, or try later")
        if not isinstance(content, dict):
            raise APIError("the answer is no JSON object")
        self._answer = content
        return content

    def get_pages(
        self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of a search; the base class takes an answer without features for the end of the result.

        Raises:
            APIError: The last answer has no list of features.
        """
        yield from super().get_pages(url, method, parameters)
        if not isinstance(self._answer.get("features"), list):
            raise APIError("the answer to the search has no list of features")

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Request a text; a redirect or link to another host is refused."""
        parts = urlsplit(href)
        if parts.scheme not in ("http", "https") or parts.netloc.rpartition("@")[2] != self._host:
            raise InputError(f"{self._host} leads to {href[:80]!r}, elsewhere; do not trust it")
        netloc = f"{self._secret}@{self._host}" if self._secret else self._host
        given = {"Accept": "application/geo+json, application/json, */*", "Accept-Encoding": "gzip", **(headers or {})}
        body = None
        if (verb := (method or "GET").upper()) == "POST":
            body, given["Content-Type"] = json.dumps(parameters).encode(), "application/json"
        elif parameters:
            known = {key: value for key, value in parameters.items() if value is not None}
            parts = parts._replace(query="&".join(filter(None, (parts.query, urlencode(known, doseq=True)))))
        return _answered(verb, parts._replace(netloc=netloc).geturl(), given, body)


def _answered(verb: str, address: str, headers: Mapping[str, str], body: bytes | None) -> str:
    """Return the text of an answer; requests to a busy server are repeated within the deadline of one answer."""
    until = time.monotonic() + DEADLINE_S
    for attempt in range(ATTEMPTS):
        limits = WebLimits(CONNECT_S, SILENCE_S, DEADLINE_S, max(0.0, until - time.monotonic()), least_bytes_s=0)
        try:
            with send_request(verb, address, headers=headers, body=body, limits=limits, redirects=0) as answer:
                if answer.status != 200:
                    raise answer.error()
                return answer.read(MAX_ANSWER_BYTES).decode("utf-8")
        except WebError as error:
            pause_s = random.uniform(0.5, 1.5) * FIRST_WAIT_S * 2**attempt  # noqa: S311  (no secret)
            is_last = attempt + 1 == ATTEMPTS or time.monotonic() + pause_s > until
            if is_last or error.status not in _BUSY:
                raise
            time.sleep(pause_s)
    raise AssertionError("unreachable")


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Convert every exception that an answer can cause into an :class:`InputError` of one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PystacClientWarning)
        try:
            yield
        except InputError:
            raise
        except (*_CONNECTION_ERRORS, *_ANSWER_ERRORS) as error:
            kind = "" if isinstance(error, WebError) else f"{type(error).__name__}: "
            reason = kind + " ".join(str(error).split())[:160]
            raise InputError(
                f"{shown_address(address)} does not answer as a STAC API ({reason}); check the address, or try later"
            ) from error

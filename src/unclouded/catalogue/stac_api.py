"""Search a STAC API through pystac-client, within limits of time, bytes and pages, and on its own host alone."""

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
"""Longest silence of a server, in headers and body."""
DEADLINE_S = 25.0
"""Longest time that one answer may take, with resolving, connecting, retries and its body, however it drips."""
MAX_ANSWER_BYTES = 32 << 20
PAGE_ITEMS = 100
MAX_PAGES = 20
ATTEMPTS = 3
"""How often a busy server is asked."""
FIRST_WAIT_S = 0.5
_BUSY = (429, 502, 503, 504)
_OF_THE_LINE = (APIError, ClientTypeError, OSError, WebError)
_OF_THE_ANSWER = (pystac.STACError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What careless and hostile answers end in."""


class StacApi:
    """A catalogue that answers item search.

    Args:
        address: Of its landing page.

    Raises:
        InputError: Nobody answers there, or something else does.
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
        """Return what a collection has of a place and of some days.

        Args:
            outline: GeoJSON geometry in degrees.
            days: First and last.
            collection: Its id.

        Raises:
            InputError: The catalogue does not answer in time, answers something else, or has too much.
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
    """Asks one host and no other, with limits that pystac-client cannot reset: its own session and timeout are unused.

    Args:
        address: Of the landing page; a user name and a password in it are sent with every request.
    """

    def __init__(self, address: str) -> None:
        super().__init__(max_retries=None)
        require_web_address(address)
        self._secret, _, self._host = urlsplit(address).netloc.rpartition("@")

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read an address or a link; see the base, which would read local files, too."""
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Parse an answer; see the base."""
        content = parse_json(txt, f"the answer of {self._host}", "check the address, or try later")
        if not isinstance(content, dict):
            raise APIError("the answer is no JSON object")
        return content

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Ask for a text; see the base."""
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
    """Return the text of an answer; a busy server is asked again, within the time of one answer."""
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
    """Say in one line what is wrong with a catalogue; its answers may be anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PystacClientWarning)
        try:
            yield
        except InputError:
            raise
        except (*_OF_THE_LINE, *_OF_THE_ANSWER) as error:
            kind = "" if isinstance(error, WebError) else f"{type(error).__name__}: "
            reason = kind + " ".join(str(error).split())[:160]
            raise InputError(
                f"{shown_address(address)} does not answer as a STAC API ({reason}); check the address, or try later"
            ) from error

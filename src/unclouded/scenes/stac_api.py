"""Search a STAC API through pystac-client, within limits of time, bytes and pages, and on its own host alone."""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import pystac
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from requests import Request
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from unclouded.errors import InputError

SILENCE_S = 8.0
"""Longest silence of a server."""
DEADLINE_S = 25.0
"""Longest time that one answer may take, however it drips."""
MAX_ANSWER_BYTES = 32 << 20
PAGE_ITEMS = 100
MAX_PAGES = 20
_CHUNK = 1 << 16
_RETRIES = Retry(
    total=2,
    connect=1,
    read=0,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=None,
    backoff_factor=0.5,
    respect_retry_after_header=False,  # nobody makes us wait for a day
)
_OF_THE_LINE = (APIError, ClientTypeError, OSError, HTTPError)
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
                    f"{address[:200]} answers no item search, expected a STAC API; or give a file of items"
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
                    raise InputError(f"{self._address[:200]} has more than {most} of {collection}; ask for fewer days")
                found += page["features"]
        return found


class _BoundedIO(StacApiIO):
    """Asks one host and no other, and stops reading in time."""

    def __init__(self, address: str) -> None:
        super().__init__(timeout=SILENCE_S, max_retries=None)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=_RETRIES))
        self._host = urlsplit(address).netloc

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read an address or a link; see the base, which would read local files, too."""
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Ask for a text; see the base."""
        parts = urlsplit(href)
        if parts.scheme not in ("http", "https") or parts.netloc != self._host:
            raise InputError(f"{self._host} leads to {href[:80]!r}, elsewhere; do not trust it")
        verb = (method or "GET").upper()
        body, query = (parameters, None) if verb == "POST" else (None, parameters)
        prepared = self.session.prepare_request(Request(verb, href, headers=headers, json=body, params=query))
        settings = self.session.merge_environment_settings(href, {}, True, None, None)
        until = time.monotonic() + DEADLINE_S
        with self.session.send(prepared, timeout=self.timeout, allow_redirects=False, **settings) as answer:
            if answer.status_code != 200:
                moved = f", moved to {answer.headers.get('location', '')[:120]}" if answer.is_redirect else ""
                raise APIError(f"status {answer.status_code}{moved}")
            text = bytearray()
            while chunk := answer.raw.read1(_CHUNK, decode_content=True):
                text += chunk
                if len(text) > MAX_ANSWER_BYTES or time.monotonic() > until:
                    raise APIError(f"more than {MAX_ANSWER_BYTES >> 20} MiB or {DEADLINE_S:g} s for one answer")
        return text.decode("utf-8")


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
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{address[:200]} does not answer as a STAC API ({type(error).__name__}: {reason}); "
                "check the address, or try later"
            ) from error

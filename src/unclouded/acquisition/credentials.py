"""Credentials of an archive, from the environment or the netrc file; tokens are renewed during long downloads.

They are read from UNCLOUDED_TOKEN (a bearer token), from UNCLOUDED_USER and UNCLOUDED_PASSWORD, or from the entry of
the host in ``~/.netrc`` (or the file NETRC). They are sent to the hosts of the archive over https only, and stand in no
message, no file and no item.
"""

import json
import netrc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from urllib3.util import make_headers

from unclouded.acquisition.providers import Provider
from unclouded.errors import InputError
from unclouded.strict_json import parse_json
from unclouded.web import WebError, send_request, shown_address

TOKEN, USER, PASSWORD = "UNCLOUDED_TOKEN", "UNCLOUDED_USER", "UNCLOUDED_PASSWORD"
EARLY_S = 30.0
"""Seconds before its end at which a token is renewed."""
_MOST_BYTES = 1 << 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Credentials:
    """Credentials for the files of an archive; see :class:`unclouded.io.download.Access`.

    Attributes:
        provider: Archive.
        collection: Collection of the files, for signatures.
        clock: Function that returns seconds.
    """

    provider: Provider
    collection: str = ""
    clock: Callable[[], float] = time.monotonic
    _token: str = field(default="", repr=False)
    _expires: float = 0.0
    _refresh: str = field(default="", repr=False)

    def signed(self, address: str) -> str:
        """Return an address with the signature of its collection, where the archive needs one.

        Raises:
            WebError: The archive gives no signature.
        """
        if not self.provider.signing_address:
            return address
        if not self._is_valid():
            answer = self._ask("GET", f"{self.provider.signing_address}/{self.collection}", None)
            self._keep(answer.get("token"), answer.get("expires_in", 600), "")
        return f"{address}{'&' if '?' in address else '?'}{self._token}"

    def headers(self, address: str) -> Mapping[str, str]:
        """Return the header with the token or password for an address; none for other hosts, and without TLS."""
        host = urlsplit(address).hostname or ""
        if not (address.lower().startswith("https:") or host in _LOOPBACK):
            return {}
        if self.provider.signing_address:
            return {}
        if self._is_own(host):
            if token := self._bearer():
                return {"Authorization": f"Bearer {token}"}
            return {}
        if (entry := _entry(host)) is not None:
            return {"Authorization": make_headers(basic_auth=f"{entry[0]}:{entry[1]}")["authorization"]}
        return {}

    def renew(self) -> bool:
        """Discard a rejected token; return whether another one can be obtained."""
        self._token, self._expires = "", 0.0
        return bool(self.provider.signing_address or (self.provider.token_address and (self._refresh or self._user())))

    def require(self) -> None:
        """Obtain a token before anything else is done, if the archive needs one.

        Raises:
            InputError: There are no credentials, or they are rejected.
        """
        if not self.provider.token_address:
            return
        try:
            if self._bearer():
                return
        except WebError as error:
            place = shown_address(self.provider.token_address)
            raise InputError(f"{place} gives no token ({error}); check user and password") from error
        host = urlsplit(self.provider.token_address).hostname
        raise InputError(
            f"{self.provider.name} needs credentials, found none; set {USER} and {PASSWORD}, or {TOKEN}, or add "
            f"machine {host} to ~/.netrc"
        )

    def _is_own(self, host: str) -> bool:
        own = self.provider.hosts or (urlsplit(self.provider.address).hostname or "",)
        return any(host == one or host.endswith(f".{one}") for one in own if one)

    def _is_valid(self) -> bool:
        return bool(self._token) and self.clock() < self._expires

    def _bearer(self) -> str:
        """Return a valid token; empty if there are no credentials."""
        if not self.provider.token_address:
            return os.environ.get(TOKEN, "")
        if self._is_valid():
            return self._token
        fields: dict[str, str] | None = None
        if self._refresh:
            fields = {"grant_type": "refresh_token", "refresh_token": self._refresh}
        elif (user := self._user()) is not None:
            fields = {"grant_type": "password", "username": user[0], "password": user[1]}
        if fields is None:
            return os.environ.get(TOKEN, "")
        body = urlencode({**fields, "client_id": self.provider.client}).encode()
        try:
            answer = self._ask("POST", self.provider.token_address, body)
        except WebError:
            if not self._refresh:
                raise
            self._refresh = ""  # it expires, too: begin with the password
            return self._bearer()
        self._keep(answer.get("access_token"), answer.get("expires_in", 300), answer.get("refresh_token", ""))
        return self._token

    def _user(self) -> tuple[str, str] | None:
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if user and password:
            return user, password
        return _entry(urlsplit(self.provider.token_address).hostname or "")

    def _keep(self, token: Any, lasts_s: Any, refresh: Any) -> None:
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
            raise WebError("the archive gives no valid token", may_pass=False)
        lasts = float(lasts_s) if isinstance(lasts_s, int | float) and not isinstance(lasts_s, bool) else 300.0
        self._token, self._expires = token, self.clock() + max(lasts - EARLY_S, 1.0)
        self._refresh = refresh if isinstance(refresh, str) else ""

    def _ask(self, method: str, address: str, body: bytes | None) -> Mapping[str, Any]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with send_request(method, address, headers=headers, body=body, redirects=0) as answer:
            if answer.status != 200:
                error = answer.error()
                raise WebError(str(error), may_pass=error.may_pass, wait_s=error.wait_s)  # 401 of a token is final
            text = answer.read(_MOST_BYTES).decode("utf-8", "replace")
        try:
            content = parse_json(text, "the answer", "try later")
        except (InputError, json.JSONDecodeError) as error:
            raise WebError("the answer with the token is not JSON", may_pass=False) from error
        return content if isinstance(content, dict) else {}


def _entry(host: str) -> tuple[str, str] | None:
    """Return user and password of a host in the netrc file; None without file or entry.

    Raises:
        InputError: The file is not valid; the message does not quote it.
    """
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not host or not path.is_file():
        return None
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise InputError(f"{path} is not a valid netrc file{f' (line {line})' if line else ''}; correct it") from error
    return (found[0], found[2]) if found and found[0] and found[2] else None

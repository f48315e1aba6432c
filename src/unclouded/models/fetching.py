"""Weights files by address: downloaded once, checked against the SHA-256 in the address, and kept in a cache.

    hf://owner/repo@revision/folder/weights.safetensors#sha256=<64 hexadecimal digits>
    https://host/weights.safetensors#sha256=<64 hexadecimal digits>
    https://host/network.onnx#sha256=<...>&description=<SHA-256 of network.json beside it>

A file in the cache is used without a connection. Where none is possible, the file is brought by other means and named
by its path.
"""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from unclouded.errors import InputError
from unclouded.files import explained, named, sha256
from unclouded.io.array_cache import default_folder
from unclouded.io.download import RetryPolicy, download
from unclouded.web import require_web_address, shown_address

logger = logging.getLogger(__name__)

SCHEMES = ("hf://", "https://", "http://")
"""Beginnings of addresses; http serves mirrors of a local network, as the hash protects the content."""
ENDPOINT = "HF_ENDPOINT"
"""Environment variable with the address of the hub of hf:// addresses, such as that of a mirror."""
HUB = "https://huggingface.co"
SUFFIXES = (".safetensors", ".onnx")
MAX_BYTES = 16 << 30
"""Largest weights file that is downloaded."""
MAX_DESCRIPTION_BYTES = 1 << 20

_HUB = re.compile(r"hf://([\w.-]{1,96})/([\w.-]{1,96})(?:@([^/#?]{1,200}))?/([^#?]+)")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteWeights:
    """A weights file on a server.

    Attributes:
        address: http or https address of the file.
        sha256: SHA-256 of the file.
        description_sha256: SHA-256 of the description beside an ONNX file; empty for others.
    """

    address: str
    sha256: str
    description_sha256: str = ""

    @property
    def name(self) -> str:
        """Name of the file in the cache."""
        return re.sub(r"[^\w.-]", "_", unquote(urlsplit(self.address).path).rsplit("/", 1)[-1])[-100:]


def is_address(text: str) -> bool:
    """Return whether a text is the address of a weights file rather than a path or a name."""
    return text.lower().startswith(SCHEMES)


def parse_address(text: str) -> RemoteWeights:
    """Return the file of an address.

    Raises:
        InputError: The address is malformed, lacks a hash, or is not that of a weights file.
    """
    address, _, fragment = text.partition("#")
    shown = shown_address(address)
    if address.lower().startswith("hf://"):
        address = _on_hub(address)
    require_web_address(address)
    suffix = Path(urlsplit(address).path).suffix
    if suffix not in SUFFIXES:
        raise InputError(f"{shown} ends in {suffix or 'no suffix'}, expected a file of {' or '.join(SUFFIXES)}")
    keys = ("sha256", "description") if suffix == ".onnx" else ("sha256",)
    parts = dict(part.partition("=")[::2] for part in fragment.lower().split("&") if part)
    if set(parts) != set(keys) or not all(_HASH.fullmatch(value) for value in parts.values()):
        expected = "&".join(f"{key}=<64 hexadecimal digits>" for key in keys)
        raise InputError(
            f"{shown} needs the SHA-256 of its content, as #{expected}, found {fragment[:80]!r}; take it from the page"
            " of the file, or give the path of a copy"
        )
    return RemoteWeights(address, parts["sha256"], parts.get("description", ""))


def _on_hub(address: str) -> str:
    """Return the https address of hf://owner/repo@revision/file; without a revision that of the branch main."""
    match = _HUB.fullmatch(address)
    if match is None or any(part in ("", ".", "..") for part in match[4].split("/")):
        raise InputError(f"{shown_address(address)} is not an address of the form hf://owner/repo@revision/file")
    owner, repository, revision, file = match.groups()
    hub = os.environ.get(ENDPOINT, HUB).rstrip("/")
    require_web_address(hub, f"the address of a hub in {ENDPOINT}")
    return f"{hub}/{owner}/{repository}/resolve/{quote(revision or 'main', safe='')}/{quote(file)}"


def fetched(text: str, retry: RetryPolicy | None = None) -> Path:
    """Return the path of a weights file that is given by address; it is downloaded unless it is in the cache.

    Args:
        text: Address, see the module.
        retry: Timeouts and attempts; those of :func:`~unclouded.io.download.download` if omitted.

    Raises:
        InputError: The address is malformed, the server has no such file, or its content has another SHA-256.
        MachineError: The disk is full, or cannot be written.
    """
    remote, retry = parse_address(text), retry or RetryPolicy()
    folder = default_folder() / "weights" / remote.sha256[:32]
    if remote.description_sha256:
        folder = folder / remote.description_sha256[:32]
    target = folder / remote.name
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # other processes wait for the first one
            if remote.description_sha256:
                address = remote.address.removesuffix(".onnx") + ".json"
                described = target.with_suffix(".json")
                _fetch(address, described, remote.description_sha256, MAX_DESCRIPTION_BYTES, retry)
            _fetch(remote.address, target, remote.sha256, MAX_BYTES, retry)
    return target


def _fetch(address: str, target: Path, expected: str, most_bytes: int, retry: RetryPolicy) -> None:
    """Download a file, and give it its name once its SHA-256 is right."""
    if target.is_file():
        return
    unchecked = target.with_name(f"{target.name}.unchecked")
    logger.info(f"downloading {shown_address(address)} to {named(target)}")
    try:
        download(address, unchecked, retry=retry, most_bytes=most_bytes)
    except InputError as error:
        raise InputError(f"{error}; without a connection, bring the file by other means and give its path") from error
    found = sha256(unchecked)
    if found != expected:
        unchecked.unlink()
        raise InputError(
            f"{shown_address(address)} has the SHA-256 {found}, expected {expected}; it was deleted: check the address"
            " and its hash"
        )
    unchecked.replace(target)

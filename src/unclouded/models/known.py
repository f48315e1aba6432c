"""What may be named as a remover, checked without torch, so that a wrong name is refused at once."""

from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import is_file, named, open_file
from unclouded.formats import format_of, found_clause
from unclouded.settings import nearest

NAMED_REMOVERS = ("scene-adapted", "cloudy", "clear-mean", "sar-vv", "sar-vh", "sar-regression")
"""Removers without weights, by name."""
MAX_HEADER_BYTES = 1 << 20
"""Longest header of weights that is read; ours have about 8 kB."""

_PICKLES = {b"\x80": "a pickle", b"PK\x03\x04": "a zip archive, such as a torch checkpoint"}


def require_remover(text: str) -> None:
    """Refuse what is neither the name of a remover nor a weights file, as far as the file's first bytes tell.

    Raises:
        InputError: It is neither.
    """
    if text in NAMED_REMOVERS:
        return
    path = Path(text)
    if not path.suffix and format_of(path) is None:
        raise InputError(f"{text[:80]!r} is no remover{nearest(text, NAMED_REMOVERS)}; or give a weights file")
    require_weights_file(path)


def require_weights_file(path: Path) -> None:
    """Refuse a file that does not begin like safetensors with a header of our size.

    Raises:
        InputError: No regular file, a pickle, or any other format.
    """
    if not is_file(path):
        found = f"{named(path)} is not a file{found_clause(path)}"
        raise InputError(f"{found}; check the path, or make weights with 'unclouded train'")
    with open_file(path) as file:
        start = file.read(9)
    for magic, meaning in _PICKLES.items():
        if start.startswith(magic) and not start.endswith(b"{"):  # the header of safetensors starts at the ninth byte
            refused = f"{named(path)} is {meaning}, expected safetensors"
            raise InputError(f"{refused}; it was not opened, for it can run any code")
    if not start.endswith(b"{") or len(start) < 9:
        found = f"{named(path)} is not a safetensors file{found_clause(path)}"
        raise InputError(f"{found}; give the weights that 'unclouded train' writes")
    if (length := int.from_bytes(start[:8], "little")) > MAX_HEADER_BYTES:
        declared = f"{named(path)} declares a header of {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}"
        raise InputError(f"{declared}; give the weights that 'unclouded train' writes")

"""Names of removers and headers of weights files, checked without torch so that mistakes are reported at once."""

from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import is_file, named, open_file, require_file
from unclouded.formats import format_of, found_clause
from unclouded.models.fetching import fetched, is_address
from unclouded.models.plugins import is_reference, registered, require_module
from unclouded.settings import nearest

NAMED_REMOVERS = (
    *("auto", "scene-adapted", "reference-adapted", "cloudy", "clear-mean", "sar-vv", "sar-vh", "sar-regression"),
    *("reference-copy", "reference-regression", "median", "geomedian"),
)
"""Removers without weights, by name."""
MAX_HEADER_BYTES = 1 << 20
"""Maximum size of the header of a weights file; those of our networks have about 8 kB."""

_PICKLES = {b"\x80": "a pickle", b"PK\x03\x04": "a zip archive, such as a torch checkpoint"}


def local_path(text: str) -> str:
    """Return a remover as it was named, or the path of its file in the cache if it was named by address.

    The file is downloaded unless it is there; see :func:`unclouded.models.fetching.fetched`.

    Raises:
        InputError: The address is malformed, or the file cannot be downloaded.
    """
    code, file = split_code(text)
    if not is_address(file):
        return text
    path = str(fetched(file))
    return f"{code}@{path}" if code else path


def require_remover(text: str | Path) -> None:
    """Check that a text is a remover: a name, ``package.module:attribute``, an ONNX file with its description,
    or a weights file by its first bytes.

    Code of other packages is not imported here.

    Raises:
        InputError: It is none of these.
    """
    if text in NAMED_REMOVERS:
        return
    text = local_path(str(text))
    if is_reference(text):
        require_module(text)
        return
    code, file = split_code(text)
    if code:
        require_module(code)
        require_weights_file(Path(file))
        return
    path = Path(text)
    if not path.suffix and format_of(path) is None:
        names = registered()
        if text not in names:
            near = nearest(text, [*NAMED_REMOVERS, *names])
            raise InputError(f"unknown remover {text[:80]!r}{near}; or give a weights file or package.module:attribute")
        return
    if path.suffix == ".onnx":
        require_file(path)
        if not (description := path.with_suffix(".json")).is_file():
            raise InputError(
                f"{named(path)} lies without its description {named(description)}; write one in the vocabulary of STAC"
                " MLM, see docs/networks.md"
            )
        return
    require_weights_file(path)


def weights_file(text: str) -> Path | None:
    """Return the file of a remover that is given by file or address, alone or after ``package.module:Class@``; else
    None.
    """
    path = Path(split_code(local_path(text))[1])
    return path if is_file(path) else None


def split_code(text: str) -> tuple[str, str]:
    """Return the code of another package, if any is named before the weights, and the file or name."""
    code, at, file = text.partition("@")
    return (code, file) if at and is_reference(code) else ("", text)


def require_weights_file(path: Path) -> None:
    """Check that a file begins like safetensors, with a header of at most :data:`MAX_HEADER_BYTES`.

    Raises:
        InputError: The file is missing, a pickle, or in any other format.
    """
    if not is_file(path):
        found = f"{named(path)} is not a file{found_clause(path)}"
        raise InputError(f"{found}; check the path, or make weights with 'unclouded train'")
    with open_file(path) as file:
        start = file.read(9)
    for magic, meaning in _PICKLES.items():
        if start.startswith(magic) and not start.endswith(b"{"):  # safetensors: 8 bytes of length, then JSON
            refused = f"{named(path)} is {meaning}, expected safetensors"
            raise InputError(f"{refused}; it was not opened because it can run any code")
    if not start.endswith(b"{") or len(start) < 9:
        found = f"{named(path)} is not a safetensors file{found_clause(path)}"
        raise InputError(f"{found}; give the weights that 'unclouded train' writes")
    if (length := int.from_bytes(start[:8], "little")) > MAX_HEADER_BYTES:
        declared = f"{named(path)} declares a header of {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}"
        raise InputError(f"{declared}; give the weights that 'unclouded train' writes")

"""The manifest of a simulated product: every file with its size and checksum, as Copernicus lists them."""

import hashlib
import zipfile
from pathlib import Path
from typing import Literal

Checksum = Literal["MD5", "SHA3-256"]

_ENTRY = """\
        <dataObject ID="{identity}">
            <byteStream mimeType="application/octet-stream" size="{size}">
                <fileLocation href="./{name}" locatorType="URL"/>
                <checksum checksumName="{algorithm}">{checksum}</checksum>
            </byteStream>
        </dataObject>
"""
_MANIFEST = """\
<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<xfdu:XFDU xmlns:gml="http://www.opengis.net/gml" xmlns:safe="http://www.esa.int/safe/sentinel/1.1"
    xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1">
    <informationPackageMap>
        <xfdu:contentUnit dmdID="acquisitionPeriod platform" pdiID="processing" textInfo="{title}"/>
    </informationPackageMap>
    <metadataSection>
{metadata}    </metadataSection>
    <dataObjectSection>
{entries}    </dataObjectSection>
</xfdu:XFDU>
"""


def write_manifest(folder: Path, title: str, algorithm: Checksum = "MD5", metadata: str = "") -> None:
    """List all files of a product's folder in its ``manifest.safe``.

    Args:
        folder: Of the product.
        title: What it is.
        algorithm: MD5 until 2021, SHA3-256 since.
        metadata: Elements of the metadata section.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    entries = "".join(_entry(folder, name, algorithm) for name in names if name != "manifest.safe")
    (folder / "manifest.safe").write_text(_MANIFEST.format(title=title, entries=entries, metadata=metadata))


def _entry(folder: Path, name: str, algorithm: Checksum) -> str:
    content = (folder / name).read_bytes()
    digest = hashlib.new(algorithm.lower().replace("-", "_"), content, usedforsecurity=False).hexdigest()
    identity = name.replace("/", "_").replace(".", "_")
    return _ENTRY.format(identity=identity, size=len(content), name=name, algorithm=algorithm, checksum=digest)


def zip_product(folder: Path, path: Path) -> Path:
    """Write a product's folder as the zip that archives deliver; return its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path

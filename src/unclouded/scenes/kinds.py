"""What a product is, in words: for readers that expected another."""

import re

from unclouded.formats import format_of
from unclouded.scenes.safe import ProductFolder

_SENTINEL1 = re.compile(r"s1.-([a-z0-9]+)-([a-z]{3})")


def kind_of(product: ProductFolder) -> str:
    """Say which product a folder holds, as far as the names of its files tell."""
    if radar := product.names("annotation/s1*.xml"):
        match = _SENTINEL1.match(radar[0].rpartition("/")[2])
        return f"a Sentinel-1 {' '.join(match.groups()).upper() if match else ''} product"
    if product.names("MTD_MSIL2A.xml"):
        return "a Sentinel-2 Level-2A product"
    if product.names("MTD_MSIL1C.xml") or product.names("S2?_*_MTD_SAFL1C*.xml"):
        return "a Sentinel-2 Level-1C product"
    if any(product.names(pattern) for pattern in ("*_MTL.txt", "*_MTL.xml", "*_MTL.json")):
        return "a Landsat product"
    if product.names("metadata.xml") or product.names("MTD_TL.xml"):
        return "a granule without its product, whose offset nobody knows"
    if inside := [name.partition("/")[0] for name in product.names("*/manifest.safe")]:
        several = " and others (give one of them, or parts of one tile in one pass by their own names)"
        return f"a folder that holds {inside[0][:100]}{several if inside[1:] else ''}, not a product itself"
    if (found := format_of(product.folder)) and found.remedy:
        return f"{found.name} ({found.remedy})"
    if images := [*product.names("*.tif"), *product.names("*.tiff"), *product.names("*.TIF")]:
        return f"a folder of {len(images)} GeoTIFF{'s' * (len(images) > 1)} not named after its bands (give one file)"
    if product.names("*.jp2"):
        return "a folder of JPEG 2000 images without their product (give the whole product)"
    return "a folder without a product" if product.names("*") or product.names("*/*") else "an empty folder"

"""Diagnosis of an installation: library versions, coordinate systems, image formats, hardware and caches."""

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numba
import pyproj
import rasterio
from rasterio.warp import transform

from unclouded import __version__
from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError, MachineError
from unclouded.files import require_writable
from unclouded.io.gdal import require_projections
from unclouded.io.geotiff import open_geotiff

LIBRARIES = (
    *("numpy", "scipy", "numba", "safetensors", "pydantic", "rasterio", "pyproj", "odc-geo"),
    *("lightgbm", "s2cloudless", "matplotlib", "torch", "torchvision", "lightning-fabric"),
)
EXTRAS = {"torch": "torch", "ukis-csmask": "csmask", "onnxruntime": "csmask", "tensorboard": "track", "zarr": "zarr"}
"""Optional libraries, and the extra that installs each."""
PLACE_DEG = (9.0, 48.0)
"""Longitude and latitude of a place on the central meridian of UTM zone 32."""
PLACE_M = (500_000.0, 5_316_300.2245)
"""Easting and northing of :data:`PLACE_DEG` in EPSG:32632: 0.9996 times the meridian arc on the WGS 84 ellipsoid."""
TOLERANCE_M = 1e-3
JPEG2000 = "JP2OpenJPEG"
"""GDAL's driver for the images of Sentinel-2 products."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: Subject of the check.
        found: Result.
        remedy: Next step for the user; empty if nothing is wrong.
    """

    subject: str
    found: str
    remedy: str = ""


def examine() -> tuple[Finding, ...]:
    """Run all checks; a check that fails becomes a finding with a remedy."""
    return tuple(finding for check in CHECKS for finding in check())


def libraries() -> Iterator[Finding]:
    """Yield the versions of this package, of Python and of the libraries that results depend on."""
    yield Finding("unclouded", f"{__version__}, Python {platform.python_version()} on {platform.platform()}")
    yield Finding("libraries", ", ".join(f"{name} {number}" for name in LIBRARIES if (number := _version(name))))
    for name, extra in EXTRAS.items():
        yield Finding(name, _version(name) or f"not installed; pip install 'unclouded[{extra}]' installs it")


def _version(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None


def geography() -> Iterator[Finding]:
    """Check that the two copies of PROJ, in rasterio and pyproj, transform a known place correctly."""
    yield Finding("GDAL and PROJ", f"GDAL {rasterio.__gdal_version__} with PROJ {rasterio.__proj_version__} in "
                  f"rasterio, PROJ {pyproj.proj_version_str} in pyproj")  # fmt: skip
    for name, project in PROJECTORS.items():
        yield _placed(f"PROJ in {name}", project)


def _placed(subject: str, project: Callable[[], tuple[float, float]]) -> Finding:
    try:
        found = project()
    except (InputError, pyproj.exceptions.ProjError) as error:
        return Finding(subject, "no coordinate systems", str(error))
    away = max(abs(a - b) for a, b in zip(found, PLACE_M, strict=True))
    text = f"9° E 48° N lies at {found[0]:.3f} {found[1]:.3f} in EPSG:32632"
    if away <= TOLERANCE_M:
        return Finding(subject, text)
    return Finding(subject, text, f"expected {PLACE_M[0]:.3f} {PLACE_M[1]:.3f}; reinstall {subject.split()[-1]}")


def _by_rasterio() -> tuple[float, float]:
    require_projections()
    (x,), (y,) = transform("EPSG:4326", "EPSG:32632", [PLACE_DEG[0]], [PLACE_DEG[1]])
    return x, y


def _by_pyproj() -> tuple[float, float]:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(*PLACE_DEG)
    return float(x), float(y)


PROJECTORS = {"rasterio": _by_rasterio, "pyproj": _by_pyproj}


def images() -> Iterator[Finding]:
    """Check the image drivers: JPEG 2000 is available, and GeoTIFFs are not opened as VRT, which reads other files."""
    with rasterio.Env() as gdal:
        drivers = gdal.drivers()
    if JPEG2000 in drivers:
        yield Finding("products", f"{JPEG2000} reads the images of Sentinel-2 products")
    else:
        yield Finding("products", f"GDAL has no {JPEG2000}", "install the wheel of rasterio to read .SAFE products")
    with tempfile.TemporaryDirectory() as folder:
        disguised = Path(folder) / "image.tif"
        disguised.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"/>', encoding="utf-8")
        try:
            with open_geotiff(disguised):
                yield Finding("images", "a VRT was opened", "report this: an image could read any other file")
        except InputError:
            yield Finding("images", "GeoTIFFs by GDAL's driver GTiff alone; a VRT of that name is refused")


def machine() -> Iterator[Finding]:
    """Yield processors, threads, memory, GPUs, and the support of bfloat16."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    yield Finding("threads", f"{usable} processors, {numba.config.NUMBA_NUM_THREADS} threads of numba, "
                  f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")  # fmt: skip
    if sys.platform == "linux":
        page, pages, free = (os.sysconf(f"SC_{name}") for name in ("PAGE_SIZE", "PHYS_PAGES", "AVPHYS_PAGES"))
        yield Finding("memory", f"{page * pages / 2**30:.1f} GiB, {page * free / 2**30:.1f} GiB of it unused")
    if find_spec("torch"):
        yield from _torch()


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", f"{torch.get_num_threads()} threads")
    yield Finding("bfloat16", f"{_bfloat16()} ({torch.backends.cpu.get_cpu_capability()})")
    for index in range(torch.cuda.device_count()):
        yield Finding(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {_bfloat16_on_cuda(index)}")


def _bfloat16() -> str:
    """Return the effect of device.precision = "bf16-mixed" on this processor."""
    if _processor_has("_is_amx_tile_supported"):
        return "in tiles (AMX): device.precision = 'bf16-mixed' is several times as fast on the processor"
    if _processor_has("_is_avx512_bf16_supported"):
        return "in vectors (AVX512_BF16): measure device.precision = 'bf16-mixed' before using it"
    return "emulated: leave device.precision at '32-true' on the processor"


def _bfloat16_on_cuda(index: int) -> str:
    """Return the bfloat16 support of a GPU; torch also reports the emulation before Ampere (8.0) as supported."""
    import torch

    if torch.cuda.get_device_capability(index) >= (8, 0):
        return "with bfloat16"
    return "bfloat16 emulated: set device.precision to '16-mixed'"


def _processor_has(query: str) -> bool:
    """Return the result of a query of torch; False for queries that an older torch does not have."""
    import torch

    function = getattr(torch.cpu, query, None)
    return bool(function and function())


def places() -> Iterator[Finding]:
    """Check the cache of cloud probabilities, and look for the weights of VGG16."""
    cache = ProbabilityCache()
    size = f"{cache.size() / 2**20:,.1f} MiB of at most {cache.store.limit_bytes / 2**30:,.0f} GiB in {cache.folder}"
    try:
        require_writable(cache.folder)
        yield Finding("cache", size)
    except (InputError, MachineError) as error:
        yield Finding("cache", size, f"{error}; set UNCLOUDED_CACHE to another folder")
    if find_spec("torch"):
        yield _vgg()


def _vgg() -> Finding:
    from unclouded.vgg import offline_weights, torchvision_file

    available = [str(path) for path in (torchvision_file(), offline_weights()) if path and path.is_file()]
    return Finding(
        "VGG16", ", ".join(available) or "not downloaded; a loss or score that needs the weights downloads them"
    )


CHECKS = (libraries, geography, images, machine, places)

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyproj.exceptions import ProjError
from scipy.integrate import quad

from unclouded import doctor
from unclouded.doctor import Finding, examine
from unclouded.errors import InputError


def finding(subject: str) -> Finding:
    (one,) = [one for one in examine() if one.subject == subject]
    return one


def test_a_working_installation_needs_no_remedy() -> None:
    assert [one for one in examine() if one.remedy] == []


def test_versions_are_those_of_the_installed_libraries() -> None:
    import numpy as np
    import torch

    assert {f"numpy {np.__version__}", f"torch {torch.__version__.split('+')[0]}"} <= set(
        finding("libraries").found.split(", ")
    )


def test_the_known_place_is_the_arc_of_the_meridian() -> None:
    a, flattening = 6_378_137.0, 1 / 298.257223563  # WGS 84
    e2 = flattening * (2 - flattening)
    arc, _ = quad(
        lambda latitude: a * (1 - e2) / (1 - e2 * math.sin(latitude) ** 2) ** 1.5, 0, math.radians(doctor.PLACE_DEG[1])
    )
    assert list(doctor.PLACE_M) == pytest.approx([500_000, 0.9996 * arc], abs=1e-4)


def test_fault_39_both_libraries_transform_a_known_place() -> None:
    for library in ("rasterio", "pyproj"):
        assert finding(f"PROJ in {library}").found == "9° E 48° N lies at 500000.000 5316300.224 in EPSG:32632"


IN_ORDER = """
import {}
from rasterio.warp import transform
print(*transform("EPSG:4326", "EPSG:32632", [9.0], [48.0]), sep="\\n")
print(*pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform([9.0], [48.0]), sep="\\n")
"""


@pytest.mark.parametrize("order", ["rasterio, pyproj", "pyproj, rasterio"])
def test_fault_39_they_agree_whichever_is_imported_first(order: str) -> None:
    result = subprocess.run([sys.executable, "-c", IN_ORDER.format(order)], capture_output=True, text=True, check=True)
    numbers = [float(line.strip("[]")) for line in result.stdout.splitlines()]
    assert numbers == pytest.approx([*doctor.PLACE_M, *doctor.PLACE_M], abs=doctor.TOLERANCE_M)


def test_fault_39_a_place_a_centimetre_away_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PROJECTORS, "rasterio", lambda: (500_000.01, doctor.PLACE_M[1]))
    one = finding("PROJ in rasterio")
    assert one.found.startswith("9° E 48° N lies at 500000.010 ")
    assert one.remedy == "expected 500000.000 5316300.224; reinstall rasterio"


@pytest.mark.parametrize("error", [InputError("PROJ finds no coordinate systems"), ProjError("no database")])
def test_fault_39_a_library_that_fails_is_named_and_the_others_are_checked(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> tuple[float, float]:
        raise error

    monkeypatch.setitem(doctor.PROJECTORS, "rasterio", fails)
    assert finding("PROJ in rasterio").remedy.startswith(str(error))
    assert not finding("PROJ in pyproj").remedy


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "bfloat16 emulated: set device.precision to '16-mixed'"), ((8, 0), "with")]
)
def test_graphics_processors_before_ampere_only_emulate_bfloat16(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "RTX")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *answers: True)  # as torch reports for both
    assert finding("cuda:0").found.startswith(f"RTX, {expected}")


def test_fault_28_a_vrt_that_opens_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def careless(path: Path) -> Iterator[None]:
        yield

    monkeypatch.setattr(doctor, "open_geotiff", careless)
    assert finding("images").remedy.startswith("report this")


def test_fault_33_a_cache_that_cannot_be_written_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "file"))
    assert finding("cache").remedy.endswith("set UNCLOUDED_CACHE to another folder")


@pytest.mark.parametrize(
    ("able", "word"),
    [("_is_amx_tile_supported", "(AMX)"), ("_is_avx512_bf16_supported", "(AVX512_BF16)"), ("", "emulated")],
)
def test_bfloat16_goes_by_the_processor(able: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_processor_has", lambda question: question == able)
    assert word in finding("bfloat16").found


def test_a_missing_extra_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "no-such-library", "csmask")
    assert finding("no-such-library") == Finding(
        "no-such-library", "not installed; pip install 'unclouded[csmask]' installs it"
    )

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation, Season, Triplet
from unclouded.tensors.packed import HEADER, NAMES, RECORDS, PackedDataset, is_store, open_store, pack, parse_rows

ONES = CloudMapSettings(mode="ones")

BANDS = ("B04", "B03", "B02")

SPRING = "ROIs1158_spring_106_p30"
PARTS = {"a": "train", "b": "test", "c": "outside", SPRING: "outside"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three triplets of 24 px in the flat layout, of any stored number from 1 to 17014."""
    folder = tmp_path_factory.mktemp("root")
    rng = np.random.default_rng(0)
    grid = GeoBox.from_bbox((500_000, 6_200_000, 500_240, 6_200_240), "EPSG:32734", resolution=10)
    for name in PARTS:
        write_geotiff(folder / f"s1/{name}.tif", rng.uniform(-25, 5, (2, 24, 24)).astype("f4"), SENTINEL1.bands, grid)
        for layer in ("s2_cloudy", "s2_cloudfree"):
            optical = rng.integers(1, 17015, (13, 24, 24)).astype(np.uint16)
            write_geotiff(folder / f"{layer}/{name}.tif", optical, SENTINEL2.bands, grid)
    return folder


def unpacked(root: Path, crop_px: int | None = None, synthetic: SyntheticSettings | None = None) -> TripletDataset:
    return TripletDataset(find_triplets(root).triplets, BANDS, ONES, None, crop_px, synthetic)


def assert_same(packed: PackedDataset, data: TripletDataset) -> None:
    assert packed.names == data.names
    for index, expected in enumerate(data):
        found = packed[index]
        assert found.name == expected.name
        assert torch.equal(found.observation.sar, expected.observation.sar)
        assert torch.equal(found.observation.cloudy, expected.observation.cloudy)
        assert torch.equal(found.observation.cloud_map, expected.observation.cloud_map)
        assert found.observation.seasons == expected.observation.seasons
        assert torch.equal(found.clear, expected.clear)
        assert torch.equal(packed.clear(index), data.clear(index))


@pytest.mark.parametrize("packed_px, crop_px", [(None, None), (None, 8), (20, 20), (20, 8)])
def test_a_store_returns_the_values_of_the_geotiffs(
    root: Path, tmp_path: Path, packed_px: int | None, crop_px: int | None
) -> None:
    pack(unpacked(root, packed_px), PARTS, tmp_path)
    assert_same(open_store(tmp_path, BANDS, crop_px), unpacked(root, crop_px))


def test_a_store_keeps_season_and_latitude(root: Path, tmp_path: Path) -> None:
    store = pack(unpacked(root), PARTS, tmp_path)
    season = {name: store[i].observation.seasons for i, name in enumerate(store.names)}
    assert season["a"] == (None,)
    (spring,) = season[SPRING]
    assert spring is not None and spring.day_of_year == 105
    assert spring.latitude_deg == pytest.approx(-34.34, abs=0.01)


def test_a_list_of_names_without_latitudes_is_read() -> None:
    listed = b"ROIs1158_spring_106_p30,train,00\na,test,11\nb,te"
    one, two = parse_rows(Path(NAMES), listed)
    assert (one.season, two.season) == (Season(105), None)


def test_synthetic_clouds_are_stored_without_loss(root: Path, tmp_path: Path) -> None:
    data = unpacked(root, synthetic=SyntheticSettings(octaves=2))
    assert_same(pack(data, PARTS, tmp_path), data)


def test_a_subset_of_the_bands_can_be_read(root: Path, tmp_path: Path) -> None:
    whole = pack(unpacked(root), PARTS, tmp_path)[0]
    some = open_store(tmp_path, ("B02", "B04"))[0]
    assert torch.equal(some.clear, whole.clear[:, [2, 0]])
    with pytest.raises(InputError, match="B08 is missing"):
        open_store(tmp_path, ("B08",))


def test_a_store_keeps_the_parts_of_the_split(root: Path, tmp_path: Path) -> None:
    store = pack(unpacked(root), PARTS, tmp_path)
    assert store.of_part("test").names == ("b",)
    assert torch.equal(store.of_part("test")[0].clear, store[store.names.index("b")].clear)
    with pytest.raises(InputError, match="has no triplet in val, only in outside, test, train"):
        store.of_part("val")


def test_a_store_can_be_sent_to_a_spawned_worker(root: Path, tmp_path: Path) -> None:
    store = pack(unpacked(root), PARTS, tmp_path)
    store[0]
    sent = pickle.dumps(store)
    assert len(sent) < 3000  # no pixels
    assert torch.equal(pickle.loads(sent)[2].clear, store[2].clear)


def damaged(store: PackedDataset) -> list[str]:
    found = []
    for index, name in enumerate(store.names):
        try:
            store.check(index)
        except InputError:
            found.append(name)
    return found


def test_fault_42_every_flipped_byte_is_found(root: Path, tmp_path: Path) -> None:
    store = pack(unpacked(root), PARTS, tmp_path)
    size = store.settings.record().itemsize
    content = bytearray((tmp_path / RECORDS).read_bytes())
    for place in (0, size - 1, size, 3 * size - 1):
        flipped = content.copy()
        flipped[place] ^= 1
        (tmp_path / RECORDS).write_bytes(flipped)
        assert damaged(open_store(tmp_path)) == [store.names[place // size]]
    (tmp_path / RECORDS).write_bytes(content)
    assert damaged(open_store(tmp_path)) == []


def test_the_ablation_works_with_any_store(root: Path, tmp_path: Path) -> None:
    data = unpacked(root, synthetic=SyntheticSettings(octaves=2))
    pack(replace(data, clouds=CloudMapSettings()), PARTS, tmp_path)
    assert open_store(tmp_path)[0].observation.cloud_map.unique().numel() > 1
    assert_same(open_store(tmp_path, ones=True), data)


def test_a_truncated_store_is_refused(root: Path, tmp_path: Path) -> None:
    pack(unpacked(root), PARTS, tmp_path)
    with (tmp_path / RECORDS).open("rb+") as records:
        records.truncate(1000)
    with pytest.raises(InputError, match=r"has 1,000 bytes, expected .*; copy it again"):
        open_store(tmp_path)


def test_a_changed_list_of_names_is_refused(root: Path, tmp_path: Path) -> None:
    pack(unpacked(root), PARTS, tmp_path)
    (tmp_path / NAMES).write_text((tmp_path / NAMES).read_text().replace("b,test", "b,train"))
    with pytest.raises(InputError, match="is not the list that was packed"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\n", r"is not a list of packed patches \(.*\); pack again into another"),
        (b"a,train\n", r"is not a list of packed patches \(Expected 4 .*\); pack again into another"),
        (b'"a"b,train,00\n', r"is not a list of packed patches \(.*\); pack again into another"),
        (b'a,train,"00\n', r"is not a list of packed patches \(.*\); pack again into another"),
        (b"a,train,00\n", r"has 1 rows, expected 4; pack again"),
    ],
)
def test_a_broken_list_of_names_with_the_right_hash_is_one_line(
    content: bytes, message: str, root: Path, tmp_path: Path
) -> None:
    pack(unpacked(root), PARTS, tmp_path)
    (tmp_path / NAMES).write_bytes(content)
    header = json.loads((tmp_path / HEADER).read_text())
    header["names_sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / HEADER).write_text(json.dumps(header))
    with pytest.raises(InputError, match=rf"patches\.csv {message}"):
        open_store(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"bands": ["B04"]}'])
def test_an_invalid_header_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / HEADER).write_text(content)
    with pytest.raises(InputError, match="store"):
        open_store(tmp_path)


def test_a_folder_with_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    pack(unpacked(root), PARTS, tmp_path)
    before = (tmp_path / RECORDS).read_bytes()
    with pytest.raises(InputError, match=r"holds another store \(it differs in height, width\)"):
        pack(unpacked(root, 8), PARTS, tmp_path)
    assert (tmp_path / RECORDS).read_bytes() == before


def test_fault_01_an_interrupted_run_resumes_with_the_same_result(root: Path, tmp_path: Path) -> None:
    pack(unpacked(root), PARTS, tmp_path / "whole")
    script = (
        "import os, sys, pathlib; from unclouded.tensors import packed as packing\n"
        "from tests_store import unpacked, PARTS\n"
        "packing.AT_ONCE = 1; count = int(sys.argv[3])\n"
        "def kill(stage, completed, total):\n    if completed > count: os.kill(os.getpid(), 9)\n"
        "packing.pack(unpacked(pathlib.Path(sys.argv[1])), PARTS, pathlib.Path(sys.argv[2]), kill)\n"
    )
    (tmp_path / "tests_store.py").write_text(Path(__file__).read_text())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    killed = tmp_path / "killed"
    died = subprocess.run(
        [sys.executable, "-c", script, str(root), str(killed), "2"], env=environment, capture_output=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert is_store(killed)
    with pytest.raises(InputError, match="is not a finished store"):
        open_store(killed)
    with (killed / NAMES).open("a") as names:
        names.write("c,outs")  # a torn line
    pack(unpacked(root), PARTS, killed)
    for file in (RECORDS, NAMES, HEADER):
        assert (killed / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_record_that_did_not_reach_the_disk_is_packed_again(root: Path, tmp_path: Path) -> None:
    store = pack(unpacked(root), PARTS, tmp_path)
    size = store.settings.record().itemsize
    content = (tmp_path / RECORDS).read_bytes()
    (tmp_path / HEADER).unlink()
    (tmp_path / RECORDS).write_bytes(content[:size] + bytes(size) + content[2 * size :])
    pack(unpacked(root), PARTS, tmp_path)
    assert (tmp_path / RECORDS).read_bytes() == content


def test_fault_32_a_disk_that_is_too_small_is_refused_before_the_start(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    with pytest.raises(MachineError, match=r"has 0 MiB free, expected 1 MiB to pack this data set"):
        pack(unpacked(root), PARTS, tmp_path)


def test_patches_of_different_sizes_are_refused(tmp_path: Path) -> None:
    smaller = tmp_path / "smaller"
    for layer, bands in (("s1", SENTINEL1.bands), ("s2_cloudy", SENTINEL2.bands), ("s2_cloudfree", SENTINEL2.bands)):
        for name, side in (("a", 24), ("b", 16)):
            grid = GeoBox.from_bbox((0, 0, side * 10, side * 10), "EPSG:32632", resolution=10)
            values = np.full((len(bands), side, side), -10 if layer == "s1" else 10)
            write_geotiff(smaller / f"{layer}/{name}.tif", values.astype("f4" if layer == "s1" else "u2"), bands, grid)
    with pytest.raises(InputError, match="b has 16x16 px, expected 24x24 as the first"):
        pack(unpacked(smaller), PARTS, tmp_path / "store")


def image(reflectance: float) -> torch.Tensor:
    return torch.full((1, 1, 8, 8), reflectance)


def triplet(cloudy: float, clear: float, synthetic: SyntheticSettings | None = None) -> TripletDataset:
    """One triplet of 8 px with reflectances that no file needs to hold."""

    class OneTriplet(TripletDataset):
        names = ("one",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Triplet:
            seen = Observation(torch.zeros(1, 2, 8, 8), image(cloudy), torch.ones(1, 1, 8, 8), self.bands)
            return Triplet("one", seen, image(clear))

    return OneTriplet((), ("B04",), CloudMapSettings(mode="ones"), synthetic=synthetic)


@pytest.mark.parametrize("clear", [0.0, 0.0001, 0.1234, 1.7014, 6.5535])
def test_every_stored_number_is_kept(clear: float, tmp_path: Path) -> None:
    packed = pack(triplet(0.5, clear), {"one": "all"}, tmp_path)
    assert packed[0].clear.equal(image(clear))
    assert packed[0].observation.cloudy.equal(image(0.5))


@pytest.mark.parametrize("clear", [-0.0001, 0.12345, 6.5536, torch.nan])
def test_reflectance_that_16_bits_cannot_store_is_refused_by_name(clear: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one has reflectances that are not multiples of 0.0001 from 0; train from"):
        pack(triplet(0.5, clear), {"one": "all"}, tmp_path)
    assert not (tmp_path / HEADER).exists()


def test_synthetic_clouds_may_have_any_reflectance(tmp_path: Path) -> None:
    packed = pack(triplet(0.12345, 0.5, SyntheticSettings(mode="perlin")), {"one": "all"}, tmp_path)
    assert packed[0].observation.cloudy.equal(image(0.12345))

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.geotiff import read_stored, write_geotiff
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.patches.identity import PatchId
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32632", resolution=10)
PATCHES = [PatchId.parse(name) for name in ("ROIs1158_spring_31_p1", "ROIs1158_spring_44_p1")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The official layout with a patch in each of two test regions; the cloudy image is 0.3 brighter than the clear."""
    root = tmp_path / "root"
    rng = np.random.default_rng(0)
    for patch in PATCHES:
        optical = rng.integers(200, 3000, (13, 48, 48)).astype(np.uint16)
        for sensor, values, bands in (
            ("s1", np.full((2, 48, 48), -9, np.float32), SENTINEL1.bands),
            ("s2", optical, SENTINEL2.bands),
            ("s2_cloudy", optical + np.uint16(3000), SENTINEL2.bands),
        ):
            folder = root / f"{patch.roi.collection}_{sensor}" / f"{sensor}_{patch.roi.number}"
            write_geotiff(folder / patch.file_name(sensor), values, bands, GRID)
    return root


@pytest.fixture
def theirs(root: Path, tmp_path: Path) -> Path:
    """A foreign method that predicts the clear images 0.01 too bright, in reflectance of red, green and blue."""
    (tmp_path / "theirs").mkdir()
    for patch in PATCHES:
        clear = read_stored(next(root.rglob(patch.file_name("s2")))).values[[3, 2, 1]]
        np.save(tmp_path / "theirs" / f"{patch}.npy", (clear / 10_000 + 0.01).astype(np.float32))
    return tmp_path / "theirs"


def test_a_foreign_method_is_judged_by_its_files(
    root: Path, theirs: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "scores.json"
    arguments = ("evaluate", "--predictions", theirs, root, "--raw", "--clouds", "ones", "--out", out)
    assert unclouded(*arguments) == 0
    content = json.loads(out.read_text())
    assert content["mean"]["all"]["mae"] == pytest.approx(0.01, abs=1e-6)
    assert content["provenance"]["remover"] == "theirs"
    assert content["provenance"]["predictions"] == "theirs, reflectance"
    assert content["provenance"]["split"]["name"] == "test"
    assert content["card"]["clouds"]["mode"] == "ones"
    assert content["interval"]["regions"] == 2
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 2


def test_expectation_5_missing_predictions_are_named_and_refused_unless_allowed(
    root: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    (theirs / f"{PATCHES[1]}.npy").unlink()
    arguments = ("evaluate", "--predictions", theirs, root, "--clouds", "ones", "--out", tmp_path / "s.json")
    assert unclouded(*arguments) == 2
    assert "lacks the predictions of 1 of 2 patches, first ROIs1158_spring_44_p1" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()
    assert unclouded(*arguments, "--allow-missing") == 0
    assert json.loads((tmp_path / "s.json").read_text())["provenance"]["missing"] == ["ROIs1158_spring_44_p1"]


def test_bands_that_are_not_predicted_are_refused(
    root: Path, theirs: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("evaluate", "--predictions", theirs, root, "--bands", "all") == 2
    assert "expected the bands B01 B02" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("cloudy",), "expected REMOVER and ROOT"),
        (("a", "b", "--predictions", "c"), "expected ROOT with"),
    ],
)
def test_the_words_that_are_missing_are_named(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("evaluate", *words) == 2
    assert expected in capsys.readouterr().err


def test_two_removers_are_compared_by_their_files(
    root: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    common = (root, "--raw", "--clouds", "ones", "--out")
    assert unclouded("evaluate", "cloudy", *common, tmp_path / "a.json") == 0
    arguments = ("evaluate", "--predictions", theirs, *common, tmp_path / "b.json")
    assert unclouded(*arguments) == 0
    files = (tmp_path / "a.json", tmp_path / "b.json", "--out", tmp_path / "c.json")
    assert unclouded("compare", *files) == 0
    found = json.loads((tmp_path / "c.json").read_text())["difference"]["all"]["mae"]
    assert found["difference"] == pytest.approx(0.29, abs=1e-6)
    assert found["interval"] == pytest.approx([0.29, 0.29], abs=1e-6)
    assert "a minus b" in capsys.readouterr().out


def test_scores_of_another_split_do_not_compare(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    for name, mode in (("a", "ones"), ("b", "binary")):
        arguments = ("evaluate", "cloudy", root, "--clouds", mode, "--out", tmp_path / f"{name}.json")
        assert unclouded(*arguments) == 0
    assert unclouded("compare", tmp_path / "a.json", tmp_path / "b.json") == 2
    assert "do not compare: clouds is" in capsys.readouterr().err


def test_expectation_7_weights_are_judged_with_the_cloud_map_of_their_training(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    network, weights = NetworkSettings(width=1), tmp_path / "ablation.safetensors"
    save_weights(weights, network.build(), network, {}, TrainedMap(CloudMapSettings(mode="ones")))
    judged = {}
    for name, options in (("own", ()), ("same", ("--clouds", "ones")), ("other", ("--clouds", "continuous"))):
        out = tmp_path / f"{name}.json"
        assert unclouded("evaluate", weights, root, *options, "--out", out) == 0
        judged[name] = json.loads(out.read_text())
        remarks = capsys.readouterr().err.count("but ablation was trained with ones (m = 1 everywhere)")
        assert remarks == (name == "other")
    assert judged["own"] == judged["same"]
    assert [judged[name]["card"]["clouds"]["mode"] for name in judged] == ["ones", "ones", "continuous"]
    assert judged["other"]["provenance"]["trained_map"]["settings"]["mode"] == "ones"
    assert unclouded("models", weights) == 0
    assert "cloud map ones (m = 1 everywhere)" in capsys.readouterr().out


def test_expectation_4_scores_of_regions_that_taught_a_network_say_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    settings = NetworkSettings(width=1)
    weights, out = tmp_path / "mine.safetensors", tmp_path / "scores.json"
    save_weights(weights, settings.build(), settings, {"regions": "ROIs1158_spring_4 ROIs1158_spring_44"})
    assert unclouded("evaluate", weights, root, "--clouds", "ones", "--out", out) == 0
    assert "mine learnt from 1 of the regions it is judged on, first ROIs1158_spring_44" in capsys.readouterr().err
    assert json.loads(out.read_text())["provenance"]["learnt_from"] == ["ROIs1158_spring_44"]
    assert unclouded("models", tmp_path) == 0
    told = capsys.readouterr().out
    assert "from some patches of 2 regions" in told
    assert "LEARNT FROM 1 of these regions" in told

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.cloud_map import TrainedMap
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.patches.roi import PatchId
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
    """Another method that predicts the clear images 0.01 too bright, in reflectance of red, green and blue."""
    (tmp_path / "theirs").mkdir()
    for patch in PATCHES:
        clear = read_stored(next(root.rglob(patch.file_name("s2")))).values[[3, 2, 1]]
        np.save(tmp_path / "theirs" / f"{patch}.npy", (clear / 10_000 + 0.01).astype(np.float32))
    return tmp_path / "theirs"


def test_auto_selects_a_remover_for_each_patch_of_a_data_set(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "scores.json"
    assert unclouded("evaluate", "auto", root, "--clouds", "ones", "--out", out) == 0
    content = json.loads(out.read_text())
    assert (content["provenance"]["remover"], content["mean"]["all"]["n"]) == ("auto", 2)


def test_another_method_is_evaluated_by_its_predictions(
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
    assert content["protocol"]["clouds"]["mode"] == "ones"
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
        (("cloudy",), "evaluate needs REMOVER and ROOT; got "),
        (("a", "b", "--predictions", "c"), "evaluate --predictions needs ROOT alone, without a remover; leave 'a' out"),
    ],
)
def test_missing_arguments_are_named(
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


def test_expectation_7_weights_are_evaluated_with_the_cloud_map_of_their_training(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    network, weights = NetworkSettings(width=1), tmp_path / "ablation.safetensors"
    save_weights(weights, network.build(), network, {}, TrainedMap(CloudMapSettings(mode="ones")))
    scores = {}
    for name, options in (("own", ()), ("same", ("--clouds", "ones")), ("other", ("--clouds", "continuous"))):
        out = tmp_path / f"{name}.json"
        assert unclouded("evaluate", weights, root, *options, "--out", out) == 0
        scores[name] = json.loads(out.read_text())
        remarks = capsys.readouterr().err.count("but ablation was trained with ones (m = 1 everywhere)")
        assert remarks == (name == "other")
    assert scores["own"] == scores["same"]
    assert [scores[name]["protocol"]["clouds"]["mode"] for name in scores] == ["ones", "ones", "continuous"]
    assert scores["other"]["provenance"]["trained_map"]["settings"]["mode"] == "ones"
    assert unclouded("models", weights) == 0
    assert "cloud map ones (m = 1 everywhere)" in capsys.readouterr().out


def test_expectation_4_scores_on_training_regions_are_marked(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    settings = NetworkSettings(width=1)
    weights, out = tmp_path / "mine.safetensors", tmp_path / "scores.json"
    save_weights(weights, settings.build(), settings, {"regions": "ROIs1158_spring_4 ROIs1158_spring_44"})
    assert unclouded("evaluate", weights, root, "--clouds", "ones", "--out", out) == 0
    assert (
        "mine was trained on 1 of the regions it is evaluated on, first ROIs1158_spring_44" in capsys.readouterr().err
    )
    assert json.loads(out.read_text())["provenance"]["training_overlap"] == ["ROIs1158_spring_44"]
    assert unclouded("models", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "on some patches of 2 regions" in printed
    assert "TRAINED ON 1 of these regions" in printed


def damage(root: Path, patch: PatchId) -> None:
    """One value of the radar is no data."""
    path = next(root.rglob(patch.file_name("s1")))
    values = np.full((2, 48, 48), -9, np.float32)
    values[1, 7, 5] = np.nan
    write_geotiff(path, values, SENTINEL1.bands, GRID)


def test_fault_13_a_damaged_patch_stops_an_evaluation_or_is_skipped_and_listed_in_the_scores(
    root: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    whole, out = tmp_path / "whole.json", tmp_path / "scores.json"
    assert unclouded("evaluate", "clear-mean", root, "--clouds", "ones", "--out", whole) == 0
    damage(root, PATCHES[0])
    capsys.readouterr()
    arguments = ("evaluate", "clear-mean", root, "--clouds", "ones", "--out", out)
    assert unclouded(*arguments) == 2
    assert "use --damaged skip to skip damaged patches" in capsys.readouterr().err
    assert not out.exists()
    assert unclouded(*arguments, "--damaged", "skip") == 0
    printed = capsys.readouterr().err
    assert f"1 damaged patch was skipped; {out} lists all\n  {PATCHES[0]}: " in printed
    content = json.loads(out.read_text())
    (listed,) = content["skipped"]
    assert listed["patch"] == str(PATCHES[0]) and "has 1 of 4,608 values without data" in listed["reason"]
    assert list(content["patches"]) == [str(PATCHES[1])]
    assert unclouded("compare", whole, out) == 2
    assert "skipped different patches (0 and 1): only the second skipped ROIs1158_spring_31" in capsys.readouterr().err
    assert unclouded("compare", out, out) == 0
    external = ("evaluate", "--predictions", theirs, root, "--clouds", "ones", "--damaged", "skip", "--out", out)
    assert unclouded(*external) == 0
    assert [one["patch"] for one in json.loads(out.read_text())["skipped"]] == [str(PATCHES[0])]
    damage(root, PATCHES[1])
    capsys.readouterr()
    assert unclouded(*arguments, "--damaged", "skip") == 2
    assert "all 2 patches are damaged, expected at least one readable patch" in capsys.readouterr().err


def test_incomplete_patches_are_listed_among_those_the_scores_are_without(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    next(root.rglob(PATCHES[0].file_name("s2"))).unlink()
    out = tmp_path / "scores.json"
    assert unclouded("evaluate", "clear-mean", root, "--clouds", "ones", "--out", out) == 0
    assert json.loads(out.read_text())["skipped"] == [{"patch": str(PATCHES[0]), "reason": "lacks s2"}]


def test_fault_13_patches_to_predict_are_skipped_and_listed_in_the_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    damage(root, PATCHES[0])
    out = tmp_path / "out"
    arguments = ("predict-patches", "clear-mean", root, "--clouds", "ones", "--out", out)
    assert unclouded(*arguments) == 2
    assert unclouded(*arguments, "--damaged", "skip") == 0
    assert [one["patch"] for one in json.loads((out / "skipped.json").read_text())] == [str(PATCHES[0])]
    assert sorted(path.name for path in out.glob("*.tif")) == [f"{PATCHES[1]}.tif", f"{PATCHES[1]}_cloud_map.tif"]
    assert unclouded("evaluate", "--predictions", out, root, "--allow-missing", "--clouds", "ones") == 0
    assert "files of no patch" not in capsys.readouterr().err


@pytest.mark.parametrize("number", ["1", "4", "5", "6", "7", "9"])
def test_figures_skip_damaged_patches(
    number: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    torn = next(root.rglob(PATCHES[0].file_name("s2")))
    torn.write_bytes(torn.read_bytes()[:500])
    if number == "4":  # a region that has nothing else
        clear = read_stored(next(root.rglob(PATCHES[1].file_name("s2"))))
        spare = torn.with_name(PATCHES[0].file_name("s2").replace("_p1", "_p2"))
        write_geotiff(spare, clear.values, SENTINEL2.bands, GRID)
    out = tmp_path / "figure.png"
    assert unclouded("figure", number, root, "--out", out) == 2
    capsys.readouterr()
    assert unclouded("figure", number, root, "--out", out, "--damaged", "skip") == 0
    assert "1 damaged patch was skipped\n  ROIs1158_spring_31" in capsys.readouterr().err
    assert out.is_file()


def test_data_stats_refuses_what_data_check_refuses(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    damage(root, PATCHES[0])
    assert unclouded("data", "check", root) == 1
    arguments = ("data", "stats", root, "--out", tmp_path / "stats", "--clouds", "ones")
    assert unclouded(*arguments) == 2
    assert unclouded(*arguments, "--damaged", "skip") == 0
    content = json.loads((tmp_path / "stats" / "coverage.json").read_text())
    assert content["all"]["patches"] == 1
    assert [one["patch"] for one in content["skipped"]] == [str(PATCHES[0])]


def test_an_option_gives_the_scale_of_predictions(
    root: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    for path in theirs.glob("*.npy"):
        np.save(path, np.load(path) * 5)
    out = tmp_path / "scores.json"
    arguments = ("evaluate", "--predictions", theirs, root, "--raw", "--clouds", "ones", "--out", out)
    assert unclouded(*arguments, "--units", "dn") == 2
    assert "see --units, --scale" in capsys.readouterr().err
    assert unclouded(*arguments, "--scale", "2000") == 0
    content = json.loads(out.read_text())
    assert content["mean"]["all"]["mae"] == pytest.approx(0.01, abs=1e-6)
    assert content["provenance"]["predictions"] == "theirs, dn / 2000"
    assert unclouded("evaluate", "cloudy", root, "--scale", "2000") == 2
    assert "--units and --scale describe external predictions" in capsys.readouterr().err


def test_scores_are_never_written_over_what_is_read(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    first, weights = tmp_path / "a.json", tmp_path / "weights.safetensors"
    assert unclouded("evaluate", "cloudy", root, "--clouds", "ones", "--out", first) == 0
    before = first.read_bytes()
    capsys.readouterr()
    assert unclouded("compare", first, first, "--out", first) == 2
    assert "a.json is the input itself; choose another place" in capsys.readouterr().err
    assert first.read_bytes() == before
    network = NetworkSettings(width=1)
    save_weights(weights, network.build(), network, {})
    assert unclouded("evaluate", weights, root, "--out", weights) == 2
    assert "weights.safetensors is the input itself" in capsys.readouterr().err
    assert unclouded("evaluate", "cloudy", root, "--out", tmp_path / "a.parquet") == 2
    assert "choose a name such as scores.json" in capsys.readouterr().err

"""Commands end to end; the entry point runs in this process, because a process each would take seconds."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.files import sha256
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.network import NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A

GRID = GeoBox.from_bbox((0, 0, 480, 480), "EPSG:32632", resolution=10)
RADAR = np.full((2, 48, 48), -9, np.float32)
CLOUDY = np.full((13, 48, 48), 6000, np.uint16)
Refused = Callable[..., str]
EXECUTION_OPTIONS = ("--shard", "--processes", "--dask", "--attempts", "--retry", "--upload-to")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A flat data set of two triplets under a path with blanks, umlauts and ``s1`` in it."""
    root = tmp_path / "Wölken s1" / "s1"
    rng = np.random.default_rng(0)
    for number in range(2):
        optical = rng.integers(200, 3000, (13, 48, 48)).astype(np.uint16)
        write_geotiff(root / "s1" / f"p{number}.tif", np.full((2, 48, 48), -9, np.float32), SENTINEL1.bands, GRID)
        write_geotiff(root / "s2_cloudy" / f"p{number}.tif", optical + np.uint16(3000), SENTINEL2.bands, GRID)
        write_geotiff(root / "s2_cloudfree" / f"p{number}.tif", optical, SENTINEL2.bands, GRID)
    return root


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unclouded: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]) -> Refused:
    """Writes a pair of images, gives it to ``predict``, and returns the line that refuses it."""

    def refuse(
        cloudy: NDArray[Any] = CLOUDY,
        sar: NDArray[Any] = RADAR,
        *,
        bands: tuple[str, ...] = SENTINEL2.bands,
        sar_grid: GeoBox = GRID,
        options: tuple[str, ...] = (),
    ) -> str:
        write_geotiff(tmp_path / "s2.tif", cloudy, bands, GRID)
        write_geotiff(tmp_path / "s1.tif", sar, SENTINEL1.bands, sar_grid)
        pair = ("--cloudy", tmp_path / "s2.tif", "--sar", tmp_path / "s1.tif")
        arguments = ("predict", "clear-mean", "--out", tmp_path / "out", *pair, *options)
        assert unclouded(*arguments) == 2
        assert list((tmp_path / "out").glob("*")) == []
        return complaint(capsys)

    return refuse


def test_help_imports_no_heavy_package() -> None:
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "unclouded", "--help"], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "rasterio", "scipy", "matplotlib", "pydantic", "numba"}
    loaded = {line.rsplit("|", 1)[1].strip() for line in imported.stderr.splitlines() if "|" in line}
    assert not heavy & loaded
    assert "predict" in imported.stdout


def test_doctor_ends_with_0_and_with_1_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unclouded: Callable[..., int]
) -> None:
    assert unclouded("doctor") == 0
    assert "PROJ in pyproj   9° E 48° N lies at 500000.000 5316300.224" in capsys.readouterr().out
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "file"))
    assert unclouded("doctor") == 1
    assert "wrong: " in capsys.readouterr().out


def test_doctor_train_overfits_a_batch_and_ends_with_1_if_it_cannot(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    changes = (f"patches={root}", "crop_px=32", "network.width=1", "objective=residual", "paired_percent=100")
    steps = ("schedule.max_steps=3", "clouds.mode=ones", "logging.preview_every=0")
    given = [word for one in (*changes, *steps) for word in ("--set", one)]
    assert unclouded("doctor", "train", "cpu-smoke", tmp_path / "trial", *given) == 1  # three steps are not enough
    assert "in 3 steps, expected at most half" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("doctor", "predict"), "no such command 'predict'; see 'unclouded doctor --help'"),
        (("doctor", "train", "cpu-smoke"), "missing argument 'RUN'; see 'unclouded doctor train --help'"),
        (("predict",), "missing option '--cloudy'; see 'unclouded predict --help'"),
        (
            ("predict", "--ot", "x"),
            "no such option: --ot (possible options: --offset, --other, --out); see 'unclouded ",
        ),
        (("get", "-70.5,-33.4", "x", "--out", "o"), "'x' is no day; expected a date such as 2021-07-14"),
        (("evaluate", "cloudy", "root", "c"), "got unexpected extra argument(s) (c); see 'unclouded evaluate --help'"),
        (("evaluate", "cloudy"), "evaluate needs REMOVER and ROOT; got only 'cloudy'; see 'unclouded evaluate --help'"),
        (
            ("evaluate", "cloudy", "root", "--split", "half"),
            "invalid value for '--split': 'half' is not one of 'train', 'train+val', 'val', 'test', 'all'; see 'unclou",
        ),
        (("train", "cpu-smoke", "run", "--devices", "0"), "invalid value for '--devices': "),
        (
            ("clouds", "a.tif", "--out", "m.tif", "--detector"),
            "option '--detector' requires an argument; see 'unclouded clouds --help'",
        ),
    ],
)
def test_usage_errors_are_one_line_that_names_the_help_page(
    words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"unclouded: {line}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--window", "4"), "--window: input should be greater than or equal to 8, found 4"),
        (("--units", "watts"), "--units: "),
        (("--detector", "csmask", "--heights-datum", "inf"), "--heights-datum: input should be a finite number, found"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_range(
    words: tuple[str, ...], line: str, root: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    pair = ("--cloudy", root / "s2_cloudy" / "p0.tif", "--sar", root / "s1" / "p0.tif", "--out", root / "out")
    assert unclouded("predict", "cloudy", *pair, *words) == 2
    assert complaint(capsys).startswith(f"unclouded: {line}")
    assert not (root / "out").exists()


def test_predict_and_batch_take_the_same_scene_options() -> None:
    def options_of(command: str) -> list[str]:
        page = subprocess.run(
            [sys.executable, "-m", "unclouded", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "300", "PATH": ""},
        )
        return re.findall(r"(--[a-z-]+) ", page.stdout)

    own_of_predict = {"--cloudy", "--sar", "--cloud-map", "--reference", "--reference-sar"}
    own_of_batch = {"--remover", *EXECUTION_OPTIONS}
    assert set(options_of("predict")) - own_of_predict == set(options_of("batch")) - own_of_batch
    assert set(options_of("series")) - {"--references"} == set(options_of("batch"))


def test_evaluate_reads_its_options_from_a_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    file = tmp_path / "evaluate.toml"
    file.write_text(f'split = "all"\nclouds = "ones"\nbands = "all"\nout = "{tmp_path / "scores.json"}"\n')
    assert unclouded("evaluate", "cloudy", root, "--settings", file, "--bands", "rgb") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["bands"] == ["B04", "B03", "B02"]  # the command line takes precedence; the split is of the file
    capsys.readouterr()
    for content, line in (
        ('splt = "all"', "evaluate.toml: splt is not an option of 'unclouded evaluate'; did you mean 'split'?"),
        ("[split]\nall = 1", "evaluate.toml: split is a table; expected the value of the option --split"),
        ('split = ["all"]', "evaluate.toml: split is a list; expected one value for the option --split"),
        ("neighbours = 0", "invalid value for '--neighbours': "),
    ):
        file.write_text(content)
        assert unclouded("evaluate", "cloudy", root, "--settings", file) == 2
        assert complaint(capsys).startswith(f"unclouded: {line}")


def test_the_shell_completes_commands_options_and_their_values() -> None:
    def completed(line: str, shell: str = "complete_bash") -> list[str]:
        environment = {
            "_UNCLOUDED_COMPLETE": shell,
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - (not line.endswith(" "))),
            "PATH": "",
        }
        script = "import sys; sys.argv[0] = 'unclouded'; from unclouded.cli.main import run; run()"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        return done.stdout.split()

    assert completed("unclouded pre") == ["predict", "predict-patches"]
    assert completed("unclouded predict --unc") == ["--uncertainty"]
    assert completed("unclouded evaluate cloudy root --split v") == ["val"]
    assert "complete" in completed("", "source_bash")


def test_evaluate_writes_scores_that_can_be_checked_by_hand(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "scores.json"
    status = unclouded("evaluate", "cloudy", root, "--split", "all", "--clouds", "ones", "--out", out)
    scores = json.loads(out.read_text())
    assert status == 0
    assert scores["mean"]["cloudy"]["mae"] == pytest.approx(0.3, abs=1e-6)  # 3000 of 10 000
    assert scores["mean"]["all"]["n"] == 2
    assert scores["mean"]["clear"] == dict.fromkeys(("mae", "rmse", "psnr", "ssim", "sam", "sam_global")) | {
        "n": 0,
        "psnr_n": 0,
        "psnr_exact": 0,
        "ssim_n": 0,
    }
    assert set(scores["patches"]) == {"p0", "p1"}


def test_predict_writes_the_output_of_a_network(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    settings = NetworkSettings(width=2)
    generator = settings.build()
    torch.nn.init.zeros_(generator.trunk[-1].weight)
    torch.nn.init.zeros_(generator.trunk[-1].bias)
    save_weights(tmp_path / "zero.safetensors", generator, settings, {})
    status = unclouded(
        *("predict", tmp_path / "zero.safetensors", "--clouds", "ones", "--out", tmp_path / "out"),
        *("--cloudy", root / "s2_cloudy" / "p0.tif", "--sar", root / "s1" / "p0.tif"),
    )
    assert status == 0
    observed = read_stored(root / "s2_cloudy" / "p0.tif").values[[3, 2, 1]]
    assert np.array_equal(read_stored(tmp_path / "out" / "clear.tif").values, observed)  # zero residual: the identity


def test_predict_patches_takes_a_whole_data_set(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    arguments = ("predict-patches", "clear-mean", root, "--bands", "all", "--out", tmp_path, "--clouds", "ones")
    assert unclouded(*arguments) == 0
    assert sorted(path.name for path in tmp_path.glob("p?.tif")) == ["p0.tif", "p1.tif"]
    assert read_stored(tmp_path / "p1.tif").descriptions == SENTINEL2.bands


@pytest.mark.parametrize("folder", ["s1", "s2_cloudy", "s2_cloudfree"])
def test_predictions_are_never_written_over_what_they_are_made_from(
    folder: str, root: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    arguments = ("predict-patches", "clear-mean", root, "--out", root / folder, "--clouds", "ones")
    before = {path: sha256(path) for path in root.rglob("*.tif")}
    assert unclouded(*arguments) == 2
    assert f"{folder}/p0.tif is the input itself" in complaint(capsys)
    assert {path: sha256(path) for path in root.rglob("*.tif")} == before


def test_painted_clouds_are_never_written_over_real_ones(
    root: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    before = sha256(root / "s2_cloudy" / "p0.tif")
    assert unclouded("clouds", "paint", root, "--out", root) == 2
    assert "s2_cloudy/p0.tif is the input itself" in complaint(capsys)
    assert sha256(root / "s2_cloudy" / "p0.tif") == before


def test_patches_that_are_left_out_are_reported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    (root / "s2_cloudfree" / "p0.tif").unlink()
    evaluate = ("evaluate", "cloudy", root, "--split", "all", "--clouds", "ones")
    predict = ("predict-patches", "clear-mean", root, "--out", tmp_path / "out", "--clouds", "ones")
    assert unclouded(*evaluate) == 0
    expected = "1 patch is incomplete and left out (p0 lacks s2_cloudfree); 'unclouded data check' names all"
    assert expected in capsys.readouterr().err
    assert unclouded(*predict) == 0
    assert "left out" not in capsys.readouterr().err  # the clear image is not needed
    (root / "s1" / "p0.tif").unlink()
    assert unclouded(*predict) == 0
    assert "(p0 lacks s1, s2_cloudfree)" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["tpu9", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(
    device: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    commands = (("predict-patches", "clear-mean", root, "--out", tmp_path), ("evaluate", "cloudy", root))
    for command in commands:
        assert unclouded(*command, "--device", device) == 2
        assert f"'{device}' is no device of this machine (" in complaint(capsys)


def test_fault_33_a_read_only_disk_is_reported_before_the_work(
    root: Path,
    mount_disk: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
    unclouded: Callable[..., int],
) -> None:
    disk = mount_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert unclouded("predict-patches", "clear-mean", root, "--out", disk) == 2
    assert complaint(capsys).endswith("(Read-only file system); choose a folder that can be written and run again")


def test_fault_10_radar_of_the_next_utm_zone_is_refused(refused: Refused) -> None:
    next_zone = GeoBox(GRID.shape, GRID.affine, "EPSG:32633")
    expected = "48x48 px in EPSG:32633, corner 0 480, steps 10 -10, not 48x48 px in EPSG:32632"
    assert expected in refused(sar=RADAR, sar_grid=next_zone)


def test_fault_18_an_l2a_image_is_refused_for_the_papers_detector(refused: Refused) -> None:
    printed = refused(cloudy=CLOUDY[:12], bands=SENTINEL2_L2A.bands, options=("--detector", "s2cloudless"))
    assert printed.endswith("s2.tif, a Level-2A image, does not have; use --detector csmask-l2a")


@pytest.mark.parametrize(("scale", "dtype"), [(1e-4, np.float32), (0.12345, np.float32), (0.02, np.uint8)])
def test_fault_17_reflectance_of_another_type_is_refused(scale: float, dtype: type, refused: Refused) -> None:
    expected = f"has values of type {np.dtype(dtype)}, expected uint16 or int16 for Sentinel-2"
    assert expected in refused(cloudy=(CLOUDY * scale).astype(dtype))


def test_fault_15_radar_in_db_times_100_is_refused(refused: Refused) -> None:
    assert "dB x 100" in refused(sar=RADAR * 100)
    assert "has values of type int16, expected float32" in refused(sar=(RADAR * 100).astype(np.int16))


def test_fault_24_weights_that_do_not_fit_their_settings_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    save_weights(tmp_path / "w.safetensors", NetworkSettings(width=2).build(), NetworkSettings(width=4), {})
    arguments = ("predict-patches", tmp_path / "w.safetensors", root, "--out", tmp_path / "out")
    assert unclouded(*arguments) == 2
    assert "w.safetensors does not fit its own settings: trunk.1.weight is F32 [2, " in complaint(capsys)


def test_data_check_names_what_is_incomplete_and_damaged_and_ends_with_1(
    root: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    (root / "s1" / "p0.tif").unlink()
    file = root / "s2_cloudy" / "p1.tif"
    file.write_bytes(file.read_bytes()[:5000])
    assert unclouded("data", "check", root) == 1
    report = capsys.readouterr().out
    assert "p0 lacks s1" in report
    assert "p1.tif is not a whole GeoTIFF" in report


def test_fault_05_a_truncated_file_is_named_in_one_line_with_status_2(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    file = root / "s1" / "p0.tif"
    file.write_bytes(file.read_bytes()[:700])
    status = unclouded(
        *("predict", "clear-mean", "--out", tmp_path / "out", "--cloudy", root / "s2_cloudy" / "p0.tif", "--sar", file)
    )
    assert status == 2
    assert "p0.tif is not a whole GeoTIFF" in complaint(capsys)
    assert list((tmp_path / "out").glob("*")) == []


def test_fault_11_a_radar_image_half_a_pixel_away_is_refused(refused: Refused) -> None:
    expected = "corner 5 480, steps 10 -10, not 48x48 px in EPSG:32632, corner 0 480"
    assert expected in refused(sar=RADAR, sar_grid=GRID.translate_pix(0.5, 0))


def test_fault_15_radar_in_linear_power_is_refused(refused: Refused) -> None:
    assert "linear power" in refused(sar=10 ** (RADAR / 10))


def test_fault_13_radar_with_holes_leaves_holes_under_clouds_if_the_remover_needs_it(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    radar = RADAR.copy()
    radar[0, 3, 4] = np.nan
    write_geotiff(tmp_path / "s1.tif", radar, SENTINEL1.bands, GRID)
    pair = ("--cloudy", root / "s2_cloudy" / "p0.tif", "--sar", tmp_path / "s1.tif")
    arguments = ("predict", "sar-regression", *pair, "--out", tmp_path / "out", "--clouds", "ones")
    assert unclouded(*arguments) == 0
    holes = read_stored(tmp_path / "out" / "clear.tif").values[0] == 0
    assert np.argwhere(holes).tolist() == [[3, 4]]


def test_fault_19_an_empty_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("evaluate", "cloudy", tmp_path) == 2
    assert "holds no patch" in complaint(capsys)


def test_fault_23_a_pickle_offered_as_weights_is_named_and_not_opened(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    assert unclouded("evaluate", tmp_path / "weights.pt", root, "--split", "all") == 2
    assert "expected safetensors" in complaint(capsys)


def test_an_unknown_baseline_is_refused_with_the_nearest_name(
    root: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    assert unclouded("evaluate", "clear-men", root) == 2
    assert "did you mean 'clear-mean'?" in complaint(capsys)


def test_an_unknown_settings_key_is_refused_with_the_nearest_key(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    (tmp_path / "run.toml").write_text(f"patches = '{root}'\n[loss]\ncylce = 3\n")
    assert unclouded("train", tmp_path / "run.toml", tmp_path / "run") == 2
    assert "loss.cylce is not a key; did you mean 'cycle'?" in complaint(capsys)


def test_train_and_evaluate_its_weights(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    (tmp_path / "run.toml").write_text(f"patches = '{root}'\nsplit = 'all'\ncrop_px = 48\n")
    overrides = ["clouds.mode=ones", "network.width=2", "discriminator_width=2", "schedule.max_steps=1"]
    sets = [word for override in overrides for word in ("--set", override)]
    assert unclouded("train", tmp_path / "run.toml", tmp_path / "run", *sets) == 0
    weights = tmp_path / "run" / "weights.safetensors"
    assert unclouded("evaluate", weights, root, "--split", "all", "--clouds", "ones") == 0


def test_stats_writes_picture_table_and_json(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("data", "stats", root, "--out", tmp_path, "--clouds", "ones") == 0
    assert json.loads((tmp_path / "coverage.json").read_text())["all"]["mean_coverage"] == 1.0
    assert (tmp_path / "coverage.csv").read_text().splitlines()[1] == "p0,,,1.000000,1.000000"
    assert (tmp_path / "coverage.png").exists()


def test_paint_writes_clouds_and_their_maps(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    assert unclouded("clouds", "paint", root, "--out", tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / "s2_cloudy").iterdir()) == ["p0.tif", "p1.tif"]
    assert read_stored(tmp_path / "cloud_map" / "p0.tif").values.shape == (1, 48, 48)


def test_evaluate_on_perlin_clouds_has_no_clear_pixel_to_gain_from(
    root: Path, tmp_path: Path, unclouded: Callable[..., int]
) -> None:
    out = tmp_path / "scores.json"
    arguments = ("evaluate", "cloudy", root, "--split", "all", "--synthetic", "perlin", "--out", out)
    assert unclouded(*arguments) == 0
    scores = json.loads(out.read_text())["mean"]
    assert scores["clear"]["mae"] in (None, pytest.approx(0, abs=1e-7))  # where m = 0 nothing was painted
    assert scores["cloudy"]["mae"] > 0.1


def test_figure_6_is_drawn(root: Path, tmp_path: Path, unclouded: Callable[..., int]) -> None:
    out = tmp_path / "6.png"
    assert unclouded("figure", 6, root, "--out", out, "--patch", "p1") == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_an_unknown_patch_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    arguments = ("figure", 6, root, "--out", tmp_path / "6.png", "--patch", "p7")
    assert unclouded(*arguments) == 2
    assert "p7 is no patch of this data set; its first one is p0" in complaint(capsys)


def test_a_data_set_is_packed_checked_and_found_damaged(
    root: Path, tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert unclouded("data", "pack", root, store, "--clouds", "ones", "--crop", 40) == 0
    assert "2 triplets" in capsys.readouterr().out
    assert (store / "patches.bin").stat().st_size == 2 * 40 * 40 * (2 * 4 + 3 * 2 + 3 * 2 + 4)
    assert unclouded("data", "check", store) == 0
    with (store / "patches.bin").open("rb+") as records:
        records.write(b"?")
    assert unclouded("data", "check", store) == 1
    assert "1 damaged\n  p0: record 0 of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "packed"),
    [
        (("--subset", 1), ["p0"]),
        (("--patch-list", "list.txt"), ["p1"]),
        (("--patch-list", "list.txt", "--subset", 1), ["p1"]),
    ],
)
def test_some_patches_of_a_data_set_are_packed(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unclouded: Callable[..., int],
    options: tuple[object, ...],
    packed: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("p1\n")
    assert unclouded("data", "pack", root, tmp_path / "store", "--clouds", "ones", *options) == 0
    rows = (tmp_path / "store" / "patches.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows if row.startswith("p")] == packed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--region", "ROIs1158_spring_1"), "the data set has no region ROIs1158_spring_1; its first one is"),
        (("--patch-list", "list.txt"), "list.txt names 1 patches that are not there, first p9"),
        (("--subset", 3), "expected at most the 2 patches there are, found 3"),
    ],
)
def test_patches_that_are_not_there_are_not_packed(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unclouded: Callable[..., int],
    options: tuple[object, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("p9\n")
    assert unclouded("data", "pack", root, tmp_path / "store", "--clouds", "ones", *options) == 2
    assert message in complaint(capsys)


def test_a_download_is_planned_before_it_starts(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mirror").mkdir()
    fetch = ("data", "fetch", tmp_path / "root", "--from", tmp_path / "mirror", "--season", "winter", "--sensor", "s1")
    status = unclouded(*fetch, "--plan")
    out = capsys.readouterr().out
    assert status in (0, 2)  # as the disk has it
    assert f"extracted  {18_333 * (524_288 + 8192) / 2**30:.1f} GiB" in out
    assert not (tmp_path / "root").exists()
    assert unclouded("data", "fetch", tmp_path / "root", "--from", "gopher://x") == 2
    assert "'gopher://x' is not a folder or an address" in complaint(capsys)


def test_commands_without_networks_work_without_pytorch(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "without_torch.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this needs PyTorch, which is not installed; run pip install 'unclouded[torch]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--date", "1950-02-02"), "1950-02-02 is no day of Sentinel-2, which has taken images since 2015-06-27"),
        (("--date", "2999-01-01"), "2999-01-01 is no day of Sentinel-2"),
    ],
)
def test_a_day_without_sentinel_2_is_refused(refused: Refused, options: tuple[str, ...], reason: str) -> None:
    assert reason in refused(options=options)


def test_a_baseline_of_other_dates_is_refused_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unclouded: Callable[..., int]
) -> None:
    write_geotiff(tmp_path / "s2.tif", CLOUDY, SENTINEL2.bands, GRID)
    assert unclouded("predict", "median", "--cloudy", tmp_path / "s2.tif", "--out", tmp_path / "out") == 2
    assert "median copies or combines other dates; give at least one with --reference" in complaint(capsys)

import json
from pathlib import Path

import pytest

from unclouded.demo import Plan, run_demo
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored
from unclouded.progress import no_progress


def small() -> Plan:
    """One region of one patch, and one step."""
    plan = Plan()
    schedule = {"schedule": {"epochs_constant": 1, "epochs_decay": 0}}
    training = {**plan.training, **schedule, "network": {"width": 1}, "discriminator_width": 1}
    return Plan(coverages=(0.4,), learn_px=256, unseen_px=256, training=training)


def test_a_demo_leaves_pictures_scores_and_a_georeferenced_image(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", no_progress, small())
    assert set(result.scores) == {"cloudy", "clear-mean", "sar-regression", "scene-adapted", "network"}
    assert all(picture.stat().st_size > 50_000 for picture in result.pictures)
    image = read_stored(result.image)
    assert image.values.shape == (3, 256, 256)
    assert image.geobox.crs.epsg == 32632
    assert json.loads((tmp_path / "demo" / "scores.json").read_text())["network"]["mean"]["all"]["n"] == 1
    word = (
        "beats"
        if result.scores["network"].mean("cloudy")["mae"] < result.scores["clear-mean"].mean("cloudy")["mae"]
        else "NOT"
    )
    assert word in result.conclusion()


def test_clear_pixels_of_the_demo_are_the_observed_ones(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", no_progress, small())
    patch = "ROIs0000_summer_9_p1"
    observed = read_stored(
        tmp_path / "demo/unseen/ROIs0000_summer_s2_cloudy/s2_cloudy_9/ROIs0000_summer_s2_cloudy_9_p1.tif"
    ).values[[3, 2, 1]]
    clear = read_stored(tmp_path / f"demo/unclouded/{patch}_cloud_map.tif").values[0] == 0
    assert 0 < clear.mean() < 1
    assert (read_stored(result.image).values[:, clear] == observed[:, clear]).all()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years")
    with pytest.raises(InputError, match="contains other files; give the demo a folder of its own"):
        run_demo(tmp_path, no_progress, small())
    assert (tmp_path / "thesis.txt").read_text() == "four years"

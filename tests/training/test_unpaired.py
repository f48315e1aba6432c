"""Images of different places (the paper's ours-0), and patches that are skipped."""

import csv
from pathlib import Path

import pytest
import torch

from unclouded.clouds.cache import ProbabilityCache
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored
from unclouded.progress import TrainingCallback
from unclouded.settings import settings_from
from unclouded.training.checkpoint import RunFolder
from unclouded.training.data import select_triplets, training_data
from unclouded.training.loop import train
from unclouded.training.preparation import training_data_summary
from unclouded.training.settings import Schedule, TrainSettings, Validation
from unclouded.training.unpaired import UnpairedImages


class Heard(TrainingCallback):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_message(self, sentence: str) -> None:
        self.sentences.append(sentence)


def some(root: Path, to: Path, **numbers: tuple[int, ...]) -> Path:
    """A data set of some of the files of another one."""
    for folder, chosen in numbers.items():
        (to / folder).mkdir(parents=True)
        for number in chosen:
            (to / folder / f"tiny_{number}.tif").symlink_to(root / folder / f"tiny_{number}.tif")
    return to


@pytest.fixture
def unpaired(tiny_root: Path, tiny_settings: TrainSettings, tmp_path: Path) -> TrainSettings:
    """Radar and cloudy images of three places, clear images of two others."""
    root = some(tiny_root, tmp_path / "root", s1=(0, 1, 2), s2_cloudy=(0, 1, 2), s2_cloudfree=(3, 4))
    changes = {"patches": root, "paired_percent": 0.0, "schedule": Schedule(max_steps=4)}
    return tiny_settings.model_copy(update=changes)


def test_without_pairs_every_observation_stands_beside_a_clear_image_of_another_place(
    unpaired: TrainSettings,
) -> None:
    chosen = select_triplets(unpaired, ProbabilityCache())
    assert isinstance(chosen, UnpairedImages)
    assert chosen.names == ("tiny_0", "tiny_1", "tiny_2")
    assert chosen.clear_names == ("tiny_3", "tiny_3", "tiny_4")  # floor(i * 2 / 3)
    stored = read_stored(unpaired.patches / "s2_cloudfree" / "tiny_4.tif").values[[3, 2, 1], 4:36, 4:36]
    assert torch.equal((chosen.clear(2)[0] * 10_000).round().int(), torch.from_numpy(stored.astype("int32")))
    data = training_data(chosen, unpaired)
    assert [data[i].paired for i in range(3)] == [False] * 3


def test_a_run_learns_from_unpaired_images_and_goes_on_with_the_same(unpaired: TrainSettings, tmp_path: Path) -> None:
    straight, broken, heard = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken"), Heard()
    train(unpaired, straight, callback=heard)
    assert "learning from 3 cloudy images with radar and 2 clear images of other places" in heard.sentences[0]
    assert all("pixel" not in entry for entry in straight.read_log())
    train(unpaired.model_copy(update={"schedule": Schedule(max_steps=2)}), broken)
    train(unpaired, broken, resume=True)
    assert broken.state.read_bytes() == straight.state.read_bytes()
    (unpaired.patches / "s2_cloudfree" / "tiny_3.tif").unlink()
    with pytest.raises(InputError, match="the clear images of the data set are not those of"):
        train(unpaired, broken, resume=True)


def test_weights_name_the_regions_of_the_clear_images_too(unpaired: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train(unpaired.model_copy(update={"schedule": Schedule(max_steps=1)}), run)
    run.patches.write_text("ROIs1158_spring_1_p1\n")
    run.clear_images.write_text("ROIs1868_summer_9_p1\n")
    assert training_data_summary(run)["regions"] == "ROIs1158_spring_1 ROIs1868_summer_9"


def test_pairs_and_validation_want_complete_triplets(unpaired: TrainSettings, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="holds no complete triplet, only images of different places; objective = 'cycle'"
    ):
        select_triplets(unpaired.model_copy(update={"paired_percent": 50.0}), ProbabilityCache())
    validated = unpaired.model_copy(update={"validation": Validation(every=1, split="all")})
    with pytest.raises(InputError, match=r"expected some to validate on; set validation\.every = 0"):
        train(validated, RunFolder(tmp_path / "run"))


def test_only_observations_or_only_clear_images_are_refused(
    tiny_root: Path, unpaired: TrainSettings, tmp_path: Path
) -> None:
    root = some(tiny_root, tmp_path / "half", s1=(0, 1), s2_cloudy=(0,), s2_cloudfree=())
    with pytest.raises(InputError, match="clear images of other places, found 1 and 0; fetch"):
        select_triplets(unpaired.model_copy(update={"patches": root}), ProbabilityCache())


def test_every_skipped_patch_is_named_with_its_reason(
    tiny_root: Path, tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    root = some(tiny_root, tmp_path / "root", s1=(0, 1, 2, 3, 4), s2_cloudy=(0, 1, 2, 3), s2_cloudfree=(0, 2, 3, 4))
    damaged = root / "s1" / "tiny_2.tif"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:3000])
    settings = tiny_settings.model_copy(
        update={"patches": root, "damaged": "skip", "schedule": Schedule(max_steps=1), "paired_percent": 0.0}
    )
    run, heard = RunFolder(tmp_path / "run"), Heard()
    train(settings, run, callback=heard)
    assert run.patches.read_text().split() == ["tiny_0", "tiny_3"]
    with run.skipped.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["part"], row["patch"]) for row in rows] == [("training", f"tiny_{n}") for n in (1, 4, 2)]
    assert [row["reason"] for row in rows[:2]] == ["lacks s2_cloudfree", "lacks s2_cloudy"]
    assert "tiny_2.tif" in rows[2]["reason"]
    assert heard.sentences[0].startswith(
        "3 of 5 patches for training are skipped (tiny_1: lacks s2_cloudfree; tiny_4: "
    )
    assert heard.sentences[0].endswith(f"{run.skipped} lists all")
    (tmp_path / "list.txt").write_text("tiny_0\ntiny_4\n")
    listed = select_triplets(settings.model_copy(update={"patch_list": tmp_path / "list.txt"}), ProbabilityCache())
    assert listed.names == ("tiny_0",)
    (tmp_path / "list.txt").write_text("tiny_0\ntiny_9\n")
    with pytest.raises(InputError, match=r"names 1 patches that are not in .*, first tiny_9"):
        select_triplets(settings.model_copy(update={"patch_list": tmp_path / "list.txt"}), ProbabilityCache())


def test_without_skipped_patches_there_is_no_list(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train(tiny_settings.model_copy(update={"damaged": "skip", "schedule": Schedule(max_steps=1)}), run)
    assert not run.skipped.exists()


@pytest.fixture
def two_roots(tiny_root: Path, tiny_settings: TrainSettings, tmp_path: Path) -> TrainSettings:
    """Radar and cloudy images of three places in one folder, clear images of two others in another one."""
    root = some(tiny_root, tmp_path / "observed", s1=(0, 1, 2), s2_cloudy=(0, 1, 2))
    clear = some(tiny_root, tmp_path / "clear", s2_cloudfree=(3, 4))
    changes = {"patches": root, "clear": clear, "paired_percent": 0.0, "schedule": Schedule(max_steps=2)}
    return tiny_settings.model_copy(update=changes)


def test_clear_images_may_lie_in_another_folder(two_roots: TrainSettings, tmp_path: Path) -> None:
    chosen = select_triplets(two_roots, ProbabilityCache())
    assert isinstance(chosen, UnpairedImages)
    assert (chosen.names, chosen.clear_names) == (("tiny_0", "tiny_1", "tiny_2"), ("tiny_3", "tiny_3", "tiny_4"))
    run = RunFolder(tmp_path / "run")
    train(two_roots, run)
    assert set(run.clear_images.read_text().split()) == {"tiny_3", "tiny_4"}
    assert run.read_log()[-1]["step"] == 2
    assert all("pixel" not in entry for entry in run.read_log())


def test_clear_images_of_triplets_serve_as_well_but_their_observations_do_not(
    tiny_root: Path, two_roots: TrainSettings
) -> None:
    chosen = select_triplets(two_roots.model_copy(update={"clear": tiny_root}), ProbabilityCache())
    assert isinstance(chosen, UnpairedImages)
    assert chosen.names == ("tiny_0", "tiny_1", "tiny_2")
    assert set(chosen.clear_names) <= {f"tiny_{number}" for number in range(5)}


@pytest.mark.parametrize(
    "other", [{"paired_percent": 50.0}, {"objective": "residual", "paired_percent": 100.0}, {"synthetic": {}}]
)
def test_clear_images_of_other_places_are_no_pairs(two_roots: TrainSettings, other: dict[str, object]) -> None:
    with pytest.raises(InputError, match="clear names images of other places, which are no pairs"):
        settings_from(TrainSettings, two_roots.model_dump(mode="json", exclude_none=True) | other)


def test_a_folder_without_clear_images_is_refused(two_roots: TrainSettings) -> None:
    observed = two_roots.patches
    with pytest.raises(InputError, match="observed has no clear image in 'all'"):
        select_triplets(two_roots.model_copy(update={"clear": observed}), ProbabilityCache())

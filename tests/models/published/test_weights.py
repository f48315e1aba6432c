import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.models.loading import load_remover
from unclouded.models.published.checkpoints import settings_of
from unclouded.models.published.dsen2cr import Dsen2crSettings
from unclouded.models.published.remover import Dsen2crRemover, UncrtaintsRemover, prepare_uncrtaints
from unclouded.models.published.weights import import_checkpoint, read_published_record
from unclouded.models.weights import RECORD, load_network, read_record
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation, Reference

TINY = {"encoder_widths": [4], "decoder_widths": [4], "n_head": 1, "d_model": 4, "scale_by": 10.0}
TODAY = date(2026, 11, 29)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small DSen2-CR under the names of its PyTorch version."""
    torch.manual_seed(0)
    path = tmp_path / "published.safetensors"
    save_file(Dsen2crSettings(width=4, blocks=1).build().state_dict(), path)
    return path


def seen(side: int = 40, seed: int = 1) -> Observation:
    rng = torch.Generator().manual_seed(seed)
    sar, cloudy = -20 * torch.rand(1, 2, side, side, generator=rng), torch.rand(1, 13, side, side, generator=rng)
    return Observation(sar, cloudy, torch.ones(1, 1, side, side), SENTINEL2.bands)


def test_an_imported_checkpoint_has_a_card_and_the_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    import_checkpoint(checkpoint, out, TODAY)
    card = read_published_record(out).card
    assert (card.origin, card.sha256, card.date) == ("published.safetensors", sha256(checkpoint), "2026-11-29")
    assert "GPL-3.0" in card.licence and "Meraner" in card.source
    before, after = load_file(checkpoint), load_file(out)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_an_imported_network_is_a_remover_by_its_file(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    original = import_checkpoint(checkpoint, out, TODAY).network
    remover = load_remover(out)
    assert isinstance(remover, Dsen2crRemover) and remover.name == "mine"
    assert torch.equal(remover(seen()), Dsen2crRemover(original)(seen()))  # type: ignore[arg-type]


def test_variance_of_uncrtaints_survives_the_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    configuration = TINY | {"loss": "MGNLL", "pretrain": True}
    (tmp_path / "conf.json").write_text(json.dumps(configuration))
    save_file(settings_of(configuration, "conf.json").build().state_dict(), tmp_path / "model.safetensors")
    import_checkpoint(tmp_path / "model.safetensors", tmp_path / "mine.safetensors", TODAY)
    remover = load_remover(tmp_path / "mine.safetensors")
    assert isinstance(remover, UncrtaintsRemover)
    prediction, deviation = remover.with_uncertainty(seen())
    assert deviation is not None and deviation.shape == prediction.shape and bool((deviation > 0).all())
    assert "tiles of 256 px" in remover.remark and "tiles of 256 px" in remover.card.remark


def test_a_network_of_several_dates_gets_the_nearest_references(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "conf.json").write_text(json.dumps(TINY))
    save_file(settings_of(TINY, "conf.json").build().state_dict(), tmp_path / "model.safetensors")
    import_checkpoint(tmp_path / "model.safetensors", tmp_path / "mine.safetensors", TODAY)
    remover = load_remover(tmp_path / "mine.safetensors")
    assert isinstance(remover, UncrtaintsRemover)
    image = replace(seen(), date=date(2018, 6, 10))
    with pytest.raises(InputError, match="mine combines 3 dates, found 0 dated references; add references"):
        remover.adapt([image])
    others = [
        Reference(str(day), day and date(2018, 6, day), seen(seed=n).cloudy, image.cloud_map, seen(seed=n).sar)
        for n, day in ((2, 30), (3, 12), (4, 5), (5, None))
    ]
    result = remover.adapt([replace(image, references=tuple(others))])(replace(image, references=tuple(others)))
    dates = [image, others[1], others[2]]  # 2 and 5 days away; 20 days are farther, and one has no date
    given = torch.stack([prepare_uncrtaints(one.sar, one.cloudy) for one in dates], dim=1)
    days = torch.tensor([[1529.0, 1531.0, 1524.0]])  # since 2014-04-03; 2018-06-10 is 4 years and 68 days later
    with torch.inference_mode():
        expected = remover.network(given, days).mean
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"engine": "openvino"}, "--engine openvino applies to weights"), ({"precision": "int8"}, "--precision int8")],
)
def test_options_of_other_networks_are_refused(
    checkpoint: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    import_checkpoint(checkpoint, tmp_path / "mine.safetensors", TODAY)
    with pytest.raises(InputError, match=message):
        RemoverSpec(str(tmp_path / "mine.safetensors"), **options).find()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "resnet"),
        ("architecture", ["dsen2cr"]),
        ("settings", {"width": 4, "blocks": 10**9}),
        ("settings", {"width": 5, "blocks": 1}),
        ("settings", None),
        ("card", {"licence": "two\nlines"}),
        ("card", {"owner": "unknown key"}),
        ("card", []),
    ],
)
def test_a_damaged_record_is_one_line(checkpoint: Path, tmp_path: Path, key: str, value: object) -> None:
    out = tmp_path / "mine.safetensors"
    import_checkpoint(checkpoint, out, TODAY)
    with safe_open(out, framework="pt") as file:
        record = json.loads(file.metadata()[RECORD])
    save_file(load_file(out), out, {RECORD: json.dumps(record | {key: value})})
    with pytest.raises(InputError) as error:
        load_remover(out)
    assert "\n" not in str(error.value) and "mine.safetensors" in str(error.value)


def test_published_weights_are_no_start_of_a_training(checkpoint: Path, tmp_path: Path) -> None:
    import_checkpoint(checkpoint, tmp_path / "mine.safetensors", TODAY)
    for read in (read_record, load_network):
        with pytest.raises(InputError, match="holds weights of 'dsen2cr', expected weights of 'unclouded train'"):
            read(tmp_path / "mine.safetensors")

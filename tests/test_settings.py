import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from unclouded.errors import InputError
from unclouded.settings import Settings, load_settings, settings_from


class Loss(Settings):
    cycle: float = Field(default=10.0, gt=0)
    identity: float = 1.0


class Stage(Settings):
    epochs: int


class Train(Settings):
    patches: Path
    loss: Loss = Loss()
    warm_up: Loss | None = None
    stages: tuple[Stage, ...] = ()
    name: str = "ours"

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 10:
            raise ValueError(f"expected at most 10 letters, found {len(name)}")
        return name


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('patches = "data"\n[loss]\ncycle = 5.0\n')
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as refused:
        load_settings(Train, path, overrides)
    message = str(refused.value)
    assert "\n" not in message and len(message) < 10_000
    return message


def test_toml_fills_settings(toml: Path) -> None:
    assert load_settings(Train, toml) == Train(patches=Path("data"), loss=Loss(cycle=5.0))


def test_an_override_wins_over_the_file(toml: Path) -> None:
    assert load_settings(Train, toml, ["loss.cycle=2.5"]).loss == Loss(cycle=2.5)


def test_an_override_creates_its_group(toml: Path) -> None:
    assert load_settings(Train, toml, ["warm_up.cycle=1e-3"]).warm_up == Loss(cycle=0.001)


def test_a_list_with_a_mistake_in_it_is_not_called_too_short() -> None:
    class Lists(Settings):
        stages: tuple[Stage, ...] = Field(min_length=1)

    with pytest.raises(InputError) as refused:
        settings_from(Lists, {"stages": [{"epochs": "many"}]})
    assert "stages.0.epochs" in str(refused.value) and "at least 1 item" not in str(refused.value)
    with pytest.raises(InputError, match="stages: tuple should have at least 1 item"):
        settings_from(Lists, {"stages": []})


@pytest.mark.parametrize("given", ["name=ours-0", 'name="ours-0"', " name = ours-0 "])
def test_an_override_needs_no_quotes_around_a_word(toml: Path, given: str) -> None:
    assert load_settings(Train, toml, [given]).name == "ours-0"


def test_an_override_of_two_lines_is_one_value(toml: Path) -> None:
    with pytest.raises(InputError, match=r"loss\.cycle"):
        load_settings(Train, toml, ["loss.cycle=1.0\npatches='elsewhere'"])


def test_overrides_do_not_change_their_source() -> None:
    content = {"patches": "data", "loss": {"cycle": 5.0}}
    settings_from(Train, content, ["loss.cycle=7.0"])
    assert content == {"patches": "data", "loss": {"cycle": 5.0}}


@pytest.mark.parametrize("given", ["loss.cycle", "=5", "loss.=5", ".cycle=5", ".".join("a" * 17) + "=1"])
def test_an_override_without_key_and_value_is_refused(toml: Path, given: str) -> None:
    assert refusal(toml, given).startswith("--set expects key=value, such as loss.cycle=5.0, found ")


def test_an_override_below_a_value_is_refused(toml: Path) -> None:
    toml.write_text('patches = "data"\nname = "ours"\n')
    assert refusal(toml, "name.cycle=5") == "--set name.cycle=5: name is a single value, not a group of settings"


def test_every_mistake_is_named_at_once(toml: Path) -> None:
    toml.write_text('name = "a name of many letters"\n[loss]\ncylce = 1.0\nidentity = "much"\n')
    message = refusal(toml)
    assert message.startswith("run.toml is not a valid Train: ")
    listed = set(message.removeprefix("run.toml is not a valid Train: ").split("; "))
    assert {
        "patches is missing",
        "loss.cylce is not a key",
        "did you mean 'cycle'?",
        "name: expected at most 10 letters, found 22",
    } <= listed
    assert any(line.startswith("loss.identity: ") and line.endswith("found 'much'") for line in listed)


def test_a_value_out_of_range_is_shown(toml: Path) -> None:
    assert refusal(toml, "loss.cycle=-1").endswith("loss.cycle: input should be greater than 0, found -1")


@pytest.mark.parametrize("given", ["inf", "nan"])
def test_infinite_numbers_are_refused(toml: Path, given: str) -> None:
    assert "loss.cycle: input should be a finite number" in refusal(toml, f"loss.cycle={given}")


def test_an_unknown_key_far_from_all_others_lists_them(toml: Path) -> None:
    assert refusal(toml, "loss.xyz=1").endswith("loss.xyz is not a key; known are cycle, identity")


def test_an_unknown_key_is_compared_with_the_keys_of_its_own_group(toml: Path) -> None:
    assert "warm_up.cylce is not a key; did you mean 'cycle'?" in refusal(toml, "warm_up.cylce=1")
    assert "stages.0.epoch is not a key; did you mean 'epochs'?" in refusal(toml, "stages=[{epochs=1, epoch=2}]")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.toml").endswith("absent.toml is not a file; check the path")


def test_a_file_that_is_not_toml_is_refused_with_the_line(toml: Path) -> None:
    toml.write_text("patches = \n")
    assert "run.toml is not TOML (Invalid value (at line 1" in refusal(toml)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"x = " + b"[" * 60_000,
        b"x = " + b"{a=" * 20_000,
        b"x = " + b"9" * 60_000,
        b".".join([b"a"] * 30_000) + b" = 1",
        b".".join([b'"a b"'] * 10_000) + b" = 1",
        b"[" + b".".join([b"a"] * 30_000) + b"]",
        b"[a.a.a.a.a.a.a.a.a.a]\n" + b".".join([b"a"] * 10) + b" = 1",
        b"x = 0x" + b"f" * 60_000,
        b"patches = 0x" + b"f" * 60_000,
        b"".join(b"key%d = 1\n" % i for i in range(4_000)),
        b"x = 1\n" * 20_000,
        b'"a\\nb" = 1',
    ],
    ids=lambda content: content[:12].decode(errors="replace") + f"{len(content)}",
)
def test_fault_25_a_bomb_is_refused_at_once_and_on_one_line(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    began = time.process_time()  # of this process alone, however busy the machine is
    refusal(toml)
    assert time.process_time() - began < 5.0


def test_fault_25_more_than_twenty_mistakes_are_counted(toml: Path) -> None:
    toml.write_text("patches = 'data'\n" + "".join(f"key{i} = 1\n" for i in range(25)))
    assert refusal(toml).endswith("; and 5 more")


@given(st.binary(max_size=200))
def test_fault_25_whatever_bytes_are_settings_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_settings(Train, path)


@given(st.text(max_size=60))
def test_fault_25_whatever_override_is_a_setting_or_a_refusal(override: str) -> None:
    with suppress(InputError):
        assert settings_from(Train, {"patches": "data"}, [override]).patches


@pytest.mark.parametrize(
    ("value", "reason"),
    [('"a\\u0000b"', "holds a zero byte"), ("9" * 4000, "integer of more than 64 bits"), ("[" * 20 + "]" * 20, "deep")],
)
def test_fault_25_values_that_break_libraries_are_refused(toml: Path, value: str, reason: str) -> None:
    toml.write_text(f"name = {value}\n")
    assert reason in refusal(toml)

import linecache
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.models import known, loading
from unclouded.models.loading import load_remover
from unclouded.models.plugins import load_object
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.sensors import RGB

GREY = """
from pathlib import Path
import torch
import unclouded as uc

Path(__file__).with_name("imported").touch()
given = {}

def answer(observation):
    return torch.full_like(observation.select(uc.RGB).cloudy, 0.5)

grey = uc.FunctionRemover("grey", uc.RGB, answer)

def make(bands=None, device="none"):
    given.update(bands=bands, device=device)
    return uc.FunctionRemover("made", bands or uc.RGB, answer)

class Listed:
    name, bands = "listed", ["B04"]
    def __call__(self, observation): ...

class Misspelled(Listed):
    bands = ("B4",)

class Nameless:
    bands = uc.RGB

class Demanding:
    def __init__(self, path): ...

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with plug-ins, which is on the search path only while they are named."""
    (tmp_path / "grey_plugin.py").write_text(GREY)
    (tmp_path / "broken_plugin.py").write_text("import a_package_that_nobody_has")
    (tmp_path / "leaving_plugin.py").write_text("import sys; sys.exit('no licence')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    yield tmp_path
    for name in ("grey_plugin", "broken_plugin", "leaving_plugin"):
        sys.modules.pop(name, None)


def test_an_object_of_a_module_is_a_remover(folder: Path) -> None:
    assert load_remover("grey_plugin:grey").name == "grey"


def test_a_function_gets_bands_and_device(folder: Path) -> None:
    remover = load_remover("grey_plugin:make", ("B08",), "cpu")
    assert (remover.name, remover.bands) == ("made", ("B08",))
    assert load_object("grey_plugin:given") == {"bands": ("B08",), "device": "cpu"}


def test_checking_a_reference_imports_nothing(folder: Path) -> None:
    known.require_remover("grey_plugin:grey")
    assert not (folder / "imported").exists() and "grey_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("absent_plugin:grey", "'absent_plugin', which is neither installed nor in the working folder"),
        ("grey_plugin:gray", "no attribute 'gray'; did you mean 'grey'"),
        ("grey_plugin:number", "is a int, expected a cloud remover"),
        ("grey_plugin:Nameless", "is a Nameless, expected a cloud remover"),
        ("grey_plugin:Listed", "expected a tuple of names"),
        ("grey_plugin:Misspelled", "expected 'B04'"),
        ("grey_plugin:Demanding", "cannot be called (TypeError"),
        ("broken_plugin:grey", "cannot be imported (ModuleNotFoundError: No module named 'a_package_that_nobody_has')"),
        ("leaving_plugin:grey", "cannot be imported (SystemExit: no licence)"),
        ("grey_plugin.inner:grey", "'grey_plugin' is not a package"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused_in_one_line(folder: Path, reference: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_remover(reference)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bands_that_a_plug_in_lacks_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="grey_plugin:grey restores B04 B03 B02, expected B08"):
        load_remover("grey_plugin:grey", ("B08",))


def test_an_entry_point_is_found_by_its_name_and_cannot_replace_a_baseline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name: EntryPoint(name, "grey_plugin:grey", "unclouded.removers") for name in ("grey", "cloudy")}
    for module in (loading, known):
        monkeypatch.setattr(module, "registered", lambda: names)
    assert load_remover("grey").name == "grey"
    assert load_remover("cloudy").name == "cloudy"
    with pytest.raises(InputError, match="unknown remover 'grye'; did you mean 'grey'"):
        known.require_remover("grye")


def test_another_process_finds_the_same_plug_in_by_its_specification(folder: Path) -> None:
    spec = RemoverSpec("grey_plugin:make", RGB).pinned()
    assert spec.find().name == "made"
    source = (folder / "grey_plugin.py").read_text()
    (folder / "grey_plugin.py").write_text(source.replace("0.5", "0.25"))
    del sys.modules["grey_plugin"]
    linecache.clearcache()
    other = RemoverSpec(spec.name, RGB, identity=spec.identity, device="meta")  # not the cached one
    with pytest.raises(InputError, match="has other weights than at the start"):
        other.find()

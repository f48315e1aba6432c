"""Files are served by id, and only from inside their folder."""

from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.viewer.registry import ID, Registry


def test_a_file_is_opened_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"pixels")
    registry = Registry()
    name = registry.add(tmp_path / "a.tif", tmp_path)
    assert ID.fullmatch(name)
    file, state = registry.open(name)
    with file:
        assert (file.read(), state.st_size) == (b"pixels", 6)


def test_the_id_depends_on_the_path_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"pixels")
    assert Registry().add(tmp_path / "a.tif", tmp_path) == Registry().add(tmp_path / "a.tif", tmp_path)


def test_fault_29_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "clear.tif").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is not a regular file inside"):
        Registry().add(folder / "clear.tif", folder)


def test_fault_29_a_file_that_became_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "clear.tif").write_bytes(b"pixels")
    registry = Registry()
    name = registry.add(folder / "clear.tif", folder)
    (folder / "clear.tif").unlink()
    (folder / "clear.tif").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is not a regular file inside"):
        registry.open(name)


def test_an_unknown_id_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Registry().open("0123")

import os
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from unclouded.jit import compiled, is_private


def doubled(x):
    return 2 * x


def test_a_compiled_function_returns_the_same() -> None:
    assert compiled(doubled)(21) == 42


def test_fault_33_without_a_writable_folder_it_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    njit, asked = numba.njit, []

    def without_a_place(function, *, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'doubled': no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", without_a_place)
    assert compiled(doubled)(21) == 42
    assert asked == [True, True, False]  # beside the source, in the cache folder, nowhere


def shared(folder: Path) -> None:
    folder.chmod(0o777)


def foreign(folder: Path) -> None:
    os.chown(folder, 12345, -1)


def with_a_foreign_file(folder: Path) -> None:
    (folder / "doubled.nbi").write_bytes(b"a pickle")
    os.chown(folder / "doubled.nbi", 12345, -1)


def linked(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("spoilt", [shared, foreign, with_a_foreign_file, linked])
def test_code_in_a_folder_that_others_may_write_is_not_run(spoilt: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    assert is_private(folder)
    spoilt(folder)
    assert not is_private(folder)


def test_code_that_waits_in_a_shared_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "shared"))
    first = numba.njit(doubled, nogil=True, cache=True)
    assert first(1) == 2
    folder = Path(first._cache.cache_path)
    assert list(folder.glob("*.nbi"))
    folder.chmod(0o777)
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "own"))
    again = compiled(doubled)
    assert Path(again._cache.cache_path).is_relative_to(tmp_path / "own" / "compiled")
    assert again(21) == 42 and again.stats.cache_hits == {}
    assert Path(again._cache.cache_path).stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert compiled(doubled)(21) == 42 and Path(compiled(doubled)._cache.cache_path) == folder

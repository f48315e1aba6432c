from types import SimpleNamespace

import pytest

from unclouded.scale.giving_back import is_full


@pytest.mark.parametrize(
    ("used", "limit", "full"), [(95, 100, True), (81, 100, True), (50, 100, False), (95, None, False)]
)
def test_fault_38_a_worker_that_ends_for_its_memory_gives_nothing_back(
    used: int, limit: int | None, full: bool
) -> None:
    """Dask ends it by SIGTERM, as batch systems do: were the task given back, it would be tried for ever."""
    memory, monitor = SimpleNamespace(memory_limit=limit), SimpleNamespace(get_process_memory=lambda: used)
    assert is_full(SimpleNamespace(memory_manager=memory, monitor=monitor)) is full

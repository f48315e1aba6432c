import sys
from collections.abc import Callable

import pytest

from unclouded.cli.main import run


@pytest.fixture(scope="session")
def unclouded() -> Callable[..., int]:
    """Runs a command in this process, and returns its exit status."""

    def status_of(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["unclouded", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                run()
        return int(ended.value.code or 0)

    return status_of

"""A scene, and servers that show folders."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from products.viewer_example import ExampleScene, running, write_example

from unclouded.viewer.http_server import LocalServer
from unclouded.viewer.routes import Viewer
from unclouded.viewer.scenes import Sources
from unclouded.viewer.serving import serve as served


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleScene:
    """A scene; tests must not change it."""
    return write_example(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., LocalServer]]:
    """Function that serves a folder until the end of the tests."""
    with ExitStack() as stack:

        def run(folder: Path, *, inputs: tuple[Path, ...] = (), truth: tuple[Path, ...] = ()) -> LocalServer:
            return stack.enter_context(running(served(Viewer(folder, Sources(inputs, truth)))))

        yield run

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.io.download import RetryPolicy
from unclouded.models.fetching import fetched, is_address, parse_address
from unclouded.models.known import local_path, require_remover, weights_file
from unclouded.web import WebLimits

WEIGHTS, HASH = b"the weights", hashlib.sha256(b"the weights").hexdigest()
QUICK = RetryPolicy(attempts=2, first_wait_s=0.001, limits=WebLimits(answer_s=5.0, silence_s=5.0))


@dataclass
class Hub:
    """A hub on the loopback.

    Attributes:
        files: Content by path.
        asked: Paths that were requested.
        states_size: Whether answers have a Content-Length; otherwise they are chunked.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    states_size: bool = True
    address: str = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            served.asked.append(self.path)
            content = served.files.get(self.path)
            self.send_response(404 if content is None else 200)
            content = content or b""
            if served.states_size:
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%X\r\n%s\r\n0\r\n\r\n" % (len(content), content))

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", f"{served.address}/mirror/")
    monkeypatch.setenv("UNCLOUDED_CACHE", str(tmp_path / "cache"))
    yield served
    running.shutdown()
    running.server_close()
    thread.join()


loopback = pytest.mark.enable_socket


@loopback
@pytest.mark.parametrize("states_size", [True, False])
def test_a_file_of_a_hub_is_fetched_once_and_then_used_without_a_connection(hub: Hub, states_size: bool) -> None:
    hub.states_size = states_size
    hub.files["/mirror/some.one/clouds/resolve/v1/sub/net%20work.safetensors"] = WEIGHTS
    address = f"hf://some.one/clouds@v1/sub/net work.safetensors#sha256={HASH}"
    first = fetched(address, QUICK)
    assert first.read_bytes() == WEIGHTS
    assert first.name == "net_work.safetensors"
    hub.files.clear()
    assert fetched(address, QUICK) == first
    assert len(hub.asked) == 1
    assert weights_file(address) == first
    assert local_path(f"package.module:Class@{address}") == f"package.module:Class@{first}"


@loopback
def test_a_file_with_another_hash_is_deleted_and_named_with_both(hub: Hub, tmp_path: Path) -> None:
    hub.files["/net.safetensors"] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(InputError, match=f"has the SHA-256 {found}, expected {HASH}; it was deleted"):
        fetched(f"{hub.address}/net.safetensors#sha256={HASH}", QUICK)
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] in ([], ["lock"])


@loopback
def test_an_onnx_file_comes_with_its_description(hub: Hub) -> None:
    text = b"{}"
    hub.files |= {"/a/net.onnx": WEIGHTS, "/a/net.json": text}
    described = hashlib.sha256(text).hexdigest()
    path = fetched(f"{hub.address}/a/net.onnx#sha256={HASH}&description={described}", QUICK)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == (WEIGHTS, text)


@loopback
def test_a_missing_file_is_one_line_with_the_way_without_a_connection(hub: Hub) -> None:
    with pytest.raises(InputError, match=r"answers 404 Not Found; .*; without a connection, bring the file") as caught:
        fetched(f"{hub.address}/absent.safetensors#sha256={HASH}", QUICK)
    assert "\n" not in str(caught.value)


def test_an_address_of_the_hub_is_that_of_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = parse_address(f"hf://one/two@abc/three.safetensors#sha256={HASH.upper()}")
    assert found.address == "https://huggingface.co/one/two/resolve/abc/three.safetensors"
    assert found.sha256 == HASH
    main = parse_address(f"hf://one/two/three.safetensors#sha256={HASH}")
    assert main.address == "https://huggingface.co/one/two/resolve/main/three.safetensors"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://host/net.safetensors", "needs the SHA-256 of its content, as #sha256=<64 hexadecimal digits>"),
        ("https://host/net.safetensors#sha256=12", "found 'sha256=12'"),
        (f"https://host/net.onnx#sha256={HASH}", "#sha256=<64 hexadecimal digits>&description=<64"),
        (f"https://host/net.pkl#sha256={HASH}", "ends in .pkl, expected a file of .safetensors or .onnx"),
        (f"https://host#sha256={HASH}", "ends in no suffix"),
        (f"hf://one/net.safetensors#sha256={HASH}", "is not an address of the form hf://owner/repo@revision/file"),
        (f"hf://one/two@main/../net.safetensors#sha256={HASH}", "is not an address of the form"),
        (f"hf://one/two@main/a/#sha256={HASH}", "is not an address of the form"),
    ],
)
def test_addresses_without_a_hash_or_of_another_form_are_refused(address: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        require_remover(address)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_and_names_are_no_addresses() -> None:
    assert not any(map(is_address, ("weights.safetensors", "scene-adapted", "a:b", "hf/weights.safetensors", "C:/a")))
    assert local_path("scene-adapted") == "scene-adapted"

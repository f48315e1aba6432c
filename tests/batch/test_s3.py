"""A bucket on the loopback, by s3fs and moto's server, with faults: cut lines, wrong entity tags, denied access."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from odc.geo.geobox import GeoBox

pytest.importorskip("moto")
pytest.importorskip("s3fs")

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from unclouded.acquisition.choice import Found
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.products import fetch_product, remote_product
from unclouded.acquisition.providers import PROVIDERS
from unclouded.batch import storage
from unclouded.batch.storage import fetch_into, fetched, put, require_uploadable, version_of
from unclouded.catalogue.triplets import SceneRecord
from unclouded.cli.main import run
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL1, SENTINEL2

pytestmark = [pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore")]  # the loopback alone; other libraries'
GRID = GeoBox.from_bbox((0, 0, 320, 320), "EPSG:32632", resolution=10)


@dataclass
class Faults:
    """Faults of the server, and the requests that it saw.

    Attributes:
        cut: Number of answers with content that are cut in their middle.
        tag: Entity tag of every object; the true one if empty.
        changed: Whether the first byte of contents is changed on the way.
        denied: Name of the bucket to which access is denied.
        asked: Method, path and range of every request.
    """

    cut: int = 0
    tag: str = ""
    changed: bool = False
    denied: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def around(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Return an application with the faults."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            self.asked.append((method, path, environ.get("HTTP_RANGE", "")))
            if self.denied and path.startswith(f"/{self.denied}"):
                body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
                return [body]

            def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                if self.tag:
                    headers = [(key, f'"{self.tag}"' if key.lower() == "etag" else value) for key, value in headers]
                return start(status, headers, *more)

            content = b"".join(app(environ, begin))
            if self.changed and method == "GET" and environ.get("HTTP_RANGE"):
                content = bytes([content[0] ^ 1]) + content[1:]
            if self.cut and method == "GET" and environ.get("HTTP_RANGE"):
                self.cut -= 1
                return [content[: len(content) // 2]]  # the connection closes before the declared length
            return [content]

        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    faults = Faults()
    app = faults.around(DomainDispatcherApplication(create_backend_app))
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", faults
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def faults(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A fresh bucket named ``bucket``, reached by the environment alone, as in production."""
    address, found = server
    for name, value in (("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "s3cret-key")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    quick = {"retries": {"max_attempts": 0}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": address, "config_kwargs": quick})
    monkeypatch.setattr(storage, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    fs.mkdir("bucket")
    yield found
    found.cut, found.tag, found.denied, found.changed = 0, "", "", False
    fs.rm("bucket", recursive=True)
    fs.clear_instance_cache()
    found.asked.clear()


@pytest.fixture
def product(faults: Faults, tmp_path: Path) -> Path:
    """A folder of two files in the bucket, and here."""
    folder = tmp_path / "S1.SAFE"
    (folder / "measurement").mkdir(parents=True)
    (folder / "manifest.safe").write_bytes(b"<m/>")
    (folder / "measurement" / "vv.tiff").write_bytes(np.random.default_rng(0).bytes(300_000))
    for name in ("manifest.safe", "measurement/vv.tiff"):
        put(folder / name, f"s3://bucket/in/S1.SAFE/{name}", sha256(folder / name))
    faults.asked.clear()
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_a_product_comes_back_as_it_went(product: Path, tmp_path: Path) -> None:
    with fetched("s3://bucket/in/S1.SAFE", tmp_path / "scratch") as there:
        assert content(there) == content(product)
    fetch_into("s3://bucket/in/S1.SAFE", tmp_path / "kept")
    assert content(tmp_path / "kept") == content(product)
    assert len(version_of("s3://bucket/in/S1.SAFE")) == 2


def test_after_a_lost_connection_the_missing_bytes_are_fetched(
    product: Path, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_BLOCK", 100_000)
    faults.cut = 2
    fetch_into("s3://bucket/in/S1.SAFE", tmp_path / "kept")
    assert content(tmp_path / "kept") == content(product)
    ranges = [span for method, path, span in faults.asked if method == "GET" and path.endswith("vv.tiff")]
    assert len(ranges) <= 5  # three blocks, and two again


def test_what_a_killed_run_left_is_continued(
    product: Path, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_BLOCK", 100_000)
    target = tmp_path / "vv.tiff"
    monkeypatch.setattr(storage, "_ATTEMPTS", 1)
    faults.cut = 9
    with pytest.raises(InputError, match=r"^s3://bucket/in/S1.SAFE/measurement/vv.tiff cannot be read"):
        fetch_into("s3://bucket/in/S1.SAFE/measurement/vv.tiff", target)
    assert not target.exists()
    part = target.with_name("vv.tiff.part")
    part.write_bytes((product / "measurement" / "vv.tiff").read_bytes()[:200_000])
    faults.cut = 0
    faults.asked.clear()
    fetch_into("s3://bucket/in/S1.SAFE/measurement/vv.tiff", target)
    assert sha256(target) == sha256(product / "measurement" / "vv.tiff")
    assert [span for method, _, span in faults.asked if span] == ["bytes=200000-299999"]
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.usefixtures("product")
def test_a_wrong_entity_tag_is_refused_and_the_file_removed(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.tag = hashlib.md5(b"other").hexdigest()
    with pytest.raises(InputError, match=r"cannot be read \(ConnectionError: .*FileExpired"):  # by the server itself
        fetch_into("s3://bucket/in/S1.SAFE/measurement/vv.tiff", tmp_path / "vv.tiff")
    faults.tag, faults.changed = "", True
    monkeypatch.setattr(storage, "_BLOCK", 100_000)  # of parts of an object the storage gives no checksum
    with pytest.raises(InputError, match="differs from its entity tag or size in the storage; it was removed"):
        fetch_into("s3://bucket/in/S1.SAFE/measurement/vv.tiff", tmp_path / "vv.tiff")
    assert not (tmp_path / "vv.tiff").exists() and not list(tmp_path.glob("*.part"))


def test_the_folder_of_an_item_in_a_bucket_is_fetched_as_a_product(product: Path, tmp_path: Path) -> None:
    asset = {"safe_manifest": {"href": "s3://bucket/in/S1.SAFE/manifest.safe"}}
    name = "S1A_IW_GRDH_1SDV_20210907T170650_20210907T170715_022756_0277A8_3768"
    record = SceneRecord(name, "radar", datetime(2021, 9, 7, tzinfo=UTC), {})
    remote = remote_product(Found(record, {"assets": asset, "collection": "sentinel-1-grd"}))
    there = fetch_product(remote, tmp_path / "products", Credentials(PROVIDERS["earth-search"]))
    assert content(there) == content(product)
    assert fetch_product(remote, tmp_path / "products", Credentials(PROVIDERS["earth-search"])) == there


@pytest.mark.usefixtures("product")
def test_a_denied_or_missing_bucket_is_one_line_without_secrets(faults: Faults, tmp_path: Path) -> None:
    faults.denied = "bucket"
    for work in (
        lambda: require_uploadable("s3://bucket/out"),
        lambda: version_of("s3://bucket/in/S1.SAFE"),
        lambda: fetch_into("s3://bucket/in/S1.SAFE", tmp_path / "kept"),
    ):
        with pytest.raises(InputError, match=r"^s3://bucket/\S+ cannot be (written|read) \(") as refused:
            work()
        assert "\n" not in str(refused.value) and "s3cret" not in str(refused.value)
    with pytest.raises(InputError, match="nowhere-to-be-found"):
        require_uploadable("s3://nowhere-to-be-found/out")


def test_an_upload_over_an_object_of_another_content_is_read_back(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    assert put(tmp_path / "a", "s3://bucket/a", sha256(tmp_path / "a"))
    assert not put(tmp_path / "a", "s3://bucket/a", sha256(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"other")
    assert put(tmp_path / "a", "s3://bucket/a", sha256(tmp_path / "a"))
    faults.cut = 1
    with pytest.raises(Exception, match=r".") as lost:  # while it is read back
        put(tmp_path / "a", "s3://bucket/a", sha256(tmp_path / "a"))
    assert not isinstance(lost.value, InputError)  # no fault of the input: the task is tried again


def test_a_batch_takes_its_images_from_a_bucket_and_its_outputs_go_there(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optical = np.random.default_rng(0).integers(200, 900, (13, 32, 32)).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 32, 32), -9, np.float32), SENTINEL1.bands, GRID)
    for name in ("s2.tif", "s1.tif"):
        put(tmp_path / name, f"s3://bucket/in/{name}", sha256(tmp_path / name))
    (tmp_path / "m.csv").write_text("name,cloudy,sar\nfar,s3://bucket/in/s2.tif,s3://bucket/in/s1.tif\n")
    out = tmp_path / "out"
    command = ("batch", tmp_path / "m.csv", "--remover", "clear-mean", "--clouds", "ones", "--out", out)
    words = ["unclouded", *map(str, command), "--upload-to", "s3://bucket/results"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        run()
    assert not ended.value.code
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    for name in ("far/clear.tif", "far/visual.tif", "far/summary.json", "scenes.parquet", "collection.json"):
        assert fs.cat_file(f"bucket/results/{name}") == (out / name).read_bytes()

"""Servers on the loopback that do whatever a server can do wrong: every request ends in time, in one line."""

import base64
import gc
import gzip
import re
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from urllib3.connection import HTTPSConnection

from unclouded.errors import InputError
from unclouded.web import WebError, WebLimits, declared_bytes, require_web_address, send_request

pytestmark = pytest.mark.enable_socket  # the loopback alone

OK = "HTTP/1.1 200 OK\r\n"
QUICK = WebLimits(connect_s=1.0, silence_s=0.3, answer_s=0.4, whole_s=0.8)
PATIENT = WebLimits(connect_s=5.0, silence_s=5.0, answer_s=5.0, whole_s=5.0)
Behaviour = Callable[[socket.socket], object]


@contextmanager
def served(behaviour: Behaviour, scheme: str = "http") -> Iterator[str]:
    """Give the address of a server that does the same with every connection, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            behaviour(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(timeout=10)
            assert not thread.is_alive()  # the client closed every connection


def responds(*pieces: str, then: Behaviour = lambda _: None) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall("".join(pieces).encode("latin-1"))
        then(connection)

    return behave


def drips(piece: bytes, pause_s: float = 0.02) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return behave


def stays_silent(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def fetched(behaviour: Behaviour, limits: WebLimits = PATIENT, scheme: str = "http", **more: Any) -> bytes:
    with served(behaviour, scheme) as address, send_request("GET", address, limits=limits, **more) as answer:
        if answer.status != 200:
            raise answer.error()
        return answer.read(1 << 20)


def failed(behaviour: Behaviour, limits: WebLimits = PATIENT, scheme: str = "http") -> WebError:
    with pytest.raises(WebError) as error:
        fetched(behaviour, limits, scheme)
    assert "\n" not in str(error.value) and "object at" not in str(error.value) and len(str(error.value)) < 300
    return error.value


SLOW = {
    "accepts and stays silent": stays_silent,
    "drips the status line": drips(b"H"),
    "drips a header": responds(OK, "X: ", then=drips(b"y")),
    "sends headers without end": responds(OK, then=drips(b"X: y\r\n", 0.1)),
    "sends continue without end": drips(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips the body": responds(OK, "Content-Length: 999\r\n\r\n", then=drips(b"x")),
    "stops in the body": responds(OK, "Content-Length: 999\r\n\r\nx", then=stays_silent),
    "drips the size of a chunk": responds(OK, "Transfer-Encoding: chunked\r\n\r\n", then=drips(b"0")),
    "drips a body without a length": responds(OK, "\r\n", then=drips(b"x")),
    "is silent after a redirect": responds("HTTP/1.1 302 Found\r\nLocation: /y", then=stays_silent),
}


@pytest.mark.parametrize("behaviour", SLOW.values(), ids=SLOW)
def test_fault_41_slow_responses_time_out_in_every_phase(behaviour: Behaviour) -> None:
    began = time.monotonic()
    assert re.search(r"(within|silent for more than) 0\.[348] s$", str(failed(behaviour, QUICK)))
    assert time.monotonic() - began < 30  # a hang would last for ever; the limits are 0.3 to 0.8 s


def test_fault_41_a_name_that_is_never_resolved_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(*_: Any, **__: Any) -> list[Any]:
        released.wait(60)
        raise socket.gaierror("never resolved")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        with (
            pytest.raises(WebError, match=r"^no answer within 0\.4 s$"),
            send_request("GET", "http://host/", limits=QUICK),
        ):
            pass
    finally:
        released.set()


def test_fault_41_a_tls_handshake_that_drips_ends_in_time() -> None:
    begins = responds("\x16\x03\x03\x40\x00", then=drips(b"\0"))  # the header of a record of 16 kB
    assert str(failed(begins, QUICK, "https")) == "no answer within 0.4 s"


def test_a_reset_before_the_tls_handshake_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def resets(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        reset.set()

    def wait_and_connect(one: Any) -> None:
        before = one._new_conn

        def connected() -> socket.socket:
            found: socket.socket = before()
            assert reset.wait(10)
            return found

        one._new_conn = connected
        connect(one)

    reset, connect = threading.Event(), HTTPSConnection.connect
    monkeypatch.setattr(HTTPSConnection, "connect", wait_and_connect)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert "reset" in str(failed(resets, scheme="https"))
        gc.collect()
    assert [one for one in found if one.category is ResourceWarning] == []


def test_certificates_are_verified_with_those_of_the_system_or_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")

    def responds_in_tls(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            responds(OK, "Content-Length: 2\r\n\r\nok")(encrypted)

    def read(host: str) -> bytes:
        with served(responds_in_tls, "https") as address:
            address = address.replace("127.0.0.1", host)
            with send_request("GET", address, limits=PATIENT) as answer:
                return answer.read(9)

    with pytest.raises(WebError, match="REQUESTS_CA_BUNDLE names a file with further ones") as error:
        read("localhost")
    assert "issuer certificate); it may have left out an intermediate certificate" in str(error.value)
    assert not error.value.may_pass
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    assert read("localhost") == b"ok"
    with pytest.raises(WebError, match=r"not valid for '127\.0\.0\.1'"):
        read("127.0.0.1")


def test_fault_41_a_body_that_is_fast_enough_in_silence_ends_at_the_whole_deadline() -> None:
    steady = responds(OK, "Content-Length: 999999\r\n\r\n", then=drips(b"x" * 100, 0.01))
    assert (
        str(failed(steady, WebLimits(silence_s=0.3, whole_s=0.5, least_bytes_s=10))) == "no whole answer within 0.5 s"
    )


def test_fault_41_time_that_the_reader_takes_for_a_chunk_is_not_the_servers() -> None:
    sends = responds(OK, "Content-Length: 3000000\r\n\r\n", "x" * 3_000_000)
    limits = WebLimits(silence_s=0.5, least_bytes_s=10)
    with served(sends) as address, send_request("GET", address, limits=limits) as answer:
        count = 0
        for chunk in answer.chunks():
            time.sleep(0.6 if not count else 0.0)
            count += len(chunk)
    assert count == 3_000_000


MALFORMED = {
    "no HTTP": ("HELLO\r\n\r\n", "does not answer in HTTP, but 'HELLO'"),
    "superscript status": ("HTTP/1.1 2\xb20 OK\r\n\r\n", "does not answer in HTTP"),
    "superscript length": (OK + "Content-Length: \xb2\r\n\r\n", "declares a length of '²' bytes"),
    "length of 400 digits": (OK + f"Content-Length: {'9' * 400}\r\n\r\n", "declares a length of '9999"),
    "length of 5000 digits": (OK + f"Content-Length: {'9' * 5000}\r\n\r\n", "declares a length of '9999"),
    "negative length": (OK + "Content-Length: -1\r\n\r\n", "declares a length of '-1' bytes"),
    "length with a sign": (OK + "Content-Length: +1\r\n\r\nx", "declares a length of '+1' bytes"),
    "length with underscores": (OK + "Content-Length: 1_0\r\n\r\n", "declares a length of '1_0' bytes"),
    "two lengths": (OK + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456", "multiple unmatching values"),
    "header of 100 kB": (OK + f"X: {'y' * 100_000}\r\n\r\n", "more than 65536 bytes"),
    "redirect to ftp": (
        "HTTP/1.1 302 x\r\nLocation: ftp://127.0.0.1:1/x\r\n\r\n",
        "leads elsewhere, 'ftp://127.0.0.1:1",
    ),
    "redirect to a file": ("HTTP/1.1 301 x\r\nLocation: file:///etc/passwd\r\n\r\n", "leads elsewhere, 'file:///etc"),
    "redirect to no address": ("HTTP/1.1 307 x\r\nLocation: http://[::1/x\r\n\r\n", "leads elsewhere"),
    "redirect to itself": ("HTTP/1.1 308 x\r\nLocation: /\xfc y\r\nContent-Length: 9\r\n\r\n", "more than 5 redirects"),
    "unknown packing": (OK + "Content-Encoding: gzip, gzip\r\n\r\nx", "packed as gzip, gzip, expected gzip"),
}


@pytest.mark.parametrize(("text", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_responses_are_final_and_reported_in_one_line(text: str, reason: str) -> None:
    def read(address: str) -> None:
        with send_request("GET", address, limits=PATIENT) as answer:
            declared_bytes(answer.headers)
            answer.read(100)

    with served(responds(text)) as address, pytest.raises(WebError, match=re.escape(reason)) as error:
        read(address)
    assert not error.value.may_pass and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        OK + "Content-Length: 10\r\n\r\n123",
        OK + "Transfer-Encoding: chunked\r\n\r\nzz\r\n123",
        OK + "Transfer-Encoding: chunked\r\n\r\n-5\r\n123",
        OK + "Content-Encoding: gzip\r\n\r\n123",
    ],
)
def test_an_incomplete_response_may_be_requested_again(text: str) -> None:
    assert failed(responds(text)).may_pass


@pytest.mark.parametrize("status", ["200 OK", "404 x", "500 x"])
@pytest.mark.parametrize("length", ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
def test_an_endless_body_is_not_read_for_any_status(status: str, length: str) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536

    behaviour = responds(f"HTTP/1.1 {status}\r\n{length}\r\n", then=endless)
    if status == "200 OK" and "5" in length:
        assert fetched(behaviour) == b"10000"  # as declared, and no byte more
    else:
        failed(behaviour)
    assert sent < 64 << 20


def test_fault_21_a_decompression_bomb_is_not_unpacked() -> None:
    packed = gzip.compress(b" " * (64 << 20))
    head = f"{OK}Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    assert str(failed(responds(head, packed.decode("latin-1")))) == "more than 1 MiB for one answer"
    packed = gzip.compress(b"sound")
    head = f"{OK}Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    assert fetched(responds(head, packed.decode("latin-1"))) == b"sound"


def test_a_password_is_sent_to_its_host_only() -> None:
    heard: list[bytes] = []

    def hear(answer: str) -> Behaviour:
        def behave(connection: socket.socket) -> None:
            heard.append(connection.recv(65_536))
            connection.sendall(answer.encode())

        return behave

    with served(hear(f"{OK}Content-Length: 2\r\n\r\n{{}}")) as other:
        moved = hear(f"HTTP/1.1 302 Found\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n")
        with (
            served(moved) as address,
            send_request("GET", address.replace("//", "//me:se%20cret@"), limits=PATIENT) as answer,
        ):
            assert (answer.status, answer.address) == (200, other)
    assert b"Authorization: Basic " + base64.b64encode(b"me:se cret") in heard[0]
    assert b"authorization" not in heard[1].lower() and b"cret" not in heard[1]


@pytest.mark.parametrize(
    ("asks", "seconds"), [("7", 7.0), ("\xb3", 0.0), ("9" * 5000, 0.0), ("-3", 0.0), ("soon", 0.0), ("1e9", 0.0)]
)
def test_a_busy_server_may_ask_for_seconds_and_for_nothing_else(asks: str, seconds: float) -> None:
    error = failed(responds(f"HTTP/1.1 429 Slow\r\nRetry-After: {asks}\r\nContent-Length: 0\r\n\r\n"))
    assert (error.status, error.may_pass, error.wait_s) == (429, True, seconds)


def test_no_thread_is_left_running() -> None:
    failed(stays_silent, QUICK)
    until = time.monotonic() + 10
    while any(thread.name == "web request" for thread in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "web request"]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/ü",
        "http://127.0.0.1:x/a",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:\u0661/",
        "http://[",
        "http://[::1/a",
        "http://[::1]x/",
        "http://[v1.x]/",
        "http://",
        "http:///x",
        "http://a..b/",
        f"http://{'a' * 64}/",
        "http://me:secret@/x",
        "http://a@b@c/",
        "http://a\0b/",
        "http://a\nb/",
        "http://a\\b/",
        "ftp://host/x",
        "file:///etc/passwd",
        "http:host/x",
        "http://h/" + "a" * 100_000,
        "",
    ],
)
def test_invalid_addresses_are_refused_in_one_line(address: str) -> None:
    with pytest.raises(InputError) as error:
        require_web_address(address)
    assert "\n" not in str(error.value) and "secret" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("address", ["https://host/a%20b?c=/&d=", "HTTP://[::1]:8080/x", "http://me:it@h.example.:80"])
def test_valid_addresses_are_accepted(address: str) -> None:
    require_web_address(address)


@given(st.text(st.sampled_from("htps:/[]@.%?#a0\0 ü\\\n-١"), max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with suppress(InputError):
        require_web_address("http://" + text)

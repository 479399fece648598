"""What scanners report of Multi Model Server's jar, Netty 4.1.91 above all, sent to the server.

docs/security.md says for each entry whether it can be reached; here it is sent.
"""

import gzip
import re
import socket
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from helpers.serving_process import ServingProcess, photo

pytestmark = pytest.mark.integration

LOG4J_CONFIGURATION = (
    Path(__file__).parents[2] / "containers/serving/endpoints/resources/dogbreeds-log4j2.xml"
)
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def send(server: ServingProcess, message: bytes) -> bytes:
    """Send bytes; return what comes until the server closes, or nothing more does for 3 seconds."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=3) as connection:
        received = b""
        try:
            connection.sendall(message)
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionError):
            pass
    return received


def answers(received: bytes) -> int:
    return len(re.findall(rb"HTTP/1\.[01] \d{3} ", received))


def memory(server: ServingProcess) -> int:
    return sum(process.memory_info().rss for process in server.descendants())


def test_cve_2024_29025_a_form_of_many_fields_is_refused_undecoded(server: ServingProcess) -> None:
    before = memory(server)
    body = b"&".join(b"%d=" % number for number in range(400_000))  # 2.7 MB
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    answer = send(server, HEAD + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b"415" in answer.partition(b"\r\n")[0] or answer == b""  # it closes before all is sent
    boundary = b"Content-Type: multipart/form-data; boundary=x\r\n"
    parts = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 50_000
    send(server, HEAD + boundary + b"Content-Length: %d\r\n\r\n" % len(parts) + parts)
    assert memory(server) - before < 60 * 2**20
    assert server.invoke(photo()).status == 200


def test_cve_2023_34462_a_tls_hello_is_no_request(server: ServingProcess) -> None:
    before = memory(server)
    hello = b"\x16\x03\x01\xff\xff\x01\x00\xff\xff\x00\x03\x03" + bytes(16_000)
    for _ in range(10):
        send(server, hello[:100])
    assert memory(server) - before < 60 * 2**20
    assert server.ping() == 200


def test_cve_2025_55163_http_2_is_not_spoken(server: ServingProcess) -> None:
    answer = send(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    upgrade = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    answer = send(server, upgrade + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("coding", ["br", "snappy", "zstd", "gzip", "deflate"])
def test_cve_2025_58057_compressed_bodies_are_bounded(server: ServingProcess, coding: str) -> None:
    zeros = bytes(40 * 2**20)
    bomb = gzip.compress(zeros) if coding == "gzip" else zlib.compress(zeros)
    before = memory(server)
    answer = server.invoke(bomb, headers={"Content-Encoding": coding})
    assert answer.status == (413 if coding in ("gzip", "deflate") else 415)
    assert memory(server) - before < 120 * 2**20


def test_cve_2025_58056_a_chunk_line_that_parsers_read_differently_harms_nobody(
    server: ServingProcess,
) -> None:
    chunked = b"Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    smuggled = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = send(server, HEAD + chunked + b"2;\nxx\r\n0\r\n\r\n" + smuggled)
    assert answers(answer) <= 1  # it closes after the first, as it was asked to
    assert server.invoke(photo()).status == 200


def test_cve_2026_33870_a_line_break_in_a_quoted_chunk_extension_harms_nobody(
    server: ServingProcess,
) -> None:
    chunked = b"Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    smuggled = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    extension = b'2;name="\r\nxx\r\n0\r\n\r\n'
    answer = send(server, HEAD + chunked + extension + smuggled + b'"\r\nxx\r\n0\r\n\r\n')
    assert answers(answer) <= 1
    assert server.invoke(photo()).status == 200


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked, xchunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
    ],
)
def test_cve_2026_89044_a_request_of_two_lengths_is_answered_at_most_once(
    server: ServingProcess, framing: bytes
) -> None:
    smuggled = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    head = HEAD + b"Content-Type: image/jpeg\r\n" + framing + b"\r\n"
    answer = send(server, head + b"0\r\n\r\n" + smuggled)
    assert answers(answer) <= 1
    assert server.invoke(photo()).status == 200


def test_cve_2026_42581_an_old_request_of_two_lengths_is_answered_at_most_once(
    server: ServingProcess,
) -> None:
    head = b"POST /invocations HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: image/jpeg\r\n"
    framing = b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    answer = send(server, head + framing + b"0\r\n\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answers(answer) <= 1  # which is an error, so that it closes
    assert server.invoke(photo()).status == 200


def test_cve_2026_50020_control_characters_before_a_request_are_no_request(
    server: ServingProcess,
) -> None:
    ping = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = send(server, b"\0\1\2\x7f" + ping)
    assert answers(answer) <= 1
    assert server.ping() == 200


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(b"\0\0\0\x09\0\0\0\0\x01", id="cve_2026_33871"),  # CONTINUATION
        pytest.param(b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08", id="cve_2023_44487"),  # RST_STREAM
    ],
)
def test_a_flood_of_http_2_frames_is_not_read(server: ServingProcess, frames: bytes) -> None:
    before = memory(server)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    answer = send(server, preface + frames * 100_000)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert memory(server) - before < 60 * 2**20
    assert server.ping() == 200


def test_cve_2025_68161_no_log_leaves_over_a_socket() -> None:
    configuration = ElementTree.parse(LOG4J_CONFIGURATION)
    appenders = {appender.tag for appender in configuration.findall(".//Appenders/*")}
    assert appenders == {"Console"}


def test_cve_2025_67735_no_header_of_an_answer_comes_from_the_request(
    server: ServingProcess,
) -> None:
    path = b"GET /ping%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"x-injected" not in send(server, path).partition(b"\r\n\r\n")[0].lower()
    answer = server.invoke(photo(), headers={"X-Amzn-SageMaker-Custom-Attributes": "a%0d%0ab: c"})
    assert "b" not in answer.headers

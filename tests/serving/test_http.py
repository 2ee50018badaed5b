"""Connections that close while a request still comes, over raw sockets; no model is there."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
ANSWER = b"x" * 50_000


async def refuses(scope, receive, send):
    """Answers before the body is there."""
    length = str(len(ANSWER)).encode()
    headers = [(b"content-length", length), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


@contextlib.contextmanager
def served() -> Iterator[int]:
    from cxrflow.serving.http import HttpServer
    from cxrflow.serving.settings import ServerConfig

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server = HttpServer(refuses, listener, ServerConfig(), None)
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(loop.run_forever)
        try:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result()
            yield listener.getsockname()[1]
            asyncio.run_coroutine_threadsafe(server.stop(5), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side ends its writing."""
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


@pytest.mark.parametrize("asked", [HEAD, b"GET /" + b"a" * 70_000, b"\0\r\n\r\n"])
def test_an_answer_before_the_body_is_there_arrives_whole(asked):
    with served() as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(asked)
        time.sleep(0.3)  # answered, and its end written
        for _ in range(10):
            client.sendall(b" " * 100_000)  # a reset would fail here, or lose the answer
        found = everything(client)
    status = {HEAD: b"503", b"\0\r\n\r\n": b"400"}.get(asked, b"431")
    assert found.startswith(b"HTTP/1.1 " + status)
    assert found.endswith(ANSWER) == (asked == HEAD)


def test_a_client_that_never_goes_is_dropped_after_a_while():
    with served() as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(HEAD)
        assert everything(client).endswith(ANSWER)
        with pytest.raises(OSError, match=r"reset|Broken"):
            while True:
                client.sendall(b" ")
                time.sleep(0.1)


def test_a_whole_request_is_answered_and_closed_at_once():
    with served() as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert everything(client).endswith(ANSWER)
        time.sleep(0.2)
        with pytest.raises(OSError, match=r"reset|Broken"):
            client.sendall(b" ")
            time.sleep(0.2)
            client.sendall(b" ")

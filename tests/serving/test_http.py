"""Connections that close while a request still comes, over raw sockets; no model is there."""

import asyncio
import contextlib
import re
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


async def answers(scope, receive, send):
    """Reads the whole body first; gives back its length."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    text = b"%d" % size
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@contextlib.contextmanager
def served(app=refuses, **settings) -> Iterator[int]:
    from cxrflow.serving.http import HttpServer
    from cxrflow.serving.settings import ServerConfig

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server = HttpServer(app, listener, ServerConfig(**settings), None)
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


def answer(client: socket.socket) -> bytes:
    """One answer of `answers`, whose body is the digits of a number."""
    found = b""
    while not re.search(rb"\r\n\r\n\d+$", found):
        data = client.recv(65536)
        assert data, found
        found += data
    return found


def slow_body(client: socket.socket) -> None:
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")


def kept_idle(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer(client).endswith(b"\r\n\r\n0")


def half_a_head(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")


@pytest.mark.parametrize("hold", [slow_body, kept_idle, half_a_head])
def test_who_holds_all_connections_gives_way_to_newcomers(hold):
    with served(answers, max_connections=5) as port, contextlib.ExitStack() as held:
        for _ in range(5):
            hold(held.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
        time.sleep(0.2)
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
                assert answer(client).endswith(b"\r\n\r\n3")


def test_a_body_that_moves_stays_and_one_that_drips_goes():
    with served(answers, max_connections=3) as port, contextlib.ExitStack() as opened:
        moving, dripping = (
            opened.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            for _ in range(2)
        )
        moving.sendall(HEAD)  # its client began first
        time.sleep(0.2)
        slow_body(dripping)
        for _ in range(5):
            moving.sendall(b" " * 100_000)
            dripping.sendall(b" ")
            time.sleep(0.1)
        for _ in range(2):  # one more than there is room for
            half_a_head(opened.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
        time.sleep(0.2)
        moving.sendall(b" " * 500_000)
        assert answer(moving).endswith(b"1000000")
        with contextlib.suppress(ConnectionResetError):
            assert dripping.recv(1000) == b""


def test_http_1_0_is_kept_where_it_asks_for_it_and_told_so():
    asked = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    with served(answers) as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        for _ in range(3):
            client.sendall(asked)
            found = answer(client)
            assert found.endswith(b"\r\n\r\n0") and b"\r\nconnection: keep-alive\r\n" in found
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"keep-alive" not in everything(client)


def test_a_long_head_that_comes_whole_is_refused_too():
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n"
    with served(answers) as port, socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(head % (b"a" * 60_000))
        assert answer(client).startswith(b"HTTP/1.1 200 ")
        client.sendall(head % (b"a" * 70_000))
        assert everything(client).startswith(b"HTTP/1.1 431 ")

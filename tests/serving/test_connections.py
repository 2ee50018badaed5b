"""A port's connections end; what was written before arrives, and no other socket minds."""

import gc
import os
import socket

import pytest

from cxrflow.serving.connections import end_connections


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def connected(to: socket.socket) -> tuple[socket.socket, socket.socket]:
    """The client's end and the server's."""
    client = socket.create_connection(to.getsockname(), timeout=30)
    return client, to.accept()[0]


def test_a_port_ends_and_another_goes_on():
    with listening() as ended, listening() as other:
        (client, server), (client2, server2) = connected(ended), connected(other)
        with client, server, client2, server2:
            server.sendall(b"the answer")
            end_connections(ended.getsockname()[1])
            assert client.recv(100) == b"the answer"
            assert client.recv(100) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(ended.getsockname(), timeout=30)
            server2.sendall(b"still here")
            assert client2.recv(100) == b"still here"
            client3, server3 = connected(other)
            client3.close()
            server3.close()


def test_a_client_of_that_port_in_the_same_process_only_sees_the_end():
    with listening() as ended:
        client, server = connected(ended)
        with client, server:
            end_connections(ended.getsockname()[1])
            client.sendall(b"x")  # its own side isn't shut
            assert client.recv(100) == b""


def test_it_does_nothing_where_descriptors_cannot_be_listed(monkeypatch):
    monkeypatch.setattr("cxrflow.serving.connections._OWN_DESCRIPTORS", "/no/such/folder")
    with listening() as kept:
        end_connections(kept.getsockname()[1])
        client, server = connected(kept)
        client.close()
        server.close()


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/dev/fd"))
    with (tmp_path / "file").open("w"), listening() as ended, socket.socket():
        end_connections(ended.getsockname()[1])
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before

"""Hosts and ports, IPv4 and IPv6."""

import socket

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving import addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8500", "127.0.0.1", 8500),
        ("cxr.hospital:1", "cxr.hospital", 1),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:8500", "fe80::1%eth0", 8500),
    ],
)
def test_address_is_taken_apart_and_put_together(text: str, host: str, port: int) -> None:
    assert addresses.split(text) == (host, port)
    assert addresses.join(host, port) == text
    assert addresses.join(addresses.in_brackets(host), port) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("::1:8500", r"write \[::1\]:8500 for IPv6"),
        ("localhost", "give HOST:PORT"),
        (":8500", "give HOST:PORT"),
        ("[]:8500", "give HOST:PORT"),
        ("http://host:8500", "give HOST:PORT"),
        ("host:0", "give HOST:PORT"),
        ("host:65536", "give HOST:PORT"),
        ("host:8500/v1", "give HOST:PORT"),
        ("host:٣", "give HOST:PORT"),
        ("a..b:1", "no host is called so"),
        (f"{'a' * 64}:1", "no host is called so"),
        ("\udcff:1", "no host is called so"),
    ],
)
def test_what_is_no_address(text: str, line: str) -> None:
    with pytest.raises(CxrflowError, match=line):
        addresses.split(text)


def test_family_prefers_the_old_one() -> None:
    assert addresses.family("127.0.0.1") == socket.AF_INET
    assert addresses.family("localhost") == socket.AF_INET
    assert addresses.family("[::1]") == addresses.family("::") == socket.AF_INET6


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "::", "0.0.0.0"])
def test_free_and_taken_ports(host: str) -> None:
    try:
        listener = socket.create_server(
            (addresses.bare(host), 0), family=addresses.family(host), backlog=1
        )
    except OSError:
        pytest.skip(f"no {host} here")
    port = listener.getsockname()[1]
    with listener, pytest.raises(CxrflowError, match="in use; choose another with --port"):
        addresses.require_free(host, port, "--port")
    addresses.require_free(host, port, "--port")


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("", "--host is empty"),
        ("192.0.2.1", "192.0.2.1:8500: Cannot assign requested address; name an address of this"),
        ("2001:db8::1", r"\[2001:db8::1\]:8500: Cannot assign requested address"),
        ("no-such-host.invalid", "Can't listen on no-such-host.invalid:8500: .*; name an address"),
        ("a..b", "no host's name; name an address of this machine with --host"),
    ],
)
def test_hosts_that_are_not_this_machine(host: str, line: str) -> None:
    with pytest.raises(CxrflowError, match=line):
        addresses.require_free(host, 8500, "--port")

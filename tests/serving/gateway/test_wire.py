"""What a connection may do: bounds before anybody said who it is, and TLS with real peers."""

import contextlib
import gc
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from cxrflow.schema.errors import CxrflowError
from tests.serving.certificates import certificate
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import states, until, write_xray
from tests.serving.gateway.test_peers import dcmtk, run
from tests.serving.gateway.test_receive import lines
from tests.support.ports import free_port

STRANGERS = "127.0.0.1"


def ends(connection: socket.socket) -> bool:
    """Whether the other end closes it, within some seconds."""
    connection.settimeout(20)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("kind", [1, 4], ids=["association", "data"])
def test_a_pdu_that_is_too_large_is_not_read(open_site, tmp_path, caplog, kind):
    """From a stranger: 4 GB are announced, and none of them is waited for."""
    site = open_site(limits={"max_pdu_bytes": 50_000, "min_free_bytes": 1})
    with socket.create_connection((STRANGERS, site.port)) as connection:
        connection.sendall(struct.pack(">BBL", kind, 0, 2**32 - 1) + bytes(1000))
        assert ends(connection)
    (line,) = lines(caplog)
    assert line == (
        "ended the connection of 127.0.0.1: a PDU of 4,294,967,295 bytes, "
        "limits.max_pdu_bytes is 50,000"
    )
    assert site.send(write_xray(tmp_path / "a.dcm"))[0].Status == 0


def test_a_pdu_that_does_not_end_is_not_waited_for(open_site, tmp_path, caplog):
    site = open_site(limits={"network_seconds": 0.5, "min_free_bytes": 1})
    with socket.create_connection((STRANGERS, site.port)) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 200))
        with contextlib.suppress(ConnectionError):  # a late byte meets a closed connection
            for _ in range(3):  # a byte now and then doesn't help
                time.sleep(0.2)
                connection.sendall(b"x")
        assert ends(connection)
    until(lambda: lines(caplog))
    assert lines(caplog) == [
        "ended the connection of 127.0.0.1: a PDU wasn't whole within limits.network_seconds (0.5)"
    ]


def answers(site) -> bool:
    """Whether a peer's association is taken."""
    ae = AE(ae_title=hospital.MODALITY)
    ae.add_requested_context(Verification)
    association = ae.associate(STRANGERS, site.port, ae_title=hospital.TITLE)
    if established := association.is_established:
        association.release()
    return established


@pytest.mark.slow
def test_connections_that_ask_for_nothing_are_bounded_and_leave_nothing(open_site, caplog):
    site = open_site(
        limits={"max_associations": 2, "network_seconds": 1, "min_free_bytes": 1},
    )
    before = len(os.listdir("/proc/self/fd"))
    open_ = [socket.create_connection((STRANGERS, site.port)) for _ in range(20)]

    def too_many() -> bool:  # a busy machine opens them more slowly than the gateway ends them
        open_.append(socket.create_connection((STRANGERS, site.port)))
        return any("connections are open" in line for line in lines(caplog))

    until(too_many)
    assert all(ends(connection) for connection in open_)
    for connection in open_:
        connection.close()

    until(lambda: answers(site))

    def settled() -> bool:
        gc.collect()
        return len(os.listdir("/proc/self/fd")) <= before + 2

    until(settled)


def test_who_is_turned_away_takes_no_place(open_site, caplog):
    """A sender that tries again without a pause must not keep a full gateway full."""
    site = open_site(
        limits={"max_associations": 2, "network_seconds": 60, "min_free_bytes": 1},
    )
    silent = [socket.create_connection((STRANGERS, site.port)) for _ in range(8)]
    until(lambda: acceptors() == 8)
    assert not any(answers(site) for _ in range(20))
    assert acceptors() == 8
    assert lines(caplog) == ["rejected 127.0.0.1: 8 connections are open"] * 20
    for connection in silent:
        connection.close()
    until(lambda: answers(site))


def acceptors() -> int:
    """How many connections pynetdicom has a thread for."""
    return sum("AcceptorThread" in thread.name for thread in threading.enumerate())


@pytest.fixture
def encrypted(open_site, tmp_path):
    """A gateway that speaks TLS to who has the peer's certificate; (site, the peer's, its own)."""
    own, peer = certificate(tmp_path, "gateway"), certificate(tmp_path, "peer")
    patient = {"network_seconds": 600, "min_free_bytes": 1}  # longer than any test waits
    tls = {"tls_certificate": own[0], "tls_key": own[1], "tls_client_ca": peer[0]}
    site = open_site(limits=patient, **tls)
    return site, peer, own


@dcmtk
def test_storescu_sends_by_tls(encrypted, tmp_path):
    site, (peer, key), (own, _) = encrypted
    tls = ["+tls", key, peer, "+cf", own]
    there = ["-aet", hospital.MODALITY, "-aec", hospital.TITLE, "localhost", site.port]
    sent = run("storescu", *tls, *there, write_xray(tmp_path / "a.dcm"))
    assert sent.returncode == 0, sent.stderr
    until(lambda: site.archive.reports)


@dcmtk
def test_who_has_no_certificate_or_no_tls_is_told_in_the_log(encrypted, tmp_path, caplog):
    site, (peer, key), (own, _) = encrypted
    there = ["-aet", hospital.MODALITY, "-aec", hospital.TITLE, "localhost", site.port]
    stranger, its_key = certificate(tmp_path, "stranger")
    for tls in ([], ["+tla", "+cf", own], ["+tls", its_key, stranger, "+cf", own]):
        assert run("echoscu", *tls, *there).returncode, tls
    until(lambda: sum("ended the connection of 127.0.0.1: TLS: " in x for x in lines(caplog)) == 3)
    assert run("echoscu", "+tls", key, peer, "+cf", own, *there).returncode == 0


def test_a_handshake_that_does_not_come_holds_nobody_up(encrypted):
    site, (peer, key), (own, _) = encrypted
    context = ssl.create_default_context(cafile=own)
    context.load_cert_chain(peer, key)
    with (
        socket.create_connection((STRANGERS, site.port)),  # says nothing
        socket.create_connection((STRANGERS, site.port), timeout=60) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as other,
    ):
        assert other.version().startswith("TLSv1")


@dcmtk
def test_results_go_to_storescp_by_tls(open_site, tmp_path):
    own, archive = certificate(tmp_path, "gateway"), certificate(tmp_path, "archive")
    port, folder = free_port(), tmp_path / "storescp"
    folder.mkdir()
    tls = ["+tls", archive[1], archive[0], "+cf", own[0]]
    process = subprocess.Popen(
        ["storescp", "-aet", hospital.ARCHIVE, "-od", folder, *tls, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        to = hospital.to_archive(port, host="localhost", tls=True, ca=archive[0])
        site = open_site(tls_certificate=own[0], tls_key=own[1], destinations=[to])
        peer = ["+tla", "+cf", own[0], "-aet", hospital.MODALITY, "-aec", hospital.TITLE]
        xray = write_xray(tmp_path / "a.dcm")
        assert run("storescu", *peer, "localhost", site.port, xray).returncode == 0
        until(lambda: "answered" in states(site.folder))
    finally:
        process.terminate()
        process.wait()
    kinds = {dcmread(path, force=True).SOPClassUID for path in folder.iterdir()}
    assert kinds == {hospital.COMPREHENSIVE_SR, hospital.SECONDARY_CAPTURE}


@dcmtk
def test_an_archive_that_cannot_prove_itself_gets_nothing(open_site, tmp_path, caplog):
    archive, other = certificate(tmp_path, "archive"), certificate(tmp_path, "other")
    port, folder = free_port(), tmp_path / "storescp"
    folder.mkdir()
    process = subprocess.Popen(
        ["storescp", "-od", folder, "+tla", archive[1], archive[0], str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        to = hospital.to_archive(port, host="localhost", tls=True, ca=other[0])
        site = open_site(destinations=[to])
        site.send(write_xray(tmp_path / "a.dcm"))
        until(lambda: any("with a certificate that `ca` signed" in x for x in lines(caplog)))
        assert not list(folder.iterdir())
    finally:
        process.terminate()
        process.wait()


def test_files_that_are_no_certificate_are_said(open_site, tmp_path):
    own = certificate(tmp_path, "gateway")
    with pytest.raises(CxrflowError, match="gateway: The TLS certificate, key or CA can't be used"):
        open_site(tls_certificate=own[0], tls_key=own[0])
    to = hospital.to_archive(1, tls=True, ca=str(tmp_path / "none"))
    with pytest.raises(CxrflowError, match=r"gateway: .* CA can't be used"):
        open_site(destinations=[to])

"""Who may send, in which transfer syntaxes, and what is refused."""

import socket
import struct
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from cxrflow.serving.gateway.receive import SYNTAXES
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import send, states, until, write_xray

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def lines(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "cxrflow.gateway"]


def echo(port: int, title: str, called: str = hospital.TITLE) -> bool:
    ae = AE(ae_title=title)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        assert association.is_rejected
        return False
    try:
        return association.send_c_echo().Status == 0
    finally:
        association.release()


def test_a_peer_gets_an_echo(site):
    assert echo(site.port, hospital.MODALITY)


def test_others_are_rejected_in_a_line(site, caplog):
    assert not echo(site.port, "STRANGER")
    assert lines(caplog) == ["rejected STRANGER at 127.0.0.1: its AE title isn't among `peers`"]
    assert echo(site.port, hospital.MODALITY)


def test_a_peer_from_another_address_is_rejected(open_site, caplog):
    site = open_site(peers=[{"ae_title": hospital.MODALITY, "address": "10.9.8.7"}])
    assert not echo(site.port, hospital.MODALITY)
    assert lines(caplog) == [
        "rejected MODALITY1 at 127.0.0.1: as a peer it has the address 10.9.8.7"
    ]


def test_who_calls_another_title_is_rejected(site, caplog):
    assert not echo(site.port, hospital.MODALITY, "PACS")
    until(lambda: lines(caplog))
    assert lines(caplog) == ["rejected MODALITY1 at 127.0.0.1: it calls PACS, this is CXRFLOW"]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name.split(" - ")[0])
def test_every_decodable_syntax_is_accepted(site, syntax):
    ae = AE(ae_title=hospital.MODALITY)
    ae.add_requested_context(DX, [syntax])
    association = ae.associate("127.0.0.1", site.port, ae_title=hospital.TITLE)
    assert association.is_established
    (context,) = association.accepted_contexts
    assert context.transfer_syntax == [syntax]
    association.release()


def test_video_is_not_accepted(site):
    ae = AE(ae_title=hospital.MODALITY)
    ae.add_requested_context(DX, ["1.2.840.10008.1.2.4.100"])
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", site.port, ae_title=hospital.TITLE)
    assert [c.abstract_syntax for c in association.rejected_contexts] == [DX]
    association.release()


@pytest.mark.parametrize(
    "name", ["RG1_J2KI", "RG1_JLSN", "RG2_JPLL", "RG2_JLSL", "RG2_RLE", "RG2_J2KR", "RG3_JPLY"]
)
def test_real_compressed_files_are_queued_byte_for_byte(open_site, shared_dir, tmp_path, name):
    path = shared_dir / "data" / "dicom" / name
    site = open_site(collect={"quiet_seconds": 60})
    study = dcmread(path, stop_before_pixels=True).StudyInstanceUID
    (answer,) = site.send(path)
    assert answer.Status == 0
    (kept,) = (site.folder / "queue" / "incoming" / study / "1").iterdir()
    sent, here = dcmread(path), dcmread(kept)
    assert here.PixelData == sent.PixelData
    assert here.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert here.file_meta.SourceApplicationEntityTitle == hospital.MODALITY


def test_a_deeply_nested_data_set_is_refused_and_the_service_goes_on(site, tmp_path, caplog):
    path = write_xray(tmp_path / "deep.dcm")
    sop, data, depth = dcmread(path).SOPInstanceUID, bytearray(path.read_bytes()), 20_000
    # Sequences of undefined length in each other, before the pixels: (0040,A730) SQ, items inside.
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    head += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    at = data.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    path.write_bytes(bytes(data[:at]) + head * depth + bytes(data[at:]))
    assert raw_store(site.port, path, sop) == 0xC000
    assert any(line.startswith("refused an image of MODALITY1") for line in lines(caplog))
    assert all("\n" not in line and len(line) < 400 for line in lines(caplog))
    assert site.send(write_xray(tmp_path / "good.dcm"))[0].Status == 0
    until(lambda: site.archive.reports)


def raw_store(port: int, path: Path, sop: str) -> int:
    """The status of a C-STORE of a file's bytes, which pydicom couldn't read and write again."""
    data = path.read_bytes()
    ae = AE(ae_title=hospital.MODALITY)
    ae.add_requested_context(DX, [ExplicitVRLittleEndian])
    association = ae.associate("127.0.0.1", port, ae_title=hospital.TITLE)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = DX, sop
    request.DataSet = BytesIO(data[132 + 12 + struct.unpack_from("<I", data, 140)[0] :])
    (context,) = association.accepted_contexts
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return response.Status


def test_an_oversized_image_ends_its_connection_in_a_line(open_site, tmp_path, caplog):
    server = {"dicom": {"max_bytes": 100_000}}
    site = open_site(ask=server, collect={"quiet_seconds": 60})
    big = write_xray(tmp_path / "big.dcm", ImageComments="x" * 10_000)
    file = dcmread(big)
    file.add_new(0x00091001, "OB", bytes(3_000_000))
    file.save_as(big)
    (answer,) = send(site.port, [big])
    assert "Status" not in answer  # aborted
    until(lambda: any("max_bytes (100000)" in line for line in lines(caplog)))
    assert site.send(write_xray(tmp_path / "good.dcm"))[0].Status == 0
    assert len(states(site.folder)["incoming"]) == 1


@pytest.mark.parametrize(
    ("elements", "status", "comment"),
    [
        ({"StudyInstanceUID": "../../etc"}, 0xA900, "is no UID"),
        ({"StudyInstanceUID": None}, 0xA900, "is no UID"),
        ({"SeriesInstanceUID": ""}, 0xA900, "is no UID"),
    ],
)
def test_what_cannot_be_filed_is_refused_with_a_comment(site, tmp_path, elements, status, comment):
    (answer,) = site.send(write_xray(tmp_path / "a.dcm", **elements))
    assert answer.Status == status and comment in answer.ErrorComment
    assert not states(site.folder)


def test_a_full_disk_is_told(open_site, tmp_path):
    site = open_site(limits={"min_free_bytes": 10**18})
    (answer,) = site.send(write_xray(tmp_path / "a.dcm"))
    assert answer.Status == 0xA700 and "disk" in answer.ErrorComment


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_both_plain_syntaxes_are_answered(site, tmp_path, syntax):
    path = write_xray(tmp_path / "a.dcm")
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    assert site.send(path)[0].Status == 0
    until(lambda: site.archive.reports)


def test_a_peer_that_speaks_no_dicom_does_no_harm(site, tmp_path):
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00" + struct.pack(">I", 10) + bytes(10)):
        with socket.create_connection(("127.0.0.1", site.port)) as connection:
            connection.sendall(text)
    assert site.send(write_xray(tmp_path / "a.dcm", StudyInstanceUID=generate_uid()))[0].Status == 0

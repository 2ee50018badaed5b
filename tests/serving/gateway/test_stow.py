"""Results by DICOMweb."""

import json
import threading
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from pydicom import dcmread

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.settings import DestinationConfig
from cxrflow.serving.gateway.stow import StowSender
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import states, until, write_xray


class Web(ThreadingHTTPServer):
    """A DICOMweb service that keeps what it gets; `answers` are statuses to give first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got, self.asked, self.answers = [], [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, said = self.server.answers.pop(0) if self.server.answers else (200, {})
        self.server.asked.append((self.path, self.headers["Authorization"]))
        if status == 200:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            for part in BytesParser().parsebytes(head + body).get_payload():
                assert part.get_content_type() == "application/dicom"
                self.server.got.append(dcmread(BytesIO(part.get_payload(decode=True))))
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def web():
    server = Web()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def to_web(server: Web, **changes):
    url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web/"
    return {"name": "web", "stow_url": url} | changes


def test_both_results_are_stored(open_site, tmp_path):
    (tmp_path / "token").write_text("Bearer abc\n")
    with web() as server:
        site = open_site(destinations=[to_web(server, authorization_file=str(tmp_path / "token"))])
        xray = write_xray(tmp_path / "a.dcm")
        site.send(xray)
        until(lambda: "answered" in states(site.folder))
    kinds = {hospital.COMPREHENSIVE_SR, hospital.SECONDARY_CAPTURE}
    assert {result.SOPClassUID for result in server.got} == kinds
    study = dcmread(xray).StudyInstanceUID
    assert {result.StudyInstanceUID for result in server.got} == {study}
    assert server.asked == [("/dicom-web/studies", "Bearer abc")] * 2


def test_what_may_pass_is_tried_again(open_site, tmp_path):
    with web() as server:
        server.answers = [(503, {}), (401, {})]
        site = open_site(destinations=[to_web(server)])
        site.send(write_xray(tmp_path / "a.dcm"))
        until(lambda: "answered" in states(site.folder))
        assert len(server.got) == 2 and len(server.asked) == 4


def test_what_is_refused_for_good_is_put_aside_with_the_reason(open_site, tmp_path):
    said = {"00081198": {"Value": [{"00081197": {"Value": [0x0122]}}]}}
    with web() as server:
        server.answers = [(200, {}), (409, said)]
        site = open_site(destinations=[to_web(server)])
        site.send(write_xray(tmp_path / "a.dcm"))
        until(lambda: "failed" in states(site.folder))
    (reason,) = (site.folder / "queue" / "failed").glob("*/1/reason.json")
    assert "web refuses report: HTTP 409 Conflict, failure reason 0122" in reason.read_text()


def test_each_destination_gets_what_it_is_to_get(open_site, tmp_path):
    archive = hospital.Archive()
    with web() as server, hospital.kept(archive) as port:
        site = open_site(
            destinations=[
                to_web(server, results=["key_image"]),
                hospital.to_archive(port, results=["report"]),
            ]
        )
        site.send(write_xray(tmp_path / "a.dcm"))
        until(lambda: "answered" in states(site.folder))
    assert [one.SOPClassUID for one in server.got] == [hospital.SECONDARY_CAPTURE]
    assert [one.SOPClassUID for one in archive.got] == [hospital.COMPREHENSIVE_SR]


def test_a_ca_that_cannot_be_read_ends_the_start(tmp_path):
    to = DestinationConfig(name="web", stow_url="https://x", ca=str(tmp_path / "none.pem"))
    with pytest.raises(CxrflowError, match=r"destinations: web: ca: .*none.pem can't be read"):
        StowSender(to)

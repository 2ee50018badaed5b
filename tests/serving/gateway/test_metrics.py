"""What a gateway tells Prometheus."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.metrics import Metrics
from cxrflow.serving.gateway.queue import Queue
from cxrflow.serving.gateway.service import Gateway
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import states, until, write_xray
from tests.serving.gateway.test_receive import echo
from tests.support.ports import free_port


def told(port: int) -> dict[str, float]:
    """The page's values by name, with the value of the one label."""
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    return {
        " ".join([sample.name.removeprefix("cxrflow_gateway_"), *sample.labels.values()]): value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        for value in [sample.value]
    }


def test_what_came_was_answered_and_sent_is_counted(open_site, tmp_path):
    port = free_port()
    site = open_site(metrics_port=port)
    before = told(port)
    assert before["received_images_total"] == before["failed_sends_total archive"] == 0
    assert before["studies asked"] == before["oldest_seconds waiting"] == 0
    site.send(write_xray(tmp_path / "a.dcm"))
    site.send(write_xray(tmp_path / "lateral.dcm", ViewPosition="LL"))
    site.send(write_xray(tmp_path / "bad.dcm", StudyInstanceUID=None))
    assert not echo(site.port, "STRANGER")
    until(lambda: len(states(site.folder).get("answered", ())) == 2)
    found = told(port)
    assert (found["received_images_total"], found["refused_images_total"]) == (2, 1)
    assert (found["answers_total findings"], found["answers_total not_frontal_chest"]) == (1, 1)
    assert found["answer_seconds_count"] == 2 and found["answer_seconds_sum"] > 0.3  # both quiet
    assert found["sent_studies_total archive"] == 2 and found["rejected_associations_total"] == 1
    assert found["failed_sends_total archive"] == found["failed_studies_total"] == 0
    assert found["process_resident_memory_bytes"] > 2**24


def test_what_waits_for_an_archive_is_seen(open_site, tmp_path):
    port = free_port()
    site = open_site(metrics_port=port)
    archive = site.archive._server.server_address[1]
    site.archive.stop()
    site.send(write_xray(tmp_path / "a.dcm"))
    until(lambda: told(port)["failed_sends_total archive"] > 1)
    found = told(port)
    assert found["studies asked"] == 1 and found["sent_studies_total archive"] == 0
    assert 0 < found["oldest_seconds asked"] < 300
    site.archive.start(archive)
    until(lambda: told(port)["sent_studies_total archive"] == 1)
    until(lambda: told(port)["oldest_seconds asked"] == 0)


def test_a_port_that_is_taken_is_said(tmp_path):
    port = free_port()
    with Metrics(Queue(tmp_path)).served("127.0.0.1", port):
        config = hospital.config(tmp_path / "g", "127.0.0.1:1", metrics_port=port)
        with (
            pytest.raises(CxrflowError, match=f"gateway: metrics_port {port} on 127.0.0.1: Addr"),
            Gateway(config).running(),
        ):
            pass
    with Metrics(Queue(tmp_path)).served("127.0.0.1", port):  # it is free again
        pass

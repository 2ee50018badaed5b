"""A second version is asked in the background: what is logged, and what is dropped."""

import json
import threading
import time
import urllib.request
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxrflow.schema.shadow import read_pairs
from cxrflow.schema.store.versions import Labels, write_labels
from tests.serving.tiny import gray_png

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny_models, push_version):
    """A server whose version 2 is shadow to version 1, its log and its address."""
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig, ShadowConfig

    root = tmp_path_factory.mktemp("root")
    push_version(tiny_models[0.25], root / "tiny", 1)
    push_version(tiny_models[0.75], root / "tiny", 2)
    write_labels(root / "tiny", Labels({"stable": 1, "canary": 2}))
    log = root / "logs" / "shadow.jsonl"
    shadow = ShadowConfig(label="canary", log=str(log), niceness=0)  # tests are busy
    with running(root, ServerConfig(grpc_port=0, rest_port=0, shadow=shadow)) as server:
        yield SimpleNamespace(server=server, log=log, url=f"http://127.0.0.1:{server.rest_port}")


def ask(served, *grays, version=""):
    images = [{"image_bytes": {"b64": b64encode(gray_png(gray)).decode()}} for gray in grays]
    request = urllib.request.Request(
        f"{served.url}/v1/models/tiny{version}:predict", json.dumps({"instances": images}).encode()
    )
    return json.load(urllib.request.urlopen(request))["predictions"]


def pairs_of(served, count):
    """So many pairs, waited for: the second version is loaded at the first."""
    last = time.monotonic() + 300
    while time.monotonic() < last:
        found = list(read_pairs(served.log))
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} pairs, not {count}")


def metric(served, name):
    page = urllib.request.urlopen(f"{served.url}/monitoring/prometheus/metrics").read().decode()
    return [line for line in page.splitlines() if line.startswith(name)]


@pytest.mark.slow
def test_both_answers_are_logged_and_the_client_gets_the_first(served):
    before = len(list(read_pairs(served.log)))
    answers = ask(served, 51, 102)
    assert [one["probabilities"] for one in answers] == [
        pytest.approx([0.2, 0.25]),
        pytest.approx([0.4, 0.25]),
    ]
    one, other = pairs_of(served, before + 2)[before:]
    assert (one.first.version, one.second.version, one.model) == (1, 2, "tiny")
    assert one.first.scores == pytest.approx({"Mean": 0.2, "Mark": 0.25})
    assert one.second.scores == pytest.approx({"Mean": 0.2, "Mark": 0.75})
    assert other.second.scores == pytest.approx({"Mean": 0.4, "Mark": 0.75})
    assert one.input_sha256 != other.input_sha256
    assert one.first.decisions == {"Mean": None, "Mark": None} and one.synthetic
    assert served.log.stat().st_mode & 0o077 == 0
    assert metric(served, "cxrflow_serving_shadow_requests_total")
    assert metric(served, 'cxrflow_serving_recent_mean_score{class_name="Mark"')


@pytest.mark.slow
def test_who_asks_the_second_version_gets_it_alone(served):
    before = len(list(read_pairs(served.log)))
    (answer,) = ask(served, 51, version="/labels/canary")
    assert answer["probabilities"] == pytest.approx([0.2, 0.75])
    ask(served, 7)
    assert len(pairs_of(served, before + 1)) == before + 1
    (line,) = metric(served, "cxrflow_serving_shadow_dropped_total")
    assert 'reason="no version"' in line


class _Manager:
    root = None

    def labelled(self, model, label):
        return 2

    def statuses(self, model):
        return {2: SimpleNamespace(info='{"classes": ["A"]}')}


def question(data=b"x" * 100):
    version = SimpleNamespace(model="m", number=1, info='{"classes": ["A"]}', classes=("A",))
    inputs = {"image_bytes": np.array([data], object)}
    return SimpleNamespace(version=version, signature="serving_default", inputs=inputs)


VALUES = {"probabilities": np.array([[0.5]])}


def test_a_process_that_ended_is_started_anew(monkeypatch):
    from cxrflow.schema.errors import CxrflowError
    from cxrflow.serving.shadow import shadow
    from cxrflow.serving.shadow.messages import Ask

    monkeypatch.setattr(shadow, "_WORKER", "tests.serving.shadow_stub")
    ask = Ask(Path("v"), "serving_default", {}, ("probabilities",), 1)
    worker = shadow._Worker(0)
    assert worker.ask(ask, 60).values["probabilities"].tolist() == [[0.5]]
    with pytest.raises(CxrflowError, match="its process ended"):
        worker.ask(replace(ask, signature="end"), 60)
    assert not worker.lives
    other = shadow._Worker(0)
    other._process.kill()
    with pytest.raises(CxrflowError, match="its process ended"):
        other.ask(ask, 60)
    slow = shadow._Worker(0)
    with pytest.raises(CxrflowError, match="it took more than 0 s"):
        slow.ask(ask, 0)
    assert not slow.lives


@pytest.mark.parametrize(("limit", "kept"), [({"max_queue": 2}, 3), ({"max_bytes": 250}, 3)])
def test_what_waits_too_long_is_dropped_and_nobody_waits(tmp_path, monkeypatch, limit, kept):
    """One is under way, two wait (by number, or by bytes), the rest is counted."""
    from cxrflow.serving.settings import ServerConfig, ShadowConfig
    from cxrflow.serving.shadow.messages import Said
    from cxrflow.serving.shadow.shadow import Shadow

    begun, go_on = threading.Event(), threading.Event()

    def slow(self, offer):
        begun.set()
        assert go_on.wait(60)
        return Said(VALUES, 0.1)

    monkeypatch.setattr(Shadow, "_ask", slow)
    config = ServerConfig(shadow=ShadowConfig(label="canary", log=str(tmp_path / "log"), **limit))
    shadow = Shadow(_Manager(), config)
    shadow.start()
    try:
        shadow.offer(question(), VALUES)
        assert begun.wait(60)
        for _ in range(6):
            shadow.offer(question(), VALUES)  # returns: the thread is held
        assert shadow.dropped == {("m", "full"): 7 - kept}
        go_on.set()
        last = time.monotonic() + 60
        while shadow.asked["m"] < kept and time.monotonic() < last:
            time.sleep(0.01)
        assert shadow.asked == {"m": kept} and shadow.images == {"m": kept}
        assert not shadow.changed["m"]  # the same scores
        assert len(list(read_pairs(tmp_path / "log"))) == kept
    finally:
        go_on.set()
        shadow.close()


def test_images_that_the_second_decides_otherwise_are_counted(tmp_path, monkeypatch):
    """.5 against .7 at a threshold of .6, then .5 and .5: one of two images."""
    from cxrflow.serving.settings import ServerConfig, ShadowConfig
    from cxrflow.serving.shadow.messages import Said
    from cxrflow.serving.shadow.shadow import Shadow

    info = json.dumps({"classes": ["A"], "thresholds": {"A": {"youden": {"threshold": 0.6}}}})
    second = iter([0.7, 0.5])
    monkeypatch.setattr(
        Shadow, "_ask", lambda *_: Said({"probabilities": np.array([[next(second)]])}, 0.1)
    )
    monkeypatch.setattr(_Manager, "statuses", lambda *_: {2: SimpleNamespace(info=info)})
    shadow = Shadow(
        _Manager(),
        ServerConfig(shadow=ShadowConfig(label="canary", log=str(tmp_path / "log"))),
    )
    asked = question()
    asked.version.info = info
    shadow.start()
    for _ in range(2):
        shadow.offer(asked, VALUES)
    last = time.monotonic() + 60
    while shadow.images["m"] < 2 and time.monotonic() < last:
        time.sleep(0.01)
    shadow.close()
    samples = {s.name: s.value for family in shadow.metrics() for s in family.samples}
    assert samples["cxrflow_serving_shadow_images_total"] == 2
    assert samples["cxrflow_serving_shadow_changed_images_total"] == 1


def test_other_questions_are_not_offered(tmp_path):
    from cxrflow.serving.settings import ServerConfig, ShadowConfig
    from cxrflow.serving.shadow.shadow import Shadow

    config = ServerConfig(shadow=ShadowConfig(label="canary", log=str(tmp_path / "log")))
    shadow = Shadow(_Manager(), config)
    shadow.offer(question(), {"attention": np.zeros((1, 7, 7))})
    other = question()
    other.signature = "attention"
    shadow.offer(other, VALUES)
    floats = question()
    floats.inputs = {"image": np.zeros((1, 4))}
    shadow.offer(floats, VALUES)
    assert not shadow._queue and not shadow.dropped
    shadow.close()


def test_a_log_that_can_not_be_written_ends_the_start(tmp_path):
    from cxrflow.schema.errors import CxrflowError
    from cxrflow.serving.settings import ServerConfig, ShadowConfig
    from cxrflow.serving.shadow.shadow import Shadow

    (tmp_path / "file").write_text("")
    config = ServerConfig(shadow=ShadowConfig(label="canary", log=str(tmp_path / "file" / "log")))
    with pytest.raises(CxrflowError, match=r"the shadow's log .* can't be written"):
        Shadow(_Manager(), config)

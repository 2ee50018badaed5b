"""The client against a server that misbehaves, and what it makes of files and results."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from rich.console import Console

from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.image_rules import BadImage, ImageLimits
from cxrflow.schema.model_json import ModelJson, OutOfDistribution
from cxrflow.serving.client import Answer, Client, ClientConfig, Failure, Finding, Model
from cxrflow.serving.client.images import read_image
from cxrflow.serving.client.output import csv_lines, json_array, table
from cxrflow.serving.client.results import SYNTHETIC, describe_model
from cxrflow.serving.client.settings import RetryPolicy
from tests.support.serving_protos import predict_pb2, prediction_service_pb2_grpc

REPO = Path(__file__).parents[2]
GRAY = np.resize(np.arange(256, dtype=np.uint8), (80, 96))
PNG = cv2.imencode(".png", GRAY)[1].tobytes()
CODES = grpc.StatusCode


class Fake(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers each Predict with the next of `codes`, then with OK; takes `seconds`.

    While `gate` is closed it answers none.
    """

    def __init__(self, *codes: grpc.StatusCode, seconds: float = 0, outputs: int = 13, score=None):
        self.gate = threading.Event()
        self.gate.set()
        self.score = score
        self.codes, self.seconds, self.outputs = list(codes), seconds, outputs
        self.times: list[float] = []
        self.requests: list[predict_pb2.PredictRequest] = []
        self.busy = self.busiest = 0
        self._lock = threading.Lock()

    def Predict(self, request, context):
        with self._lock:
            self.times.append(time.monotonic())
            self.requests.append(request)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            code = self.codes.pop(0) if self.codes else None
        time.sleep(self.seconds)
        assert self.gate.wait(60)
        with self._lock:
            self.busy -= 1
        if code:
            context.abort(code, "by order\nof the test")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 7
        value = response.outputs["probabilities"]
        value.dtype = 1
        for size in (1, self.outputs):
            value.tensor_shape.dim.add(size=size)
        # Distinct: the image's size is the first.
        value.float_val.extend([len(request.inputs["image_bytes"].string_val[0]) / 2**20])
        value.float_val.extend([0.5] * (self.outputs - 1))
        if self.score is not None:
            response.outputs["out_of_distribution"].dtype = 1
            response.outputs["out_of_distribution"].tensor_shape.dim.add(size=len(self.score))
            response.outputs["out_of_distribution"].float_val.extend(self.score)
        return response

    def GetModelMetadata(self, request, context):
        context.abort(CODES.INVALID_ARGUMENT, "Metadata field is not supported")


@contextmanager
def asked(fake: Fake, **settings):
    server = grpc.server(ThreadPoolExecutor(32))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    settings = {"retry": RetryPolicy(pause=0.1), **settings}
    try:
        with Client(ClientConfig(server=f"127.0.0.1:{port}", **settings)) as client:
            yield client
    finally:
        server.stop(None)


# --- the wire ------------------------------------------------------------------------------------


def test_request_is_the_file_itself():
    fake = Fake()
    with asked(fake, label="canary", model="lungs") as client:
        result = client.predict(PNG)
    (request,) = fake.requests
    assert list(request.inputs["image_bytes"].string_val) == [PNG]
    assert [d.size for d in request.inputs["image_bytes"].tensor_shape.dim] == [1]
    spec = request.model_spec
    assert (spec.name, spec.version_label, spec.signature_name) == (
        "lungs", "canary", "serving_default"
    )  # fmt: skip
    assert not request.output_filter  # whether this version has more outputs isn't known
    assert isinstance(result, Answer)
    assert (result.model.name, result.model.version, result.size) == ("lungs", 7, (96, 80))
    assert result.findings[0] == Finding("Atelectasis", len(PNG) / 2**20, None)
    assert "classes" in result.notes[0]


def test_unavailable_is_tried_again_after_growing_pauses():
    fake = Fake(*[CODES.UNAVAILABLE] * 3)
    # Larger than what gRPC would send again on its own account.
    large = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (800, 800)))[1].tobytes()
    assert len(large) > 500_000
    with asked(fake) as client:
        assert isinstance(client.predict(large), Answer)
    assert all(r.inputs["image_bytes"].string_val[0] == large for r in fake.requests)
    pauses = np.diff(fake.times)
    assert len(pauses) == 3
    assert (pauses > [0.07, 0.15, 0.3]).all()  # 0.1, 0.2, 0.4 give or take a fifth


def test_unavailable_for_good_is_the_reason():
    fake = Fake(*[CODES.UNAVAILABLE] * 99)
    with asked(fake, retry=RetryPolicy(pause=0.01)) as client:
        result = client.predict(PNG)
    assert result == Failure("", "UNAVAILABLE: by order of the test", "UNAVAILABLE")
    assert len(fake.times) == 5


@pytest.mark.parametrize(
    "code", [c for c in CODES if c not in (CODES.OK, CODES.UNAVAILABLE, CODES.DEADLINE_EXCEEDED)]
)
def test_nothing_else_is_tried_again(code):
    fake = Fake(code)
    with asked(fake) as client:
        result = client.predict(PNG)
    assert isinstance(result, Failure) and result.code == code.name
    assert "by order of the test" in result.reason
    assert len(fake.times) == 1


def test_deadline_ends_a_request():
    fake = Fake()
    fake.gate.clear()
    with asked(fake, deadline=3) as client:
        result = client.predict(PNG)
        fake.gate.set()  # only now: it didn't wait for the answer
    assert result == Failure("", "no answer within 3 s", "DEADLINE_EXCEEDED")
    assert len(fake.times) == 1


def test_deadline_ends_retries():
    fake = Fake(*[CODES.UNAVAILABLE] * 99)
    with asked(fake, deadline=0.5, retry=RetryPolicy(pause=0.35)) as client:
        result = client.predict(PNG)
    assert isinstance(result, Failure) and len(fake.times) <= 2


def test_window_bounds_what_is_under_way_and_order_is_kept(tmp_path):
    paths = []
    for i in range(24):
        paths.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(paths[-1]), GRAY[: 64 + i % 3])
    paths.insert(5, tmp_path / "none.png")
    fake = Fake(seconds=0.05)
    with asked(fake, window=4) as client:
        results = list(client.predict_all(paths))
    assert fake.busiest == 4 and len(fake.times) == 24
    assert [result.source for result in results] == [str(path) for path in paths]
    assert [i for i, result in enumerate(results) if isinstance(result, Failure)] == [5]
    assert results[5] == Failure(str(paths[5]), "can't be read: No such file or directory")
    sizes = [r.findings[0].probability * 2**20 for r in results if isinstance(r, Answer)]
    assert sizes == [p.stat().st_size for p in paths if p.exists()]


def test_what_the_server_would_refuse_is_not_sent(odd_images):
    fake = Fake()
    with asked(fake, images=ImageLimits(max_side=90)) as client:
        result = client.predict(PNG)
    assert result == Failure("", "96x80 pixels; each side must have 64 to 90")
    bomb = odd_images["PNG that inflates to 1,000 times its pixels"]
    with asked(fake) as client:
        assert client.predict(bomb.data) == Failure("", bomb.outcome)
    assert not fake.requests


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"server": "localhost"}, "localhost is no server's address: give HOST:PORT"),
        ({"server": ":8500"}, "give HOST:PORT"),
        ({"server": "a:b"}, "give HOST:PORT"),
        ({"server": "a:70000"}, "give HOST:PORT"),
        ({"version": 3, "label": "stable"}, "a version or a label, not both"),
        ({"tls_ca": "/nope.pem"}, "/nope.pem can't be read"),
        ({"tls_certificate": "a.pem"}, "A certificate and its key go together"),
        ({"tls_key": "a.key"}, "A certificate and its key go together"),
    ],
)
def test_bad_settings_are_one_line(settings, text):
    with pytest.raises(CxrflowError, match=text):
        Client(ClientConfig(**settings))


@pytest.mark.parametrize(
    "server, reason",
    [
        ("127.0.0.1:1", "Connection refused"),
        ("[::1]:1", "(Connection refused|Cannot assign requested address|Network is unreachable)"),
        ("no-such-host.invalid:8500", "(Name or service not known|.*name resolution)"),
    ],
)
def test_absent_server_is_one_line_at_once(server, reason):
    # Who is refused doesn't wait for a connection, or this would take the hour.
    patience = {"connect": 3600.0} if reason == "Connection refused" else {}
    config = ClientConfig(server=server, **patience)
    with Client(config) as client, pytest.raises(CxrflowError) as caught:
        client.check()
    assert re.fullmatch(
        rf"{re.escape(server)}: {reason}; is the server up\? `cxrflow serve` starts one",
        str(caught.value),
    )


def test_server_that_accepts_no_connection_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        config = ClientConfig(server=f"127.0.0.1:{port}", connect=0.2)
        with Client(config) as client, pytest.raises(CxrflowError) as caught:
            client.check()
        for one in waiting:
            one.close()
    assert "no connection within 0.2 s; is the server up?" in str(caught.value)


# --- files ---------------------------------------------------------------------------------------


def test_what_is_no_file_is_refused_and_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    for name, reason in (
        ("pipe", "no regular file"),
        ("gone", "can't be read: No such file or directory"),
        ("", "can't be read: Is a directory"),
        ("x" * 300, "can't be read: File name too long"),
    ):
        with pytest.raises(BadImage, match=reason):
            read_image(tmp_path / name, ClientConfig())


def test_content_tells_the_format_and_bytes_stay_as_they_are(tmp_path):
    path = tmp_path / "xray.dcm"
    path.write_bytes(PNG)
    assert read_image(path, ClientConfig()).data == PNG


def test_large_files_are_refused_unread(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadImage, match="1099511627776 bytes; at most 16777216 are accepted"):
        read_image(path, ClientConfig())


# --- results -------------------------------------------------------------------------------------

INFO = ModelJson(
    ("Mass", "Edema"),
    thresholds={"Mass": {"youden": {"threshold": 0.4}, "specificity": None}, "Edema": None},
    synthetic=True,
)


def test_model_json_names_classes_and_thresholds():
    model = describe_model("cxr", 3, 2, INFO, "youden")
    assert model == Model("cxr", 3, ("Mass", "Edema"), (0.4, None), True, (SYNTHETIC,))
    assert describe_model("cxr", 3, 2, INFO, "specificity").thresholds == (None, None)


def unlike(score, threshold=300.0):
    model = replace(MODEL, usual_score=threshold)
    return replace(answer(), model=model, out_of_distribution_score=score)


@pytest.mark.parametrize(
    ("score", "threshold", "flagged"),
    [(300.5, 300.0, True), (300.0, 300.0, False), (5.0, None, None), (None, 300.0, None)],
)
def test_an_image_above_the_threshold_is_said_to_be_no_chest_x_ray(score, threshold, flagged):
    found = unlike(score, threshold)
    assert found.out_of_distribution is flagged
    told = json.loads("".join(json_array([found])))[0]
    assert [told[f"out_of_distribution{end}"] for end in ("", "_score", "_threshold")] == [
        flagged, score, threshold
    ]  # fmt: skip
    (row,) = csv.DictReader(StringIO("".join(csv_lines([found]))))
    assert row["out_of_distribution"] == {True: "1", False: "0", None: ""}[flagged]
    assert row["out_of_distribution_score"] == ("" if score is None else f"{score:g}")
    assert row["out_of_distribution_threshold"] == ("" if threshold is None else "300")
    for results in ([found], [found, answer()]):
        lines = " ".join(shown(results).replace("│", " ").split())
        assert ("may be no chest X-ray" in lines) is bool(flagged)


def test_an_endless_score_is_still_json():
    (told,) = json.loads("".join(json_array([unlike(float("inf"))])))
    assert told["out_of_distribution"] is True and told["out_of_distribution_score"] == 3.4e38


def test_the_threshold_is_model_jsons():
    info = replace(INFO, out_of_distribution=OutOfDistribution(301.5))
    assert describe_model("cxr", 3, 2, info, "youden").usual_score == 301.5
    assert describe_model("cxr", 3, 2, INFO, "youden").usual_score is None
    assert describe_model("cxr", 3, 2, None, "youden").usual_score is None


def test_strict_refuses_what_the_model_takes_for_no_chest_x_ray(tmp_path):
    info = {"classes": ["A", "B"], "out_of_distribution": {"threshold": 100}}
    root = tmp_path / "serving" / "cxrflow" / "7" / "assets.extra"
    root.mkdir(parents=True)
    (root / "model.json").write_text(json.dumps(info))
    for strict, score, refused in ((True, 101, True), (True, 99, False), (False, 101, False)):
        fake = Fake(outputs=2, score=[score])
        with asked(fake, root=tmp_path / "serving", strict=strict) as client:
            result = client.predict(PNG)
        assert isinstance(result, Failure) is refused
        if refused:
            assert result.reason.startswith("refused by --strict: this may be no chest X-ray")
        else:
            assert result.out_of_distribution is (score > 100)


@pytest.mark.parametrize("score", [[123.5], [float("nan")], [1.0, 2.0], []])
def test_the_score_comes_with_the_answer(score):
    with asked(Fake(score=score)) as client:
        result = client.predict(PNG)
    if score == [123.5]:
        assert isinstance(result, Answer) and result.out_of_distribution_score == 123.5
        assert result.out_of_distribution is None  # this server tells no threshold
    else:
        assert result == Failure("", "the server's answer can't be understood", "INTERNAL")


def test_a_model_of_a_newer_format_gives_no_answer(tmp_path):
    """Its classes might mean something else."""
    extra = tmp_path / "cxrflow" / "7" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "model.json").write_text('{"format": 99, "classes": ["A"]}')
    with asked(Fake(outputs=1), root=tmp_path) as client:
        result = client.predict(PNG)
    assert isinstance(result, Failure)
    assert "model.json is of format 99, of a newer cxrflow" in result.reason


@pytest.mark.parametrize(
    "count, info, classes",
    [
        (13, None, DEFAULT_CLASSES),
        (14, None, CLASSES_14),
        (14, INFO, CLASSES_14),
        (3, INFO, ("class 1", "class 2", "class 3")),
        (2, None, ("class 1", "class 2")),
    ],
)
def test_classes_that_nobody_tells_are_guessed_and_said_to_be(count, info, classes):
    model = describe_model("cxr", 3, count, info, "youden")
    assert model.classes == classes and model.synthetic is None
    assert len(model.notes) == 1 and "--root" in model.notes[0]


MODEL = describe_model("cxr", 3, 2, INFO, "youden")
MAP = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.9, 0.1, 0.1]] * 2, np.float32)


def answer(source="a.png", p=(0.3, 0.6), size=(100, 100), attention=None):
    findings = tuple(map(Finding, MODEL.classes, p, MODEL.thresholds))
    return Answer(source, MODEL, findings, size, ("DICOM shrunk", *MODEL.notes), attention)


def test_finding_is_positive_from_its_threshold_on():
    assert [Finding("Mass", p, 0.4).positive for p in (0.39, 0.4)] == [False, True]
    assert Finding("Mass", 0.9, None).positive is None


def test_peak_is_where_attention_is_highest_in_the_image():
    assert answer().peak() is None
    assert answer(attention=MAP).peak() == pytest.approx((0.375, 0.375))
    # The map is of the square around the image, of which a wide one takes the middle half.
    assert answer(attention=MAP, size=(100, 50)).peak() == pytest.approx((0.375, 0.25))
    by_class = np.stack([MAP, MAP[::-1, ::-1]], axis=-1)  # the second is the more probable
    assert answer(attention=by_class).peak() == pytest.approx((0.625, 0.125))
    assert answer(attention=MAP, size=(100, 10)).peak().y == 0  # the highest cell is margin


RESULTS = [
    Failure("x, y.png", "empty"),
    answer(),
    Failure("z.png", "UNAVAILABLE: gone", "UNAVAILABLE"),
]


def test_csv_has_a_column_a_class():
    rows = list(csv.DictReader(StringIO("".join(csv_lines(RESULTS)))))
    assert [row["file"] for row in rows] == ["x, y.png", "a.png", "z.png"]
    assert [row["error"] for row in rows] == ["empty", "", "UNAVAILABLE: gone"]
    assert (rows[1]["Mass"], rows[1]["Edema"], rows[1]["version"]) == ("0.300000", "0.600000", "3")
    assert list(rows[0]) == [
        *("file", "model", "version", "Mass", "Mass_threshold", "Mass_positive"),
        *("Edema", "Edema_threshold", "Edema_positive"),
        *("out_of_distribution", "out_of_distribution_score", "out_of_distribution_threshold"),
        *("notes", "error"),
    ]
    assert [rows[1][f"Mass_{name}"] for name in ("threshold", "positive")] == ["0.400000", "0"]
    assert [rows[1][f"Edema_{name}"] for name in ("threshold", "positive")] == ["", ""]
    assert rows[1]["notes"] == f"DICOM shrunk; {SYNTHETIC}" and rows[0]["Mass"] == ""
    assert "".join(csv_lines([])).startswith("file,model,version,out_of_distribution,")
    other = Answer(
        "b", describe_model("cxr", 4, 1, None, "youden"), (Finding("a", 1, None),), (9, 9)
    )
    last = list(csv.DictReader(StringIO("".join(csv_lines([answer(), other])))))[1]
    assert last["error"] == "version 4 has other classes than the first" and not last["Mass"]


def test_json_is_one_array():
    found = json.loads("".join(json_array([*RESULTS, answer(attention=MAP)])))
    assert found[0] == {"file": "x, y.png", "error": "empty", "code": "INVALID_ARGUMENT"}
    assert found[1]["findings"][0] == {
        "class": "Mass", "probability": 0.3, "threshold": 0.4, "positive": False
    }  # fmt: skip
    assert found[1]["synthetic"] is True and "attention" not in found[1]
    assert np.allclose(found[3]["attention"], MAP, atol=1e-4)
    assert json.loads("".join(json_array([]))) == []


def shown(results):
    console = Console(file=StringIO(), width=100)
    for part in table(results):
        console.print(part)
    return console.file.getvalue()


def test_table_shows_all_of_one_and_the_most_probable_of_many():
    one = shown([answer(p=(0.5, 0.1), attention=MAP)])
    assert (
        "Mass +" in one
        and "+ reaches" in one
        and "0.400" in one
        and "0.100" in one
        and SYNTHETIC in one
    )
    assert "attention is highest 38% from the left, 38% from the top" in one
    many = shown([*RESULTS, answer("[red]b.png", p=(0.9, 0.1))])
    assert "none; below: Mass 0.300 (0.400)" in many and "without threshold: Edema 0.600" in many
    assert "Mass 0.900 (0.400) +" in many and "none; below: Edema" not in many
    assert "failed: empty" in many and "[red]b.png" in many and SYNTHETIC in many


TEN = tuple(f"C{i}" for i in range(10))


def of_ten(*multiples, thresholds=None):
    """An answer whose probabilities are multiples of the thresholds .01, .02 to .1."""
    thresholds = thresholds or tuple((i + 1) / 100 for i in range(10))
    probabilities = [m * (t or 0.1) for m, t in zip(multiples, thresholds, strict=True)]
    model = Model("cxr", 3, TEN, thresholds)
    return Answer("a", model, tuple(map(Finding, TEN, probabilities, thresholds)), (9, 9))


def test_every_positive_finding_comes_first_then_the_nearest_to_its_threshold():
    answer = of_ten(1.5, 0.2, 3.0, 0.9, 2.0, 0.3, 1.0, 1.2, 0.8, 0.1)
    # By multiple of the threshold: 3, 2, 1.5, 1.2, 1 and .9, .8, .3, .2, .1; not by probability.
    order = ["C2", "C4", "C0", "C7", "C6", "C3", "C8", "C5", "C1", "C9"]
    assert [finding.name for finding in answer.ranked()] == order
    lines = " ".join(shown([answer, answer]).replace("│", " ").split())
    assert re.search(r"C2 .*\+, C4 .*\+, C0 .*\+, C7 .*\+, C6 0.070 \(0.070\) \+ below: C3", lines)
    assert "C5 0.018 (0.060), +2 more" in lines


def test_without_thresholds_the_most_probable_come_first():
    answer = of_ten(*range(10), thresholds=(None,) * 10)
    assert [finding.name for finding in answer.ranked()][:3] == ["C9", "C8", "C7"]
    assert "C9 0.900, C8 0.800, C7 0.700, +7 more" in shown([answer, answer])
    zero = of_ten(*[0.0] * 10, thresholds=(0.0, *(0.5,) * 8, None))  # 0 reaches 0
    assert [finding.positive for finding in zero.ranked()] == [True, *[False] * 8, None]


@pytest.mark.parametrize(
    "source, in_table, in_data",
    [
        ("[red]a[/].png", "[red]a[/].png", "[red]a[/].png"),
        (":warning: 'b' \"c\", d.png", ":warning: 'b' \"c\", d.png", ":warning: 'b' \"c\", d.png"),
        ("M\udcfcller.png", r"M\xfcller.png", r"M\xfcller.png"),
        ("a\nb\r.png", r"a\nb\r.png", "a\nb\r.png"),
        ("\x1b[31m\x9b\u202e.png", r"\x1b[31m\x9b\u202e.png", "\x1b[31m\x9b\u202e.png"),
        ("ä 日本　.png", "ä 日本　.png", "ä 日本　.png"),
        ("a\\b.png", "a\\b.png", "a\\b.png"),
    ],
)
def test_odd_file_names(source, in_table, in_data):
    results = [answer(source), Failure(source, "empty")]
    assert shown(results).count(in_table) == 2
    assert shown([answer(source)]).startswith(f"{in_table}: cxr version 3")
    rows = csv.DictReader(StringIO("".join(csv_lines(results)), newline=""))
    assert [row["file"] for row in rows] == [in_data] * 2
    assert [one["file"] for one in json.loads("".join(json_array(results)))] == [in_data] * 2


# --- the command ---------------------------------------------------------------------------------


def test_neither_tensorflow_nor_pydicom_is_imported():
    code = (
        "import sys, serving.client, pipeline.predict\n"
        "found = {name.split('.')[0] for name in sys.modules} & {'tensorflow', 'tfx', 'pydicom'}\n"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)


@pytest.mark.tf
@pytest.mark.slow
def test_a_program_may_use_tensorflow_and_its_messages_beside_the_client():
    """The other order is that of every test that has loaded TensorFlow."""
    code = (
        "from cxrflow.serving.client.protos import predict_pb2 as own\n"
        "import tensorflow as tf\n"
        "from tensorflow_serving.apis import predict_pb2\n"
        "request = predict_pb2.PredictRequest()\n"
        "request.inputs['x'].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))\n"
        "read = own.PredictRequest.FromString(request.SerializeToString())\n"
        "assert tf.make_ndarray(request.inputs['x']).tolist() == [1, 2]\n"
        "assert read.inputs['x'].tensor_content == request.inputs['x'].tensor_content\n"
        "assert tf.saved_model.save and tf.__version__\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)


@pytest.mark.parametrize(
    "args, text",
    [
        (["x.png", "--format", "xml"], "--format xml: name one of table, json, csv"),
        (["x.png", "--format", "csv", "--attention"], "--attention: a map doesn't fit into CSV"),
        (["x.png", "--server", "here"], "here is no server's address: give HOST:PORT"),
        (["x.png", "--version", "1", "--label", "stable"], "a version or a label, not both"),
    ],
)
def test_bad_input_is_one_line(args, text):
    result = subprocess.run(
        [sys.executable, "-m", "cxrflow.pipeline.cli", "predict", *args],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and not result.stdout
    assert text in result.stderr and result.stderr.count("\n") == 1

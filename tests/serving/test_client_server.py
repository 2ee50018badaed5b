"""The client and the embedded server: every odd image's outcome, DICOMs, attention, versions."""

import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest

from cxrflow.serving.client import Answer, Client, ClientConfig, Failure
from cxrflow.serving.client.protos import predict_pb2, prediction_service_pb2_grpc, types_pb2
from cxrflow.serving.client.results import SYNTHETIC
from tests.serving.certificates import certificate
from tests.serving.dicoms import write_dicom

pytestmark = [pytest.mark.tf, pytest.mark.slow]

REPO = Path(__file__).parents[2]
SIDE, GRID = 64, 4
CLASSES = [f"Cell {i}" for i in range(GRID * GRID)]
THRESHOLDS = {name: {"youden": {"threshold": 0.5}} for name in CLASSES}


def write_model(folder: Path) -> Path:
    """A SavedModel that takes images as ours do; probabilities are the means of 4x4 cells, of 1."""
    import tensorflow as tf

    from cxrflow.components.images.decoding import compact_batch, decode_compact

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def attention(self, image_bytes):
            images = tf.map_fn(
                lambda one: decode_compact(one, "raw", SIDE, channels=1),
                compact_batch(image_bytes, SIDE, "raw"),
                fn_output_signature=tf.TensorSpec([SIDE, SIDE, 1], tf.uint8),
            )
            cells = tf.nn.avg_pool2d(
                tf.cast(images, tf.float32) / 255, *[SIDE // GRID] * 2, "VALID"
            )
            return {
                "attention": cells[..., 0],
                "probabilities": tf.reshape(cells, [-1, GRID * GRID]),
            }

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def serving_default(self, image_bytes):
            return {"probabilities": self.attention(image_bytes)["probabilities"]}

    module = Module()
    signatures = {"serving_default": module.serving_default, "attention": module.attention}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    info = {"classes": CLASSES, "thresholds": THRESHOLDS, "synthetic": True}
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory, push_version):
    root = tmp_path_factory.mktemp("root")
    push_version(write_model(tmp_path_factory.mktemp("cells") / "model"), root / "cxrflow", 3)
    shutil.copytree(root / "cxrflow" / "3", root / "unnamed" / "5")
    info = root / "unnamed" / "5" / "assets.extra" / "model.json"
    manifest = root / "unnamed" / "5" / "manifest.json"
    info.unlink()  # as if TF Serving served it, which doesn't tell
    manifest.unlink()
    version = (root / "unnamed" / "5").rename(root / "whole")
    shutil.rmtree(root / "unnamed")
    push_version(version, root / "unnamed", 5)
    shutil.rmtree(version)
    return root


@pytest.fixture(scope="module")
def server(root):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    with running(root, ServerConfig(grpc_port=0, rest_port=0, odd_versions="warn")) as server:
        yield server


@pytest.fixture(scope="module")
def address(server):
    return f"127.0.0.1:{server.grpc_port}"


@pytest.fixture(scope="module")
def client(address):
    with Client(ClientConfig(server=address)) as client:
        yield client


@pytest.fixture(scope="module")
def xray(tmp_path_factory, shared_dir):
    """A real X-ray as gray levels."""
    path = sorted((shared_dir / "data/nih-raw/images").glob("*.png"))[0]
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def probabilities(result):
    assert isinstance(result, Answer), result
    return np.array([finding.probability for finding in result.findings])


def test_every_odd_image_has_its_outcome(client, odd_images, tmp_path):
    paths = []
    for i, odd in enumerate(odd_images.values()):
        paths.append(tmp_path / f"{i:03}.png")
        paths[-1].write_bytes(odd.data)
    results = list(client.predict_all(paths))
    for (kind, odd), result in zip(odd_images.items(), results, strict=True):
        if odd.outcome == "ok":
            assert isinstance(result, Answer), (kind, result)
            if odd.gray is not None and odd.gray.shape == (SIDE, SIDE):
                expected = cv2.resize(odd.gray, (GRID, GRID), None, 0, 0, cv2.INTER_AREA) / 255
                assert np.abs(probabilities(result) - expected.ravel()).max() < 0.01, kind
            continue
        assert isinstance(result, Failure) and result.code == "INVALID_ARGUMENT", (kind, result)
        if kind == "DICOM":  # the client knows more about those
            assert result.reason.startswith("DICOM without an image")
        else:
            assert result.reason == odd.outcome


def ask_directly(address, data):
    """(code, text or probabilities) of a request that no client has looked at."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "cxrflow"
    value = request.inputs["image_bytes"]
    value.dtype = types_pb2.DT_STRING
    value.tensor_shape.dim.add(size=1)
    value.string_val.append(data)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            return "OK", stub.Predict(request, timeout=60).outputs["probabilities"].float_val
        except grpc.RpcError as error:
            return error.code().name, error.details()


def test_server_gives_the_same_outcome_unasked_by_a_client(address, odd_images):
    for kind, odd in odd_images.items():
        code, answer = ask_directly(address, odd.data)
        if odd.outcome == "ok":
            assert code == "OK" and len(answer) == GRID * GRID, kind
        else:
            assert (code, answer) == ("INVALID_ARGUMENT", odd.outcome), kind


@pytest.mark.parametrize("kind", ["bit-flipped PNG", "JPEG without quantization tables", "bomb"])
def test_bad_image_among_sixteen_fails_alone(address, odd_images, kind):
    files = [odd_images["PNG"].data] * 16
    files[7] = odd_images[kind].data
    with ThreadPoolExecutor(16) as pool:
        codes = [code for code, _ in pool.map(lambda data: ask_directly(address, data), files)]
    assert codes == ["OK"] * 7 + ["INVALID_ARGUMENT"] + ["OK"] * 8


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_and_the_png_made_from_it_get_the_same_answer(
    client, xray, tmp_path, bits, photometric
):
    noise = np.random.default_rng(bits).integers(0, 2 ** (bits - 8), xray.shape)
    stored = (xray.astype(np.int64) * 2 ** (bits - 8) + noise).astype(np.uint16)
    # What the hospital exports, computed anew: the window's range as 8 bits.
    png = tmp_path / "a.png"
    cv2.imwrite(str(png), np.rint(stored / (2**bits - 1) * 255).astype(np.uint8))
    if photometric == "MONOCHROME1":
        stored = (2**bits - 1 - stored).astype(np.uint16)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    dicom = write_dicom(
        tmp_path / "a", stored, bits, PhotometricInterpretation=photometric, **window
    )
    by_png, by_dicom = client.predict_all([png, dicom])
    assert np.abs(probabilities(by_dicom) - probabilities(by_png)).max() < 0.01
    assert np.ptp(probabilities(by_png)) > 0.1  # not any answer would do


def test_detector_image_above_the_limits_is_shrunk_and_answered(client, xray, tmp_path):
    large = cv2.resize(xray, (5400, 4441), None, 0, 0, cv2.INTER_LINEAR)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    dicom = write_dicom(tmp_path / "a.dcm", large.astype(np.uint16) * 16, 12, **window)
    result = client.predict(dicom)
    assert isinstance(result, Answer)
    assert result.notes[0] == "DICOM shrunk from 5400x4441 to 5120x4211 pixels"
    cv2.imwrite(
        str(tmp_path / "a.png"), cv2.resize(large, (2700, 2220), None, 0, 0, cv2.INTER_AREA)
    )
    by_png = client.predict(tmp_path / "a.png")
    assert np.abs(probabilities(result) - probabilities(by_png)).max() < 0.01


def test_whole_detectors_image_is_answered_as_it_is(client, xray, tmp_path):
    large = cv2.resize(xray, (3520, 4280), None, 0, 0, cv2.INTER_LINEAR)
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), large)
        result = client.predict(tmp_path / name)
        assert isinstance(result, Answer) and result.size == (3520, 4280)


def test_classes_and_thresholds_come_with_the_answer(client, tmp_path):
    assert client.check() == 3
    cv2.imwrite(str(tmp_path / "a.png"), np.full((SIDE, SIDE), 102, np.uint8))
    result = client.predict(tmp_path / "a.png")
    assert [finding.name for finding in result.findings] == CLASSES
    assert result.findings[0].probability == pytest.approx(0.4, abs=1e-5)
    assert result.findings[0].threshold == 0.5 and result.findings[0].positive is False
    assert result.model.synthetic is True and result.notes == (SYNTHETIC,)


def test_classes_come_from_the_root_where_the_server_does_not_tell(address, root, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((SIDE, SIDE), 102, np.uint8))
    with Client(ClientConfig(server=address, model="unnamed")) as client:
        guessed = client.predict(tmp_path / "a.png").model
    assert guessed.classes[0] == "class 1" and "--root" in guessed.notes[0]
    folder = tmp_path / "run" / "serving" / "unnamed" / "5" / "assets.extra"
    folder.mkdir(parents=True)
    shutil.copy(root / "cxrflow" / "3" / "assets.extra" / "model.json", folder)
    with Client(ClientConfig(server=address, model="unnamed", root=tmp_path / "run")) as client:
        assert client.predict(tmp_path / "a.png").model.classes == tuple(CLASSES)


def test_attention_is_the_map(address, tmp_path):
    pixels = np.zeros((64, 128), np.uint8)
    pixels[40:, 100:] = 255
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with Client(ClientConfig(server=address, attention=True)) as client:
        client.check()
        result = client.predict(tmp_path / "a.png")
    assert result.attention.shape == (GRID, GRID) and result.attention.dtype == np.float32
    assert np.allclose(result.attention.ravel(), probabilities(result))
    assert result.peak() == pytest.approx((0.875, 0.75))


@pytest.mark.parametrize(
    "args, text",
    [
        (["--model", "none"], "there is no model none, only cxrflow, unnamed"),
        (["--version", "9"], "the model cxrflow has no version 9, only 3"),
        (["--label", "canary"], "canary"),
    ],
)
def test_what_the_server_lacks_is_one_line(address, args, text):
    result = predict(address, "x.png", *args)
    assert result.returncode == 2 and text in result.stderr and result.stderr.count("\n") == 1


def test_command_answers_good_files_and_names_bad_ones(address, odd_images, tmp_path):
    folder = tmp_path / "xrays"
    folder.mkdir()
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.png", "PNG cut in half")):
        (folder / name).write_bytes(odd_images[kind].data)
    write_dicom(folder / "IM1", np.resize(np.arange(4096, dtype=np.uint16), (64, 64)))
    result = predict(address, folder, "--format", "json", "--version", "3")
    assert (result.returncode, result.stderr) == (1, "3 of 4 answered, 1 failed\n")
    found = {Path(one["file"]).name: one for one in json.loads(result.stdout)}
    assert list(found) == ["IM1", "a.png", "b.jpg", "c.png"]
    assert found["c.png"]["error"].startswith("cut short")
    assert "has no window" in found["IM1"]["notes"][0] and found["a.png"]["version"] == 3
    good = predict(address, folder / "a.png")
    assert good.returncode == 0 and "Cell 15" in good.stdout and SYNTHETIC in good.stdout


def test_encrypted_connection(root, tmp_path, odd_images):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    pem, key = certificate(tmp_path, "localhost")
    config = ServerConfig(
        grpc_port=0, rest_port=0, odd_versions="warn", tls_certificate=pem, tls_key=key
    )
    with running(root, config) as server:
        settings = {"server": f"localhost:{server.grpc_port}", "deadline": 20.0}
        with Client(ClientConfig(**settings, tls_ca=pem)) as client:
            assert isinstance(client.predict(odd_images["PNG"].data), Answer)
        with Client(ClientConfig(**settings)) as client:
            assert client.predict(odd_images["PNG"].data).code in (
                "UNAVAILABLE",
                "DEADLINE_EXCEEDED",
            )


def test_only_clients_with_a_signed_certificate_are_answered(root, tmp_path, odd_images):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    pem, key = certificate(tmp_path, "localhost")
    hospital, stranger = (certificate(tmp_path, name) for name in ("hospital", "stranger"))
    config = ServerConfig(
        odd_versions="warn",
        grpc_port=0,
        rest_port=0,
        tls_certificate=pem,
        tls_key=key,
        tls_client_ca=hospital[0],
    )
    with running(root, config) as server:
        for shown, answered in ((hospital, True), (stranger, False), (("", ""), False)):
            settings = ClientConfig(
                server=f"localhost:{server.grpc_port}",
                deadline=20.0,
                tls_ca=pem,
                tls_certificate=shown[0],
                tls_key=shown[1],
            )
            with Client(settings) as client:
                result = client.predict(odd_images["PNG"].data)
                assert isinstance(result, Answer) == answered, shown
            tls = ssl.create_default_context(cafile=pem)
            if shown[0]:
                tls.load_cert_chain(*shown)
            url = f"https://localhost:{server.rest_port}/v1/models/cxrflow"
            if answered:
                assert b"AVAILABLE" in urllib.request.urlopen(url, context=tls).read()
            else:
                with pytest.raises(OSError) as refused:
                    urllib.request.urlopen(url, context=tls, timeout=60)
                assert not isinstance(refused.value, TimeoutError)


def predict(address, *args):
    command = [sys.executable, "-m", "cxrflow.pipeline.cli", "predict", "--server", address]
    return subprocess.run(
        [*command, *map(str, args)], cwd=REPO, capture_output=True, text=True, timeout=120
    )

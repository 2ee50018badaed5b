"""run_fn from transformed examples to a SavedModel, and a kill on the way."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.edge.export.read import golden_pixels
from cxrflow.components.model.calibration import Calibration, fit
from cxrflow.components.model.thresholds import class_thresholds
from cxrflow.components.resume import until_safe
from cxrflow.components.train.run import own_folder
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.portable.out_of_distribution import FILE, read_detector
from tests.support.tflite import assert_pixels_convert
from tests.support.tiny_training import run

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]

CLASSES = ["Left", "Right", "Absent"]
REPO = Path(__file__).parents[3]

RECIPE = {
    "epochs": 6,
    "finetune_from": "conv1",
    "cached_views": 2,
    "head_epochs": 1,
    "ema": 0.5,
    "accumulation_steps": 2,
    "layer_decay": 0.7,
    "schedule": "cosine",
    "warmup": 0.2,
    "weight_decay": 0.01,
    "test_time_views": 2,
}


@pytest.fixture(scope="module")
def trained(tiny, tiny_backbone, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    with until_safe():  # as where the model goes to a bucket
        run(str(tiny.folder), str(out), **RECIPE)
        assert list((out / "work").glob("training-*/epochs/*"))
    return out


def model_json(trained: Path) -> dict:
    return json.loads((trained / "Format-Serving/assets.extra/model.json").read_text())


@pytest.fixture(scope="module")
def signatures(trained):
    loaded = tf.saved_model.load(str(trained / "Format-Serving"))
    yield loaded.signatures
    del loaded


def test_every_signature_has_its_names_and_free_batch(signatures):
    found = {
        name: (
            {k: (v.dtype, v.shape.as_list()) for k, v in s.structured_input_signature[1].items()},
            {k: (v.dtype, v.shape.as_list()) for k, v in s.structured_outputs.items()},
        )
        for name, s in signatures.items()
    }
    strings = (tf.string, [None])
    scores = {
        "probabilities": (tf.float32, [None, 3]),
        "logits": (tf.float32, [None, 3]),
    }
    probabilities = {"probabilities": scores["probabilities"]}
    unlike = {"out_of_distribution": (tf.float32, [None])}
    assert found == {
        "serving_default": ({"image_bytes": strings}, scores | unlike),
        "examples": ({"examples": strings}, scores),
        "transformed_examples": ({"examples": strings}, scores),
        "attention": (
            {"image_bytes": strings},
            probabilities | unlike | {"attention": (tf.float32, [None, 8, 8])},
        ),
        "pixels": ({"image": (tf.float32, [None, 64, 64, 3])}, probabilities),
        "network": (
            {"image": (tf.float32, [None, 64, 64, 3])},
            scores | {"attention": (tf.float32, [None, 8, 8])},
        ),
    }


def test_originals_and_compact_images_give_the_same(tiny, trained, signatures):
    served = signatures["serving_default"](image_bytes=tf.constant(tiny.pngs))
    assert np.ptp(served["probabilities"], axis=0)[:2].min() > 0.01  # it isn't a constant
    calibration = Calibration.from_json(model_json(trained)["calibration"], CLASSES)
    np.testing.assert_allclose(
        served["probabilities"],
        calibration.apply(served["logits"].numpy()),
        rtol=1e-5,
        atol=1e-7,
    )
    for other in (
        signatures["examples"](examples=tf.constant(tiny.raw)),
        signatures["transformed_examples"](examples=tf.constant(tiny.transformed)),
        signatures["attention"](image_bytes=tf.constant(tiny.pngs)),
    ):
        np.testing.assert_allclose(other["probabilities"], served["probabilities"], atol=1e-5)


def test_what_is_no_x_ray_is_told_from_what_it_was_trained_on(tiny, trained, signatures):
    told = model_json(trained)["out_of_distribution"]
    assert (told["quantile"], told["training_images"], told["eval_images"]) == (0.96, 64, 24)
    score = signatures["serving_default"](image_bytes=tf.constant(tiny.pngs))["out_of_distribution"]
    flagged = score.numpy() > told["threshold"]
    assert flagged.sum() <= 1  # its own eval
    detector = read_detector(str(trained / "Format-Serving/assets.extra" / FILE))
    pixels = golden_pixels(tiny.pngs, CompactFormat(64, "jpeg", 95), 64)
    np.testing.assert_allclose(score, detector.scores(pixels), rtol=1e-3)
    slope = np.tile(np.arange(100, dtype=np.uint8)[:, None, None], (1, 100, 1))
    strange = [np.full((80, 90, 1), 255, np.uint8), slope]
    pngs = tf.constant([tf.io.encode_png(image).numpy() for image in strange])
    for name in ("serving_default", "attention"):
        scores = signatures[name](image_bytes=pngs)["out_of_distribution"]
        assert (scores.numpy() > told["threshold"]).all()


def test_originals_of_any_kind_agree_with_their_compact_image(shared_dir, signatures):
    """Real images, gray and RGBA: the path of serving against the path of Transform."""
    from cxrflow.components.images.decoding import compact_batch

    paths = sorted((shared_dir / "data/nih-raw/images").glob("*.png"))
    paths += sorted((shared_dir / "data/nih-mini/images").glob("*.png"))[:32]
    pngs = tf.constant([path.read_bytes() for path in paths])
    transformed = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
            )
        ).SerializeToString()
        for image in compact_batch(pngs, 64, "jpeg", 95).numpy()
    ]
    served = signatures["serving_default"](image_bytes=pngs)["probabilities"]
    stored = signatures["transformed_examples"](examples=tf.constant(transformed))["probabilities"]
    np.testing.assert_allclose(served, stored, atol=1e-5)


def test_attention_map_is_a_share(tiny, signatures):
    attention = signatures["attention"](image_bytes=tf.constant(tiny.pngs[:5]))["attention"]
    assert attention.shape == (5, 8, 8)
    assert 0 < np.min(attention) < np.max(attention) < 1


def test_a_damaged_image_is_refused(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["serving_default"](image_bytes=tf.constant([b"no image"]))


def test_a_bare_process_gives_the_same(tiny, trained, signatures, tmp_path):
    """Nothing but TensorFlow is needed to load the model: no Keras object, none of our code."""
    (tmp_path / "image.png").write_bytes(tiny.pngs[0])
    code = (
        "import sys, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "png = tf.constant([open(sys.argv[2], 'rb').read()])\n"
        "out = model.signatures['serving_default'](image_bytes=png)\n"
        "print('RESULT', out['probabilities'].numpy().tolist()[0])\n"
    )
    folder, image = trained / "Format-Serving", tmp_path / "image.png"
    done = subprocess.run(
        [sys.executable, "-c", code, folder, image],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.split("RESULT")[1])
    expected = signatures["serving_default"](image_bytes=tf.constant(tiny.pngs[:1]))
    np.testing.assert_allclose(printed, expected["probabilities"][0], atol=1e-6)


def test_pixels_converts_to_tflite(trained):
    assert_pixels_convert(trained / "Format-Serving")


def test_model_json(trained):
    info = model_json(trained)
    calibration, thresholds = info.pop("calibration"), info.pop("thresholds")
    out_of_distribution = info.pop("out_of_distribution")
    assert out_of_distribution.pop("threshold") > 0
    assert out_of_distribution == {"quantile": 0.96, "training_images": 64, "eval_images": 24}
    assert info == {
        "format": 2,
        "name": "tiny",
        "classes": ["Left", "Right", "Absent"],
        "image_size": 64,
        "compact": {"image_size": 64, "encoding": "jpeg", "jpeg_quality": 95},
        "members": [{"name": "tiny", "backbone": "MobileNet", "head": "attention", "weight": 1.0}],
        "ensemble": None,
        "taught_by": "",
        "data": "data-1",
        "split": "official test list",
        "code": "code-1",
        "synthetic": True,
    }
    assert calibration["Absent"] == {"slope": 1.0, "intercept": 0.0}
    assert thresholds["Absent"] is None
    assert calibration["Left"] != {"slope": 1.0, "intercept": 0.0}


def test_calibration_and_thresholds_are_those_of_eval(tiny, trained, signatures):
    served = signatures["transformed_examples"](examples=tf.constant(tiny.transformed))
    labels = np.array(
        [
            tf.train.Example.FromString(one).features.feature["labels"].float_list.value
            for one in tiny.transformed
        ]
    )
    info = model_json(trained)
    fitted = fit(served["logits"].numpy(), labels).to_json(CLASSES)
    for name in CLASSES:
        assert info["calibration"][name] == pytest.approx(fitted[name], abs=1e-3)
    # The same decision for every image: nothing lies between the thresholds.
    points = class_thresholds(CLASSES, labels, served["probabilities"].numpy(), 0.9, 0.9)
    for name in ("Left", "Right"):
        for kind, point in points[name].items():
            assert info["thresholds"][name][kind] == pytest.approx(point, abs=1e-4)


def test_warmup_requests_are_valid(trained, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    path = trained / "Format-Serving/assets.extra/tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert 1 <= len(records) <= 1000  # TF Serving's limit
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        images = tf.make_ndarray(request.inputs["image_bytes"])
        outputs = signatures["serving_default"](image_bytes=tf.constant(images))
        assert np.isfinite(outputs["logits"]).all()


def test_logs_for_tensorboard_and_nothing_left_behind(trained):
    tags = {
        value.tag
        for path in (trained / "logs/validation").glob("events.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"epoch_auc", "epoch_auc_Left", "epoch_auc_Right", "epoch_loss"} <= tags
    assert "epoch_auc_Absent" not in tags
    assert list((trained / "work").iterdir()) == []


# Kills itself in the second epoch.
KILLED = """
import json, os, signal, sys
import keras
from cxrflow.components.train import callbacks
from tests.support import tiny_training as tiny

def on_train_batch_end(self, batch, logs=None):
    if self.folder.name == "epochs" and len(self.history) == 1:
        os.kill(os.getpid(), signal.SIGKILL)

callbacks.ResumableStopping.on_train_batch_end = on_train_batch_end
keras.applications.mobilenet.MobileNet = tiny.tiny_backbone
tiny.run(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
"""


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(tiny, trained, tmp_path):
    command = [sys.executable, "-c", KILLED, tiny.folder, tmp_path, json.dumps(RECIPE)]
    killed = subprocess.run(command, cwd=REPO, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    (state,) = tmp_path.glob("work/*/epochs/state.json")
    finished = json.loads(state.read_text())
    assert len(finished) == 1
    assert not (tmp_path / "Format-Serving").exists()

    run(str(tiny.folder), str(tmp_path), **RECIPE)
    steps = [
        event.step
        for path in sorted((tmp_path / "logs/validation").glob("events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "epoch_auc"
    ]
    assert sorted(steps) == list(range(6))  # no epoch was trained twice
    outputs = [
        tf.saved_model.load(str(out / "Format-Serving")).signatures["serving_default"](
            image_bytes=tf.constant(tiny.pngs)
        )["probabilities"]
        for out in (trained, tmp_path)
    ]
    np.testing.assert_allclose(*outputs, atol=0.01)


def test_leftovers_of_other_settings_are_removed_and_nothing_else(tmp_path):
    for name in ("training-old", "training-mine", "notes"):
        (tmp_path / name).mkdir()
    assert own_folder(tmp_path, "mine") == tmp_path / "training-mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "training-mine"]


def test_tensorboard_has_curves_settings_and_pictures(trained):
    """The event files are read back by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    events = EventMultiplexer().AddRunsFromDirectory(str(trained / "logs"))
    events.Reload()

    def tags(run: str, plugin: str) -> set[str]:
        return set(events.PluginRunToTagToContent(plugin).get(run, {}))

    assert tags("train", "images") == {"inputs as trained on"}
    assert tags("validation", "images") == {
        "attention/all classes",
        *(f"calibration/{name}" for name in CLASSES),
    }
    assert tags("validation", "pr_curves") == {"Left/pr_curves", "Right/pr_curves"}
    assert "epoch_auc" in tags("validation", "scalars")
    assert "_hparams_/session_start_info" in tags(".", "hparams")

    [curve] = events.Tensors("validation", "Left/pr_curves")
    true_positives, *_, precision, recall = tf.make_ndarray(curve.tensor_proto)
    assert recall[0] == 1 and true_positives[0] > 0
    assert precision.max() <= 1
    [pictures] = events.Tensors("validation", "attention/all classes")
    width, height, *pngs = tf.make_ndarray(pictures.tensor_proto)
    assert (int(width), int(height)) == (128, 64)
    assert len(pngs) == 4

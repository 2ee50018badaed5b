import math

import numpy as np
import pytest

from cxrflow.pipeline.reports.baseline import baseline, fit_baseline
from cxrflow.schema.errors import CxrflowError


def make_split(n, seed, shift):
    """Class 0 shifts feature 0 by `shift`, class 1 is noise, class 2 has no case."""
    rng = np.random.default_rng(seed)
    y = np.stack([rng.random(n) < 0.2, rng.random(n) < 0.3, np.zeros(n)], 1).astype(np.float32)
    x = rng.normal(size=(n, 20)).astype(np.float32)
    x[:, 0] += shift * y[:, 0]
    return x * 50 + 7, y  # far from standardised


def test_separable_noise_and_missing_classes():
    sizes = {"train": 400, "eval": 200, "test": 300}
    data = {split: make_split(n, i, 3.0) for i, (split, n) in enumerate(sizes.items())}
    found = fit_baseline(
        {s: x for s, (x, _) in data.items()},
        {s: y for s, (_, y) in data.items()},
        ["clear", "noise", "missing"],
        grid=(1e-3, 1e-1),
    )
    # Two normals 3 sigma apart: AUC = Phi(3 / sqrt 2) = .983.
    assert found.test_auc["clear"] == pytest.approx(0.983, abs=0.02)
    assert 0.4 < found.test_auc["noise"] < 0.6
    assert math.isnan(found.test_auc["missing"])
    assert found.test_mean_auc == pytest.approx(
        (found.test_auc["clear"] + found.test_auc["noise"]) / 2
    )
    assert found.c in (1e-3, 1e-1)


def test_c_is_chosen_on_eval_alone():
    # Feature 0 predicts in train and eval, feature 1 only in train: a strong penalty or a weak one
    # rank eval differently; test has no say.
    rng = np.random.default_rng(0)
    y = (rng.random((200, 1)) < 0.5).astype(np.float32)
    x = np.concatenate([y + rng.normal(size=y.shape), rng.normal(size=(200, 150))], 1)
    features = {"train": x[:60], "eval": x[60:], "test": x[60:]}
    labels = {"train": y[:60], "eval": y[60:], "test": 1 - y[60:]}
    found = fit_baseline(features, labels, ["a"], grid=(1e-5, 1e-1, 10.0))
    alone = {
        c: fit_baseline(features, labels, ["a"], grid=(c,)).eval_mean_auc
        for c in (1e-5, 1e-1, 10.0)
    }
    assert found.c == max(alone, key=alone.get)
    assert found.test_mean_auc == pytest.approx(1 - found.eval_mean_auc)


def test_nothing_to_choose_by():
    x, y = np.zeros((4, 2)), np.zeros((4, 1))
    with pytest.raises(CxrflowError, match="needs more images"):
        fit_baseline(
            dict.fromkeys(("train", "eval", "test"), x),
            dict.fromkeys(("train", "eval", "test"), y),
            ["a"],
        )


@pytest.mark.tf
def test_from_transformed_examples_and_imagenet_weights(tmp_path, shared_dir):
    import tensorflow as tf

    from cxrflow.components.images.decoding import encode_compact

    rng = np.random.default_rng(0)
    for split, n in (("train", 40), ("eval", 20), ("test", 20)):
        folder = tmp_path / f"Split-{split}"
        folder.mkdir()
        with tf.io.TFRecordWriter(str(folder / "examples-00000-of-00001")) as writer:
            for i in range(n):
                image = rng.integers(0, 120, (64, 64, 1))
                image[16:48, 16:48] += 130 * (i % 2)  # the finding: a bright square
                compact = encode_compact(tf.constant(image, tf.uint8), "jpeg").numpy()
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[compact])),
                    "labels": tf.train.Feature(float_list=tf.train.FloatList(value=[i % 2])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    found = baseline(tmp_path, ["square"], "jpeg", 64, str(shared_dir / "weights"), image_size=64)
    assert found.test_auc["square"] > 0.95

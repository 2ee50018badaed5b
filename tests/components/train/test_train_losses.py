"""Losses by hand, and against Keras's own where it has one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model.recipe import TrainConfig
from cxrflow.components.train.losses import BinaryCrossentropy, make_loss

pytestmark = pytest.mark.tf

# sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4.
LABELS = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
LOGITS = np.log(3) * np.array([[1.0, 1.0], [-1.0, 1.0]], np.float32)
RIGHT, WRONG = -np.log(0.75), -np.log(0.25)  # of a label that got 3/4, or 1/4


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"loss": "bce"}, [RIGHT + WRONG, RIGHT + WRONG]),
        # One of four labels is positive: it weighs 4, the others 4/3.
        ({"loss": "wcel"}, [4 * RIGHT + 4 / 3 * WRONG, 4 / 3 * (RIGHT + WRONG)]),
        ({"loss": "focal", "focal_gamma": 2.0}, 2 * [RIGHT / 16 + WRONG * 9 / 16]),
        ({"loss": "focal", "focal_gamma": 1.0}, 2 * [RIGHT / 4 + WRONG * 3 / 4]),
        # Smoothed by .2, a label is .9 of itself and .1 of its opposite.
        (
            {"loss": "wcel", "label_smoothing": 0.2},
            [
                4 * 0.9 * RIGHT + 4 / 3 * 0.1 * WRONG + 4 * 0.1 * RIGHT + 4 / 3 * 0.9 * WRONG,
                4 / 3 * 0.9 * RIGHT + 4 * 0.1 * WRONG + 4 * 0.1 * RIGHT + 4 / 3 * 0.9 * WRONG,
            ],
        ),
    ],
)
def test_by_hand(recipe, expected):
    loss = make_loss(TrainConfig(**recipe), LABELS)
    np.testing.assert_allclose(loss.call(LABELS, LOGITS), np.array(expected) / 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["bce", "wcel", "focal"])
def test_an_unknown_label_adds_nothing_and_has_no_gradient(name):
    labels = np.array([[1.0, np.nan], [0.0, 0.0]], np.float32)
    loss = make_loss(TrainConfig(loss=name), labels)
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = loss.call(labels, logits)
    wanted = loss.call(np.nan_to_num(labels), LOGITS).numpy()
    alone = loss.call(np.array([[1.0]], np.float32), LOGITS[:1, :1]).numpy() / 2
    np.testing.assert_allclose(found, [alone[0], wanted[1]], rtol=1e-6)
    slopes = tape.gradient(found, logits).numpy()
    assert (
        slopes[0, 1] == 0
        and np.isfinite(slopes).all()
        and (slopes[[0, 1, 1], [0, 0, 1]] != 0).all()
    )


def test_unknown_labels_count_in_no_class_weight():
    few = np.array([[1, np.nan], [0, 0], [np.nan, 0]], np.float32)  # one of four is positive
    loss = make_loss(TrainConfig(loss="wcel"), few)
    assert (loss.positive, loss.negative) == (4, pytest.approx(4 / 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_agrees_with_keras(gamma, smoothing):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (32, 5)).astype(np.float32)
    logits = random.normal(0, 3, (32, 5)).astype(np.float32)
    weights = random.uniform(0, 1, 32)
    keras_loss = (
        keras.losses.BinaryFocalCrossentropy(
            gamma=gamma, from_logits=True, label_smoothing=smoothing
        )
        if gamma
        else keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    )
    ours = BinaryCrossentropy(gamma=gamma, label_smoothing=smoothing)
    np.testing.assert_allclose(
        ours(labels, logits, weights), keras_loss(labels, logits, weights), rtol=1e-4
    )


@pytest.mark.parametrize("name", ["bce", "wcel", "focal"])
@pytest.mark.parametrize("logit", [-80.0, 80.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_surest_logits_have_finite_losses_and_the_wrong_ones_gradients(name, logit, label):
    logits = tf.constant([[logit]])
    loss = make_loss(TrainConfig(loss=name), LABELS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(np.array([[label]], np.float32), logits)
    slope = float(tape.gradient(value, logits)[0, 0])
    assert np.isfinite(float(value))
    wrong = (logit > 0) != (label > 0)
    assert abs(slope) > 0.5 if wrong else slope == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_all_alike_weigh_finitely(label):
    loss = make_loss(TrainConfig(loss="wcel"), np.full((8, 2), label, np.float32))
    assert (1 / loss.positive) + (1 / loss.negative) == pytest.approx(1)
    assert max(loss.positive, loss.negative) == pytest.approx(32)

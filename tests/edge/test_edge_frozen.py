"""The frozen graph's way into TensorFlow: stored int16 becomes float32, bad files are refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import frozen

pytestmark = pytest.mark.tf


def graph(make) -> object:
    """The GraphDef that `make` builds."""
    import tensorflow as tf

    with tf.Graph().as_default() as built:
        make()
    return built.as_graph_def()


def const(graph_def, name: str) -> np.ndarray:
    import tensorflow as tf

    (node,) = [node for node in graph_def.node if node.name == name]
    assert node.op == "Const"
    return tf.make_ndarray(node.attr["value"].tensor)


def stored(whole: np.ndarray, steps: np.ndarray, name: str = "W") -> object:
    """Weights as components/edge/export/freeze.py stores them; the tensor."""
    import tensorflow as tf

    cast = tf.cast(tf.constant(whole, name=f"{name}/int16"), tf.float32, name=f"{name}/cast")
    return tf.multiply(cast, tf.constant(steps, name=f"{name}/step"), name=name)


@settings(deadline=None)  # the first call imports TensorFlow
@given(arrays(np.int16, array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)))
def test_stored_weights_keep_every_value(whole):
    steps = np.exp2(-np.arange(whole.shape[-1], dtype=np.float32))
    widened = frozen.float32_weights(graph(lambda: stored(whole, steps)))
    np.testing.assert_array_equal(const(widened, "W"), whole.astype(np.float32) * steps)
    assert const(widened, "W").dtype == np.float32


def test_other_products_and_constants_stay():
    import tensorflow as tf

    def make() -> None:
        whole, steps = np.array([3], np.int16), np.array([0.5], np.float32)
        stored(whole, steps)
        tf.negative(tf.cast(tf.constant(whole), tf.float32, name="unscaled"))
        tf.multiply(tf.constant(steps, name="one"), tf.constant(steps, name="other"))
        fed = tf.compat.v1.placeholder(tf.int16, [1], name="fed")
        tf.multiply(tf.cast(fed, tf.float32, name="fed_cast"), steps, name="of_fed")
        tf.multiply(tf.cast(tf.constant([3]), tf.float32, name="of_int32"), steps)

    before = graph(make)
    after = frozen.float32_weights(before)
    changed = [new.name for new, old in zip(after.node, before.node, strict=True) if new != old]
    assert changed == ["W"]
    assert after.versions == before.versions


@settings(deadline=None)
@given(st.integers(1, 5))
def test_it_computes_for_any_number_of_images(images):
    import tensorflow as tf

    def make() -> None:
        image = tf.compat.v1.placeholder(tf.float32, [None, 2, 2, 3], name="image")
        weights = stored(np.full((12, 2), 2, np.int16), np.array([0.25, 0.25], np.float32))
        tf.identity(tf.reshape(image, [-1, 12]) @ weights, name="probabilities")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "read_graph", lambda path: graph(make))
        run = frozen.load_frozen("", "image:0", "probabilities:0")
    answers = run(np.ones((images, 2, 2, 3), np.float32)).numpy()
    np.testing.assert_array_equal(answers, np.full((images, 2), 6.0))


def test_bad_files(tmp_path: Path):
    path = tmp_path / "frozen_graph.pb"
    with pytest.raises(OSError, match=r"frozen_graph\.pb"):
        frozen.load_frozen(str(path), "image:0", "probabilities:0")
    path.write_bytes(b"no graph at all")
    with pytest.raises(ValueError, match=r"frozen_graph\.pb is no TensorFlow graph"):
        frozen.load_frozen(str(path), "image:0", "probabilities:0")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        frozen.load_frozen(str(path), "image:0", "probabilities:0")
    import tensorflow as tf

    path.write_bytes(graph(lambda: tf.constant(1.0, name="image")).SerializeToString())
    with pytest.raises(ValueError, match="probabilities"):
        frozen.load_frozen(str(path), "image:0", "probabilities:0")

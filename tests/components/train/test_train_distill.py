"""Labels that a teacher softens, and students that learn them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold
from cxrflow.components.train import store
from cxrflow.components.train.distill import taught
from cxrflow.components.train.index import read_index
from cxrflow.components.train.splits import Images
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import read_model_json
from tests.support.tiny_training import CLASSES, run

pytestmark = [pytest.mark.tf, pytest.mark.usefixtures("tiny_backbone")]

LABELS = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


class Teacher(tf.Module):
    """Says .75 of every class."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def ask(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.fill([tf.shape(examples)[0], len(CLASSES)], 0.75)}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    folder = tmp_path / "teacher" / "Format-Serving"
    module = Teacher()
    tf.saved_model.save(module, str(folder), {"transformed_examples": module.ask})
    return folder


def images(folder: Path, names: list[str], labels: np.ndarray) -> Images:
    rows = np.zeros((len(labels), 4, 4, 1), np.uint8)
    ids = np.array(names)
    return Images(store.write(folder / "stored", [(rows, labels)]), ids, ids)


def test_labels_and_the_teachers_word_are_mixed(tiny, teacher, tmp_path):
    patterns = [f"{tiny.folder}/Split-eval/*"]
    index = read_index(patterns, 3)
    labels = np.zeros((len(index), 3), np.float32)
    labels[0, 1] = 1
    known = Images(
        store.write(tmp_path / "s", [(np.zeros((len(labels), 1), np.uint8), labels)]),
        index.image_id,
        index.patient_id,
    )
    found = taught(known, patterns, teacher, soft_share=0.4)
    assert found.inputs.labels is known.inputs.labels
    np.testing.assert_allclose(found.inputs.targets[0], [0.3, 0.9, 0.3])  # .4 of .75, .6 of 1
    np.testing.assert_allclose(found.inputs.targets[1:], 0.3)


def test_a_teacher_that_has_learned_from_eval_is_refused(teacher, tmp_path):
    ids = np.array(["b", "a"])
    write_out_of_fold(teacher, OutOfFold(ids, ids, LABELS, LABELS, LABELS))
    with pytest.raises(CxrflowError, match=r"cross-fitted teacher .* set train.cross_fit to 0"):
        taught(images(tmp_path, ["a", "b"], LABELS), [], teacher, soft_share=0.5)


def test_a_student_learns_what_is_said_and_not_the_labels(tiny, teacher, tmp_path):
    """The teacher says .75 of every image: so does its student, whatever the labels are."""
    recipe = {"head": "simple", "learning_rate": 0.02, "epochs": 8, "patience": 8}
    run(str(tiny.folder), str(tmp_path), str(teacher), **recipe)
    saved_model = tmp_path / "Format-Serving"
    assert read_model_json(saved_model).taught_by == "ensemble"
    network = tf.saved_model.load(str(saved_model)).signatures["network"]
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    logits = network(image=pixels)["logits"].numpy()
    # No X-ray is a case of the third class, whose bias is still on its way from the prior.
    np.testing.assert_allclose(logits[:, :2], np.log(3), atol=0.5)

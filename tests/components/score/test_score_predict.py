"""A model is scored on data that have grown since it was made."""

from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold
from cxrflow.components.node import to_json
from cxrflow.components.score.files import has_scores, read_scores
from cxrflow.components.score.settings import ScorerSettings
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import ModelJson, write_model_json
from tests.support.nodes import artifact

pytestmark = pytest.mark.tf


def write_examples(path: Path, images: list[str]) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            example = tf.train.Example()
            feature = example.features.feature
            feature["image/id"].bytes_list.value.append(image.encode())
            for name in ("patient/id", "patient/sex", "view", "age_band"):
                feature[name].bytes_list.value.append(b"F")
            feature["patient/age"].int64_list.value.append(50)
            feature["labels"].float_list.value.append(image.startswith("sick"))
            writer.write(example.SerializeToString())


def write_model(folder: Path) -> None:
    """It says .9 of every image."""
    import tensorflow as tf

    class Sure(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict(self, examples):
            probabilities = tf.fill([tf.size(examples), 1], 0.9)
            return {"logits": tf.math.log(9 * probabilities / 0.9), "probabilities": probabilities}

    model = Sure()
    tf.saved_model.save(model, str(folder), signatures={"transformed_examples": model.predict})
    write_model_json(folder, ModelJson(("Mass",), name="sure"))


@pytest.fixture
def score(tmp_path):
    """Scores a model that was cross-fitted on sick0, 0 and 1; the data have one image more."""
    from tfx.types.standard_artifacts import Examples, Model

    from cxrflow.components.artifacts import Scores
    from cxrflow.components.score.executor import Executor

    splits = {"train": ["sick0", "new"], "eval": ["0", "1"], "test": ["sick2", "2", "3"]}
    for split, images in splits.items():
        write_examples(tmp_path / "examples" / f"Split-{split}" / "data", images)
    write_model(tmp_path / "model" / "Format-Serving")
    known, said = np.array(["sick0", "0", "1"]), np.array([[0.8], [0.1], [0.2]], np.float32)
    scores = OutOfFold(known, known, said, said, said)
    write_out_of_fold(tmp_path / "model" / "Format-Serving", scores)
    examples = artifact(Examples, tmp_path / "examples")
    examples.split_names = '["train", "eval", "test"]'

    def run(**splits: tuple[str, ...]) -> Path:
        settings = ScorerSettings(classes=("Mass",), synthetic=True, **splits)
        Executor().Do(
            {"model": [artifact(Model, tmp_path / "model")], "examples": [examples]},
            {"scores": [artifact(Scores, tmp_path / "scores")]},
            {"settings": to_json(settings)},
        )
        return tmp_path / "scores"

    return run


def test_of_the_last_model_test_alone_is_scored_whatever_came_to_the_others(score) -> None:
    folder = score(splits=("test",))
    found = read_scores(folder, "sure", "test")
    assert found.images.image_id.tolist() == ["sick2", "2", "3"]
    np.testing.assert_allclose(found.probabilities, 0.9, rtol=1e-6)
    assert found.note == ""
    assert not has_scores(folder, "sure", "eval") and not has_scores(folder, "sure", "out_of_fold")


def test_a_model_that_has_not_seen_an_image_of_its_own_data_is_refused(score) -> None:
    with pytest.raises(CxrflowError, match="1 images, such as new, have no out-of-fold scores"):
        score()

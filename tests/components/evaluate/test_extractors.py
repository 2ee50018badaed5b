"""A cross-fitted model is evaluated by its out-of-fold scores, on the images that it has seen."""

from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold

pytestmark = pytest.mark.tf

IMAGES = [f"{i}.png" for i in range(8)]  # the first four are eval
LABELS = np.array([1, 0, 1, 0] * 2, np.float32)[:, None]
OUT_OF_FOLD = np.array([0.3, -1.0, 0.1, 0.2], np.float32)[:, None]  # 3 of 4 pairs are right


def write_examples(path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(IMAGES, LABELS, strict=True):
            example = tf.train.Example()
            feature = example.features.feature
            feature["image/id"].bytes_list.value.append(image.encode())
            feature["split"].bytes_list.value.append(b"eval" if image < "4" else b"test")
            feature["labels"].float_list.value.extend(label)
            writer.write(example.SerializeToString())


def write_model(folder: Path) -> None:
    """It gives 2 to cases and -2 to others."""
    import tensorflow as tf

    class Knowing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict(self, examples):
            spec = {"labels": tf.io.FixedLenFeature([1], tf.float32)}
            logits = 4 * tf.io.parse_example(examples, spec)["labels"] - 2
            return {"logits": logits, "probabilities": tf.sigmoid(logits)}

    model = Knowing()
    tf.saved_model.save(model, str(folder), signatures={"transformed_examples": model.predict})


def test_a_model_is_asked_about_few_images_at_once():
    import pyarrow as pa
    import tensorflow_model_analysis as tfma

    from cxrflow.components.evaluate.extractors import _small_batches

    column = pa.array([[i] for i in range(35)])
    batch = pa.RecordBatch.from_arrays([column], ["image_id"])
    parts = list(_small_batches({tfma.ARROW_RECORD_BATCH_KEY: batch}))
    rows = [part[tfma.ARROW_RECORD_BATCH_KEY].to_pydict()["image_id"] for part in parts]
    assert [len(part) for part in rows] == [16, 16, 3]
    assert [one for part in rows for (one,) in part] == list(range(35))


@pytest.mark.parametrize("several", [False, True])
def test_what_a_model_has_seen_is_judged_out_of_fold(several, tmp_path):
    import tensorflow_model_analysis as tfma

    from cxrflow.components.evaluate.extractors import custom_extractors
    from cxrflow.components.evaluate.results import load_evaluation
    from cxrflow.components.evaluate.tfma_config import BASELINE, CANDIDATE, eval_config

    write_examples(tmp_path / "examples")
    names = [CANDIDATE, BASELINE] if several else [CANDIDATE]
    for name in names:
        write_model(tmp_path / name / "Format-Serving")
    scores = OutOfFold(
        np.array(IMAGES[3::-1]),  # in another order
        np.array(list("abcd")),
        LABELS[3::-1],
        OUT_OF_FOLD[::-1],
        1 / (1 + np.exp(-OUT_OF_FOLD[::-1])),
    )
    write_out_of_fold(tmp_path / CANDIDATE / "Format-Serving", scores)
    config = eval_config(1, ())
    if not several:
        del config.model_specs[1]
    models = [
        tfma.default_eval_shared_model(
            str(tmp_path / name / "Format-Serving"), eval_config=config, model_name=name
        )
        for name in names
    ]
    model = models if several else models[0]

    tfma.run_model_analysis(
        eval_config=config,
        eval_shared_model=model,
        data_location=str(tmp_path / "examples"),
        output_path=str(tmp_path / "evaluation"),
        extractors=custom_extractors(model, config, None),
    )

    found = load_evaluation(tmp_path / "evaluation", ["Mass"])
    assert found[CANDIDATE]["split=eval"][0].auc == 0.75
    assert found[CANDIDATE]["split=test"][0].auc == 1.0
    if several:
        assert found[BASELINE]["split=eval"][0].auc == 1.0

"""Makes evaluations as TFX's Evaluator writes them, from a model that reads logits off examples."""

from pathlib import Path

import numpy as np

from cxrflow.components.evaluate.results import BASELINE, CANDIDATE
from cxrflow.components.evaluate.tfma_config import eval_config
from cxrflow.schema.classes import DEFAULT_CLASSES

SLICES = ("patient/sex", "view")


def make_rows(n: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """k-hot labels and logits, [n, 13] each; the last class has no case."""
    rng = np.random.default_rng(seed)
    prevalence = np.linspace(0.3, 0.05, len(DEFAULT_CLASSES))
    labels = (rng.random((n, len(prevalence))) < prevalence).astype(np.float32)
    labels[:, -1] = 0
    logits = noise * rng.normal(size=labels.shape) + 1.5 * labels + np.log(prevalence)
    return labels, logits.astype(np.float32)


def write_evaluation(
    folder: Path, work: Path, n: int = 200, seed: int = 0, factor: float = 1.0, noise: float = 1.0
) -> None:
    """Evaluates n examples, half of them eval, half test, with `tfma_config.eval_config`.

    The model's logits are those of `make_rows`, times `factor`.
    """
    import tensorflow as tf
    import tensorflow_model_analysis as tfma

    classes = len(DEFAULT_CLASSES)
    labels, logits = make_rows(n, seed, noise)
    work.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(work / "examples")) as writer:
        for i in range(n):
            text = {
                "image": logits[i].tobytes(),
                "split": (b"eval", b"test")[i % 2],
                "patient/sex": (b"F", b"M")[i // 2 % 2],
                "view": (b"AP", b"PA")[i // 4 % 2],
            }
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in text.items()
            }
            features["labels"] = tf.train.Feature(float_list=tf.train.FloatList(value=labels[i]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict(self, examples):
            spec = {"image": tf.io.FixedLenFeature([], tf.string)}
            raw = tf.io.parse_example(examples, spec)["image"]
            found = tf.reshape(tf.io.decode_raw(raw, tf.float32), [-1, classes]) * factor
            return {"logits": found, "probabilities": tf.sigmoid(found)}

    model = Reader()
    saved = work / "model"
    tf.saved_model.save(model, str(saved), signatures={"transformed_examples": model.predict})
    config = eval_config(classes, SLICES)
    del config.model_specs[[spec.name for spec in config.model_specs].index(BASELINE)]
    tfma.run_model_analysis(
        eval_config=config,
        eval_shared_model=tfma.default_eval_shared_model(
            str(saved), eval_config=config, model_name=CANDIDATE
        ),
        data_location=str(work / "examples"),
        output_path=str(folder),
    )

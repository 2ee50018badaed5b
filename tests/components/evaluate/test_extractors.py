"""A cross-fitted model is evaluated by its out-of-fold scores, on the images that it has seen."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from cxrflow.components.model.out_of_fold import OutOfFold, write_out_of_fold

pytestmark = pytest.mark.tf

IMAGES = [f"{i}.png" for i in range(8)]  # the first four are eval
LABELS = np.array([1, 0, 1, 0] * 2, np.float32)[:, None]
OUT_OF_FOLD = np.array([0.3, -1.0, 0.1, 0.2], np.float32)[:, None]  # 3 of 4 pairs are right
PIXELS = b"compact" * 1000


def write_examples(path: Path, images: list[str] = IMAGES) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            label = LABELS[IMAGES.index(image)]
            example = tf.train.Example()
            feature = example.features.feature
            feature["image/id"].bytes_list.value.append(image.encode())
            feature["image"].bytes_list.value.append(PIXELS)
            feature["split"].bytes_list.value.append(b"eval" if image < "4" else b"test")
            feature["labels"].float_list.value.extend(label)
            writer.write(example.SerializeToString())


def write_model(folder: Path, asked: Path) -> None:
    """It gives 2 to cases and -2 to others, and appends the images' names to a file."""
    import tensorflow as tf

    class Knowing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict(self, examples):
            spec = {
                "labels": tf.io.FixedLenFeature([1], tf.float32),
                "image/id": tf.io.FixedLenFeature([], tf.string),
            }
            example = tf.io.parse_example(examples, spec)
            names = tf.strings.reduce_join(example["image/id"], separator=" ")
            tf.print(names, output_stream=f"file://{asked}")
            logits = 4 * example["labels"] - 2
            return {"logits": logits, "probabilities": tf.sigmoid(logits)}

    model = Knowing()
    tf.saved_model.save(model, str(folder), signatures={"transformed_examples": model.predict})


@pytest.mark.parametrize(
    ("known", "sizes"), [([], [16, 16, 3]), (range(10, 30), [16, 4, 15]), (range(35), [16, 16, 3])]
)
def test_a_model_is_asked_about_few_images_at_once(known, sizes):
    import pyarrow as pa
    import tensorflow_model_analysis as tfma

    from cxrflow.components.evaluate.extractors import _Known, _small_batches

    names = [f"{i}" for i in known]
    none = np.zeros((len(names), 1), np.float32)
    scores = {"one": OutOfFold(np.array(names), np.array(names), none, none, none)} if names else {}
    batch = pa.RecordBatch.from_arrays([pa.array([[b"%d" % i] for i in range(35)])], ["image/id"])
    extracts = {tfma.ARROW_RECORD_BATCH_KEY: batch, tfma.INPUT_KEY: np.arange(35)}
    parts = list(_small_batches(extracts, _Known.of(scores, 1)))
    rows = [part[tfma.ARROW_RECORD_BATCH_KEY].to_pydict()["image/id"] for part in parts]
    assert [len(part) for part in rows] == sizes
    numbers = [int(one) for part in rows for (one,) in part]
    assert numbers == np.concatenate([part[tfma.INPUT_KEY] for part in parts]).tolist()
    assert sorted(numbers) == list(range(35))
    assert {len({int(one) in known for (one,) in part}) for part in rows} == {1}


def test_no_image_goes_on_once_the_models_are_asked(tmp_path):
    """Beam's own runner keeps in memory what follows, for all images at once."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma

    from cxrflow.components.evaluate.extractors import custom_extractors
    from cxrflow.components.evaluate.tfma_config import eval_config

    write_examples(tmp_path / "examples")
    write_model(tmp_path / "model", tmp_path / "asked")
    config = eval_config(1, ())
    del config.model_specs[1]
    model = tfma.default_eval_shared_model(str(tmp_path / "model"), eval_config=config)
    stages = custom_extractors(model, config, None)
    after = [stage.stage_name for stage in stages].index("ExtractPredictions") + 1

    def look(batch):
        with (tmp_path / "passed").open("ab") as file:
            file.write(pickle.dumps(batch))
        return batch

    stages.insert(after, tfma.extractors.Extractor("Look", beam.Map(look)))
    tfma.run_model_analysis(
        eval_config=config,
        eval_shared_model=model,
        data_location=str(tmp_path / "examples"),
        output_path=str(tmp_path / "evaluation"),
        extractors=stages,
    )
    passed = (tmp_path / "passed").read_bytes()
    assert b"7.png" in passed and PIXELS not in passed


def test_no_image_is_kept_of_several_splits(tmp_path, monkeypatch):
    """TFX's own executor flattens them before any image is looked at."""
    from apache_beam.runners.portability.fn_api_runner.execution import ListBuffer
    from google.protobuf import json_format
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts as artifacts

    from cxrflow.components.evaluate.results import CANDIDATE, load_evaluation
    from cxrflow.components.evaluate.tfma_config import eval_config
    from cxrflow.components.evaluate.together.executor import Executor

    made = {}
    for kind in (artifacts.Examples, artifacts.Model, artifacts.ModelEvaluation):
        made[kind] = kind()
        made[kind].uri = str(tmp_path / kind.__name__)
    for split, images in (("eval", IMAGES[:4]), ("test", IMAGES[4:]), ("train", IMAGES)):
        folder = tmp_path / "Examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        write_examples(folder / "data", images)
    made[artifacts.Examples].split_names = '["train", "eval", "test"]'
    made[artifacts.Examples].set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    write_model(tmp_path / "Model" / "Format-Serving", tmp_path / "asked")
    kept, append = [], ListBuffer.append

    def noting(buffer, element):
        kept.append(PIXELS in element)
        append(buffer, element)

    monkeypatch.setattr(ListBuffer, "append", noting)
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(tmp_path / "tmp"), unique_id="1"
    )
    Executor(context).Do(
        {"examples": [made[artifacts.Examples]], "model": [made[artifacts.Model]]},
        {"evaluation": [made[artifacts.ModelEvaluation]]},
        {
            "eval_config": json_format.MessageToJson(eval_config(1, ())),
            "example_splits": '["eval", "test"]',
            "module_path": "cxrflow.components.evaluate.extractors",
            "fairness_indicator_thresholds": "null",
        },
    )
    assert kept and not any(kept)
    found = load_evaluation(tmp_path / "ModelEvaluation", ["Mass"])[CANDIDATE]
    assert {name for name in found if name} == {"split=eval", "split=test"}
    assert [found[f"split={split}"][0].auc for split in ("eval", "test")] == [1, 1]
    assert sorted((tmp_path / "asked").read_text().split()) == IMAGES
    assert not any(path.is_symlink() for path in (tmp_path / "tmp").rglob("*"))


@pytest.mark.parametrize("several", [False, True])
def test_what_a_model_has_seen_is_judged_out_of_fold(several, tmp_path):
    import tensorflow_model_analysis as tfma

    from cxrflow.components.evaluate.extractors import custom_extractors
    from cxrflow.components.evaluate.results import BASELINE, CANDIDATE, load_evaluation
    from cxrflow.components.evaluate.tfma_config import eval_config

    write_examples(tmp_path / "examples")
    names = [CANDIDATE, BASELINE] if several else [CANDIDATE]
    for name in names:
        write_model(tmp_path / name / "Format-Serving", tmp_path / f"asked_{name}")
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
    of_candidate = set((tmp_path / f"asked_{CANDIDATE}").read_text().split())
    # All models are asked, or none.
    assert of_candidate == (set(IMAGES) if several else set(IMAGES[4:]))

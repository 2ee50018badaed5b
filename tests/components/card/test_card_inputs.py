"""What a card reads: examples without pixels, TensorBoard's logs, a SavedModel's signatures."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.tf


def row(patient: str, age: int, sex: str, view: str, *findings: str) -> dict:
    return {
        "image_id": f"{patient}.png",
        "patient_id": patient,
        "age": age,
        "sex": sex,
        "view": view,
        "follow_up": 0,
        "findings": findings,
    }


def write(folder: Path, rows: list[dict]) -> None:
    import tensorflow as tf

    from cxrflow.components.ingest.executor import raw_example
    from cxrflow.schema.portable.image_rules import Header

    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for one in rows:
            writer.write(raw_example(one, Header("png", 96, 96)).SerializeToString())


def test_splits_are_counted(tmp_path):
    from cxrflow.components.card.data import SplitCounts, count_splits

    rows = [
        row("1", 30, "F", "PA", "Mass", "Hernia"),
        row("1", 31, "F", "AP"),
        row("2", 80, "M", "PA", "Mass"),
        row("3", 50, "M", "AP", "Hernia"),
    ]
    write(tmp_path / "Split-train", rows)
    write(tmp_path / "Split-test", [])
    train, test = count_splits(tmp_path, ("Effusion", "Mass"))
    assert train == SplitCounts(
        "train", 4, 3, 0.5, 0.5, 0.25, (30, 40.5, 80), {"Effusion": 0, "Mass": 2}
    )
    assert (test.images, test.ages, test.women) == (0, None, 0)


def test_unknown_findings_are_counted_apart_and_are_no_no_finding(tmp_path):
    from cxrflow.components.card.data import count_splits

    rows = [
        row("1", 30, "F", "PA", "Mass"),
        {**row("2", 30, "F", "PA"), "unknown": ("Mass", "Edema")},
        row("3", 30, "F", "PA"),
    ]
    write(tmp_path / "Split-train", rows)
    (train,) = count_splits(tmp_path, ("Mass", "Effusion"))
    assert (train.positives, train.unknown) == ({"Mass": 1, "Effusion": 0}, {"Mass": 1})
    assert train.no_finding == 1 / 3


def test_what_travels_with_a_model_is_of_training_images_and_of_scores_it_has_not_learned(tmp_path):
    import cv2
    import numpy as np
    import tensorflow as tf

    from cxrflow.components.card.reference import write_reference
    from cxrflow.components.monitor.statistics import features_of, known, median, read_statistics
    from cxrflow.components.score.files import Scores, write_scores
    from cxrflow.schema.features import IMAGE
    from tests.components.evaluate.evidence_maker import table

    rows = [row(str(i), 20 + i, "FM"[i % 2], "PA") for i in range(4)]
    write(tmp_path / "records" / "Split-train", rows)
    write(tmp_path / "records" / "Split-test", [row("9", 99, "M", "AP")])
    (tmp_path / "examples" / "Split-train").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(tmp_path / "examples" / "Split-train" / "data")) as writer:
        for i in range(4):
            half = np.repeat([[10 * i, 10 * i + 8]], 8, axis=0).astype(np.uint8)  # mean 10 i + 4
            example = tf.train.Example()
            png = cv2.imencode(".png", half)[1].tobytes()
            example.features.feature[IMAGE].bytes_list.value.append(png)
            writer.write(example.SerializeToString())
    p = np.full((6, 2), 0.5, np.float32)
    for split, said in (("eval", 0.75), ("test", 0.1)):
        found = Scores("m", ("A", "B"), split, False, table(6, 1, (0.5, 0.5)), p * 2 * said)
        write_scores([found], tmp_path / split)
    (tmp_path / "v" / "assets.extra").mkdir(parents=True)
    places = (tmp_path / name for name in ("records", "examples", "eval"))
    write_reference(*places, "m", 3, tmp_path / "v" / "assets.extra")

    read = read_statistics(tmp_path / "v")
    train, scores = features_of(read["train"]), features_of(read["held_out"])
    assert known(train["image/mean"]) == 3 and median(train["image/mean"]) == 14  # of 4, 14, 24
    assert median(train["image/standard_deviation"]) == 4
    assert known(train["patient/age"]) == 4 and train["patient/age"].num_stats.max == 23
    assert scores.keys() == {"score/A", "score/B"}
    assert median(scores["score/A"]) == pytest.approx(np.log(3))


def test_cost_is_what_the_logs_tell(tmp_path):
    import tensorflow as tf

    from cxrflow.components.card.cost import Training, training_cost

    (tmp_path / "train").mkdir()

    def log(name: str, *events: tuple[float, str | None]) -> None:
        path = str(tmp_path / "train" / f"events.out.tfevents.{name}")
        with tf.io.TFRecordWriter(path) as writer:
            for time, tag in events:
                event = tf.compat.v1.Event(wall_time=time)
                if tag:
                    event.summary.value.add(tag=tag)
                writer.write(event.SerializeToString())

    # Broken off after two epochs, gone on an hour later; what was drawn in the end is no training.
    log("1", (100, None), (130, "epoch_loss"), (150, "epoch_loss"), (155, "epoch_auc"))
    log("2", (3800, None), (3830, "epoch_loss"))
    log("3", (3840, None), (3850, "inputs as trained on"))
    sizes = {"m": {"parameters": 9, "trained": 7}}
    assert training_cost("m", tmp_path, sizes) == Training("m", 3, 80.0, 9, 7)
    sizes["m"]["start"] = "4 of 4 backbone layers are those of cxrflow 7"  # RecipeCheck wrote so
    assert training_cost("m", tmp_path, sizes).start == sizes["m"]["start"]
    assert training_cost("n", tmp_path / "gone") == Training("n", 0, 0.0)


def test_the_map_s_shape_is_the_signature_s(tmp_path):
    import tensorflow as tf

    from cxrflow.components.card.evidence import attention_shape

    class Known(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def attention(self, image_bytes):
            return {"attention": tf.zeros([tf.shape(image_bytes)[0], 7, 5, 2])}

    model = Known()
    folder = str(tmp_path / "with")
    tf.saved_model.save(model, folder, signatures={"attention": model.attention})
    assert attention_shape(tmp_path / "with") == (7, 5, 2)
    tf.saved_model.save(tf.Module(), str(tmp_path / "without"))
    assert attention_shape(tmp_path / "without") == ()

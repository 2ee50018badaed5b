"""What a SavedModel says about transformed examples."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cxrflow.components.images.records import split_records
from cxrflow.components.model.out_of_fold import read_out_of_fold
from cxrflow.components.score.files import COLUMNS, OUT_OF_FOLD, Scores, Table
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SLICE_PREFIX
from cxrflow.schema.progress import report

SIGNATURE = "transformed_examples"
NOTE = "on eval, by models that were fitted on other patients"


def table_features(classes: int, slices: Sequence[str] = ()) -> dict[str, tf.io.FixedLenFeature]:
    """How `COLUMNS` are parsed from transformed examples with k-hot labels [classes].

    slices: features of further groups.
    """
    kinds = {"age": tf.int64, "labels": tf.float32}
    return {
        feature: tf.io.FixedLenFeature(
            [classes] if name == "labels" else [], kinds.get(name, tf.string)
        )
        for name, feature in [*COLUMNS.items(), *zip(slices, slices, strict=True)]
    }


def table_columns(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Parsed features by the names of `COLUMNS`, further groups by their own."""
    slices = {name: values for name, values in example.items() if name.startswith(SLICE_PREFIX)}
    return {name: example[feature] for name, feature in COLUMNS.items()} | slices


def as_arrays(columns: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Columns of a batch, for `Table.joined`."""
    return {name: values.numpy() for name, values in columns.items()}


def read_table(paths: Sequence[str], classes: int, slices: Sequence[str] = ()) -> Table:
    """What transformed examples in these TFRecords say of their images; no image is decoded.

    Raises CxrflowError if there are none.
    """
    features = table_features(classes, slices)
    tables = [
        as_arrays(table_columns(tf.io.parse_example(batch, features)))
        for batch in split_records(paths).batch(1024)
    ]
    if not tables:
        raise CxrflowError("there are no images to score; give more data")
    return Table.joined(tables)


def score_model(
    folder: Path,
    files: Mapping[str, Sequence[str]],
    *,
    name: str,
    classes: Sequence[str],
    synthetic: bool,
    batch_size: int,
    slices: Sequence[str] = (),
) -> Iterator[Scores]:
    """Asks a SavedModel's signature `transformed_examples` about each split.

    Of eval, a model that has learned from it gives its out-of-fold scores instead, and those of
    train and eval as a split of their own.

    Args:
        folder: the SavedModel.
        files: TFRecords of transformed examples, by split; train isn't scored. Without eval, they
            may be of other data than the model has learned from.
        name: of the model, in the scores.
        classes: names in the order of the labels.
        synthetic: the images are phantoms.
        batch_size: images at once.
        slices: features of further groups that are kept with the scores.

    Raises:
        CxrflowError: a split has no images, or an image of eval has no out-of-fold score.
    """
    loaded = tf.saved_model.load(str(folder))
    ask = loaded.signatures[SIGNATURE]
    features = table_features(len(classes), slices)
    learned = read_out_of_fold(folder) if "eval" in files else None

    def out_of_fold(table: Table, split: str) -> Scores:
        assert learned
        rows = learned.rows_of(table.image_id)
        probabilities, logits = learned.probabilities[rows], learned.logits[rows]
        return Scores(name, tuple(classes), split, synthetic, table, probabilities, logits, NOTE)

    done = 0
    if learned:  # and nothing that it says of eval now would count
        on_eval = read_table(files["eval"], len(classes), slices)
        yield out_of_fold(on_eval, "eval")
        learned_from = read_table(files["train"], len(classes), slices)
        yield out_of_fold(Table.together(learned_from, on_eval), OUT_OF_FOLD)
    for split, paths in files.items():
        if split == "train" or (split == "eval" and learned):
            continue
        tables, answers = [], []
        for serialized in split_records(paths).batch(batch_size).prefetch(1):
            found = ask(examples=serialized)
            example = table_columns(tf.io.parse_example(serialized, features))
            tables.append(as_arrays(example))
            answers.append([found[key].numpy() for key in ("probabilities", "logits")])
            done += len(answers[-1][0])
            report(done, None, "images")
        if not tables:
            raise CxrflowError(f"the {split} split has no images to score; give more data")
        probabilities, logits = (np.concatenate(column) for column in zip(*answers, strict=True))
        table = Table.joined(tables)
        yield Scores(name, tuple(classes), split, synthetic, table, probabilities, logits)

"""What a frozen network makes of transformed examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.floor.settings import BaselinesSettings
from cxrflow.components.images.records import marked, split_records
from cxrflow.components.model.network import build_network
from cxrflow.components.score.files import Table
from cxrflow.components.score.pixels import pixel_batches
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import PATIENT_ID
from cxrflow.schema.progress import report

_SEED = 0  # of random weights


@dataclass(frozen=True)
class Featured:
    """N images of a split."""

    features: np.ndarray  # float32 [N, D], averages of the network's maps
    images: Table


def frozen_network(settings: BaselinesSettings) -> Callable[[tf.Tensor], tf.Tensor]:
    """Pixels float32 [N, S, S, 3] to features float32 [N, D].

    Random weights, where the settings have no others, are always the same ones, whatever this
    process did before.

    Raises:
        CxrflowError: the weights can't be had, or a layer isn't there.
    """
    keras.utils.set_random_seed(_SEED)
    network = build_network(settings.recipe, len(settings.classes)).frozen
    assert network is not None
    size = settings.recipe.image_size
    found: Callable[[tf.Tensor], tf.Tensor] = (
        tf.function(  # predict_on_batch would use XLA, which compiles for longer than this runs
            lambda pixels: network(pixels, training=False),
            input_signature=[tf.TensorSpec([None, size, size, 3])],
        )
    )
    return found


def featured(
    network: Callable[[tf.Tensor], tf.Tensor],
    paths: Sequence[str],
    settings: BaselinesSettings,
    wanted: np.ndarray | None = None,
) -> Featured:
    """Features of the examples in these TFRecords, in their order.

    Args:
        network: see `frozen_network`.
        paths: of a split.
        settings: the images' form.
        wanted: bool [N], which of them are looked at; None: all.

    Raises:
        CxrflowError: there are none.
    """
    records = split_records(paths)
    if wanted is not None:
        records = marked(records, wanted)
    features, tables = [], []
    done = 0
    for pixels, columns in pixel_batches(
        records,
        settings.compact,
        settings.recipe.image_size,
        len(settings.classes),
        settings.floor.batch_size,
    ):
        features.append(network(pixels).numpy())
        tables.append(columns)
        done += len(features[-1])
        report(done, None, "images")
    if not features:
        raise CxrflowError("the baselines need images in train, eval and test; give more data")
    return Featured(np.concatenate(features), Table.joined(tables))


def few_patients(paths: Sequence[str], max_images: int) -> np.ndarray | None:
    """The images of patients drawn at random, at most so many, as a mask bool [N]; None: all.

    The same for the same examples. One patient is drawn whatever the number of images.
    """
    spec = {PATIENT_ID: tf.io.FixedLenFeature([], tf.string)}
    ids = np.concatenate(
        [
            np.array([], "S1"),
            *(
                tf.io.parse_example(batch, spec)[PATIENT_ID].numpy().astype(bytes)
                for batch in split_records(paths).batch(1024)
            ),
        ]
    )
    if len(ids) <= max_images:
        return None
    names, of_image, counts = np.unique(ids, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    few = np.cumsum(counts[order]) <= max_images
    few[0] = True
    drawn = np.zeros(len(names), bool)
    drawn[order[few]] = True
    mask: np.ndarray = drawn[of_image]
    return mask

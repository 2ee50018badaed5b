"""What members say about transformed examples; each image is decoded once for all of them."""

from collections.abc import Sequence

import numpy as np

from cxrflow.components.ensemble.compare import Predictions
from cxrflow.components.ensemble.graph import Members
from cxrflow.components.ensemble.members import Member
from cxrflow.components.images.records import split_records
from cxrflow.components.score.files import Table
from cxrflow.components.score.pixels import pixel_batches
from cxrflow.components.score.predict import read_table
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.progress import report


def predict(
    members: Members,
    paths: Sequence[str],
    compact: CompactFormat,
    batch_size: int,
    slices: Sequence[str] = (),
) -> Predictions:
    """Predictions for the transformed examples in these TFRecords.

    slices: features of further groups, which stay with the images.
    Raises CxrflowError if there are none.
    """
    batches, tables, done = [], [], 0
    for pixels, columns in pixel_batches(
        split_records(paths), compact, members.image_size, members.classes, batch_size, slices
    ):
        batches.append(members.log_odds(pixels).numpy())
        tables.append(columns)
        done += batches[-1].shape[1]
        report(done, None, "images")
    if not batches:
        raise CxrflowError("an ensemble needs eval and test images; give more data")
    images = Table.joined(tables)
    log_odds = np.concatenate(batches, axis=1)
    return Predictions(log_odds, images.labels, images.patient_id, images.image_id, images)


def not_asked(
    members: Sequence[Member], paths: Sequence[str], classes: int, slices: Sequence[str] = ()
) -> Predictions:
    """The images of `predict` with NaN in the place of what members would say; none is decoded."""
    images = read_table(paths, classes, slices)
    log_odds = np.full((len(members), len(images), classes), np.nan)
    return Predictions(log_odds, images.labels, images.patient_id, images.image_id, images)

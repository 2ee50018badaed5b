"""What models of the other folds said of each image that a cross-fitted model has learned from.

Such a model's own scores of these images are too good. The file lies in the model's artifact,
beside the SavedModel and not in it: what is pushed says nothing of single patients.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import whole_file

FILE_NAME = "out_of_fold.npz"


@dataclass(frozen=True)
class OutOfFold:
    """N images of train and eval: each was scored by a model that learned from other patients."""

    image_id: np.ndarray  # text [N]
    patient_id: np.ndarray  # text [N]
    labels: np.ndarray  # float32 [N, C], k-hot or NaN for unknown
    logits: np.ndarray  # float32 [N, C], before calibration
    probabilities: np.ndarray  # float32 [N, C], calibrated as the model's are

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Rows, int64 [n], of images [n]. Raises CxrflowError where one isn't among them."""
        return rows_of(self.image_id, image_ids)


def rows_of(image_ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the wanted images [n] are among those with out-of-fold scores [N], int64 [n].

    Raises:
        CxrflowError: one isn't among them.
    """
    place = {image: row for row, image in enumerate(image_ids.tolist())}
    missing = [image for image in wanted.tolist() if image not in place]
    if missing:
        raise CxrflowError(
            f"{len(missing)} images, such as {missing[0]}, have no out-of-fold scores: run the "
            "pipeline again"
        )
    return np.array([place[image] for image in wanted.tolist()], np.int64)


def write_out_of_fold(saved_model: Path, scores: OutOfFold) -> None:
    """Writes them beside a SavedModel's folder, whole or not at all."""
    arrays: dict[str, Any] = {f.name: getattr(scores, f.name) for f in fields(OutOfFold)}
    with whole_file(saved_model.parent / FILE_NAME) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def read_out_of_fold(saved_model: Path) -> OutOfFold | None:
    """Those of a SavedModel; None of one that wasn't cross-fitted.

    Raises CxrflowError where the file can't be read.
    """
    path = saved_model.parent / FILE_NAME
    try:
        with np.load(path) as arrays:
            return OutOfFold(**{f.name: arrays[f.name] for f in fields(OutOfFold)})
    except FileNotFoundError:
        return None
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise CxrflowError(f"{path} can't be read ({error}): run the pipeline again") from error

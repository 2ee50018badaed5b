"""Opens the train and the eval split for a training: stored, or streamed where room is short."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxrflow.components.train import store
from cxrflow.components.train.index import Index, read_index
from cxrflow.components.train.inputs import read_transformed
from cxrflow.components.train.source import Inputs
from cxrflow.components.train.stream import stream
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.space import free_bytes, readable, require_space

logger = logging.getLogger(__name__)

# The other half is for checkpoints, features, and trainings that run at the same time.
_AUTO_SHARE = 0.5


@dataclass(frozen=True)
class Images:
    """The images of a split, and whose they are."""

    inputs: Inputs
    image_id: np.ndarray  # text [N]
    patient_id: np.ndarray  # text [N]

    @property
    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of images and of their patients, each [N]."""
        return self.image_id, self.patient_id


def open_splits(
    fn_args: Any,
    compact: CompactFormat,
    image_size: int,
    how: Literal["stored", "streamed", "auto"],
    folder: Path,
) -> tuple[Images, Images]:
    """The train and the eval images in the size of the network, in the same order either way.

    Args:
        fn_args: TFX's FnArgs.
        compact: how Transform wrote the images.
        image_size: side of the network's input.
        how: `TrainConfig.input`.
        folder: where images are stored; those that are there are kept.

    Raises:
        CxrflowError: there are no images, or they are to be stored and don't fit; nothing is
            written then.
    """
    patterns = {"train": fn_args.train_files, "eval": fn_args.eval_files}
    classes = len(fn_args.custom_config["classes"])
    indices = {split: read_index(files, classes) for split, files in patterns.items()}
    missing = [index for split, index in indices.items() if not store.is_there(folder / split)]
    needed = sum(map(len, missing)) * image_size**2  # a byte a pixel

    def opened(split: str, index: Index) -> Images:
        if streamed:
            inputs: Inputs = stream(index, compact, image_size)
        else:
            batches = read_transformed(
                patterns[split], compact.encoding, compact.image_size, image_size, classes
            )
            inputs = store.write(folder / split, batches)
        return Images(inputs, index.image_id, index.patient_id)

    streamed = _is_streamed(how, needed, folder)
    train, evaluation = (opened(split, index) for split, index in indices.items())
    return train, evaluation


def _is_streamed(how: str, needed: int, folder: Path) -> bool:
    if how == "stored":
        advice = "free some, or set train.input to streamed"
        require_space(folder, needed, "the images as the network takes them", advice)
    if how != "auto":
        return how == "streamed"
    free = free_bytes(folder)
    streamed = needed > _AUTO_SHARE * free
    logger.info(
        "train.input auto: the images are %s; stored they take %s, and %s are free in %s",
        "streamed" if streamed else "stored",
        readable(needed),
        readable(free),
        folder,
    )
    return streamed

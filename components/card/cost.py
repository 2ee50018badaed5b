"""What a training cost, from the curves that it left for TensorBoard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EPOCH = "epoch_loss"  # Keras's tag, one event an epoch


@dataclass(frozen=True)
class Training:
    """One model's training."""

    name: str
    epochs: int
    seconds: float  # between its start and its last epoch; what was broken off in between is out
    parameters: int | None = None  # of the network, and those that were trained; None: not known
    trained: int | None = None
    start: str = ""  # which model's weights it started from, in words


def training_cost(
    name: str, model_run: Path, sizes: dict[str, dict[str, Any]] | None = None
) -> Training:
    """The cost of the training whose logs lie in a Trainer's `model_run` folder.

    Args:
        name: the model's.
        model_run: with a folder train/ of event files, one a process that trained.
        sizes: what RecipeCheck wrote of all networks.
    """
    import tensorflow as tf  # slow to import

    epochs, seconds = 0, 0.0
    for path in sorted((model_run / "train").glob("events.out.tfevents.*")):
        events = [
            tf.compat.v1.Event.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(path))
        ]
        ends = [
            event.wall_time
            for event in events
            if any(value.tag == _EPOCH for value in event.summary.value)
        ]
        if ends:
            epochs += len(ends)
            seconds += max(ends) - events[0].wall_time
    size = (sizes or {}).get(name, {})
    return Training(
        name, epochs, seconds, size.get("parameters"), size.get("trained"), size.get("start", "")
    )

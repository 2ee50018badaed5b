"""What happens after each epoch: eval AUC, early stopping that survives a kill, progress."""

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.model.metrics import binary_crossentropy, per_class_auc
from cxrflow.components.train.inputs import Steps
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.files import write_whole
from cxrflow.schema.portable.scores import mean_auc
from cxrflow.schema.portable.writing import sync_path
from cxrflow.schema.progress import report

logger = logging.getLogger(__name__)


class EvalAuc(keras.callbacks.Callback):
    """Adds val_loss, val_auc (mean over the classes that have one) and val_auc_<class> to the logs.

    val_loss is the plain cross-entropy, whatever loss is trained, so that recipes compare.
    `batches` are the inputs of `labels` [N, C] in order. Put it before callbacks that read these.
    """

    def __init__(self, batches: tf.data.Dataset, labels: np.ndarray, classes: list[str]) -> None:
        super().__init__()
        self.batches = batches
        self.labels = labels
        self.classes = classes

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        # On one device: predict would give some of several nothing of a small last batch.
        self.forward = tf.function(
            lambda inputs: self.model(inputs, training=False),
            input_signature=[self.batches.element_spec],
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logits = np.concatenate([self.forward(inputs).numpy() for inputs in self.batches])
        if not np.isfinite(logits).all():
            raise CxrflowError(
                f"training diverged in epoch {epoch + 1} (the network's outputs are not finite); "
                "lower train.learning_rate"
            )
        aucs = per_class_auc(self.labels, logits)
        assert logs is not None  # Keras gives them to every epoch's end
        logs["val_loss"] = binary_crossentropy(self.labels, logits)
        logs["val_auc"] = mean_auc(aucs)
        for name, auc in zip(self.classes, aucs, strict=True):
            if np.isfinite(auc):
                logs[f"val_auc_{name}"] = float(auc)


class ResumableStopping(keras.callbacks.Callback):
    """Early stopping on val_auc whose whole state is on disk after every epoch.

    The folder holds the weights and optimizer of the last and the best epoch, and state.json,
    which names them and is replaced in one step: a kill or a power cut at any time loses the
    running epoch only.
    """

    def __init__(self, folder: Path, patience: int, epochs: int) -> None:
        super().__init__()
        self.folder = folder
        self.patience = patience
        self.epochs = epochs
        self.history: list[dict[str, float]] = []  # one entry an epoch
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def best_epoch(self) -> int:
        """The earliest epoch with the highest eval AUC."""
        return int(np.argmax([logs["val_auc"] for logs in self.history]))

    @property
    def finished(self) -> bool:
        """True once all epochs are done or the last `patience` ones brought nothing."""
        done = len(self.history)
        return done >= self.epochs or (done > 0 and done - 1 - self.best_epoch >= self.patience)

    def resume(self, model: keras.Model) -> int:
        """Puts a compiled model where the last finished epoch left it; returns the next epoch."""
        state = self.folder / "state.json"
        if state.exists():
            self.history = json.loads(state.read_text())
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._weights(len(self.history) - 1))
            logger.info("resuming after epoch %d", len(self.history))
        return len(self.history)

    def restore_best(self, model: keras.Model) -> None:
        """Loads the weights of the best epoch."""
        model.load_weights(self._weights(self.best_epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self.history.append({name: float(value) for name, value in logs.items()})
        self.model.save_weights(self._weights(epoch))
        sync_path(str(self._weights(epoch)))  # before anything names them
        write_whole(self.folder / "state.json", json.dumps(self.history), sync=True)
        keep = {self._weights(epoch), self._weights(self.best_epoch)}
        for path in set(self.folder.glob("*.weights.h5")) - keep:
            path.unlink()
        self.model.stop_training = self.finished

    def _weights(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.weights.h5"


class EpochAverage(keras.callbacks.SwapEMAWeights):
    """Puts the averaged weights into the model at the end of an epoch, the trained ones back after.

    Callbacks behind it see the averaged ones, and so what ResumableStopping saves has the two
    swapped: a resumed training begins with swapping them back.
    """

    def __init__(self, resumed: bool) -> None:
        super().__init__(swap_on_epoch=True)
        self._ema_weights_in_model = resumed


class EpochSeeds(keras.callbacks.Callback):
    """Lets dropout depend on the seed and the epoch only, as the order of images does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        random = np.random.default_rng([self.seed, epoch])
        for layer in self.model.layers:
            # Dropout that drops nothing has none.
            if generator := getattr(layer, "seed_generator", None):
                generator.state.assign(random.integers(2**32, size=2, dtype=np.uint32))


class Progress(keras.callbacks.Callback):
    """Reports steps, logs a line an epoch, and ends the last epoch at the last step."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.epoch * self.steps.epoch + batch + 1
        report(done, self.steps.total, "steps")
        if done == self.steps.total:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        logger.info(
            "epoch %d/%d: loss %.4f, eval loss %.4f, eval AUC %.4f",
            epoch + 1,
            self.steps.epochs,
            logs["loss"],
            logs["val_loss"],
            logs["val_auc"],
        )

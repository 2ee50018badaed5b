"""What a training runs on: arithmetic, replicas and determinism."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from cxrflow.components.model.precision import dtype_policy
from cxrflow.components.model.recipe import TrainConfig
from cxrflow.schema.errors import CxrflowError


@contextmanager
def training_devices(recipe: TrainConfig, devices: Sequence[str] | None = None) -> Iterator[None]:
    """Build and train a network inside: in the recipe's precision, and on all GPUs.

    devices: names such as "GPU:0"; None: all GPUs. With several, each takes its share of a batch.
    Keras scales the loss of mixed_float16 by itself. `deterministic` holds for the rest of the
    process: TensorFlow can't take it back. Raises CxrflowError for a recipe that several devices
    can't train.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices is None:
        devices = [f"GPU:{i}" for i in range(len(gpus))]
    if len(devices) > 1 and recipe.accumulation_steps > 1:
        raise CxrflowError(
            f"train.accumulation_steps doesn't work on {len(devices)} GPUs: raise "
            "train.batch_size, which they share, or set CUDA_VISIBLE_DEVICES=0"
        )
    if recipe.batch_size % max(len(devices), 1):
        raise CxrflowError(
            f"train.batch_size {recipe.batch_size} can't be shared by {len(devices)} GPUs: give a "
            "multiple, or set CUDA_VISIBLE_DEVICES=0"
        )
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = _best_precision(gpus) if recipe.precision == "auto" else recipe.precision
    mirrored = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None
    with dtype_policy(precision), (mirrored or tf.distribute.get_strategy()).scope():
        yield


def in_float32(model: keras.Model) -> keras.Model:
    """The same model in float32 on one device, as it is exported; itself if it is so already."""
    mixed = any(layer.compute_dtype != "float32" for layer in model.layers)
    if not mixed and model.distribute_strategy.num_replicas_in_sync == 1:
        return model

    def plain(layer: keras.Operation) -> keras.Operation:
        of_float32 = {"dtype": "float32"} if isinstance(layer, keras.Layer) else {}
        return layer.__class__.from_config(layer.get_config() | of_float32)

    twin = keras.models.clone_model(model, clone_function=plain)
    twin.set_weights(model.get_weights())
    return twin


def _best_precision(gpus: Sequence[tf.config.PhysicalDevice]) -> str:
    """bfloat16, which needs no loss scaling, from compute capability 8 on."""
    if not gpus:
        return "float32"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    return "mixed_bfloat16" if min(capabilities) >= (8, 0) else "mixed_float16"

"""What a training runs on: arithmetic, replicas and determinism."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from cxrflow.components.model.precision import dtype_policy
from cxrflow.components.model.recipe import TrainConfig

logger = logging.getLogger(__name__)


@contextmanager
def training_devices(recipe: TrainConfig, devices: Sequence[str] | None = None) -> Iterator[None]:
    """Build and train a network inside: in the recipe's precision, and on all GPUs it can share.

    devices: names such as "GPU:0"; None: all GPUs. With several, each takes its share of a batch,
    see `shared_by`. Keras scales the loss of mixed_float16 by itself. `deterministic` holds for the
    rest of the process: TensorFlow can't take it back.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices is None:
        devices = [f"GPU:{i}" for i in range(len(gpus))]
    if left_idle := idle_devices(recipe, len(devices)):
        logger.warning(left_idle)
    devices = devices[: shared_by(recipe, len(devices))]
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = _best_precision(gpus) if recipe.precision == "auto" else recipe.precision
    mirrored = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None
    with dtype_policy(precision), (mirrored or tf.distribute.get_strategy()).scope():
        yield


def shared_by(recipe: TrainConfig, devices: int) -> int:
    """How many of so many devices train a recipe: one with accumulation, else what divides a batch.

    Keras's accumulated gradients don't work with several replicas.
    """
    if recipe.accumulation_steps > 1:
        return min(devices, 1)
    return max((n for n in range(1, devices + 1) if recipe.batch_size % n == 0), default=0)


def idle_devices(recipe: TrainConfig, devices: int) -> str:
    """Why a recipe leaves some of so many GPUs idle, in words; empty where it uses all."""
    used = shared_by(recipe, devices)
    if used == devices:
        return ""
    why = (
        f"train.accumulation_steps {recipe.accumulation_steps} goes with one"
        if recipe.accumulation_steps > 1
        else f"train.batch_size {recipe.batch_size} can't be shared by all"
    )
    return (
        f"trains on {used} of {devices} GPUs, since {why}; with `cxrflow run --jobs {devices}` "
        "several members train at the same time, each on one"
    )


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model in float32 on one device, as it is exported; itself if it is so already."""
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

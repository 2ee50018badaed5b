"""Keras's optimizers with a learning rate and a weight decay of each variable's own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from cxrflow.components.model.recipe import TrainConfig

_KINDS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.Adam,  # Keras's AdamW is its Adam; the decay is ours
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
}
_NOT_DECAYED = ("bias", "gamma", "beta")


# A mix-in, which Keras's own optimizers come beside.
_Optimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class _ByVariable(_Optimizer):
    """Scales the learning rate of each variable; decoupled weight decay follows that rate.

    Keras's own weight decay knows only the full learning rate, which would pull the slow layers
    of a pretrained backbone to zero faster than it lets them learn.
    """

    scales: tuple[float, ...]  # in the order of the model's trainable variables
    decays: tuple[float, ...]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        index = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, variable.dtype) * self.scales[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * (rate * self.decays[index]))
        super().update_step(gradient, variable, rate)


def make_optimizer(
    recipe: TrainConfig, steps: int, model: keras.Model, tuned: Sequence[keras.Layer]
) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for a model that sees `steps` batches.

    tuned: the backbone's trained layers, in the order of the signal. Discriminative fine-tuning
    (Howard & Ruder 2018, arXiv:1801.06146, 3.2): the head learns at the full rate, the backbone's
    last layer at backbone_lr_scale × layer_decay of it, each one before at layer_decay of the next.
    With gradient accumulation Keras's EMA moves at every batch, so its momentum is the root that
    gives the recipe's at every update.
    """
    kind = _KINDS[recipe.optimizer]
    by_variable = type(f"{kind.__name__}ByVariable", (_ByVariable, kind), {})
    options = {"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {}
    accumulated = recipe.accumulation_steps
    optimizer = by_variable(
        learning_rate=_schedule(recipe, steps),
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema ** (1 / accumulated),
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
        **options,
    )
    scales = _backbone_scales(recipe, tuned)
    variables = model.trainable_variables
    optimizer.scales = tuple(scales.get(v.path, 1.0) for v in variables)
    optimizer.decays = tuple(
        0.0 if v.name in _NOT_DECAYED else recipe.weight_decay for v in variables
    )
    return optimizer


def _schedule(recipe: TrainConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    rising = int(recipe.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if rising else recipe.learning_rate,
        decay_steps=steps - rising,
        alpha=0.0 if recipe.schedule == "cosine" else 1.0,  # the share that is left at the end
        warmup_target=recipe.learning_rate if rising else None,
        warmup_steps=rising,
    )


def _backbone_scales(recipe: TrainConfig, tuned: Sequence[keras.Layer]) -> dict[str, float]:
    """Learning rates of the backbone's variables, by path, as shares of the head's."""
    scales: dict[str, float] = {}
    scale = recipe.backbone_lr_scale * recipe.layer_decay
    for layer in reversed(tuned):
        scales |= {variable.path: scale for variable in layer.trainable_variables}
        # A batch norm learns at the rate of the convolution before it.
        if layer.trainable_variables and not isinstance(layer, keras.layers.BatchNormalization):
            scale *= recipe.layer_decay
    return scales

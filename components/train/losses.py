"""Binary cross-entropy of k-hot labels: plain, weighted by prevalence, or focal."""

import keras
import numpy as np
import tensorflow as tf

from cxrflow.components.model.recipe import TrainConfig


class BinaryCrossentropy(keras.losses.Loss):
    """From logits [N, C] and k-hot labels [N, C] in [0, 1]; the mean over classes, [N], in nats.

    An unknown label (NaN) adds nothing: the sum over the known ones is divided by C all the same,
    so that each known label weighs the same in a batch.

    -positive · y log p · (1 - p_t)^gamma - negative · (1 - y) log(1 - p) · (1 - p_t)^gamma with
    p = sigmoid(logit) and p_t = y p + (1 - y)(1 - p). Labels are smoothed first: y moves by
    `label_smoothing` / 2 towards 1/2. Keras's focal loss clips p, so that it has no gradient where
    the network is surest; this one computes log p from the logits.
    """

    def __init__(
        self,
        positive: float = 1.0,
        negative: float = 1.0,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name="binary_crossentropy")
        self.positive = positive
        self.negative = negative
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        y_true = tf.cast(y_true, y_pred.dtype)
        unknown = tf.math.is_nan(y_true)
        # Masked before and after: a NaN that is only masked after leaves NaN in the gradient.
        labels = tf.where(unknown, tf.zeros_like(y_true), y_true)
        labels = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = -self.positive * labels * tf.math.log_sigmoid(y_pred)
        loss -= self.negative * (1 - labels) * tf.math.log_sigmoid(-y_pred)
        if self.gamma:
            other = labels * tf.sigmoid(-y_pred) + (1 - labels) * tf.sigmoid(y_pred)  # 1 - p_t
            loss *= other**self.gamma
        return tf.reduce_mean(tf.where(unknown, tf.zeros_like(loss), loss), axis=-1)


def make_loss(recipe: TrainConfig, train_labels: np.ndarray) -> BinaryCrossentropy:
    """The recipe's loss.

    wcel: W-CEL of Wang et al. (CVPR 2017, arXiv:1705.02315, eq. 1): positive labels weigh
    (|P| + |N|) / |P|, negative ones (|P| + |N|) / |N|, where |P| and |N| count the ones and zeros
    among the known labels of all classes. The paper counts them in each batch, here they are
    those of the training split, so that the loss doesn't change with the batch size.
    focal: Lin et al. (ICCV 2017, arXiv:1708.02002, eq. 4).

    train_labels: k-hot [N, C].
    """
    if recipe.loss == "wcel":
        known = train_labels[~np.isnan(train_labels)]
        doubt = 0.5 / max(known.size, 1)  # where all labels are alike
        share = float(np.clip(known.mean() if known.size else 0.5, doubt, 1 - doubt))
        return BinaryCrossentropy(1 / share, 1 / (1 - share), 0.0, recipe.label_smoothing)
    gamma = recipe.focal_gamma if recipe.loss == "focal" else 0.0
    return BinaryCrossentropy(gamma=gamma, label_smoothing=recipe.label_smoothing)

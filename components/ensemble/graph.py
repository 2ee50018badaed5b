"""Members and their combination as one TensorFlow graph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cxrflow.components.ensemble.combine import Combination
from cxrflow.components.ensemble.members import Member
from cxrflow.components.model.calibration import Calibration
from cxrflow.components.model.signatures import export
from cxrflow.schema.model_json import CompactFormat
from cxrflow.schema.portable.out_of_distribution import Detector


class Members(tf.Module):
    """Loaded members, which all see the same pixels."""

    def __init__(self, members: Sequence[Member]):
        super().__init__()
        self.image_size = members[0].image_size
        self.classes = len(members[0].calibration.slope)
        self._calibrations = [member.calibration for member in members]
        self._loaded = [tf.saved_model.load(str(member.folder)) for member in members]
        self.log_odds = tf.function(  # pixels [N, S, S, 3] -> calibrated log-odds [M, N, C]
            lambda pixels: self.calibrated(self.outputs(pixels)),
            input_signature=[tf.TensorSpec([None, self.image_size, self.image_size, 3])],
        )

    def outputs(self, pixels: tf.Tensor) -> list[dict[str, tf.Tensor]]:
        """What each one's `network` signature says about pixels float32 [N, S, S, 3], 0-255."""
        return [loaded.signatures["network"](image=pixels) for loaded in self._loaded]

    def calibrated(self, outputs: Sequence[dict[str, tf.Tensor]]) -> tf.Tensor:
        """Members' calibrated log-odds [M, N, C]."""
        return tf.stack(
            [
                calibration.log_odds(found["logits"])
                for calibration, found in zip(self._calibrations, outputs, strict=True)
            ]
        )


def export_ensemble(
    members: Members,
    combination: Combination,
    calibration: Calibration,
    compact: CompactFormat,
    folder: Path,
    detector: Detector | None = None,
) -> None:
    """Writes a SavedModel with all signatures of a Trainer's; see `signatures.export`.

    `logits` are the log-odds of the combined score. hard_vote also says `votes`, the fraction of
    members that vote for a class, and `majority`, 1 where it is more than half, float32 [N, C].
    """

    def network(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = members.outputs(pixels)
        maps = [found["attention"] for found in outputs]
        return combine(combination, members.calibrated(outputs)) | {
            "attention": mean_map(maps, combination.weights.tolist())
        }

    export(network, calibration, compact, members.image_size, folder, detector)


def combine(combination: Combination, log_odds: tf.Tensor) -> dict[str, tf.Tensor]:
    """`combine.score` of members' log-odds [M, N, C] as `logits` [N, C]; and the votes."""
    if combination.method == "mean_logits":
        return {"logits": tf.reduce_mean(log_odds, axis=0)}
    if combination.method == "max_vote":
        return {"logits": tf.reduce_max(log_odds, axis=0)}
    if combination.method == "hard_vote":
        members = len(combination.weights)
        assert combination.thresholds is not None
        thresholds = tf.constant(combination.thresholds[:, None], tf.float32)
        votes = tf.reduce_sum(tf.cast(log_odds >= thresholds, tf.float32), axis=0)
        return {
            "logits": tf.math.log((votes + 0.5) / (members - votes + 0.5)),
            "votes": votes / members,
            "majority": tf.cast(votes > members / 2, tf.float32),
        }
    if combination.method == "stacked":
        coefficients = tf.constant(combination.coefficients, tf.float32)
        intercepts = tf.constant(combination.intercepts, tf.float32)
        return {"logits": tf.einsum("mnc,mc->nc", log_odds, coefficients) + intercepts}
    weights = tf.constant(np.log(combination.weights)[:, None, None], tf.float32)
    yes, no = (
        tf.reduce_logsumexp(weights + tf.math.log_sigmoid(side), axis=0)
        for side in (log_odds, -log_odds)
    )
    return {"logits": yes - no}


def mean_map(maps: Sequence[tf.Tensor], weights: Sequence[float]) -> tf.Tensor:
    """Weighted mean of attention maps [N, h, w] or [N, h, w, C], as fine as the finest of them.

    One map for all classes counts for each of them where another member has one a class.
    """
    side = tuple(max(found.shape[axis] for found in maps) for axis in (1, 2))
    by_class = any(len(found.shape) == 4 for found in maps)
    total: Any = 0.0
    for found, weight in zip(maps, weights, strict=True):
        with_channels = found if len(found.shape) == 4 else found[..., None]
        total += float(weight) * tf.image.resize(with_channels, side)
    return total if by_class else total[..., 0]

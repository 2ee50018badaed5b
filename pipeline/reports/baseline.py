"""The floor that a trained model must clear: frozen ImageNet features and logistic regression."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.components.evaluate.scores import class_scores
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.features import SPLITS
from cxrflow.schema.portable.scores import mean_auc
from cxrflow.schema.progress import report

IMAGE_SIZE = 320  # pixels; better than 224 for these features
_BATCH = 16  # more doesn't make a CPU faster, only fuller
GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Baseline:
    """AUCs of the baseline."""

    c: float  # inverse strength of the L2 penalty that did best on eval
    eval_mean_auc: float
    test_auc: dict[str, float]  # by class; NaN where train or test lacks positives or negatives

    @property
    def test_mean_auc(self) -> float:
        """Mean over the classes that have an AUC; NaN if none has."""
        return mean_auc(self.test_auc.values())


def baseline(
    examples_dir: Path,
    classes: Sequence[str],
    encoding: str,
    compact_size: int,
    weights_dir: str = "",
    image_size: int = IMAGE_SIZE,
) -> Baseline:
    """Fits the baseline to a run's transformed examples; about 30 ms an image on 2 cores.

    Features are the global average of MobileNet 1.0's last map, with ImageNet weights.

    Args:
        examples_dir: Transform's `transformed_examples`, with Split-train, Split-eval, Split-test.
        classes: names in the order of the labels.
        encoding: of the compact images, "jpeg" or "raw".
        compact_size: their side in pixels.
        weights_dir: h5 file, or folder with Keras's file names; empty for Keras's download.
        image_size: what MobileNet sees, pixels.

    Raises:
        CxrflowError: a split or the weights are missing, or no class can be scored.
    """
    import keras

    from cxrflow.components.model.weights import backbone_with_weights
    from cxrflow.components.train.inputs import read_transformed, to_pixels

    backbone = backbone_with_weights("MobileNet", image_size, 1.0, "imagenet", weights_dir)
    network = keras.Model(
        backbone.inputs, keras.layers.GlobalAveragePooling2D()(backbone.outputs[0])
    )
    features, labels = {}, {}
    for split in SPLITS:
        found = [
            (network.predict(to_pixels(images), batch_size=_BATCH, verbose=0), k_hot)
            for images, k_hot in read_transformed(
                [str(examples_dir / f"Split-{split}" / "*")],
                encoding,
                compact_size,
                image_size,
                len(classes),
            )
        ]
        features[split] = np.concatenate([f for f, _ in found])
        labels[split] = np.concatenate([k for _, k in found])
    return fit_baseline(features, labels, classes)


def fit_baseline(
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    classes: Sequence[str],
    grid: Sequence[float] = GRID,
) -> Baseline:
    """One balanced logistic regression a class on standardised features, scored on test.

    Args:
        features: [N, D] by split.
        labels: k-hot [N, C] by split.
        classes: C names.
        grid: values of C to try; the best by mean AUC on eval is taken for all classes.

    Raises:
        CxrflowError: no class has positives and negatives in both train and eval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features["train"])
    x = {split: scaler.transform(features[split]) for split in SPLITS}
    best = None
    for number, c in enumerate(sorted(grid)):
        scores: dict[str, list[float]] = {"eval": [], "test": []}
        for i in range(len(classes)):
            y = labels["train"][:, i]
            model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
            model = model.fit(x["train"], y) if 0 < y.sum() < len(y) else None
            report(number * len(classes) + i + 1, len(grid) * len(classes), "fits")
            for split, aucs in scores.items():
                aucs.append(_auc(model, x[split], labels[split][:, i]))
        mean = mean_auc(scores["eval"])
        if math.isfinite(mean) and (best is None or mean > best.eval_mean_auc):
            best = Baseline(c, mean, dict(zip(classes, scores["test"], strict=True)))
    if best is None:
        raise CxrflowError(
            "No class has positives and negatives in both train and eval: the baseline needs more "
            "images."
        )
    return best


def _auc(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    return class_scores(y, model.decision_function(x))["auc"] if model else math.nan

"""What leaves for the device, and what its variants must keep of their source."""

from typing import Literal

from schema.settings import Positive, Rate, settings


@settings
class EdgeConfig:
    """The edge bundle. Differences are of probabilities from the source model's."""

    enabled: bool = True
    """Whether a blessed model also leaves as an edge bundle."""
    model: str = ""
    """A member's name or ensemble; empty: the first MobileNet member, else the pushed model."""
    calibration_images: Positive = 300
    """Training images from which int8 learns its ranges."""
    golden_images: Positive = 3
    """Eval images shipped with the answers that are right for them."""
    graph_weights: Literal["int16", "float32"] = "int16"
    """Of frozen_graph.pb and model.onnx.xz: int16 halves the files, float32 keeps all bits."""
    max_difference: Rate = 0.001
    """Float variants: largest difference of a probability from the source's."""
    max_auc_loss: Rate = 0.01
    """Quantized variants: largest loss of the mean AUC on eval."""
    evaluation_images: Positive = 2000
    """Eval images that variants are compared on, at most; whole patients."""
    draws: Positive = 200
    """Bootstrap samples of patients for the intervals."""
    keep_versions: Positive = 5
    """Pushed bundles that stay."""

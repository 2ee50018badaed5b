"""What leaves for the device, and what its variants must keep of their source."""

from typing import Literal

from schema.settings import Positive, Rate, settings


@settings
class EdgeConfig:
    """The edge bundle. Differences are of probabilities from the source model's."""

    enabled: bool = True
    # "": the first MobileNet member, else the pushed model. "ensemble", or a member's name.
    model: str = ""
    calibration_images: Positive = 300  # of train, from which int8 learns its ranges
    golden_images: Positive = 3  # of eval, shipped with the answers that are right for them
    graph_weights: Literal["int16", "float32"] = "int16"  # frozen_graph.pb, model.onnx.xz: 16 bits
    max_difference: Rate = 0.001  # float variants: the largest, over all images and classes
    max_auc_loss: Rate = 0.01  # quantized variants: of the mean AUC on eval
    evaluation_images: Positive = 2000  # of eval at most, whole patients
    draws: Positive = 200  # bootstrap samples of patients for the AUC intervals
    keep_versions: Positive = 5  # of the pushed bundles

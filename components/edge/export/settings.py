"""What leaves for the device, and what its variants must keep of their source."""

from typing import Annotated, Literal

from pydantic import Field

from cxrflow.schema.settings import Count, Fraction, Positive, Rate, settings

Folds = Annotated[int, Field(ge=2)]


@settings
class EdgeConfig:
    """The edge bundle. Differences are of probabilities from the source model's."""

    enabled: bool = True
    """Whether a blessed model also leaves as an edge bundle."""
    model: str = ""
    """A member's name or ensemble; empty: the first MobileNet member, else the pushed model."""
    calibration_images: Positive = 300
    """Training images from which int8 learns its ranges."""
    int8_float_layers: Count = 7
    """int8: first convolutions that compute in float32, a third of all at most."""
    golden_images: Positive = 3
    """Eval images shipped with each variant's own answers."""
    golden_candidates: Positive = 24
    """Eval images of which the golden ones are those least alike."""
    golden_tolerance: Rate = 0.001
    """Float variants: how far a device's probability may be from the host's by the same file."""
    golden_tolerance_quantized: Rate = 0.01
    """Quantized variants: how far a device's probability may be from the host's by one file."""
    golden_tolerance_older: Rate = 0.05
    """How far it may be on runtimes older than ai-edge-litert: tflite-runtime 2.7 was .031 off."""
    graph_weights: Literal["int16", "float32"] = "int16"
    """Weights of frozen_graph.pb and model.onnx.xz: int16 halves them, float32 keeps all bits."""
    max_difference: Rate = 0.001
    """Float variants: largest difference of a probability from the source's."""
    max_auc_loss: Rate = 0.01
    """Quantized variants: largest loss of the mean AUC on eval."""
    max_decision_change_int8: Fraction = 0.02
    """int8: largest share of decisions on eval that aren't the source's, at any operating point."""
    max_decision_change_dynamic: Fraction = 0.03
    """Dynamic range: the same."""
    max_class_decision_change: Fraction = 0.06
    """Quantized variants: the same of each class."""
    decision_folds: Folds = 5
    """Parts of the patients, to see what a variant's own thresholds do to others."""
    evaluation_images: Positive = 2000
    """Eval images that variants are compared on, at most; whole patients."""
    draws: Positive = 200
    """Bootstrap samples of patients for the intervals."""
    answer_seconds: Rate = 600.0
    """Longest wait for a variant's first answer, and from each to the next; then it is killed."""
    keep_versions: Positive = 5
    """Pushed bundles that stay."""


@settings
class EdgeExportSettings:
    """Settings of EdgeExport."""

    edge: EdgeConfig
    """How many images, how weights are stored, what variants must keep."""
    synthetic: bool
    """The images are phantoms."""

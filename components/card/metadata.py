"""metadata.json of a model: see schema/metadata_json.py."""

from typing import Any

from cxrflow.components.card.evidence import Evidence
from cxrflow.components.localise.report import Figure

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
_NO_TORCH = "none: a TensorFlow SavedModel"
REFERENCES = (
    "Wang X. et al.: ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on "
    "Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017.",
)


def metadata(evidence: Evidence) -> dict[str, Any]:
    """The fields of metadata.json, which `metadata_faults` finds nothing wrong with."""
    info, said = evidence.info, evidence.settings.card
    names = ", ".join(info.classes)
    synthetic = "; trained on synthetic X-rays" if info.synthetic else ""
    return {
        "schema": SCHEMA,
        "version": f"{evidence.versions['cxrflow']}+{info.code or 'unknown'}",
        "monai_version": _NO_TORCH,
        "pytorch_version": _NO_TORCH,
        "numpy_version": evidence.versions["numpy"],
        "required_packages_version": {"tensorflow": evidence.versions["tensorflow"]},
        "task": "Multi-label classification of frontal chest X-rays",
        "description": f"{info.name}: the calibrated probability of each of {len(info.classes)} "
        f"findings on a chest X-ray{synthetic}. Not a medical device.",
        "authors": said.authors,
        "copyright": said.copyright,
        "data_source": "synthetic X-rays of `cxrflow data phantom`"
        if info.synthetic
        else said.data_source,
        "data_type": "PNG or JPEG",
        "image_classes": "one gray channel, 0 is black",
        "label_classes": f"k-hot in this order: {names}",
        "pred_classes": f"a probability each, in this order: {names}",
        "intended_use": f"{said.intended_use} Not for: {said.not_for}",
        "references": [] if info.synthetic else list(REFERENCES),
        "synthetic": info.synthetic,
        "data_version": info.data,
        "code_version": info.code,
        "members": [
            {"name": one.name, "backbone": one.backbone, "head": one.head, "weight": one.weight}
            for one in info.members
        ],
        "eval_metrics": _metrics(evidence),
        **_formats(evidence),
    }


def _metrics(evidence: Evidence) -> dict[str, Any]:
    figures = evidence.figures
    return {
        "split": figures.split,
        "blessed": figures.blessed,
        "mean_auc": figures.mean_auc,
        "intervals": "95 %, patients resampled" if figures.has_intervals else "none",
        "classes": {
            item.result.name: {
                "positives": item.result.positives,
                "negatives": item.result.negatives,
                "auc": item.result.auc,
                "auc_interval": _interval(item.auc),
                "auprc": item.result.auc_precision_recall,
                "ece": item.result.ece,
                "brier": item.result.brier_score,
                "gate": item.status,
            }
            for item in figures.classes
        },
    }


def _interval(estimate: Figure) -> list[float] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return [estimate.low, estimate.high]


def _formats(evidence: Evidence) -> dict[str, Any]:
    """What the signatures take and give; axes are N, height, width, channels."""
    info, attention = evidence.info, evidence.outputs.attention
    probabilities = _tensor(
        "probabilities", "classes", len(info.classes), [], [0, 1], dict(enumerate(info.classes))
    )
    pixels = _tensor(
        "image",
        "magnitude",
        3,
        [info.image_size] * 2,
        [0, 255],
        {i: "gray, the same in all three" for i in range(3)},
        modality="X-ray",
    )
    encoded = {
        **_tensor("image", "encoded PNG or JPEG", 1, ["*", "*"], [], {0: "gray or colour"}),
        "dtype": "string",
        "modality": "X-ray",
    }
    outputs = {"probabilities": probabilities}
    network = {"signature": "pixels", "inputs": {"image": pixels}, "outputs": outputs}
    if info.out_of_distribution:
        names = {0: f"above {info.out_of_distribution.threshold:.6g}: maybe no chest X-ray"}
        unlike = _tensor("series", "squared Mahalanobis distance", 1, [], [], names)
        outputs = {**outputs, "out_of_distribution": unlike}
    serving = {"inputs": {"image_bytes": encoded}, "outputs": outputs}
    found = {
        "network_data_format": network,
        "serving_data_format": {"signature": "serving_default", **serving},
    }
    if attention:
        rows, columns, *classes = attention
        channels = dict(enumerate(info.classes)) if classes else {0: "all classes"}
        spread = _tensor("image", "magnitude", len(channels), [rows, columns], [0, 1], channels)
        found["attention_data_format"] = {
            "signature": "attention",
            **serving,
            "outputs": {"attention": spread, **outputs},
        }
    return found


def _tensor(
    kind: str,
    form: str,
    channels: int,
    shape: list[int] | list[str],
    values: list[float],
    names: dict[int, str],
    modality: str = "n/a",
) -> dict[str, Any]:
    return {
        "type": kind,
        "format": form,
        "modality": modality,
        "num_channels": channels,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": values,
        "is_patch_data": False,
        "channel_def": {str(i): name for i, name in names.items()},
    }

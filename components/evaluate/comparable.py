"""Whether a model can be compared with another one on the same examples, and why not."""

from cxrflow.schema.model_json import ModelJson

# By field of model.json in which both must agree.
_OTHERS = {
    "classes": "it tells other classes",
    "compact": "it takes images of another form (transform)",
    "synthetic": "it or this model was trained on synthetic X-rays",
}


def why_not(model: ModelJson, other: ModelJson) -> str:
    """Why `other` can't be compared with `model` on what is test for that; empty where it can."""
    reasons = [
        said for name, said in _OTHERS.items() if getattr(model, name) != getattr(other, name)
    ]
    if model.split != other.split:
        reasons.append(
            f"its X-rays were split otherwise ({other.split or 'unknown'}; now "
            f"{model.split or 'unknown'}), so that it may have learned from this test split"
        )
    return ", and ".join(reasons)

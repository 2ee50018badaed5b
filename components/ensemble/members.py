"""Which trained models an ensemble is made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.components.evaluate.verdict import FILE_NAME, read_verdict
from cxrflow.components.model.assets import load_detector
from cxrflow.components.model.calibration import Calibration
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.model_json import OutOfDistribution, read_trained
from cxrflow.schema.portable.out_of_distribution import Detector


@dataclass(frozen=True)
class Member:
    """A trained model that passed its gate."""

    name: str
    backbone: str
    head: str
    folder: Path  # SavedModel
    image_size: int  # pixels
    calibration: Calibration
    # Of what is no chest X-ray, with its threshold; None where the model gives no such score.
    detector: Detector | None = None
    out_of_distribution: OutOfDistribution | None = None


@dataclass(frozen=True)
class LeftOut:
    """A trained model that didn't, and why."""

    name: str
    reason: str


def read_members(
    models: Iterable[Path], verdicts: Iterable[Path], classes: Sequence[str]
) -> tuple[list[Member], list[LeftOut]]:
    """Those who passed their gate and those who didn't, each in the order of `models`.

    Args:
        models: SavedModel folders.
        verdicts: folders with `verdict.json`, in any order; matched by the model's name.
        classes: what all must tell, in this order.

    Raises:
        CxrflowError: models share a name, lack a verdict, differ in their classes or image size, or
            none passed.
    """
    judged = {verdict.name: verdict for verdict in (read_verdict(v / FILE_NAME) for v in verdicts)}
    members: list[Member] = []
    left_out: list[LeftOut] = []
    for folder in models:
        info = read_trained(folder)
        name = info.name
        if name in {m.name for m in members} | {other.name for other in left_out}:
            raise CxrflowError(f"two models are named {name}: give each its own name under models")
        if name not in judged:
            raise CxrflowError(f"there is no verdict on {name}: its gate hasn't run")
        if info.classes != tuple(classes):
            raise CxrflowError(
                f"{name} tells {', '.join(info.classes)}; an ensemble's members all tell "
                f"{', '.join(classes)}: train it anew with these classes"
            )
        if not judged[name].blessed:
            first, *more = judged[name].reasons
            left_out.append(LeftOut(name, first + (f" (and {len(more)} more)" if more else "")))
            continue
        members.append(
            Member(
                name=name,
                backbone=info.members[0].backbone,
                head=info.members[0].head,
                folder=folder,
                image_size=info.image_size,
                calibration=Calibration.from_json(info.calibration, classes),
                detector=load_detector(folder, info),
                out_of_distribution=info.out_of_distribution,
            )
        )
    if not members:
        reasons = "; ".join(f"{model.name}: {model.reason}" for model in left_out)
        raise CxrflowError(
            f"no member passed its eval gate, so that there is no ensemble: {reasons}"
        )
    if len({member.image_size for member in members}) > 1:
        sizes = ", ".join(f"{member.name} {member.image_size}" for member in members)
        raise CxrflowError(
            f"members see images of different sizes ({sizes}), but an ensemble resizes each image "
            "once: give all one train.image_size"
        )
    return members, left_out

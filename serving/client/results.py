"""What becomes of an image: an answer, or why there is none."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cxrflow.schema.classes import CLASSES_14, DEFAULT_CLASSES
from cxrflow.schema.model_json import ModelJson
from cxrflow.schema.text import written

if TYPE_CHECKING:
    from cxrflow.schema.dicom.render import DicomIdentity

SYNTHETIC = "the model was trained on synthetic X-rays: its answers say nothing about real ones"
GUESSED = "the server doesn't tell its classes: they are taken for NIH's {}; --root DIR names them"
NUMBERED = "the server doesn't tell its {} classes: they are numbered; --root DIR names them"


UNLIKE = (
    "this may be no chest X-ray like those that the model was trained on: "
    "out of distribution, {:.4g} (up to {:.4g} is usual)"
)
_LARGEST = 3.4e38  # about float32's


class Peak(NamedTuple):
    """The middle of a map's highest cell, in shares of the image's width and height."""

    x: float
    y: float


@dataclass(frozen=True)
class Model:
    """A version of a model; what is known of it."""

    name: str
    version: int
    classes: tuple[str, ...]  # in the order of the outputs
    thresholds: tuple[float | None, ...]  # None where the model has none
    synthetic: bool | None = None  # trained on phantoms; None: not known
    notes: tuple[str, ...] = ()
    # Up to this score an image is like those of the training; None where it isn't known.
    usual_score: float | None = None


@dataclass(frozen=True)
class Finding:
    """One class of one image."""

    name: str
    probability: float  # calibrated
    threshold: float | None

    @property
    def positive(self) -> bool | None:
        """Whether the probability reaches the threshold; None without one."""
        return None if self.threshold is None else self.probability >= self.threshold


@dataclass(frozen=True)
class Answer:
    """What the model says about an image."""

    source: str
    model: Model
    findings: tuple[Finding, ...]  # in the model's order
    size: tuple[int, int]  # width and height of what was sent, pixels
    notes: tuple[str, ...] = ()  # what was done to the image, and what to know about the model
    # float32 [h, w], or [h, w, C] for maps by class, in (0, 1); over the square that has the image
    # in its middle.
    attention: np.ndarray | None = None
    dicom: "DicomIdentity | None" = None  # of a DICOM: by what a PACS knows it
    # How unlike the training X-rays the image is, 0 and up; None where the model doesn't tell.
    out_of_distribution_score: float | None = None

    @property
    def out_of_distribution(self) -> bool | None:
        """Whether the image is taken for no chest X-ray like the model's; None: it isn't known."""
        score, usual = self.out_of_distribution_score, self.model.usual_score
        return None if score is None or usual is None else score > usual

    @property
    def doubt(self) -> str:
        """What makes the image doubtful, in plain words; empty where nothing does."""
        if not self.out_of_distribution:
            return ""
        return UNLIKE.format(self.out_of_distribution_score, self.model.usual_score)

    def ranked(self) -> list[Finding]:
        """The findings by their probability as a multiple of their threshold, highest first.

        So positive ones come before all others. Those without a threshold come last, the most
        probable first.
        """
        return sorted(self.findings, key=_rank)

    def peak(self) -> Peak | None:
        """Where attention is highest; of maps by class, in that of the most probable class."""
        if self.attention is None:
            return None
        found = self.attention
        if found.ndim == 3:
            found = found[..., int(np.argmax([f.probability for f in self.findings]))]
        row, column = np.unravel_index(int(np.argmax(found)), found.shape)
        width, height = self.size
        rows, columns = found.shape
        return Peak(
            _in_image((int(column) + 0.5) / columns, width / max(self.size)),
            _in_image((int(row) + 0.5) / rows, height / max(self.size)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; probabilities keep what float32 holds."""
        values: dict[str, Any] = {
            "file": written(self.source),
            "model": self.model.name,
            "version": self.model.version,
            "synthetic": self.model.synthetic,
            "findings": [
                {
                    "class": finding.name,
                    "probability": round(finding.probability, 7),
                    "threshold": finding.threshold,
                    "positive": finding.positive,
                }
                for finding in self.findings
            ],
            "out_of_distribution": self.out_of_distribution,
            "out_of_distribution_score": _rounded(self.out_of_distribution_score),
            "out_of_distribution_threshold": self.model.usual_score,
            "notes": list(self.notes),
        }
        if self.dicom is not None:
            values["dicom"] = asdict(self.dicom)
        if self.attention is not None:
            values["attention"] = self.attention.astype(float).round(4).tolist()
        return values


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    source: str
    reason: str  # one line
    code: str = "INVALID_ARGUMENT"  # gRPC's; this one too where the client refuses the image

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"file": written(self.source), "error": self.reason, "code": self.code}


Result = Answer | Failure


def _rounded(score: float | None) -> float | None:
    """A score as float32 holds it; JSON has no infinity."""
    return None if score is None else float(f"{min(score, _LARGEST):.7g}")


def _rank(finding: Finding) -> tuple[bool, bool, float]:
    if finding.threshold is None:
        return True, True, -finding.probability
    multiple = finding.probability / finding.threshold if finding.threshold else math.inf
    return not finding.positive, False, -multiple


def _in_image(share: float, part: float) -> float:
    """A share of the square's side as one of the image's, which takes `part` of it."""
    return min(max((share - 0.5) / part + 0.5, 0.0), 1.0)


def describe_model(
    name: str, version: int, count: int, info: ModelJson | None, point: str
) -> Model:
    """A model of `count` outputs, given its model.json if that is known.

    Args:
        name: the model's.
        version: its version.
        count: of classes.
        info: model.json.
        point: which operating point's thresholds: youden, sensitivity or specificity.
    """
    if info is not None and len(info.classes) == count:
        thresholds = tuple(info.threshold(one, point) for one in info.classes)
        notes = (SYNTHETIC,) if info.synthetic else ()
        unlike = info.out_of_distribution
        usual = None if unlike is None else unlike.threshold
        return Model(name, version, info.classes, thresholds, info.synthetic, notes, usual)
    guesses = {len(classes): classes for classes in (DEFAULT_CLASSES, CLASSES_14)}
    classes = guesses.get(count, tuple(f"class {i}" for i in range(1, count + 1)))
    note = (GUESSED if count in guesses else NUMBERED).format(count)
    return Model(name, version, classes, (None,) * count, notes=(note,))

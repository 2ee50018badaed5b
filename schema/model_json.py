"""assets.extra/model.json of a SavedModel: what it holds, and how it is read and written.

A bundle's own model.json, which the device reads, is another document: see edge/description.py.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from cxrflow.schema.errors import CxrflowError, unreadable

MODEL_JSON = Path("assets.extra", "model.json")
FORMAT = 2  # of what is written; files without a number are of format 1 and have the same fields

_NO_CLASSES = 'has no "classes": [NAME, ...], each once'

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1)]
# `threshold`, from which probability on an image counts as positive; the `sensitivity` and
# `specificity` that it has on eval; and the `target` of the one that the point is named after.
OperatingPoint = Mapping[str, _Finite]
# `slope` and `intercept`: calibrated log-odds are slope × logits + intercept.
Slope = Mapping[str, _Finite]


@dataclass(frozen=True)
class CompactFormat:
    """The compact image that Transform writes."""

    image_size: int  # pixels, square
    encoding: str  # jpeg or raw
    jpeg_quality: int


@dataclass(frozen=True)
class Member:
    """A network of the model."""

    name: str = ""
    backbone: str = ""
    head: str = ""
    weight: _Finite = 1.0  # all members' sum to 1


@dataclass(frozen=True)
class OutOfDistribution:
    """When an image is taken for no chest X-ray like those of the training."""

    threshold: _Finite  # flagged if the output out_of_distribution is above it
    quantile: _Finite = 0.0  # of eval's scores, which the threshold is
    training_images: int = 0  # that the score was fitted on
    eval_images: int = 0  # that the threshold was fitted on


@dataclass(frozen=True)
class ModelJson:
    """What a model says about itself; one made elsewhere may say no more than its classes."""

    classes: Annotated[tuple[_Text, ...], Field(min_length=1)]  # in the order of the outputs
    name: str = ""  # within its pipeline
    image_size: int = 0  # what the network sees, pixels
    compact: CompactFormat | None = None  # the transformed images that it takes
    members: tuple[Member, ...] = ()
    ensemble: Mapping[str, Any] | None = None  # how members are combined; None where there is one
    calibration: Mapping[str, Slope] = field(default_factory=dict)  # by class
    # By class and name (youden, sensitivity, specificity); None where data were too few for a
    # class, or where no threshold reaches the target.
    thresholds: Mapping[str, Mapping[str, OperatingPoint | None] | None] = field(
        default_factory=dict
    )
    # None where the model gives no such score: it was switched off, or the model is older.
    out_of_distribution: OutOfDistribution | None = None
    taught_by: str = ""  # the model whose word it learned beside the labels; empty: none
    data: str = ""  # version of the data that it was trained on
    split: str = ""  # what decided which of them are test, in words; empty: unknown
    code: str = ""  # version of the code that made it
    synthetic: bool = False  # trained on phantoms

    def threshold(self, name: str, point: str) -> float | None:
        """The threshold of a class at an operating point; None where it has none."""
        found = (self.thresholds.get(name) or {}).get(point)
        return None if found is None else found.get("threshold")

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the format's number."""
        return asdict(self)


class BadModelJson(CxrflowError):
    """A model.json that isn't read; its text goes on from the file's name: "is no JSON"."""


class NewerFormat(BadModelJson):
    """A model.json of a later cxrflow."""


_ADAPTER = TypeAdapter(ModelJson)
_MADE = ("name", "image_size", "compact", "members")


def read_model_json(saved_model: Path) -> ModelJson:
    """model.json of a SavedModel folder.

    Raises:
        CxrflowError: there is none, or it isn't read; see `parse_model_json`.
    """
    path = saved_model / MODEL_JSON
    try:
        return parse_model_json(path.read_bytes())
    except FileNotFoundError:
        raise CxrflowError(
            f"{saved_model} has no {MODEL_JSON}: it is no model of cxrflow"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except BadModelJson as error:
        raise type(error)(f"{path} {error}") from None


def read_trained(saved_model: Path) -> ModelJson:
    """Reads model.json of a model that a Trainer or the ensemble of cxrflow made.

    Raises:
        CxrflowError: as `read_model_json`, or it lacks what they write.
    """
    found = read_model_json(saved_model)
    if missing := [name for name in _MADE if not getattr(found, name)]:
        raise CxrflowError(
            f"{saved_model / MODEL_JSON} lacks {', '.join(missing)}: name a model that cxrflow made"
        )
    return found


def write_model_json(saved_model: Path, info: ModelJson) -> None:
    """Adds model.json to a SavedModel folder."""
    path = saved_model / MODEL_JSON
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"format": FORMAT, **info.to_json()}, indent=2, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def parse_model_json(text: str | bytes) -> ModelJson:
    """What a model.json of this format or an older one says; fields that it adds are passed over.

    Raises:
        NewerFormat: it is of a newer one.
        BadModelJson: it is no JSON object, doesn't name its classes each once, or a field isn't
            of its form.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise BadModelJson("is no JSON") from None
    if not isinstance(found, dict):
        raise BadModelJson("is no JSON object")
    _refuse_newer(found.get("format", 1))
    try:
        info = _ADAPTER.validate_json(text, strict=True)
    except ValidationError as error:
        raise BadModelJson(_mistake(error)) from None
    if len(set(info.classes)) < len(info.classes):
        raise BadModelJson(_NO_CLASSES)
    return info


def _mistake(error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:  # pydantic's parser refuses what Python's takes, such as half a surrogate
        return "is no JSON"
    if first["loc"][0] == "classes":
        return _NO_CLASSES
    return f"has a bad {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def _refuse_newer(number: Any) -> None:
    if type(number) is not int or number < 1:
        raise BadModelJson(f"has the format {number!r}, which is no number of one")
    if number > FORMAT:
        raise NewerFormat(
            f"is of format {number}, of a newer cxrflow than this one, which reads {FORMAT} and "
            "older: update it"
        )

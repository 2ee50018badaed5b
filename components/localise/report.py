"""localisation.json: how well a model's attention maps find radiologists' boxes.

{"format": 1, "model": "ensemble", "split": "test", "map": "class", "classes": [...], ...}; the
fields are those of `Localisation` and of what it holds. A figure that isn't to be had is null.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from cxrflow.schema.errors import CxrflowError, unreadable
from cxrflow.schema.files import write_whole

FILE_NAME = "localisation.json"
FORMAT = 1
# random_box: a random point, and the model's boxes moved to random places; centre_prior: a Gaussian
# in the middle; random_weights: the same network, each layer's weights shuffled (Adebayo et al.,
# NeurIPS 2018).
CONTROLS = ("random_box", "centre_prior", "random_weights")


@dataclass(frozen=True)
class Figure:
    """A figure with the 95 % interval of a bootstrap of patients; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Control:
    """A control's figure, and how much higher the model's is."""

    value: float | None
    difference: Figure  # paired


@dataclass(frozen=True)
class Score:
    """The model's figure beside each control's."""

    model: Figure
    controls: Mapping[str, Control]  # by the names of CONTROLS


@dataclass(frozen=True)
class Overlap:
    """At one T(IoBB): IoBB is the share of a predicted box that lies in a true one."""

    threshold: float
    accuracy: Score  # share of true boxes that a predicted one lies in
    false_positives: Score  # predicted boxes in no true one, mean of images


@dataclass(frozen=True)
class ClassScore:
    """One class on the X-rays that have boxes of it."""

    name: str  # or "all classes"
    images: int
    patients: int
    boxes: int
    pointing: Score  # share of X-rays on which the map's highest place lies in a box
    share_in_boxes: Score  # of the map's sum, mean of X-rays
    share_in_body: Score
    overlaps: tuple[Overlap, ...]
    likeness: float | None  # mean rank correlation with the map of randomised weights: 1 is bad


@dataclass(frozen=True)
class LeftOut:
    """Boxes that weren't scored."""

    boxes: int
    reason: str
    images: tuple[str, ...] = ()  # names of the first ones


@dataclass(frozen=True)
class Localisation:
    """What the node found."""

    model: str
    synthetic: bool  # the X-rays are phantoms
    split: str
    boxes: str  # the list's file name
    map: Literal["class", "shared"]  # one map a class, or one for all
    cells: tuple[int, int]  # of a map, rows and columns
    intensities: tuple[int, ...]
    draws: int
    classes: tuple[ClassScore, ...]  # the last is "all classes", where there are several
    left_out: tuple[LeftOut, ...] = ()
    format: int = field(default=FORMAT)

    def of(self, name: str) -> ClassScore | None:
        """The scores of a class; None where it has no boxes."""
        return next((one for one in self.classes if one.name == name), None)


_ADAPTER = TypeAdapter(Localisation)


def write_localisation(found: Localisation, directory: Path) -> Path:
    """Writes `localisation.json`, whole or not at all, and returns its path."""
    path = directory / FILE_NAME
    write_whole(path, json.dumps(asdict(found), indent=1, allow_nan=False) + "\n")
    return path


def read_localisation(directory: Path) -> Localisation:
    """Reads `localisation.json`.

    Raises:
        CxrflowError: the file is missing, or is of another form.
    """
    path = directory / FILE_NAME
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None
    except ValidationError as error:
        raise CxrflowError(f"{path} isn't read ({_first(error)}): run the pipeline again") from None


def _first(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")

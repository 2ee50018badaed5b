"""Boxes that radiologists drew around findings: BBox_List_2017.csv."""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import BadTable, read_text, records, same_name, shown

PATTERN = "BBox_List_2017*.csv*"
SIDE = 1024  # pixels of the originals that the coordinates are of
_CLASS_NAMES = {"Infiltrate": "Infiltration"}  # where the list's name isn't the label table's


@dataclass(frozen=True)
class Box:
    """A rectangle in the coordinates of an original of 1024 × 1024 pixels."""

    name: str  # of the class
    x: float  # left
    y: float  # top
    width: float
    height: float


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Boxes by image name (in the form of `same_name`) from a CSV of that layout, also gzipped.

    Its header cuts "Bbox [x,y,w,h]" into four columns, so columns go by position.

    Raises:
        CxrflowError: the file can't be read, or has another layout or a box that is none.
    """
    boxes = defaultdict(list)
    try:
        name = shown(str(path), len(str(path)))
        rows = records(read_text(str(path), "a list of boxes", unpack=True), name)
        filled = [(line, row) for line, _, row in rows if any(value.strip() for value in row)]
        for line, row in filled[1:]:
            image, box = _box(row)
            if box is None:
                raise BadTable(
                    f"{name} is no list of boxes (image, class, x, y, w, h): line {line}: "
                    f"'{shown(','.join(row))}'"
                )
            boxes[image].append(box)
    except BadTable as error:
        raise CxrflowError(str(error)) from None
    return dict(boxes)


def _box(row: list[str]) -> tuple[str, Box | None]:
    """Image and box of a row; None where it has none."""
    try:
        image, name = (same_name(value) for value in row[:2])
        x, y, width, height = (float(value) for value in row[2:6])
    except ValueError:
        return "", None
    good = (
        image
        and name
        and all(map(math.isfinite, (x, y)))
        and 0 < width < math.inf
        and 0 < height < math.inf
    )
    return image, Box(_CLASS_NAMES.get(name, name), x, y, width, height) if good else None


def find_boxes(image: Path) -> Path | None:
    """The list in the data folder that an image lies in, in any of Kaggle's layouts."""
    found = (boxes_in(folder) for folder in image.resolve().parents[:3])
    return next((path for path in found if path), None)


def boxes_in(folder: Path) -> Path | None:
    """The list right in a folder; None where there is none."""
    return next(iter(sorted(folder.glob(PATTERN))), None)

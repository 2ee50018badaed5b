"""Boxes that radiologists drew around findings: BBox_List_2017.csv."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from schema.errors import CxrflowError

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
    """Boxes by image name from a CSV of that layout, plain or gzipped.

    Its header cuts "Bbox [x,y,w,h]" into four columns, so columns go by position.

    Raises:
        CxrflowError: the file is missing or has another layout.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, usecols=range(6), header=0, names=range(6))
        table[[2, 3, 4, 5]] = table[[2, 3, 4, 5]].astype(float)
    except (OSError, ValueError) as error:
        raise CxrflowError(
            f"{path} is no list of boxes (image, class, x, y, w, h): {error}"
        ) from None
    boxes = defaultdict(list)
    for image, name, *place in table.itertuples(index=False):
        boxes[image].append(Box(_CLASS_NAMES.get(name, name), *place))
    return dict(boxes)


def find_boxes(image: Path) -> Path | None:
    """The list in the data folder that an image lies in, in any of Kaggle's layouts."""
    for folder in image.resolve().parents[:3]:
        if found := sorted(folder.glob(PATTERN)):
            return found[0]
    return None

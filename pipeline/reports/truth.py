"""What is known of an X-ray from the data folder that it lies in: its labels and its boxes."""

from pathlib import Path

from cxrflow.components.ingest.folder import TABLES
from cxrflow.components.ingest.table import read_table
from cxrflow.components.localise.boxes import Box, find_boxes, read_boxes
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.portable.label_table import same_name

Labels = dict[str, tuple[str, ...]]  # image, by `same_name` -> findings, empty for No Finding


class Truth:
    """Labels and boxes of images, each list read once.

    A list that was found but can't be read is left out, with a line in `notes`; one that was asked
    for raises.
    """

    def __init__(self, boxes: Path | None = None) -> None:
        """boxes: a list for all images; None takes the one in each image's data folder.

        Raises:
            CxrflowError: `boxes` is missing or no list of boxes.
        """
        self.notes: list[str] = []
        self._boxes = read_boxes(boxes) if boxes else None
        self._lists: dict[Path, dict[str, list[Box]]] = {}
        self._tables: dict[Path, Labels] = {}

    def boxes(self, image: Path) -> list[Box]:
        """The boxes that radiologists drew on an image."""
        if self._boxes is not None:
            return self._boxes.get(same_name(image.name), [])
        path = find_boxes(image)
        if path and path not in self._lists:
            try:
                self._lists[path] = read_boxes(path)
            except CxrflowError as error:
                self._lists[path] = {}
                self.notes.append(f"no boxes: {error}")
        return self._lists[path].get(same_name(image.name), []) if path else []

    def labels(self, image: Path) -> tuple[str, ...] | None:
        """The findings of an image, empty for No Finding; None where no table lists it."""
        path = _find_table(image)
        if path and path not in self._tables:
            try:
                rows = read_table(path).rows
                self._tables[path] = dict(zip(rows["image_id"], rows["findings"], strict=True))
            except CxrflowError as error:
                self._tables[path] = {}
                self.notes.append(f"no labels: {error}")
        return self._tables[path].get(same_name(image.name)) if path else None


def _find_table(image: Path) -> Path | None:
    """The table of the data folder that an image lies in, in any of Kaggle's layouts."""
    for folder in image.resolve().parents[:3]:
        for pattern in TABLES:
            if found := sorted(path for path in folder.glob(pattern) if path.is_file()):
                return found[0]
    return None

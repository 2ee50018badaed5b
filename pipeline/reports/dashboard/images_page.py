"""Pages of X-rays: where the model looks, and its most confident mistakes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrflow.components.localise.boxes import Box
from cxrflow.components.score.files import Scores
from cxrflow.pipeline.reports.dashboard.blocks import (
    Block,
    Case,
    Cases,
    Missing,
    Picture,
    Section,
    Text,
    finding,
)
from cxrflow.pipeline.reports.dashboard.evidence import NO_SCORES, Evidence
from cxrflow.pipeline.reports.dashboard.localisation_table import localisation_blocks
from cxrflow.pipeline.reports.dashboard.operating import thresholds
from cxrflow.pipeline.reports.dashboard.xrays import (
    LARGE,
    SMALL,
    as_pixels,
    attention_maps,
    picture,
    read_compact,
)
from cxrflow.pipeline.reports.explain import find_model
from cxrflow.pipeline.reports.truth import Truth
from cxrflow.schema.errors import CxrflowError
from cxrflow.schema.progress import report as report_progress
from cxrflow.schema.text import visible

FOLDER = "images"  # of the pictures, beside the pages
_OTHERS = 6  # of a patient's other images that are shown


@dataclass(frozen=True)
class Shown:
    """One X-ray on a page: the image at `row` of the scores, because of the class at `place`."""

    row: int
    place: int
    why: str = ""


@dataclass
class Album:
    """Pictures of one split's X-rays, each written once. `files`: name -> JPEG."""

    read: Scores
    pixels: Mapping[str, np.ndarray]  # by image id
    maps: Mapping[str, np.ndarray]
    boxes: Callable[[str], Sequence[Box]]
    files: dict[str, bytes] = field(default_factory=dict)

    def xray(self, row: int, side: int = LARGE) -> str:
        """The file of the X-ray alone."""
        name = self._name(row, str(side))
        if name not in self.files:
            self.files[name] = picture(self.pixels[self._id(row)], side)
        return name

    def mapped(self, row: int, place: int, boxes: Sequence[Box]) -> str | None:
        """The file of the X-ray with the map of a class; None where there is no map."""
        attention = self.maps.get(self._id(row))
        if attention is None:
            return None
        name = self._name(row, f"map-{place}")
        if name not in self.files:
            of_class = attention[..., place] if attention.ndim == 3 else attention
            self.files[name] = picture(self.pixels[self._id(row)], LARGE, of_class, boxes)
        return name

    def _id(self, row: int) -> str:
        return str(self.read.images.image_id[row])

    def _name(self, row: int, what: str) -> str:
        number = hashlib.sha256(self._id(row).encode()).hexdigest()[:12]
        return f"{FOLDER}/{number}-{what}.jpg"


def image_pages(found: Evidence) -> tuple[list[Section], list[Section], dict[str, bytes]]:
    """Sections of the attention gallery and of the mistakes, and the pictures' files."""
    read = found.scored("test")
    scored = tuple(localisation_blocks(found.run))
    localised = Section("Do the maps find what radiologists boxed?", scored)
    if read is None or not len(read.images):
        return _nothing(found.lacking("scores", NO_SCORES), localised)
    right = [one for one in (_surest(read, place) for place in range(len(found.classes))) if one]
    wrong = {place: _mistakes(read, place) for place in range(len(found.classes))}
    large = [*right, *(one for each in wrong.values() for one in each)]
    rows = {one.row for one in large}
    others = {one.row: _same_patient(read, one.row) for each in wrong.values() for one in each}
    why = "Transform's output isn't in the run's folder any more."
    try:
        pixels = _pixels(found, read, rows | {row for each in others.values() for row in each})
    except CxrflowError as error:
        pixels, why = {}, str(error)
    if not rows <= {row for row in rows if str(read.images.image_id[row]) in pixels}:
        return _nothing(f"The X-rays can't be shown: {why}", localised)
    maps, no_maps = _maps(found, read, rows, pixels)
    truth = Truth()
    images = found.run.data_dir / "images"
    album = Album(read, pixels, maps, lambda name: truth.boxes(images / name))
    about: tuple[Block, ...] = (
        Text(
            "Left the X-ray as the model saw it, right its attention for the finding, all maps on "
            "one scale from 0 (clear) to 1 (red). Cyan: the box list's box of the finding. A map "
            "says where the model looked, not that it saw what a reader would see there.",
            "note",
        ),
        *((Missing("Attention maps", no_maps),) if no_maps else ()),
    )
    gallery = [
        Section(
            "Rightly found, most confident",
            (*about, Cases(tuple(_case(found, album, one) for one in right))),
        ),
        localised,
    ]
    mistakes = [Section("", about)]
    for place, shown in wrong.items():
        cases = tuple(_case(found, album, one, others[one.row]) for one in shown)
        blocks: tuple[Block, ...] = (
            (Cases(cases),)
            if cases
            else (
                Missing(found.classes[place], "No image of this class to be wrong about on test."),
            )
        )
        mistakes.append(Section(finding(found.classes[place]), blocks))
    return gallery, mistakes, album.files


def _nothing(why: str, localised: Section) -> tuple[list[Section], list[Section], dict[str, bytes]]:
    gallery = [Section("", (Missing("Attention maps", why),)), localised]
    return gallery, [Section("", (Missing("The most confident mistakes", why),))], {}


def _surest(read: Scores, place: int) -> Shown | None:
    """The image with the class that has the highest probability."""
    positive = np.flatnonzero(read.images.labels[:, place] > 0)
    if not len(positive):
        return None
    return Shown(int(positive[np.argmax(read.probabilities[positive, place])]), place)


def _mistakes(read: Scores, place: int) -> list[Shown]:
    """The image without the class that the model is surest of, and the one with it that it is
    surest isn't.
    """
    labels, p = read.images.labels[:, place], read.probabilities[:, place]
    without, having = np.flatnonzero(labels == 0), np.flatnonzero(labels > 0)
    found = []
    if len(without) and len(having):
        found.append(Shown(int(without[np.argmax(p[without])]), place, "false alarm"))
        found.append(Shown(int(having[np.argmin(p[having])]), place, "missed"))
    return found


def _same_patient(read: Scores, row: int) -> list[int]:
    same = np.flatnonzero(read.images.patient_id == read.images.patient_id[row])
    return [int(other) for other in same if other != row][:_OTHERS]


def _pixels(found: Evidence, read: Scores, rows: set[int]) -> dict[str, np.ndarray]:
    folder = found.run.output("Transform", "transformed_examples")
    if folder is None:
        return {}
    compact = found.info.compact if found.info else None
    encoding, side = (compact.encoding, compact.image_size) if compact else ("jpeg", 0)
    wanted = {str(read.images.image_id[row]) for row in rows}
    return {
        name: as_pixels(data, encoding, side)
        for name, data in read_compact(folder, read.split, wanted).items()
    }


def _maps(
    found: Evidence, read: Scores, rows: set[int], pixels: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], str]:
    """Maps by image id, and why there are none."""
    names = [str(read.images.image_id[row]) for row in sorted(rows)]
    names = [name for name in names if name in pixels]
    maps: dict[str, np.ndarray] = {}
    try:
        if found.run.model is None:
            raise CxrflowError("The run has no model.")
        model = find_model(found.run.model)
        for name, attention in zip(
            names, attention_maps(model, [pixels[name] for name in names]), strict=True
        ):
            maps[name] = attention
            report_progress(len(maps), len(names), "attention maps")
    except CxrflowError as error:
        return {}, str(error)
    return maps, ""


def _case(found: Evidence, album: Album, one: Shown, others: Sequence[int] = ()) -> Case:
    read, name = album.read, found.classes[one.place]
    images, p = read.images, float(read.probabilities[one.row, one.place])
    sex = {"F": "woman", "M": "man"}.get(images.sex[one.row], "patient")
    age = images.age[one.row]
    who = f"{sex} of {age if age >= 0 else 'unknown age'}, {images.view[one.row]}"
    of_image = dict(zip(map(finding, found.classes), images.labels[one.row], strict=True))
    labels = [name for name, value in of_image.items() if value > 0]
    unknown = [name for name, value in of_image.items() if np.isnan(value)]
    boxes = [box for box in album.boxes(str(images.image_id[one.row])) if box.name == name]
    said = finding(name)
    pictures = [Picture(album.xray(one.row), f"X-ray {images.image_id[one.row]}", "X-ray")]
    if mapped := album.mapped(one.row, one.place, boxes):
        pictures.append(
            Picture(
                mapped, f"Attention for {said} on X-ray {images.image_id[one.row]}", "attention"
            )
        )
    limit = thresholds(found.info, name).get("youden")
    beside = (
        "" if limit is None else f", {'above' if p >= limit else 'below'} its threshold {limit:.3f}"
    )
    below = float((read.probabilities[:, one.place] < p).mean())
    lines = [
        f"{said} {p:.3f}{beside}; higher than {below:.0%} of the test images",
        f"labelled {', '.join(labels) or ('nothing' if unknown else 'No Finding')}",
        *([f"unknown: {', '.join(unknown)}"] if unknown else []),
        who,
    ]
    if boxes:
        lines.append(f"{len(boxes)} box{'es' if len(boxes) > 1 else ''} of it in the box list")
    small = tuple(
        Picture(
            album.xray(row, SMALL),
            f"X-ray {images.image_id[row]} of the same patient",
            f"{said} {read.probabilities[row, one.place]:.3f}, "
            + _labelled(images.labels[row, one.place]),
        )
        for row in others
        if str(images.image_id[row]) in album.pixels
    )
    title = f"{one.why or said}: {visible(Path(str(images.image_id[one.row])).name)}"
    return Case(title[0].upper() + title[1:], tuple(pictures), tuple(lines), small)


def _labelled(label: float) -> str:
    return "label unknown" if np.isnan(label) else "labelled" if label else "not labelled"

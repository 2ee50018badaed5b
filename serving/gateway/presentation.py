"""The findings over the X-ray itself: a Grayscale Softcopy Presentation State, in its study.

Viewers draw it over the image that they have, and hide it when they are told to.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np
from highdicom import PresentationLUTShapeValues, PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrflow.schema.pseudonyms import Pseudonyms
from cxrflow.serving.gateway.decide import Judged
from cxrflow.serving.gateway.drawing import findings_lines, shown_map
from cxrflow.serving.gateway.report import made_by
from cxrflow.serving.gateway.settings import ResultsConfig
from cxrflow.serving.gateway.subject import add_patient

_DESCRIPTION = "Findings by cxrflow, not for diagnosis"
_LABEL = "CXRFLOW"
_TEXT = 1024  # characters of a text, PS3.5, ST
_PLACE = (0.01, 0.01, 0.6, 0.6)  # of the text on the display: left, top, right, bottom
_ABOVE = 0.5  # of a map's range: what the box holds
_SHOWN = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "WindowCenter"),
    *("WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("RescaleType", "ModalityLUTSequence"),
]


def build_presentation(
    image: Judged, path: Path, number: int, names: Pseudonyms, config: ResultsConfig
) -> Dataset:
    """The presentation state of an X-ray that has findings, as it is sent.

    Args:
        image: with its picture and answer.
        path: its file, whose windows are taken over.
        number: of the image among its study's, from 1 on.
        names: gives the UIDs; the same image with the same answer always gets the same.
        config: series number and institution.

    Raises:
        Exception: of any kind, where the file's windows break the rules.
    """
    assert image.gray is not None and image.answer is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = dcmread(path, stop_before_pixels=True, specific_tags=_SHOWN, force=True)
        referenced = Dataset()
        referenced.update({element.tag: element for element in shown})
    header = image.subject.header
    referenced.update(header)
    layer = GraphicLayer("FINDINGS", order=1, description=_DESCRIPTION)
    inverse = referenced.PhotometricInterpretation == "MONOCHROME1"  # else it isn't looked at
    shape = PresentationLUTShapeValues.INVERSE if inverse else PresentationLUTShapeValues.IDENTITY
    made = GrayscaleSoftcopyPresentationState(
        referenced_images=[referenced],
        series_instance_uid=names.uid("presentation series", header.StudyInstanceUID),
        series_number=config.presentation_series,
        sop_instance_uid=names.uid("presentation", image.decision.id),
        instance_number=number,
        content_label=_LABEL,
        content_description=_DESCRIPTION,
        graphic_layers=[layer],
        graphic_annotations=[
            GraphicAnnotation(
                [referenced],
                layer,
                graphic_objects=_boxes(image, int(referenced.Rows), int(referenced.Columns)),
                text_objects=[_text(image)],
            )
        ],
        presentation_lut_transformation=PresentationLUTTransformation(shape),
        series_description=_DESCRIPTION,
        **made_by(names, config),
    )
    made.Laterality = ""  # of the series, as far as dciodvfy knows
    add_patient(made, header)
    return made


def _text(image: Judged) -> TextObject:
    """What the key image says in words, as far as a text goes."""
    assert image.answer is not None
    looked, text = shown_map(image.answer), ""
    name = (looked[0] or "its answer") if looked else ""
    for line, _ in findings_lines(image.answer, name, "box"):
        if len(text) + len(line) + 2 > _TEXT:
            break
        text += f"{line}\r\n"
    return TextObject(
        text.rstrip(),
        AnnotationUnitsValues.DISPLAY,
        bounding_box=_PLACE,
        text_justification=TextJustificationValues.LEFT,
    )


def _boxes(image: Judged, rows: int, columns: int) -> list[GraphicObject]:
    """A box around where the model looks most, in the X-ray's own pixels; none without a map."""
    looked = shown_map(image.answer) if image.answer else None
    if looked is None:
        return []
    # The map covers the square that has the X-ray in its middle.
    side = max(rows, columns)
    top, left = (side - rows) / 2, (side - columns) / 2
    x0, y0, x1, y1 = (edge * side for edge in box_of(looked[1]))
    x0, x1 = (min(max(x - left, 0), columns) for x in (x0, x1))
    y0, y1 = (min(max(y - top, 0), rows) for y in (y0, y1))
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], float)
    return [
        GraphicObject(
            GraphicTypeValues.POLYLINE, corners, AnnotationUnitsValues.PIXEL, is_filled=False
        )
    ]


def box_of(looked: np.ndarray) -> tuple[float, float, float, float]:
    """The cells around a map's maximum that are above the middle of its range.

    Args:
        looked: float32 [h, w].

    Returns:
        Left, top, right, bottom as shares of the map's sides.
    """
    low, high = float(looked.min()), float(looked.max())
    above = (looked >= low + _ABOVE * (high - low)).astype(np.uint8)
    _, labels = cv2.connectedComponents(above, connectivity=4)
    at = np.unravel_index(int(looked.argmax()), looked.shape)
    rows, columns = np.nonzero(labels == labels[at])
    height, width = looked.shape
    return (
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    )

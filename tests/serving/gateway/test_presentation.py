"""The findings over the X-ray itself."""

import numpy as np
import pytest

from cxrflow.serving.gateway.presentation import box_of
from tests.serving.gateway import hospital
from tests.serving.gateway.hospital import states, until, write_xray


@pytest.fixture
def shown(open_site, tmp_path):
    """shown(**elements): the presentation states of an X-ray, and the X-ray."""

    def show(**elements):
        site = open_site(wants=["report", "presentation"])
        xray = write_xray(tmp_path / "a.dcm", **elements)
        site.send(xray)
        until(lambda: "answered" in states(site.folder))
        assert site.archive.reports and not site.archive.key_images
        return site.archive.presentations, hospital.dcmread(xray)

    return show


def test_text_and_box_lie_on_the_xray_they_are_about(shown):
    (state,), xray = shown()
    (series,) = state.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert series.SeriesInstanceUID == xray.SeriesInstanceUID
    assert image.ReferencedSOPInstanceUID == xray.SOPInstanceUID
    assert (state.StudyInstanceUID, state.Modality) == (xray.StudyInstanceUID, "PR")
    assert state.PatientName == xray.PatientName and state.Manufacturer == "cxrflow"
    (annotation,) = state.GraphicAnnotationSequence
    (text,), (box,) = annotation.TextObjectSequence, annotation.GraphicObjectSequence
    lines = text.UnformattedTextValue.split("\r\n")
    assert lines[0] == "NOT FOR DIAGNOSIS"
    assert "+ Edema 0.300 (threshold 0.200)" in lines and "- Mass 0.450 (threshold 0.500)" in lines
    assert any(line.startswith("box: where it looks for ") for line in lines)
    x, y = np.array(box.GraphicData).reshape(-1, 2).T
    assert x.min() >= 0 and x.max() <= 96 and y.min() >= 0 and y.max() <= 80
    assert np.ptp(x) > 0 and np.ptp(y) > 0
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (2000, 4000)
    assert state.PresentationLUTShape == "IDENTITY"


def test_an_inverted_xray_stays_inverted(shown):
    """A state's viewers don't look at the image's own Photometric Interpretation."""
    (state,), _ = shown(PhotometricInterpretation="MONOCHROME1")
    assert state.PresentationLUTShape == "INVERSE"


def test_without_a_window_there_is_a_state_too(shown):
    (state,), _ = shown(WindowCenter=None, WindowWidth=None)
    assert "SoftcopyVOILUTSequence" not in state


@pytest.mark.parametrize(
    ("cells", "box"),
    [
        ([[0, 0], [0, 1]], (0.5, 0.5, 1, 1)),
        ([[1, 1], [1, 1]], (0, 0, 1, 1)),
        ([[9, 0, 0, 6], [5, 0, 0, 6], [0, 0, 0, 0], [0, 0, 0, 0]], (0, 0, 0.25, 0.5)),
        ([[0, 0, 0, 0], [0, 9, 8, 0], [0, 0, 0, 7], [0, 0, 0, 0]], (0.25, 0.25, 0.75, 0.5)),
    ],
)
def test_the_box_holds_what_lies_around_the_maximum(cells, box):
    assert box_of(np.array(cells, np.float32)) == box
